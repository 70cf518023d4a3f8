#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# numactl, memhog, migratepages and numastat, as they are installed, behave on a
# machine with a private node as on one where this node has no memory: they do
# not get any from it. Each test does the same to an ordinary node without CPUs,
# whose memory they must get, and fails if the private node has served a page.
#
# PN_FORCE_NODE=N treats node N as private, see pn_util.h.

DIR="$(dirname "$(readlink -f "$0")")"
# shellcheck source=../kselftest/ktap_helpers.sh
. "${DIR}/../kselftest/ktap_helpers.sh" 2>/dev/null ||
	. "${DIR}/ktap_helpers.sh" || exit 1

PROBE="${DIR}/numa_probe"
NODES=/sys/devices/system/node
KIB=8192
PAGES=$((KIB * 1024 / $(getconf PAGESIZE)))
WORK=$(mktemp -d -p /dev/shm) || exit 1
HELD=

cleanup() {
	[ -z "$HELD" ] || kill "$HELD" 2>/dev/null
	set_blocks online
	rm -rf "$WORK"
}

skip_all() {
	ktap_skip_all "$@"
	exit "$KSFT_SKIP"
}

note() { ktap_print_msg "$@"; }

# "$@" must be as expected, with a line that says what was not.
is() { # WHAT EXPECTED GOT
	[ "$2" = "$3" ] && return
	note "$1: expected '$2', got '$3'"
	return 1
}

# The last line of the program's output that begins with WORD:, without it
line() { # WORD: FILE
	sed -n "s/^$1[[:space:]]*//p" "$2" | tail -n 1 | sed 's/[[:space:]]*$//'
}

# Where the memory of a program goes that numactl starts
placed() { # NUMACTL-ARGUMENTS
	numactl "$@" "$PROBE" touch $KIB 2>&1
}

# All pages of the program on NODE
lands_on() { # NODE NUMACTL-ARGUMENTS
	local node=$1

	shift
	is "numactl $*" "$node:$PAGES " "$(placed "$@")"
}

# On all public nodes, and no other
lands_on_public() { # NUMACTL-ARGUMENTS
	local got

	got=$(placed "$@")
	# shellcheck disable=SC2001
	is "numactl $*" "$public " "$(sed 's/:[0-9]*//g' <<<"$got")"
}

# On public nodes, whichever
lands_in_public() { # NUMACTL-ARGUMENTS
	local got part

	got=$(placed "$@")
	for part in $got; do
		case " $public " in
		*" ${part%:*} "*) ;;
		*) note "numactl $*: $got"; return 1 ;;
		esac
	done
	[ -n "$got" ]
}

# The command must fail and say MESSAGE.
refused() { # MESSAGE COMMAND...
	local message=$1 output

	shift
	if output=$("$@" 2>&1); then
		note "$*: succeeded"
		return 1
	fi
	case $output in
	*"$message"*) return 0 ;;
	esac
	note "$*: no '$message' in: $(head -n 3 <<<"$output")"
	return 1
}

works() { # COMMAND...
	"$@" >"$WORK/output" 2>&1 && return
	note "$*: status $?: $(head -n 3 "$WORK/output")"
	return 1
}

# --- the tests ---------------------------------------------------------------

# "It is a node all the same": it is listed, with its size.
hardware() {
	numactl -H >"$WORK/hardware" || return 1
	is "size of $private" \
		"$(awk '/MemTotal/ { print int($4 / 1024) " MB" }' "$NODES/node$private/meminfo")" \
		"$(line "node $private size:" "$WORK/hardware")" &&
	is "size of $control" \
		"$(awk '/MemTotal/ { print int($4 / 1024) " MB" }' "$NODES/node$control/meminfo")" \
		"$(line "node $control size:" "$WORK/hardware")" &&
	is "CPUs of $private" "" "$(line "node $private cpus:" "$WORK/hardware")" &&
	is "distances" "$(cat "$NODES/node$private/distance")" \
		"$(line " *$private:" "$WORK/hardware" | tr -s ' ')"
}

# What is allowed to a program are the public nodes.
show() {
	numactl --show >"$WORK/show" || return 1
	is "policy" default "$(line policy: "$WORK/show")" &&
	is "membind" "$public" "$(line membind: "$WORK/show")"
}

# "numactl --interleave=all and every existing program behave as before"
interleave_all() {
	numactl --interleave=all numactl --show >"$WORK/show" || return 1
	is "policy" interleave "$(line policy: "$WORK/show")" &&
	is "interleavemask" "$public" "$(line interleavemask: "$WORK/show")" &&
	lands_on_public --interleave=all &&
	lands_on_public --all --interleave=all &&
	lands_on "$control" --interleave="$control" &&
	lands_on "$control" --all --interleave="$control,$private"
}

weighted_interleave_all() {
	lands_on_public --weighted-interleave=all &&
	lands_on "$control" --weighted-interleave="$control" &&
	lands_on "$control" --all --weighted-interleave="$control,$private"
}

membind_all() {
	numactl --membind=all numactl --show >"$WORK/show" || return 1
	is "policy" bind "$(line policy: "$WORK/show")" &&
	is "membind" "$public" "$(line membind: "$WORK/show")" &&
	lands_in_public --membind=all &&
	lands_in_public --all --membind=all &&
	lands_in_public --balancing --membind=all
}

membind() {
	lands_on "$control" --membind="$control" &&
	lands_on "$control" --all --membind="$control,$private" &&
	refused "node argument $private is out of range" \
		numactl --membind="$private" true
}

preferred() {
	lands_on "$control" --preferred="$control" &&
	lands_on "$control" --preferred-many="$control" &&
	lands_on "$control" --all --preferred-many="$control,$private" &&
	lands_in_public --preferred-many=all &&
	refused "node argument $private is out of range" \
		numactl --preferred="$private" true &&
	refused "node argument $private is out of range" \
		numactl --preferred-many="$private" true
}

localalloc() {
	lands_on "$cpu" --cpunodebind="$cpu" --localalloc &&
	lands_on "$cpu" --cpunodebind="$cpu" &&
	refused "node argument $private is out of range" \
		numactl --cpunodebind="$private" true
}

# "Without the flag a private node counts as a node without memory: the system
# calls drop it from the mask (EINVAL if nothing is left)". With --all numactl
# leaves it to the kernel to refuse the node.
einval() {
	refused "set_mempolicy: Invalid argument" \
		numactl --all --membind="$private" true &&
	refused "set_mempolicy: Invalid argument" \
		numactl --all --interleave="$private" true &&
	refused "set_mempolicy: Invalid argument" \
		numactl --all --weighted-interleave="$private" true &&
	refused "set_mempolicy: Invalid argument" \
		numactl --all --preferred="$private" true &&
	refused "set_mempolicy: Invalid argument" \
		numactl --all --preferred-many="$private" true &&
	works numactl --all --membind="$control" true &&
	works numactl --all --interleave="$control" true
}

# The same for a program that numactl starts and that asks by itself
einval_of_program() {
	local mode expected

	expected="set_mempolicy: Invalid argument
mbind: Invalid argument"
	for mode in bind interleave preferred preferred-many weighted-interleave; do
		works numactl --membind="$control" "$PROBE" set $mode "$control" &&
		is "$mode" "$expected" \
			"$(numactl --membind="$control" "$PROBE" set $mode "$private")" &&
		is "$mode" "$expected" \
			"$(numactl --interleave=all "$PROBE" set $mode "$private")" ||
			return 1
	done
}

# Mask and pages of memhog's mapping are from mbind() and get_mempolicy().
memhog_policies() {
	local policy

	for policy in interleave membind preferred preferred-many; do
		works memhog "${KIB}k" $policy "$control" &&
		refused "<$private> is invalid" \
			memhog "${KIB}k" $policy "$private" || return 1
	done
	works memhog "${KIB}k" interleave all &&
	works memhog "${KIB}k" membind all &&
	works memhog "${KIB}k" default &&
	works memhog "${KIB}k" local &&
	works numactl --interleave=all memhog "${KIB}k" &&
	works numactl --membind=all memhog "${KIB}k" &&
	works numactl --membind="$control" memhog "${KIB}k"
}

# Starts a command that uses memory and then waits, until release is called.
hold() { # COMMAND...
	local ready

	"$@" >"$WORK/held" </dev/null &
	HELD=$!
	for _ in $(seq 600); do
		read -r ready <"$WORK/held" && [ "$ready" = ready ] && return
		kill -0 "$HELD" 2>/dev/null || break
		sleep 0.1
	done
	note "$*: did not start"
	return 1
}

release() {
	kill "$HELD" 2>/dev/null
	wait "$HELD" 2>/dev/null
	HELD=
}

# Whether the memory of the held process is on NODE, as numastat shows it. A few
# pages more or less are those of the program and its libraries.
held_on() { # NODE
	COLUMNS=400 numastat -p "$HELD" 2>&1 | awk -v node="$1" -v mb=$((KIB / 1024)) '
		/Node/ { for (i = 1; i <= NF; i++) if ($i == "Node") column[$(i + 1)] = ++n }
		$1 == "Private" { print $(1 + column[node]) >= mb ? "yes" : "no" }'
}

# migratepages between public nodes works, to the private one it does not.
migratepages_command() {
	local ok=0

	hold numactl --membind="$control" "$PROBE" sleep $KIB || return 1
	is "before" yes "$(held_on "$control")" &&
	works migratepages "$HELD" "$control" "$cpu" &&
	is "after" yes "$(held_on "$cpu")" &&
	is "no longer there" no "$(held_on "$control")" &&
	refused "<$private> is invalid" migratepages "$HELD" "$cpu" "$private" &&
	refused "<$private> is invalid" migratepages "$HELD" "$private" "$cpu" &&
	works migratepages "$HELD" all "$control" &&
	is "back" yes "$(held_on "$control")" &&
	works migratepages "$HELD" "$control" all || ok=1
	release
	return $ok
}

# numastat counts the node like any other.
numastat_node() {
	local before after

	before=$(numastat | awk '/^numa_hit/ { print NF - 1 }')
	is "columns" "$(find $NODES -maxdepth 1 -name 'node[0-9]*' | wc -l)" "$before" &&
	works numastat -m && works numastat -n || return 1
	after=$(numastat -m | awk '/^MemTotal/ { print $NF }')
	is "total of all nodes" "$(cat $NODES/node*/meminfo |
		awk '/MemTotal/ { sum += $4 } END { printf "%d", sum / 1024 }')" \
		"${after%.*}"
}

# With numactl's options for shared memory: a file of a tmpfs
shared_file() {
	local file=$WORK/file

	works numactl --length=1m --file "$file" --membind="$control" --touch &&
	numactl --length=1m --file "$file" --dump-nodes >"$WORK/dump" &&
	is "nodes" "$control" "$(sed -n 's/.*: *\([0-9]*\) *$/\1/p' "$WORK/dump" |
		sort -u | tr '\n' ' ' | sed 's/ $//')" || return 1
	rm -f "$file"
	works numactl --length=1m --file "$file" --interleave=all --touch || return 1
	rm -f "$file"
	refused "node argument $private is out of range" \
		numactl --length=1m --file "$file" --membind="$private" --touch &&
	refused "mbind: Invalid argument" \
		numactl --all --length=1m --file "$file" --membind="$private" --touch
}

# A program that is started with private memory: numactl and numastat cannot
# know the flag, and must tell the truth all the same. Not counted below.
with_private_memory() {
	local ok=0

	[ -z "${PN_FORCE_NODE:-}" ] || return 1
	"$PROBE" run bind "$private" numactl --show >"$WORK/show" 2>&1 ||
		{ note "numactl --show: $(cat "$WORK/show")"; return 1; }
	is "membind" "$public" "$(line membind: "$WORK/show")" || return 1
	hold "$PROBE" hold bind "$private" $KIB || return 1
	is "private memory" yes "$(held_on "$private")" &&
	is "public memory" no "$(held_on "$control")" || ok=1
	release
	"$PROBE" empty "$private" || ok=1
	return $ok
}

blocks() {
	local block

	for block in "$NODES/node$private"/memory[0-9]*; do
		[ -e "$block/state" ] && echo "$block/state"
	done
}

set_blocks() { # STATE
	local file

	for file in $OFFLINED; do
		[ "$(cat "$file")" = "$1" ] || echo "$1" >"$file" || return 1
	done
}

# What the commands answer that name the node, or all nodes. Which node is next
# to interleave from depends on what the program has done before.
answers() {
	local option nodes all

	numactl --show
	numactl -H | grep -v "^node [0-9]* \(free\|size\)"
	for option in interleave weighted-interleave membind preferred \
		      preferred-many cpunodebind; do
		for nodes in "$private" "$control,$private" all; do
			for all in "" --all; do
				echo "== numactl $all --$option=$nodes"
				# shellcheck disable=SC2086
				numactl $all --$option=$nodes numactl --show 2>&1 |
					grep -v "interleave next\|^interleavenode"
				echo "status ${PIPESTATUS[0]}"
			done
		done
	done
	for option in interleave membind preferred preferred-many; do
		for nodes in "$private" "$control,$private" all; do
			echo "== memhog $option $nodes"
			memhog 64k $option "$nodes" 2>&1
			echo "status $?"
		done
	done
	for option in bind interleave preferred preferred-many weighted-interleave; do
		"$PROBE" set $option "$private"
	done
	migratepages $$ "$control" "$private" 2>&1
	echo "status $?"
}

# "Without the flag a private node counts as a node without memory": the
# answers are the same, letter by letter, when the node has none.
as_without_memory() {
	local ok=0

	answers >"$WORK/with"
	OFFLINED=$(blocks)
	if ! set_blocks offline; then
		note "cannot take the memory of node $private offline"
		ok=1
	elif grep -q 'MemTotal: *0 kB' "$NODES/node$private/meminfo"; then
		answers >"$WORK/without"
		if ! diff "$WORK/with" "$WORK/without" >"$WORK/diff"; then
			note "private memory makes a difference:"
			sed 's/^/# /' "$WORK/diff"
			ok=1
		fi
	else
		note "node $private still has memory"
		ok=1
	fi
	set_blocks online || ok=1
	OFFLINED=
	return $ok
}

# --- all of them -------------------------------------------------------------

# The test, and after it: nothing has come from the private node.
check() { # NAME COUNTED?
	local before after ok=0

	before=$("$PROBE" allocations "$private")
	"$1" || ok=1
	after=$("$PROBE" allocations "$private")
	if [ "$2" = counted ] && [ "$before" != "$after" ]; then
		note "node $private has served $((after - before)) pages"
		ok=1
	fi
	[ -n "${PN_FORCE_NODE:-}" ] || "$PROBE" empty "$private" || ok=1
	if [ $ok = 0 ]; then
		ktap_test_pass "$1"
	else
		ktap_test_fail "$1"
	fi
}

COUNTED="hardware show interleave_all weighted_interleave_all membind_all
	 membind preferred localalloc einval einval_of_program memhog_policies
	 migratepages_command numastat_node shared_file as_without_memory"
OTHERS="with_private_memory"
OFFLINED=

ktap_print_header
[ "$(id -u)" = 0 ] || skip_all "must be run as root"
for command in numactl memhog migratepages numastat; do
	command -v $command >/dev/null || skip_all "$command is not installed"
done
read -r private control cpu public <<<"$("$PROBE" topology)"
[ "$private" -ge 0 ] || skip_all "no private node: boot with private_node=<nid>"
[ "$control" -ge 0 ] || skip_all "no ordinary node without CPUs"
trap cleanup EXIT

# shellcheck disable=SC2086
set -- $COUNTED $OTHERS
ktap_set_plan $#
for name in $COUNTED; do
	check "$name" counted
done
for name in $OTHERS; do
	check "$name" ""
done
ktap_finished
