#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/devices.sh - a stock Debian guest uses every device, with real
# programs, on the nested bed; its TAP is that of devices_l1.sh and the files
# that one reads.  Needs neither /dev/kvm nor root.
# DEVICES: which of these files (disk net vsock memory).
set -u
. "$(dirname "$(realpath "$0")")/bed.sh"
bed_prepare devices
bed_guest tools
bed_tools
# shellcheck disable=SC2154 # bed.sh sets bed_*
cp "$bed_here"/devices_{disk,net,vsock,memory}_l1.sh "$bed_work/run" || exit 1
bed_run_again "DEVICES='${DEVICES:-disk net vsock memory}'"
