#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/hotplug.sh - a stock Debian guest whose vCPUs come and go under
# load, on the nested bed; its TAP is that of hotplug_l1.sh.
# HOTPLUG_GUEST_CYCLES: times 4 -> 2 -> 4 (5).  Needs neither /dev/kvm nor root.
set -u
. "$(dirname "$(realpath "$0")")/bed.sh"
bed_prepare hotplug
bed_guest tools
# The emulated machine is not always right: tests/bed/README.md.
bed_run_again "HOTPLUG_GUEST_CYCLES=${HOTPLUG_GUEST_CYCLES:-5}"
