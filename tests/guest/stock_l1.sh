#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/stock_l1.sh - runs inside L1, from the folder that stock.sh made,
# with godwit and tap.sh beside it: boots the guest of linux/ in
# the working directory under GODWIT and prints TAP.  Logs go to logs/.
set -u

run=$(dirname "$(realpath "$0")")
godwit=$run/godwit
. "$run/tap.sh"

logs=$PWD/logs
dir=$(mktemp -d)
# Reading the kernel through 9p once is enough.
cp linux/bzImage linux/vmlinux linux/initrd linux/initrd.gz "$dir"
cd "$dir" || exit 1

limit=${GUEST_LIMIT:-240} # seconds a guest may take; only ends what hangs

# boot LOG WORDS ARG...: one godwit process.  Sets rc; the guest's lines are in
# LOG, godwit's in LOG.err.  $input is its stdin.
input=/dev/null
boot() {
	local log=$1 words=$2
	shift 2
	timeout -k 5 $limit "$godwit" run "$@" \
		-a "console=ttyS0 quiet panic=-1 godwit.test=$words" \
		<"$input" >"$log" 2>"$log.err"
	rc=$?
	keep "$log"
}

keep() {
	tr -d '\r' <"$1" >"$logs/$1.log"
	cat "$1.err" >>"$logs/$1.log"
}

# said WHAT LOG WORD...: the guest of LOG answered each of the words with ok,
# in this order, and none with not ok.
said() {
	local what=$1 log=$2
	shift 2
	got=$(tr -d '\r' <"$log" | sed -n 's/^GODWIT-TEST ok //p' |
		tr '\n' ' ')
	if tr -d '\r' <"$log" | grep -q '^GODWIT-TEST not ok'; then
		tap_not_ok "$what" "$(tr -d '\r' <"$log" | grep ^GODWIT)
$(cat "$log.err")"
	else
		tap_is "$what" "$got" "$* "
	fi
}

# ended WHAT LOG STATUS
ended() {
	if [ "$rc" = "$3" ]; then
		tap_ok "$1"
	else
		tap_not_ok "$1" "status $rc, want $3; the last lines:
$(tail -n 15 "$2" | tr -d '\r')
$(cat "$2.err")"
	fi
}

new_disks() {
	rm -f a.img b.img
	truncate -s 8M a.img
	truncate -s 12M b.img
}

# on_disk WHAT LOG: the images hold the data whose sums the guest named.
on_disk() {
	local name img sum bad=
	for name in vda:a.img vdb:b.img; do
		img=${name#*:}
		name=${name%:*}
		sum=$(dd if="$img" bs=1M skip=1 count=2 2>/dev/null |
			sha256sum | cut -d ' ' -f 1)
		tr -d '\r' <"$2" | grep -q "disk $name wrote $sum" ||
			bad="$bad $img"
	done
	tap_is "$1" "$bad" ""
}

# ---- the whole machine, each way to boot, 1 and 2 vCPUs ----

# full LOG WHAT CPUS ARG...
full() {
	local log=$1 what=$2 cpus=$3 words first second
	shift 3
	new_disks
	words=cpus:$cpus,virtio:3,rng,size:vda:16384,size:vdb:24576
	words=$words,disk:vda,disk:vdb,sleep
	first=$(echo "$words" | sed -E 's/(disk:vd.)/\1:write/g' | tr , ' ')
	second=$(echo "$words" | sed -E 's/(disk:vd.)/\1:verify/g' | tr , ' ')
	boot "$log" "$words,reboot,poweroff" -c "$cpus" --rng \
		-d path=a.img -d path=b.img "$@"
	ended "$what: the guest powers off, status 0" "$log" 0
	# shellcheck disable=SC2086 # words
	said "$what: rng, disks and timers work, and again after a reboot" \
		"$log" $first reboot $second poweroff
	on_disk "$what: the images hold what the guest flushed" "$log"
}

full bz1 'bzImage, 1 vCPU' 1 -k bzImage -i initrd
full pvh2 'PVH ELF, 2 vCPUs, gzip initrd' 2 -k vmlinux -i initrd.gz --boot pvh

# ---- the other two pairs, with what the first two leave out ----

# talk LOG LINE WORDS ARG...: as boot; when the guest has said on godwit's
# stdout, which goes to LOG, that it listens, LINE is typed.
talk() {
	local log=$1 line=$2
	shift 2
	rm -f in "$log" "$log.rc"
	mkfifo in
	exec 4<>in
	input=in
	(
		boot "$log" "$@"
		echo "$rc" >"$log.rc"
	) &
	until grep -qa 'GODWIT-ECHO ready' "$log" 2>/dev/null ||
		[ -e "$log.rc" ]; do
		sleep 0.1
	done
	printf '%s\r' "$line" >&4
	wait
	exec 4>&-
	input=/dev/null
	rc=$(cat "$log.rc")
}
# answered WHAT LOG LINE
answered() {
	tap_is "$1" "$(tr -d '\r' <"$2" | sed -n 's/^GODWIT-ECHO //p' |
		tail -n 1)" "$3"
}

line='over the virtio console'
talk bz2 "$line" cpus:2,virtio:1,echo:hvc0,poweroff -c 2 -k bzImage -i initrd \
	--serial file=serial --console stdio
mv bz2.err serial.err
keep serial
ended 'bzImage, 2 vCPUs: powers off, status 0' serial 0
said 'bzImage, 2 vCPUs: both run, the console has a driver' serial \
	cpus:2 virtio:1 echo:hvc0 poweroff
answered 'console: a line typed there comes back' bz2 "$line"

# The serial port receives as well; a read-only disk and its id; reset.
new_disks
line='over the serial port'
talk pvh1 "$line" cpus:1,ro:vda,serial:vda:lead-42,echo:ttyS0,reset -c 1 \
	-k vmlinux -i initrd --no-reboot -d path=a.img,ro,serial=lead-42
ended 'PVH ELF, 1 vCPU: a reset with --no-reboot is status 4' pvh1 4
said 'PVH ELF, 1 vCPU: a read-only disk refuses writes and has its id' pvh1 \
	cpus:1 ro:vda serial:vda:lead-42 echo:ttyS0 reset
answered 'serial: a line typed there comes back' pvh1 "$line"

# ---- a guest that dies ----

boot panic cpus:1,panic -k bzImage -i initrd
ended 'a kernel panic is status 3' panic 3
said 'a kernel panic: the guest came as far as that' panic cpus:1 panic
tap_is 'a kernel panic: one line on stderr says so' \
	"$(grep -c . panic.err) $(grep -ci panic panic.err)" '1 1'

cd /
rm -rf "$dir"
tap_done
