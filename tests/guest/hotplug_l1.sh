#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/hotplug_l1.sh - runs inside L1, from the folder that hotplug.sh
# made: vCPUs come to a busy guest and leave it again, and after each step the
# guest says what it has.  Prints TAP.
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
cycles=${HOTPLUG_GUEST_CYCLES:-5}

vm_spawn hp "$godwit" run --name hp -k bzImage -i initrd -c 1,max=4 -m 256M \
	-d path=tools.img,ro --no-reboot \
	-a "console=ttyS0 quiet panic=-1 \
godwit.test=tools:vda,watch,spin,check:1,agent:ttyS0"
vm_ready hp 'one vCPU of four runs programs that never sleep'

# step N: gives the guest N vCPUs; it brings them online, has what was asked in
# cpuinfo, online and interrupts, and on each a program runs.  At the first ten
# steps and then every tenth a sleep on each ends, too, its timer interrupts,
# and all the rest of check.  0, or 1 and $answer says why.
worst=0 step=0
step() {
	local gap start
	step=$((step + 1))
	start=$(date +%s%N)
	answer=$("$godwit" cpu set hp "$1" --timeout 120000 2>&1) || return 1
	vm_ask hp "online:$1" || return 1
	echo $((($(date +%s%N) - start) / 1000000)) >>"times.$1"
	[ $((step % 50)) != 0 ] || tap_comment "$step steps, $SECONDS s"
	[ $step -le 10 ] || [ $((step % 10)) = 0 ] || return 0
	vm_ask hp "check:$1" || return 1
	gap=$(vm_said hp clock | sed 's/.*gap_ms //')
	[ "$gap" -le "$worst" ] || worst=$gap
}
# steps PROMISE N...: a test; all of the steps.  When one fails that is the end:
# whatever else the guest were asked would only wait for its time limit.
steps() {
	local what=$1 count bad='' done=0
	shift
	for count; do
		if ! step "$count"; then
			bad="step $((done + 1)), to $count vCPUs: $answer"
			break
		fi
		done=$((done + 1))
	done
	tap_is "$what" "$bad" ''
	[ -n "$bad" ] || return 0
	tap_comment "$(tail -n 40 hp.out | tr -d '\r')"
	vm_log hp
	kill "${vm_pid[hp]}"
	tap_done
}
steps '1 -> 4 vCPUs' 4
start=$SECONDS
# shellcheck disable=SC2046 # words
steps "$cycles times 4 -> 2 -> 4 vCPUs" \
	$(for ((i = 0; i < cycles; i++)); do echo 2 4; done)
tap_comment "in $((SECONDS - start)) s"
steps '4 -> 1 -> 4 vCPUs' 1 4

# Of an emulated machine: for comparing runs, no figure of godwit's.
for count in 2 4; do
	tap_comment "$(sort -n "times.$count" | awk -v count=$count '
		{ ms[NR] = $1 }
		END { print "to " count " vCPUs online: median " \
			ms[int((NR + 1) / 2)] " ms, most " ms[NR] " ms" }')"
done

# A lost timer is a thread of clockwatch that nobody wakes.
tap_comment "longest gap between two lines of clockwatch $worst ms"
if [ "$worst" -lt 15000 ]; then
	tap_ok 'no sleep has lasted for ever'
else
	tap_not_ok 'no sleep has lasted for ever' "one took $worst ms"
fi
vm_ticks 'the guest has said all its lines' hp
tap_is 'parked vCPUs are counted as such' \
	"$("$godwit" cpu set hp 2 --timeout 120000 >&2 &&
		"$godwit" info hp --json | tr -d ' \n' |
		grep -oE '"(present|parked|max)":[0-9]+' | sort | tr '\n' ' ')" \
	'"max":4 "parked":2 "present":2 '
vm_does hp poweroff 'the guest powers off'
vm_end hp
tap_is 'its process ends with status 0 and says nothing' "$rc $(cat hp.err)" \
	'0 '

cd /
rm -rf "$dir"
tap_done
