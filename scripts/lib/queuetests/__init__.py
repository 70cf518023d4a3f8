# SPDX-License-Identifier: GPL-2.0
"""The tests that scripts/selftest-queue runs."""
