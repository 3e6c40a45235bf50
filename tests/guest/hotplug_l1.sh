#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/guest/hotplug_l1.sh - runs inside L1, from the folder that hotplug.sh
# made: the guest says how many vCPUs it wants, `godwit cpu set` gives or takes
# them, and the guest checks what it has.  Prints TAP.
set -u

run=$(dirname "$(realpath "$0")")
godwit=$run/godwit
. "$run/tap.sh"

logs=$PWD/logs
dir=$(mktemp -d)
cp linux/bzImage linux/initrd "$dir"
cd "$dir" || exit 1

cycles=${HOTPLUG_GUEST_CYCLES:-3}
words=cpus:1,spin,online:4
want='cpus:1 spin online:4 '
i=0
while [ "$i" -lt "$cycles" ]; do
	words=$words,online:2,online:4
	want="${want}online:2 online:4 "
	i=$((i + 1))
done
words=$words,sleep,poweroff
want="${want}sleep poweroff "

timeout -k 5 $((240 + 20 * cycles)) "$godwit" run -k bzImage -i initrd \
	-c 1,max=4 -m 512M --no-reboot --control "$dir/control" \
	-a "console=ttyS0 quiet panic=-1 godwit.test=$words" \
	</dev/null >serial 2>err &
vm=$!

# One order each time that the guest asks; its answers are numbered by lines.
asked=0
refused=
while kill -0 $vm 2>/dev/null; do
	count=$(grep -ac 'GODWIT-SAYS online wants' serial)
	if [ "$count" = "$asked" ]; then
		sleep 0.2
		continue
	fi
	asked=$((asked + 1))
	number=$(grep -a 'GODWIT-SAYS online wants' serial | tr -d '\r' |
		sed -n "${asked}s/.*wants //p")
	"$godwit" cpu set "$dir/control" "$number" --timeout 60000 >>orders 2>&1 ||
		refused="$refused $asked:$number"
done
wait $vm
status=$?
tr -d '\r' <serial >"$logs/hotplug.log"
cat err orders >>"$logs/hotplug.log"

tap_is 'the guest powers off, status 0' "$status" 0
tap_is 'every cpu set was done' "$refused" ''
tap_is "1 -> 4, $cycles times 4 -> 2 -> 4 under load: each vCPU runs programs" \
	"$(tr -d '\r' <serial | sed -n 's/^GODWIT-TEST ok //p' | tr '\n' ' ')" \
	"$want"
tap_is 'the guest kernel warns of nothing' \
	"$(grep -aE 'WARNING|BUG:|Eject incomplete|soft lockup' serial)" ''
tap_is 'the host says nothing on stderr' "$(cat err)" ''
[ -z "$refused" ] || tap_comment "$(cat orders)"

cd /
rm -rf "$dir"
tap_done
