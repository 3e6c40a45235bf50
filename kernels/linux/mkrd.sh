#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kernels/linux/mkrd.sh OUT.cpio PACKAGE INIT MODULE... - an initramfs of
# busybox, INIT as /init, and kernel modules with all they depend on.
#
# PACKAGE is an unpacked linux-image package.  The modules are in /lib/m, their
# names numbered in load order.  The same input gives the same bytes.
# Needs busybox-static, cpio, xz-utils.
set -eu

[ $# -ge 3 ] || {
	sed -n '3,4p' "$0" >&2
	exit 2
}
out=$(realpath -m "$1")
package=$(realpath "$2")
init=$(realpath "$3")
shift 3
version=$(cd "$package/lib/modules" && echo *)
modules=$package/lib/modules/$version
busybox=/bin/busybox

stage=$(mktemp -d "${TMPDIR:-/tmp}/mkrd.XXXXXX")
trap 'rm -rf "$stage"' EXIT
root=$stage/root
mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,run,mnt,etc,lib/m,root,share} \
	"$root"/usr/{bin,sbin}
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
	[ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done

declare -A seen
count=0
# add NAME: the module's dependencies, then the module.
add() {
	local name=${1//-/_} pattern file dependency base
	pattern=${name//_/[-_]}
	[ -z "${seen[$name]:-}" ] || return 0
	seen[$name]=1
	file=$(find "$modules/kernel" \( -name "$pattern.ko" -o \
		-name "$pattern.ko.xz" \) | LC_ALL=C sort | head -n 1)
	if [ -z "$file" ]; then
		grep -qE "/$pattern\.ko" "$modules/modules.builtin" && return 0
		echo "mkrd.sh: $version has no module $1" >&2
		exit 1
	fi
	case $file in
	*.xz) xz -dc "$file" ;;
	*) cat "$file" ;;
	esac >"$stage/$name"
	for dependency in $(tr '\0' '\n' <"$stage/$name" |
		sed -n 's/^depends=//p' | tr , ' '); do
		add "$dependency"
	done
	base=$(basename "$file")
	printf -v base '%03d-%s' $((++count)) "${base%.xz}"
	mv "$stage/$name" "$root/lib/m/$base"
}
for module; do
	add "$module"
done

cp "$init" "$root/init"
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -exec chmod 644 {} +
chmod 755 "$root/init" "$root/bin/busybox"
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | LC_ALL=C sort |
	cpio -o -H newc --quiet --reproducible -R 0:0) >"$out.$$"
mv "$out.$$" "$out"
