/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/virtq_walk.c - every size of queue, every head, every content of
 * each descriptor whenever it is read, indirect tables anywhere.
 * promise: a chain ends, all its buffers are RAM and no more than fit; no descriptor is read outside its table
 * functions: add_buffer,indirect_table,walk
 * edit: virtio/queue.c /^static const .*indirect_table/,/^}/s/guestmem_at/table_at/
 * break: virtio/queue.c s/left-- == 0 \|\| next >= count/left-- == 0/
 * break: virtio/queue.c s/left = VIRTQ_SIZE_MAX - .*;/left = count;/
 */
#include "tests/proof/proof.h"
#include "tests/proof/wrap.h"

#define __asm__(...)

#include <linux/virtio_ring.h>

#include "virtio/queue.h"
#include "vmm/guestmem.h"

/* What guestmem_at.c proves of addresses, here without the bytes. */
/*@ axiomatic ram {
    predicate in_ram(void *p, integer len);
    }

    predicate good(struct virtq_chain *c) =
	c->readable + c->writable <= VIRTQ_SIZE_MAX &&
	\forall integer k; 0 <= k < c->readable + c->writable ==>
		in_ram(c->iov[k].iov_base, c->iov[k].iov_len);
*/

/*@ assigns \nothing;
    ensures \result != \null ==> in_ram(\result, len);
*/
void *guestmem_at(const struct guestmem *gm, uint64_t gpa, uint64_t len);

/*@ requires len % sizeof(struct vring_desc) == 0;
    assigns \nothing;
    ensures \result != \null ==> len > 0 &&
	\valid_read(\result + (0 .. len / sizeof(struct vring_desc) - 1));
*/
const struct vring_desc *table_at(
	const struct guestmem *gm, uint64_t gpa, uint64_t len);

/* Whatever the guest has there at that moment. */
/*@ requires \valid_read(src);
    assigns \nothing;
*/
static struct vring_desc read_desc(const struct vring_desc *src);

/* ---- what is proven ---- */

/*@ requires \valid(c) && good(c) && \valid_read(d) && \valid_read(q);
    requires c->readable + c->writable < VIRTQ_SIZE_MAX;
    requires \separated(c, d) && \separated(c, q);
    assigns c->readable, c->writable, c->iov[0 .. VIRTQ_SIZE_MAX - 1];
    ensures good(c);
    ensures c->readable + c->writable <=
	\old(c->readable + c->writable) + 1;
*/
static bool add_buffer(const struct virtq *q, struct virtq_chain *c,
	const struct vring_desc *d);

/*@ requires \valid_read(d) && \valid_read(q) && \valid(ret_count);
    requires \separated(ret_count, d) && \separated(ret_count, q);
    assigns *ret_count;
    ensures \result != \null ==> *ret_count > 0 &&
	\valid_read(\result + (0 .. *ret_count - 1));
*/
static const struct vring_desc *indirect_table(
	const struct virtq *q, const struct vring_desc *d, uint32_t *ret_count);

/*@ requires \valid(c) && c->readable == 0 && c->writable == 0;
    requires \valid_read(q) && \separated(c, q);
    requires 0 < q->size <= VIRTQ_SIZE_MAX;
    requires \valid_read(q->desc + (0 .. q->size - 1));
    requires \separated(c, q->desc + (0 .. q->size - 1));
    assigns c->readable, c->writable, c->iov[0 .. VIRTQ_SIZE_MAX - 1];
    ensures good(c);
*/
static bool walk(const struct virtq *q, uint16_t head, struct virtq_chain *c);

/* at virtio/queue.c walk for (;;)
	loop invariant good(c);
	loop invariant c->readable + c->writable + left <= VIRTQ_SIZE_MAX;
	loop invariant count > 0 && \valid_read(table + (0 .. count - 1));
	loop invariant nested == 0 || nested == 1;
	loop assigns left, next, d, table, count, nested, c->readable,
		c->writable, c->iov[0 .. VIRTQ_SIZE_MAX - 1];
	loop variant left + (nested ? 0 : VIRTQ_SIZE_MAX + 1);
*/
#include "virtio/queue.c"
