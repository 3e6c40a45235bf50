/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk.c - see disk.h; the files are listed in disk_private.h.
 *
 * O_DIRECT wants memory, offset and length aligned.  A request that is not goes
 * through a bounce buffer, and a write that covers parts of blocks reads them
 * first.  Such a read-modify-write excludes all other writes, or it would put
 * old bytes over a neighbour's new ones.  Who may not start yet waits in a
 * queue here, not on a worker.
 */
#include "virtio/backend/disk_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop/loop.h"
#include "virtio/iov.h"
#include "vmm/error.h"

/* What a request excludes. */
enum { GATE_NONE, GATE_SHARED, GATE_ALONE };

static void append(struct disk_list *list, struct disk_request *req)
{
	req->next = NULL;
	if (list->head)
		list->tail->next = req;
	else
		list->head = req;
	list->tail = req;
}

static struct disk_request *take_first(struct disk_list *list)
{
	struct disk_request *req = list->head;

	if (req)
		list->head = req->next;
	return req;
}

/* ---- who may run beside whom ---- */

static uint8_t gate_of(const struct disk *disk, const struct disk_request *req)
{
	if (!disk->direct || req->op == DISK_READ || req->op == DISK_FLUSH)
		return GATE_NONE;
	return (req->offset | req->bytes) % disk->align == 0 ? GATE_SHARED
							     : GATE_ALONE;
}

static bool gate_open(const struct disk *disk, uint8_t gate)
{
	return gate == GATE_NONE ||
	       (!disk->alone && (gate == GATE_SHARED || disk->sharing == 0));
}

static void gate_enter(struct disk *disk, uint8_t gate)
{
	if (gate == GATE_SHARED)
		disk->sharing++;
	else if (gate == GATE_ALONE)
		disk->alone = true;
}

static void gate_leave(struct disk *disk, uint8_t gate)
{
	if (gate == GATE_SHARED)
		disk->sharing--;
	else if (gate == GATE_ALONE)
		disk->alone = false;
}

/* ---- begin ---- */

bool disk_takes(const struct disk *disk, const struct iovec *iov, unsigned iovs,
	uint64_t offset)
{
	uint64_t bits = offset;
	uintptr_t mem = 0;
	unsigned i;

	if (!disk->direct)
		return true;
	for (i = 0; i < iovs; i++) {
		bits |= iov[i].iov_len;
		mem |= (uintptr_t)iov[i].iov_base;
	}
	return bits % disk->align == 0 && mem % disk->mem_align == 0;
}

/* Can the ring do it, or only a worker? */
static bool for_ring(const struct disk_request *req)
{
	switch (req->op) {
	case DISK_DISCARD:
		return !req->disk->block_device;
	case DISK_ZERO:
		return req->mode != 0 && !req->sync;
	default:
		return !req->bounce;
	}
}

/* The gate is open. */
static int start(struct disk_request *req)
{
	struct disk *disk = req->disk;
	int err;

	gate_enter(disk, req->gate);
	if (for_ring(req) && disk->engine != DISK_POOL &&
		disk_uring_begin(req)) {
		disk->stats.uring++;
		return 0;
	}
	err = disk_pool_begin(req);
	if (err == 0)
		disk->stats.pool++;
	else
		gate_leave(disk, req->gate);
	return err;
}

static void start_waiting(struct disk *disk)
{
	struct disk_request *req;
	int err;

	while (disk->waiting.head &&
		gate_open(disk, disk->waiting.head->gate)) {
		req = take_first(&disk->waiting);
		err = start(req);
		if (err < 0) {
			req->gate = GATE_NONE;
			disk_request_over_later(req, err);
		}
	}
}

/* Check @req and fill in what is private. */
static int prepare(struct disk *disk, struct disk_request *req)
{
	bool trim = req->op == DISK_DISCARD || req->op == DISK_ZERO;
	uint64_t len = trim ? req->range : iov_bytes(req->iov, req->iovs);

	if (len > disk->bytes || req->offset > disk->bytes - len)
		return -EINVAL;
	if (disk->readonly && (req->op == DISK_WRITE || trim))
		return -EROFS;
	if (req->op == DISK_DISCARD && !disk->can_discard)
		return -EOPNOTSUPP;
	req->disk = disk;
	req->bytes = len;
	req->transferred = 0;
	req->covers = disk->written;
	req->mode = 0;
	req->gate = gate_of(disk, req);
	req->bounce = (req->op == DISK_READ || req->op == DISK_WRITE) &&
		      !disk_takes(disk, req->iov, req->iovs, req->offset);
	req->sync = disk->writethrough &&
		    (req->op == DISK_WRITE || req->op == DISK_ZERO);
	return 0;
}

/* Is there nothing to be done? */
static bool nothing(struct disk_request *req)
{
	switch (req->op) {
	case DISK_FLUSH:
		return req->disk->cache == DISK_UNSAFE;
	case DISK_DISCARD:
	case DISK_ZERO:
		return !disk_trim_plan(req);
	default:
		return req->bytes == 0;
	}
}

int disk_submit(struct disk *disk, struct disk_request *req)
{
	int err = prepare(disk, req);

	if (err < 0)
		return err;
	if (nothing(req)) {
		req->gate = GATE_NONE;
		disk_request_over_later(req, 0);
	} else if (req->gate != GATE_NONE &&
		   (disk->waiting.head || !gate_open(disk, req->gate))) {
		append(&disk->waiting, req);
	} else {
		err = start(req);
	}
	if (err == 0) {
		disk->inflight++;
		disk->stats.merged += req->parts > 1 ? req->parts - 1 : 0;
	}
	return err;
}

/* ---- end ---- */

static void note_change(
	struct disk *disk, const struct disk_request *req, int result)
{
	switch (req->op) {
	case DISK_READ:
		break;
	case DISK_FLUSH:
		if (result == 0 && req->covers > disk->stable)
			disk->stable = req->covers;
		break;
	default:
		disk->written += req->sync && result == 0 ? 0 : 1;
	}
}

void disk_request_over(struct disk_request *req, int result)
{
	struct disk *disk = req->disk;

	note_change(disk, req, result);
	gate_leave(disk, req->gate);
	start_waiting(disk);
	disk->inflight--;
	req->done(req->opaque, result); /* may even close the disk */
}

void disk_request_over_later(struct disk_request *req, int result)
{
	struct disk *disk = req->disk;

	req->result = result;
	append(&disk->ended, req);
	loop_bh_schedule(disk->end_bh);
}

/* One a call, for done may poll, or close the disk. */
static void tell_ended(void *opaque)
{
	struct disk *disk = opaque;
	struct disk_request *req = take_first(&disk->ended);

	if (disk->ended.head)
		loop_bh_schedule(disk->end_bh);
	if (req)
		disk_request_over(req, req->result);
}

void disk_drain(struct disk *disk)
{
	while (disk->inflight > 0)
		loop_poll(disk->loop, true);
}

/* ---- life ---- */

static void destroy(struct disk *disk)
{
	loop_bh_delete(disk->end_bh);
	if (disk->fd >= 0)
		close(disk->fd);
	free(disk->path);
	free(disk);
}

static int check_engine(const struct disk *disk, struct error *err)
{
	if (disk->engine != DISK_URING || loop_uring_available(disk->loop))
		return 0;
	return error_set(err, -ENOSYS,
		"%s: engine io_uring: the loop has no ring (use the loop's "
		"io_uring back end, or another engine)",
		disk->name);
}

int disk_open(struct loop *loop, struct pool *pool,
	const struct disk_options *opt, struct disk **ret_disk,
	struct error *err)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	int rc;

	if (!disk) {
		if (opt->fd >= 0)
			close(opt->fd);
		return error_errno(err, -ENOMEM, "%s", opt->name);
	}
	disk->loop = loop;
	disk->pool = pool;
	disk->written = 1;
	rc = disk_open_image(disk, opt, err);
	if (rc == 0)
		rc = check_engine(disk, err);
	if (rc == 0) {
		rc = loop_bh_create(loop, tell_ended, disk, "disk end", NULL,
			&disk->end_bh);
		if (rc < 0)
			error_errno(err, rc, "%s", disk->name);
	}
	if (rc < 0) {
		destroy(disk);
		return rc;
	}
	*ret_disk = disk;
	return 0;
}

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	disk_drain(disk);
	destroy(disk);
}

uint64_t disk_bytes(const struct disk *disk)
{
	return disk->bytes;
}

bool disk_can_discard(const struct disk *disk)
{
	return disk->can_discard;
}

bool disk_readonly(const struct disk *disk)
{
	return disk->readonly;
}

uint32_t disk_block_bytes(const struct disk *disk)
{
	return disk->align > DISK_SECTOR ? disk->align : DISK_SECTOR;
}

void disk_stats(const struct disk *disk, struct disk_stats *ret_stats)
{
	*ret_stats = disk->stats;
}
