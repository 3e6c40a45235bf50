# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# tests/guest/lib.sh - for the scripts that run inside L1: godwit processes with
# a guest whose init does what is typed on its serial port (agent:ttyS0).
# Source it after tap.sh; $godwit and $logs (a folder) are the caller's.

declare -A vm_pid vm_input
vm_limit=${GUEST_LIMIT:-240} # seconds for one answer; only ends what hangs

# vm_spawn NAME COMMAND...: godwit with NAME.{in,out,err} as its three files.
vm_spawn() {
	local name=$1 input
	shift
	rm -f "$name".{in,out,err}
	mkfifo "$name.in"
	exec {input}<>"$name.in"
	"$@" <"$name.in" >"$name.out" 2>"$name.err" &
	vm_pid[$name]=$!
	vm_input[$name]=$input
}

# vm_end NAME: waits for the process, keeps its log; its status in $rc.
vm_end() {
	local name=$1 input=${vm_input[$1]}
	wait "${vm_pid[$name]}"
	rc=$?
	exec {input}>&-
	vm_log "$name"
}
vm_log() {
	{
		tr -d '\r' <"$1.out"
		cat "$1.err"
	} >"$logs/$1.log"
}

# vm_lines NAME ERE: so many lines of what the guest said match.
vm_lines() { grep -acE -e "$2" "$1.out"; }

# vm_await NAME ERE [COUNT]: until so many lines match.  1: the process ended
# or took too long.
vm_await() {
	local end=$((SECONDS + vm_limit))
	while [ "$(vm_lines "$1" "$2")" -lt "${3:-1}" ]; do
		kill -0 "${vm_pid[$1]}" 2>/dev/null || return 1
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# vm_ask NAME WORD: types the word; 0: its answer is ok.  $answer is the line,
# or what there is instead of one.
vm_ask() {
	local name=$1 line="^GODWIT-TEST (not )?ok $2" before
	before=$(vm_lines "$name" "$line")
	asked=$(date +%s)
	printf '%s\n' "$2" >&"${vm_input[$name]}"
	if vm_await "$name" "$line" $((before + 1)); then
		answer=$(tr -d '\r' <"$name.out" | grep -aE "$line" |
			tail -n 1)
	else
		answer="no answer to $2; the last lines:
$(tail -n 5 "$name.out" | tr -d '\r')
$(cat "$name.err")"
	fi
	[ "$answer" = "GODWIT-TEST ok $2" ]
}

# vm_ready NAME PROMISE: a test, and the end when it fails: the guest's init has
# come to its agent, each word before was ok.
vm_ready() {
	if vm_await "$1" 'GODWIT-SAYS agent listens' &&
		[ "$(vm_lines "$1" '^GODWIT-TEST not ok')" = 0 ]; then
		tap_ok "$2"
	else
		vm_log "$1"
		tap_not_ok "$2" "$(tail -n 40 "$logs/$1.log")"
		kill "${vm_pid[$1]}"
		tap_done
	fi
}

# vm_does NAME WORD PROMISE: a test.
vm_does() {
	if vm_ask "$1" "$2"; then
		tap_ok "$3"
	else
		tap_not_ok "$3" "$answer"
	fi
}

# vm_said NAME TEXT: the last line "GODWIT-SAYS TEXT ...", without these.
vm_said() {
	tr -d '\r' <"$1.out" | sed -n "s/^GODWIT-SAYS $2 //p" | tail -n 1
}

# vm_time NAME PROMISE [SINCE]: a test; the date that the guest saw in the check
# that was asked last was then this machine's, or for a guest that lay in a file
# SINCE then no earlier.  Its clock stands still while it is stopped: it may be
# some seconds late.
vm_time() {
	local there now
	now=$(date +%s)
	there=$(vm_said "$1" clock | cut -d ' ' -f 1)
	if [ "${there:-0}" -ge $((${3:-asked} - 30)) ] &&
		[ "${there:-0}" -le $((now + 2)) ]; then
		tap_ok "$2"
	else
		tap_not_ok "$2" "it is $now, the guest says '$there'"
	fi
}

# vm_ticks PROMISE NAME...: a test; over these, in this order, the guest's ticks
# are counted through without gap or double.
vm_ticks() {
	local what=$1 bad name
	shift
	bad=$(for name; do
		tr -d '\r' <"$name.out"
	done | sed -n 's/^GODWIT-SAYS tick //p' | awk '
		NR == 1 { next_one = $1 }
		$1 != next_one { print "after " next_one - 1 " comes " $1 }
		{ next_one = $1 + 1 }
		END { if (NR < 10) print "only " NR " ticks" }')
	tap_is "$what" "$bad" ''
}

# tool PROGRAM ARG...: one of bed_tools.
tool() {
	local lib=$run/tools/lib
	"$lib/ld-linux-x86-64.so.2" --library-path "$lib" \
		"$run/tools/bin/$1" "${@:2}"
}

# vm_of NAME VERB KEY...: the last number of each key in what the verb answers,
# none where it has none.
vm_of() {
	local text key
	text=$("$godwit" "$2" "$1" --json | tr -d ' \n')
	for key in "${@:3}"; do
		printf '%s ' "$(grep -oE "\"$key\":[0-9]+" <<<"$text" |
			tail -n 1 | cut -d : -f 2)"
	done
}

# vm_until SECONDS COMMAND...: until it succeeds.  1: not in that time, which
# only ends what hangs.
vm_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

# vm_rss NAME: KiB of memory that its process has.
vm_rss() {
	awk '/^VmRSS/ { print $2 }' "/proc/${vm_pid[$1]}/status"
}

# vm_netns NAME ADDRESS/BITS: a network namespace with that address on tap0.
vm_netns() {
	ip netns add "$1" && ip -n "$1" link set lo up &&
		ip -n "$1" tuntap add dev tap0 mode tap &&
		ip -n "$1" addr add "$2" dev tap0 &&
		ip -n "$1" link set tap0 up && return
	tap_not_ok "a network namespace with a tap"
	tap_done
}

# netns_tool NAMESPACE PROGRAM ARG...: as tool, in that namespace.
netns_tool() {
	local lib=$run/tools/lib
	ip netns exec "$1" "$lib/ld-linux-x86-64.so.2" --library-path "$lib" \
		"$run/tools/bin/$2" "${@:3}"
}

# netns_serve NAMESPACE PORT: an iperf3 server, in serve.PORT what it says.
netns_serve() {
	netns_tool "$1" iperf3 -s -p "$2" --rcv-timeout 3600000 --forceflush \
		>"serve.$2" 2>&1 &
	vm_until "$vm_limit" grep -q listening "serve.$2"
}
