#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib/demo.sh - what godwit is for, in a few seconds: boots the bundled SMP
# guest, plugs a vCPU, moves it live with postcopy to a second process while it
# dirties its memory, and shows the summary and the guest's own verdict.
set -eu

cd "$(dirname "$(realpath "$0")")/../.."
dir=$(mktemp -d)
src='' dst=''
clean() {
	[ -z "$src" ] || kill "$src" 2>/dev/null || true
	[ -z "$dst" ] || kill "$dst" 2>/dev/null || true
	rm -rf "$dir"
}
trap clean EXIT

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }

# until_says FILE TEXT: the guest's output holds TEXT.  Only ends what hangs.
until_says() {
	local i
	for ((i = 0; i < 600; i++)); do
		! grep -q "$2" "$1" || return 0
		sleep 0.1
	done
	echo "demo: no \"$2\" in:" >&2
	cat "$1" >&2
	return 1
}

guest='smp=2 more=1 mem=64 passes=0 mode=rand fill=1 report=1000'
say "godwit run --control A -k kernels/work -c 2,max=3 -m 256M -a '$guest'"
./godwit run --control "$dir/a" -k kernels/work -c 2,max=3 -m 256M \
	-a "$guest" </dev/null >"$dir/out.a" 2>&1 &
src=$!
until_says "$dir/out.a" 'pass .* cpu 1'
cat "$dir/out.a"

say "godwit cpu set A 3"
./godwit cpu set "$dir/a" 3
until_says "$dir/out.a" 'vCPU 2 joins'
until_says "$dir/out.a" 'pass .* cpu 2'
grep -E 'vCPU 2|cpu 2' "$dir/out.a"

say "godwit receive unix:M --override control=B   (a second process)"
mkfifo "$dir/in.b"
./godwit receive "unix:$dir/m" --override "control=$dir/b" -v \
	<"$dir/in.b" >"$dir/out.b" 2>"$dir/err.b" &
dst=$!
exec 3>"$dir/in.b" # its terminal: stays open
until_says "$dir/err.b" 'waiting at'

say "godwit migrate A unix:M --postcopy after=1"
./godwit migrate "$dir/a" "unix:$dir/m" --postcopy after=1
wait "$src" && src=''
echo "(the first process has ended; the guest says, in the second:)"
until_says "$dir/out.b" 'pass .* cpu 2'
echo q >&3 # asks the guest for its verdict
until_says "$dir/out.b" 'work: verdict'
grep -v 'work: pass' "$dir/out.b"
wait "$dst" && dst=''
grep -q 'work: verdict ok' "$dir/out.b"
