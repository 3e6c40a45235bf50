/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk_private.h - what the files of a disk share.
 *
 *   disk.c        requests: checks, what must not run together, ends, drain
 *   disk_open.c   finding out what it is; lock
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
	enum disk_engine engine;

	/* Home. */
	unsigned inflight;	  /* the waiting and the ended ones too */
	unsigned sharing;	  /* O_DIRECT writes of whole blocks at work */
	bool alone;		  /* a write of parts of blocks is at work */
	struct disk_list waiting; /* for these two */
	struct disk_list ended;	  /* with a result, for end_bh to tell */
	struct loop_bh *end_bh;	  /* owned */
	struct disk_stats stats;
};

/* disk_open.c: fill in @disk from @opt->fd (taken) or @opt->path.  What is set
 * when it fails is the caller's to free.  Any thread. */
int disk_open_image(
	struct disk *disk, const struct disk_options *opt, struct error *err);

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
