/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/vdriver.c - see vdriver.h. */
#include "tests/lib/vdriver.h"

#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "loop/pool.h"
#include "loop/thread.h"
#include "vmm/error.h"

/* ---- the machine ---- */

static void init_rest(struct vbench *b)
{
	struct guestmem_options mem = {.size = VBENCH_RAM};
	int rc;

	rc = pool_create(NULL, &b->pool, NULL);
	assert(rc == 0);
	rc = guestmem_init(&b->gm, &mem, NULL);
	assert(rc == 0);
	b->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(b->irq_fd >= 0);
	b->next_gpa = 0x1000;
}

void vbench_init(struct vbench *b)
{
	int rc;

	memset(b, 0, sizeof(*b));
	rc = loop_create(NULL, &b->loop, NULL);
	assert(rc == 0);
	loop_adopt(b->loop);
	init_rest(b);
}

void vbench_init_threaded(struct vbench *b)
{
	int rc;

	memset(b, 0, sizeof(*b));
	rc = loop_thread_start(NULL, &b->thread, NULL);
	assert(rc == 0);
	b->loop = loop_thread_loop(b->thread);
	init_rest(b);
}

static void nothing(void *opaque)
{
}

/* Let the loop get on.  True if it may have more to do. */
static bool turn(struct vbench *b, bool blocking)
{
	int rc;

	if (!b->thread)
		return loop_poll(b->loop, blocking);
	rc = loop_run_sync(b->loop, nothing, NULL, "turn");
	assert(rc == 0);
	return false;
}

struct virtio_env vbench_env(struct vbench *b)
{
	return (struct virtio_env){.loop = b->loop, .gm = &b->gm};
}

static int ioeventfd(void *opaque, uint64_t gpa, unsigned len,
	uint64_t datamatch, int fd, bool on)
{
	struct vbench *b = opaque;

	assert(gpa == VBENCH_GPA + VIRTIO_MMIO_QUEUE_NOTIFY && len == 4);
	assert(datamatch < b->vdev->queues && fd >= 0);
	if (on)
		b->ioeventfds_on++;
	else
		b->ioeventfds_off++;
	return b->ioeventfd_result;
}

static int edge(void *opaque, uint32_t gsi)
{
	struct vbench *b = opaque;

	assert(gsi == VBENCH_GSI);
	b->edges++;
	return b->edge_result;
}

void vbench_plug(struct vbench *b, struct virtio_dev *vdev)
{
	struct virtio_mmio_options opt = {
		.gpa = VBENCH_GPA,
		.irq_fd = b->irq_fd,
		.gsi = VBENCH_GSI,
		.edge = b->edge ? edge : NULL,
		.ioeventfd = ioeventfd,
		.opaque = b,
	};
	int rc;

	b->vdev = vdev;
	rc = virtio_mmio_create(vdev, &opt, &b->dev, &b->range, NULL);
	assert(rc == 0);
}

void vbench_unplug(struct vbench *b)
{
	if (!b->dev)
		return;
	b->dev->ops->quiesce(b->dev);
	b->dev->ops->destroy(b->dev);
	b->dev = NULL;
	b->vdev = NULL;
}

void vbench_fini(struct vbench *b)
{
	vbench_unplug(b);
	pool_destroy(b->pool);
	if (b->thread)
		loop_thread_stop(b->thread);
	else
		loop_destroy(b->loop);
	guestmem_fini(&b->gm);
	close(b->irq_fd);
}

/* ---- registers ---- */

uint32_t vd_read(struct vbench *b, uint64_t off)
{
	return (uint32_t)b->range.ops->read(b->range.opaque, off, 4);
}

void vd_write(struct vbench *b, uint64_t off, uint32_t value)
{
	b->range.ops->write(b->range.opaque, off, 4, value);
}

uint64_t vd_features(struct vbench *b)
{
	uint64_t v;

	vd_write(b, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	v = (uint64_t)vd_read(b, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	vd_write(b, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return v | vd_read(b, VIRTIO_MMIO_DEVICE_FEATURES);
}

/* ---- guest RAM ---- */

uint64_t vd_alloc(struct vbench *b, uint64_t len, uint64_t align)
{
	uint64_t gpa = (b->next_gpa + align - 1) & ~(align - 1);

	b->next_gpa = gpa + len;
	assert(b->next_gpa <= VBENCH_RAM);
	return gpa;
}

void *vd_at(struct vbench *b, uint64_t gpa)
{
	void *p = guestmem_at(&b->gm, gpa, 1);

	assert(p);
	return p;
}

/* ---- start ---- */

static void add_status(struct vbench *b, uint32_t bits)
{
	vd_write(b, VIRTIO_MMIO_STATUS, vd_read(b, VIRTIO_MMIO_STATUS) | bits);
}

void vd_negotiate(struct vbench *b, uint64_t features)
{
	vd_write(b, VIRTIO_MMIO_STATUS, 0);
	memset(b->q, 0, sizeof(b->q));
	add_status(b, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(b, VIRTIO_CONFIG_S_DRIVER);
	vd_write(b, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	vd_write(b, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	vd_write(b, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	vd_write(b, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	add_status(b, VIRTIO_CONFIG_S_FEATURES_OK);
	b->event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;
}

static void write_pair(struct vbench *b, uint64_t low, uint64_t value)
{
	vd_write(b, low, (uint32_t)value);
	vd_write(b, low + 4, (uint32_t)(value >> 32));
}

void vd_queue(struct vbench *b, unsigned q, uint16_t size)
{
	struct vring_view *v = &b->q[q];

	*v = (struct vring_view){.size = size};
	v->desc = vd_alloc(b, 16u * size, 16);
	v->avail = vd_alloc(b, 6 + 2u * size, 2);
	v->used = vd_alloc(b, 6 + 8u * size, 4);
	memset(vd_at(b, v->desc), 0, b->next_gpa - v->desc);
	vd_write(b, VIRTIO_MMIO_QUEUE_SEL, q);
	vd_write(b, VIRTIO_MMIO_QUEUE_NUM, size);
	write_pair(b, VIRTIO_MMIO_QUEUE_DESC_LOW, v->desc);
	write_pair(b, VIRTIO_MMIO_QUEUE_AVAIL_LOW, v->avail);
	write_pair(b, VIRTIO_MMIO_QUEUE_USED_LOW, v->used);
	vd_write(b, VIRTIO_MMIO_QUEUE_READY, 1);
}

void vd_start(
	struct vbench *b, uint64_t features, unsigned queues, uint16_t size)
{
	unsigned i;

	vd_negotiate(b, features | 1ull << VIRTIO_F_VERSION_1);
	for (i = 0; i < queues; i++)
		vd_queue(b, i, size);
	add_status(b, VIRTIO_CONFIG_S_DRIVER_OK);
	vd_settle(b);
}

/* ---- rings ---- */

void vd_desc(struct vbench *b, unsigned q, uint16_t i, uint64_t gpa,
	uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc *table = vd_at(b, b->q[q].desc);

	table[i] = (struct vring_desc){
		.addr = gpa, .len = len, .flags = flags, .next = next};
}

void vd_offer(struct vbench *b, unsigned q, uint16_t head)
{
	struct vring_view *v = &b->q[q];
	struct vring_avail *avail = vd_at(b, v->avail);

	__atomic_store_n(&avail->ring[v->avail_idx++ & (v->size - 1)], head,
		__ATOMIC_RELAXED);
	__atomic_store_n(&avail->idx, v->avail_idx, __ATOMIC_SEQ_CST);
}

uint16_t vd_add(
	struct vbench *b, unsigned q, const struct vd_buf *buf, unsigned count)
{
	struct vring_view *v = &b->q[q];
	uint16_t head = v->next_desc & (v->size - 1), i, next, flags;

	assert(count > 0 && count <= v->size);
	for (i = 0; i < count; i++) {
		next = (uint16_t)(v->next_desc + 1) & (v->size - 1);
		flags = buf[i].writable ? VRING_DESC_F_WRITE : 0;
		if (i + 1u < count)
			flags |= VRING_DESC_F_NEXT;
		vd_desc(b, q, v->next_desc & (v->size - 1), buf[i].gpa,
			buf[i].len, flags, next);
		v->next_desc++;
	}
	vd_offer(b, q, head);
	return head;
}

void vd_kick(struct vbench *b, unsigned q)
{
	vd_write(b, VIRTIO_MMIO_QUEUE_NOTIFY, q);
}

static struct vring_used *used_ring(struct vbench *b, unsigned q)
{
	return vd_at(b, b->q[q].used);
}

unsigned vd_used(struct vbench *b, unsigned q)
{
	uint16_t idx = __atomic_load_n(&used_ring(b, q)->idx, __ATOMIC_ACQUIRE);

	return (uint16_t)(idx - b->q[q].used_seen);
}

bool vd_take(
	struct vbench *b, unsigned q, uint16_t *ret_head, uint32_t *ret_len)
{
	struct vring_view *v = &b->q[q];
	struct vring_used_elem *e;

	if (vd_used(b, q) == 0)
		return false;
	e = &used_ring(b, q)->ring[v->used_seen++ & (v->size - 1)];
	*ret_head = (uint16_t)e->id;
	*ret_len = e->len;
	return true;
}

uint32_t vd_wait(struct vbench *b, unsigned q)
{
	uint16_t head;
	uint32_t len;

	while (!vd_take(b, q, &head, &len))
		turn(b, true);
	return len;
}

void vd_settle(struct vbench *b)
{
	while (turn(b, false))
		;
}

unsigned vd_irqs(struct vbench *b)
{
	uint64_t count;

	return read(b->irq_fd, &count, sizeof(count)) == sizeof(count)
		       ? (unsigned)count
		       : 0;
}

/* ---- state ---- */

void vbench_save(struct vbench *b, struct state_writer *w)
{
	int rc;

	state_writer_init(w);
	b->dev->ops->quiesce(b->dev);
	rc = device_save(b->dev, w);
	assert(rc == 0);
}

int vbench_load(
	struct vbench *b, const struct state_writer *w, struct error *err)
{
	const uint8_t *pos = w->buf;
	struct state_reader r;
	int rc;

	rc = state_next(&pos, w->buf + w->len, &r, err);
	assert(rc == 1);
	b->dev->ops->quiesce(b->dev);
	return device_load(b->dev, &r, err);
}
