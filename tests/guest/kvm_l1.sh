#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/kvm_l1.sh - runs inside L1, from the folder that kvm.sh made: each
# test of the programs KVM_ON_BED becomes a line of TAP.
set -u

run=$(dirname "$(realpath "$0")")
. "$run/tap.sh"
logs=$PWD/logs
cd "$run" || exit 1 # kernels/ is here

for name in $KVM_ON_BED; do
	start=$SECONDS
	KVM=required timeout -k 5 1500 "./test_$name" >"$logs/$name.log" 2>&1
	status=$?
	while read -r test; do
		if grep -q "^\[       OK \] $test\$" "$logs/$name.log"; then
			tap_ok "$name: $test"
		elif grep -q "^\[  SKIPPED \] $test\$" "$logs/$name.log"; then
			tap_skip "$name: $test" 'this KVM lacks what it needs'
		else
			tap_not_ok "$name: $test" \
				"$(grep -A20 "RUN *\] $test\$" "$logs/$name.log")"
		fi
	done < <(sed -n 's/^\[ RUN  *\] //p' "$logs/$name.log")
	tap_is "$name: its end" "$status" 0
	tap_comment "$name: $((SECONDS - start)) s"
done
tap_done
