/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_console.c - a hostile driver on a console whose terminal
 * types, reads, stalls and changes its size as the script says.
 *
 * Byte 0: two fds or one for both ends (bit 0).  Then a script: start with
 * features, chains of any shape, good buffers, bytes into RAM, registers of the
 * transport, input, a reader that takes some, resizes, pauses, moves, resets.
 *
 * Whatever happens, what is typed is given to the guest in its order, whole and
 * once, and the loop does not spin.
 */
#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "migrate/state.h"
#include "tests/fuzz/script.h"
#include "tests/lib/vdriver.h"
#include "virtio/console.h"
#include "vmm/error.h"
#include "vmm/log.h"

#define RX     0u
#define TX     1u
#define QUEUES 2u
#define RAM    0x20000u /* that scripts place and find zeroed */
#define INPUT                                                                  \
	0x30000u /* where good input buffers are; out of a script's reach */
#define KINDS  2u
#define STEPS  160u
#define SNDBUF 4608 /* of the sockets: little, so that the reader matters */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A terminal: our ends of its fds. */
struct terminal {
	struct vbench b;
	int in, out;	     /* typed into, read from; the same in kind 1 */
	uint8_t typed, seen; /* the next byte of each, counting up */
	bool paused;
	bool exact; /* all input that the guest took went through receive() */
};

static void pair(int *ret_ours, int *ret_theirs)
{
	int fd[2], small = SNDBUF;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		    fd) < 0 ||
		setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &small,
			sizeof(small)) < 0)
		abort();
	*ret_ours = fd[0];
	*ret_theirs = fd[1];
}

static struct terminal *terminal(unsigned kind)
{
	static struct terminal terminals[KINDS];
	struct terminal *t = &terminals[kind];
	struct virtio_dev *dev;
	struct virtio_env env;
	int in, out;

	if (t->b.loop)
		return t;
	log_set_level(LOG_ERROR);
	signal(SIGPIPE, SIG_IGN);
	pair(&t->in, &in);
	t->out = t->in;
	out = in;
	if (kind == 0)
		pair(&t->out, &out);
	vbench_init(&t->b);
	env = vbench_env(&t->b);
	if (virtio_console_create(&env, "hvc0", in, out, &dev, NULL) < 0)
		abort();
	vbench_plug(&t->b, dev);
	return t;
}

/* ---- the guest ---- */

static void start(struct terminal *t, struct script *s)
{
	uint16_t size = (uint16_t)(1u << take(s, 1) % 7);
	uint64_t features = (uint64_t)take(s, 1) << 24 | take(s, 1);
	struct vbench *b = &t->b;
	unsigned i;

	b->next_gpa = 0x1000;
	vd_negotiate(
		b, (features & vd_features(b)) | 1ull << VIRTIO_F_VERSION_1);
	for (i = 0; i < QUEUES; i++)
		vd_queue(b, i, size);
	vd_write(b, VIRTIO_MMIO_STATUS, 0xf);
}

/* Chains of one queue may be of the wrong kind, empty, far too long. */
static void chain(struct terminal *t, struct script *s)
{
	unsigned q = take(s, 1) % QUEUES, n = 1 + take(s, 1) % 6, i;
	uint32_t what = take(s, 1);
	struct vbench *b = &t->b;
	struct vd_buf buf[6];

	if (b->q[q].size < n)
		return;
	for (i = 0; i < n; i++)
		buf[i] = (struct vd_buf){
			.gpa = 0x8000 + take(s, 2),
			.len = what & 64 ? take(s, 2) : take(s, 1),
			.writable = (what >> i & 1) != (q == TX),
		};
	vd_add(b, q, buf, n);
	if (q == RX)
		t->exact = false;
	if (what & 128)
		vd_kick(b, q);
}

/* Input that came must be the next that was typed. */
static void check_input(struct terminal *t, uint64_t gpa, uint32_t len)
{
	const uint8_t *bytes = vd_at(&t->b, gpa);
	uint32_t i;

	for (i = 0; i < len; i++)
		assert(bytes[i] == (uint8_t)(t->seen + i));
	t->seen = (uint8_t)(t->seen + len);
}

/* Offer one buffer and look at what came into it. */
static void receive(struct terminal *t, struct script *s)
{
	struct vd_buf buf = {INPUT, take(s, 1), true};
	struct vbench *b = &t->b;
	uint32_t len;
	uint16_t head;

	if (b->q[RX].size == 0)
		return;
	vd_add(b, RX, &buf, 1);
	vd_kick(b, RX);
	loop_poll(b->loop, false);
	if (!t->exact)
		return;
	/* Nothing, or not now: nobody will look at what comes later. */
	if (!vd_take(b, RX, &head, &len)) {
		t->exact = false;
		return;
	}
	assert(len <= buf.len);
	check_input(t, INPUT, len);
}

/* A register of the transport, with any value. */
static void poke(struct terminal *t, struct script *s)
{
	uint32_t off = take(s, 1) * 4, value = take(s, 2);

	/* The status decides on resets, which forget what was offered. */
	if (off == VIRTIO_MMIO_STATUS)
		value &= 0xff;
	vd_write(&t->b, off, value);
	t->exact = false;
}

/* ---- the terminal ---- */

static void type(struct terminal *t, struct script *s)
{
	uint32_t len = take(s, 1) * 17, i;
	uint8_t text[255 * 17];
	ssize_t n;

	for (i = 0; i < len; i++)
		text[i] = (uint8_t)(t->typed + i);
	n = send(t->in, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		t->typed = (uint8_t)(t->typed + n);
}

static void take_output(struct terminal *t, uint32_t most)
{
	uint8_t bytes[4096];
	ssize_t n;

	while (most-- > 0) {
		n = recv(t->out, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n <= 0)
			return;
	}
}

static void pause_it(struct terminal *t, bool on)
{
	if (on == t->paused)
		return;
	t->paused = on;
	if (on) {
		t->b.dev->ops->quiesce(t->b.dev);
		loop_disable_external(t->b.loop);
	} else {
		loop_enable_external(t->b.loop);
		t->b.dev->ops->resume(t->b.dev);
	}
}

/* ---- the script ---- */

static void reset(struct terminal *t)
{
	vd_write(&t->b, VIRTIO_MMIO_STATUS, 0);
	assert(vd_read(&t->b, VIRTIO_MMIO_STATUS) == 0);
	assert(t->b.vdev->inflight == 0);
	memset(t->b.q, 0, sizeof(t->b.q));
}

static void step(struct terminal *t, struct script *s)
{
	uint32_t what = take(s, 1), n;

	switch (what & 15) {
	case 0:
		start(t, s);
		break;
	case 1:
	case 2:
		chain(t, s);
		break;
	case 3:
		ram(&t->b, s);
		t->exact = false; /* that may be a ring */
		break;
	case 4:
		poke(t, s);
		break;
	case 5:
	case 6:
		type(t, s);
		break;
	case 7:
	case 8:
		receive(t, s);
		break;
	case 9:
		take_output(t, what >> 4);
		break;
	case 10:
		virtio_console_resize(
			t->b.vdev, (uint16_t)take(s, 2), (uint16_t)take(s, 2));
		break;
	case 11:
		pause_it(t, what >> 4 & 1);
		break;
	case 12:
		pause_it(t, false);
		move(&t->b);
		break;
	case 13:
		reset(t);
		break;
	default:
		for (n = what >> 4; n > 0; n--)
			loop_poll(t->b.loop, false);
		for (n = 0; n < QUEUES; n++)
			vd_kick(&t->b, n);
		break;
	}
}

/* A good driver can still print, and gets all that is left. */
static void finish(struct terminal *t)
{
	struct vd_buf in = {INPUT, 4096, true}, out = {INPUT, 64, false};
	struct vbench *b = &t->b;
	uint16_t head;
	uint32_t len;

	pause_it(t, false);
	reset(t);
	take_output(t, UINT32_MAX);
	b->next_gpa = 0x1000;
	vd_start(b, 0, QUEUES, 16);
	vd_add(b, TX, &out, 1);
	vd_kick(b, TX);
	vd_wait(b, TX);
	for (;;) {
		vd_add(b, RX, &in, 1);
		vd_kick(b, RX);
		vd_settle(b);
		if (!vd_take(b, RX, &head, &len))
			break;
		assert(len > 0 && len <= in.len);
		if (t->exact)
			check_input(t, INPUT, len);
	}
	assert(!t->exact || t->seen == t->typed);
	reset(t);
	take_output(t, UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {data + 1, data + size};
	struct terminal *t;
	unsigned i;

	if (size < 1)
		return 0;
	t = terminal(data[0] % KINDS);
	t->exact = true;
	t->seen = t->typed;
	for (i = 0; i < STEPS && s.pos < s.end; i++)
		step(t, &s);
	finish(t);
	memset(t->b.gm.base, 0, RAM);
	return 0;
}
