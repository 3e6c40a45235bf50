/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/loop/disk.h - random 4 KiB reads of a file, and a polled device.
 */
#ifndef GODWIT_BENCH_LOOP_DISK_H
#define GODWIT_BENCH_LOOP_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_BYTES (INT64_C(64) << 20)

/* Make the file to read, filled, at @path. */
void disk_make(const char *path);

/* Reads per second through the loop's ring, @depth in flight, for @ms.
 * @poll_ns: limit of adaptive polling, 0 for none.  @direct: O_DIRECT. */
double disk_godwit(const char *path, unsigned depth, unsigned ms,
	int64_t poll_ns, bool direct);

/* The same by fio's io_uring engine; < 0 if there is no fio. */
double disk_fio(const char *path, unsigned depth, unsigned ms, bool direct);

enum polled_mode { POLLED_OFF, POLLED_SPLIT, POLLED_JOINED };

/* Requests per second of a device that another thread feeds, one at a time,
 * through shared memory and an eventfd, @work_ns of work each.  JOINED is the
 * experiment of L10: the time of that work counts as time spent checking. */
double polled_device(
	enum polled_mode mode, unsigned ms, int64_t work_ns, const int cpu[2]);

#endif
