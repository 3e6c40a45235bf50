/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/image.c - see image.h.  Knows no file format. */
#include "vmm/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/error.h"

int image_open(struct image *img, const char *what, const char *path,
	struct error *err)
{
	struct stat st;
	int fd, code;

	/* O_NONBLOCK: a FIFO must be refused, not waited for. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		code = -errno;
		return error_errno(err, code, "%s %s: open (%s)", what, path,
			code == -EACCES || code == -EPERM
				? "run as a user who may read it"
				: "give the path of a file that is there");
	}
	if (fstat(fd, &st) < 0) {
		code = error_errno(err, -errno, "%s %s: stat", what, path);
		goto fail;
	}
	if (S_ISDIR(st.st_mode)) {
		code = error_set(err, -EISDIR,
			"%s %s: is a directory (name the file in it)", what,
			path);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		code = error_set(err, -EINVAL,
			"%s %s: not a regular file (copy it into one)", what,
			path);
		goto fail;
	}
	if (st.st_size == 0) {
		code = error_set(err, -ENODATA,
			"%s %s: the file is empty (build or copy it again)",
			what, path);
		goto fail;
	}
	*img = (struct image){.fd = fd, .size = (uint64_t)st.st_size};
	snprintf(img->name, sizeof(img->name), "%s %s", what, path);
	return 0;
fail:
	close(fd);
	return code;
}

void image_from_mem(struct image *img, const void *mem, uint64_t size)
{
	*img = (struct image){.fd = -1, .mem = mem, .size = size};
	snprintf(img->name, sizeof(img->name), "image in memory");
}

void image_close(struct image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
	img->mem = NULL;
	img->size = 0;
}

static int read_fd(int fd, uint64_t off, uint8_t *dst, uint64_t len)
{
	while (len > 0) {
		ssize_t n = pread(fd, dst, len, (off_t)off);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return -ENODATA; /* truncated since image_open() */
		dst += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int image_read(const struct image *img, uint64_t off, void *dst, uint64_t len)
{
	if (off > img->size || len > img->size - off)
		return -ENODATA;
	if (len == 0)
		return 0;
	if (img->mem) {
		memcpy(dst, img->mem + off, len);
		return 0;
	}
	return read_fd(img->fd, off, dst, len);
}
