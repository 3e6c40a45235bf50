/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk_change.c - what changes in the life of a disk: who has
 * the lock, how large the image is, how writes are done.
 */
#include "virtio/backend/disk_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/log.h"

/* ---- lock ---- */

/* The lock belongs to the open file, so that it also keeps another disk of
 * this process away, and it ends with it, however we die. */
int disk_lock(struct disk *disk, struct error *err)
{
	struct flock l = {.l_type = disk->readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET};

	if (fcntl(disk->fd, F_OFD_SETLK, &l) < 0) {
		if (errno == EAGAIN || errno == EACCES)
			return error_set(err, -EBUSY,
				"%s: lock %s: in use by another disk or "
				"program (stop that, or let all of them use "
				",ro)",
				disk->name, disk->path);
		log_warn("%s: lock %s: %s (nothing keeps a second writer away)",
			disk->name, disk->path, strerror(errno));
	}
	/* Pages read while somebody else wrote elsewhere are old. */
	if (disk->foreign && !disk->direct)
		posix_fadvise(disk->fd, 0, 0, POSIX_FADV_DONTNEED);
	disk->foreign = false;
	return 0;
}

void disk_unlock(struct disk *disk)
{
	struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	int rc = 0;

	if (disk->foreign)
		return;
	if (!disk->readonly && disk->cache != DISK_UNSAFE &&
		disk->stable < disk->written)
		rc = disk_fdatasync(disk);
	if (rc == 0)
		disk->stable = disk->written;
	if (rc < 0)
		log_warn("%s: flush %s before it is given up: %s", disk->name,
			disk->path, strerror(-rc));
	/* What cannot be unlocked was not locked. */
	if (fcntl(disk->fd, F_OFD_SETLK, &l) < 0)
		log_debug("%s: unlock %s: %s", disk->name, disk->path,
			strerror(errno));
	disk->foreign = true;
}

/* ---- size ---- */

static int refuse_size(
	const struct disk *disk, uint64_t bytes, struct error *err)
{
	if (disk->block_device)
		return error_set(err, -ENOTBLK,
			"%s: resize %s: a block device has the size that it "
			"has (change it there, then resize without a size)",
			disk->name, disk->path);
	if (disk->readonly)
		return error_set(err, -EROFS, "%s: resize %s: it is read-only",
			disk->name, disk->path);
	if (bytes % disk_block_bytes(disk) != 0 || bytes > INT64_MAX)
		return error_set(err, -EINVAL,
			"%s: resize %s: %" PRIu64 " bytes (give a multiple of "
			"%u)",
			disk->name, disk->path, bytes, disk_block_bytes(disk));
	return 0;
}

static int set_size(
	struct disk *disk, uint64_t bytes, bool shrink, struct error *err)
{
	uint64_t was = disk->bytes;
	int rc = refuse_size(disk, bytes, err);

	if (rc < 0)
		return rc;
	if (bytes < was && !shrink)
		return error_set(err, -EPERM,
			"%s: resize %s: %" PRIu64 " bytes would cut off what "
			"is behind them (say so: shrink)",
			disk->name, disk->path, bytes);
	if (bytes < was) {
		disk->bytes = bytes; /* nothing new goes beyond */
		disk_drain(disk);
	}
	if (ftruncate(disk->fd, (off_t)bytes) == 0)
		return 0;
	rc = -errno;
	disk->bytes = was;
	return error_errno(err, rc, "%s: resize %s", disk->name, disk->path);
}

int disk_resize(
	struct disk *disk, uint64_t bytes, bool shrink, struct error *err)
{
	uint64_t now;
	int rc = 0;

	if (bytes > 0)
		rc = set_size(disk, bytes, shrink, err);
	if (rc == 0)
		rc = disk_measure(disk, &now, err);
	if (rc == 0)
		disk->bytes = now;
	return rc;
}

/* ---- cache ---- */

void disk_set_writethrough(struct disk *disk, bool on)
{
	disk->writethrough = on && disk->cache != DISK_UNSAFE;
}

enum disk_cache disk_cache(const struct disk *disk)
{
	return disk->cache;
}
