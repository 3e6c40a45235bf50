#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib/lint.sh - what needs no build: formatting, cppcheck, SPDX lines,
# and shellcheck.  Status 1 if any of them has something to say.
set -u

cd "$(dirname "$(realpath "$0")")/../.." || exit 1
bad=0
mapfile -t all < <(git ls-files -co --exclude-standard)
c=() sh=()
for file in "${all[@]}"; do
	[ -f "$file" ] || continue
	case $file in
	*.c | *.h) c+=("$file") ;;
	*) case $(head -c 64 "$file" | head -n 1 | tr -d '\0') in
		'#!'*/bash | '#!'*/sh | '#!'*'busybox sh') sh+=("$file") ;;
		esac ;;
	esac
done

for file in "${c[@]}" "${sh[@]}"; do
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || {
		echo "$file: no SPDX line"
		bad=1
	}
done
clang-format --dry-run -Werror "${c[@]}" || bad=1
# Not the tests: cppcheck does not know that cmocka's skip() and fail() do not
# return, and C11's _Alignas not at all.
mapfile -t product < <(printf '%s\n' "${c[@]}" | grep -v '^tests/')
cppcheck -q --error-exitcode=1 --inline-suppr -j "$(nproc)" -I. \
	--enable=warning,portability --std=c11 -D_GNU_SOURCE -D__x86_64__ \
	'-D_Alignas(x)=' --suppress=missingIncludeSystem "${product[@]}" || bad=1
if command -v shellcheck >/dev/null; then
	shellcheck -S warning "${sh[@]}" || bad=1
else
	echo "lint.sh: shellcheck is not installed, scripts were not checked"
fi
exit $bad
