/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/mmio.c - see mmio.h.  Source: virtio 1.2, section 4.2.2.
 *
 * Registers are aligned 32-bit words; any other access to them reads 0 and
 * writes nothing.  The configuration space is read in bytes, words and double
 * words at any offset, and written at aligned ones where the device allows it.
 *
 * Saved form: u32 device feature select, driver feature select, queue select,
 * interrupt status; then what virtio_dev_save() puts.
 */
#include "virtio/mmio.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/state.h"
#include "virtio/dev.h"
#include "vmm/bus.h"
#include "vmm/error.h"

#define MAGIC	0x74726976u /* "virt" */
#define VERSION 2u

struct mmio {
	struct device dev;	 /* first */
	struct device_ops ops;	 /* dev.ops: names the kind behind it */
	struct virtio_dev *vdev; /* owned */
	struct virtio_mmio_options opt;
	bool ioeventfds; /* vdev->lock */
	/* Selectors; vdev->lock. */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	_Atomic uint32_t isr; /* the loop sets, vCPUs clear */
};

/* ---- interrupt ---- */

static void raise_edge(const struct mmio *m)
{
	uint64_t one = 1;

	if (m->opt.edge && m->opt.edge(m->opt.opaque, m->opt.gsi) == 0)
		return;
	if (write(m->opt.irq_fd, &one, sizeof(one)) != sizeof(one))
		assert(errno == EAGAIN); /* full: the edge is there already */
}

/* struct virtio_dev.interrupt.  The status first: the driver reads it in the
 * handler that the edge starts. */
static void interrupt(void *opaque, uint32_t isr_bits)
{
	struct mmio *m = opaque;

	atomic_fetch_or(&m->isr, isr_bits);
	raise_edge(m);
}

/* ---- ioeventfd ---- */

static void set_ioeventfds(struct mmio *m, bool on)
{
	struct virtio_dev *v = m->vdev;
	unsigned i;
	int err;

	if (m->ioeventfds == on || !m->opt.ioeventfd)
		return;
	m->ioeventfds = on;
	for (i = 0; i < v->queues; i++) {
		err = m->opt.ioeventfd(m->opt.opaque,
			m->opt.gpa + VIRTIO_MMIO_QUEUE_NOTIFY, 4, i,
			v->queue[i].kick_fd, on);
		/* Not fatal: QueueNotify then exits and we write the fd. */
		if (err < 0 && on)
			log_limited(&v->limit, LOG_WARN,
				"%s: ioeventfd: %s (slower, but works)",
				v->name, strerror(-err));
	}
}

/* ---- register reads ---- */

static uint32_t half(uint64_t v, uint32_t sel)
{
	return sel > 1 ? 0 : (uint32_t)(v >> 32 * sel);
}

static const struct virtio_queue *selected(const struct mmio *m)
{
	if (m->queue_sel >= m->vdev->queues)
		return NULL;
	return &m->vdev->queue[m->queue_sel];
}

static uint32_t read_locked(struct mmio *m, uint64_t off)
{
	const struct virtio_queue *q = selected(m);

	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return half(m->vdev->features, m->device_features_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? q->size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->regs.ready;
	default:
		return 0;
	}
}

static uint32_t read_register(struct mmio *m, uint64_t off)
{
	uint32_t v;

	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return m->vdev->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VIRTIO_MMIO_VENDOR;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return atomic_load(&m->isr);
	case VIRTIO_MMIO_STATUS:
		return atomic_load(&m->vdev->status);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return atomic_load(&m->vdev->config_generation);
	/* No shared memory region has a length of all ones (4.2.2.1). */
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	default:
		break;
	}
	pthread_mutex_lock(&m->vdev->lock);
	v = read_locked(m, off);
	pthread_mutex_unlock(&m->vdev->lock);
	return v;
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned len)
{
	struct mmio *m = opaque;
	uint8_t buf[4] = {0};
	uint32_t v;

	if (off < VIRTIO_MMIO_CONFIG)
		return len == 4 && off % 4 == 0 ? read_register(m, off) : 0;
	if (len > sizeof(buf))
		return 0;
	virtio_dev_read_config(m->vdev, off - VIRTIO_MMIO_CONFIG, buf, len);
	memcpy(&v, buf, sizeof(v));
	return le32toh(v);
}

/* ---- register writes ---- */

static void set_low(uint64_t *reg, uint32_t v)
{
	*reg = (*reg & ~(uint64_t)UINT32_MAX) | v;
}

static void set_high(uint64_t *reg, uint32_t v)
{
	*reg = (*reg & UINT32_MAX) | (uint64_t)v << 32;
}

/* The queue registers but QueueReady are open only while that is 0. */
static void write_queue(
	struct mmio *m, struct virtq_regs *regs, uint64_t off, uint32_t v)
{
	if (off == VIRTIO_MMIO_QUEUE_READY) {
		if (v <= 1)
			regs->ready = v;
		return;
	}
	if (regs->ready)
		return;
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		if (v <= selected(m)->size_max && (v & (v - 1)) == 0)
			regs->size = (uint16_t)v;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&regs->desc, v);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&regs->desc, v);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&regs->avail, v);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&regs->avail, v);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&regs->used, v);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&regs->used, v);
		break;
	default:
		break;
	}
}

static void write_status(struct mmio *m, uint32_t v)
{
	if (virtio_dev_write_status_locked(m->vdev, v)) {
		m->device_features_sel = m->driver_features_sel = 0;
		m->queue_sel = 0;
		atomic_store(&m->isr, 0);
	}
	if (atomic_load(&m->vdev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		set_ioeventfds(m, true);
}

static void write_locked(struct mmio *m, uint64_t off, uint32_t v)
{
	struct virtq_regs *regs;

	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		m->device_features_sel = v;
		return;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		m->driver_features_sel = v;
		return;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_dev_write_features_locked(
			m->vdev, m->driver_features_sel, v);
		return;
	case VIRTIO_MMIO_QUEUE_SEL:
		m->queue_sel = v;
		return;
	case VIRTIO_MMIO_STATUS:
		write_status(m, v);
		return;
	default:
		regs = virtio_dev_queue_regs_locked(m->vdev, m->queue_sel);
		if (regs)
			write_queue(m, regs, off, v);
	}
}

/* Before DRIVER nobody has any business there (3.1.1). */
static void write_config(
	struct mmio *m, uint64_t off, unsigned len, uint32_t value)
{
	struct virtio_dev *dev = m->vdev;

	if (!dev->ops->write_config || (len != 1 && len != 2 && len != 4) ||
		off % len != 0)
		return;
	pthread_mutex_lock(&dev->lock);
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER)
		dev->ops->write_config(dev, off, len, value);
	pthread_mutex_unlock(&dev->lock);
}

static void mmio_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct mmio *m = opaque;
	uint32_t v = (uint32_t)value;

	if (off >= VIRTIO_MMIO_CONFIG) {
		write_config(m, off - VIRTIO_MMIO_CONFIG, len, v);
		return;
	}
	if (len != 4 || off % 4 != 0)
		return;
	if (off == VIRTIO_MMIO_QUEUE_NOTIFY) {
		virtio_dev_kick(m->vdev, v);
	} else if (off == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(&m->isr, ~v);
	} else {
		pthread_mutex_lock(&m->vdev->lock);
		write_locked(m, off, v);
		pthread_mutex_unlock(&m->vdev->lock);
	}
}

static const struct bus_ops mmio_bus_ops = {
	.read = mmio_read, .write = mmio_write};

/* ---- struct device ---- */

static struct mmio *mmio_of(struct device *dev)
{
	return (struct mmio *)dev;
}

static void mmio_reset(struct device *dev)
{
	struct mmio *m = mmio_of(dev);

	virtio_dev_reset(m->vdev);
	m->device_features_sel = m->driver_features_sel = m->queue_sel = 0;
	atomic_store(&m->isr, 0);
}

static void mmio_quiesce(struct device *dev)
{
	virtio_dev_quiesce(mmio_of(dev)->vdev);
}

static void mmio_resume(struct device *dev)
{
	struct mmio *m = mmio_of(dev);
	uint32_t status = atomic_load(&m->vdev->status);

	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		set_ioeventfds(m, true);
	if (virtio_dev_resume(m->vdev))
		atomic_fetch_or(&m->isr, VIRTIO_ISR_QUEUE);
	/* An edge given to the old host may have got lost on the way; one too
	 * many does no harm. */
	if (atomic_load(&m->isr) != 0)
		raise_edge(m);
}

static int mmio_save(const struct device *dev, struct state_writer *w)
{
	const struct mmio *m = (const struct mmio *)dev;

	state_put_u32(w, m->device_features_sel);
	state_put_u32(w, m->driver_features_sel);
	state_put_u32(w, m->queue_sel);
	state_put_u32(w, atomic_load(&m->isr));
	virtio_dev_save(m->vdev, w);
	return 0;
}

static int mmio_load(
	struct device *dev, struct state_reader *r, struct error *err)
{
	struct mmio *m = mmio_of(dev);
	uint32_t sel[3], isr;
	unsigned i;
	int rc;

	for (i = 0; i < 3; i++)
		sel[i] = state_get_u32(r);
	isr = state_get_u32(r);
	if (isr & ~(VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG))
		return state_reject(r, err, "an impossible interrupt status");
	rc = virtio_dev_load(m->vdev, r, err);
	if (rc < 0)
		return rc;
	m->device_features_sel = sel[0];
	m->driver_features_sel = sel[1];
	m->queue_sel = sel[2];
	atomic_store(&m->isr, isr);
	return 0;
}

static void mmio_destroy(struct device *dev)
{
	struct mmio *m = mmio_of(dev);

	set_ioeventfds(m, false);
	virtio_dev_destroy(m->vdev);
	free(m);
}

int virtio_mmio_create(struct virtio_dev *dev,
	const struct virtio_mmio_options *opt, struct device **ret_device,
	struct bus_range *ret_range, struct error *err)
{
	struct mmio *m = calloc(1, sizeof(*m));

	if (!m) {
		error_errno(err, -ENOMEM, "%s", dev->name);
		virtio_dev_destroy(dev);
		return -ENOMEM;
	}
	m->ops = (struct device_ops){
		.kind = dev->ops->kind,
		.version = dev->ops->version,
		.reset = mmio_reset,
		.quiesce = mmio_quiesce,
		.resume = mmio_resume,
		.save = mmio_save,
		.load = mmio_load,
		.destroy = mmio_destroy,
	};
	m->dev.ops = &m->ops;
	snprintf(m->dev.name, sizeof(m->dev.name), "%s", dev->name);
	m->vdev = dev;
	m->opt = *opt;
	dev->interrupt_opaque = m;
	dev->interrupt = interrupt;
	*ret_device = &m->dev;
	*ret_range = (struct bus_range){
		.base = opt->gpa,
		.size = VIRTIO_MMIO_SIZE,
		.ops = &mmio_bus_ops,
		.opaque = m,
		.name = m->dev.name,
	};
	return 0;
}
