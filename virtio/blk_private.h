/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk_private.h - what the files of a block device share.
 *
 *   blk.c          requests: parse, check, answer; set-up
 *   blk_merge.c    reads and writes on their way to the disk
 *   blk_trim.c     discards and zeroes
 *   blk_throttle.c who must wait for tokens
 *   blk_state.c    configuration space, resize, save and load
 *
 * Thread: the device's loop unless said otherwise.
 */
#ifndef GODWIT_VIRTIO_BLK_PRIVATE_H
#define GODWIT_VIRTIO_BLK_PRIVATE_H

#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "loop/loop.h"
#include "virtio/backend/bucket.h"
#include "virtio/backend/disk.h"
#include "virtio/blk.h"
#include "virtio/dev.h"

#define BLK_QUEUE_SIZE 256u
#define BLK_SEG_MAX    (BLK_QUEUE_SIZE - 2) /* header and status take two */
#define BLK_SECTOR     512u

/* Up to so much becomes one operation of the host. */
#define BLK_MERGE_BYTES (256u << 10)
#define BLK_MERGE_IOVS	1024u /* what one system call takes */

/* Of one request.  Zeroes may have to be written, so there are fewer. */
#define BLK_DISCARD_SEGS    16u
#define BLK_DISCARD_SECTORS (1u << 21)
#define BLK_ZERO_SEGS	    1u
#define BLK_ZERO_SECTORS    (VIRTIO_BLK_REQUEST_MAX / BLK_SECTOR)

struct blk;

/* A read, write or flush in flight.  Freed by its end, whatever became of the
 * driver. */
struct blk_request {
	struct blk *blk;
	struct blk_request *next; /* in a batch */
	struct virtio_ticket ticket;
	struct disk_request disk;
	struct iovec status; /* the status byte in guest RAM */
	uint32_t read_bytes; /* that guest RAM gets on success */
	struct iovec iov[];  /* disk.iov */
};

/* Neighbours of the batch being served, not submitted yet. */
struct blk_batch {
	struct blk_request *first, *last;
	unsigned count, iovs;
	uint64_t bytes;
};

/* A queue's request that has paid and waits in the ring for its time. */
struct blk_waiter {
	struct blk *blk;
	struct loop_timer timer;
	unsigned queue;
	bool waiting; /* the timer is on; the queue is not looked at */
	bool paid;
	enum bucket_dir dir; /* what was paid for, and when it may begin */
	uint64_t bytes;
	int64_t start_ns;
};

struct blk {
	struct virtio_dev dev; /* first */
	struct disk *disk;     /* owned */
	uint64_t sectors;      /* that the driver knows of */
	bool readonly;
	bool frozen;			    /* resizing: take no request */
	char serial[VIRTIO_BLK_SERIAL_MAX]; /* zero padded */
	/* What the driver wrote, or the default; vCPU threads write. */
	_Atomic uint8_t wce;
	struct blk_batch batch;
	struct bucket_group *limits; /* borrowed; NULL: none */
	struct blk_waiter *waiter;   /* owned; one a queue; NULL: no limits */
	struct virtio_blk_stats stats;
	virtio_blk_full_fn *full; /* NULL: such errors are reported */
	void *full_opaque;
	struct {
		uint64_t sectors;
		uint8_t wce;
	} staged;
};

/* What was found in a chain. */
struct blk_parsed {
	struct virtio_blk_outhdr header;		      /* host endian */
	struct iovec out[VIRTQ_SIZE_MAX], in[VIRTQ_SIZE_MAX]; /* data only */
	unsigned outs, ins;
	uint64_t out_bytes, in_bytes;
	struct iovec status;
};

static inline struct blk *blk_of(struct virtio_dev *dev)
{
	return (struct blk *)dev;
}

/* ---- blk.c ---- */

/* Write the status byte and give the chain back; @len data bytes before it. */
void blk_finish(struct blk *blk, struct virtio_ticket ticket,
	const struct iovec *status, uint8_t value, uint32_t len);
/* The same for what the disk said; the request may also be held. */
void blk_finish_result(struct blk *blk, struct virtio_ticket ticket,
	const struct iovec *status, const struct disk_request *req, int result,
	uint32_t len);
/* Sectors [@sector, + @n) are all on the disk. */
bool blk_range_ok(const struct blk *blk, uint64_t sector, uint64_t n);

/* ---- blk_merge.c ---- */

/* Return: VIRTIO_BLK_S_OK when it will be answered, else the status. */
uint8_t blk_transfer(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p, enum disk_op op);
/* Submit what waits for neighbours. */
void blk_batch_end(struct blk *blk);

/* ---- blk_trim.c ---- */

/* As blk_transfer(); @op DISK_DISCARD or DISK_ZERO. */
uint8_t blk_trim(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p, enum disk_op op);
/* How many bytes it names, without any check but the end of the data. */
uint64_t blk_trim_bytes(const struct blk_parsed *p);

/* ---- blk_throttle.c ---- */

/* 0 or -ENOMEM. */
int blk_throttle_init(struct blk *blk);
void blk_throttle_fini(struct blk *blk);
/* Forget what was paid.  Also without limits. */
void blk_throttle_reset(struct blk *blk);
bool blk_throttle_ready(const struct blk *blk, unsigned queue);
/* Must this request go back to its queue? */
bool blk_throttle(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p);

/* ---- blk_state.c ---- */

void blk_set_config(struct blk *blk);
uint64_t blk_features(const struct blk *blk, unsigned queues, bool discard);
/* Do writes have to be on stable storage when they end? */
bool blk_writethrough(const struct blk *blk);
void blk_write_config(
	struct virtio_dev *dev, uint64_t off, unsigned len, uint32_t value);
void blk_save(const struct virtio_dev *dev, struct state_writer *w);
int blk_load(struct virtio_dev *dev, struct state_reader *r, struct error *err);
int blk_load_sub(
	struct virtio_dev *dev, struct state_reader *sub, struct error *err);
void blk_loaded(struct virtio_dev *dev);

#endif
