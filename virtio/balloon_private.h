/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/balloon_private.h - the insides of a balloon, for balloon.c (life,
 * configuration, queues, state), balloon_pages.c (memory), balloon_stats.c,
 * balloon_hint.c and balloon_report.c.
 *
 * Everything belongs to the device's loop but where a line says otherwise.
 */
#ifndef GODWIT_VIRTIO_BALLOON_PRIVATE_H
#define GODWIT_VIRTIO_BALLOON_PRIVATE_H

#include <linux/virtio_balloon.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"
#include "migrate/phase.h"
#include "virtio/balloon.h"
#include "virtio/dev.h"
#include "vmm/guestmem.h"

/* Offsets in the configuration space. */
#define BALLOON_AT_TARGET 0u
#define BALLOON_AT_ACTUAL 4u
#define BALLOON_AT_HINT	  8u
#define BALLOON_AT_POISON 12u

#define BALLOON_HINT_ID_MIN 0x80000000u

/* What a queue is for: the order of 5.5.2. */
enum balloon_role {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS_ROLE,
	BALLOON_HINT,
	BALLOON_REPORT,
	BALLOON_ROLES,
};

struct balloon_stats_queue {
	struct loop_timer timer;
	bool holding; /* @ticket is the buffer that is ours until we ask */
	bool again;   /* it was put back by a pause: nothing new in it */
	struct virtio_ticket ticket;
	unsigned interval_s;
	uint32_t valid;
	uint64_t value[BALLOON_STATS], updates;
	int64_t time_ns; /* LOOP_VIRTUAL */
};

enum hint_state {
	HINT_STOP,	/* configuration says 0; nothing is expected */
	HINT_REQUESTED, /* an id was given; hints under another are ignored */
	HINT_START,	/* the guest has said it; what follows counts */
	HINT_DONE,	/* the guest may have its pages back */
};

struct balloon_hint {
	enum hint_state state;
	uint32_t id; /* the last one given; 0: none yet */
	bool owed;   /* a driver that got an id must hear DONE */
	bool moved;  /* just loaded: what was under way here never was */
	struct migrate_hints to;
	struct migrate_watch watch;
};

/* The fields a load has read. */
struct balloon_staged {
	uint32_t target, actual, poison, hint_config, hint_id;
	bool hint_owed;
	uint64_t done[BALLOON_ROLES];
};

struct balloon {
	struct virtio_dev dev; /* first */
	struct balloon_options opt;
	uint8_t role[BALLOON_ROLES]; /* by queue; BALLOON_ROLES: none */
	bool poisoned;		     /* free pages hold something */
	/* Bytes of the next chain that are done with: it was put back because
	 * the turn was over.  By role. */
	uint64_t done[BALLOON_ROLES];
	uint32_t budget;	 /* pages this turn may still look at */
	struct loop_bh *changed; /* owned; any thread schedules it */

	/* One bit a page by RAM offset: in the balloon, but its memory may
	 * still be ours.  With huge pages: in the balloon. */
	uint64_t *held; /* owned; NULL until it is needed */
	uint64_t held_pages;
	uint64_t late_page;   /* where to go on; UINT64_MAX: nothing is late */
	struct loop_bh *late; /* owned; any thread schedules it */
	struct guestmem_watch watch;
	uint64_t returned_bytes, reported_bytes, refused_pages;

	struct balloon_stats_queue stats;
	struct balloon_hint hint;
	struct balloon_staged staged;
};

static inline struct balloon *balloon_of(struct virtio_dev *dev)
{
	return (struct balloon *)dev;
}

/* ---- balloon.c ---- */

uint32_t balloon_config(struct balloon *b, unsigned off);
void balloon_set_config(
	struct balloon *b, unsigned off, uint32_t value, bool announce);

/* ---- balloon_pages.c ---- */

/* Is some of the turn's budget left?  If not the queue is looked at again in a
 * later turn, with a new one. */
bool balloon_pages_ready(struct balloon *b, unsigned q);
/* Inflate and deflate. */
void balloon_pages_request(struct balloon *b, struct virtq_chain *chain,
	struct virtio_ticket t, enum balloon_role role);
/* Give the whole pages of [gpa, gpa + len), which is RAM, back to the host.
 * Return: bytes that were; -EBUSY (not now); -errno (reported). */
int64_t balloon_give_back(struct balloon *b, uint64_t gpa, uint64_t len);
/* Discards are allowed again: give back what is late.  A bottom half. */
void balloon_pages_late(void *opaque);
/* The driver has all of its pages again. */
void balloon_pages_forget(struct balloon *b);
/* Pages in the balloon whose memory is still ours. */
uint64_t balloon_pages_waiting(const struct balloon *b);

/* ---- balloon_stats.c ---- */

void balloon_stats_init(struct balloon *b);
bool balloon_stats_ready(const struct balloon *b);
void balloon_stats_request(struct balloon *b, const struct virtq_chain *chain,
	struct virtio_ticket t);
void balloon_stats_pause(struct balloon *b);
void balloon_stats_stop(struct balloon *b);

/* ---- balloon_hint.c ---- */

void balloon_hint_init(struct balloon *b);
void balloon_hint_fini(struct balloon *b);
void balloon_hint_request(struct balloon *b, const struct virtq_chain *chain,
	struct virtio_ticket t);
void balloon_hint_reset(struct balloon *b);
void balloon_hint_loaded(struct balloon *b);
void balloon_hint_resume(struct balloon *b);

/* ---- balloon_report.c ---- */

void balloon_report_request(
	struct balloon *b, struct virtq_chain *chain, struct virtio_ticket t);

#endif
