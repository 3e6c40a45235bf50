#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/kvm.sh - programs of tests/kvm on the upstream KVM of the nested
# bed, where guest kernel code runs natively and KVM behaves as on real machines;
# its TAP is that of kvm_l1.sh.  Needs neither /dev/kvm nor root.
#
#   KVM_BIN=DIR        where they are (build/rel/tests/kvm)
#   KVM_ON_BED=NAMES   which (vcpu_state vm check)
#   GODWIT_HOPS, HOTPLUG_CYCLES, GODWIT_PAUSES   how often they repeat things
# shellcheck disable=SC2154 # bed.sh sets bed_*
set -u
. "$(dirname "$(realpath "$0")")/bed.sh"
bin=${KVM_BIN:-$bed_top/build/rel/tests/kvm}
names=${KVM_ON_BED:-vcpu_state vm check}

bed_prepare kvm
mkdir -p "$bed_work/run/kernels"
for name in $names; do
	cp "$bin/test_$name" "$bed_work/run" || exit 1
done
# The bundled guests have no suffix, but for the bzImage.
find "$bed_top/kernels" -maxdepth 1 -type f ! -name '*.[chl]*' ! -name '*.sh' \
	! -name '*.md' ! -name '*.inc' -exec cp -t "$bed_work/run/kernels" {} +
bed_run "KVM_ON_BED='$names' GODWIT_HOPS=${GODWIT_HOPS:-10}" \
	"HOTPLUG_CYCLES=${HOTPLUG_CYCLES:-50} GODWIT_PAUSES=${GODWIT_PAUSES:-200}"
