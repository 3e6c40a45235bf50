#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/unit/runner.sh - tests/lib/run.sh counts what happened, whatever does.
set -u

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"

TEST_LOGS=$(mktemp -d)
export TEST_LOGS
trap 'rm -rf "$TEST_LOGS"' EXIT

# counts WHAT LAST-LINE STATUS SUITE...
counts() {
	local what=$1 want=$2 status=$3 rc
	shift 3
	last=$("$top/tests/lib/run.sh" "$@" 2>&1)
	rc=$?
	tap_is "$what" "$(echo "$last" | tail -n 1), status $rc" \
		"$want, status $status"
}

counts 'passes, failures and skips are added up over suites' \
	'3 passed, 1 failed, 2 skipped' 1 \
	"a: printf '1..3\nok 1 - x\nok 2 - y\nnot ok 3 # SKIP z\n'" \
	"b: printf 'ok 1\nnot ok 2\nok 3 - q # SKIP why\n1..3\n'"
counts 'all passed is status 0' '1 passed, 0 failed, 0 skipped' 0 \
	"a: printf '1..1\nok 1\n'"
counts 'the plans of several groups add up' '2 passed, 1 failed, 0 skipped' 1 \
	"a: printf '1..1\nok 1\n1..2\nok 1\n'"
counts 'a test that did not run has failed' '1 passed, 2 failed, 0 skipped' 1 \
	"a: printf '1..3\nok 1\n'"
counts 'more tests than planned is a failure' '2 passed, 1 failed, 0 skipped' 1 \
	"a: printf '1..1\nok 1\nok 2\n'"
counts 'no plan is a failure' '1 passed, 1 failed, 0 skipped' 1 "a: echo ok 1"
counts 'a command that is not there is a failure' \
	'0 passed, 1 failed, 0 skipped' 1 "a: /nonexistent/x"
counts 'a bad status without a failed test is a failure' \
	'1 passed, 1 failed, 0 skipped' 1 "a: printf '1..1\nok 1\n'; exit 3"
counts 'a crash is a failure' '1 passed, 1 failed, 0 skipped' 1 \
	"a: printf '1..1\nok 1\n'; kill -SEGV \$\$"
counts 'a suite that hangs is ended and fails' \
	'1 passed, 1 failed, 0 skipped' 1 \
	"a@1: printf '1..1\nok 1\n'; exec sleep 1000"
counts 'a suite may skip itself' '0 passed, 0 failed, 1 skipped' 0 \
	"a: echo '1..0 # SKIP no such device'"
tap_like 'the reason of a skip is shown' "$last" 'no such device'
counts 'the output of a failure is shown' '0 passed, 1 failed, 0 skipped' 1 \
	"a: printf '1..1\nnot ok 1\n# here is why\n'"
tap_like 'a failed test explains itself' "$last" '# here is why'
RUN_JOBS=3 counts 'suites that run at a time are added up, too' \
	'4 passed, 1 failed, 1 skipped' 1 \
	"a: printf '1..1\nok 1\n'" "b@9: printf '1..2\nok 1\nnot ok 2\n'" \
	"c: printf '1..1\nok 1 # SKIP x\n'" "d/e: printf '1..1\nok 1\n'" \
	"f: printf '1..1\nok 1\n'"
counts 'no suites is no success to be proud of, but no failure' \
	'0 passed, 0 failed, 0 skipped' 0
tap_is 'the last line is kept in a file' "$(cat "$TEST_LOGS/summary")" \
	'0 passed, 0 failed, 0 skipped'
tap_done
