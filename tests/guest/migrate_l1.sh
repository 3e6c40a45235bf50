#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/migrate_l1.sh - runs inside L1, from the folder that migrate.sh
# made: a guest under load moves from process to process, into a file and back.
# Prints TAP.
# shellcheck disable=SC2034,SC2154 # lib.sh reads logs and sets rc
set -u

run=$(dirname "$(realpath "$0")")
godwit=$run/godwit
. "$run/tap.sh"
. "$run/lib.sh"

logs=$PWD/logs
dir=$(mktemp -d)
cp --sparse=always linux/bzImage linux/initrd linux/tools.img "$dir"
cd "$dir" || exit 1
export GODWIT_RUNTIME_DIR=$dir/run
truncate -s 16M disk.img

# ---- boot ----

words=watch,stress,fio:vda,check:2,agent:ttyS0
vm_spawn g0 "$godwit" run --name g0 -k bzImage -i initrd -c 2,max=4 -m 384M \
	-d path=disk.img -d path=tools.img,ro --rng \
	-a "console=ttyS0 quiet panic=-1 godwit.test=tools:vdb,$words"
vm_ready g0 'the guest computes, fills memory and verifies a disk'
now=g0
history=(g0)
serial=0
cpus=2

# refused PROMISE ARG...: a test; godwit ARG... ends, since disk.img is in use.
refused() {
	local what=$1
	shift
	timeout -k 5 60 "$godwit" "$@" </dev/null >refused.out 2>refused.err
	tap_is "$what" "$? $(grep -c 'disk.img.*use' refused.err)" '1 1'
}

# ---- between processes ----

# move WHAT ADDRESS OPTION...: to another process.
move() {
	local what=$1 address=$2 from=$now to status start=$SECONDS
	shift 2
	serial=$((serial + 1))
	to=g$serial
	vm_spawn "$to" "$godwit" receive "$address" --override "name=$to"
	timeout -k 5 "$vm_limit" "$godwit" migrate "$from" "$address" "$@" \
		--json >"$to.move" 2>&1
	status=$?
	cp "$to.move" "$logs/$to.move"
	if [ $status != 0 ]; then
		vm_log "$from"
		vm_log "$to"
		tap_not_ok "$what: is done" "status $status; $(tail -n 3 "$to.move")
$(cat "$from.err" "$to.err")"
		kill "${vm_pid[$to]}"
		return 1
	fi
	tap_ok "$what: is done"
	now=$to
	history+=("$to")
	vm_end "$from"
	tap_is "$what: the source has ended, status 0, and says nothing" \
		"$rc $(cat "$from.err")" '0 '
	vm_does "$to" "check:$cpus" "$what: programs, timers, clocks, kernel are well"
	vm_time "$to" "$what: the guest's date is right"
	tap_comment "$((SECONDS - start)) s; $(vm_said "$to" clock)"
}

move 'precopy over unix' "unix:$dir/m1" --max-downtime 500 --max-rounds 4
move 'postcopy after a round over tcp' tcp:127.0.0.1:7001 --postcopy after=1
move 'postcopy at once over unix' "unix:$dir/m3" --postcopy immediate
tap_is 'a third vCPU comes' \
	"$("$godwit" cpu set "$now" 3 --timeout 120000 2>&1 >/dev/null)" ''
vm_does "$now" online:3 'the guest takes it in'
cpus=3
move 'precopy over tcp' tcp:127.0.0.1:7002 --max-downtime 500 --max-rounds 4
tap_is 'the third vCPU goes, where it never came' \
	"$("$godwit" cpu set "$now" 2 --timeout 120000 2>&1 >/dev/null)" ''
vm_does "$now" online:2 'the guest does without it'
cpus=2
vm_does "$now" rng 'after the moves the entropy source works'

# ---- into a file and back, with a clone ----

what='a snapshot into a file that ends the VM'
written=$(date +%s)
"$godwit" snapshot "$now" s.godwit --stop >snapshot 2>&1
tap_is "$what: is done" "$?" 0
tap_comment "$(tail -n 2 snapshot)"
vm_end "$now"
tap_is "$what: the process ends with status 0" "$rc $(cat "$now.err")" '0 '
cp --sparse=always disk.img clone.img

# back NAME WHAT OPTION...: restores s.godwit.
back() {
	local name=$1 what=$2
	shift 2
	vm_spawn "$name" "$godwit" restore s.godwit --override "name=$name" "$@"
	vm_does "$name" check:2 \
		"$what: programs, timers, clocks, kernel are well"
	# Its clock stood still in the file, and does not go back.
	vm_time "$name" "$what: the guest's date is right" "$written"
	vm_ticks "$what: the console has every line, none twice" \
		"${history[@]}" "$name"
}
back eager 'restored at once'
refused 'restored a second time, with the same disk: refused' \
	restore s.godwit --override name=second
refused 'a new VM with that disk: refused' \
	run --name second -k bzImage -i initrd -d path=disk.img
back lazy 'its clone, restored lazily' --lazy \
	--override disk0.path=clone.img

# ---- the end ----

for name in eager lazy; do
	vm_does "$name" verdict \
		"$name: fio and stress-ng found all that they wrote"
	tap_comment "$(vm_said "$name" stress)"
	tap_comment "$(vm_said "$name" fio)"
	vm_does "$name" poweroff "$name: the guest powers off"
	vm_end "$name"
	tap_is "$name: its process ends with status 0 and says nothing" \
		"$rc $(cat "$name.err")" '0 '
done

cd /
rm -rf "$dir"
tap_done
