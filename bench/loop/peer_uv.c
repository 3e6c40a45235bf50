/* SPDX-License-Identifier: Apache-2.0 */
/* bench/loop/peer_uv.c - the rows of peer.h with libuv. */
#include "bench/loop/peer.h"

#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "bench/lib/bench.h"

static void end_loop(uv_loop_t *loop)
{
	uv_run(loop, UV_RUN_NOWAIT); /* the close callbacks */
	uv_run(loop, UV_RUN_NOWAIT);
	if (uv_loop_close(loop) != 0)
		bench_die("uv_loop_close");
}

static void on_idle(uv_idle_t *idle)
{
	++*(unsigned *)idle->data;
	uv_idle_stop(idle);
}

/* libuv's cheapest way to run something in the next turn. */
static int64_t uv_bh(int arg, unsigned n)
{
	unsigned calls = 0;
	uv_idle_t idle;
	uv_loop_t loop;
	int64_t start;

	uv_loop_init(&loop);
	uv_idle_init(&loop, &idle);
	idle.data = &calls;
	start = bench_now_ns();
	while (calls < n) {
		uv_idle_start(&idle, on_idle);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	start = bench_now_ns() - start;
	uv_close((uv_handle_t *)&idle, NULL);
	end_loop(&loop);
	return start;
}

struct end {
	uv_loop_t loop;
	uv_async_t async, *other;
	unsigned n, calls;
	bool serves, busy;
};

static void end_called(uv_async_t *async)
{
	struct end *e = async->data;

	e->calls++;
	if (!e->serves || e->calls < e->n)
		uv_async_send(e->other);
}

static void *end_main(void *opaque)
{
	struct end *e = opaque;

	if (e->serves)
		uv_async_send(e->other);
	while (e->calls < e->n)
		uv_run(&e->loop, e->busy ? UV_RUN_NOWAIT : UV_RUN_ONCE);
	return NULL;
}

static int64_t uv_wake(int arg, unsigned n, const int cpu[2], bool busy)
{
	struct end end[2];
	int64_t ns;
	int i;

	for (i = 0; i < 2; i++) {
		uv_loop_init(&end[i].loop);
		uv_async_init(&end[i].loop, &end[i].async, end_called);
		end[i].async.data = &end[i];
		end[i].n = n / 2;
		end[i].calls = 0;
		end[i].serves = i == 0;
		end[i].busy = busy;
		end[i].other = &end[!i].async;
	}
	ns = peer_two_threads(end_main, &end[0], end_main, &end[1], cpu);
	for (i = 0; i < 2; i++) {
		uv_close((uv_handle_t *)&end[i].async, NULL);
		end_loop(&end[i].loop);
	}
	return ns;
}

struct source {
	uv_poll_t poll;
	int fd, other;
	unsigned calls;
};

static void on_hop(uv_poll_t *poll, int status, int events)
{
	struct source *s = poll->data;

	peer_drain(s->fd);
	peer_raise(s->other);
	s->calls++;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct source *s = poll->data;

	peer_drain(s->fd);
	s->calls++;
}

static void watch(uv_loop_t *loop, struct source *s, uv_poll_cb cb)
{
	if (uv_poll_init(loop, &s->poll, s->fd) != 0)
		bench_die("uv_poll_init");
	s->poll.data = s;
	uv_poll_start(&s->poll, UV_READABLE, cb);
}

static int64_t uv_hop(int arg, unsigned n)
{
	struct source s[2] = {{.fd = peer_eventfd()}, {.fd = peer_eventfd()}};
	uv_loop_t loop;
	int64_t start;
	int i;

	uv_loop_init(&loop);
	for (i = 0; i < 2; i++) {
		s[i].other = s[!i].fd;
		watch(&loop, &s[i], on_hop);
	}
	uv_run(&loop, UV_RUN_NOWAIT);
	start = bench_now_ns();
	peer_raise(s[0].fd);
	while (s[0].calls + s[1].calls < n)
		uv_run(&loop, UV_RUN_ONCE);
	start = bench_now_ns() - start;
	for (i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&s[i].poll, NULL);
	end_loop(&loop);
	for (i = 0; i < 2; i++)
		close(s[i].fd);
	return start;
}

static int64_t uv_idle(int arg, unsigned idle, unsigned n)
{
	struct source *s = calloc(idle + 1, sizeof(*s));
	uv_loop_t loop;
	int64_t start;
	unsigned i;

	uv_loop_init(&loop);
	for (i = 0; i <= idle; i++) {
		s[i].fd = peer_eventfd();
		watch(&loop, &s[i], on_ready);
	}
	uv_run(&loop, UV_RUN_NOWAIT);
	start = bench_now_ns();
	while (s[idle].calls < n) {
		peer_raise(s[idle].fd);
		uv_run(&loop, UV_RUN_ONCE);
	}
	start = bench_now_ns() - start;
	for (i = 0; i <= idle; i++)
		uv_close((uv_handle_t *)&s[i].poll, NULL);
	end_loop(&loop);
	for (i = 0; i <= idle; i++)
		close(s[i].fd);
	free(s);
	return start;
}

static void on_timer(uv_timer_t *timer)
{
	++*(unsigned *)timer->data;
}

static void uv_timers(int arg, unsigned n, int64_t ret_ns[3])
{
	uv_timer_t *t = calloc(n, sizeof(*t));
	uint32_t seed = PEER_TIMER_SEED;
	unsigned i, calls = 0;
	uv_loop_t loop;

	uv_loop_init(&loop);
	for (i = 0; i < n; i++) {
		uv_timer_init(&loop, &t[i]);
		t[i].data = &calls;
	}
	ret_ns[0] = bench_now_ns();
	for (i = 0; i < n; i++)
		uv_timer_start(&t[i], on_timer,
			1000000 + peer_random(&seed) % 1000000, 0);
	ret_ns[1] = bench_now_ns();
	ret_ns[0] = ret_ns[1] - ret_ns[0];
	for (i = 0; i < n; i++)
		uv_timer_stop(&t[i]);
	ret_ns[1] = bench_now_ns() - ret_ns[1];
	uv_update_time(&loop);
	for (i = 0; i < n; i++)
		uv_timer_start(
			&t[i], on_timer, peer_random(&seed) % 20000 / 1000, 0);
	peer_pass_ms(25);
	ret_ns[2] = bench_now_ns();
	while (calls < n)
		uv_run(&loop, UV_RUN_NOWAIT);
	ret_ns[2] = bench_now_ns() - ret_ns[2];
	for (i = 0; i < n; i++)
		uv_close((uv_handle_t *)&t[i], NULL);
	end_loop(&loop);
	free(t);
}

const struct peer peer_uv = {
	.name = "libuv",
	.bh = uv_bh,
	.wake = uv_wake,
	.hop = uv_hop,
	.idle = uv_idle,
	.timers = uv_timers,
};
