/* SPDX-License-Identifier: Apache-2.0 */
/* bench/loop/peer_godwit.c - the rows of peer.h with loop/. */
#include "bench/loop/peer.h"

#include <stdlib.h>
#include <unistd.h>

#include "bench/lib/bench.h"
#include "loop/loop.h"
#include "vmm/error.h"

static struct loop *open_loop(int backend)
{
	const struct loop_options opt = {.backend = (enum loop_backend)backend};
	struct loop *loop;
	struct error err;

	if (loop_create(&opt, &loop, &err) < 0)
		bench_die("%s", err.text);
	return loop;
}

static void count(void *opaque)
{
	++*(unsigned *)opaque;
}

static int64_t godwit_bh(int arg, unsigned n)
{
	struct loop *loop = open_loop(arg);
	unsigned calls = 0;
	struct loop_bh *bh;
	int64_t start;

	loop_bh_create(loop, count, &calls, "bh", NULL, &bh);
	start = bench_now_ns();
	while (calls < n) {
		loop_bh_schedule(bh);
		loop_poll(loop, false);
	}
	start = bench_now_ns() - start;
	loop_bh_delete(bh);
	loop_destroy(loop);
	return start;
}

struct end {
	struct loop *loop;
	struct loop_bh *bh, *other;
	unsigned n, calls;
	bool serves, busy;
};

static void end_called(void *opaque)
{
	struct end *e = opaque;

	e->calls++;
	if (!e->serves || e->calls < e->n)
		loop_bh_schedule(e->other);
}

static void *end_main(void *opaque)
{
	struct end *e = opaque;

	if (e->serves)
		loop_bh_schedule(e->other);
	while (e->calls < e->n)
		loop_poll(e->loop, !e->busy);
	loop_disown(e->loop);
	return NULL;
}

static int64_t godwit_wake(int arg, unsigned n, const int cpu[2], bool busy)
{
	struct end end[2];
	int64_t ns;
	int i;

	for (i = 0; i < 2; i++) {
		end[i] = (struct end){.loop = open_loop(arg),
			.n = n / 2,
			.serves = i == 0,
			.busy = busy};
		loop_bh_create(end[i].loop, end_called, &end[i], "end", NULL,
			&end[i].bh);
	}
	end[0].other = end[1].bh;
	end[1].other = end[0].bh;
	ns = peer_two_threads(end_main, &end[0], end_main, &end[1], cpu);
	for (i = 0; i < 2; i++) {
		loop_bh_delete(end[i].bh);
		loop_destroy(end[i].loop);
	}
	return ns;
}

struct source {
	int fd, other;
	unsigned calls;
};

static bool hop(void *opaque, unsigned ready)
{
	struct source *s = opaque;

	peer_drain(s->fd);
	peer_raise(s->other);
	s->calls++;
	return true;
}

static int64_t godwit_hop(int arg, unsigned n)
{
	struct loop *loop = open_loop(arg);
	struct source s[2] = {{.fd = peer_eventfd()}, {.fd = peer_eventfd()}};
	struct loop_fd *h[2];
	int64_t start;
	int i;

	for (i = 0; i < 2; i++) {
		s[i].other = s[!i].fd;
		loop_fd_add(loop, s[i].fd, LOOP_READ, LOOP_FD_DRAINS, hop,
			&s[i], "hop", &h[i]);
	}
	loop_poll(loop, false);
	start = bench_now_ns();
	peer_raise(s[0].fd);
	while (s[0].calls + s[1].calls < n)
		loop_poll(loop, true);
	start = bench_now_ns() - start;
	for (i = 0; i < 2; i++) {
		loop_fd_del(h[i]);
		close(s[i].fd);
	}
	loop_destroy(loop);
	return start;
}

static bool drain(void *opaque, unsigned ready)
{
	struct source *s = opaque;

	peer_drain(s->fd);
	s->calls++;
	return true;
}

static int64_t godwit_idle(int arg, unsigned idle, unsigned n)
{
	struct loop_fd **h = malloc((idle + 1) * sizeof(struct loop_fd *));
	struct source *s = calloc(idle + 1, sizeof(*s));
	struct loop *loop = open_loop(arg);
	int64_t start;
	unsigned i;

	for (i = 0; i <= idle; i++) {
		s[i].fd = peer_eventfd();
		if (loop_fd_add(loop, s[i].fd, LOOP_READ, LOOP_FD_DRAINS, drain,
			    &s[i], "idle", &h[i]) < 0)
			bench_die("loop_fd_add");
	}
	loop_poll(loop, false);
	start = bench_now_ns();
	while (s[idle].calls < n) {
		peer_raise(s[idle].fd);
		loop_poll(loop, true);
	}
	start = bench_now_ns() - start;
	for (i = 0; i <= idle; i++) {
		loop_fd_del(h[i]);
		close(s[i].fd);
	}
	loop_destroy(loop);
	free(h);
	free(s);
	return start;
}

static void godwit_timers(int arg, unsigned n, int64_t ret_ns[3])
{
	struct loop_timer *t = calloc(n, sizeof(*t));
	struct loop *loop = open_loop(arg);
	uint32_t seed = PEER_TIMER_SEED;
	unsigned i, calls = 0;
	int64_t now;

	for (i = 0; i < n; i++)
		loop_timer_init(&t[i], loop, LOOP_MONOTONIC, count, &calls);
	now = loop_now_ns(loop, LOOP_MONOTONIC);
	ret_ns[0] = bench_now_ns();
	for (i = 0; i < n; i++)
		loop_timer_set(
			&t[i], now + (1000000 + peer_random(&seed) % 1000000) *
					       INT64_C(1000000));
	ret_ns[1] = bench_now_ns();
	ret_ns[0] = ret_ns[1] - ret_ns[0];
	for (i = 0; i < n; i++)
		loop_timer_cancel(&t[i]);
	ret_ns[1] = bench_now_ns() - ret_ns[1];
	now = loop_now_ns(loop, LOOP_MONOTONIC);
	for (i = 0; i < n; i++)
		loop_timer_set(&t[i],
			now + peer_random(&seed) % 20000 * INT64_C(1000));
	peer_pass_ms(25);
	ret_ns[2] = bench_now_ns();
	while (calls < n)
		loop_poll(loop, false);
	ret_ns[2] = bench_now_ns() - ret_ns[2];
	loop_destroy(loop);
	free(t);
}

#define PEER(symbol, text, backend)                                            \
	const struct peer symbol = {                                           \
		.name = text,                                                  \
		.arg = backend,                                                \
		.bh = godwit_bh,                                               \
		.wake = godwit_wake,                                           \
		.hop = godwit_hop,                                             \
		.idle = godwit_idle,                                           \
		.timers = godwit_timers,                                       \
	}

PEER(peer_godwit, "godwit", LOOP_AUTO);
PEER(peer_godwit_epoll, "(epoll)", LOOP_EPOLL);
PEER(peer_godwit_poll, "(ppoll)", LOOP_POLL);
