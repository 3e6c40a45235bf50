/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk.c - requests of a block device: parse, check, submit, complete.
 *
 * A request is a 16-byte header and data in readable buffers, then data and a
 * status byte in writable ones, cut into buffers as the driver likes (2.7.4).
 * The header is copied once.  Whenever there is a status byte it is written;
 * a chain without one goes back with length 0.
 *
 * Saved: u64 capacity in sectors, which must be that of the disk at hand.
 * Thread: the device's loop.
 */
#include "virtio/blk.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "virtio/backend/disk.h"
#include "virtio/dev.h"
#include "virtio/iov.h"
#include "vmm/error.h"

#define BLK_QUEUE_SIZE 256u
#define BLK_SEG_MAX    (BLK_QUEUE_SIZE - 2) /* header and status take two */
#define SECTOR	       512u

struct blk {
	struct virtio_dev dev; /* first */
	struct disk *disk;     /* owned */
	uint64_t sectors;
	bool readonly;
	char serial[VIRTIO_BLK_SERIAL_MAX]; /* zero padded */
};

/* In flight.  Freed by its completion, whatever became of the driver. */
struct request {
	struct blk *blk;
	struct virtio_ticket ticket;
	struct disk_request disk;
	struct iovec status; /* the status byte in guest RAM */
	uint32_t read_bytes; /* that guest RAM gets on success */
	struct iovec iov[];  /* disk.iov */
};

/* What was found in a chain. */
struct parsed {
	struct virtio_blk_outhdr header;		      /* host endian */
	struct iovec out[VIRTQ_SIZE_MAX], in[VIRTQ_SIZE_MAX]; /* data only */
	unsigned outs, ins;
	uint64_t out_bytes, in_bytes;
	struct iovec status;
};

static struct blk *blk_of(struct virtio_dev *dev)
{
	return (struct blk *)dev;
}

/* ---- completion ---- */

/* Write the status byte and give the chain back; @len data bytes before it. */
static void finish(struct virtio_dev *dev, struct virtio_ticket ticket,
	const struct iovec *status, uint8_t value, uint32_t len)
{
	if (!virtio_dev_stale(dev, ticket)) {
		*(uint8_t *)status->iov_base = value;
		virtq_mark_written(dev->gm, status, 1, 1);
	}
	virtio_dev_done(dev, ticket, len + 1);
}

static void disk_done(void *opaque, int result)
{
	struct request *req = opaque;
	struct virtio_dev *dev = &req->blk->dev;
	uint32_t len = result == 0 ? req->read_bytes : 0;

	/* The bytes landed even if a reset came, or if the read failed late. */
	if (req->disk.op == DISK_READ)
		virtq_mark_written(
			dev->gm, req->iov, req->disk.iovs, req->read_bytes);
	if (result < 0)
		log_limited(&dev->limit, LOG_WARN, "%s: %s at %llu: %s",
			dev->name,
			req->disk.op == DISK_READ    ? "read"
			: req->disk.op == DISK_WRITE ? "write"
						     : "flush",
			(unsigned long long)req->disk.offset,
			strerror(-result));
	finish(dev, req->ticket, &req->status,
		result == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR, len);
	free(req);
}

/* ---- requests ---- */

/* Return: VIRTIO_BLK_S_OK when disk_done() will answer, else the status. */
static uint8_t submit(struct blk *blk, struct virtio_ticket ticket,
	const struct parsed *p, enum disk_op op)
{
	const struct iovec *iov = op == DISK_READ ? p->in : p->out;
	unsigned count = op == DISK_FLUSH  ? 0
			 : op == DISK_READ ? p->ins
					   : p->outs;
	struct request *req;

	req = malloc(sizeof(*req) + count * sizeof(req->iov[0]));
	if (!req)
		return VIRTIO_BLK_S_IOERR;
	*req = (struct request){
		.blk = blk,
		.ticket = ticket,
		.disk = {.op = op,
			.iov = req->iov,
			.iovs = count,
			.offset = op == DISK_FLUSH ? 0
						   : p->header.sector * SECTOR,
			.done = disk_done,
			.opaque = req},
		.status = p->status,
		.read_bytes = op == DISK_READ ? (uint32_t)p->in_bytes : 0,
	};
	memcpy(req->iov, iov, count * sizeof(req->iov[0]));
	if (disk_submit(blk->disk, &req->disk) == 0)
		return VIRTIO_BLK_S_OK;
	free(req);
	return VIRTIO_BLK_S_IOERR;
}

/* Whole sectors, all of them on the disk?  Subtraction: nothing can wrap. */
static bool range_ok(const struct blk *blk, uint64_t sector, uint64_t bytes)
{
	uint64_t n = bytes / SECTOR;

	return bytes % SECTOR == 0 && bytes > 0 &&
	       bytes <= VIRTIO_BLK_REQUEST_MAX && sector <= blk->sectors &&
	       n <= blk->sectors - sector;
}

static void get_id(
	struct blk *blk, struct virtio_ticket ticket, const struct parsed *p)
{
	size_t n =
		iov_write(p->in, p->ins, 0, blk->serial, sizeof(blk->serial));

	virtq_mark_written(blk->dev.gm, p->in, p->ins, n);
	finish(&blk->dev, ticket, &p->status, VIRTIO_BLK_S_OK, (uint32_t)n);
}

static void dispatch(
	struct blk *blk, struct virtio_ticket ticket, const struct parsed *p)
{
	uint8_t status = VIRTIO_BLK_S_IOERR;

	switch (p->header.type) {
	case VIRTIO_BLK_T_IN:
		if (range_ok(blk, p->header.sector, p->in_bytes))
			status = submit(blk, ticket, p, DISK_READ);
		break;
	case VIRTIO_BLK_T_OUT:
		if (!blk->readonly &&
			range_ok(blk, p->header.sector, p->out_bytes))
			status = submit(blk, ticket, p, DISK_WRITE);
		break;
	case VIRTIO_BLK_T_FLUSH:
		status = submit(blk, ticket, p, DISK_FLUSH);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(blk, ticket, p);
		return;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}
	if (status != VIRTIO_BLK_S_OK)
		finish(&blk->dev, ticket, &p->status, status, 0);
}

/* False: no status byte, so nothing can be answered. */
static bool parse(struct virtq_chain *chain, struct parsed *p)
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

static void blk_request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	struct parsed p;

	if (parse(chain, &p)) {
		dispatch(blk_of(dev), ticket, &p);
		return;
	}
	log_limited(&dev->limit, LOG_WARN,
		"%s: a request without a status byte", dev->name);
	virtio_dev_done(dev, ticket, 0);
}

/* ---- state ---- */

static void blk_save(const struct virtio_dev *dev, struct state_writer *w)
{
	state_put_u64(w, ((const struct blk *)dev)->sectors);
}

static int blk_load(
	struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	uint64_t sectors = state_get_u64(r);

	if (r->error)
		return r->error;
	if (sectors != blk_of(dev)->sectors)
		return state_reject(r, err, "a disk of another size");
	return 0;
}

/* ---- set-up ---- */

static void blk_destroy(struct virtio_dev *dev)
{
	disk_close(blk_of(dev)->disk);
	free(dev);
}

static const struct virtio_dev_ops blk_ops = {
	.kind = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.version = 1,
	.request = blk_request,
	.save = blk_save,
	.load = blk_load,
	.destroy = blk_destroy,
};

static void set_config(struct blk *blk)
{
	struct virtio_blk_config c = {
		.capacity = htole64(blk->sectors),
		.seg_max = htole32(BLK_SEG_MAX),
		.blk_size = htole32(disk_block_bytes(blk->disk)),
		.num_queues = htole16(1),
	};

	virtio_dev_set_config(&blk->dev, 0, &c,
		offsetof(struct virtio_blk_config, max_discard_sectors), false);
}

int virtio_blk_create(const struct virtio_env *env, const char *name,
	const struct virtio_blk_options *opt, struct virtio_dev **ret_dev,
	struct error *err)
{
	static const uint16_t sizes[] = {BLK_QUEUE_SIZE};
	size_t serial = opt->serial ? strlen(opt->serial) : 0;
	uint64_t features = 1ull << VIRTIO_BLK_F_FLUSH |
			    1ull << VIRTIO_BLK_F_SEG_MAX |
			    1ull << VIRTIO_BLK_F_BLK_SIZE;
	struct blk *blk = calloc(1, sizeof(*blk));
	int rc;

	if (!blk)
		rc = error_errno(err, -ENOMEM, "%s", name);
	else if (serial > sizeof(blk->serial))
		rc = error_set(err, -EINVAL,
			"%s: serial \"%s\": longer than %zu bytes (shorten it)",
			name, opt->serial, sizeof(blk->serial));
	else {
		blk->readonly = opt->readonly || disk_readonly(opt->disk);
		if (blk->readonly)
			features |= 1ull << VIRTIO_BLK_F_RO;
		rc = virtio_dev_init(&blk->dev, &blk_ops, env, name, features,
			sizes, 1, err);
	}
	if (rc < 0) {
		disk_close(opt->disk);
		free(blk);
		return rc;
	}
	blk->disk = opt->disk;
	blk->sectors = disk_bytes(blk->disk) / SECTOR;
	if (serial > 0)
		memcpy(blk->serial, opt->serial, serial);
	set_config(blk);
	*ret_dev = &blk->dev;
	return 0;
}
