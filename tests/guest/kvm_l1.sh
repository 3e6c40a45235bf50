#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/kvm_l1.sh - runs inside L1, from the folder that kvm.sh made: each
# test of the programs and scripts KVM_ON_BED becomes a line of TAP.
set -u

run=$(dirname "$(realpath "$0")")
. "$run/tap.sh"
logs=$PWD/logs
cd "$run" || exit 1 # kernels/ is here

# program NAME: of cmocka.  Sets status.
program() {
	local name=$1 test
	KVM=required timeout -k 5 "$KVM_LIMIT" "./test_$name" >"$logs/$name.log" 2>&1
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
}

# script NAME: of TAP; its comments stay.  Sets status.
script() {
	local name=$1 line
	KVM=required timeout -k 5 "$KVM_LIMIT" "tests/kvm/$name" >"$logs/$name.log" 2>&1
	status=$?
	while IFS= read -r line; do
		case $line in
		'ok '*' # SKIP '*)
			line=${line#* - }
			tap_skip "$name: ${line% # SKIP *}" "${line##* # SKIP }"
			;;
		'ok '*) tap_ok "$name: ${line#* - }" ;;
		'not ok '*) tap_not_ok "$name: ${line#* - }" ;;
		'#'*) printf '%s\n' "$line" ;;
		esac
	done <"$logs/$name.log"
}

for name in $KVM_ON_BED; do
	start=$SECONDS
	case $name in
	*.sh) script "$name" ;;
	*) program "$name" ;;
	esac
	tap_is "$name: its end" "$status" 0
	tap_comment "$name: $((SECONDS - start)) s"
done
tap_done
