#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/kvm/cli.sh - the command line as a user meets it: every exit status, and
# every bad input ends in one line on stderr that names the object, the reason
# and the remedy, with the right status, no core and nothing left behind.
# GODWIT=FILE tests another binary.  The terminal is terminal.py's.
set -u

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/tap.sh"
godwit=$(realpath "${GODWIT:-$top/godwit}")
guests=${GUESTS:-$top/kernels} # the bundled ones

tap_need_kvm
[ -x "$godwit" ] || {
	tap_not_ok "$godwit is built" 'make all'
	tap_done
}

# Everything happens in here; TMPDIR too, so that leaked files are seen.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/cwd" "$work/in" "$work/tmp"
chmod 755 "$work"
cd "$work/cwd" || exit 1
in=$work/in
ulimit -c unlimited # a core would be found among the files

# go ARG...: runs godwit with a limit that only ends what hangs.  Sets rc, out,
# err, left.  Waits for all that hold its stderr, so a child left behind shows
# as a hang.  $wrap is put before the command.
wrap=()
go() {
	rm -rf "$work/cwd" "$work/tmp"
	mkdir "$work/cwd" "$work/tmp"
	cd "$work/cwd" || exit 1
	err=$(TMPDIR=$work/tmp timeout -k 5 "${CLI_LIMIT:-120}" "${wrap[@]}" "$godwit" "$@" \
		2>&1 >"$work/out" </dev/null)
	rc=$?
	out=$(tr -d '\0\r' <"$work/out")
	left=$(find "$work/cwd" "$work/tmp" -mindepth 1)
}

# refused WHAT STATUS OBJECT ARG...: as promised above.  STATUS and OBJECT are
# EREs.
refused() {
	local what=$1 status=$2 object=$3 why=
	shift 3
	go "$@"
	[[ $rc =~ ^($status)$ ]] || why="status $rc, want $status"
	[ "$(grep -c '' <<<"$err")" = 1 ] && [ -n "$err" ] ||
		why="$why; not one line on stderr"
	grep -qE -e "$object" <<<"$err" || why="$why; does not name $object"
	# The remedy stands in parentheses.
	grep -qE '\([^()]{4,}' <<<"$err" || why="$why; no remedy"
	[ -z "$out" ] || why="$why; something on stdout"
	[ -z "$left" ] || why="$why; left behind: $left"
	if [ -z "$why" ]; then
		tap_ok "$what"
	else
		tap_not_ok "$what" "${why#; }
godwit $*
stderr: $err
stdout: $(head -n 5 <<<"$out")"
	fi
}

# ends WHAT STATUS ARG...: that status, and nothing left behind.
ends() {
	local what=$1 status=$2
	shift 2
	go "$@"
	if [ "$rc" = "$status" ] && [ -z "$left" ]; then
		tap_ok "$what"
	else
		tap_not_ok "$what" "status $rc, want $status; left: $left
stderr: $err
stdout: $(tail -n 5 <<<"$out")"
	fi
}
# quiet WHAT: the last run said nothing on stderr.
quiet() { tap_is "$1" "$err" ''; }

hello=(run -k "$guests/hello")
exits=(run -k "$guests/exits")

# ---- exit status ----

ends 'a guest that powers off: status 0' 0 "${hello[@]}"
quiet 'a guest that powers off: nothing on stderr'
tap_like 'the guest is heard on stdout' "$out" '^hello from godwit guest'
ends 'a triple fault: status 3' 3 "${exits[@]}" -a case=triple
tap_like 'a triple fault: stderr says so' "$err" '[Tt]riple'
ends 'an internal error of KVM: status 3' 3 "${exits[@]}" -a case=internal
tap_like 'an internal error: the report has registers' "$err" \
	'[Rr][Ii][Pp].*[0-9a-f]{4}'
ends 'a panic told by pvpanic: status 3' 3 "${exits[@]}" -a case=pvpanic
for way in reset8042 resetacpi; do
	ends "$way with --no-reboot: status 4" 4 "${exits[@]}" \
		-a case=$way --no-reboot
done
ends 'debug exit: status (v << 1) | 1' 85 "${exits[@]}" --debug-exit \
	-a case=debugexit:42
ends 'debug exit: 0 is status 1' 1 "${exits[@]}" --debug-exit \
	-a case=debugexit:0
ends 'without --debug-exit the port does nothing' 0 "${exits[@]}" \
	-a case=debugexit:42
ends 'no verb: usage, status 2' 2
ends 'an unknown verb: status 2' 2 frobnicate

# ---- the other verbs ----

ends 'check: status 0 where a guest can run' 0 check
tap_like 'check names a capability' "$out" 'KVM_CAP_|irqchip|userfaultfd'
ends 'version: status 0' 0 version
tap_like 'version prints it' "$out" '^godwit [0-9]+\.[0-9]+'
ends 'help: status 0' 0 help
for verb in run check version; do
	ends "help $verb: status 0" 0 help $verb
	tap_like "help $verb: a usage line" "$out" "godwit $verb"
done
ends 'help of an unknown verb: status 2' 2 help frobnicate
ends 'run --help: status 0' 0 run --help
ends 'run --dry-run: status 0' 0 "${hello[@]}" --dry-run -c 2 -m 64M
if python3 -c 'import json, sys; json.load(sys.stdin)' <<<"$out" 2>&1; then
	tap_ok 'run --dry-run prints JSON'
else
	tap_not_ok 'run --dry-run prints JSON' "$out"
fi
ends 'run --dump-dtb: status 0' 0 "${hello[@]}" --dump-dtb "$in/dtb"
tap_is 'run --dump-dtb writes a device tree' \
	"$(od -An -tx1 -N4 "$in/dtb" | tr -d ' ')" d00dfeed
ends 'serial to a file: status 0' 0 "${hello[@]}" --serial "file=$in/serial"
tap_like 'serial to a file: the guest is heard there' "$(cat "$in/serial")" \
	'^hello from godwit guest'
tap_is 'serial to a file: and not on stdout' "$out" ''
ends 'serial none: status 0' 0 "${hello[@]}" --serial none
tap_is 'serial none: nothing on stdout' "$out" ''

# ---- usage, status 2 ----

refused 'an unknown option' 2 '--frob' "${hello[@]}" --frob
refused 'an option without its value' 2 '--(cpus|memory)' "${hello[@]}" -m
refused 'a word that is no option' 2 'surplus' "${hello[@]}" surplus
refused 'no kernel' 2 'kernel' run
for n in 0 -1 many 1x '' 99999999999999999999; do
	refused "--cpus '$n'" 2 'cpus' "${hello[@]}" --cpus "$n"
done
for m in 0 4097 12Q big '' -4096 99999999999999999999 1M,backing=paper \
	1M,thp=perhaps 1M,colour=red; do
	refused "--memory '$m'" 2 'memory' "${hello[@]}" --memory "$m"
done
refused 'an unknown --machine' 2 'machine' "${hello[@]}" --machine pc
refused 'an unknown --loop' 2 'loop' "${hello[@]}" --loop fast
refused 'an unknown --serial' 2 'serial' "${hello[@]}" --serial modem
refused 'serial and console both on stdio' 2 'console' "${hello[@]}" \
	--console stdio
refused 'a disk without a path' 2 'disk' "${hello[@]}" -d ro
refused 'a disk with an unknown option' 2 'disk' "${hello[@]}" \
	-d "path=/x,colour=red"
truncate -s 1M "$in/disk"
disks=()
for n in 1 2 3 4 5 6 7 8 9; do
	disks+=(-d "path=$in/disk")
done
refused 'nine disks' 2 'disk' "${hello[@]}" "${disks[@]}"
refused 'a name with a slash' 2 'name' "${hello[@]}" --name a/b

# ---- the configuration does not fit this host, status 1 ----

nr_max=$(python3 -c 'import fcntl
print(fcntl.ioctl(open("/dev/kvm", "rb"), 0xAE03, 66))')
refused 'more vCPUs than KVM has' '[12]' '4096' "${hello[@]}" \
	-c 4096
if [ "$nr_max" -lt 4095 ]; then
	refused 'one vCPU more than KVM has' 1 "$((nr_max + 1))" \
		"${hello[@]}" -c $((nr_max + 1)) -m 64M
else
	tap_skip 'one vCPU more than KVM has' "the limit is $nr_max"
fi
refused 'more memory than the host has' 1 'memory' "${hello[@]}" -m 64T
refused 'less memory than the kernel needs' 1 'kernel|memory' "${hello[@]}" \
	-m 4K
hugetlb=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)
if [ "$hugetlb" -lt 512 ]; then
	refused 'huge pages that are not there' 1 'memory|huge' "${hello[@]}" \
		-m 1G,backing=hugetlb
else
	tap_skip 'huge pages that are not there' "$hugetlb are"
fi

# kernel and initrd
mkdir "$in/dir"
: >"$in/empty"
echo 'not a kernel, only a line of text' >"$in/text"
head -c 100 "$guests/hello" >"$in/short.elf"
head -c 600 "$guests/hello.bzimage" >"$in/short.bz"
head -c 1000 /dev/urandom >"$in/noise"
truncate -s 300M "$in/big"
cp "$guests/hello" "$in/big.elf"
truncate -s 8T "$in/big.elf" 2>/dev/null || truncate -s 1G "$in/big.elf"
for bad in missing dir empty text short.elf short.bz noise big; do
	refused "a kernel: $bad" 1 "$bad" run -k "$in/$bad"
done
go run -k "$in/big.elf"
tap_like 'a kernel with terabytes of nothing behind it boots or is refused' \
	"status $rc, $(grep -c '' <<<"$err") line" '^status (0|1, 1 line)'
mkfifo "$in/fifo"
refused 'a kernel: a pipe' 1 fifo run -k "$in/fifo"
for bad in missing dir empty; do
	refused "an initrd: $bad" 1 "$bad" "${hello[@]}" -i "$in/$bad"
done
refused 'an initrd larger than RAM' 1 big "${hello[@]}" -i "$in/big" -m 256M
python3 -c 'print("x" * 70000, end="")' >"$in/long"
refused 'a kernel command line past the limit' '[12]' 'append|command line' \
	"${hello[@]}" -a "$(cat "$in/long")"

# disks
for bad in missing dir empty; do
	refused "a disk: $bad" 1 "$bad" "${hello[@]}" -d "path=$in/$bad"
done
truncate -s 1000 "$in/odd"
ends 'a disk: not whole sectors: boots' 0 "${hello[@]}" -d "path=$in/odd"
tap_like 'a disk: not whole sectors: says which bytes are lost' "$err" \
	'odd.*488'
if dd if="$in/disk" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; then
	refused 'a disk: too odd for O_DIRECT' 1 odd "${hello[@]}" \
		-d "path=$in/odd,direct"
else
	tap_skip 'a disk: too odd for O_DIRECT' 'no O_DIRECT on this file system'
fi
refused 'a disk: a pipe' 1 fifo "${hello[@]}" -d "path=$in/fifo"
refused 'a disk: no such fd' '[12]' 'fd|disk' "${hello[@]}" -d fd=77
refused 'serial to a folder that is not there' 1 'missing' "${hello[@]}" \
	--serial "file=$in/missing/serial"
refused 'serial to a folder' 1 'dir' "${hello[@]}" --serial "file=$in/dir"
refused 'a device tree to a folder that is not there' 1 missing \
	"${hello[@]}" --dump-dtb "$in/missing/dtb"

# ---- who may not ----

# A copy, since another user may not be let into this tree.
other=(setpriv --reuid 65534 --regid 65534 --clear-groups)
cp "$godwit" "$in/godwit"
cp "$guests/hello" "$in/hello"
chmod 755 "$in" "$in/godwit"
chmod 644 "$in/hello"
if [ "$(id -u)" = 0 ] && ! "${other[@]}" test -w /dev/kvm; then
	wrap=("${other[@]}")
	mine=$godwit
	godwit=$in/godwit
	refused '/dev/kvm not permitted' 1 '/dev/kvm' run -k "$in/hello"
	ends '/dev/kvm not permitted: check says so, status 1' 1 check
	tap_like '/dev/kvm not permitted: check names it' "$out$err" /dev/kvm
	chmod 600 "$in/hello"
	refused 'a kernel that may not be read' 1 "$in/hello" run -k "$in/hello"
	godwit=$mine
	wrap=()
else
	tap_skip '/dev/kvm not permitted' 'root only, or everybody may'
fi

# A mount namespace of our own in which /dev is another one.
if unshare -m true 2>/dev/null; then
	wrap=(unshare -m sh -c 'mount -t tmpfs t /dev && exec "$@"' sh)
	refused '/dev/kvm absent' 1 '/dev/kvm' "${hello[@]}"
	ends '/dev/kvm absent: check says so, status 1' 1 check
	wrap=(unshare -m sh -c 'mount --bind /dev/null /dev/kvm && exec "$@"' sh)
	refused '/dev/kvm is something else' 1 '/dev/kvm' "${hello[@]}"
	wrap=()
else
	tap_skip '/dev/kvm absent' 'no right to make a mount namespace'
fi

# Each fd limit from the first at which programs start: one line or success.
bad='' good=''
n=4
while [ -z "$good" ] && [ $n -lt 120 ]; do
	wrap=(sh -c "ulimit -n $n; exec \"\$@\"" sh)
	go "${hello[@]}" -c 2 --rng -d "path=$in/disk" --loop epoll
	case $rc in
	0) good=$n ;;
	1)
		[ "$(grep -c '' <<<"$err")" = 1 ] && [ -z "$left" ] &&
			grep -qiE 'open files|RLIMIT_NOFILE|ulimit' <<<"$err" ||
			bad="$bad
$n: $err $left"
		;;
	*)
		# Before main() the dynamic loader has its own words.
		grep -q 'error while loading shared libraries' <<<"$err" ||
			bad="$bad
$n: status $rc: $err"
		;;
	esac
	n=$((n + 1))
done
wrap=()
if [ -z "$bad" ] && [ -n "$good" ]; then
	tap_ok 'every fd limit is named in one line, with status 1'
	tap_comment "two vCPUs, a disk and rng need a limit of $good"
else
	tap_not_ok 'every fd limit is named in one line, with status 1' \
		"enough: ${good:-never}$bad"
fi

# ---- what else may be in the way ----

wrap=(sh -c 'exec "$@" >/dev/full' sh)
go version
tap_is 'version to a full device: status 1' "$rc" 1
go "${hello[@]}" --dry-run
tap_is '--dry-run to a full device: status 1' "$rc" 1
wrap=(sh -c 'exec "$@" >&-' sh)
ends 'a closed stdout does no harm' 0 "${hello[@]}" --serial none
wrap=(sh -c 'exec "$@" <&- ' sh)
ends 'a closed stdin does no harm' 0 "${hello[@]}"
wrap=()

tap_done
