#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/kvm.sh - programs of tests/kvm on the upstream KVM of the nested
# bed, where guest kernel code runs natively and KVM behaves as on real machines;
# its TAP is that of kvm_l1.sh.  Needs neither /dev/kvm nor root.
#
#   KVM_BIN=DIR        where they are (build/rel/tests/kvm)
#   KVM_ON_BED=NAMES   which (vcpu_state vm check; hostile.sh takes
#                      minutes)
#   KVM_LIMIT=SEC      for each of them; only ends what hangs (1500)
#   GODWIT_HOPS, HOTPLUG_CYCLES, GODWIT_PAUSES   how often they repeat things
# shellcheck disable=SC2154 # bed.sh sets bed_*
set -u
. "$(dirname "$(realpath "$0")")/bed.sh"
bin=${KVM_BIN:-$bed_top/build/rel/tests/kvm}
names=${KVM_ON_BED:-vcpu_state vm check}

bed_prepare kvm
mkdir -p "$bed_work/run/kernels"
for name in $names; do
	case $name in
	*.sh) # finds godwit, kernels/ and tests/lib/ from where it is
		mkdir -p "$bed_work"/run/tests/{kvm,lib} &&
			cp "$bed_top/tests/kvm/$name" "$bed_work/run/tests/kvm" &&
			cp "$bed_top/tests/lib/tap.sh" \
				"$bed_work/run/tests/lib" || exit 1
		;;
	*) cp "$bin/test_$name" "$bed_work/run" || exit 1 ;;
	esac
done
# The bundled guests have no suffix, but for the bzImage.
find "$bed_top/kernels" -maxdepth 1 -type f ! -name '*.[chl]*' ! -name '*.sh' \
	! -name '*.md' ! -name '*.inc' -exec cp -t "$bed_work/run/kernels" {} +
bed_run_again "KVM_ON_BED='$names' GODWIT_HOPS=${GODWIT_HOPS:-10}" \
	"KVM_LIMIT=${KVM_LIMIT:-1500} HOSTILE_LIMIT=${HOSTILE_LIMIT:-}" \
	"HOTPLUG_CYCLES=${HOTPLUG_CYCLES:-50} GODWIT_PAUSES=${GODWIT_PAUSES:-200}"
