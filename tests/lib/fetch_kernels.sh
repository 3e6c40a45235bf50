#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib/fetch_kernels.sh [cloud|full]... - Debian's current kernels, unpacked
# (never installed) into .cache/kernels/{cloud,full}; none named means both.
#
# What is there already is reused without asking the network: remove .cache/ to
# get newer ones.  Several may run at once.  Prints the folders, one a line.
#
#   GODWIT_CACHE=DIR  instead of .cache
#   GODWIT_DEBS=DIR   look for linux-image-*.deb here first (offline hosts)
# shellcheck disable=SC2154 # apt.sh sets apt_options
set -eu

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/apt.sh"
cache=${GODWIT_CACHE:-$top/.cache}/kernels
mkdir -p "$cache"
cache=$(realpath "$cache")

meta_of() {
	case $1 in
	cloud) echo linux-image-cloud-amd64 ;;
	full) echo linux-image-amd64 ;;
	*)
		echo "fetch_kernels.sh: '$1' is not cloud or full" >&2
		return 2
		;;
	esac
}

# complete DIR: a kernel and its modules are there, and the marker says that
# everything was unpacked.
complete() {
	[ -s "$1/godwit-version" ] || return 1
	local ver
	ver=$(cat "$1/godwit-version")
	[ -s "$1/boot/vmlinuz-$ver" ] && [ -d "$1/lib/modules/$ver/kernel" ]
}

# download META DIR: the package that META depends on, into DIR.  The unsigned
# one is the same kernel without a signature for UEFI.
download() {
	local name deb
	name=$(apt-cache "${apt_options[@]}" depends "$1" 2>/dev/null |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
	[ -n "$name" ] || return 1
	for deb in "$name-unsigned" "$name"; do
		apt_download "$2" "$deb" && return 0
	done
	return 1
}

# given FLAVOUR DIR: a package from $GODWIT_DEBS, copied into DIR.
given() {
	local best
	[ -n "${GODWIT_DEBS:-}" ] || return 1
	best=$(find "$GODWIT_DEBS" -maxdepth 1 -name 'linux-image-[0-9]*.deb' |
		if [ "$1" = cloud ]; then grep -- -cloud-; else
			grep -v -e -cloud- -e -rt-; fi | sort -V | tail -n 1)
	[ -n "$best" ] && cp "$best" "$2/"
}

offline() {
	cat >&2 <<TXT
fetch_kernels.sh: could not download the package $1 depends on.
  apt-get needs the network and a Debian 12 source of packages.  Without them,
  bring the .deb (\`apt-cache depends $1\` names it; on another machine:
  apt-get download NAME-unsigned) and run with GODWIT_DEBS=the folder it is in.
TXT
}

# fetch FLAVOUR, under the lock.
fetch() {
	local meta deb ver dir=$cache/$1
	meta=$(meta_of "$1")
	complete "$dir" && return 0
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	mkdir "$work/deb" "$work/root"
	if ! given "$1" "$work/deb" &&
		! download "$meta" "$work/deb" 2>"$work/log"; then
		# No lists, or the package in them is gone from the mirror.
		if ! apt_private_lists "$work/apt" 2>>"$work/log" >&2 ||
			! download "$meta" "$work/deb" 2>>"$work/log"; then
			cat "$work/log" >&2
			offline "$meta"
			return 1
		fi
	fi
	deb=$(echo "$work"/deb/linux-image-*.deb)
	dpkg-deb -x "$deb" "$work/root"
	ver=$(cd "$work/root/boot" && echo vmlinuz-*)
	ver=${ver#vmlinuz-}
	echo "$ver" >"$work/root/godwit-version"
	if ! complete "$work/root"; then
		echo "fetch_kernels.sh: ${deb##*/} has no kernel or no modules" >&2
		return 1
	fi
	rm -rf "$dir"
	mv "$work/root" "$dir"
	rm -rf "$work"
}

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
[ $# -gt 0 ] || set -- cloud full
for flavour; do
	meta_of "$flavour" >/dev/null
done
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/tmp.* # of one that was killed
for flavour; do
	fetch "$flavour"
	echo "$cache/$flavour"
done
