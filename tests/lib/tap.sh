# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# tests/lib/tap.sh - TAP from shell scripts; source it, end with tap_done.
# A test's name is the promise it checks.

tap_count=0
tap_failed=0

# tap_comment TEXT...: "# " before each line.
tap_comment() { printf '%s\n' "$*" | sed 's/^/# /'; }

tap_ok() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1"
}

# tap_not_ok NAME WHY...
tap_not_ok() {
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $1"
	shift
	[ $# -eq 0 ] || tap_comment "$*"
}

# tap_is NAME GOT WANT
tap_is() {
	if [ "$2" = "$3" ]; then
		tap_ok "$1"
	else
		tap_not_ok "$1" "got '$2', want '$3'"
	fi
}

# tap_like NAME TEXT ERE: a line of TEXT matches.
tap_like() {
	if printf '%s\n' "$2" | grep -qE -e "$3"; then
		tap_ok "$1"
	else
		tap_not_ok "$1" "no line matches '$3' in:
$2"
	fi
}

# tap_skip NAME REASON
tap_skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2"
}

# tap_skip_all REASON: the whole script, before its first test.
tap_skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

# tap_need_kvm: skips all without /dev/kvm, fails when KVM=required.
tap_need_kvm() {
	# shellcheck disable=SC2217 # only the opening matters
	if (: <>/dev/kvm) 2>/dev/null; then
		return
	fi
	[ "${KVM:-}" = required ] || tap_skip_all "/dev/kvm cannot be opened"
	tap_not_ok "/dev/kvm can be opened (KVM=required)"
	tap_done
}

tap_done() {
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ]
	exit
}
