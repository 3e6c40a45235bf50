#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/kvm/hostile.sh - the guest kernels/hostile attacks every device; each of
# its cases is a test here.  And godwit outlives all of them, says a bounded
# number of lines, and does not grow.  GODWIT=FILE tests another binary.
set -u

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"
godwit=$(realpath "${GODWIT:-$top/godwit}")
guest=${GUESTS:-$top/kernels}/hostile
limit=${HOSTILE_LIMIT:-120} # seconds without a line; only ends what hangs
grow_max=$((32 * 1024))		      # KiB of memory of its own

tap_need_kvm
for f in "$godwit" "$guest"; do
	[ -x "$f" ] || {
		tap_not_ok "$f is built" 'make all kernels'
		tap_done
	}
done

work=$(mktemp -d)
pid='' words=''
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$work"' EXIT
export GODWIT_RUNTIME_DIR=$work/run
# What was freed is not to look like growth.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=8

head -c 4M /dev/urandom >"$work/rw"
head -c 4M /dev/urandom >"$work/ro"
sum=$(sha256sum <"$work/ro")
machine=(-m '64M,backing=memfd' --cpus '1,max=3' --rng --debug-exit --no-reboot
	--serial stdio --console "file=$work/console"
	--disk "path=$work/rw" --disk "path=$work/ro,ro")
help=$("$godwit" help run 2>&1)
victims="blk0 blk1 rng0 console0"
if ldconfig -p 2>/dev/null | grep -q 'libslirp\.so\.0'; then
	machine+=(--net user)
	victims+=" net0"
fi
case $help in *--balloon*)
	machine+=('--balloon=,stats=1,hinting=on,reporting=on')
	victims+=" balloon0"
	;;
esac
case $help in *--vsock*)
	machine+=(--vsock "path=$work/vsock")
	victims+=" vsock0"
	;;
esac

alive() { kill -0 "$pid" 2>/dev/null; }
own_kib() { awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null; }
said() { grep -aqx "hostile: $1" "$work/out"; }

# until_said WORD: false when godwit ends, or nothing is said for too long.
until_said() {
	local size now since=$SECONDS
	size=$(stat -c %s "$work/out")
	until said "$1"; do
		alive || return 1
		sleep 0.1 # only to leave the CPU to the guest
		now=$(stat -c %s "$work/out")
		[ "$now" = "$size" ] || since=$SECONDS
		size=$now
		[ $((SECONDS - since)) -lt "$limit" ] || return 1
	done
}

# attack FROM OPTION...: one boot.  Sets rc ("hangs" when it did), before and
# after (KiB); $work/out and $work/err are what was said.
attack() {
	local from=$1
	shift
	rm -f "$work/in" "$work/vsock" "$work/out"
	: >"$work/out"
	mkfifo "$work/in"
	"$godwit" run -k "$guest" -a "auto wait exit=debug:20 from=$from $words" \
		"${machine[@]}" "$@" <"$work/in" >"$work/out" 2>>"$work/err" &
	pid=$!
	exec 3>"$work/in"
	before=0 after=0 rc=hangs
	if until_said ready; then
		before=$(own_kib)
		printf x >&3
		if until_said 'done'; then
			after=$(own_kib)
			printf x >&3
		fi
	fi
	if said 'done' || ! alive; then
		wait "$pid"
		rc=$?
	else
		kill -9 "$pid"
		wait "$pid" 2>/dev/null
	fi
	pid=
	exec 3>&-
}

# report HOW: a test for each case that came to its end, then the one that did
# not, if any; sets next to the number behind that, or to nothing.
report() {
	local how=$1 line kind name last='' why
	while IFS= read -r line; do
		kind=${line%% *} name=${line#* }
		case $kind in
		ok) tap_ok "$how: $name" ;;
		FAIL)
			why=$(grep -aF "hostile: $name: " "$work/out" | head -n 1)
			tap_not_ok "$how: $name" "$why"
			;;
		hostile:) last=$name ;;
		esac
		[ "$kind" = hostile: ] || last=
	done < <(grep -aE '^(ok|FAIL) |^hostile: [0-9]+ ' "$work/out")
	next=
	[ "$rc" = 41 ] || [ "$rc" = 43 ] && return
	tap_not_ok "$how: ${last#* }" "godwit's end: $rc
$(grep -a '^guest: trap' "$work/out")
$(tail -n 20 "$work/err")"
	[ -z "$last" ] || next=$((${last%% *} + 1))
}

# all HOW OPTION...: every case, past those that end the machine.
all() {
	local how=$1 v start=$SECONDS lines
	shift
	: >"$work/err"
	next=0
	for _ in 1 2 3 4 5; do
		attack "$next" "$@"
		report "$how"
		[ -n "$next" ] || break
	done
	for v in $victims; do
		tap_like "$how: $v is there" "$(cat -v "$work/out")" \
			"^ok $v\$"
	done
	lines=$(grep -c '' "$work/err")
	tap_is "$how: says a bounded number of lines ($lines)" \
		$((lines <= 200 + 10 * (SECONDS - start))) 1
	tap_is "$how: does not grow ($before KiB, then $after KiB)" \
		$((after > 0 && after - before <= grow_max)) 1
	tap_is "$how: no sanitizer has anything to say" \
		"$(grep -aE 'runtime error|Sanitizer' "$work/err")" ''
	tap_is "$how: the read-only disk is as it was" \
		"$(sha256sum <"$work/ro")" "$sum"
}

all "main loop"
# There a device has a thread of its own to be hurried on.
for c in kick_flood reset_flood reset_in_flight double_fetch double_fetch_data \
	avail_race endless_work status_race rings_random blk_deep_reset; do
	words+=" case=$c"
done
all "iothreads" --iothread 2
tap_done
