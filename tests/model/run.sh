#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/model/run.sh - check the models with spin, and that each broken variant
# is refuted.  TAP on stdout.  Needs spin and a C compiler.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
count=0
failed=0

report() # ok|"not ok" name
{
	count=$((count + 1))
	echo "$1 $count - $2"
	[ "$1" = ok ] || failed=1
}

# check MODEL holds|fails NAME [DEFINE...]: explore every state of MODEL.
check()
{
	model=$1 want=$2 name=$3
	shift 3
	flags=
	for define; do
		flags="$flags -D$define"
	done
	rm -f "$work"/pan* "$work"/*.trail
	if ! (cd "$work" &&
		spin $flags -a "$here/$model.pml" &&
		${CC:-cc} -O0 -w -DSAFETY -o pan pan.c &&
		./pan -E -w18 -m100000) >"$work/out" 2>&1; then
		sed 's/^/# /' "$work/out"
		report "not ok" "$name"
		return
	fi
	if ! grep -q 'errors: ' "$work/out" ||
		grep -q 'search depth too small' "$work/out"; then
		got=unknown
	elif grep -q 'errors: 0' "$work/out"; then
		got=holds
	else
		got=fails
	fi
	if [ "$got" = "$want" ]; then
		report ok "$name"
	else
		sed 's/^/# /' "$work/out"
		report "not ok" "$name"
	fi
}

if ! command -v spin >/dev/null; then
	echo "1..0 # SKIP spin is not installed"
	exit 0
fi

check notify_me holds "notify_me: no wake-up is lost"
check notify_me fails \
	"notify_me: asking whether somebody dispatches loses one" \
	ASK_DISPATCHING
check notify_me fails "notify_me: asking before the push is seen loses one" \
	ASK_FIRST
check notify_me fails "notify_me: claiming after the look loses one" CLAIM_LATE
check notify_me fails "notify_me: giving the claim up too early loses one" \
	CLAIM_EARLY_END
check notify_me fails "notify_me: waking before the link loses one" \
	WAKE_BEFORE_LINK
check accept holds "accept: no wake-up is lost, none lasts"
check accept holds "accept: nor when the wait's word is taken" WITH_SEEN
check accept fails "accept: skipping the set side loses a wake-up" SKIP_IF_SET
check accept fails "accept: nor does the wait's word mend that" \
	SKIP_IF_SET WITH_SEEN
check accept fails "accept: flag before eventfd never sleeps again" FLAG_FIRST
check accept holds "accept: the wait's word does mend that" \
	FLAG_FIRST WITH_SEEN
check accept fails "accept: eventfd cleared first never sleeps again" \
	READ_FIRST
check accept fails "accept: clearing after the work loses a wake-up" \
	ACCEPT_LATE
check kicked holds "kicked: a notify before the poll is not lost"
check kicked fails "kicked: unmarked, it is" NOT_STICKY
check kicked fails "kicked: marked too late, it is" KICK_LATE
check kicked fails "kicked: cleared unseen, it is" CLEAR_EARLY

echo "1..$count"
exit $failed
