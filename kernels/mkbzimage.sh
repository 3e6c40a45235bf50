#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mkbzimage.sh GUEST.elf OUT - wrap a guest in a bzImage (protocol 2.12, 64-bit
# entry at +0x200, 32-bit entry at +0, not relocatable).  Run at the top of the
# tree; CC and OBJCOPY may be set.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 GUEST.elf OUT" >&2; exit 2; }
elf=$1 out=$2
cc=${CC:-gcc} objcopy=${OBJCOPY:-objcopy}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

symbol() {
	nm "$elf" | awk -v name="$1" '$3 == name { print "0x" $1; found = 1 }
		END { exit !found }'
}

"$objcopy" -O binary "$elf" "$tmp/flat"
# Whole paragraphs, as the header counts in them.
size=$(stat -c %s "$tmp/flat")
padded=$(((size + 15) / 16 * 16))
truncate -s "$padded" "$tmp/flat"
init=$(($(symbol guest_end) - $(symbol image_start)))

"$cc" -c -m64 -I. -DSYSSIZE="$padded" -DINIT_SIZE="$init" \
	-o "$tmp/head.o" kernels/lib/bzhead.S
ld -m elf_x86_64 --oformat binary -Ttext 0 -e 0 -o "$tmp/head" "$tmp/head.o"
cat "$tmp/head" "$tmp/flat" >"$tmp/out"
mv "$tmp/out" "$out"
