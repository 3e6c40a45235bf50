/* SPDX-License-Identifier: Apache-2.0 */
/* bench/loop/peer.c - see peer.h; and the floor: eventfd and epoll_wait. */
#include "bench/loop/peer.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/lib/bench.h"

int peer_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		bench_die("eventfd: is `ulimit -n` large enough?");
	return fd;
}

void peer_raise(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		bench_die("eventfd write");
}

void peer_drain(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		bench_die("eventfd read");
}

uint32_t peer_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

void peer_pass_ms(unsigned ms)
{
	int64_t end = bench_now_ns() + (int64_t)ms * 1000000;

	while (bench_now_ns() < end)
		;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

struct far_end {
	void *(*main)(void *);
	void *arg;
	int cpu;
};

static void *far_thread(void *opaque)
{
	struct far_end *far = opaque;

	pin(far->cpu);
	return far->main(far->arg);
}

int64_t peer_two_threads(void *(*near_main)(void *), void *near_arg,
	void *(*far_main)(void *), void *far_arg, const int cpu[2])
{
	struct far_end far = {far_main, far_arg, cpu[1]};
	pthread_t thread;
	cpu_set_t old;
	int64_t start;

	sched_getaffinity(0, sizeof(old), &old);
	if (pthread_create(&thread, NULL, far_thread, &far) != 0)
		bench_die("pthread_create");
	pin(cpu[0]);
	start = bench_now_ns();
	near_main(near_arg);
	start = bench_now_ns() - start;
	pthread_join(thread, NULL);
	sched_setaffinity(0, sizeof(old), &old);
	return start;
}

/* ---- the floor ---- */

static int epoll_with(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		bench_die("epoll");
	return epoll;
}

static void wait_and_drain(int epoll, int timeout)
{
	struct epoll_event ev;

	while (epoll_wait(epoll, &ev, 1, timeout) != 1)
		;
	peer_drain(ev.data.fd);
}

static int64_t raw_bh(int arg, unsigned n)
{
	int fd = peer_eventfd(), epoll = epoll_with(fd);
	int64_t start = bench_now_ns();

	while (n-- > 0) {
		peer_raise(fd);
		wait_and_drain(epoll, 0);
	}
	start = bench_now_ns() - start;
	close(epoll);
	close(fd);
	return start;
}

struct raw_end {
	int fd, epoll, other;
	unsigned n;
	int timeout;
	bool serves;
};

static void *raw_main(void *opaque)
{
	struct raw_end *e = opaque;
	unsigned i;

	for (i = 0; i < e->n; i++) {
		if (e->serves)
			peer_raise(e->other);
		wait_and_drain(e->epoll, e->timeout);
		if (!e->serves)
			peer_raise(e->other);
	}
	return NULL;
}

static int64_t raw_wake(int arg, unsigned n, const int cpu[2], bool busy)
{
	struct raw_end end[2];
	int64_t ns;
	int i;

	for (i = 0; i < 2; i++) {
		end[i].fd = peer_eventfd();
		end[i].epoll = epoll_with(end[i].fd);
		end[i].n = n / 2;
		end[i].timeout = busy ? 0 : -1;
		end[i].serves = i == 0;
	}
	end[0].other = end[1].fd;
	end[1].other = end[0].fd;
	ns = peer_two_threads(raw_main, &end[0], raw_main, &end[1], cpu);
	for (i = 0; i < 2; i++) {
		close(end[i].epoll);
		close(end[i].fd);
	}
	return ns;
}

static int64_t raw_hop(int arg, unsigned n)
{
	int fd[2] = {peer_eventfd(), peer_eventfd()};
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd[1]};
	int epoll = epoll_with(fd[0]);
	int64_t start;

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd[1], &ev);
	start = bench_now_ns();
	peer_raise(fd[0]);
	while (n-- > 0) {
		if (epoll_wait(epoll, &ev, 1, -1) != 1)
			continue;
		peer_drain(ev.data.fd);
		peer_raise(ev.data.fd == fd[0] ? fd[1] : fd[0]);
	}
	start = bench_now_ns() - start;
	close(epoll);
	close(fd[0]);
	close(fd[1]);
	return start;
}

static int64_t raw_idle(int arg, unsigned idle, unsigned n)
{
	int *fd = malloc(idle * sizeof(*fd)), active = peer_eventfd();
	int epoll = epoll_with(active);
	struct epoll_event ev;
	int64_t start;
	unsigned i;

	for (i = 0; i < idle; i++) {
		fd[i] = peer_eventfd();
		ev = (struct epoll_event){.events = EPOLLIN, .data.fd = fd[i]};
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd[i], &ev);
	}
	start = bench_now_ns();
	while (n-- > 0) {
		peer_raise(active);
		wait_and_drain(epoll, -1);
	}
	start = bench_now_ns() - start;
	for (i = 0; i < idle; i++)
		close(fd[i]);
	free(fd);
	close(epoll);
	close(active);
	return start;
}

const struct peer peer_raw = {
	.name = "floor",
	.bh = raw_bh,
	.wake = raw_wake,
	.hop = raw_hop,
	.idle = raw_idle,
};
