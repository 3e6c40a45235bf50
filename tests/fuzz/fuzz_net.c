/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_net.c - a hostile driver, and frames of any length, on a
 * network device whose back end is memory.
 *
 * Byte 0: header of the back end (bit 0), pairs (bit 1).  Then a script: start
 * with features, chains of any shape on any queue, bytes into RAM, frames from
 * the host, kicks, links, moves, resets.
 */
#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "migrate/state.h"
#include "tests/lib/fake_net.h"
#include "tests/fuzz/script.h"
#include "tests/lib/vdriver.h"
#include "virtio/net.h"
#include "vmm/log.h"

#define RAM	0x20000u /* that scripts place and find zeroed */
#define KINDS	4u
#define STEPS	160u
#define BACKLOG 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fake_net *fakes[KINDS];

static struct vbench *bench(unsigned kind)
{
	static struct vbench benches[KINDS];
	struct virtio_net_options opt = {.mac = {2, 0, 0, 0, 0, 1}};
	struct vbench *b = &benches[kind];
	struct virtio_dev *dev;
	struct virtio_env env;
	int rc;

	if (b->loop)
		return b;
	log_set_level(LOG_ERROR);
	vbench_init(b);
	env = vbench_env(b);
	fakes[kind] = fake_net_create(kind & 2 ? 2 : 1,
		kind & 1 ? NET_HEADER_BYTES : 0,
		kind & 1 ? NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 : 0);
	opt.backend = &fakes[kind]->be;
	rc = virtio_net_create(&env, "net0", &opt, &dev, NULL);
	assert(rc == 0);
	vbench_plug(b, dev);
	return b;
}

static void start(struct vbench *b, struct script *s)
{
	uint16_t size = (uint16_t)(1u << (take(s, 1) & 7));
	uint64_t features = (uint64_t)take(s, 4);
	unsigned i;

	b->next_gpa = 0x1000;
	vd_negotiate(
		b, (features & vd_features(b)) | 1ull << VIRTIO_F_VERSION_1);
	for (i = 0; i < VDRIVER_QUEUES; i++)
		vd_queue(b, i, size);
	vd_write(b, 0x70, 0xf);
}

/* A chain that mostly makes sense; every length and place may be wrong. */
static void chain(struct vbench *b, struct script *s)
{
	unsigned q = take(s, 1) % VDRIVER_QUEUES, n = 1 + take(s, 1) % 6, i;
	struct vd_buf buf[6];
	uint32_t what = take(s, 1);

	if (b->q[q].size < n)
		return;
	for (i = 0; i < n; i++)
		buf[i] = (struct vd_buf){
			.gpa = 0x8000 + take(s, 2),
			.len = what & 64 ? take(s, 2) : take(s, 1),
			.writable = (what >> i & 1) != (q % 2 == 0),
		};
	vd_add(b, q, buf, n);
}

static void arrive(struct fake_net *f, struct script *s)
{
	static const uint8_t bytes[FAKE_NET_BYTES];
	unsigned q = take(s, 1) % f->be.queues;
	uint32_t len = take(s, 2);

	if (len > 0xff00)
		len = FAKE_NET_BYTES - (len & 0xff);
	if (fake_net_waiting(f, q) < BACKLOG)
		fake_net_push(f, q, bytes, len);
}

static void step(struct vbench *b, struct fake_net *f, struct script *s)
{
	uint32_t what = take(s, 1), n;

	switch (what & 15) {
	case 0:
		start(b, s);
		break;
	case 1:
	case 2:
	case 3:
		chain(b, s);
		break;
	case 4:
		ram(b, s);
		break;
	case 5:
	case 6:
		arrive(f, s);
		break;
	case 7:
		vd_kick(b, take(s, 1));
		break;
	case 8:
		move(b);
		break;
	case 9:
		virtio_net_set_link(b->vdev, what >> 4 & 1);
		break;
	case 10:
		f->again = what >> 4 & 1;
		if (!f->again)
			fake_net_writable(f, 0);
		break;
	case 11:
		f->refuse = what >> 4 & 1 ? -1 : 0;
		break;
	case 12:
		vd_write(b, 0x70, 0);
		break;
	default:
		for (n = what >> 4; n > 0; n--)
			loop_poll(b->loop, false);
		for (n = 0; n < 5; n++)
			vd_kick(b, n);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {data + 1, data + size};
	struct fake_net *f;
	struct vbench *b;
	unsigned i;

	if (size < 1)
		return 0;
	b = bench(data[0] % KINDS);
	f = fakes[data[0] % KINDS];
	for (i = 0; i < STEPS && s.pos < s.end; i++)
		step(b, f, &s);
	vd_write(b, 0x70, 0);
	assert(vd_read(b, 0x70) == 0 && b->vdev->inflight == 0);
	assert(!f->started);
	f->again = false;
	f->refuse = 0;
	virtio_net_set_link(b->vdev, true);
	for (i = 0; i < f->be.queues; i++)
		while (fake_net_waiting(f, i) > 0) {
			struct fake_frame *frame =
				&f->in[i][f->head[i]++ % FAKE_NET_FRAMES];

			free(frame->data);
			frame->data = NULL;
		}
	while (loop_poll(b->loop, false))
		;
	memset(b->gm.base, 0, RAM);
	return 0;
}
