/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/vsock_buffer.c - every counter, wrapped or not, every packet of
 * data, whatever of it the host's side takes.
 * promise: no more bytes of a guest are kept than its buffer has, and within it
 * functions: vsock_buffered,drop_buffer,keep,on_data
 * edit: virtio/iov.h s/void \*dst, size_t len/uint8_t *dst, size_t len/
 * break: virtio/vsock_conn.c s/p->len > VSOCK_BUFFER_BYTES - .*\(c\)/p->len > VSOCK_BUFFER_BYTES/
 * break: virtio/vsock_conn.c s/first = VSOCK_BUFFER_BYTES - at;/first = VSOCK_BUFFER_BYTES;/
 */
#include "tests/proof/proof.h"
#include "tests/proof/wrap.h"

#include <stdlib.h>

#include "virtio/vsock_private.h"

/* Memory that is the connection's alone. */
#define malloc(n) buffer_of(c, n)
#define free(p)	  ((void)(p))
/*@ assigns \nothing;
    ensures \result == \null || (\valid(\result + (0 .. n - 1)) &&
	\separated(c, \result + (0 .. n - 1)));
*/
uint8_t *buffer_of(const struct vsock_conn *c, size_t n);

#define CHANGED                                                                \
	c->stage, c->owed, c->our_shut, c->forwarded, c->buffer, c->fd,        \
		c->watch, c->watched, c->queued, c->readable

/*@ logic integer kept(struct vsock_conn *c) =
	c->received >= c->forwarded ? c->received - c->forwarded :
	c->received - c->forwarded + 0x100000000;

    predicate sane(struct vsock_conn *c) = \valid(c) &&
	kept(c) <= VSOCK_BUFFER_BYTES &&
	(c->buffer != \null ==>
	 \valid(c->buffer + (0 .. VSOCK_BUFFER_BYTES - 1)) &&
	 \separated(c, c->buffer + (0 .. VSOCK_BUFFER_BYTES - 1)));
*/

/*@ requires \valid_read(c);
    assigns \nothing;
    ensures \result == kept((struct vsock_conn *)c);
*/
static inline uint32_t vsock_buffered(const struct vsock_conn *c);

/* ---- the rest of the device, as its headers promise ---- */

/*@ requires len > 0 ==> \valid(dst + (0 .. len - 1));
    assigns dst[0 .. len - 1];
    ensures \result <= len;
*/
size_t iov_read(const struct iovec *iov, unsigned count, uint64_t off,
	uint8_t *dst, size_t len);

/* It may find the client gone, and shut: then nothing is kept any more. */
/*@ requires sane(c);
    assigns CHANGED;
    ensures \result <= len && sane(c);
    ensures \result > 0 ==> c->forwarded == \old(c->forwarded);
    ensures c->forwarded == \old(c->forwarded) || kept(c) == 0;
*/
uint32_t vsock_host_write(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t off, uint32_t len);

/*@ requires sane(c);
    assigns CHANGED;
    ensures sane(c);
*/
void vsock_reset(struct vsock_conn *c);

/*@ requires sane(c);
    assigns c->owed, c->queued;
    ensures sane(c);
*/
void vsock_check_credit(struct vsock_conn *c);

/* ---- what is proven ---- */

/*@ requires sane(c);
    assigns c->forwarded, c->buffer;
    ensures sane(c) && kept(c) == 0;
*/
static void drop_buffer(struct vsock_conn *c);

/* at virtio/vsock_conn.c keep static bool keep(
    requires sane(c) && \valid_read(p) && \separated(c, p);
    requires len <= VSOCK_BUFFER_BYTES;
    ensures sane(c);
*/
/* at virtio/vsock_conn.c on_data static void on_data(
    requires sane(c) && \valid_read(p) && \separated(c, p);
    ensures sane(c);
*/
#include "virtio/vsock_conn.c"
