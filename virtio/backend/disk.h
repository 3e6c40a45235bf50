/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk.h - a raw disk image, or block device, of the host.
 *
 * Knows bytes, not sectors, and nothing of virtio.  The format is always raw:
 * nothing is guessed from the contents.  Requests are asynchronous, any number
 * at a time and in any order; the loop hears of the end.
 *
 * Order.  Requests in flight at the same time have none.  What ended before
 * another was submitted came first.  A flush puts on stable storage what had
 * ended before it was submitted, and nothing else is promised of it; that is
 * the order a file system in the guest builds on.  How much of that a disk
 * does is its cache mode:
 *
 *   writeback     as said
 *   writethrough  writes end when they are on stable storage
 *   unsafe        nothing is ever flushed: a crash of the host loses all of it
 *
 * Discards are hints: they may end without effect, and are durable with the
 * next flush only.  Zeroes are writes.
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

enum disk_cache { DISK_WRITEBACK, DISK_WRITETHROUGH, DISK_UNSAFE };

struct disk_options {
	const char *name; /* "disk0", for messages; copied */
	const char *path; /* to open; with @fd only for messages, or NULL */
	int fd;		  /* -1, or an open fd to use: taken, also on failure */
	bool readonly;
	bool direct;   /* O_DIRECT: past the host's page cache */
	bool unlocked; /* do not lock it yet: disk_lock() */
	enum disk_cache cache;
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
 * where it goes on, perhaps on another host.  So giving up puts everything on
 * stable storage first, unless the cache mode is unsafe or a flush has done so
 * already; and taking forgets what the page cache of this host had before (not
 * with O_DIRECT, which has none).  A flush that fails is logged: the move goes
 * on, as a guest that has not asked for a flush was promised nothing.
 * Locking again is harmless.  Thread: any, drained; waits for the storage.
 * Return: 0, or -EBUSY with @err (somebody else has it).
 */
int disk_lock(struct disk *disk, struct error *err);
void disk_unlock(struct disk *disk);

/**
 * disk_resize - look at the size of the image again, or change it.
 * @bytes: 0: take the image as it is by now.  Else make the file so large, a
 *         multiple of disk_block_bytes().
 * Growing is free.  An image that has become smaller is always taken as it is,
 * as what is gone is gone; making it smaller wants @shrink, and waits for what
 * is in flight, so that no write makes it grow again.
 * Thread: home; may poll.
 * Return: 0; or -errno with @err and the size as it was: -EINVAL (@bytes),
 *         -ENOTBLK (a device has the size that it has), -EPERM (smaller without
 *         @shrink), -EROFS, -ENODATA (nothing left), or that of a system call.
 */
int disk_resize(
	struct disk *disk, uint64_t bytes, bool shrink, struct error *err);

/* How writes are done from the next one on; one whose mode is unsafe stays so.
 * Home. */
void disk_set_writethrough(struct disk *disk, bool on);
enum disk_cache disk_cache(const struct disk *disk); /* as opened */

uint64_t disk_bytes(const struct disk *disk); /* a multiple of 512 */
bool disk_readonly(const struct disk *disk);

/* What a request's offset and length should be a multiple of, bytes: a power
 * of two from 512 to 4096.  Others work too, but cost a copy. */
uint32_t disk_block_bytes(const struct disk *disk);

/* Can the host give back what a discard names?  Found out at the opening,
 * without touching the image. */
bool disk_can_discard(const struct disk *disk);

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,
	DISK_DISCARD, /* nobody needs these bytes any more */
	DISK_ZERO,    /* these bytes are to read as zeroes */
};

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
	uint64_t range;	 /* DISCARD and ZERO: how many bytes, without iov */
	bool unmap;	 /* ZERO: storage may be given back */
	unsigned parts;	 /* requests that it stands for; 0: one */
	disk_done_fn *done;
	void *opaque;

	/* Private to the disk. */
	struct disk *disk;
	struct disk_request *next;
	struct loop_op uring;
	uint64_t bytes, transferred;
	uint64_t covers; /* FLUSH: what had ended before it */
	int result;
	int mode;    /* of fallocate(2); 0: write zeroes */
	bool bounce; /* O_DIRECT cannot take it as it is */
	bool sync;   /* on stable storage before it ends */
	uint8_t gate;
};

/**
 * disk_submit - begin @req.
 * Thread: home.
 * Return: 0, then done comes once.  Or done never comes: -EINVAL (outside the
 *         disk), -EROFS, -EOPNOTSUPP (a discard, see disk_can_discard()),
 *         -ENOMEM or -EAGAIN (no thread).
 */
int disk_submit(struct disk *disk, struct disk_request *req);

/* Would this read or write be done without a copy?  Home. */
bool disk_takes(const struct disk *disk, const struct iovec *iov, unsigned iovs,
	uint64_t offset);

/* Poll the loop until no request is in flight.  Home. */
void disk_drain(struct disk *disk);

/* Requests by the engine that began them; those that the ring could not finish
 * and the pool took over; and those that were spared by merging (parts). */
struct disk_stats {
	uint64_t uring, pool, moved, merged;
};

void disk_stats(const struct disk *disk, struct disk_stats *ret_stats);

#endif
