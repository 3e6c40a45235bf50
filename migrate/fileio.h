/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/fileio.h - large reads or writes of one file, several in flight.
 *
 * By an io_uring of its own; where that is forbidden, one after the other.
 * Where the file refuses O_DIRECT, without.  One thread.
 */
#ifndef GODWIT_MIGRATE_FILEIO_H
#define GODWIT_MIGRATE_FILEIO_H

#include <stdbool.h>
#include <stdint.h>
#include <liburing.h>

#define FILEIO_DEPTH 16u

struct fileio_op {
	uint8_t *buf;	 /* borrowed until done() */
	uint64_t offset; /* bytes */
	uint32_t len, done;
	bool busy;
};

/* All of @op is read or written.  0, or -errno, which ends it all. */
typedef int fileio_done_fn(void *opaque, const struct fileio_op *op);

struct fileio {
	int fd; /* borrowed */
	bool write;
	bool has_ring, dead; /* dead: the ring itself failed */
	int error;	     /* the first, -errno */
	unsigned in_flight;
	fileio_done_fn *done; /* may be NULL */
	void *opaque;
	struct io_uring ring;
	struct fileio_op op[FILEIO_DEPTH];
};

/* Never fails.  @fd: with or without O_DIRECT; without a ring it is taken off,
 * so that the kernel reads ahead and writes behind. */
void fileio_init(struct fileio *io, int fd, bool write, fileio_done_fn *done,
	void *opaque);

/**
 * fileio_submit - read or write @len bytes at @offset.
 * With O_DIRECT, all three are multiples of 4096.  May block, and call done()
 * for others.
 * Return: 0, or the first error of any operation: -EIO if the file is cut
 *         short, -errno of the kernel, or what done() said.
 */
int fileio_submit(struct fileio *io, void *buf, uint64_t offset, uint32_t len);

/* Wait for all, and end.  The first error of all. */
int fileio_fini(struct fileio *io);

#endif
