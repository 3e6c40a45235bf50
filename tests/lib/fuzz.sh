#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib/fuzz.sh NAME SECONDS - runs build/fuzz/tests/fuzz/fuzz_NAME over its
# seeds (tests/data/fuzz_NAME/) once, then for SECONDS with mutations.  Prints
# TAP.  What is found stays in build/fuzz/corpus/ and build/fuzz/artifacts/.
set -u

name=$1 seconds=$2
top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"

harness=$top/build/fuzz/tests/fuzz/fuzz_$name
seeds=$top/tests/data/fuzz_$name
corpus=$top/build/fuzz/corpus/$name
artifacts=$top/build/fuzz/artifacts
log=$(mktemp)
trap 'rm -f "$log"' EXIT
mkdir -p "$corpus" "$artifacts"
[ ! -d "$seeds" ] || cp -rT "$seeds" "$corpus"
if [ -z "$(ls -A "$corpus")" ]; then
	tap_not_ok "fuzz_$name has seeds in tests/data/fuzz_$name"
	tap_done
fi

options=(-timeout=60 -rss_limit_mb=2048 "-artifact_prefix=$artifacts/$name-")
# run WHAT ARG...
run() {
	local what=$1
	shift
	if "$harness" "${options[@]}" "$@" >"$log" 2>&1; then
		tap_ok "$what"
		tap_comment "$(grep -E '^(Done|stat::number_of_exec)' "$log")"
	else
		tap_not_ok "$what" "$(tail -n 60 "$log")"
	fi
}

run "fuzz_$name survives its seeds" -runs=0 "$corpus"
[ "$seconds" -le 0 ] ||
	run "fuzz_$name survives $seconds s" -max_total_time="$seconds" \
		-print_final_stats=1 "$corpus"
tap_done
