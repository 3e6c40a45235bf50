/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_vsock.c - a hostile driver and hostile clients on a socket
 * device whose host is this process.
 *
 * A script: start with features, packets of any header with data, chains of any
 * shape, bytes into RAM, buffers for packets, clients that say what the script
 * says, a socket that the guest can reach, moves, resets.
 *
 * Whatever happens, no connection is sent more than its guest allowed, and at
 * the end nothing is left.
 */
#include <assert.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "migrate/state.h"
#include "tests/fuzz/script.h"
#include "tests/lib/vdriver.h"
#include "virtio/vsock_private.h"
#include "vmm/error.h"
#include "vmm/log.h"

#define RAM	0x20000u /* that scripts place and find zeroed */
#define STEPS	200u
#define CLIENTS 8u
#define CONNS	6u
#define PORT	7u /* of the socket that the guest can reach */
#define CID	5u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The host: our clients, and what came for PORT. */
static struct host {
	char folder[40], path[64];
	struct unix_listener listener;
	int fd[CLIENTS]; /* -1: none */
} host;

static void remove_folder(void)
{
	unix_unlisten(&host.listener);
	unlink(host.path);
	rmdir(host.folder);
}

static struct vbench *bench(void)
{
	static struct vbench b;
	struct virtio_vsock_options opt = {
		.path = host.path, .cid = CID, .max_conns = CONNS};
	char at[80];
	struct virtio_dev *dev;
	struct virtio_env env;
	struct error err;
	unsigned i;

	if (b.loop)
		return &b;
	log_set_level(LOG_ERROR);
	strcpy(host.folder, "/tmp/godwit-fuzz-XXXXXX");
	if (!mkdtemp(host.folder))
		abort();
	snprintf(host.path, sizeof(host.path), "%s/v", host.folder);
	snprintf(at, sizeof(at), "%s_%u", host.path, PORT);
	if (unix_listen(&host.listener, "fuzz", at, &err) < 0)
		abort();
	atexit(remove_folder);
	for (i = 0; i < CLIENTS; i++)
		host.fd[i] = -1;
	vbench_init(&b);
	env = vbench_env(&b);
	if (virtio_vsock_create(&env, "vsock0", &opt, &dev, &err) < 0)
		abort();
	vbench_plug(&b, dev);
	return &b;
}

/* ---- the guest ---- */

static void start(struct vbench *b, struct script *s)
{
	uint16_t size = (uint16_t)(1u << take(s, 1) % 7);
	uint64_t features = (uint64_t)take(s, 4);
	unsigned i;

	b->next_gpa = 0x1000;
	vd_negotiate(
		b, (features & vd_features(b)) | 1ull << VIRTIO_F_VERSION_1);
	for (i = 0; i < 3; i++)
		vd_queue(b, i, size);
	vd_write(b, 0x70, 0xf);
}

static void chain(struct vbench *b, struct script *s)
{
	unsigned q = take(s, 1) % 3, n = 1 + take(s, 1) % 6, i;
	struct vd_buf buf[6];
	uint32_t what = take(s, 1);

	if (b->q[q].size < n)
		return;
	for (i = 0; i < n; i++)
		buf[i] = (struct vd_buf){
			.gpa = 0x8000 + take(s, 2),
			.len = what & 64 ? take(s, 2) : take(s, 1),
			.writable = (what >> i & 1) != (q != VSOCK_TX),
		};
	vd_add(b, q, buf, n);
}

static void buffers(struct vbench *b, struct script *s)
{
	unsigned n = take(s, 1) % 8;
	struct vd_buf buf = {0x10000, VSOCK_HEADER + take(s, 2), true};

	while (n-- > 0 && b->q[VSOCK_RX].size > 0)
		vd_add(b, VSOCK_RX, &buf, 1);
	vd_kick(b, VSOCK_RX);
}

/* The connection that the script means, so that packets hit one. */
static const struct vsock_conn *pick(const struct vsock *v, unsigned nth)
{
	const struct vsock_conn *c;
	unsigned i;

	for (i = 0; i < v->buckets; i++)
		LIST_FOREACH(c, &v->bucket[i], bucket)
	if (nth-- == 0)
		return c;
	return NULL;
}

/* A packet that is nearly good: the script says what is wrong with it. */
static void packet(struct vbench *b, struct script *s)
{
	const struct vsock_conn *c = pick(vsock_of(b->vdev), take(s, 1) % 4);
	uint32_t what = take(s, 1), len = take(s, 2);
	struct virtio_vsock_hdr h = {
		.src_cid = CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = c ? c->guest_port : take(s, 1),
		.dst_port = c ? c->host_port : PORT,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = (uint16_t)take(s, 1) % 10,
		.buf_alloc = take(s, 2) * 16,
		.fwd_cnt = c ? c->peer_fwd : 0,
	};
	struct vd_buf buf[2] = {
		{0x8000, VSOCK_HEADER, false}, {0x8040, len, false}};
	unsigned parts = 1;

	if (h.op == VIRTIO_VSOCK_OP_RW && len > 0)
		parts = 2;
	h.len = parts == 2 ? len : 0;
	if (h.op == VIRTIO_VSOCK_OP_SHUTDOWN)
		h.flags = what >> 6;
	if (what & 1)
		h.fwd_cnt += take(s, 2);
	if (what & 2)
		((uint8_t *)&h)[take(s, 1) % sizeof(h)] = (uint8_t)take(s, 1);
	if (what & 4)
		h.len += take(s, 2);
	/* A host that has little room, so that bytes are kept. */
	if (c && what & 8 && c->fd >= 0)
		setsockopt(
			c->fd, SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
	if (b->q[VSOCK_TX].size < parts)
		return;
	memcpy(b->gm.base + 0x8000, &h, sizeof(h));
	vd_add(b, VSOCK_TX, buf, parts);
	vd_kick(b, VSOCK_TX);
	loop_poll(b->loop, false);
}

/* ---- the host ---- */

static void hang_up(unsigned i)
{
	if (host.fd[i] >= 0)
		close(host.fd[i]);
	host.fd[i] = -1;
}

static void client(struct script *s)
{
	uint32_t what = take(s, 1);
	unsigned i = what % CLIENTS;
	char text[300];
	uint32_t n;

	if (host.fd[i] < 0) {
		host.fd[i] = what & 64 ? unix_accept(&host.listener)
				       : unix_connect(host.path);
		if (host.fd[i] < 0 || what & 64)
			return;
		if (what & 128) {
			n = (uint32_t)sprintf(text, "CONNECT %u\n", take(s, 1));
			send(host.fd[i], text, n, MSG_NOSIGNAL);
			return;
		}
	}
	switch (what >> 3 & 7) {
	case 0:
		hang_up(i);
		break;
	case 1:
		shutdown(host.fd[i], take(s, 1) % 3);
		break;
	case 2:
	case 3:
		while (recv(host.fd[i], text, sizeof(text), 0) > 0)
			;
		break;
	default:
		n = take(s, 1);
		if (n > (size_t)(s->end - s->pos))
			n = (uint32_t)(s->end - s->pos);
		send(host.fd[i], s->pos, n, MSG_NOSIGNAL);
		s->pos += n;
	}
}

/* ---- the script ---- */

static void check(const struct vsock *v)
{
	const struct vsock_conn *c;
	unsigned i, n = 0;

	for (i = 0; i < v->buckets; i++) {
		LIST_FOREACH(c, &v->bucket[i], bucket)
		{
			n++;
			assert(vsock_buffered(c) <= VSOCK_BUFFER_BYTES);
			assert((vsock_buffered(c) > 0) <=
				(c->fd >= 0 || c->stage == VSOCK_OVER));
			assert((c->fd >= 0) == (c->stage <= VSOCK_OPEN));
			assert(c->queued || c->owed == 0);
			assert(c->stage != VSOCK_OVER ||
				c->owed == VSOCK_OWE_RST);
		}
	}
	assert(n == v->conns && n <= CONNS);
	assert(v->refusals <= VSOCK_REFUSALS && v->clients <= VSOCK_CLIENTS);
}

static void step(struct vbench *b, struct script *s)
{
	uint32_t what = take(s, 1), n;

	switch (what & 15) {
	case 0:
		start(b, s);
		break;
	case 1:
		chain(b, s);
		break;
	case 2:
		ram(b, s);
		break;
	case 3:
	case 4:
		buffers(b, s);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		packet(b, s);
		break;
	case 9:
	case 10:
	case 11:
	case 12:
		client(s);
		break;
	case 13:
		if (what >> 4 == 1)
			move(b);
		else if (what >> 4 == 2)
			vd_write(b, 0x70, 0);
		else
			vd_kick(b, what >> 4);
		break;
	default:
		for (n = what >> 4; n > 0; n--)
			loop_poll(b->loop, false);
		break;
	}
	check(vsock_of(b->vdev));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {data, data + size};
	struct vbench *b = bench();
	struct vsock *v = vsock_of(b->vdev);
	unsigned i;
	int fd;

	for (i = 0; i < STEPS && s.pos < s.end; i++)
		step(b, &s);
	vd_write(b, 0x70, 0);
	assert(vd_read(b, 0x70) == 0 && b->vdev->inflight == 0);
	assert(v->conns == 0 && v->refusals == 0);
	for (i = 0; i < CLIENTS; i++)
		hang_up(i);
	while ((fd = unix_accept(&host.listener)) >= 0)
		close(fd);
	/* Clients are seen to have gone. */
	do
		while (loop_poll(b->loop, false))
			;
	while (v->clients > 0);
	memset(b->gm.base, 0, RAM);
	memset(b->q, 0, sizeof(b->q));
	return 0;
}
