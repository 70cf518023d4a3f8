#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The sample programs of samples/private_node do what they say: memory of the
# private node for those who may use it, ordinary memory where there is none.

DIR="$(dirname "$(readlink -f "$0")")"
# shellcheck source=/dev/null
. "${DIR}/../kselftest/ktap_helpers.sh" || exit 1

NODES=/sys/devices/system/node
PAGES=$((16 * 1024 * 1024 / $(getconf PAGESIZE)))
NOBODY="setpriv --reuid 65534 --regid 65534 --clear-groups"
WORK=$(mktemp -d) || exit 1
SERVER=

cleanup() {
	stop_server
	rm -rf "$WORK"
}

skip_all() {
	ktap_skip_all "$@"
	exit "$KSFT_SKIP"
}

stop_server() {
	[ -n "$SERVER" ] || return
	kill "$SERVER"
	wait "$SERVER" 2>/dev/null
	SERVER=
}

run() { # COMMAND...
	"$@" >"$WORK/output" 2>&1
}

# The output has each of the lines, and none about other nodes.
says() { # LINE...
	local line

	for line in "$@"; do
		grep -qxF "$line" "$WORK/output" && continue
		ktap_print_msg "no '$line' in:"
		sed 's/^/# /' "$WORK/output"
		return 1
	done
}

not_there() { # NODE
	! grep -q "^node $1:" "$WORK/output" && return
	ktap_print_msg "memory of node $1"
	return 1
}

buffer() {
	run "$DIR/private_buffer" -m 16 &&
	says "private nodes: $private" "16 of 16 MiB" "node $private: $PAGES pages"
}

# mbind() fails with EINVAL: the node is an ordinary one.
buffer_not_private() {
	run "$DIR/private_buffer" -m 16 -n "$control" &&
	says "no such private node: ordinary memory" "16 of 16 MiB" &&
	not_there "$private"
}

# With EPERM, and when there is nothing to ask for
buffer_not_allowed() {
	run $NOBODY "$DIR/private_buffer" -m 16 -n "$private" &&
	says "private nodes: none" "not allowed to use private nodes: ordinary memory" \
		"16 of 16 MiB" && not_there "$private" &&
	run $NOBODY "$DIR/private_buffer" -m 16 &&
	says "no private nodes: ordinary memory" && not_there "$private"
}

# SIGBUS
buffer_full() {
	local total

	total=$(awk '/MemTotal/ { print int($4 / 1024) }' "$NODES/node$private/meminfo")
	run "$DIR/private_buffer" -m $((total + 32)) &&
	says "$((total + 32)) of $((total + 32)) MiB" || return 1
	grep -q "^private nodes are full after [0-9]* MiB: ordinary" "$WORK/output" &&
	grep -q "^node $private: " "$WORK/output" &&
	[ "$(grep -c '^node ' "$WORK/output")" -ge 2 ] && return
	sed 's/^/# /' "$WORK/output"
	return 1
}

# A process that may not use the node gets shared memory there from a server.
share() {
	local ok=0

	(umask 0 && exec "$DIR/private_share" serve "$WORK/socket" 16) >"$WORK/server" 2>&1 &
	SERVER=$!
	chmod 755 "$WORK"
	for _ in $(seq 300); do
		grep -q serving "$WORK/server" && break
		kill -0 $SERVER 2>/dev/null || break
		sleep 0.1
	done
	run $NOBODY "$DIR/private_share" use "$WORK/socket" &&
	says "private nodes: none" "received 16 MiB: private nodes" \
		"node $private: $PAGES pages" || ok=1
	# and the next one gets the same
	run "$DIR/private_share" use "$WORK/socket" &&
	says "received 16 MiB: private nodes" "node $private: $PAGES pages" || ok=1
	[ $ok = 0 ] || sed 's/^/# server: /' "$WORK/server"
	stop_server
	return $ok
}

# Who may not use any node serves none.
share_not_allowed() {
	run $NOBODY "$DIR/private_share" serve "$WORK/other" && return 1
	says "private nodes: none" \
		"none that we may use: grant some by cpuset.mems.private"
}

check() { # NAME
	local ok=0

	"$1" || ok=1
	"$DIR/numa_probe" empty "$private" || ok=1
	if [ $ok = 0 ]; then
		ktap_test_pass "$1"
	else
		ktap_test_fail "$1"
	fi
}

TESTS="buffer buffer_not_private buffer_not_allowed buffer_full share
       share_not_allowed"

ktap_print_header
[ "$(id -u)" = 0 ] || skip_all "must be run as root"
read -r private control _ <<<"$("$DIR/numa_probe" topology)"
[ "$private" -ge 0 ] || skip_all "no private node: boot with private_node=<nid>"
[ "$control" -ge 0 ] || skip_all "no ordinary node without CPUs"
grep -q reclaim $NODES/node"$private"/private/capabilities &&
	skip_all "the node does not fill up: it has the capability reclaim"
trap cleanup EXIT

# shellcheck disable=SC2086
set -- $TESTS
ktap_set_plan $#
for name in $TESTS; do
	check "$name"
done
ktap_finished
