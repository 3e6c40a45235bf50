/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/dev.h - the part all virtio devices share: status, features, queues.
 *
 * A device is embedded in its own struct and brings an ops table; a transport
 * (mmio.c) brings register accesses and takes interrupts away.
 *
 * Threads.  There are two sides:
 *
 *   registers  vCPU threads, under dev->lock.  The loop never takes that lock,
 *              so it may be held while the loop is asked to do something and
 *              waited for.  What both sides change is atomic.
 *   queues     dev->loop alone, no lock: kicks, requests, completions.
 *
 * DRIVER_OK hands the queues to the loop, a status of 0 takes them back.  Both
 * are synchronous for the vCPU that wrote, because Linux does not poll for the
 * end of a reset.  A reset ends when no request is in flight; the loop goes on
 * polling meanwhile, so nothing that a completion needs is held up.
 *
 * save, load, reset, quiesce, resume: main thread, every vCPU paused; no lock.
 * dev->loop may be that of an I/O thread.  Whoever comes from another thread
 * hands a function over and waits (loop_run_sync()); the loop never waits for
 * the main thread or a vCPU, so this cannot lock up.  save reads what the loop
 * owns: it is quiesced, and the hand-over of quiesce has ordered the two.
 */
#ifndef GODWIT_VIRTIO_DEV_H
#define GODWIT_VIRTIO_DEV_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "virtio/queue.h"
#include "vmm/log.h"

struct virtio_dev;

#define VIRTIO_QUEUES_MAX 16u
#define VIRTIO_CONFIG_MAX 64u /* bytes of device configuration */
#define VIRTIO_BATCH	  64u /* requests a queue takes in one turn */

/* Interrupt status bits (4.2.2). */
#define VIRTIO_ISR_QUEUE  1u
#define VIRTIO_ISR_CONFIG 2u

/* Where a device lives; both borrowed and longer lived than the device. */
struct virtio_env {
	struct loop *loop; /* owns the queues; need not be the main loop */
	struct guestmem *gm;
};

/* Says which request is being answered, even after a reset. */
struct virtio_ticket {
	unsigned queue;
	uint32_t generation; /* of the activation it was popped in */
	uint16_t head;
};

struct virtio_dev_ops {
	const char *kind; /* "virtio-blk" */
	uint32_t id;	  /* virtio device id, chapter 5 */
	uint32_t version; /* of the saved state */

	/* Loop.  False stops queue @q until virtio_dev_run().  NULL: always
	 * ready. */
	bool (*ready)(struct virtio_dev *dev, unsigned q);
	/* Loop.  Serve @chain, valid during the call only: either
	 * virtio_dev_done(), now or later, or virtio_dev_putback(), now. */
	void (*request)(struct virtio_dev *dev, struct virtq_chain *chain,
		struct virtio_ticket ticket);

	/* The following may be NULL. */

	/* vCPU thread, dev->lock held, from DRIVER on: the driver wrote @len
	 * bytes, 1, 2 or 4, of configuration at @off. */
	void (*write_config)(struct virtio_dev *dev, uint64_t off, unsigned len,
		uint32_t value);

	/* Loop: */

	/* May the loop look at queue @q before it sleeps (L10)?  For queues
	 * whose requests come one upon the other.  NULL: none of them. */
	bool (*polled)(const struct virtio_dev *dev, unsigned q);
	/* All that request was given of queue @q in this turn is known. */
	void (*served)(struct virtio_dev *dev, unsigned q);
	/* DRIVER_OK: features are settled, queues exist. */
	void (*start)(struct virtio_dev *dev);
	/* Reset, or before a load: forget what the driver did.  At a reset
	 * requests may be in flight. */
	void (*stop)(struct virtio_dev *dev);
	/* Quiesce, before the wait for what is in flight: finish or put back
	 * requests that only the driver or a peer could bring to an end. */
	void (*pause)(struct virtio_dev *dev);
	/* The end of a resume, also of the first one after a load. */
	void (*resume)(struct virtio_dev *dev);

	/* Main thread, quiesced: */

	/* Fields, then subsections for what is not always there. */
	void (*save)(const struct virtio_dev *dev, struct state_writer *w);
	/* Take and check the fields; change nothing but a staging area. */
	int (*load)(struct virtio_dev *dev, struct state_reader *r,
		struct error *err);
	/* The same for a subsection: 1 taken, 0 not mine, or -errno. */
	int (*load_sub)(struct virtio_dev *dev, struct state_reader *sub,
		struct error *err);

	/* Loop: */

	/* All was fine: adopt what was staged; cannot fail. */
	void (*loaded)(struct virtio_dev *dev);

	/* Free the device; virtio_dev_fini() was called already. */
	void (*destroy)(struct virtio_dev *dev);
};

/* What load has read and not yet adopted. */
struct virtio_queue_staged {
	struct virtq_regs regs;
	struct virtq_pos pos;
	bool broken;
	uint16_t *held; /* owned; NULL: none were read */
	unsigned helds;
};

struct virtio_queue {
	struct virtio_dev *dev;
	unsigned index;
	uint16_t size_max;
	struct virtq_regs regs; /* dev->lock; frozen from DRIVER_OK on */
	struct virtio_queue_staged staged;
	int kick_fd; /* owned eventfd; any thread may write to it */
	/* Loop from here on. */
	struct virtq vq;
	bool active;
	struct loop_fd *kick; /* owned while active */
	struct loop_bh *bh;   /* owned */
	bool serving;	      /* inside queue_serve(): signal once, after it */
	bool muted;	      /* polled: the driver need not kick */
	uint16_t seen;	      /* virtq_added() when it was left */
	uint16_t *held;	      /* owned; heads, size_max; NULL: never needed */
	unsigned helds;
};

struct virtio_dev {
	const struct virtio_dev_ops *ops;
	char name[DEVICE_NAME_MAX];
	struct loop *loop;   /* borrowed */
	struct guestmem *gm; /* borrowed */
	uint64_t features;   /* offered; fixed */
	unsigned queues;
	struct virtio_queue *queue; /* owned array */

	pthread_mutex_t lock; /* vCPU threads; never the loop */
	uint64_t driver_features;
	_Atomic uint32_t status; /* the loop adds NEEDS_RESET */

	pthread_mutex_t config_lock; /* leaf: held for a copy only */
	uint8_t config[VIRTIO_CONFIG_MAX];
	unsigned config_bytes;
	_Atomic uint32_t config_generation;

	/* The transport's; set before the first vCPU runs. */
	void (*interrupt)(void *opaque, uint32_t isr_bits);
	void *interrupt_opaque;

	/* Loop from here on. */
	bool active;	     /* DRIVER_OK was accepted */
	bool quiesced;	     /* take no new request */
	bool draining;	     /* somebody waits for @drained */
	bool releasing;	     /* requests that were held are served */
	uint32_t generation; /* counts activations and resets */
	unsigned inflight;   /* requests, whatever their generation */
	sem_t drained;
	struct virtq_chain *chain; /* owned; the one being served */
	struct log_limit limit;
};

/* ---- for devices ---- */

/**
 * virtio_dev_init - set up the shared part of a device.
 * @name:     copied.
 * @features: offered beyond VERSION_1, EVENT_IDX and INDIRECT_DESC.
 * @sizes:    @queues queue sizes, each a power of two <= VIRTQ_SIZE_MAX.
 * Return: 0, or -errno with @err (EMFILE, ENOMEM); nothing is left behind.
 */
int virtio_dev_init(struct virtio_dev *dev, const struct virtio_dev_ops *ops,
	const struct virtio_env *env, const char *name, uint64_t features,
	const uint16_t *sizes, unsigned queues, struct error *err);

/* Release what init took.  No request is in flight.  Loop. */
void virtio_dev_fini(struct virtio_dev *dev);

/* Fini and ops->destroy on the device's loop.  Main thread, quiesced. */
void virtio_dev_destroy(struct virtio_dev *dev);

/* Change configuration bytes.  Announced to a running driver if @announce and
 * if they differ.  Any thread but one that holds config_lock. */
void virtio_dev_set_config(struct virtio_dev *dev, unsigned off,
	const void *src, unsigned len, bool announce);

/* Look at queue @q again soon: it became ready.  Loop. */
void virtio_dev_run(struct virtio_dev *dev, unsigned q);
/* The same at once.  Loop; from a handler of it, never from ops->request. */
void virtio_dev_serve(struct virtio_dev *dev, unsigned q);

/* Answer a request: @len bytes were written from the start of its writable
 * part.  Nothing but book-keeping happens if a reset came between.  Loop. */
void virtio_dev_done(
	struct virtio_dev *dev, struct virtio_ticket ticket, uint32_t len);

/* Answer @count requests of one queue, which the driver sees all at once.  They
 * are all of one generation.  Shape: @ticket and @len have count entries. */
void virtio_dev_done_all(struct virtio_dev *dev,
	const struct virtio_ticket *ticket, const uint32_t *len,
	unsigned count);

/* A request is not done; have it again later.  Only for those popped last, the
 * last of them first: from ops->request for the chain it was given, or whenever
 * all that the queue still has in flight is put back.  Loop. */
void virtio_dev_putback(struct virtio_dev *dev, struct virtio_ticket ticket);

/**
 * virtio_dev_hold - a request cannot be done now: have it again at the resume.
 * For those whose end needs somebody outside, and a pause until then.  It stays
 * taken, is not in flight any more, and is saved and loaded.  At the resume
 * its chain is read anew; then it must not be put back (dev->releasing).
 * @ticket: not stale.
 * Return: 0, or -ENOMEM: it is still the caller's.
 */
int virtio_dev_hold(struct virtio_dev *dev, struct virtio_ticket ticket);

/* True if a reset came since @ticket was made: the driver does not wait. */
bool virtio_dev_stale(
	const struct virtio_dev *dev, struct virtio_ticket ticket);

/* Was @bit negotiated?  Loop, active. */
static inline bool virtio_dev_has(const struct virtio_dev *dev, unsigned bit)
{
	return dev->driver_features >> bit & 1;
}

/* ---- for transports: vCPU threads, dev->lock held ---- */

/* Status register: the ladder of 3.1.1, a rung at a time.  May wait for the
 * loop.  True if it was a reset. */
bool virtio_dev_write_status_locked(struct virtio_dev *dev, uint32_t value);

/* One half of the driver's feature bits; @sel 0 or 1, others are ignored. */
void virtio_dev_write_features_locked(
	struct virtio_dev *dev, uint32_t sel, uint32_t value);

/* The registers of queue @q, or NULL if they may not be written now. */
struct virtq_regs *virtio_dev_queue_regs_locked(
	struct virtio_dev *dev, uint32_t q);

/* ---- for transports: any thread, no lock ---- */

/* Bytes past the end read as 0. */
void virtio_dev_read_config(
	struct virtio_dev *dev, uint64_t off, void *dst, unsigned len);

/* The driver says that queue @q has something. */
void virtio_dev_kick(struct virtio_dev *dev, uint32_t q);

/* ---- for transports: main thread, vCPUs paused, quiesced ---- */

/**
 * virtio_dev_save - put the core, the device's fields and the subsections.
 * virtio_dev_load - the reverse, to the end of @r.  RAM was loaded before.
 * Every value is checked as if the driver had written it; the device changes
 * only when all of them are fine.
 * Return: 0, -EPROTO or -EBADMSG (unchanged), -errno of the host (reset).
 */
void virtio_dev_save(const struct virtio_dev *dev, struct state_writer *w);
int virtio_dev_load(
	struct virtio_dev *dev, struct state_reader *r, struct error *err);

/* ---- for transports: main thread, vCPUs paused ---- */

/* As if the driver had written status 0. */
void virtio_dev_reset(struct virtio_dev *dev);
/* Take nothing new and wait until nothing is in flight. */
void virtio_dev_quiesce(struct virtio_dev *dev);
/* Go on: every active queue is looked at again.
 * Return: true if the driver may have missed an interrupt. */
bool virtio_dev_resume(struct virtio_dev *dev);

/* ---- between dev.c and dev_state.c; the loop's side ---- */

/* Is @features something a driver may settle on? */
bool virtio_dev_features_ok(const struct virtio_dev *dev, uint64_t features);
/* Watch for kicks; idempotent.  0 or -errno of loop_fd_add(). */
int virtio_dev_watch_queue(struct virtio_queue *q);
/* Nothing of the driver's is looked at any more; requests become stale. */
void virtio_dev_stop_queues(struct virtio_dev *dev);

#endif
