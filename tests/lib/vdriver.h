/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/vdriver.h - a virtio driver in user space, for tests and fuzzers.
 *
 * It plays the guest: rings in a struct guestmem, registers through the bus
 * range of a virtio-mmio device, no KVM.  Nothing here checks the device; tests
 * do.  One struct vbench is a whole small machine around one device.
 */
#ifndef GODWIT_TESTS_LIB_VDRIVER_H
#define GODWIT_TESTS_LIB_VDRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/state.h"
#include "virtio/dev.h"
#include "virtio/mmio.h"
#include "vmm/bus.h"
#include "vmm/guestmem.h"

#define VBENCH_RAM     (8ull << 20)
#define VBENCH_GPA     0xd0000000ull
#define VBENCH_GSI     7u
#define VDRIVER_QUEUES 5u

/* The driver's view of a queue. */
struct vring_view {
	uint16_t size;
	uint64_t desc, avail, used; /* gpa */
	uint16_t avail_idx, used_seen;
	uint16_t next_desc; /* descriptors are handed out in a circle */
};

struct vbench {
	struct loop *loop;	    /* owned, or thread's; serves the device */
	struct loop_thread *thread; /* owned; NULL: the creator is home */
	struct pool *pool;	    /* owned */
	struct guestmem gm;
	struct device *dev;	 /* owned; set by vbench_plug() */
	struct virtio_dev *vdev; /* behind dev */
	struct bus_range range;
	int irq_fd;	   /* owned */
	uint64_t next_gpa; /* first free byte of guest RAM */
	struct vring_view q[VDRIVER_QUEUES];
	/* What the ioeventfd callback was told. */
	unsigned ioeventfds_on, ioeventfds_off;
	int ioeventfd_result; /* that it returns */
	bool event_idx;
	/* The edge callback, if any: how often it was called, its result. */
	bool edge;
	unsigned edges;
	int edge_result;
};

/* Make an empty machine; vbench_env() describes it to a device. */
void vbench_init(struct vbench *b);
/* The same with an I/O thread for the device. */
void vbench_init_threaded(struct vbench *b);
struct virtio_env vbench_env(struct vbench *b);
/* Put @vdev (taken) behind an mmio window.  RAM and the rings stay. */
void vbench_plug(struct vbench *b, struct virtio_dev *vdev);
/* Unplug and free the device, if any. */
void vbench_unplug(struct vbench *b);
void vbench_fini(struct vbench *b);

/* Registers. */
uint32_t vd_read(struct vbench *b, uint64_t off);
void vd_write(struct vbench *b, uint64_t off, uint32_t value);
uint64_t vd_features(struct vbench *b); /* offered */

/* Guest RAM: zeroed bytes, and what lies there. */
uint64_t vd_alloc(struct vbench *b, uint64_t len, uint64_t align);
void *vd_at(struct vbench *b, uint64_t gpa);

/* Up to FEATURES_OK with @features; queues of @size; DRIVER_OK. */
void vd_negotiate(struct vbench *b, uint64_t features);
void vd_queue(struct vbench *b, unsigned q, uint16_t size);
/* All three with VERSION_1 and @features, every queue of size @size. */
void vd_start(
	struct vbench *b, uint64_t features, unsigned queues, uint16_t size);

/* One buffer of a chain. */
struct vd_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

/* Fill descriptor @i. */
void vd_desc(struct vbench *b, unsigned q, uint16_t i, uint64_t gpa,
	uint32_t len, uint16_t flags, uint16_t next);
/* Offer the chain that starts at @head. */
void vd_offer(struct vbench *b, unsigned q, uint16_t head);
/* Describe and offer @count buffers.  Return: the head. */
uint16_t vd_add(
	struct vbench *b, unsigned q, const struct vd_buf *buf, unsigned count);
void vd_kick(struct vbench *b, unsigned q);

/* Used entries that vd_take() has not given yet. */
unsigned vd_used(struct vbench *b, unsigned q);
/* The next one; false if there is none. */
bool vd_take(
	struct vbench *b, unsigned q, uint16_t *ret_head, uint32_t *ret_len);
/* Wait until there is a used entry, polling the loop if it is ours. */
uint32_t vd_wait(struct vbench *b, unsigned q);

/* Turns of the loop until it has nothing to do at once; of a thread's loop,
 * one. */
void vd_settle(struct vbench *b);
/* Interrupts since the last call. */
unsigned vd_irqs(struct vbench *b);

/* Save the device into a fresh @w; load it from @w. */
void vbench_save(struct vbench *b, struct state_writer *w);
int vbench_load(
	struct vbench *b, const struct state_writer *w, struct error *err);

#endif
