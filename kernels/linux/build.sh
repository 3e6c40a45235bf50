#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kernels/linux/build.sh DIR - the stock Linux guest, ready to boot:
#   DIR/bzImage, DIR/vmlinux   Debian's cloud kernel, packed and as a PVH ELF
#   DIR/initrd, DIR/initrd.gz  busybox, virtio modules and kernels/linux/init
# Nothing is done again when it is there and newer than its sources.
set -eu

here=$(dirname "$(realpath "$0")")
[ $# = 1 ] || {
	sed -n '3,6s/^# //p' "$0" >&2
	exit 2
}
mkdir -p "$1"
out=$(realpath "$1")
package=$("$here/../../tests/lib/fetch_kernels.sh" cloud)
version=$(cat "$package/godwit-version")

exec 9>"$out/lock"
flock 9
if [ "$(cat "$out/version" 2>/dev/null)" != "$version" ]; then
	rm -f "$out"/{bzImage,vmlinux,initrd,initrd.gz,version}
	cp "$package/boot/vmlinuz-$version" "$out/bzImage"
	"$here/extract-vmlinux.py" "$out/bzImage" "$out/vmlinux"
	echo "$version" >"$out/version"
fi
for source in "$here/init" "$here/mkrd.sh" "$here/build.sh"; do
	[ "$out/initrd.gz" -nt "$source" ] && continue
	"$here/mkrd.sh" "$out/initrd" "$package" "$here/init" virtio_mmio \
		virtio_rng virtio_blk virtio_console pvpanic_mmio
	gzip -9nc "$out/initrd" >"$out/initrd.gz.tmp"
	mv "$out/initrd.gz.tmp" "$out/initrd.gz"
	break
done
