#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/kvm/control.sh - running VMs and the verbs that talk to them.
# GODWIT=FILE tests another binary.
set -u

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"
godwit=$(realpath "${GODWIT:-$top/godwit}")
guests=${GUESTS:-$top/kernels}

tap_need_kvm
[ -x "$godwit" ] || {
	tap_not_ok "$godwit is built" 'make all'
	tap_done
}

work=$(mktemp -d)
pids=()
clean() {
	local pid
	for pid in "${pids[@]}"; do
		kill -KILL "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap clean EXIT
export GODWIT_RUNTIME_DIR=$work/run
limit=${CONTROL_LIMIT:-120} # seconds; only ends what hangs

# start NAME ARG...: a guest that prints a line every 20 ms or so, until it is
# stopped.  Sets pid.  Its output is in $work/NAME.out.
start() {
	local name=$1
	shift
	rm -f "$work/$name.out"
	: >"$work/$name.out"
	"$godwit" run -k "$guests/work" -a 'mem=8 passes=0 report=20' \
		-m 64M --serial "file=$work/$name.out" "$@" \
		</dev/null >"$work/$name.std" 2>"$work/$name.err" &
	pid=$!
	pids+=("$pid")
}
# client VERB...: sets rc, out, err.
client() {
	out=$(timeout -k 5 "$limit" "$godwit" "$@" 2>"$work/err" </dev/null)
	rc=$?
	err=$(cat "$work/err")
}
lines() { grep -c '' "$work/$1.out"; }
# waits PREDICATE...: until it holds; a failed test when that takes too long.
waits() {
	local end=$((SECONDS + limit))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02 # only to leave the CPU to the guests
	done
	return 0
}
more_than() { [ "$(lines "$1")" -gt "$2" ]; }
answers() { "$godwit" info "$1" >/dev/null 2>&1; }
# grows NAME: it prints ten more lines.
grows() { waits more_than "$1" $(($(lines "$1") + 10)); }
# up NAME: it has a socket and prints.
up() { waits answers "$1" && grows "$1"; }
state() {
	"$godwit" info "$1" | sed -n 's/^state: //p'
}
# is NAME GOT WANT: as tap_is, and adds what the last verb said.
is() {
	if [ "$2" = "$3" ]; then
		tap_ok "$1"
	else
		tap_not_ok "$1" "got '$2', want '$3'; stderr: $err"
	fi
}

# ---- two VMs; b is the clock by which a is seen to stand still ----

start a --name a -c 2
a=$pid
start b --name b
b=$pid
if up a && up b; then
	tap_ok 'VMs with names are reached by them'
else
	tap_not_ok 'VMs with names are reached by them' "$(cat "$work"/*.err)"
	tap_done
fi
is 'the socket is private' \
	"$(stat -c %a:%a "$work/run/a.sock" | cut -d: -f1) $(stat -c %a "$work/run")" \
	'600 700'
client info a
is 'info: status 0' "$rc" 0
tap_like 'info shows the name' "$out" '^name: a$'
tap_like 'info shows that it runs' "$out" '^state: running$'
tap_like 'info shows the vCPUs' "$out" '^  present: 2$'
tap_like 'info shows the memory' "$out" '^memory_bytes: 67108864$'
tap_like 'info shows the devices' "$out" '^  serial0 serial$'
client info a --json
if python3 -c 'import json, sys; assert json.load(sys.stdin)["name"] == "a"' \
	<<<"$out" 2>"$work/err"; then
	tap_ok 'info --json is JSON'
else
	tap_not_ok 'info --json is JSON' "$out"
fi

client pause a
is 'pause: status 0' "$rc" 0
is 'a paused VM says so' "$(state a)" paused
was=$(lines a)
grows b
is 'a paused guest prints nothing' "$(lines a)" "$was"
client pause a
is 'pausing twice is harmless' "$rc" 0
client resume a
is 'resume: status 0' "$rc" 0
is 'a resumed VM says so' "$(state a)" running
if grows a; then
	tap_ok 'a resumed guest prints on'
else
	tap_not_ok 'a resumed guest prints on'
fi
client resume a
is 'resuming one that runs is harmless' "$rc" 0

client throttle a 90
is 'throttle: status 0' "$rc" 0
client info a
tap_like 'info shows the throttle' "$out" '^  throttle_percent: 90$'
client throttle a 0
client balloon a
is 'without --balloon there is none: status 1' "$rc" 1
tap_like '... and it says so' "$err" 'no balloon \(start it with --balloon\)'
client throttle a 100
is 'throttle 100 is refused' "$rc" 1

client cpu set a 99999
is 'more vCPUs than possible: status 1' "$rc" 1
tap_like 'more vCPUs than possible: one line says why' "$err" 'cpu-set: .*\('
client cpu set a 0
is 'no vCPU at all is a usage error' "$rc" 2
client jobs a
is 'jobs: status 0' "$rc" 0
client cancel a 77
is 'cancel of a job that is not there: status 1' "$rc" 1
client command a commands
tap_like 'command commands lists commands' "$out" '"name":"pause"'
client command a nope
is 'an unknown command: status 1' "$rc" 1
client command a pause '{"what": 1}'
is 'an unknown argument: status 1' "$rc" 1
client info "$work/run/a.sock"
is 'a VM is reached by the path of its socket, too' "$rc" 0

was=$(grep -c 'entry' "$work/a.out")
client reset a
is 'reset: status 0' "$rc" 0
began_again() { [ "$(grep -c 'entry' "$work/a.out")" -gt "$was" ]; }
if waits began_again; then
	tap_ok 'a guest that is reset begins again'
else
	tap_not_ok 'a guest that is reset begins again' "$(tail -3 "$work/a.out")"
fi

# ---- who has the name ----

client run -k "$guests/hello" --name a
is 'a name in use is refused: status 1' "$rc" 1
tap_like 'a name in use: the reason and the remedy' "$err" \
	'a running VM has it \(give another'
is 'a name in use: the first VM is as it was' "$(state a)" running
client info nobody
is 'a name that nobody has: status 1' "$rc" 1
tap_like 'a name that nobody has: the remedy' "$err" 'godwit run --name nobody'
client info 'no/such/path'
is 'a path that nobody has: status 1' "$rc" 1

kill -KILL "$b"
wait "$b" 2>/dev/null
if [ -S "$work/run/b.sock" ]; then
	tap_ok 'a killed godwit leaves its socket'
else
	tap_not_ok 'a killed godwit leaves its socket'
fi
client info b
is 'a dead socket: no such VM, status 1' "$rc" 1
start b --name b
b=$pid
if up b; then
	tap_ok 'the socket of a killed godwit is replaced'
else
	tap_not_ok 'the socket of a killed godwit is replaced' \
		"$(cat "$work/b.err")"
fi

# ---- ends ----

client pause b
client stop b
is 'stop of a paused VM: status 0' "$rc" 0
[ ! -e "$work/run/b.sock" ]
is 'stop returns when the name is free' "$?" 0
wait "$b"
is 'a stopped VM: status 0' "$?" 0
is 'a stopped VM is quiet' "$(cat "$work/b.err")" ''

# One that listens hears of the end.
python3 - "$work/run/a.sock" >"$work/heard" 2>&1 <<'PY' &
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
print(f.readline(), end="", flush=True)
for line in f:
    print(line, end="", flush=True)
print("closed")
PY
listener=$!
pids+=("$listener")
greeted() { grep -q godwit "$work/heard"; }
waits greeted
client pause a
client resume a
kill -TERM "$a"
wait "$a"
is 'SIGTERM still ends a VM with status 143' "$?" 143
wait "$listener"
tap_like 'a client hears of a pause' "$(cat "$work/heard")" \
	'"vm-state".*"paused"'
tap_like 'a client hears of the end' "$(cat "$work/heard")" \
	'"shutdown".*"user"'
is 'and then the connection is closed' "$(tail -n 1 "$work/heard")" closed
[ ! -e "$work/run/a.sock" ]
is 'the socket is removed at the end' "$?" 0
client run -k "$guests/hello" --name h
is 'a guest that powers off: status 0' "$rc" 0
is 'nothing is left behind' "$(ls "$work/run")" ''

# ---- where ----

client run -k "$guests/hello" --name h --control none
rmdir "$work/run"
client run -k "$guests/hello" --name h --control none
[ ! -e "$work/run" ]
is '--control none makes no socket' "$?" 0
start c --control "$work/c.sock"
if waits [ -S "$work/c.sock" ]; then
	client stop "$work/c.sock"
	is '--control FILE: reached there' "$rc" 0
else
	tap_not_ok '--control FILE: reached there' "$(cat "$work/c.err")"
fi
wait "$pid"
client run -k "$guests/hello" --control "$work/no/c.sock"
is '--control in a folder that is not there: status 1' "$rc" 1
tap_like '--control in a folder that is not there: why' "$err" \
	'folder does not exist \(create it\)'
client run -k "$guests/hello" --control "/tmp/$(printf 'x%.0s' {1..120})"
is '--control with a path too long: status 1' "$rc" 1
tap_like '--control with a path too long: the limit' "$err" 'at most 107'
echo mine >"$work/file"
client run -k "$guests/hello" --control "$work/file"
is '--control at a file that is no socket: status 1' "$rc" 1
is '--control at a file that is no socket: left alone' \
	"$(cat "$work/file")" mine
mkdir "$work/run"
chmod 755 "$work/run"
client run -k "$guests/hello" --name h
is 'a folder that is open to others: status 1' "$rc" 1
tap_like 'a folder that is open to others: the remedy' "$err" 'chmod 700'
client run -k "$guests/hello"
is 'without --name none of this matters' "$rc" 0

# ---- the balloon ----

chmod 700 "$GODWIT_RUNTIME_DIR"
rm -f "$work/bal.out"
"$godwit" run -k "$guests/balloon" -a 'pages=1024' -m 16M --machine cmdline \
	--balloon=,stats=0 --name bal --serial "file=$work/bal.out" \
	</dev/null >"$work/bal.std" 2>"$work/bal.err" &
pid=$!
pids+=("$pid")
says() { grep -q "$1" "$work/bal.out" 2>/dev/null; }
waits says 'balloon: ready' || tap_not_ok 'the balloon is there' "$(cat "$work/bal.err")"
client balloon bal
tap_like 'balloon NAME shows it' "$out" '^target_bytes: 0$'
client balloon bal 4M
is 'balloon NAME SIZE: status 0' "$rc" 0
waits says 'inflated to 1024 '
client info bal
tap_like 'info shows how far it is' "$out" '^  actual_bytes: 4194304$'
tap_like '... and what went to the host' "$out" '^  returned_bytes: 4194304$'
client balloon bal 17M
is 'a balloon over RAM: status 1' "$rc" 1
tap_like '... and one line says why' "$err" 'the guest has 16 MiB'
has_stats() { client balloon-stats bal && [[ $out == *"free_bytes: 0"* ]]; }
if waits has_stats; then
	tap_ok 'balloon-stats shows what the guest says, by and by'
else
	tap_not_ok 'balloon-stats shows what the guest says' "$out $err"
fi
client balloon bal 0
wait "$pid"
is 'the guest has all of it back' "$?" 0
tap_like '... zeroed' "$(cat "$work/bal.out")" 'deflated to 0 zeroed 1024 kept 0'

tap_done
