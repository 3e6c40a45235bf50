/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/migrate/first.c - from the start of a program to the first byte of its
 * output: prints the nanoseconds, then ends it.
 *
 *   first PROGRAM [ARGUMENT...]
 */
#include <inttypes.h>
#include <stdio.h>

#include "bench/lib/bench.h"

int main(int argc, char **argv)
{
	struct bench_child child;
	int64_t first;

	if (argc < 2)
		bench_die("usage: first PROGRAM [ARGUMENT...]");
	bench_spawn(argv + 1, &child);
	first = bench_read_until(&child, "");
	if (first >= 0)
		printf("%" PRId64 "\n", first - child.start_ns);
	bench_kill(&child);
	return first < 0;
}
