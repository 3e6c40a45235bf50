/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk_private.h - what the files of a disk share.
 *
 *   disk.c        requests: checks, what must not run together, ends, drain
 *   disk_open.c   finding out what it is
 *   disk_change.c what changes: lock, size
 *   disk_trim.c   discards and zeroes: what the host can
 *   disk_pool.c   engine: worker threads, and the bounce buffer
 *   disk_uring.c  engine: the loop's ring
 *
 * Home of the disk's loop unless said otherwise.
 */
#ifndef GODWIT_VIRTIO_BACKEND_DISK_PRIVATE_H
#define GODWIT_VIRTIO_BACKEND_DISK_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/backend/disk.h"

#define DISK_SECTOR    512u
#define DISK_BLOCK_MAX 4096u /* the largest alignment there is */

struct loop_bh;

/* First in, first out, linked through next. */
struct disk_list {
	struct disk_request *head, *tail;
};

struct disk {
	char name[32];
	char *path;	   /* owned */
	int fd;		   /* owned; holds the lock */
	struct loop *loop; /* borrowed */
	struct pool *pool; /* borrowed */
	uint64_t bytes;
	uint32_t align;	    /* of offset and length; 1 without O_DIRECT */
	uint32_t mem_align; /* of memory; 1 without O_DIRECT */
	bool readonly, direct;
	bool block_device;
	bool foreign; /* unlocked: another host may have written */
	enum disk_cache cache;
	enum disk_engine engine;
	bool can_discard;

	/* Home. */
	unsigned inflight;  /* the waiting and the ended ones too */
	unsigned sharing;   /* O_DIRECT writes of whole blocks at work */
	bool alone;	    /* a write of parts of blocks is at work */
	bool writethrough;  /* by the guest's wish */
	uint64_t written;   /* changes that ended, and 1 for what was before */
	uint64_t stable;    /* of them, how many a flush has covered */
	bool no_zero_range; /* the host has refused it */
	struct disk_list waiting; /* for these two */
	struct disk_list ended;	  /* with a result, for end_bh to tell */
	struct loop_bh *end_bh;	  /* owned */
	struct disk_stats stats;
};

/* disk_open.c: fill in @disk from @opt->fd (taken) or @opt->path.  What is set
 * when it fails is the caller's to free.  Any thread. */
int disk_open_image(
	struct disk *disk, const struct disk_options *opt, struct error *err);

/* disk_open.c: the size of the image as it is now, a multiple of what the
 * disk needs.  0, or -errno with @err. */
int disk_measure(
	const struct disk *disk, uint64_t *ret_bytes, struct error *err);

/* disk_trim.c, at the opening. */
bool disk_probe_discard(const struct disk *disk);
/* The range and mode of @req, a discard or zeroes, for this disk.
 * Return: false if there is nothing to be done. */
bool disk_trim_plan(struct disk_request *req);
/* Do it, on a worker.  0 or -errno. */
int disk_trim_work(const struct disk_request *req);

/* disk_pool.c: fdatasync().  Any thread.  0 or -errno. */
int disk_fdatasync(const struct disk *disk);
/* Write zeroes by way of a buffer.  Worker. */
int disk_write_zeroes(const struct disk_request *req);

/* The end of @req: its done is called.  Only from a poll. */
void disk_request_over(struct disk_request *req, int result);
/* The same, but in a later poll: from anywhere. */
void disk_request_over_later(struct disk_request *req, int result);

/* Go on with @req, of which transferred bytes are done.
 * Return: 0 or -errno of pool_submit(). */
int disk_pool_begin(struct disk_request *req);

/* The same through the ring.  Return: false when the ring does not take it. */
bool disk_uring_begin(struct disk_request *req);

#endif
