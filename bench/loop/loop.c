/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/loop/loop.c - the event loop beside libuv, libev, fio and the floor.
 *
 *   loop [-n ROUNDS] [-o FILE.json] [-d DATAFILE] [-r ROW]
 *
 * Each round runs every row with every peer in turn, so that the host's moods
 * hit all alike; the table shows medians, the JSON the spread too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/lib/bench.h"
#include "bench/loop/disk.h"
#include "bench/loop/peer.h"

#define MAX_ROUNDS 200
#define COLUMNS	   6

static const struct peer *const peers[COLUMNS] = {&peer_raw, &peer_uv, &peer_ev,
	&peer_godwit, &peer_godwit_epoll, &peer_godwit_poll};

static const char *data_path = "build/bench/loop.data";

/* A row: one figure for each column; < 0 where there is none. */
struct row {
	const char *name, *unit;
	const char *const *columns;
	void (*run)(const struct row *row, double *ret_value);
	unsigned n, param;
};

static const int apart[2] = {0, 1}, together[2] = {0, 0};

static void run_bh(const struct row *row, double *ret_value)
{
	unsigned i;

	for (i = 0; i < COLUMNS; i++)
		ret_value[i] =
			(double)peers[i]->bh(peers[i]->arg, row->n) / row->n;
}

static void run_wake(const struct row *row, double *ret_value)
{
	const int *cpu = row->param == 0 ? together : apart;
	unsigned i;

	for (i = 0; i < COLUMNS; i++)
		ret_value[i] = (double)peers[i]->wake(peers[i]->arg, row->n,
				       cpu, row->param == 2) /
			       row->n;
}

static void run_hop(const struct row *row, double *ret_value)
{
	unsigned i;

	for (i = 0; i < COLUMNS; i++)
		ret_value[i] =
			(double)peers[i]->hop(peers[i]->arg, row->n) / row->n;
}

static void run_idle(const struct row *row, double *ret_value)
{
	unsigned i;

	for (i = 0; i < COLUMNS; i++) {
		/* ppoll looks at them all, every time: fewer turns. */
		unsigned n = peers[i] == &peer_godwit_poll && row->param > 1000
				     ? row->n / 50
				     : row->n;

		ret_value[i] =
			(double)peers[i]->idle(peers[i]->arg, row->param, n) /
			n;
	}
}

static void run_timers(const struct row *row, double *ret_value)
{
	int64_t ns[3];
	unsigned i;

	for (i = 0; i < COLUMNS; i++) {
		ret_value[i] = -1;
		if (!peers[i]->timers || i > 3) /* no matter which back end */
			continue;
		peers[i]->timers(peers[i]->arg, row->n, ns);
		ret_value[i] = (double)ns[row->param] / row->n;
	}
}

/* Thousands of reads a second. */
static void run_disk(const struct row *row, double *ret_value)
{
	bool direct = row->param > 0;

	ret_value[0] = disk_fio(data_path, row->n, 700, direct) / 1e3;
	ret_value[1] = disk_godwit(data_path, row->n, 700, 0, direct) / 1e3;
	ret_value[2] = disk_godwit(data_path, row->n, 700, 32000, direct) / 1e3;
	ret_value[3] =
		disk_godwit(data_path, row->n, 700, 200000, direct) / 1e3;
}

static void run_polled(const struct row *row, double *ret_value)
{
	unsigned i;

	for (i = 0; i < 3; i++)
		ret_value[i] = polled_device((enum polled_mode)i, 300,
				       row->param, apart) /
			       1e3;
}

static const char *const loop_columns[COLUMNS + 1] = {
	"floor", "libuv", "libev", "godwit", "(epoll)", "(ppoll)", NULL};
static const char *const disk_columns[] = {
	"fio", "no polling", "<= 32 us", "<= 200 us", NULL};
static const char *const polled_columns[] = {
	"no polling", "split", "joined", NULL};

static const struct row rows[] = {
	{"schedule to run, same thread", "ns", loop_columns, run_bh, 20000, 0},
	{"wake-up, same CPU", "ns", loop_columns, run_wake, 10000, 0},
	{"wake-up, other CPU", "ns", loop_columns, run_wake, 4000, 1},
	{"wake-up, other CPU, busy", "ns", loop_columns, run_wake, 20000, 2},
	{"fd to fd hop", "ns", loop_columns, run_hop, 20000, 0},
	{"1 active, 1 idle fd", "ns", loop_columns, run_idle, 20000, 1},
	{"1 active, 100 idle fds", "ns", loop_columns, run_idle, 20000, 100},
	{"1 active, 10000 idle fds", "ns", loop_columns, run_idle, 5000, 10000},
	{"timer arm (100000)", "ns", loop_columns, run_timers, 100000, 0},
	{"timer cancel", "ns", loop_columns, run_timers, 100000, 1},
	{"timer expire", "ns", loop_columns, run_timers, 100000, 2},
	{"4 KiB reads, QD 1", "kIOPS", disk_columns, run_disk, 1, 1},
	{"4 KiB reads, QD 32", "kIOPS", disk_columns, run_disk, 32, 1},
	{"4 KiB reads, QD 32, cached", "kIOPS", disk_columns, run_disk, 32, 0},
	{"polled device, 5 us of work", "kIOPS", polled_columns, run_polled, 0,
		5000},
	{"polled device, 40 us of work", "kIOPS", polled_columns, run_polled, 0,
		40000},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static double sample[ROWS][COLUMNS][MAX_ROUNDS];

static void print_row(const struct row *row, const struct bench_stats *stats)
{
	unsigned c;

	printf("%-30s", row->name);
	for (c = 0; row->columns[c]; c++) {
		if (stats[c].median < 0)
			printf(" %10s", "-");
		else
			printf(" %10.*f", stats[c].median < 100 ? 1 : 0,
				stats[c].median);
	}
	printf("  %s\n", row->unit);
}

static void print_columns(const char *const *columns)
{
	unsigned c;

	printf("\n%-30s", "");
	for (c = 0; columns[c]; c++)
		printf(" %10s", columns[c]);
	printf("\n");
}

static json_t *row_json(const struct row *row, const struct bench_stats *stats)
{
	json_t *object =
		json_pack("{s:s, s:s}", "row", row->name, "unit", row->unit);
	unsigned c;

	for (c = 0; row->columns[c]; c++)
		if (stats[c].median >= 0)
			json_object_set_new(object, row->columns[c],
				bench_stats_json(&stats[c]));
	return object;
}

static void report(unsigned rounds, const char *only, const char *path)
{
	json_t *list = json_array();
	struct bench_stats stats[COLUMNS];
	const char *const *columns = NULL;
	unsigned r, c;

	for (r = 0; r < ROWS; r++) {
		if (only && !strstr(rows[r].name, only))
			continue;
		for (c = 0; rows[r].columns[c]; c++)
			stats[c] = bench_stats(sample[r][c], rounds);
		if (rows[r].columns != columns)
			print_columns(rows[r].columns);
		columns = rows[r].columns;
		print_row(&rows[r], stats);
		json_array_append_new(list, row_json(&rows[r], stats));
	}
	bench_write_json(json_pack("{s:o, s:i, s:o}", "host", bench_host_json(),
				 "rounds", (int)rounds, "rows", list),
		path);
}

int main(int argc, char **argv)
{
	const char *out = NULL, *only = NULL;
	struct rlimit files;
	double value[COLUMNS];
	unsigned rounds = 11, i, r, c;
	int opt;

	while ((opt = getopt(argc, argv, "n:o:d:r:")) != -1) {
		if (opt == 'n')
			rounds = (unsigned)atoi(optarg);
		else if (opt == 'o')
			out = optarg;
		else if (opt == 'd')
			data_path = optarg;
		else if (opt == 'r')
			only = optarg;
		else
			return 2;
	}
	if (rounds == 0 || rounds > MAX_ROUNDS)
		bench_die("1 to %d rounds", MAX_ROUNDS);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	bench_warn_if_busy();
	disk_make(data_path);
	for (i = 0; i < rounds; i++) {
		for (r = 0; r < ROWS; r++) {
			if (only && !strstr(rows[r].name, only))
				continue;
			rows[r].run(&rows[r], value);
			for (c = 0; rows[r].columns[c]; c++)
				sample[r][c][i] = value[c];
		}
		fprintf(stderr, "\rround %u of %u", i + 1, rounds);
	}
	fprintf(stderr, "\n");
	report(rounds, only, out);
	unlink(data_path);
	return 0;
}
