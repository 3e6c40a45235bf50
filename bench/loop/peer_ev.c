/* SPDX-License-Identifier: Apache-2.0 */
/* bench/loop/peer_ev.c - the rows of peer.h with libev. */
#include "bench/loop/peer.h"

/* Its macros break strict aliasing rules and shadow names. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-aliasing"
#pragma GCC diagnostic ignored "-Wundef"
#include <ev.h>

#include <stdlib.h>
#include <unistd.h>

#include "bench/lib/bench.h"

static struct ev_loop *open_loop(void)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);

	if (!loop)
		bench_die("ev_loop_new");
	return loop;
}

static void on_prepare(struct ev_loop *loop, ev_prepare *w, int events)
{
	++*(unsigned *)w->data;
}

/* libev's cheapest way to run something in the next turn. */
static int64_t ev_bh(int arg, unsigned n)
{
	struct ev_loop *loop = open_loop();
	unsigned calls = 0;
	ev_prepare w;
	int64_t start;

	ev_prepare_init(&w, on_prepare);
	w.data = &calls;
	start = bench_now_ns();
	while (calls < n) {
		ev_feed_event(loop, &w, EV_CUSTOM);
		ev_run(loop, EVRUN_NOWAIT);
	}
	start = bench_now_ns() - start;
	ev_loop_destroy(loop);
	return start;
}

struct end {
	struct ev_loop *loop;
	ev_async async;
	struct end *other;
	unsigned n, calls;
	bool serves, busy;
};

static void end_called(struct ev_loop *loop, ev_async *w, int events)
{
	struct end *e = w->data;

	e->calls++;
	if (!e->serves || e->calls < e->n)
		ev_async_send(e->other->loop, &e->other->async);
}

static void *end_main(void *opaque)
{
	struct end *e = opaque;

	if (e->serves)
		ev_async_send(e->other->loop, &e->other->async);
	while (e->calls < e->n)
		ev_run(e->loop, e->busy ? EVRUN_NOWAIT : EVRUN_ONCE);
	return NULL;
}

static int64_t ev_wake(int arg, unsigned n, const int cpu[2], bool busy)
{
	struct end end[2];
	int64_t ns;
	int i;

	for (i = 0; i < 2; i++) {
		end[i].loop = open_loop();
		ev_async_init(&end[i].async, end_called);
		end[i].async.data = &end[i];
		end[i].other = &end[!i];
		end[i].n = n / 2;
		end[i].calls = 0;
		end[i].serves = i == 0;
		end[i].busy = busy;
		ev_async_start(end[i].loop, &end[i].async);
	}
	ns = peer_two_threads(end_main, &end[0], end_main, &end[1], cpu);
	for (i = 0; i < 2; i++) {
		ev_async_stop(end[i].loop, &end[i].async);
		ev_loop_destroy(end[i].loop);
	}
	return ns;
}

struct source {
	ev_io io;
	int other;
	unsigned calls;
};

static void on_hop(struct ev_loop *loop, ev_io *w, int events)
{
	struct source *s = w->data;

	peer_drain(w->fd);
	peer_raise(s->other);
	s->calls++;
}

static void on_ready(struct ev_loop *loop, ev_io *w, int events)
{
	struct source *s = w->data;

	peer_drain(w->fd);
	s->calls++;
}

static int64_t ev_hop(int arg, unsigned n)
{
	struct ev_loop *loop = open_loop();
	struct source s[2];
	int64_t start;
	int i;

	for (i = 0; i < 2; i++) {
		ev_io_init(&s[i].io, on_hop, peer_eventfd(), EV_READ);
		s[i].io.data = &s[i];
		s[i].calls = 0;
		ev_io_start(loop, &s[i].io);
	}
	s[0].other = s[1].io.fd;
	s[1].other = s[0].io.fd;
	ev_run(loop, EVRUN_NOWAIT);
	start = bench_now_ns();
	peer_raise(s[0].io.fd);
	while (s[0].calls + s[1].calls < n)
		ev_run(loop, EVRUN_ONCE);
	start = bench_now_ns() - start;
	for (i = 0; i < 2; i++) {
		ev_io_stop(loop, &s[i].io);
		close(s[i].io.fd);
	}
	ev_loop_destroy(loop);
	return start;
}

static int64_t ev_idle_row(int arg, unsigned idle, unsigned n)
{
	struct source *s = calloc(idle + 1, sizeof(*s));
	struct ev_loop *loop = open_loop();
	int64_t start;
	unsigned i;

	for (i = 0; i <= idle; i++) {
		ev_io_init(&s[i].io, on_ready, peer_eventfd(), EV_READ);
		s[i].io.data = &s[i];
		ev_io_start(loop, &s[i].io);
	}
	ev_run(loop, EVRUN_NOWAIT);
	start = bench_now_ns();
	while (s[idle].calls < n) {
		peer_raise(s[idle].io.fd);
		ev_run(loop, EVRUN_ONCE);
	}
	start = bench_now_ns() - start;
	for (i = 0; i <= idle; i++) {
		ev_io_stop(loop, &s[i].io);
		close(s[i].io.fd);
	}
	ev_loop_destroy(loop);
	free(s);
	return start;
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
	++*(unsigned *)w->data;
}

static void ev_timers(int arg, unsigned n, int64_t ret_ns[3])
{
	ev_timer *t = calloc(n, sizeof(*t));
	struct ev_loop *loop = open_loop();
	uint32_t seed = PEER_TIMER_SEED;
	unsigned i, calls = 0;

	for (i = 0; i < n; i++) {
		ev_timer_init(&t[i], on_timer, 0., 0.);
		t[i].data = &calls;
	}
	ret_ns[0] = bench_now_ns();
	for (i = 0; i < n; i++) {
		ev_timer_set(
			&t[i], 1000. + peer_random(&seed) % 1000000 / 1e3, 0.);
		ev_timer_start(loop, &t[i]);
	}
	ret_ns[1] = bench_now_ns();
	ret_ns[0] = ret_ns[1] - ret_ns[0];
	for (i = 0; i < n; i++)
		ev_timer_stop(loop, &t[i]);
	ret_ns[1] = bench_now_ns() - ret_ns[1];
	ev_now_update(loop);
	for (i = 0; i < n; i++) {
		ev_timer_set(&t[i], peer_random(&seed) % 20000 / 1e6, 0.);
		ev_timer_start(loop, &t[i]);
	}
	peer_pass_ms(25);
	ret_ns[2] = bench_now_ns();
	while (calls < n)
		ev_run(loop, EVRUN_NOWAIT);
	ret_ns[2] = bench_now_ns() - ret_ns[2];
	ev_loop_destroy(loop);
	free(t);
}

const struct peer peer_ev = {
	.name = "libev",
	.bh = ev_bh,
	.wake = ev_wake,
	.hop = ev_hop,
	.idle = ev_idle_row,
	.timers = ev_timers,
};
#pragma GCC diagnostic pop
