/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk_trim.c - discards and zeroes.
 *
 * Files: fallocate(2), which punches holes or marks ranges as zero.  Block
 * devices: BLKDISCARD for discards, as fallocate() would have to give zeroes,
 * which many devices do not promise; fallocate() for zeroes, where the kernel
 * picks what the device has.  Zeroes that the host cannot make out of nothing
 * are written.
 *
 * Threads: as disk_private.h says.
 */
#include "virtio/backend/disk_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PUNCH	    (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO	    (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
#define PROBE_BYTES 4096u

/* A partition has no queue of its own: it lies in its device's folder. */
static bool device_discards(const struct disk *disk)
{
	static const char *const at[] = {"", "../"};
	unsigned long long most = 0;
	struct stat st;
	char path[96];
	unsigned i;
	FILE *f;

	if (fstat(disk->fd, &st) < 0)
		return false;
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path),
			"/sys/dev/block/%u:%u/%squeue/discard_max_bytes",
			major(st.st_rdev), minor(st.st_rdev), at[i]);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &most) != 1)
			most = 0;
		fclose(f);
		return most > 0;
	}
	return false;
}

/* A hole where there is nothing: behind the end, which stays where it is. */
bool disk_probe_discard(const struct disk *disk)
{
	uint64_t end = disk->bytes / PROBE_BYTES * PROBE_BYTES;

	if (disk->readonly)
		return false;
	if (disk->block_device)
		return device_discards(disk);
	return fallocate(disk->fd, PUNCH, (off_t)(end + 2 * PROBE_BYTES),
		       PROBE_BYTES) == 0;
}

bool disk_trim_plan(struct disk_request *req)
{
	const struct disk *disk = req->disk;
	uint64_t mask = disk_block_bytes(disk) - 1;
	uint64_t end = req->offset + req->bytes;

	if (req->op == DISK_ZERO) {
		req->mode = req->unmap && disk->can_discard ? PUNCH
			    : disk->no_zero_range	    ? 0
							    : ZERO;
		return req->bytes > 0;
	}
	req->mode = PUNCH;
	if (disk->block_device) {
		/* Whole blocks only; the rest of a hint may go unheard. */
		end &= ~mask;
		req->offset = (req->offset + mask) & ~mask;
		req->bytes = end > req->offset ? end - req->offset : 0;
	}
	return req->bytes > 0;
}

static int discard(const struct disk_request *req)
{
	uint64_t range[2] = {req->offset, req->bytes};
	int rc;

	do
		rc = req->disk->block_device
			     ? ioctl(req->disk->fd, BLKDISCARD, range)
			     : fallocate(req->disk->fd, PUNCH,
				       (off_t)req->offset, (off_t)req->bytes);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int zero(const struct disk_request *req)
{
	int rc;

	if (req->mode == 0)
		return disk_write_zeroes(req);
	do
		rc = fallocate(req->disk->fd, req->mode, (off_t)req->offset,
			(off_t)req->bytes);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	/* EINVAL: a block device, and not its blocks. */
	return errno == EOPNOTSUPP || errno == EINVAL ? disk_write_zeroes(req)
						      : -errno;
}

int disk_trim_work(const struct disk_request *req)
{
	return req->op == DISK_ZERO ? zero(req) : discard(req);
}
