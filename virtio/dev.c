/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/dev.c - see dev.h.  Source: virtio 1.2, chapters 2 and 3.
 *
 * Knows no register layout (mmio.c) and no saved form (dev_state.c).
 */
#include "virtio/dev.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"

#define LADDER                                                                 \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |                \
		VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

/* ---- the loop's side: queues ---- */

static void interrupt(struct virtio_dev *dev, uint32_t isr_bits)
{
	if (dev->interrupt)
		dev->interrupt(dev->interrupt_opaque, isr_bits);
}

/* The device gives up until it is reset (2.1.2).  Any thread. */
static void needs_reset(struct virtio_dev *dev, const char *why)
{
	uint32_t old =
		atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_NEEDS_RESET);

	log_limited(
		&dev->limit, LOG_WARN, "%s: needs a reset: %s", dev->name, why);
	if (old & VIRTIO_CONFIG_S_DRIVER_OK &&
		!(old & VIRTIO_CONFIG_S_NEEDS_RESET))
		interrupt(dev, VIRTIO_ISR_CONFIG);
}

static void queue_signal(struct virtio_queue *q)
{
	if (virtq_wants_interrupt(&q->vq))
		interrupt(q->dev, VIRTIO_ISR_QUEUE);
}

/* Serve up to a batch.  True if there may be more. */
static bool queue_serve(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;
	struct virtio_ticket t = {
		.queue = q->index, .generation = dev->generation};
	unsigned n;
	int rc;

	if (!q->muted)
		virtq_notify_off(&q->vq);
	for (n = 0; n < VIRTIO_BATCH; n++) {
		q->seen = virtq_added(&q->vq);
		if (dev->ops->ready && !dev->ops->ready(dev, q->index))
			return false; /* virtio_dev_run() will come */
		rc = virtq_pop(&q->vq, dev->chain);
		if (rc == 0) {
			/* Polled: looked at before the loop sleeps. */
			if (q->muted || !virtq_notify_on(&q->vq))
				return false;
			virtq_notify_off(&q->vq);
		} else if (rc == -EBADMSG) {
			log_limited(&dev->limit, LOG_WARN,
				"%s: queue %u: malformed descriptor chain",
				dev->name, q->index);
		} else if (rc < 0) {
			needs_reset(dev, "the available ring makes no sense");
			return false;
		} else {
			t.head = dev->chain->head;
			dev->inflight++;
			dev->ops->request(dev, dev->chain, t);
		}
	}
	return true;
}

static void queue_run(void *opaque)
{
	struct virtio_queue *q = opaque;

	if (!q->active || q->dev->quiesced || q->vq.broken)
		return;
	assert(!q->serving); /* a request handler never polls the loop */
	q->serving = true;
	/* The rest of a long batch waits its turn behind other handlers. */
	if (queue_serve(q))
		loop_bh_schedule(q->bh);
	if (q->dev->ops->served)
		q->dev->ops->served(q->dev, q->index);
	q->serving = false;
	queue_signal(q);
}

static bool queue_kicked(void *opaque, unsigned ready)
{
	struct virtio_queue *q = opaque;
	uint64_t count;

	if (read(q->kick_fd, &count, sizeof(count)) != sizeof(count))
		return false; /* EAGAIN: somebody else's event */
	queue_run(q);
	return true;
}

/* ---- the loop's side: looking before sleeping ---- */

static bool queue_grew(void *opaque)
{
	const struct virtio_queue *q = opaque;

	return q->active && !q->dev->quiesced && !q->vq.broken &&
	       virtq_added(&q->vq) != q->seen;
}

static bool queue_polled(void *opaque)
{
	queue_run(opaque);
	return true;
}

static void queue_mute(void *opaque)
{
	struct virtio_queue *q = opaque;

	if (!q->active)
		return;
	q->muted = true;
	virtq_notify_mute(&q->vq);
}

/* What came meanwhile is found by the check that follows. */
static void queue_unmute(void *opaque)
{
	struct virtio_queue *q = opaque;

	if (q->muted)
		virtq_notify_on(&q->vq);
	q->muted = false;
}

static const struct loop_poll_fns queue_poll_fns = {
	.check = queue_grew,
	.ready = queue_polled,
	.begin = queue_mute,
	.end = queue_unmute,
};

/* ---- the loop's side: requests ---- */

void virtio_dev_run(struct virtio_dev *dev, unsigned q)
{
	loop_bh_schedule(dev->queue[q].bh);
}

void virtio_dev_serve(struct virtio_dev *dev, unsigned q)
{
	queue_run(&dev->queue[q]);
}

bool virtio_dev_stale(const struct virtio_dev *dev, struct virtio_ticket ticket)
{
	return ticket.generation != dev->generation;
}

static void request_over(struct virtio_dev *dev)
{
	assert(dev->inflight > 0);
	if (--dev->inflight == 0 && dev->draining) {
		dev->draining = false;
		sem_post(&dev->drained);
	}
}

void virtio_dev_done(
	struct virtio_dev *dev, struct virtio_ticket ticket, uint32_t len)
{
	struct virtio_queue *q = &dev->queue[ticket.queue];

	if (!virtio_dev_stale(dev, ticket)) {
		virtq_done(&q->vq, ticket.head, len);
		if (!q->serving) /* else once, at the end of the batch */
			queue_signal(q);
	}
	request_over(dev);
}

void virtio_dev_done_all(struct virtio_dev *dev,
	const struct virtio_ticket *ticket, const uint32_t *len, unsigned count)
{
	struct virtio_queue *q = &dev->queue[ticket[0].queue];
	unsigned i;

	if (!virtio_dev_stale(dev, ticket[0])) {
		for (i = 0; i < count; i++)
			virtq_use(&q->vq, (uint16_t)i, ticket[i].head, len[i]);
		virtq_publish(&q->vq, (uint16_t)count);
		if (!q->serving)
			queue_signal(q);
	}
	for (i = 0; i < count; i++)
		request_over(dev);
}

void virtio_dev_putback(struct virtio_dev *dev, struct virtio_ticket ticket)
{
	struct virtio_queue *q = &dev->queue[ticket.queue];

	assert(!virtio_dev_stale(dev, ticket));
	virtq_unpop(&q->vq);
	request_over(dev);
}

int virtio_dev_hold(struct virtio_dev *dev, struct virtio_ticket ticket)
{
	struct virtio_queue *q = &dev->queue[ticket.queue];

	assert(!virtio_dev_stale(dev, ticket));
	if (!q->held)
		q->held = calloc(q->size_max, sizeof(*q->held));
	if (!q->held)
		return -ENOMEM;
	assert(q->helds < q->vq.inflight && q->helds < q->size_max);
	q->held[q->helds++] = ticket.head;
	request_over(dev);
	return 0;
}

/* Serve what is held.  It may be held again; then it waits for the next. */
static void release_held(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;
	struct virtio_ticket t = {
		.queue = q->index, .generation = dev->generation};
	uint16_t *held = q->held;
	unsigned i, n = q->helds;

	q->held = NULL;
	q->helds = 0;
	q->serving = dev->releasing = true;
	for (i = 0; i < n; i++) {
		t.head = held[i];
		if (virtq_again(&q->vq, t.head, dev->chain) == 1) {
			dev->inflight++;
			dev->ops->request(dev, dev->chain, t);
		}
	}
	if (dev->ops->served)
		dev->ops->served(dev, q->index);
	q->serving = dev->releasing = false;
	queue_signal(q);
	free(held);
}

/* ---- the loop's side: start and stop ---- */

int virtio_dev_watch_queue(struct virtio_queue *q)
{
	const struct virtio_dev *dev = q->dev;
	int err;

	if (q->kick)
		return 0;
	err = loop_fd_add(dev->loop, q->kick_fd, LOOP_READ, LOOP_FD_EXTERNAL,
		queue_kicked, q, dev->name, &q->kick);
	if (err == 0 && dev->ops->polled && dev->ops->polled(dev, q->index))
		loop_fd_set_polling(q->kick, &queue_poll_fns);
	return err;
}

void virtio_dev_stop_queues(struct virtio_dev *dev)
{
	struct virtio_queue *q;
	unsigned i;

	for (i = 0; i < dev->queues; i++) {
		q = &dev->queue[i];
		loop_fd_del(q->kick);
		q->kick = NULL;
		loop_bh_cancel(q->bh);
		q->active = q->muted = false;
		q->helds = 0;
	}
	dev->active = false;
	dev->generation++; /* what is in flight becomes stale */
}

/* A hand-over from a vCPU thread to the loop, and what came of it. */
struct handover {
	struct virtio_dev *dev;
	void (*fn)(struct handover *h); /* on the loop */
	pthread_t home;			/* the loop's thread */
	const char *failed;		/* NULL: fine */
	bool wait;			/* for dev->drained */
	bool unseen;			/* used entries without an interrupt */
};

static void start_on_loop(struct handover *h)
{
	static const struct virtq_pos fresh;
	struct virtio_dev *dev = h->dev;
	struct virtio_queue *q;
	unsigned i;

	dev->generation++;
	for (i = 0; i < dev->queues && !h->failed; i++) {
		q = &dev->queue[i];
		if (!q->regs.ready)
			continue;
		/* From here on the registers do not matter any more. */
		if (virtq_start(&q->vq, &q->regs, q->size_max,
			    dev->driver_features, &fresh, dev->gm) < 0)
			h->failed = "a queue's size or address is wrong";
		else if (virtio_dev_watch_queue(q) < 0)
			h->failed = "the host is out of resources";
		else
			q->active = true;
	}
	if (h->failed) {
		virtio_dev_stop_queues(dev);
		return;
	}
	/* A kick from before is still in its eventfd. */
	dev->active = true;
	if (dev->ops->start)
		dev->ops->start(dev);
}

static void stop_on_loop(struct handover *h)
{
	struct virtio_dev *dev = h->dev;

	virtio_dev_stop_queues(dev);
	if (dev->ops->stop)
		dev->ops->stop(dev);
	h->wait = dev->draining = dev->inflight > 0;
}

static void quiesce_on_loop(struct handover *h)
{
	h->dev->quiesced = true;
	if (h->dev->ops->pause)
		h->dev->ops->pause(h->dev);
	h->wait = h->dev->draining = h->dev->inflight > 0;
}

static void run_handover(void *opaque)
{
	struct handover *h = opaque;

	h->home = pthread_self();
	h->fn(h);
}

/* Wait for the last request.  One waiter at a time: a vCPU thread that holds
 * dev->lock, or the main thread while every vCPU is paused.  The loop itself
 * must go on polling for that; any other thread sleeps. */
static void wait_drained(const struct handover *h)
{
	struct virtio_dev *dev = h->dev;

	if (pthread_equal(h->home, pthread_self()))
		while (dev->inflight > 0)
			loop_poll(dev->loop, true);
	while (sem_wait(&dev->drained) < 0)
		assert(errno == EINTR);
}

static int hand_over(struct handover *h, const char *what)
{
	int err = loop_run_sync(h->dev->loop, run_handover, h, h->dev->name);

	if (err < 0)
		log_error("%s: %s: %s", h->dev->name, what, strerror(-err));
	else if (h->wait)
		wait_drained(h);
	return err;
}

/* ---- the registers' side ---- */

static void forget_registers(struct virtio_dev *dev)
{
	unsigned i;

	for (i = 0; i < dev->queues; i++)
		dev->queue[i].regs = (struct virtq_regs){0};
	dev->driver_features = 0;
	atomic_store(&dev->status, 0);
}

void virtio_dev_reset(struct virtio_dev *dev)
{
	struct handover h = {.dev = dev, .fn = stop_on_loop};

	/* Before DRIVER_OK the loop has nothing of this device. */
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK &&
		hand_over(&h, "reset") < 0) {
		needs_reset(dev, "the reset failed");
		return;
	}
	forget_registers(dev);
}

static void driver_ok(struct virtio_dev *dev)
{
	struct handover h = {.dev = dev, .fn = start_on_loop};

	atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_DRIVER_OK);
	if (hand_over(&h, "start") < 0)
		h.failed = "the host is out of memory";
	if (h.failed)
		needs_reset(dev, h.failed);
}

bool virtio_dev_features_ok(const struct virtio_dev *dev, uint64_t features)
{
	return (features & ~dev->features) == 0 &&
	       features >> VIRTIO_F_VERSION_1 & 1;
}

/* The ladder: ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, one at a time and
 * none taken back.  FAILED at any time; then only a reset helps. */
static void climb(struct virtio_dev *dev, uint32_t old, uint32_t value)
{
	static const uint32_t rung[] = {0, VIRTIO_CONFIG_S_ACKNOWLEDGE,
		VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_FEATURES_OK,
		VIRTIO_CONFIG_S_DRIVER_OK};
	uint32_t added = value & ~old, below = 0;
	unsigned i;

	if (old & ~value || added == 0)
		return;
	if (added == VIRTIO_CONFIG_S_FAILED) {
		atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_FAILED);
		return;
	}
	for (i = 0; i < 4; i++) {
		below |= rung[i];
		if (added == rung[i + 1] && old == below)
			break;
	}
	if (i == 4 ||
		(added == VIRTIO_CONFIG_S_FEATURES_OK &&
			!virtio_dev_features_ok(dev, dev->driver_features)))
		return;
	if (added == VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(dev);
	else
		atomic_fetch_or(&dev->status, added);
}

bool virtio_dev_write_status_locked(struct virtio_dev *dev, uint32_t value)
{
	uint32_t old = atomic_load(&dev->status);

	if (value == 0) {
		virtio_dev_reset(dev);
		return true;
	}
	/* NEEDS_RESET is ours.  While it is set a value with it is refused
	 * here and one without it would take it back: only a reset helps. */
	if (!(value & ~(LADDER | VIRTIO_CONFIG_S_FAILED)))
		climb(dev, old, value);
	return false;
}

static bool in_window(const struct virtio_dev *dev, uint32_t from, uint32_t to)
{
	uint32_t status = atomic_load(&dev->status);

	return status & from &&
	       !(status & (to | VIRTIO_CONFIG_S_FAILED |
				  VIRTIO_CONFIG_S_NEEDS_RESET));
}

void virtio_dev_write_features_locked(
	struct virtio_dev *dev, uint32_t sel, uint32_t value)
{
	uint64_t mask;

	if (sel > 1 || !in_window(dev, VIRTIO_CONFIG_S_DRIVER,
			       VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	mask = (uint64_t)UINT32_MAX << 32 * sel;
	dev->driver_features =
		(dev->driver_features & ~mask) | (uint64_t)value << 32 * sel;
}

struct virtq_regs *virtio_dev_queue_regs_locked(
	struct virtio_dev *dev, uint32_t q)
{
	if (q >= dev->queues || !in_window(dev, VIRTIO_CONFIG_S_FEATURES_OK,
					VIRTIO_CONFIG_S_DRIVER_OK))
		return NULL;
	return &dev->queue[q].regs;
}

void virtio_dev_read_config(
	struct virtio_dev *dev, uint64_t off, void *dst, unsigned len)
{
	memset(dst, 0, len);
	pthread_mutex_lock(&dev->config_lock);
	if (off < dev->config_bytes) {
		if (len > dev->config_bytes - off)
			len = (unsigned)(dev->config_bytes - off);
		memcpy(dst, dev->config + off, len);
	}
	pthread_mutex_unlock(&dev->config_lock);
}

void virtio_dev_set_config(struct virtio_dev *dev, unsigned off,
	const void *src, unsigned len, bool announce)
{
	bool changed;

	assert(off <= VIRTIO_CONFIG_MAX && len <= VIRTIO_CONFIG_MAX - off);
	pthread_mutex_lock(&dev->config_lock);
	changed = memcmp(dev->config + off, src, len) != 0;
	memcpy(dev->config + off, src, len);
	if (off + len > dev->config_bytes)
		dev->config_bytes = off + len;
	if (announce && changed)
		atomic_fetch_add(&dev->config_generation, 1);
	pthread_mutex_unlock(&dev->config_lock);
	if (announce && changed &&
		atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(dev, VIRTIO_ISR_CONFIG);
}

void virtio_dev_kick(struct virtio_dev *dev, uint32_t q)
{
	uint64_t one = 1;

	if (q < dev->queues && write(dev->queue[q].kick_fd, &one, 8) != 8)
		assert(errno == EAGAIN); /* the counter is full: it is kicked */
}

/* ---- pause and resume ---- */

static void resume_on_loop(struct handover *h)
{
	struct virtio_queue *q;
	unsigned i;

	h->dev->quiesced = false;
	for (i = 0; i < h->dev->queues; i++) {
		q = &h->dev->queue[i];
		if (!q->active || q->vq.broken)
			continue;
		/* A kick may have been lost with the old host's eventfd, and
		 * what it wrote as avail_event is old: look, then say so. */
		virtio_dev_kick(h->dev, i);
		h->unseen |= virtq_may_be_unseen(&q->vq);
	}
	if (h->dev->ops->resume)
		h->dev->ops->resume(h->dev);
	for (i = 0; i < h->dev->queues; i++) {
		q = &h->dev->queue[i];
		if (q->active && q->helds > 0)
			release_held(q);
	}
}

void virtio_dev_quiesce(struct virtio_dev *dev)
{
	struct handover h = {.dev = dev, .fn = quiesce_on_loop};

	/* Only memory can be short, and nobody can do with half a pause. */
	while (hand_over(&h, "pause") < 0)
		sched_yield();
}

bool virtio_dev_resume(struct virtio_dev *dev)
{
	struct handover h = {.dev = dev, .fn = resume_on_loop};

	while (hand_over(&h, "resume") < 0)
		sched_yield();
	return h.unseen;
}

/* ---- set-up ---- */

static int init_queue(struct virtio_queue *q, struct error *err)
{
	const char *name = q->dev->name;
	int rc;

	q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->kick_fd < 0)
		return error_errno(err, -errno, "%s: eventfd", name);
	rc = loop_bh_create(q->dev->loop, queue_run, q, name, NULL, &q->bh);
	if (rc < 0)
		return error_errno(err, rc, "%s: bottom half", name);
	return 0;
}

int virtio_dev_init(struct virtio_dev *dev, const struct virtio_dev_ops *ops,
	const struct virtio_env *env, const char *name, uint64_t features,
	const uint16_t *sizes, unsigned queues, struct error *err)
{
	unsigned i;
	int rc = 0;

	assert(queues <= VIRTIO_QUEUES_MAX);
	memset(dev, 0, sizeof(*dev));
	dev->ops = ops;
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	dev->loop = env->loop;
	dev->gm = env->gm;
	dev->features = features | 1ull << VIRTIO_F_VERSION_1 |
			1ull << VIRTIO_RING_F_EVENT_IDX |
			1ull << VIRTIO_RING_F_INDIRECT_DESC;
	pthread_mutex_init(&dev->lock, NULL);
	pthread_mutex_init(&dev->config_lock, NULL);
	sem_init(&dev->drained, 0, 0);
	dev->chain = malloc(sizeof(*dev->chain));
	dev->queue = calloc(queues, sizeof(*dev->queue));
	if (!dev->queue || !dev->chain)
		rc = error_errno(err, -ENOMEM, "%s", name);
	for (i = 0; i < queues && rc == 0; i++) {
		dev->queue[i].dev = dev;
		dev->queue[i].index = i;
		dev->queue[i].size_max = sizes[i];
		dev->queues++;
		rc = init_queue(&dev->queue[i], err);
	}
	if (rc < 0)
		virtio_dev_fini(dev);
	return rc;
}

void virtio_dev_fini(struct virtio_dev *dev)
{
	struct virtio_queue *q;
	unsigned i;

	assert(dev->inflight == 0);
	for (i = dev->queues; i-- > 0;) {
		q = &dev->queue[i];
		loop_fd_del(q->kick);
		loop_bh_delete(q->bh);
		if (q->kick_fd >= 0)
			close(q->kick_fd);
		free(q->held);
		free(q->staged.held);
	}
	free(dev->queue);
	free(dev->chain);
	sem_destroy(&dev->drained);
	pthread_mutex_destroy(&dev->config_lock);
	pthread_mutex_destroy(&dev->lock);
}

static void destroy_on_loop(void *opaque)
{
	struct virtio_dev *dev = opaque;
	const struct virtio_dev_ops *ops = dev->ops;

	virtio_dev_fini(dev);
	ops->destroy(dev);
}

/* On the loop, because only there no handler of the device is running. */
void virtio_dev_destroy(struct virtio_dev *dev)
{
	while (loop_run_sync(dev->loop, destroy_on_loop, dev, "destroy") < 0)
		sched_yield();
}
