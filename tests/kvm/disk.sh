#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/kvm/disk.sh - the disks of a running VM, and the verbs about them.
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
pid=
clean() {
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null
	rm -rf "$work"
}
trap clean EXIT
export GODWIT_RUNTIME_DIR=$work/run
limit=${CONTROL_LIMIT:-120} # seconds; only ends what hangs

# client VERB...: sets rc, out, err.
client() {
	out=$(timeout -k 5 "$limit" "$godwit" "$@" 2>"$work/err" </dev/null)
	rc=$?
	err=$(cat "$work/err")
}
# is NAME GOT WANT
is() {
	if [ "$2" = "$3" ]; then
		tap_ok "$1"
	else
		tap_not_ok "$1" "got '$2', want '$3'; $err"
	fi
}
# says NAME RC PATTERN: the last verb ended with RC and an error like PATTERN.
says() {
	# shellcheck disable=SC2254 # a pattern it shall be
	case $rc:$err in
	$2:$3) tap_ok "$1" ;;
	*) tap_not_ok "$1" "status $rc: $err" ;;
	esac
}
# of DISK KEY: a figure of "disks".
of() {
	"$godwit" disks vm --json | python3 -c '
import json, sys
disks = {d["name"]: d for d in json.load(sys.stdin)["disks"]}
value = disks[sys.argv[1]][sys.argv[2]]
print(json.dumps(value, sort_keys=True))' "$1" "$2"
}
answers() { "$godwit" info vm >/dev/null 2>&1; }

# ---- what a driver does, with everything on ----

for options in '' ,cache=writethrough ,cache=unsafe ,queues=4,iops=100000,bps=1G \
	,direct; do
	truncate -s 1M "$work/image"
	timeout -k 5 "$limit" "$godwit" run -k "$guests/virtio" -m 64M \
		-d "path=$work/image$options" --rng --serial stdio \
		--console "file=$work/console" --debug-exit \
		</dev/null >"$work/out" 2>"$work/err"
	rc=$?
	err=$(tail -n 5 "$work/out" "$work/err")
	if grep -q O_DIRECT "$work/err"; then
		tap_skip "a driver is served with '$options'" 'no O_DIRECT here'
		continue
	fi
	is "a driver is served with '$options'" "$(grep -c '^not ok' "$work/out")" 0
	is "and ends well with '$options'" "$rc" 0
done

# ---- the verbs ----

truncate -s 1M "$work/a" "$work/b" "$work/c"
"$godwit" run -k "$guests/work" -a 'mem=8 passes=0 report=20' -m 64M \
	--name vm --iothread 2 --serial "file=$work/serial" \
	-d "path=$work/a,queues=2,bps=1M,bps-burst=4M,group=g" \
	-d "path=$work/b,group=g" -d "path=$work/c,ro" \
	</dev/null >"$work/std" 2>&1 &
pid=$!
end=$((SECONDS + limit))
until answers; do
	[ $SECONDS -lt $end ] || break
	sleep 0.02
done

is 'a disk has its size' "$(of disk0 bytes)" 1048576
is 'limits are shown' "$(of disk0 limits)" '{"bps": 1048576, "bps-burst": 4194304}'
is 'a group has them all' "$(of disk1 limits)" '{"bps": 1048576, "bps-burst": 4194304}'
is 'others have none' "$(of disk2 limits)" '{}'
client disk-throttle vm disk1 iops=500,bps-wr=2M
is 'limits change' "$rc" 0
is 'for the group' "$(of disk0 limits)" \
	'{"bps-wr": 2097152, "bps-wr-burst": 209715, "iops": 500, "iops-burst": 50}'
client disk-throttle vm disk2 iops-rd=7
is 'and come where there were none' "$(of disk2 limits)" \
	'{"iops-rd": 7, "iops-rd-burst": 1}'
client disk-throttle vm disk0 none
is 'and go' "$(of disk1 limits)" '{}'
client disk-throttle vm disk0 iops
says 'a limit wants a number' 2 '*iops*not understood*'
client disk-throttle vm disk9 none
says 'a disk must be there' 1 '*no disk*disk9*(give disk0 to disk2)*'

client disk-resize vm disk0 2M
is 'a disk grows' "$rc:$(of disk0 bytes):$(stat -c %s "$work/a")" 0:2097152:2097152
client disk-resize vm disk0 1M
says 'it does not shrink by chance' 1 '*(say so: shrink)*'
client disk-resize vm disk0 1M --shrink
is 'it shrinks when told' "$rc:$(of disk0 bytes)" 0:1048576
truncate -s 3M "$work/b"
client disk-resize vm disk1
is 'a file that has grown is looked at again' "$rc:$(of disk1 bytes)" 0:3145728
client disk-resize vm disk2 2M
says 'a read-only disk stays' 1 '*read-only*'
client disk-resize vm disk0 1000
says 'a size is whole sectors' 1 '*multiple of 512*'
client stop vm
is 'and it ends' "$rc" 0
wait "$pid"
pid=
tap_done
