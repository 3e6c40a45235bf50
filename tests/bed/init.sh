#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# tests/bed/init.sh - /init of L1: loads modules, mounts the shares, runs
# /l1cmd with its output on ttyS1, reports on ttyS0, powers off.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb
mount -t proc p /proc
mount -t sysfs s /sys
mount -t devtmpfs d /dev
uptime_now() { read -r up _ </proc/uptime; }
uptime_now
echo "L1: init at $up"
# l1.sh takes long silence for a hung machine.
while :; do
	echo "L1: beat"
	sleep 5
done &
mkdir -p /dev/shm /dev/pts
mount -t tmpfs t /dev/shm
mount -t devpts -o ptmxmode=666 p /dev/pts
mount -t tmpfs t /tmp
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr

# arg NAME: the words of NAME=a,b on the kernel command line.
line=" $(cat /proc/cmdline) "
arg() {
	case $line in *" $1="*)
		a=${line##* "$1"=}
		echo "${a%% *}" | tr , ' '
		;;
	esac
}
for m in /lib/m/*.ko; do
	n=${m##*/}
	n=${n#*-}
	n=${n%.ko}
	# shellcheck disable=SC2046 # a list of module parameters
	insmod "$m" $(arg "mod.$n") || echo "L1: insmod $n failed"
done
chmod 666 /dev/kvm /dev/net/tun /dev/vhost-net /dev/vhost-vsock 2>/dev/null
ip link set lo up
uptime_now
echo "L1: modules at $up"

o=trans=virtio,version=9p2000.L,msize=512000
# shellcheck disable=SC1091 # made by l1.sh
. /l1env # L1_DIR L1_ROOT L1_CACHE
rc=
root=
dir=/share
if [ -n "$L1_ROOT" ]; then
	root=/host
	dir=$L1_DIR
	mkdir -p /host
	mount -t 9p -o $o,ro,cache=loose host /host || rc=121
	for d in proc sys dev; do
		mount --rbind /$d /host/$d
	done
	for d in tmp run var/tmp; do
		mount -t tmpfs t /host/$d
	done
	chmod 1777 /host/tmp /host/var/tmp
	mkdir -p "$root$dir" 2>/dev/null
fi
mount -t 9p -o "$o,cache=$L1_CACHE" share "$root$dir" || rc=121
cp /l1cmd "$root/tmp/l1cmd"
uptime_now
echo "L1: start at $up"
if [ -n "$rc" ]; then
	echo "L1: a share could not be mounted"
elif [ -n "$root" ]; then
	chroot $root /bin/sh -c "cd '$dir' && exec /bin/sh /tmp/l1cmd" \
		</dev/null >/dev/ttyS1 2>&1
	rc=$?
else
	(cd "$dir" && exec sh /tmp/l1cmd) </dev/null >/dev/ttyS1 2>&1
	rc=$?
fi
uptime_now
echo "L1: end at $up"
umount "$root$dir" 2>/dev/null || sync
stty -F /dev/ttyS1 >/dev/null 2>&1 # waits until the output has left
echo "L1: rc $rc"
poweroff -f
