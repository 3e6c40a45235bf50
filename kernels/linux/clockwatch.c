/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/linux/clockwatch.c - watches the clocks of a Linux guest.
 *
 *   clockwatch FILE   run for ever, one thread a CPU; FILE has the findings
 *
 * Each thread stays on its CPU, sleeps 20 ms, and reads CLOCK_MONOTONIC,
 * CLOCK_BOOTTIME and CLOCK_REALTIME.  No clock may show less than any thread
 * has seen of it before, on whatever CPU: that is what a guest sees of a TSC
 * or a kvmclock that was loaded wrongly.  A CPU that has gone is waited for.
 * FILE is one line, rewritten in place every 200 ms:
 *
 *   back N by_ns W ticks T gap_ms G
 *
 * N steps backwards, the widest of them, T sleeps done by all threads, and the
 * longest time that the thread which writes needed from one line to the next.
 * A signal USR1 sets G to 0.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CPUS   16
#define CLOCKS 3

static const clockid_t clocks[CLOCKS] = {
	CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};

static _Atomic int64_t latest[CLOCKS];
static _Atomic int64_t widest;
static _Atomic uint64_t backwards, ticks;
static volatile sig_atomic_t forget;

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Raise @max to @value. */
static void raise_to(_Atomic int64_t *max, int64_t value)
{
	int64_t old = atomic_load(max);

	while (old < value && !atomic_compare_exchange_weak(max, &old, value))
		;
}

static void look(unsigned which)
{
	/* First what others have seen, then the clock: it must be later. */
	int64_t before = atomic_load(&latest[which]);
	int64_t now = now_ns(clocks[which]);

	if (now < before) {
		atomic_fetch_add(&backwards, 1);
		raise_to(&widest, before - now);
	}
	raise_to(&latest[which], now);
}

static void *watch(void *arg)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	const unsigned *cpu = arg;
	cpu_set_t mine;
	unsigned i, n;

	CPU_ZERO(&mine);
	CPU_SET(*cpu, &mine);
	for (;;) {
		/* Again each time: a CPU that goes takes the wish along. */
		if (sched_setaffinity(0, sizeof(mine), &mine) < 0) {
			nanosleep(&pause, NULL);
			continue;
		}
		for (n = 0; n < 16; n++)
			for (i = 0; i < CLOCKS; i++)
				look(i);
		atomic_fetch_add(&ticks, 1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void on_usr1(int sig)
{
	forget = 1;
}

int main(int argc, char **argv)
{
	const struct timespec pause = {.tv_nsec = 200000000};
	static unsigned ids[CPUS];
	int64_t last, now, gap = 0;
	pthread_t thread;
	char line[128];
	int fd, size;
	unsigned i;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0)
		return 1;
	signal(SIGUSR1, on_usr1);
	for (i = 0; i < CPUS; i++) {
		ids[i] = i;
		if (pthread_create(&thread, NULL, watch, &ids[i]) != 0)
			return 1;
	}
	for (last = now_ns(CLOCK_MONOTONIC);; last = now) {
		nanosleep(&pause, NULL);
		now = now_ns(CLOCK_MONOTONIC);
		if (forget) {
			forget = 0;
			gap = 0;
		} else if (now - last > gap) {
			gap = now - last;
		}
		/* Of fixed width: a reader never sees half of two lines. */
		size = snprintf(line, sizeof(line),
			"back %6" PRIu64 " by_ns %12" PRId64 " ticks %9" PRIu64
			" gap_ms %9" PRId64 "\n",
			atomic_load(&backwards), atomic_load(&widest),
			atomic_load(&ticks), gap / 1000000);
		if (pwrite(fd, line, (size_t)size, 0) != size)
			return 1;
	}
}
