#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/migrate.sh - a stock Debian guest under load that moves between
# processes, into files and back, on the nested bed; its TAP is that of
# migrate_l1.sh.  Needs neither /dev/kvm nor root.
set -u
. "$(dirname "$(realpath "$0")")/bed.sh"
bed_prepare migrate
bed_guest tools
bed_run_again
