#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/stock.sh - stock Debian guests under godwit on an upstream KVM.
# Prepares kernel and initramfs, then runs stock_l1.sh on the nested bed, whose
# TAP is this script's.  Needs neither /dev/kvm nor root.
set -u

here=$(dirname "$(realpath "$0")")
top=$(realpath "$here/../..")
work=${GUEST_WORK:-$top/build/guest}
godwit=${GODWIT:-$top/godwit}

[ -x "$godwit" ] || {
	echo "stock.sh: $godwit: not built (make all)" >&2
	exit 1
}
"$top/kernels/linux/build.sh" "$work/linux" || exit 1
rm -rf "$work/logs" "$work/bed" "$work/run"
mkdir -p "$work/logs" "$work/run"
# L1 sees this folder wherever it is, but not all of the host: its /tmp is its
# own, so a clone in /tmp would not be there.
cp "$godwit" "$here/stock_l1.sh" "$top/tests/lib/tap.sh" "$work/run" || exit 1
exec "$top/tests/bed/l1.sh" -t 1500 -R 2 -r -l "$work/bed" "$work" \
	"GUEST_LIMIT=${GUEST_LIMIT:-240} run/stock_l1.sh"
