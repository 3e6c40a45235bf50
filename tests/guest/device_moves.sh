#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/device_moves.sh - a stock Debian guest is paused, resumed, written
# to a file and restored in the middle of fio --verify, iperf3 and a moving
# balloon, on the nested bed; its TAP is that of device_moves_l1.sh.
# DEVICE_MOVES: how often (3; the full demonstration is 100, half an hour).
# Needs neither /dev/kvm nor root.
set -u
. "$(dirname "$(realpath "$0")")/bed.sh"
bed_prepare device_moves
bed_guest tools
bed_tools
bed_run_again "DEVICE_MOVES=${DEVICE_MOVES:-3}"
