# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# tests/guest/devices_memory_l1.sh - the balloon: free page reporting, half of
# the memory and back, statistics; the process's memory (RSS) follows.
# shellcheck disable=SC2154 # devices_l1.sh sets what it reads

mib=1024
rss_below() { [ "$(vm_rss dev)" -lt "$1" ]; }
# shrinks PROMISE KIB: a test; the RSS comes to be less.
shrinks() {
	if vm_until "$vm_limit" rss_below "$2"; then
		tap_ok "$1"
	else
		tap_not_ok "$1" "RSS $(vm_rss dev) KiB, not below $2"
	fi
}

# ---- free page reporting ----

before=$(vm_rss dev)
reported=$(vm_of dev info reported_bytes)
vm_does dev use:96 'the guest fills 96 MiB of memory'
full=$(vm_rss dev)
vm_does dev free 'the guest frees them'
# Linux reports pieces of 2 MiB and more: some memory stays.
shrinks 'free page reporting: the host has most of them again' \
	$((full - 48 * mib))
reported=$(($(vm_of dev info reported_bytes) - reported))
tap_comment "RSS $before KiB, with 96 MiB in use $full, freed $(vm_rss dev),
reported in between: $((reported / mib)) KiB"
tap_is 'that is counted' "$((reported >= 48 * mib * mib))" 1

# ---- half of the memory, and back ----

balloon_is() { [ "$(vm_of dev info actual_bytes)" = "$1 " ]; }
# balloons PROMISE MIB: a test; it gets this large.
balloons() {
	"$godwit" balloon dev "$2M" >/dev/null 2>balloon.err
	if vm_until "$vm_limit" balloon_is $(($2 * mib * mib)); then
		tap_ok "$1"
	else
		tap_not_ok "$1" "$(vm_of dev info target_bytes actual_bytes)
$(cat balloon.err)"
	fi
}
# The page cache is not free memory, so nothing of it is reported.
vm_does dev cache:vdd:160 'the guest has read 160 MiB of a disk'
full=$(vm_rss dev)
tap_is 'so the process has most of the 256 MiB' $((full > 200 * mib)) 1
balloons 'the balloon grows to half of the memory' 128
shrinks 'the process has given it back: 128 MiB and what godwit needs' \
	$((128 * mib + 24 * mib))
half=$(vm_rss dev)
balloons 'the balloon shrinks to nothing' 0
vm_does dev use:96 'the guest fills 96 MiB of memory again'
again=$(vm_rss dev)
# Less than 96: some that was free had stayed, as above.
tap_is 'which the process then has' $((again > half + 40 * mib)) 1
tap_comment "RSS $full KiB, half in the balloon $half, back $again"

# ---- statistics ----

newer() { [ "$(vm_of dev balloon-stats updates)" -gt "$1" ]; }
updates=$(vm_of dev balloon-stats updates)
if vm_until "$vm_limit" newer "$updates"; then
	tap_ok 'statistics come by themselves'
else
	tap_not_ok 'statistics come by themselves' "still $updates"
fi
vm_does dev memory 'the guest says what memory it has'
total=$(vm_said dev memory | cut -d ' ' -f 1)
tap_comment "$("$godwit" balloon-stats dev --json | tr -s ' \n' ' ')"
tap_is 'by the statistics it is as much' \
	"$(vm_of dev balloon-stats total_bytes)" "$((total * mib)) "
