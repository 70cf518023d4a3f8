# SPDX-License-Identifier: GPL-2.0
# Names for the commands in scripts/; it only dispatches.

BUILD ?= $(CURDIR)/build
K ?= test
export BUILD SIGNOFF KSRC MIRROR MINUTES SEED

help:            ## this list
	@echo "usage: make TARGET [BUILD=FOLDER]; 'scripts/NAME --help' says more"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

setup:           ## the root file system with compiler, QEMU and guest tools
	scripts/setup

demo: setup      ## from nothing to a booted kernel with a private node and mshare at work
	scripts/demo

check: setup     ## lint and every test; last line: N passed, N failed, N skipped
	scripts/check

kernel: setup    ## build a kernel: K=test (default), debug or base
	scripts/kernel $(K)

boot: setup      ## a shell in the booted test kernel
	scripts/kernel test
	scripts/boot

stress: setup    ## everything at once for MINUTES=30, SEED=N; K=debug; not in check
	scripts/stress --kernel $(K)

compare: setup   ## the base kernel's own tests on base and patched kernel
	scripts/compare

bench: setup     ## base kernel against patched kernel, in instructions
	scripts/bench

postgres: setup  ## PostgreSQL with hundreds of connections, without and with mshare
	scripts/bench-postgres

dist: setup      ## queue tarball and mails; SIGNOFF="Name <mail>" signs them off
	scripts/dist

clean:           ## remove what was built; keeps root, base tree, compiler cache
	scripts/lib/clean

distclean:       ## remove the whole build folder
	scripts/lib/clean --all

.PHONY: help setup demo check kernel boot stress compare bench postgres \
	dist clean distclean
