#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kernels/linux/build.sh DIR [tools] - the stock Linux guest, ready to boot:
#   DIR/bzImage, DIR/vmlinux   Debian's cloud kernel, packed and as a PVH ELF
#   DIR/initrd, DIR/initrd.gz  busybox, virtio modules and kernels/linux/init
#   DIR/tools.img              with "tools": an ext4 disk of Debian's fio,
#                              stress-ng, iperf3, ... and clockwatch
# Nothing is done again when it is there and newer than its sources.
set -eu

here=$(dirname "$(realpath "$0")")
[ $# = 1 ] || [ "$*" = "${1:-} tools" ] || {
	sed -n '3,8s/^# //p' "$0" >&2
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
		virtio_rng virtio_blk virtio_console virtio_net virtio_balloon \
		vmw_vsock_virtio_transport ext4 pvpanic_mmio
	gzip -9nc "$out/initrd" >"$out/initrd.gz.tmp"
	mv "$out/initrd.gz.tmp" "$out/initrd.gz"
	break
done

[ "${2:-}" = tools ] || exit 0
tools=$("$here/../../tests/lib/fetch_tools.sh")
[ "$out/tools.img" -nt "$here/clockwatch.c" ] &&
	[ "$out/tools.img" -nt "$here/words" ] &&
	[ "$out/tools.img" -nt "$tools/programs" ] &&
	[ "$out/tools.img" -nt "$here/build.sh" ] && exit 0
stage=$(mktemp -d "${TMPDIR:-/tmp}/tools.XXXXXX")
trap 'rm -rf "$stage"' EXIT
cp -r "$tools/bin" "$tools/lib" "$here/words" "$stage"
# Static: the guest's libraries are Debian's, the host's perhaps not.
gcc -std=gnu11 -D_GNU_SOURCE -O2 -static -pthread \
	-o "$stage/bin/clockwatch" "$here/clockwatch.c"
PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t ext4 -O ^has_journal -m 0 \
	-d "$stage" "$out/tools.img.tmp" \
	$(($(du -sm "$stage" | cut -f 1) * 11 / 10 + 8))M
mv "$out/tools.img.tmp" "$out/tools.img"
