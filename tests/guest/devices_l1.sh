#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/devices_l1.sh - runs inside L1, from the folder that devices.sh
# made: boots the one guest, then reads the files devices_*_l1.sh named in
# DEVICES, each of which tests a device.  Prints TAP.
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

# What the limits of the two disks are.
iops=100
bps=$((1 << 20))
truncate -s 16M iops.img bps.img
truncate -s 192M sparse.img

vm_netns gw 10.9.0.1/24
vm_spawn dev ip netns exec gw "$godwit" run --name dev -k bzImage -i initrd \
	-c 2 -m 256M -d path=tools.img,ro -d path=iops.img,iops=$iops \
	-d path=bps.img,bps=$bps -d path=sparse.img \
	-n user,hostfwd=tcp:5301-:5201 -n tap=tap0 --vsock path=v.sock \
	--balloon=,stats=1,reporting=on \
	-a "console=ttyS0 quiet panic=-1 \
godwit.test=virtio:8,tools:vda,quiet,agent:ttyS0"
vm_ready dev 'all of the devices have drivers'

for part in $DEVICES; do
	part_start=$SECONDS
	# shellcheck source=/dev/null
	. "$run/devices_${part}_l1.sh"
	tap_comment "$part: $((SECONDS - part_start)) s"
done

vm_does dev quiet 'in all this the kernel never complained'
vm_does dev poweroff 'the guest powers off'
vm_end dev
tap_is 'its process ends with status 0 and says nothing' "$rc $(cat dev.err)" \
	'0 '
cd /
rm -rf "$dir"
tap_done
