/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/lib/bench.h - what the benches share: children with a clock, order
 * statistics, a description of the host.
 *
 * Benches are programs, not tests: they print figures and never judge by time.
 * One thread.
 */
#ifndef GODWIT_BENCH_LIB_BENCH_H
#define GODWIT_BENCH_LIB_BENCH_H

#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#define BENCH_OUTPUT_MAX 255u

/* CLOCK_MONOTONIC. */
int64_t bench_now_ns(void);

/* Print "bench: text" to stderr and end the program with status 1. */
void bench_die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

struct bench_child {
	pid_t pid;
	int out_fd;			   /* owned: read end of its stdout */
	int64_t start_ns;		   /* just before it was spawned */
	char output[BENCH_OUTPUT_MAX + 1]; /* its first bytes */
	unsigned output_len;
};

/* Spawn argv[0] (a path, or a name on PATH) with stdin and stderr on
 * /dev/null.  Ends the bench if that fails. */
void bench_spawn(char *const *argv, struct bench_child *ret_child);

/* Read until the output holds @text or ends.
 * Return: when its first byte came, or -1: it never did. */
int64_t bench_read_until(struct bench_child *child, const char *text);

/* Read to the end and wait for it.
 * @ret_exit_ns: when it was gone.  Return: its wait(2) status. */
int bench_wait(struct bench_child *child, int64_t *ret_exit_ns);

/* Kill and reap. */
void bench_kill(struct bench_child *child);

/* Shape: count samples, sorted in place. */
struct bench_stats {
	double p10, median, p90;
};
struct bench_stats bench_stats(double *samples, unsigned count);

/* {"p10": .., "median": .., "p90": ..}, a new reference. */
json_t *bench_stats_json(const struct bench_stats *stats);

/* CPU, kernel, load average, date: a new reference. */
json_t *bench_host_json(void);

/* Say so if others keep this host busy: figures are then worth little. */
void bench_warn_if_busy(void);

/* Write @root to @path (NULL: nowhere) and drop the reference. */
void bench_write_json(json_t *root, const char *path);

#endif
