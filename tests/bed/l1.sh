#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/bed/l1.sh [options] DIR COMMAND... - run COMMAND on an upstream KVM.
#
# Boots a stock Debian kernel (L1) under QEMU's TCG, which emulates AMD SVM with
# nested paging.  L1 loads its own kvm_amd and runs COMMAND, a shell command
# line, with DIR as the working directory.  What COMMAND prints and its status
# become this script's.  Needs neither /dev/kvm nor root.
#
#   -t SEC   time limit in all (default 300)
#   -c N     L1 CPUs (default 2)        -m MEM  L1 memory (default 3G)
#   -k DIR   unpacked linux-image package, flavour amd64 (default: fetched)
#   -r       COMMAND sees this machine's own / (read only, /tmp and /run empty)
#            and DIR, writable, at its own path
#   -l DIR   leave console.log, out.log, hung*.log and died*.log there
#   -R N     COMMAND may be repeated: up to N times more when L1 itself hangs
#            or its kernel dies (both seen, see README.md)
#   -a ARGS  more kernel arguments, for example "mod.kvm-amd=npt=0"
#   -Q ARGS  more QEMU arguments
#
# Status: COMMAND's (0..123); 124 time limit; 125 L1 died or did not come up.
# Debian packages: tests/lib/deps.sh test.
set -u

here=$(dirname "$(realpath "$0")")
top=$(realpath "$here/../..")
usage() {
	sed -n '3,24s/^# \{0,1\}//p' "$0" >&2
	exit 125
}
limit=300 cpus=2 mem=3G kernel='' root='' log='' append='' extra='' repeat=0
while getopts t:c:m:k:rl:a:Q:R: o; do
	case $o in
	t) limit=$OPTARG ;;
	c) cpus=$OPTARG ;;
	m) mem=$OPTARG ;;
	k) kernel=$OPTARG ;;
	r) root=1 ;;
	l) log=$OPTARG ;;
	a) append=$OPTARG ;;
	Q) extra=$OPTARG ;;
	R) repeat=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
dir=$(realpath "$1") || exit 125
shift

[ -n "$kernel" ] || kernel=$("$top/tests/lib/fetch_kernels.sh" full) || exit 125

# The unpacked kernel and the initramfs are kept; both are made aside and moved
# into place, so that several of us may run at once.
cache=${GODWIT_CACHE:-$top/.cache}/bed
mkdir -p "$cache" || exit 125
version=$(cd "$kernel/lib/modules" && echo *)
vmlinux=$cache/vmlinux-$version
initrd=$cache/initrd-$version.cpio
if [ ! -s "$vmlinux" ]; then
	"$top/kernels/linux/extract-vmlinux.py" \
		"$kernel/boot/vmlinuz-$version" "$vmlinux" || exit 125
fi
if [ ! -s "$initrd" ] || [ "$here/init.sh" -nt "$initrd" ] ||
	[ "$0" -nt "$initrd" ] ||
	[ "$top/kernels/linux/mkrd.sh" -nt "$initrd" ]; then
	"$top/kernels/linux/mkrd.sh" "$initrd" "$kernel" "$here/init.sh" \
		kvm-amd tun vhost_net vhost_vsock virtio_pci virtio_net \
		9p 9pnet_virtio || exit 125
fi

emulator=$("$here/mend_qemu.py" "$cache/qemu-system-x86_64") || exit 125
# A copy does not find its modules and firmware by itself.
modules=$(dirname /usr/lib/*/qemu/accel-tcg-x86_64.so)
mapfile -t firmware < <(qemu-system-x86_64 -L help | sed "s/^/-L\n/")

work=$(mktemp -d "${TMPDIR:-/tmp}/l1.XXXXXX") || exit 125
if [ -n "$log" ]; then
	mkdir -p "$log" && log=$(realpath "$log") || exit 125
fi
qemu=
# shellcheck disable=SC2317 # the trap calls it
clean() {
	[ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null
	[ -z "$log" ] || cp -f "$work"/*.log "$log"/
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

printf '%s\n' "$*" >"$work/l1cmd"
printf "L1_DIR='%s'\nL1_ROOT='%s'\nL1_CACHE='%s'\n" \
	"$dir" "$root" "${L1_9PCACHE:-mmap}" >"$work/l1env"
(cd "$work" && printf 'l1cmd\nl1env\n' |
	cpio -o -H newc --quiet -R 0:0) | cat "$initrd" - >"$work/initrd"
: >"$work/console.log"
: >"$work/out.log"

share=security_model=none,multidevs=remap
line="console=ttyS0,115200 quiet mitigations=off panic=-1 oops=panic"
# On a loaded machine L1 cannot find out by itself.
line="$line tsc=reliable tsc_early_khz=$("$here/tsc_khz.py") no_timer_check"
line="$line $append"
# shellcheck disable=SC2054 # commas are QEMU's
args=(-accel tcg,thread=multi,tb-size=512 -cpu max,-la57 -M q35
	-smp "$cpus" -m "$mem" -nodefaults -no-user-config -display none
	-no-reboot -monitor "unix:$work/monitor,server=on,wait=off"
	-serial "file:$work/console.log" -serial "file:$work/out.log"
	-virtfs "local,path=$dir,mount_tag=share,$share"
	-kernel "$vmlinux" -initrd "$work/initrd"
	-append "$line")
[ -z "$root" ] ||
	args+=(-virtfs "local,path=/,mount_tag=host,$share,readonly=on")

stop() {
	kill -9 "$qemu"
	wait "$qemu" 2>/dev/null
	qemu=
}
# What QEMU knows of a hung L1, for whoever looks into it.
registers() {
	timeout 20 python3 - "$work/monitor" <<-'PY'
		import re, socket, sys
		with socket.socket(socket.AF_UNIX) as monitor:
		    monitor.settimeout(5)
		    monitor.connect(sys.argv[1])
		    monitor.sendall(b"info registers -a\ninfo lapic\ninfo pic\n")
		    try:
		        while data := monitor.recv(65536):
		            text = data.decode(errors="replace")
		            sys.stdout.write(re.sub("\\(qemu\\).*\x1b.*", "", text))
		    except OSError:
		        pass
	PY
}

# One boot.  0: QEMU ended by itself; 1: time limit; 2: no init in time; 3: L1
# has not beaten for long.
boot() {
	local now boot_end=$(($(date +%s) + 120))
	: >"$work/console.log"
	# shellcheck disable=SC2086 # words
	QEMU_MODULE_DIR=$modules setpriv --pdeathsig KILL "$emulator" \
		"${firmware[@]}" "${args[@]}" $extra &
	qemu=$!
	while kill -0 "$qemu" 2>/dev/null; do
		now=$(date +%s)
		if [ "$now" -ge "$end" ]; then
			stop
			return 1
		fi
		if [ "$now" -ge "$boot_end" ] &&
			! grep -qa '^L1: init' "$work/console.log"; then
			stop
			return 2
		fi
		if [ $((now - $(stat -c %Y "$work/console.log"))) -ge 120 ]; then
			registers >"$work/registers.log" 2>&1
			stop
			return 3
		fi
		sleep 0.1
	done
	wait "$qemu"
	qemu=
	return 0
}

# The command's status, as init says it at its end.
status() {
	tr -d '\r' <"$work/console.log" |
		sed -n 's/^L1: rc \([0-9]*\)$/\1/p' | tail -n 1
}

end=$(($(date +%s) + limit))
late=0 hung=0 died=0
while :; do
	boot
	result=$?
	case $result in
	2)
		late=$((late + 1))
		echo "l1.sh: L1 boot $late did not reach init in 120 s" >&2
		cp "$work/console.log" "$work/late$late.log"
		[ $late -lt 3 ] || break
		;;
	3)
		hung=$((hung + 1))
		echo "l1.sh: L1 hung (no beat for 120 s), time $hung" >&2
		cat "$work/console.log" "$work/registers.log" \
			"$work/out.log" >"$work/hung$hung.log"
		[ $hung -le "$repeat" ] || break
		;;
	0)
		[ -z "$(status)" ] || break
		died=$((died + 1))
		[ $died -le "$repeat" ] || break
		echo "l1.sh: L1 died, time $died:" >&2
		grep -E 'BUG|panic|RIP|Oops' "$work/console.log" | head -n 5 >&2
		cat "$work/console.log" "$work/out.log" >"$work/died$died.log"
		;;
	*) break ;;
	esac
done
tr -d '\r' <"$work/out.log"
rc=$(status)
if [ "$result" = 1 ]; then
	echo "l1.sh: time limit of $limit s" >&2
	grep -v '^L1: beat' "$work/console.log" | tail -n 5 >&2
	exit 124
fi
[ -z "$rc" ] || exit "$rc"
echo "l1.sh: L1 died or hung:" >&2
grep -v '^L1: beat' "$work/console.log" | tail -n 30 >&2
exit 125
