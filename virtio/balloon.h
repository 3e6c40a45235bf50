/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/balloon.h - traditional memory balloon (virtio 1.3, 5.5): the guest
 * gives memory back to the host, on request (the balloon) or by itself (free
 * page reporting), tells how it fares (statistics), and which pages need not be
 * migrated (free page hints).
 *
 * Thread: functions that take a device are for its loop, but where a line says
 * otherwise.
 */
#ifndef GODWIT_VIRTIO_BALLOON_H
#define GODWIT_VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct migrate_hints;
struct migrate_phases;
struct virtio_dev;
struct virtio_env;

#define BALLOON_STATS	       10u /* VIRTIO_BALLOON_S_* tags known */
#define BALLOON_INTERVAL_MAX_S 86400u

struct balloon_options {
	uint64_t bytes; /* to ask for from the start */
	bool deflate_on_oom, stats, hinting, reporting;
	unsigned stats_interval_s;     /* 0: statistics only when asked for */
	struct migrate_phases *phases; /* borrowed; NULL: nobody migrates */
	/* NULL, or: the guest says that the balloon has another size.  Loop. */
	void (*changed)(void *opaque);
	void *opaque;
};

/* Return: 0; -EINVAL (more bytes than RAM), -ENOMEM, -EMFILE with @err. */
int virtio_balloon_create(const struct virtio_env *env, const char *name,
	const struct balloon_options *opt, struct virtio_dev **ret_dev,
	struct error *err);

/* Ask the guest for a balloon of @bytes, rounded down to pages; it decides.
 * Any thread.  Return: 0, or -EINVAL with @err: there is less RAM. */
int virtio_balloon_set(
	struct virtio_dev *dev, uint64_t bytes, struct error *err);

struct balloon_info {
	uint64_t target_bytes;	 /* what it was asked for */
	uint64_t actual_bytes;	 /* what the guest says */
	uint64_t returned_bytes; /* given back to the host, in all */
	uint64_t reported_bytes; /* of them, by free page reporting */
	uint64_t held_bytes;	 /* in the balloon, but not yet given back */
	uint64_t refused_pages;	 /* that were no RAM */
	bool inhibited;		 /* nothing is given back at the moment */
	bool driver;		 /* a driver is there */
};
void virtio_balloon_info(struct virtio_dev *dev, struct balloon_info *ret_info);

/* ---- statistics (balloon_stats.c) ---- */

struct balloon_stats {
	uint32_t valid;		       /* bit i: value[i] was given */
	uint64_t value[BALLOON_STATS]; /* by VIRTIO_BALLOON_S_*; bytes or count
					*/
	int64_t age_ns; /* of the VM's running time; -1: there never were any */
	uint64_t updates;
	unsigned interval_s;
};
void virtio_balloon_stats(
	struct virtio_dev *dev, struct balloon_stats *ret_stats);

/* "free-memory": the name of tag @i < BALLOON_STATS. */
const char *balloon_stat_name(unsigned i);

/* Ask for new ones: they come later, or never.
 * Return: 0; -EOPNOTSUPP (the driver does not have them). */
int virtio_balloon_ask_stats(struct virtio_dev *dev);
/* @seconds: 0 to BALLOON_INTERVAL_MAX_S. */
void virtio_balloon_set_interval(struct virtio_dev *dev, unsigned seconds);

/* ---- free page hints (balloon_hint.c), for a migration ---- */

/**
 * balloon_hint_start - ask for hints under a new command id.
 * @hints: copied; told on the loop until the guest, _stop() or _done() ends it.
 * Return: 0; -EOPNOTSUPP (no driver, or one without, or page poison makes free
 *         pages precious); -EBUSY (the VM is paused).
 */
int balloon_hint_start(
	struct virtio_dev *dev, const struct migrate_hints *hints);
/* No more hints from here on; the guest keeps the pages it has hinted. */
void balloon_hint_stop(struct virtio_dev *dev);
/* And it may have them back. */
void balloon_hint_done(struct virtio_dev *dev);

#endif
