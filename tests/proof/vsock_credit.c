/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/vsock_credit.c - every counter, wrapped or not, every credit that
 * a guest may claim, every buffer.
 * promise: a guest is never sent more than it has room for, nor than our window
 * functions: vsock_credit,take_credit,put_data
 * break: virtio/vsock_conn.c s/ahead > c->sent - c->peer_fwd/ahead > c->sent/
 * break: virtio/vsock_conn.c s/uint32_t len = vsock_credit\(c\)/uint32_t len = c->peer_alloc/
 */
#include "tests/proof/proof.h"
#include "tests/proof/wrap.h"

#include "virtio/vsock_private.h"

/*@ // On its way: sent and not yet passed on, in any turn of the counters.
    logic integer under_way(struct vsock_conn *c) =
	c->sent >= c->peer_fwd ? c->sent - c->peer_fwd :
	c->sent - c->peer_fwd + 0x100000000;

    logic integer most(integer peer_alloc) =
	\min(peer_alloc, VSOCK_WINDOW_MAX);
*/

/*@ requires \valid_read(c);
    assigns \nothing;
    ensures \result == \max(0, most(c->peer_alloc) - under_way((struct vsock_conn *)c));
*/
static inline uint32_t vsock_credit(const struct vsock_conn *c);

/* The host's side: takes at most what it is asked for, counts nothing. */
/*@ requires \valid(c);
    assigns c->readable, c->stage, c->owed, c->our_shut, c->forwarded, c->buffer,
	c->fd, c->watch, c->watched, c->queued;
    ensures \result <= len;
*/
uint32_t vsock_host_read(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t off, uint32_t len);

/*@ requires \valid(c);
    assigns c->told, c->owed;
*/
static void put_packet(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint16_t op, uint32_t len);

/*@ requires \valid(c) && room > VSOCK_HEADER;
    assigns c->readable, c->stage, c->owed, c->our_shut, c->forwarded, c->buffer,
	c->fd, c->watch, c->watched, c->queued, c->sent, c->told;
    ensures \result <= room;
    ensures \result == 0 ==> c->sent == \old(c->sent);
    ensures \result > 0 ==> \result > VSOCK_HEADER;
    ensures \result > 0 ==>
	under_way(c) == \old(under_way(c)) + \result - VSOCK_HEADER;
    ensures \result > 0 ==> under_way(c) <= most(c->peer_alloc);
*/
static uint32_t put_data(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t room);

/* What it says of bytes that were not sent is refused, and changes nothing. */
/* at virtio/vsock_conn.c take_credit static bool take_credit
    requires \valid(c) && \valid_read(p) && \separated(c, p);
    assigns c->peer_fwd, c->peer_alloc, c->owed;
    ensures \result == 0 ==> c->peer_fwd == \old(c->peer_fwd) &&
	c->peer_alloc == \old(c->peer_alloc);
    ensures under_way(c) <= \old(under_way(c));
    ensures \result != 0 ==> c->peer_alloc == p->buf_alloc;
    ensures \result != 0 && c->peer_fwd != \old(c->peer_fwd) ==>
	c->peer_fwd == p->fwd_cnt;
*/

/* at virtio/vsock_conn.c put_data c->sent += len;
	assert 0 < len && under_way(c) + len <= most(c->peer_alloc);
*/
/* at virtio/vsock_conn.c put_data put_packet(
	assert under_way(c) == \at(under_way(c), Pre) + len;
*/
#include "virtio/vsock_conn.c"
