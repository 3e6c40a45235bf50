/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk_open.c - open an image, see what it is.
 *
 * Thread: any; nobody else knows the disk yet.
 */
#include "virtio/backend/disk_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/log.h"

static const char *open_remedy(const struct disk *disk, int err)
{
	switch (err) {
	case -ENOENT:
	case -ENOTDIR:
		return " (give an existing image, or make one: "
		       "truncate -s 1G FILE)";
	case -EACCES:
	case -EPERM:
		return disk->readonly ? " (read permission is needed)"
				      : " (run as its owner, or add ,ro)";
	case -EROFS:
	case -ETXTBSY:
		return " (add ,ro)";
	case -EISDIR:
		return " (give an image file or a block device)";
	case -EBADF:
		return " (have the caller pass the fd on, or give path=)";
	case -EMFILE:
	case -ENFILE:
		return " (raise the limit: ulimit -n)";
	case -EINVAL:
		return disk->direct ? " (no O_DIRECT there: drop ,direct)" : "";
	default:
		return "";
	}
}

static int open_fail(const struct disk *disk, int code, struct error *err)
{
	char why[128];

	return error_set(err, code, "%s: open %s: %s%s", disk->name, disk->path,
		strerror_r(-code, why, sizeof(why)), open_remedy(disk, code));
}

static int open_fd(struct disk *disk, int fd, struct error *err)
{
	int flags = disk->readonly ? O_RDONLY : O_RDWR, have;

	disk->fd = fd;
	if (fd < 0) {
		/* Without O_NONBLOCK a fifo would keep us here for ever. */
		disk->fd = open(
			disk->path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
					    (disk->direct ? O_DIRECT : 0));
		return disk->fd < 0 ? open_fail(disk, -errno, err) : 0;
	}
	have = fcntl(fd, F_GETFL);
	if (have < 0)
		return open_fail(disk, -errno, err);
	if ((have & O_ACCMODE) != O_RDWR && (have & O_ACCMODE) != flags)
		return open_fail(disk, -EACCES, err);
	if (disk->direct && fcntl(fd, F_SETFL, have | O_DIRECT) < 0)
		return open_fail(disk, -errno, err);
	return 0;
}

static bool power_of_two(uint32_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* What the kernel says about O_DIRECT here; false: nothing. */
static bool told_alignment(struct disk *disk)
{
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) < 0 ||
		!(sx.stx_mask & STATX_DIOALIGN))
		return false;
	disk->align = sx.stx_dio_offset_align;
	disk->mem_align = sx.stx_dio_mem_align;
	return true;
#else
	return false;
#endif
}

static int ask_alignment(
	struct disk *disk, const struct stat *st, struct error *err)
{
	int sector;

	disk->align = disk->mem_align = 1;
	if (!disk->direct)
		return 0;
	if (!told_alignment(disk)) {
		disk->align = disk->mem_align =
			DISK_BLOCK_MAX; /* never too small */
		if (S_ISBLK(st->st_mode) &&
			ioctl(disk->fd, BLKSSZGET, &sector) == 0)
			disk->align = disk->mem_align = (uint32_t)sector;
	}
	if (!power_of_two(disk->align) || disk->align > DISK_BLOCK_MAX ||
		!power_of_two(disk->mem_align) ||
		disk->mem_align > DISK_BLOCK_MAX)
		return open_fail(disk, -EINVAL, err);
	return 0;
}

static int image_bytes(
	const struct disk *disk, uint64_t *ret_bytes, struct error *err)
{
	struct stat st;

	if (fstat(disk->fd, &st) < 0)
		return open_fail(disk, -errno, err);
	*ret_bytes = (uint64_t)st.st_size;
	if (disk->block_device && ioctl(disk->fd, BLKGETSIZE64, ret_bytes) < 0)
		return error_errno(
			err, -errno, "%s: size of %s", disk->name, disk->path);
	return 0;
}

int disk_measure(
	const struct disk *disk, uint64_t *ret_bytes, struct error *err)
{
	uint32_t block = disk_block_bytes(disk);
	uint64_t bytes, rest;
	int rc = image_bytes(disk, &bytes, err);

	if (rc < 0)
		return rc;
	if (bytes == 0)
		return error_set(err, -ENODATA,
			"%s: open %s: is empty (give it a size: truncate -s "
			"1G FILE)",
			disk->name, disk->path);
	if (bytes < DISK_SECTOR)
		return error_set(err, -ENODATA,
			"%s: open %s: is smaller than a sector of %u bytes "
			"(give it a size: truncate -s 1G FILE)",
			disk->name, disk->path, DISK_SECTOR);
	rest = bytes % block;
	if (rest != 0 && disk->direct)
		return error_set(err, -EINVAL,
			"%s: open %s: size %" PRIu64 " is not a multiple of "
			"%u bytes, as O_DIRECT needs (truncate -s %%%u FILE, "
			"or drop ,direct)",
			disk->name, disk->path, bytes, block, block);
	if (rest != 0)
		log_warn("%s: %s: the last %u bytes are no whole sector and "
			 "stay unused",
			disk->name, disk->path, (unsigned)rest);
	*ret_bytes = bytes - rest;
	return 0;
}

static int check_kind(
	struct disk *disk, const struct stat *st, struct error *err)
{
	if (S_ISDIR(st->st_mode))
		return open_fail(disk, -EISDIR, err);
	disk->block_device = S_ISBLK(st->st_mode);
	if (!S_ISREG(st->st_mode) && !disk->block_device)
		return error_set(err, -ENOTBLK,
			"%s: open %s: neither a file nor a block device (give "
			"one of these)",
			disk->name, disk->path);
	return 0;
}

/* Needed to open, or given with an fd; but a ring takes it for a wish to have
 * EAGAIN where a file can only sleep. */
static void make_blocking(const struct disk *disk)
{
	int flags = fcntl(disk->fd, F_GETFL);

	if (flags >= 0 && flags & O_NONBLOCK)
		fcntl(disk->fd, F_SETFL, flags & ~O_NONBLOCK);
}

int disk_open_image(
	struct disk *disk, const struct disk_options *opt, struct error *err)
{
	char fd_name[16];
	struct stat st;
	int rc;

	disk->fd = opt->fd;
	snprintf(fd_name, sizeof(fd_name), "fd %d", opt->fd);
	snprintf(disk->name, sizeof(disk->name), "%s", opt->name);
	disk->path = strdup(opt->path ? opt->path : fd_name);
	if (!disk->path)
		return error_errno(err, -ENOMEM, "%s", opt->name);
	disk->readonly = opt->readonly;
	disk->direct = opt->direct;
	disk->cache = opt->cache;
	disk->writethrough = opt->cache == DISK_WRITETHROUGH;
	disk->engine = opt->engine;
	rc = open_fd(disk, opt->fd, err);
	if (rc == 0 && fstat(disk->fd, &st) < 0)
		rc = open_fail(disk, -errno, err);
	if (rc == 0)
		rc = check_kind(disk, &st, err);
	if (rc == 0)
		rc = ask_alignment(disk, &st, err);
	if (rc == 0)
		rc = disk_measure(disk, &disk->bytes, err);
	if (rc == 0 && !opt->unlocked)
		rc = disk_lock(disk, err);
	if (rc < 0)
		return rc;
	disk->foreign = opt->unlocked;
	make_blocking(disk);
	disk->can_discard = disk_probe_discard(disk);
	return 0;
}
