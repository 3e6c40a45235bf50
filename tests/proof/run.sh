#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/proof/run.sh - the proofs, by Frama-C; README says how.  TAP on stdout.
# Each harness must be proven, and must fail once each of its lines "break:" has
# spoilt the code: a proof that cannot fail says nothing.  PROOFS=REGEX picks
# harnesses; PROOF_KEEP=1 shows Frama-C's output.
set -u

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"
for program in frama-c why3 cvc4 z3; do
	command -v $program >/dev/null && continue
	echo "1..0 # SKIP $program is not installed" \
		"(apt install frama-c-base why3 cvc4 z3)"
	exit 0
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
libc=$(frama-c -print-share-path)/libc
cpp="-I. -I$libc -D_GNU_SOURCE -DGODWIT_VERSION='\"\"'"
cpp="$cpp -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu"
limit=${PROOF_LIMIT:-900} # seconds a run; it ends only what hangs
# The provers that WP may use, and nothing of the user's.
export WHY3CONFIG=$work/why3.conf
why3 config detect >/dev/null 2>&1

# prepare DIR: the sources as Frama-C can read them (it has no C11 atomics).
prepare() {
	mkdir -p "$1"
	(cd "$top" && tar -cf - --exclude='*.o' loop vmm devices virtio migrate \
		tests/proof) | tar -xf - -C "$1"
	find "$1" -name '*.[ch]' -exec sed -E -i \
		-e 's/_Atomic\(([^()]*)\)/\1/g' -e 's/\b_Atomic\b//g' {} +
}

# field FILE NAME: the text after "NAME: " in its head, a line each.
field() { sed -nE "1,16s,^ \* $2: (.*)\$,\1,p" "$1"; }

# annotate DIR FILE: lines "edit:" of the harness are applied, and the text of
# its blocks "/* at SOURCE FUNCTION LINE" becomes an annotation before the only
# line of that function which has LINE in it.
annotate() {
	local dir=$1 file=$2 source function line text expression
	while read -r source expression; do
		# shellcheck disable=SC2086 # SOURCE is a pattern
		(cd "$dir" && sed -E -i -e "$expression" $source)
	done < <(field "$file" edit)
	while read -r source function line; do
		text=$(HEAD="/* at $source $function $line" awk '
			on && /\*\// { exit }
			on { printf "%s ", $0 }
			$0 == ENVIRON["HEAD"] { on = 1 }' "$file")
		# A comment for each assertion.
		text=${text//; 	assert /; \*\/ \/\*@ assert }
		TEXT="/*@ $text */" LINE=$line awk -v f="$function" '
			/^}/ { inside = 0 }
			/^[a-z]/ && index($0, f "(") { inside = 1 }
			inside && index($0, ENVIRON["LINE"]) {
				print ENVIRON["TEXT"]
				n++
			}
			{ print }
			END { exit n != 1 }' "$dir/$source" >"$work/annotated" || {
			echo "$source: $function(): not just one line with: $line"
			return 1
		}
		cp "$work/annotated" "$dir/$source"
	done < <(sed -nE 's,^/\* at (.*)$,\1,p' "$file")
}

frama_c() {
	local dir=$1
	shift
	(cd "$dir" && timeout "$limit" frama-c -machdep gcc_x86_64 \
		-cpp-extra-args="$cpp" "$@" 2>&1)
}

# eva DIR FILE OPTION...: "proven", or what is left open.
eva() {
	local dir=$1 file=$2 out
	shift 2
	out=$(frama_c "$dir" -eva -eva-precision 4 -eva-split-return full \
		-eva-no-show-progress "$@" "tests/proof/$file")
	[ -z "${PROOF_KEEP:-}" ] || printf '%s\n' "$out" >&2
	if ! grep -q 'ANALYSIS SUMMARY' <<<"$out"; then
		tail -n 15 <<<"$out"
	elif grep -qE '^ *0 alarms generated' <<<"$out" &&
		! grep -qE 'got status (unknown|invalid)' <<<"$out" &&
		grep -qE 'Assertions +[1-9][0-9]* valid +0 unknown +0 invalid' <<<"$out"; then
		echo proven
	else
		echo open
		grep -E 'eva:alarm|got status|Assertions|alarms generated' <<<"$out"
	fi
}

# wp DIR FILE FUNCTIONS OPTION...: the same.
wp() {
	local dir=$1 file=$2 functions=$3 out goals
	shift 3
	out=$(frama_c "$dir" -wp -wp-rte -wp-prover cvc4,z3 -wp-par 2 \
		-wp-timeout 30 -wp-fct "$functions" "$@" "tests/proof/$file")
	[ -z "${PROOF_KEEP:-}" ] || printf '%s\n' "$out" >&2
	goals=$(sed -nE 's,^\[wp\] Proved goals: +([0-9]+) / ([0-9]+)$,\1 \2,p' \
		<<<"$out")
	if [ -z "$goals" ]; then
		tail -n 15 <<<"$out"
	elif [ "${goals% *}" = "${goals#* }" ] && [ "${goals% *}" -gt 0 ]; then
		echo proven
	else
		echo open
		grep -E 'Goal|Smoke-test|Proved goals' <<<"$out" |
			grep -vE ': Valid|\[Passed\]'
	fi
}

# prove DIR NAME OPTION...: with the tool of the harness.
prove() {
	local dir=$1 name=$2 functions options
	shift 2
	functions=$(field "$top/tests/proof/$name.c" functions)
	read -ra options < <(field "$top/tests/proof/$name.c" options) || true
	if [ -n "$functions" ]; then
		wp "$dir" "$name.c" "$functions" "${options[@]}" "$@"
	else
		eva "$dir" "$name.c" "${options[@]}"
	fi
}

prepare "$work/clean"
for file in "$top"/tests/proof/*.c; do
	name=$(basename "$file" .c)
	[[ $name =~ ${PROOFS:-} ]] || continue
	promise=$(field "$file" promise)
	rm -rf "$work/good"
	cp -r "$work/clean" "$work/good"
	wrong=$(annotate "$work/good" "$file") || {
		tap_not_ok "proof $name: its annotations apply" "$wrong"
		continue
	}
	# Smoke tests: a contract that contradicts itself would prove anything.
	got=$(prove "$work/good" "$name" -wp-smoke-tests \
		-wp-smoke-timeout 1 -wp-no-smoke-dead-code)
	tap_is "proof $name: $promise" "$got" proven

	while read -r broken expression; do
		rm -rf "$work/bad"
		cp -r "$work/good" "$work/bad"
		sed -E -i -e "$expression" "$work/bad/$broken"
		if cmp -s "$work/good/$broken" "$work/bad/$broken"; then
			tap_not_ok "proof $name: its break applies" \
				"$broken: $expression"
			continue
		fi
		got=$(prove "$work/bad" "$name" -wp-timeout 10)
		if [[ $got == open* ]]; then
			tap_ok "proof $name: broken code is not proven"
		else
			tap_not_ok "proof $name: broken code is not proven" \
				"$expression" "$got"
		fi
	done < <(field "$file" break)
done
tap_done
