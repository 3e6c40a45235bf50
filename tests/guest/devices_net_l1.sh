# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# tests/guest/devices_net_l1.sh - ping and iperf3 over user-mode networking and
# over a tap in a network namespace.
# shellcheck disable=SC2154 # devices_l1.sh sets what it reads

netns_serve gw 5201
vm_does dev net:eth0:10.0.2.15/24:10.0.2.2 'the user-mode network is up'
vm_does dev net:eth1:10.9.0.2/24 'the tap network is up'

# stream PROMISE WORD ADDRESS: a test; an iperf3 of the guest.
stream() {
	vm_does dev "$2" "$1"
	tap_comment "$(vm_said dev "iperf $3")"
}
vm_does dev ping:10.0.2.2 'user: ping, five of five'
tap_comment "$(vm_said dev 'ping 10.0.2.2')"
stream 'user: iperf3 to the host' iperf:10.0.2.2:5201:2 10.0.2.2
stream 'user: iperf3 from the host' iperf:10.0.2.2:5201:2:reverse 10.0.2.2
vm_does dev ping:10.9.0.1 'tap: ping, five of five'
tap_comment "$(vm_said dev 'ping 10.9.0.1')"
stream 'tap: iperf3 to the namespace' iperf:10.9.0.1:5201:2 10.9.0.1
stream 'tap: iperf3 from the namespace' iperf:10.9.0.1:5201:2:reverse 10.9.0.1

vm_does dev serve:5201 'an iperf3 server in the guest'
# reached PROMISE ADDRESS PORT: a test; an iperf3 to it.
reached() {
	if netns_tool gw iperf3 -c "$2" -p "$3" -t 2 >reached 2>&1; then
		tap_like "$1" "$(cat reached)" '[1-9].*Bytes.*receiver'
	else
		tap_not_ok "$1" "$(cat reached)"
	fi
	tap_comment "$(grep receiver reached)"
}
reached 'user: the host reaches it through a forwarded port' 127.0.0.1 5301
reached 'tap: the namespace reaches it' 10.9.0.2 5201
