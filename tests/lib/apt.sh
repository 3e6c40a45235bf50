# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# tests/lib/apt.sh - packages into a folder, for any user; source it.
# They are downloaded, never installed.

# apt's own lists; after apt_private_lists, private ones.
apt_options=()

# apt_private_lists DIR: fetches lists into DIR, which any user may.
apt_private_lists() {
	mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
	apt_options=(-o "Dir::State::Lists=$1/lists" -o "Dir::Cache=$1/cache"
		-o Debug::NoLocking=1)
	apt-get -q -q -o APT::Sandbox::User="$(id -un)" \
		"${apt_options[@]}" update
}

# apt_download DIR PACKAGE...
apt_download() {
	(cd "$1" && shift && apt-get -q -q \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 \
		"${apt_options[@]}" download "$@")
}
