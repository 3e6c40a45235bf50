#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/hotplug.sh - a stock Debian guest whose vCPUs come and go under
# load, on the nested bed; its TAP is that of hotplug_l1.sh.
# HOTPLUG_GUEST_CYCLES: times 4 -> 2 -> 4 (3).  Needs neither /dev/kvm nor root.
set -u

here=$(dirname "$(realpath "$0")")
top=$(realpath "$here/../..")
work=${GUEST_WORK:-$top/build/guest-hotplug}
godwit=${GODWIT:-$top/godwit}

[ -x "$godwit" ] || {
	echo "hotplug.sh: $godwit: not built (make all)" >&2
	exit 1
}
"$top/kernels/linux/build.sh" "$work/linux" || exit 1
rm -rf "$work/logs" "$work/bed" "$work/run"
mkdir -p "$work/logs" "$work/run"
cp "$godwit" "$here/hotplug_l1.sh" "$top/tests/lib/tap.sh" "$work/run" ||
	exit 1
exec "$top/tests/bed/l1.sh" -t 1500 -R 2 -r -l "$work/bed" "$work" \
	"HOTPLUG_GUEST_CYCLES=${HOTPLUG_GUEST_CYCLES:-3} run/hotplug_l1.sh"
