/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/vsock.c - a socket device: its queues, its life and its state.  See
 * vsock_private.h for the rest.
 *
 * Every request ends in the call that brings it, so nothing is ever in flight
 * between two turns of the loop, and a pause has nothing to wait for.
 *
 * Saved: u64 guest CID.  Connections are not: sockets of this host stay here.
 * A guest that was loaded is told by the event of a transport reset, upon which
 * its driver ends them.
 *
 * Thread: the device's loop, but for what vsock.h says.
 */
#include "virtio/vsock.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "virtio/iov.h"
#include "virtio/vsock_private.h"
#include "vmm/error.h"

#define F_STREAM 0 /* VIRTIO_VSOCK_F_STREAM, 5.10.3 */

#define RX_SIZE	   256u
#define TX_SIZE	   256u
#define EVENT_SIZE 64u

#define LINE_MS	  2000u
#define ANSWER_MS 5000u
#define LINGER_MS 8000u /* what Linux gives its own */

/* ---- queues ---- */

static bool ready(struct virtio_dev *dev, unsigned q)
{
	struct vsock *v = vsock_of(dev);

	switch (q) {
	case VSOCK_RX:
		return vsock_has_packet(v);
	case VSOCK_TX:
		return v->refusals < VSOCK_REFUSALS;
	default:
		return v->reset_owed;
	}
}

/* The driver gives a buffer for a packet. */
static void rx_request(
	struct vsock *v, struct virtq_chain *chain, struct virtio_ticket t)
{
	const struct iovec *in = virtq_chain_in(chain);
	uint64_t room = iov_bytes(in, chain->writable);
	uint32_t len;

	if (room < VSOCK_HEADER) {
		log_limited(&v->dev.limit, LOG_WARN,
			"%s: a receive buffer too small for a header",
			v->dev.name);
		virtio_dev_done(&v->dev, t, 0);
		return;
	}
	len = vsock_to_guest(v, in, chain->writable, room);
	if (len == 0) {
		virtio_dev_putback(&v->dev, t);
		return;
	}
	virtq_mark_written(v->dev.gm, in, chain->writable, len);
	virtio_dev_done(&v->dev, t, len);
}

static void event_request(
	struct vsock *v, struct virtq_chain *chain, struct virtio_ticket t)
{
	const struct iovec *in = virtq_chain_in(chain);
	struct virtio_vsock_event e = {
		.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
	size_t len = 0;

	if (iov_bytes(in, chain->writable) >= sizeof(e)) {
		len = iov_write(in, chain->writable, 0, &e, sizeof(e));
		virtq_mark_written(v->dev.gm, in, chain->writable, len);
		v->reset_owed = false;
	}
	virtio_dev_done(&v->dev, t, (uint32_t)len);
}

static bool polled(const struct virtio_dev *dev, unsigned q)
{
	return q == VSOCK_TX;
}

static void request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	struct vsock *v = vsock_of(dev);

	switch (ticket.queue) {
	case VSOCK_RX:
		rx_request(v, chain, ticket);
		break;
	case VSOCK_TX:
		vsock_from_guest(v, chain->iov, chain->readable);
		virtio_dev_done(dev, ticket, 0);
		break;
	default:
		event_request(v, chain, ticket);
	}
}

/* ---- life ---- */

static void stop(struct virtio_dev *dev)
{
	struct vsock *v = vsock_of(dev);

	vsock_forget_all(v);
	v->reset_owed = false;
}

static void resume(struct virtio_dev *dev)
{
	struct vsock *v = vsock_of(dev);

	if (!v->settled)
		vsock_host_settle(v, true);
	/* The guest hears of the end of the old before anything new: a bottom
	 * half is ahead of the kicks.  Not here and now, because after a switch
	 * to postcopy its RAM comes when the resume is over. */
	if (v->reset_owed)
		virtio_dev_run(dev, VSOCK_EVENT);
}

static void save(const struct virtio_dev *dev, struct state_writer *w)
{
	state_put_u64(w, ((const struct vsock *)dev)->cid);
}

static int load(
	struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	uint64_t cid = state_get_u64(r);

	if (r->error)
		return r->error;
	if (cid != vsock_of(dev)->cid)
		return state_reject(r, err, "another CID");
	return 0;
}

static void loaded(struct virtio_dev *dev)
{
	vsock_of(dev)->reset_owed = dev->active;
}

static void free_all(struct vsock *v)
{
	free(v->bucket);
	free(v);
}

static void destroy(struct virtio_dev *dev)
{
	struct vsock *v = vsock_of(dev);

	vsock_forget_all(v);
	vsock_host_fini(v);
	free_all(v);
}

static const struct virtio_dev_ops vsock_ops = {
	.kind = "virtio-vsock",
	.id = VIRTIO_ID_VSOCK,
	.version = 1,
	.ready = ready,
	.request = request,
	.polled = polled,
	.stop = stop,
	.resume = resume,
	.save = save,
	.load = load,
	.loaded = loaded,
	.destroy = destroy,
};

/* ---- orders from outside ---- */

struct order {
	struct vsock *v;
	bool here;
};

static void settle(void *opaque)
{
	struct order *o = opaque;

	if (o->v->settled != o->here)
		vsock_host_settle(o->v, o->here);
}

void virtio_vsock_settle(struct virtio_dev *dev, bool here)
{
	struct order o = {.v = vsock_of(dev), .here = here};

	while (loop_run_sync(dev->loop, settle, &o, dev->name) < 0)
		sched_yield();
}

/* ---- set-up ---- */

static int check_options(const char *name,
	const struct virtio_vsock_options *opt, struct error *err)
{
	size_t len = strlen(opt->path);

	if (opt->cid < VIRTIO_VSOCK_CID_MIN || opt->cid > VIRTIO_VSOCK_CID_MAX)
		return error_set(err, -EINVAL,
			"%s: a CID of %llu (give %llu to %llu)", name,
			(unsigned long long)opt->cid, VIRTIO_VSOCK_CID_MIN,
			VIRTIO_VSOCK_CID_MAX);
	if (opt->max_conns == 0 || opt->max_conns > VIRTIO_VSOCK_CONNS_MAX)
		return error_set(err, -EINVAL,
			"%s: %u connections (give 1 to %u)", name,
			opt->max_conns, VIRTIO_VSOCK_CONNS_MAX);
	if (len == 0 || len > VIRTIO_VSOCK_PATH_BYTES)
		return error_set(err, -ENAMETOOLONG,
			"%s: socket %.300s: the path has %zu bytes (give 1 to "
			"%u, so that _PORT can follow)",
			name, opt->path, len, VIRTIO_VSOCK_PATH_BYTES);
	return 0;
}

static int64_t ns_of(unsigned ms, unsigned otherwise)
{
	return (int64_t)(ms ? ms : otherwise) * 1000000;
}

int virtio_vsock_create(const struct virtio_env *env, const char *name,
	const struct virtio_vsock_options *opt, struct virtio_dev **ret_dev,
	struct error *err)
{
	static const uint16_t sizes[] = {RX_SIZE, TX_SIZE, EVENT_SIZE};
	struct virtio_vsock_config config = {.guest_cid = htole64(opt->cid)};
	struct vsock *v;
	int rc;

	rc = check_options(name, opt, err);
	if (rc < 0)
		return rc;
	v = calloc(1, sizeof(*v));
	if (!v)
		return error_errno(err, -ENOMEM, "%s", name);
	/* This clears the part that it has of *v. */
	rc = virtio_dev_init(&v->dev, &vsock_ops, env, name, 1ull << F_STREAM,
		sizes, 3, err);
	if (rc < 0) {
		free(v);
		return rc;
	}
	v->cid = opt->cid;
	v->conns_max = opt->max_conns;
	v->line_ns = ns_of(opt->line_ms, LINE_MS);
	v->answer_ns = ns_of(opt->answer_ms, ANSWER_MS);
	v->linger_ns = ns_of(opt->linger_ms, LINGER_MS);
	strcpy(v->path, opt->path);
	virtio_dev_set_config(&v->dev, 0, &config, sizeof(config), false);
	vsock_host_init(v);
	rc = vsock_table_init(v);
	if (rc < 0)
		error_errno(err, rc, "%s", name);
	else if (!opt->incoming)
		rc = vsock_host_listen(v, err);
	if (rc < 0) {
		virtio_dev_fini(&v->dev);
		free_all(v);
		return rc;
	}
	*ret_dev = &v->dev;
	return 0;
}
