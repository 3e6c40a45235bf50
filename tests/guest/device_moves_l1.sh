#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/device_moves_l1.sh - runs inside L1, from the folder that
# device_moves.sh made.  DEVICE_MOVES times: a guest whose devices are all busy
# is paused, resumed, written to a file and restored from it.  Prints TAP.
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
moves=${DEVICE_MOVES:-3}
truncate -s 16M a.img b.img
head -c 64K /dev/urandom >sent

# ---- boot: every device has work ----

vm_netns gw 10.9.0.1/24
vm_spawn m0 ip netns exec gw "$godwit" run --name m0 -k bzImage -i initrd -c 2 \
	-m 192M -d path=tools.img,ro -d path=a.img,iops=200 \
	-d path=b.img,queues=2,bps=2M -n user -n tap=tap0 --vsock path=v.sock \
	--balloon=,stats=1 --rng \
	-a "console=ttyS0 quiet panic=-1 godwit.test=tools:vda,watch,agent:ttyS0"
vm_ready m0 'the guest boots'
for port in 5201 5202 5203; do
	netns_serve gw $port
done
# prepared WORD...: the guest can do it.
prepared() {
	local word
	for word; do
		vm_ask m0 "$word" || {
			tap_not_ok 'the devices of the guest have work' "$answer"
			kill "${vm_pid[m0]}"
			vm_end m0
			tap_done
		}
	done
	tap_ok 'the devices of the guest have work'
}
prepared mkfs:vdb mkfs:vdc verify:vdb:8M:4k verify:vdc:8M:16k \
	net:eth0:10.0.2.15/24:10.0.2.2 net:eth1:10.9.0.2/24 hear:1000 \
	stream:tap:10.9.0.1:5201 busy:vdb:vdc

# ---- move after move ----

now=m0
history=(m0)
declare -A count=() error=()
# went KIND COMMAND...: counts; of each kind the first trouble is kept, and
# logs/moves.log has all.  1: it has failed.
went() {
	local kind=$1 text
	shift
	echo "$SECONDS $now: $kind: $*" >>"$logs/moves.log"
	if text=$("$@" 2>&1); then
		count[$kind]=$((${count[$kind]:-0} + 1))
		return 0
	fi
	: "${error[$kind]:="move $serial: $* failed: $text"}"
	return 1
}
# answers WORD: the guest does it, and if not this says why.
answers() {
	vm_ask "$now" "$1" || {
		echo "$answer"
		return 1
	}
}

# paused: it is, and the guest says nothing until it is resumed.
paused() {
	local ticks
	timeout 60 "$godwit" pause "$now" || return 1
	ticks=$(vm_lines "$now" 'GODWIT-SAYS tick')
	"$godwit" info "$now" --json | grep -q '"state": *"paused"' &&
		[ "$(vm_lines "$now" 'GODWIT-SAYS tick')" = "$ticks" ] &&
		timeout 60 "$godwit" resume "$now"
}

# heard: a line and 64 KiB go to the guest by vsock and come back.
heard() {
	{ echo CONNECT 1000 && cat sent; } | tool socat -t 60 - \
		UNIX-CONNECT:v.sock >heard || return 1
	tail -n +2 heard | cmp - sent
}

balloon_is() { [ "$(vm_of "$now" info actual_bytes)" = "$(($1 << 20)) " ]; }

saved() { timeout -k 5 "$vm_limit" "$godwit" snapshot "$now" s.godwit --stop; }
ended() {
	echo "status $rc: $(cat "$now.err")"
	[ "$rc $(cat "$now.err")" = '0 ' ]
}
there() { "$godwit" info "$now"; }

# move SIZE [thorough]: a balloon of SIZE MiB is asked for and in the middle of
# that...  With thorough user-mode connections and vsock have their turn, too.
middle=0
mkfifo hold
exec {hold}<>hold
move() {
	local size=$1 thorough=${2:-}
	serial=$((serial + 1))
	if [ -n "$thorough" ]; then
		went user answers stream:user:10.0.2.2:5202
		# A connection that stays until the VM has gone.
		echo CONNECT 1000 >&$hold
		tool socat - UNIX-CONNECT:v.sock <&$hold >held 2>&1 &
		holder=$!
		went vsock vm_until 60 grep -q ^OK held
	fi
	went balloon timeout 60 "$godwit" balloon "$now" "${size}M"
	went pause paused
	went snapshot saved || return 1
	vm_end "$now"
	went snapshot ended
	vm_spawn "m$serial" ip netns exec gw "$godwit" restore s.godwit \
		--override "name=m$serial"
	now=m$serial
	history+=("$now")
	went restore vm_until 60 there || return 1
	balloon_is "$size" || middle=$((middle + 1))
	went fio answers busy:vdb:vdc
	went tap answers flowing:tap
	went balloon vm_until "$vm_limit" balloon_is "$size"
	if [ -n "$thorough" ]; then
		went user answers broken:user
		went user answers iperf:10.0.2.2:5203:1
		wait "$holder" # the end of the process has ended it
		went vsock answers unheard:1000
		went vsock heard
	fi
	went kernel answers quiet
}

start=$SECONDS
serial=0
while [ $serial -lt "$moves" ]; do
	size=$((serial % 2 ? 0 : 96)) thorough=
	if [ $serial -lt 2 ] || [ $((serial % 10)) = 9 ]; then
		thorough=yes
	fi
	move $size $thorough || break
	[ ${#error[@]} = 0 ] || break
	[ $((serial % 10)) != 0 ] ||
		tap_comment "$serial moves after $((SECONDS - start)) s"
done
tap_comment "$serial moves in $((SECONDS - start)) s, $middle in the middle of
a change of the balloon"

# kind KIND PROMISE: a test, of all the moves.
kind() {
	tap_is "$2" "${error[$1]:-}" ''
	tap_comment "${count[$1]:-0} times"
}
kind pause 'paused the guest says nothing, resumed it goes on'
kind snapshot 'in the middle of all this it is written to a file'
kind restore 'and restored from it'
kind fio 'fio --verify goes on on both disks'
kind tap 'iperf3 over tap goes on'
kind user 'iperf3 over user-mode networking ends with a message, a new one works'
kind vsock 'vsock: the old connection ends, a new one works'
kind balloon 'the balloon comes to the size that was asked for'
kind kernel 'the kernel never complains'
tap_is 'all the moves were made' "$serial" "$moves"

# ---- nothing is lost ----

for disk in vdb vdc; do
	vm_does "$now" "verified:$disk" "$disk: fio found all that it wrote"
	tap_comment "$(vm_said "$now" "fio $disk")"
	vm_does "$now" "kept:$disk" \
		"$disk: e2fsck is content, the file from before is there"
done
vm_ticks 'the console has every line, none twice' "${history[@]}"
vm_does "$now" poweroff 'the guest powers off'
vm_end "$now"
tap_is 'its process ends with status 0 and says nothing' \
	"$rc $(cat "$now.err")" '0 '
cd /
rm -rf "$dir"
tap_done
