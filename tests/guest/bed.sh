# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# tests/guest/bed.sh - for the scripts that prepare a folder and run their
# NAME_l1.sh on the nested bed.  Source it.
#
#   GODWIT=FILE      the program under test (./godwit)
#   GUEST_WORK=DIR   the folder (build/guest-NAME); logs/ and bed/ stay there
#   GUEST_LIMIT=SEC  for one step of the guest; only ends what hangs (240)
#   BED_LIMIT=SEC    for everything (1700)

bed_here=$(dirname "$(realpath "$0")")
bed_top=$(realpath "$bed_here/../..")

# bed_prepare NAME: the folder $bed_work, with run/{godwit,NAME_l1.sh,...}.
bed_prepare() {
	local godwit=${GODWIT:-$bed_top/godwit}
	bed_name=$1
	bed_work=${GUEST_WORK:-$bed_top/build/guest-$1}
	[ -x "$godwit" ] || {
		echo "$1.sh: $godwit: not built (make all)" >&2
		exit 1
	}
	rm -rf "$bed_work/logs" "$bed_work/bed" "$bed_work/run"
	mkdir -p "$bed_work/logs" "$bed_work/run"
	# L1 sees this folder wherever it is, but not all of the host: its /tmp
	# is its own, so a clone in /tmp would not be there.
	cp "$godwit" "$bed_work/run/godwit" &&
		cp "$bed_here/lib.sh" "$bed_here/$1_l1.sh" \
			"$bed_top/tests/lib/tap.sh" "$bed_work/run" || exit 1
}

# bed_guest [tools]: adds the stock guest as linux/.
bed_guest() {
	"$bed_top/kernels/linux/build.sh" "$bed_work/linux" "$@" || exit 1
}

# bed_tools: the programs of linux/tools.img for L1 as well, as run/tools/.
bed_tools() {
	local tools
	tools=$("$bed_top/tests/lib/fetch_tools.sh") || exit 1
	# They are large: links will do where there can be any.
	cp -rl "$tools" "$bed_work/run/tools" 2>/dev/null || {
		rm -rf "$bed_work/run/tools"
		cp -r "$tools" "$bed_work/run/tools" || exit 1
	}
}

# bed_run_again [VARIABLE=VALUE...]: as bed_run, but if something fails it is
# run once more, and that counts.  The first failure is told on stderr and stays
# in first/: look there, for it may be ours as well as the bed's.
bed_run_again() {
	local first=$bed_work/first
	rm -rf "$first"
	(bed_run "$@") >"$bed_work/first.tap"
	rc=$?
	if [ $rc -eq 0 ]; then
		cat "$bed_work/first.tap"
		exit 0
	fi
	mkdir -p "$first"
	cp -r "$bed_work"/{first.tap,logs,bed} "$first"
	echo "$bed_name.sh: failed, and is run again; see $first:" >&2
	grep -A 5 '^not ok' "$first/first.tap" | sed 's/^/# /' >&2
	bed_run "$@"
}

# bed_run [VARIABLE=VALUE...]: NAME_l1.sh; does not return.
bed_run() {
	exec "$bed_top/tests/bed/l1.sh" -t "${BED_LIMIT:-1700}" -R 2 -r \
		-l "$bed_work/bed" "$bed_work" \
		"$* GUEST_LIMIT=${GUEST_LIMIT:-240} run/${bed_name}_l1.sh"
}
