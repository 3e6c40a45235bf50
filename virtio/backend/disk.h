/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk.h - a raw disk image, or block device, of the host.
 *
 * Knows bytes, not sectors, and nothing of virtio.  The format is always raw:
 * nothing is guessed from the contents.  Requests are asynchronous, any number
 * at a time and in any order; the loop hears of the end.  A flush covers the
 * writes that ended before it was submitted.
 *
 * Two engines do the work.  The ring is the loop's own io_uring: requests are
 * submitted by the system call that waits for fds.  The pool's workers do what
 * the ring cannot: where the loop has none, or lost it, and for O_DIRECT
 * requests that must be copied to be aligned.
 *
 * Threads: any may open; everything else belongs to the home of one loop.
 */
#ifndef GODWIT_VIRTIO_BACKEND_DISK_H
#define GODWIT_VIRTIO_BACKEND_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/uring.h"

struct disk;
struct error;
struct iovec;
struct loop;
struct pool;

enum disk_engine {
	DISK_AUTO,  /* the ring when the loop has one, else the pool */
	DISK_POOL,  /* the pool alone */
	DISK_URING, /* the ring, or no disk */
};

struct disk_options {
	const char *name; /* "disk0", for messages; copied */
	const char *path; /* to open; with @fd only for messages, or NULL */
	int fd;		  /* -1, or an open fd to use: taken, also on failure */
	bool readonly;
	bool direct;		 /* O_DIRECT: past the host's page cache */
	bool unlocked;		 /* do not lock it yet: disk_lock() */
	enum disk_engine engine; /* DISK_AUTO but in tests and benches */
};

/**
 * disk_open - open and lock an image.
 * @loop, @pool: borrowed, longer lived than the disk.
 * A lock that ends with the fd keeps a second writer away; readers may share.
 * DISK_URING is a demand on the loop as it is now; should the loop lose its
 * ring later, the pool goes on.
 * Thread: any; with DISK_URING the home of @loop.
 * Return: 0, or -errno with @err naming disk, path, reason and remedy:
 *         what open(2) gives, -EISDIR, -ENOTBLK (neither file nor block
 *         device), -ENODATA (empty), -EBUSY (locked), -EINVAL (O_DIRECT:
 *         size or file system), -ENOSYS (DISK_URING, and no ring), -ENOMEM.
 * Source: open(2), fcntl(2) "open file description locks", statx(2).
 */
int disk_open(struct loop *loop, struct pool *pool,
	const struct disk_options *opt, struct disk **ret_disk,
	struct error *err);

/* Wait for what is in flight, unlock and close.  Home; NULL is allowed. */
void disk_close(struct disk *disk);

/**
 * disk_lock, disk_unlock - take and give up the image.
 * A machine that moves gives its images up when it has stopped and takes them
 * where it goes on.  Locking again is harmless.  Thread: any, drained.
 * Return: 0, or -EBUSY with @err (somebody else has it).
 */
int disk_lock(struct disk *disk, struct error *err);
void disk_unlock(struct disk *disk);

uint64_t disk_bytes(const struct disk *disk); /* fixed; a multiple of 512 */
bool disk_readonly(const struct disk *disk);

/* What a request's offset and length should be a multiple of, bytes: a power
 * of two from 512 to 4096.  Others work too, but cost a copy. */
uint32_t disk_block_bytes(const struct disk *disk);

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH };

/* Home; from a poll, never from inside disk_submit().  @result: 0 or -errno;
 * after an error any part of the bytes may have been transferred. */
typedef void disk_done_fn(void *opaque, int result);

/* The caller's storage, until done is called.  The bytes of iov are the disk's
 * until then: no copy is made. */
struct disk_request {
	enum disk_op op;
	const struct iovec *iov; /* borrowed; read only while in flight */
	unsigned iovs;
	uint64_t offset; /* bytes; offset + sum of iov <= disk_bytes() */
	disk_done_fn *done;
	void *opaque;

	/* Private to the disk. */
	struct disk *disk;
	struct disk_request *next;
	struct loop_op uring;
	uint64_t bytes, transferred;
	int result;
	bool bounce; /* O_DIRECT cannot take it as it is */
	uint8_t gate;
};

/**
 * disk_submit - begin @req.
 * Thread: home.
 * Return: 0, then done comes once.  Or done never comes: -EINVAL (outside the
 *         disk), -EROFS, -ENOMEM or -EAGAIN (no thread).
 */
int disk_submit(struct disk *disk, struct disk_request *req);

/* Poll the loop until no request is in flight.  Home. */
void disk_drain(struct disk *disk);

/* Requests by the engine that began them, and those that the ring could not
 * finish and the pool took over. */
struct disk_stats {
	uint64_t uring, pool, moved;
};

void disk_stats(const struct disk *disk, struct disk_stats *ret_stats);

#endif
