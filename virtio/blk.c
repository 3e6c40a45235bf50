/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk.c - requests of a block device: parse, check, answer.
 *
 * A request is a 16-byte header and data in readable buffers, then data and a
 * status byte in writable ones, cut into buffers as the driver likes (2.7.4).
 * The header is copied once.  Whenever there is a status byte it is written;
 * a chain without one goes back with length 0.
 *
 * Thread: the device's loop.
 */
#include "virtio/blk.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/blk_private.h"
#include "virtio/iov.h"
#include "vmm/error.h"

/* ---- answers ---- */

void blk_finish(struct blk *blk, struct virtio_ticket ticket,
	const struct iovec *status, uint8_t value, uint32_t len)
{
	struct virtio_dev *dev = &blk->dev;

	if (!virtio_dev_stale(dev, ticket)) {
		*(uint8_t *)status->iov_base = value;
		virtq_mark_written(dev->gm, status, 1, 1);
	}
	if (value != VIRTIO_BLK_S_OK)
		blk->stats.errors++;
	virtio_dev_done(dev, ticket, len + 1);
}

static const char *op_name(enum disk_op op)
{
	static const char *const names[] = {
		[DISK_READ] = "read",
		[DISK_WRITE] = "write",
		[DISK_FLUSH] = "flush",
		[DISK_DISCARD] = "discard",
		[DISK_ZERO] = "write zeroes",
	};

	return names[op];
}

/* No room for it now, but perhaps later? */
static bool hold(struct blk *blk, struct virtio_ticket ticket, int result)
{
	if ((result != -ENOSPC && result != -EDQUOT) || !blk->full ||
		virtio_dev_stale(&blk->dev, ticket) ||
		virtio_dev_hold(&blk->dev, ticket) < 0)
		return false;
	blk->stats.held++;
	blk->full(blk->full_opaque);
	return true;
}

void blk_finish_result(struct blk *blk, struct virtio_ticket ticket,
	const struct iovec *status, const struct disk_request *req, int result,
	uint32_t len)
{
	if (result < 0)
		log_limited(&blk->dev.limit, LOG_WARN, "%s: %s at %llu: %s",
			blk->dev.name, op_name(req->op),
			(unsigned long long)req->offset, strerror(-result));
	if (result < 0 && hold(blk, ticket, result))
		return;
	blk_finish(blk, ticket, status,
		result == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR,
		result == 0 ? len : 0);
}

/* ---- requests ---- */

/* Subtraction: nothing can wrap. */
bool blk_range_ok(const struct blk *blk, uint64_t sector, uint64_t n)
{
	return sector <= blk->sectors && n <= blk->sectors - sector;
}

/* Whole sectors, all of them on the disk? */
static bool bytes_ok(const struct blk *blk, uint64_t sector, uint64_t bytes)
{
	return bytes % BLK_SECTOR == 0 && bytes > 0 &&
	       bytes <= VIRTIO_BLK_REQUEST_MAX &&
	       blk_range_ok(blk, sector, bytes / BLK_SECTOR);
}

static void get_id(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p)
{
	size_t n =
		iov_write(p->in, p->ins, 0, blk->serial, sizeof(blk->serial));

	virtq_mark_written(blk->dev.gm, p->in, p->ins, n);
	blk_finish(blk, ticket, &p->status, VIRTIO_BLK_S_OK, (uint32_t)n);
}

static uint8_t trim(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p, enum disk_op op)
{
	unsigned bit = op == DISK_DISCARD ? VIRTIO_BLK_F_DISCARD
					  : VIRTIO_BLK_F_WRITE_ZEROES;

	if (!(blk->dev.features >> bit & 1))
		return VIRTIO_BLK_S_UNSUPP;
	blk->stats.trims++;
	return blk_trim(blk, ticket, p, op);
}

static void dispatch(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p)
{
	uint8_t status = VIRTIO_BLK_S_IOERR;

	switch (p->header.type) {
	case VIRTIO_BLK_T_IN:
		blk->stats.reads++;
		if (bytes_ok(blk, p->header.sector, p->in_bytes))
			status = blk_transfer(blk, ticket, p, DISK_READ);
		break;
	case VIRTIO_BLK_T_OUT:
		blk->stats.writes++;
		if (!blk->readonly &&
			bytes_ok(blk, p->header.sector, p->out_bytes))
			status = blk_transfer(blk, ticket, p, DISK_WRITE);
		break;
	case VIRTIO_BLK_T_FLUSH:
		blk->stats.flushes++;
		status = blk_transfer(blk, ticket, p, DISK_FLUSH);
		break;
	case VIRTIO_BLK_T_DISCARD:
		status = trim(blk, ticket, p, DISK_DISCARD);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		status = trim(blk, ticket, p, DISK_ZERO);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(blk, ticket, p);
		return;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}
	if (status != VIRTIO_BLK_S_OK)
		blk_finish(blk, ticket, &p->status, status, 0);
}

/* False: no status byte, so nothing can be answered. */
static bool parse(struct virtq_chain *chain, struct blk_parsed *p)
{
	const struct iovec *in = virtq_chain_in(chain);
	uint64_t bytes = iov_bytes(in, chain->writable);
	struct virtio_blk_outhdr h;

	if (bytes == 0)
		return false;
	p->in_bytes = bytes - 1;
	p->ins = iov_slice(
		in, chain->writable, 0, p->in_bytes, p->in, VIRTQ_SIZE_MAX);
	iov_slice(in, chain->writable, p->in_bytes, 1, &p->status, 1);
	/* A header cut short is like one of an unknown type. */
	p->header = (struct virtio_blk_outhdr){.type = UINT32_MAX};
	p->outs = 0;
	p->out_bytes = 0;
	if (iov_read(chain->iov, chain->readable, 0, &h, sizeof(h)) < sizeof(h))
		return true;
	p->header.type = le32toh(h.type);
	p->header.sector = le64toh(h.sector);
	p->out_bytes = iov_bytes(chain->iov, chain->readable) - sizeof(h);
	p->outs = iov_slice(chain->iov, chain->readable, sizeof(h),
		p->out_bytes, p->out, VIRTQ_SIZE_MAX);
	return true;
}

static bool blk_ready(struct virtio_dev *dev, unsigned q)
{
	const struct blk *blk = blk_of(dev);

	return !blk->frozen && blk_throttle_ready(blk, q);
}

static void blk_request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	struct blk *blk = blk_of(dev);
	struct blk_parsed p;

	if (!parse(chain, &p)) {
		log_limited(&dev->limit, LOG_WARN,
			"%s: a request without a status byte", dev->name);
		virtio_dev_done(dev, ticket, 0);
		return;
	}
	/* What was held has paid before. */
	if (!dev->releasing && blk_throttle(blk, ticket, &p))
		virtio_dev_putback(dev, ticket);
	else
		dispatch(blk, ticket, &p);
}

static bool blk_polled(const struct virtio_dev *dev, unsigned q)
{
	return true;
}

static void blk_served(struct virtio_dev *dev, unsigned q)
{
	blk_batch_end(blk_of(dev));
}

static void blk_stop(struct virtio_dev *dev)
{
	struct blk *blk = blk_of(dev);

	atomic_store(&blk->wce, disk_cache(blk->disk) != DISK_WRITETHROUGH);
	blk_throttle_reset(blk);
	blk_set_config(blk);
}

/* ---- set-up ---- */

static void blk_destroy(struct virtio_dev *dev)
{
	struct blk *blk = blk_of(dev);

	blk_throttle_fini(blk);
	disk_close(blk->disk);
	free(blk);
}

static const struct virtio_dev_ops blk_ops = {
	.kind = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.version = 1,
	.ready = blk_ready,
	.request = blk_request,
	.polled = blk_polled,
	.served = blk_served,
	.stop = blk_stop,
	.write_config = blk_write_config,
	.save = blk_save,
	.load = blk_load,
	.load_sub = blk_load_sub,
	.loaded = blk_loaded,
	.destroy = blk_destroy,
};

static int init(struct blk *blk, const struct virtio_env *env, const char *name,
	const struct virtio_blk_options *opt, struct error *err)
{
	unsigned queues = opt->queues ? opt->queues : 1, i;
	size_t serial = opt->serial ? strlen(opt->serial) : 0;
	uint16_t sizes[VIRTIO_BLK_QUEUES_MAX];
	int rc;

	if (serial > sizeof(blk->serial))
		return error_set(err, -EINVAL,
			"%s: serial \"%s\": longer than %zu bytes (shorten it)",
			name, opt->serial, sizeof(blk->serial));
	if (queues > VIRTIO_BLK_QUEUES_MAX)
		return error_set(err, -EINVAL,
			"%s: %u queues (give at most %u)", name, queues,
			VIRTIO_BLK_QUEUES_MAX);
	for (i = 0; i < queues; i++)
		sizes[i] = BLK_QUEUE_SIZE;
	/* Before the features, which follow from it; init clears blk->dev. */
	blk->disk = opt->disk;
	blk->readonly = opt->readonly || disk_readonly(opt->disk);
	blk->limits = opt->limits;
	blk->full = opt->full;
	blk->full_opaque = opt->full_opaque;
	if (serial > 0)
		memcpy(blk->serial, opt->serial, serial);
	rc = virtio_dev_init(&blk->dev, &blk_ops, env, name,
		blk_features(blk, queues, !opt->no_discard), sizes, queues,
		err);
	if (rc < 0)
		return rc;
	rc = blk_throttle_init(blk);
	if (rc < 0) {
		virtio_dev_fini(&blk->dev);
		return error_errno(err, rc, "%s", name);
	}
	return 0;
}

int virtio_blk_create(const struct virtio_env *env, const char *name,
	const struct virtio_blk_options *opt, struct virtio_dev **ret_dev,
	struct error *err)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	int rc;

	if (!blk)
		rc = error_errno(err, -ENOMEM, "%s", name);
	else
		rc = init(blk, env, name, opt, err);
	if (rc < 0) {
		disk_close(opt->disk);
		free(blk);
		return rc;
	}
	blk->sectors = disk_bytes(blk->disk) / BLK_SECTOR;
	blk_stop(&blk->dev); /* the state after a reset */
	*ret_dev = &blk->dev;
	return 0;
}
