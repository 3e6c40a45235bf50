#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/kvm/qemu_guests.sh - the guests of kernels/ run unchanged under QEMU's
# microvm (TCG, no /dev/kvm), so what they expect is not godwit's own idea; and
# the oracle of `work` does notice a page that was changed behind its back.
# KERNELS=DIR tests guests that were built elsewhere.
set -u

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"
kernels=$(realpath "${KERNELS:-$top/kernels}")
qemu=${QEMU:-qemu-system-x86_64}

command -v "$qemu" >/dev/null || tap_skip_all "$qemu is not installed"
[ -x "$kernels/hello" ] || {
	tap_not_ok "$kernels/hello is built" 'make kernels'
	tap_done
}

tmp=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$tmp"' EXIT

machine=(-M 'microvm,acpi=off,rtc=on' -accel tcg -m 64 -nodefaults
	-no-user-config -display none -no-reboot
	-global virtio-mmio.force-legacy=false)
debug_exit=(-device 'isa-debug-exit,iobase=0xf4,iosize=4')
e=exit=debug:20

# guest NAME WORDS [QEMU ARGUMENT...]: sets rc and out.  The limit only ends
# what hangs.  Without the debug-exit device a power-off takes its time.
guest() {
	local name=$1 words=$2
	shift 2
	out=$(timeout -k 5 300 "$qemu" "${machine[@]}" -serial stdio \
		-kernel "$kernels/$name" -append "$words" "$@" \
		</dev/null 2>"$tmp/err")
	rc=$?
	out=$(tr -d '\r' <<<"$out")
	[ ! -s "$tmp/err" ] || tap_comment "$(cat "$tmp/err")"
}

# oracle PAGES PASS: the sum over word 0 of pages 0 .. PAGES - 1 after PASS.
oracle() {
	printf '%016x' $((0x9e3779b97f4a7c15 *
		(($1 * $2 << 32) + $1 * ($1 - 1) / 2)))
}

guest hello $e "${debug_exit[@]}"
tap_is "hello prints its line, entered by PVH" "$out" \
	"hello from godwit guest (pvh)"
tap_is "exit=debug:20 gives QEMU's status (20 << 1) | 1" $rc 41
guest hello.bzimage $e "${debug_exit[@]}"
tap_is "hello.bzimage boots by QEMU's own bzImage loader" "$out" \
	"hello from godwit guest (linux32)"
guest hello exit=triple
tap_is "exit=triple ends QEMU (-no-reboot)" $rc 0
guest hello ''
tap_is "exit=poweroff works without a debug-exit device" $rc 0
guest hello '' -M acpi=on "${debug_exit[@]}"
tap_is "exit=poweroff finds the power register of acpi=on" $rc 0

guest exits $e "${debug_exit[@]}"
tap_like "exits: no check fails" "$out" '^exits: [0-9]{2} ok, 0 failed$'
tap_like "exits: says what QEMU lacks" "$out" '^skip i8042_status '
tap_is "exits: status of success" $rc 41
guest exits "$e case=nosuch" "${debug_exit[@]}"
tap_is "exits: status of failure is one more" $rc 43
guest exits case=debugexit:33 "${debug_exit[@]}"
tap_is "exits: case=debugexit:33 gives (33 << 1) | 1" $rc 67

guest irq "$e smp=3" "${debug_exit[@]}" -smp 3 -device virtio-rng-device
tap_like "irq: timer, IPI, COM1, virtio interrupt and 3 vCPUs" "$out" \
	'^irq: 8 ok, 0 failed$'

truncate -s 1M "$tmp/disk" "$tmp/disk-ro"
disks=(-drive "if=none,id=a,format=raw,file=$tmp/disk"
	-drive "if=none,id=b,format=raw,readonly=on,file=$tmp/disk-ro"
	-chardev "file,id=c,path=$tmp/console")
guest virtio "$e salt=7" "${debug_exit[@]}" "${disks[@]}" \
	-device virtio-rng-device -device virtio-blk-device,drive=a,serial=abc \
	-device virtio-blk-device,drive=b \
	-device virtio-serial-device -device virtconsole,chardev=c
tap_like "virtio: rng, two disks and a console, no check fails" "$out" \
	'^virtio: 61 ok, 0 failed$'
tap_like "virtio: the console printed" "$(cat "$tmp/console")" \
	'^virtio: console says hello'
guest virtio "$e salt=7 blk=verify" "${debug_exit[@]}" "${disks[@]}" \
	-device virtio-blk-device,drive=a,event_idx=off,indirect_desc=off
tap_like "virtio: blk=verify finds what an earlier run wrote" "$out" \
	'^ok blk irq verify$'
guest virtio "$e salt=8 blk=verify" "${debug_exit[@]}" "${disks[@]}" \
	-device virtio-blk-device,drive=a
tap_like "virtio: blk=verify notices other data" "$out" \
	'^FAIL blk irq verify$'

guest load "$e requests=3000" "${debug_exit[@]}" "${disks[@]}" \
	-device virtio-rng-device -device virtio-blk-device,drive=a \
	-device virtio-blk-device,drive=b
tap_like "load: rng and disk at once, every answer is right" "$out" \
	'^load: verdict ok$'
guest load "$e requests=3000" "${debug_exit[@]}" \
	-blockdev driver=null-co,node-name=n,size=1048576,read-zeroes=on \
	-device virtio-blk-device,drive=n
tap_like "load: a disk that forgets is noticed" "$out" \
	'^load: WRONG device 0 data want=[0-9a-f]+ got=0$'
tap_is "load: status of failure is one more" $rc 43

guest work "$e mem=8 passes=50 report=10p fill=1" "${debug_exit[@]}"
tap_like "work: the verdict is the oracle's sum" "$out" \
	"^work: verdict ok passes=50 pages=2048 sum=$(oracle 2048 50)\$"
tap_like "work: pass 40 has read what pass 39 wrote" "$out" \
	"^work: pass 40 sum $(oracle 2048 39) cpu 0\$"
tap_is "work: status of success" $rc 41
guest work "$e mem=4 passes=20 mode=rand smp=2 report=0" "${debug_exit[@]}" \
	-smp 2
tap_like "work: two vCPUs, random order" "$out" \
	"^work: verdict ok passes=40 pages=2048 sum=$(oracle 2048 20)\$"

# endless WORDS: `work` until `finish`; its RAM is the file $tmp/ram.
endless() {
	mkfifo "$tmp/out"
	truncate -s 64M "$tmp/ram"
	"$qemu" "${machine[@]}" -serial stdio -kernel "$kernels/work" \
		-append "$e passes=0 tick=10 $1" "${debug_exit[@]}" \
		-M memory-backend=ram -object \
		"memory-backend-file,id=ram,size=64M,share=on,mem-path=$tmp/ram" \
		<"$tmp/in" >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	exec 3<"$tmp/out"
}

# await ERE: reads lines until one matches; remembers them in $out.
await() {
	local line
	while IFS= read -r -t 300 line <&3; do
		line=${line%$'\r'}
		out+=$line$'\n'
		[[ $line =~ $1 ]] && return 0
	done
	return 1
}

finish() {
	await '^work: verdict'
	exec 3<&-
	wait "$pid"
	rc=$?
	pid=
	rm -f "$tmp/out" "$tmp/ram"
}

# poke GPA BYTES: as printf writes them.
poke() {
	# shellcheck disable=SC2059
	printf "$2" | dd of="$tmp/ram" bs=1 seek=$(($1)) conv=notrunc \
		status=none
}

out=
mkfifo "$tmp/in"
exec 4<>"$tmp/in"
endless 'mem=4 report=1p mode=read'
await '^work: pass 3 '
poke $((0x200000 + 5 * 4096)) '\x55'
await '^work: LOST page=5 ' || out+="no LOST line"
poke 0x2008 '\x01'
finish
tap_like "work: a changed page is LOST at the next pass" "$out" \
	'^work: LOST page=5 word=0 want=.* got=.*55 pass='
tap_like "work: the host's stop flag brings the verdict, LOST" "$out" \
	'^work: verdict LOST passes=.* lost='
tap_is "work: the status of LOST is one more" $rc 43

out=
endless 'mem=4 report=1p hot=1 fill=1'
await '^work: pass 3 '
poke $((0x200000 + 900 * 4096 + 4000)) '\xaa\x55\xaa\x55'
printf q >&4
finish
tap_like "work: 'q' on COM1 ends it; a torn cold page is found then" "$out" \
	'^work: LOST page=900 word=500 '
tap_like "work: exactly that page" "$out" '^work: verdict LOST .* lost=1$'

tap_done
