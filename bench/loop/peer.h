/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/loop/peer.h - what every event loop under comparison is made to do.
 *
 * Each function does the same work with its library's own means, and returns
 * the nanoseconds that took.  @arg is the peer's own (godwit's back end).
 */
#ifndef GODWIT_BENCH_LOOP_PEER_H
#define GODWIT_BENCH_LOOP_PEER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct peer {
	const char *name;
	int arg;
	/* Schedule a callback on this thread's own loop and run it, @n times.
	 */
	int64_t (*bh)(int arg, unsigned n);
	/* Two threads, a loop each: @n wake-ups to and fro.  @busy: neither
	 * ever sleeps. */
	int64_t (*wake)(int arg, unsigned n, const int cpu[2], bool busy);
	/* Two eventfds on one loop, each handler writes the other: @n hops. */
	int64_t (*hop)(int arg, unsigned n);
	/* One eventfd made ready and handled @n times, beside @idle others. */
	int64_t (*idle)(int arg, unsigned idle, unsigned n);
	/* @n timers: arm, cancel, and (armed again) expire; NULL: has none. */
	void (*timers)(int arg, unsigned n, int64_t ret_ns[3]);
};

extern const struct peer peer_raw, peer_uv, peer_ev;
extern const struct peer peer_godwit, peer_godwit_epoll, peer_godwit_poll;

/* The two ends of a wake: run @near here on cpu[0] and @far on another thread
 * on cpu[1]; nanoseconds until @near returns. */
int64_t peer_two_threads(void *(*near_main)(void *), void *near_arg,
	void *(*far_main)(void *), void *far_arg, const int cpu[2]);

int peer_eventfd(void);
void peer_raise(int fd);
void peer_drain(int fd);
/* The same pseudo-random milliseconds for every peer. */
uint32_t peer_random(uint32_t *state);
/* Spin past the deadlines of an expiry run. */
void peer_pass_ms(unsigned ms);

#define PEER_TIMER_SEED 12345u

#endif
