#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib/run.sh SUITE... - runs suites that print TAP and adds them up.
#
# SUITE is "NAME: COMMAND" or "NAME@SECONDS: COMMAND" (default 300 seconds; an
# hour is nothing to a noisy machine, so the limit only ends what hangs).  The
# command is run by bash with no input.  cmocka binaries are told to print TAP.
#
# RUN_JOBS suites run at a time (1); each is shown when it has ended.
#
# One line a suite; the whole output of one that fails; the reasons of skipped
# tests.  A suite fails too, by one test, when it ends badly without having
# named a failed test, and by each test of its plan that it did not run.
# The logs and the last line are kept in $TEST_LOGS (default build/test).
# Last line: "N passed, N failed, N skipped".  Status 1 if any failed.
set -u

logs=${TEST_LOGS:-build/test}
export CMOCKA_MESSAGE_OUTPUT=TAP
unset CMOCKA_XML_FILE MAKEFLAGS MAKELEVEL MFLAGS
passed=0 failed=0 skipped=0
jobs=${RUN_JOBS:-1}

# Reads a log; prints "passed failed skipped" and what is wrong with the suite
# as a whole, if anything.  Plans add up, because cmocka has one for each group.
tally() {
	awk -v rc="$1" '
		/^1\.\.0 *# *[Ss][Kk][Ii][Pp]/ { skip++; plan++; planned = 1; next }
		/^1\.\.[0-9]+/ { plan += substr($1, 4); planned = 1; next }
		/^(not )?ok .*# *[Ss][Kk][Ii][Pp]/ { skip++; next }
		/^ok( |$)/ { pass++; next }
		/^not ok( |$)/ { fail++ }
		END {
			ran = pass + fail + skip
			if (rc == 124 || rc == 137)
				why = "time limit or killed"
			else if (rc > 128)
				why = "ended by signal " (rc - 128)
			if (!planned) {
				fail++
				why = why (why ? ", " : "") "no plan"
			} else if (ran < plan) {
				fail += plan - ran
				why = why (why ? ", " : "") \
					(plan - ran) " of its tests did not run"
			} else if (ran > plan) {
				fail++
				why = why (why ? ", " : "") "ran more than it planned"
			}
			if (rc != 0 && fail == 0) {
				fail++
				why = why (why ? ", " : "") "status " rc
			}
			print pass + 0, fail + 0, skip + 0, why
		}'
}

# Reasons of skipped tests: cmocka tests print "# skip: why" before, scripts
# print it behind SKIP.
reasons() {
	sed -nE -e 's/^# *skip:? +//ip' \
		-e 's/^1\.\.0 *# *SKIP +//ip' \
		-e 's/^ok [0-9]+ - .*# *SKIP +//ip' | sort | uniq -c |
		sed -E 's/^ *([0-9]+) (.*)/       skipped (\1): \2/'
}

# In a process of its own.  Leaves NAME.report and NAME.counts beside the log.
run_suite() {
	local name=${1%%:*} command=${1#*:} limit=300 log start end rc
	local p f s why word group=
	case $name in *@*)
		limit=${name#*@}
		name=${name%@*}
		;;
	esac
	log=$logs/${name//\//-}
	trap '[ -z "$group" ] || kill -TERM -- "-$group" 2>/dev/null; exit 130' \
		INT TERM
	start=$(date +%s%N)
	# timeout(1) leads a process group of its own.
	timeout -k 20 "$limit" bash -c "$command" >"$log.log" 2>&1 </dev/null &
	group=$!
	wait "$group"
	rc=$?
	kill -KILL -- "-$group" 2>/dev/null # what it left behind
	end=$(date +%s%N)
	read -r p f s why < <(tally "$rc" <"$log.log")
	word=ok
	[ "$f" -eq 0 ] || word=FAIL
	{
		printf '%-4s %-28s %4d passed, %d failed, %d skipped %7s s%s\n' \
			"$word" "$name" "$p" "$f" "$s" \
			"$(((end - start) / 1000000000)).$(printf %02d \
				$(((end - start) / 10000000 % 100)))" \
			"${why:+  ($why)}"
		[ "$s" -eq 0 ] || reasons <"$log.log"
		if [ "$f" -gt 0 ]; then
			echo "---- $name: $command"
			cat "$log.log"
			echo "---- $name: status $rc"
		fi
	} >"$log.report"
	echo "$p $f $s" >"$log.counts"
}

# The next suite to end: show its report, add it up.
reap() {
	local pid='' p f s log
	wait -n -p pid
	log=${running[$pid]}
	unset "running[$pid]"
	cat "$log.report"
	read -r p f s <"$log.counts"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

stop() {
	[ "${#running[@]}" -eq 0 ] || kill -TERM "${!running[@]}" 2>/dev/null
	exit 130
}

declare -A running=() # pid: path of its log, without .log
trap stop INT TERM

mkdir -p "$logs"
rm -f "$logs/summary"
for suite; do
	while [ "${#running[@]}" -ge "$jobs" ]; do
		reap
	done
	name=${suite%%:*}
	run_suite "$suite" &
	name=${name%@*}
	running[$!]=$logs/${name//\//-}
done
while [ "${#running[@]}" -gt 0 ]; do
	reap
done
[ $# -gt 0 ] || echo "run.sh: no suites"
echo "$passed passed, $failed failed, $skipped skipped" |
	tee "$logs/summary"
[ "$failed" -eq 0 ]
