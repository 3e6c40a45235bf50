#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/proof/run.sh - proofs by abstract interpretation (Frama-C's Eva; Debian
# 12 has no cbmc).  TAP on stdout.  Each harness must be proven, and must fail
# once its line "break:" has spoilt the code: a proof that cannot fail says
# nothing.  PROOFS=REGEX picks harnesses; PROOF_KEEP=1 shows Eva's output.
set -u

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"
if ! command -v frama-c >/dev/null; then
	echo "1..0 # SKIP frama-c is not installed (apt install frama-c-base)"
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
libc=$(frama-c -print-share-path)/libc

# prepare DIR: the sources as Frama-C can read them (it has no C11 atomics).
prepare() {
	mkdir -p "$1"
	(cd "$top" && tar -cf - --exclude='*.o' loop vmm devices virtio migrate \
		tests/proof) | tar -xf - -C "$1"
	find "$1" -name '*.[ch]' -exec sed -E -i \
		-e 's/_Atomic\(([^()]*)\)/\1/g' -e 's/\b_Atomic\b//g' {} +
}

# eva DIR FILE OPTION...: "proven", or what is left open.
eva() {
	local dir=$1 file=$2 out
	shift 2
	out=$(cd "$dir" && timeout "${PROOF_LIMIT:-120}" frama-c -machdep gcc_x86_64 \
		-cpp-extra-args="-I. -I$libc -D_GNU_SOURCE -DGODWIT_VERSION='\"\"' -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu" \
		-eva -eva-precision 4 -eva-split-return full -eva-no-show-progress \
		"$@" "tests/proof/$file" 2>&1)
	[ -z "${PROOF_KEEP:-}" ] || printf '%s\n' "$out" >&2
	if ! grep -q 'ANALYSIS SUMMARY' <<<"$out"; then
		tail -n 15 <<<"$out"
	elif grep -qE '^ *0 alarms generated' <<<"$out" &&
		! grep -qE 'got status (unknown|invalid)' <<<"$out" &&
		grep -qE 'Assertions +[1-9][0-9]* valid +0 unknown +0 invalid' <<<"$out"; then
		echo proven
	else
		grep -E 'eva:alarm|got status|Assertions|alarms generated' <<<"$out"
	fi
}

# field FILE NAME: the text after "NAME: " in its head.
field() { sed -nE "1,12s,^ \* $2: (.*)\$,\1,p" "$1"; }

prepare "$work/good"
for file in "$top"/tests/proof/*.c; do
	name=$(basename "$file" .c)
	[[ $name =~ ${PROOFS:-} ]] || continue
	promise=$(field "$file" promise)
	read -r broken expression < <(field "$file" break)
	read -ra options < <(field "$file" options) || true
	got=$(eva "$work/good" "$name.c" "${options[@]}")
	tap_is "proof $name: $promise" "$got" proven

	rm -rf "$work/bad"
	cp -r "$work/good" "$work/bad"
	sed -E -i -e "$expression" "$work/bad/$broken"
	if cmp -s "$work/good/$broken" "$work/bad/$broken"; then
		tap_not_ok "proof $name: its break applies" "$broken: $expression"
		continue
	fi
	got=$(eva "$work/bad" "$name.c" "${options[@]}")
	if [ "$got" != proven ] && grep -qE 'alarm|status' <<<"$got"; then
		tap_ok "proof $name: broken code is refuted"
	else
		tap_not_ok "proof $name: broken code is refuted" "$got"
	fi
done
tap_done
