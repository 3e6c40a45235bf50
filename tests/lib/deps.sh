#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib/deps.sh [SET...] - the Debian 12 packages godwit needs, one list.
#
# SET is build, test (includes build), lint or bench; none means build and test.
# Missing packages are installed when this runs as root; otherwise the one
# command that installs them is printed and the status is 1.  Quick when all is
# there.  GODWIT_DEPS=skip turns it off (other distributions, offline hosts).
set -eu

build='gcc make libc6-dev libfdt-dev libjansson-dev liburing-dev
	libslirp-dev libslirp0'
test='libcmocka-dev clang libclang-rt-14-dev qemu-system-x86 busybox-static
	cpio xz-utils lz4 zstd python3 spin acpica-tools valgrind git procps
	binutils e2fsprogs util-linux ca-certificates iproute2
	frama-c-base why3 cvc4 z3'
lint='clang-format clang-tidy cppcheck shellcheck'
bench='fio libuv1-dev libev-dev qemu-system-x86 python3 gnuplot-nox iproute2
	util-linux'

want=
for set in "${@:-test}"; do
	case $set in
	build) want="$want $build" ;;
	test) want="$want $build $test" ;;
	lint) want="$want $build $lint" ;;
	bench) want="$want $build $bench" ;;
	*)
		echo "deps.sh: unknown set '$set' (build, test, lint, bench)" >&2
		exit 2
		;;
	esac
done
[ "${GODWIT_DEPS:-}" != skip ] || exit 0
# shellcheck disable=SC2086,SC2116 # one line, single spaces
want=$(echo $want)

if ! command -v dpkg-query >/dev/null; then
	echo "deps.sh: not a Debian system; install what these Debian 12" \
		"packages hold, then set GODWIT_DEPS=skip: $want" >&2
	exit 1
fi

# The words of $want that dpkg does not have as installed.
missing() {
	# shellcheck disable=SC2086 # a list of words
	dpkg-query -W -f '${Package} ${db:Status-Status}\n' $want 2>/dev/null |
		awk -v want="$want" '
			$2 == "installed" { have[$1] = 1 }
			END {
				n = split(want, w, " ")
				for (i = 1; i <= n; i++)
					if (!(w[i] in have) && !seen[w[i]]++)
						printf "%s ", w[i]
			}'
}

todo=$(missing || true)
[ -n "$todo" ] || exit 0

line="apt-get install -y --no-install-recommends $todo"
if [ "$(id -u)" -ne 0 ]; then
	echo "deps.sh: packages are missing; as root run" >&2
	echo "    apt-get update && $line" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
apt() {
	apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 \
		-o Dpkg::Use-Pty=0 "$@" </dev/null
}
# shellcheck disable=SC2086
add() { apt install -y --no-install-recommends $todo; }

echo "deps.sh: installing: $todo"
log=$(mktemp "${TMPDIR:-/tmp}/godwit-deps.XXXXXX")
trap 'rm -f "$log"' EXIT
# Lists that are absent or stale are fetched only when the first try fails.
if ! add >"$log" 2>&1; then
	apt update >>"$log" 2>&1 || true
	if ! add >>"$log" 2>&1; then
		tail -n 30 "$log" >&2
		echo "deps.sh: could not install: $todo" >&2
		echo "    as root: apt-get update && $line" >&2
		exit 1
	fi
fi
todo=$(missing || true)
[ -z "$todo" ] || {
	echo "deps.sh: still missing after the installation: $todo" >&2
	exit 1
}
