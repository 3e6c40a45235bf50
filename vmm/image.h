/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/image.h - bounded reads of a file that a guest is loaded from.
 *
 * Loaders are parsers of hostile files: they read through this interface, which
 * never maps the file (a truncation under us must not be a SIGBUS) and bounds
 * every access by the size seen at open time.
 */
#ifndef GODWIT_VMM_IMAGE_H
#define GODWIT_VMM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

struct error;

struct image {
	int fd;		    /* owned; -1 if mem is used */
	const uint8_t *mem; /* borrowed; fuzzers and unit tests */
	uint64_t size;	    /* bytes */
	char name[256];	    /* for messages */
};

/* Open a regular file for reading.  @what: "kernel" or "initrd", leads the
 * message.  Return: 0 or -errno (EISDIR, ENODATA when empty, EINVAL). */
int image_open(struct image *img, const char *what, const char *path,
	struct error *err);
void image_from_mem(struct image *img, const void *mem, uint64_t size);
void image_close(struct image *img);

/* Read exactly @len bytes at @off.  Return: 0, -ENODATA past the end (nothing
 * read), or the -errno of pread(2). */
int image_read(const struct image *img, uint64_t off, void *dst, uint64_t len);

#endif
