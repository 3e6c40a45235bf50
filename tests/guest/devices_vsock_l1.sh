# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# tests/guest/devices_vsock_l1.sh - socat over vsock, both ways.
# shellcheck disable=SC2154 # devices_l1.sh sets what it reads

vm_does dev hear:1000 'socat listens in the guest'
head -c 256K /dev/urandom >sent
# A line, then all comes back.  1: nobody listens there, yet.
heard() {
	{ echo CONNECT 1000 && cat sent; } | tool socat -t 60 - \
		UNIX-CONNECT:v.sock >heard 2>heard.err && [ -s heard ]
}
vm_until "$vm_limit" heard
tap_like 'the host connects to a port of the guest' "$(head -n 1 heard)" \
	'^OK [0-9]+$'
tap_is '256 KiB go there and come back' \
	"$(tail -n +2 heard | sha256sum)" "$(sha256sum <sent)"

tool socat -u UNIX-LISTEN:v.sock_2000 CREATE:told 2>told.err &
teller=$!
vm_until 60 test -S v.sock_2000
vm_does dev tell:2000:256 'the guest connects to a port of the host'
wait $teller
tap_is 'and sends 256 KiB' "$(sha256sum <told)" "$(vm_said dev told)"
