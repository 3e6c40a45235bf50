#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib/fetch_tools.sh - Debian's fio, stress-ng, iperf3, socat and others
# with the libraries they need, unpacked (never installed) into
# .cache/tools/{bin,lib}, for the stock guest and for L1.  Prints the folder.
#
# What is there already is reused without asking the network.  Several may run
# at once.
#
#   GODWIT_CACHE=DIR  instead of .cache
#   GODWIT_DEBS=DIR   take *.deb from here when the network has none
# shellcheck disable=SC2154 # apt.sh sets apt_options
set -eu

top=$(realpath "$(dirname "$(realpath "$0")")/../..")
. "$top/tests/lib/apt.sh"
cache=${GODWIT_CACHE:-$top/.cache}
mkdir -p "$cache"
cache=$(realpath "$cache")
dir=$cache/tools
# The programs, and the packages that have them.
programs='fio stress-ng iperf3 socat mke2fs e2fsck fstrim blkdiscard ip ping'
packages='fio stress-ng iperf3 socat e2fsprogs util-linux iproute2 iputils-ping'
loader=ld-linux-x86-64.so.2

# What the programs depend on, without what only their scripts and maintainers'
# scripts want; too much is harmless, needed() chooses.
closure() {
	# shellcheck disable=SC2086 # words
	apt-cache "${apt_options[@]}" depends --recurse --no-recommends \
		--no-suggests --no-conflicts --no-breaks --no-replaces \
		--no-enhances \
		$packages |
		grep -xE "(lib[^ ]*|zlib1g|${packages// /|})" | sort -u |
		grep -vE 'perl|python|pam|semanage|installer|newt|-data$'
}

download() {
	local names
	names=$(closure) || return 1 # no lists
	# shellcheck disable=SC2086 # words
	apt_download "$1" $names
}

# needed FILE...: these and all they load, copied into $work/new/lib.
needed() {
	local file name from
	for file; do
		for name in $(readelf -d "$file" |
			sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p') $loader; do
			[ ! -e "$work/new/lib/$name" ] || continue
			from=$(find "$work/root" -name "$name" | head -n 1)
			if [ -z "$from" ]; then
				echo "fetch_tools.sh: no package has $name," \
					"which ${file##*/} needs" >&2
				return 1
			fi
			cp -L "$from" "$work/new/lib/$name"
			needed "$work/new/lib/$name" || return 1
		done
	done
}

fetch() {
	local deb program file wanted=()
	for program in $programs; do
		wanted+=("bin/$program")
	done
	work=$(mktemp -d "$cache/tools.tmp.XXXXXX")
	mkdir -p "$work"/{deb,root,new/bin,new/lib}
	if ! download "$work/deb" >"$work/log" 2>&1 && {
		! apt_private_lists "$work/apt" || ! download "$work/deb"
	} >>"$work/log" 2>&1; then
		if [ -n "${GODWIT_DEBS:-}" ]; then
			cp "$GODWIT_DEBS"/*.deb "$work/deb"
		else
			tail -n 5 "$work/log" >&2
			echo "fetch_tools.sh: no packages of $packages:" \
				"apt-get needs the network and a Debian 12" \
				"source, or GODWIT_DEBS=a folder with them" >&2
			return 1
		fi
	fi
	for deb in "$work"/deb/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" |
			tar -x -C "$work/root" --wildcards --no-anchored \
				'*.so.*' '*.so' "${wanted[@]/bin/*bin}" 2>/dev/null ||
			true # tar counts patterns that match nothing
	done
	for program in $programs; do
		file=$(find "$work/root" -type f -path "*bin/$program" |
			head -n 1)
		cp "$file" "$work/new/bin"
		needed "$work/new/bin/$program"
	done
	ln -s mke2fs "$work/new/bin/mkfs.ext4"
	echo "$programs" >"$work/new/programs"
	rm -rf "$dir"
	mv "$work/new" "$dir"
}

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
exec 9>"$cache/tools.lock"
flock 9
rm -rf "$cache"/tools.tmp.* # of one that was killed
[ "$(cat "$dir/programs" 2>/dev/null)" = "$programs" ] || fetch
echo "$dir"
