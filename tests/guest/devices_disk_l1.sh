# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# tests/guest/devices_disk_l1.sh - mkfs.ext4 and fio --verify on two throttled
# disks whose limits hold, and discards that shrink an image.
# shellcheck disable=SC2154 # devices_l1.sh sets what it reads

vm_does dev mkfs:vdb "mkfs.ext4 on a disk of $iops requests a second"
vm_does dev mkfs:vdc "mkfs.ext4 on a disk of $bps bytes a second"
vm_does dev verify:vdb:8M:4k 'fio --verify begins on the first'
vm_does dev verify:vdc:8M:16k 'fio --verify begins on the second'
vm_does dev busy:vdb:vdc 'both write and read'

# disk1 EXPRESSION: of its figures d, in what godwit says.  It is vdb.
disk1() {
	"$godwit" disks dev --json | python3 -c "
import json, sys
d = json.load(sys.stdin)['disks'][1]
print($1 if d['name'] == 'disk1' else d)"
}
# counted: by the guest, its time, requests of vdb and sectors of vdc; by
# godwit, time and requests of vdb.
counted() {
	local guest host
	vm_ask dev rate:vdb:vdc || echo "$answer" >&2
	guest="$(vm_said dev 'rate vdb') $(vm_said dev 'rate vdc')"
	host="$EPOCHREALTIME $(disk1 'd["reads"] + d["writes"]')"
	echo "$guest $host" | tr -d .
}
# rates: over ten seconds, what both count: requests of vdb (guest, godwit) and
# bytes of vdc a second.
rates() {
	local before after
	before=$(counted)
	sleep 10
	after=$(counted)
	echo "$before $after" | awk '{
		printf "%.1f %.1f %.0f\n", ($10 - $2) * 100 / ($9 - $1),
			($16 - $8) * 1e6 / ($15 - $7),
			($14 - $6) * 512 * 100 / ($12 - $4)
	}'
}
# within RATE LIMIT FROM TO: FROM % to TO % of it.
within() {
	awk "BEGIN { exit !($1 >= $2 * $3 / 100 && $1 <= $2 * $4 / 100) }"
}

# A machine that stands still for a second has lower rates than the limits: three
# tries.  Higher ones are never right.
for try in 1 2 3; do
	read -r of_guest of_godwit of_bytes <<<"$(rates)"
	figures="$of_guest requests/s ($of_godwit by godwit's own count),
$of_bytes bytes/s, try $try"
	tap_comment "$figures"
	within "$of_guest" $iops 0 110 && within "$of_bytes" $bps 0 110 || break
	within "$of_guest" $iops 90 110 && within "$of_bytes" $bps 90 110 &&
		within "$of_godwit" $iops 90 110 && break
done
# What this bed can do just now, only when it did not get as far as the limits.
free=$iops free_bytes=$bps
if ! within "$of_guest" $iops 90 1000 || ! within "$of_bytes" $bps 90 1000 ||
	! within "$of_godwit" $iops 90 1000; then
	"$godwit" disk-throttle dev disk1 none
	"$godwit" disk-throttle dev disk2 none
	read -r free _ free_bytes <<<"$(rates)"
	tap_comment "without limits $free requests/s, $free_bytes bytes/s"
fi
# held PROMISE RATE LIMIT FREE: a test; FREE is the rate without the limit.
held() {
	if within "$2" "$3" 90 110; then
		tap_ok "$1"
	elif within "$2" "$3" 0 90 && ! within "$4" "$3" 200 1e9; then
		tap_skip "$1" "the machine is so busy that there are $2 a second \
of $3, and only $4 without a limit"
	else
		tap_not_ok "$1" "$2 of $3, without the limit $4; $figures"
	fi
}
held 'the limit of requests holds within 10 %' "$of_guest" $iops "$free"
held "by godwit's own count, too" "$of_godwit" $iops "$free"
held 'the limit of bytes holds within 10 %' "$of_bytes" $bps "$free_bytes"
tap_is 'requests had to wait' "$(disk1 'd["throttled"] > 0')" True

for disk in vdb vdc; do
	vm_does dev "verified:$disk" "$disk: fio found all that it wrote"
	tap_comment "$(vm_said dev "fio $disk")"
	vm_does dev "kept:$disk" "$disk: e2fsck is content, an old file is there"
done

# ---- discard ----

# allocated: KiB that sparse.img takes.
allocated() { du -k sparse.img | cut -f 1; }
vm_does dev mkfs:vdd 'mkfs.ext4 on a sparse image'
made=$(allocated)
vm_does dev junk:vdd:48 'a file of 48 MiB is written there, then deleted'
full=$(allocated)
vm_does dev trim:vdd 'fstrim runs'
trimmed=$(allocated)
tap_comment "$(vm_said dev trim)
KiB of the image: $made, with the file $full, trimmed $trimmed"
tap_is 'the file took its space of the image' \
	"$((full - made >= 48 * 1024))" 1
tap_is 'fstrim has given it back' "$((full - trimmed >= 47 * 1024))" 1
vm_does dev kept:vdd 'the rest is as it was'
vm_does dev discard:vdd 'blkdiscard of all the disk'
discarded=$(allocated)
tap_is 'the image takes no space' "$discarded" 0
