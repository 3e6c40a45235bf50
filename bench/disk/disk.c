/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/disk/disk.c - random 4 KiB reads of a file through disk_submit(), with
 * both engines, beside fio's io_uring engine.
 *
 *   disk [-n ROUNDS] [-t MS] [-s MIB] [-f FILE] [-o JSON]
 *
 * Each round runs every column of every row in turn, so that what disturbs the
 * host disturbs all alike; the table shows medians, the JSON the spread too.
 * fio lays a file out by itself; here both read one that holds data.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/lib/bench.h"
#include "loop/loop.h"
#include "loop/pool.h"
#include "virtio/backend/disk.h"
#include "vmm/error.h"

#define BLOCK	   4096u
#define CHUNK	   (1u << 20)
#define DEPTH_MAX  32
#define ROUNDS_MAX 200u
#define REACH_FIO  0.8

enum { FIO, URING, POLLED, POOL, COLUMNS };

static const char *const columns[COLUMNS] = {
	"fio io_uring", "ring", "ring, 32 us", "pool"};

struct row {
	const char *name;
	unsigned depth;
	bool direct;
};

static const struct row rows[] = {
	{"page cache, QD 1", 1, false},
	{"page cache, QD 4", 4, false},
	{"page cache, QD 32", 32, false},
	{"O_DIRECT, QD 1", 1, true},
	{"O_DIRECT, QD 4", 4, true},
	{"O_DIRECT, QD 32", 32, true},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct options {
	unsigned rounds, ms;
	uint64_t bytes;
	const char *file, *json;
};

/* ---- the file ---- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void make_file(const struct options *opt)
{
	int fd =
		open(opt->file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	uint64_t *chunk = malloc(CHUNK), at, rnd = 1;
	unsigned i;

	if (fd < 0 || !chunk)
		bench_die("%s: cannot create", opt->file);
	for (i = 0; i < CHUNK / sizeof(*chunk); i++)
		chunk[i] = next_random(&rnd);
	for (at = 0; at < opt->bytes; at += CHUNK)
		if (pwrite(fd, chunk, CHUNK, (off_t)at) != CHUNK)
			bench_die("%s: cannot write", opt->file);
	fsync(fd);
	close(fd);
	free(chunk);
}

/* See that all of it is in the page cache. */
static void warm(const struct options *opt)
{
	int fd = open(opt->file, O_RDONLY | O_CLOEXEC);
	char *chunk = malloc(CHUNK);

	if (fd < 0 || !chunk)
		bench_die("%s: cannot open", opt->file);
	while (read(fd, chunk, CHUNK) > 0)
		;
	close(fd);
	free(chunk);
}

/* ---- godwit ---- */

struct reads {
	struct disk *disk;
	uint64_t blocks, rnd, done;
	int64_t end_ns; /* 0: over */
};

struct slot {
	struct reads *reads;
	struct disk_request req;
	struct iovec iov;
};

static void submit(struct slot *slot)
{
	struct reads *r = slot->reads;

	slot->req.offset = next_random(&r->rnd) % r->blocks * BLOCK;
	if (disk_submit(r->disk, &slot->req) < 0)
		bench_die("disk_submit");
}

static void read_done(void *opaque, int result)
{
	struct slot *slot = opaque;
	struct reads *r = slot->reads;

	if (result < 0)
		bench_die("read: %s", strerror(-result));
	/* The clock is read now and then only. */
	if (++r->done % 16 == 0 && bench_now_ns() >= r->end_ns)
		r->end_ns = 0;
	if (r->end_ns)
		submit(slot);
}

static double read_all(
	struct loop *loop, struct reads *r, unsigned depth, unsigned ms)
{
	struct slot slot[DEPTH_MAX];
	int64_t start = bench_now_ns();
	unsigned i;

	r->end_ns = start + (int64_t)ms * 1000000;
	for (i = 0; i < depth; i++) {
		slot[i] = (struct slot){.reads = r,
			.iov = {aligned_alloc(BLOCK, BLOCK), BLOCK}};
		slot[i].req = (struct disk_request){.op = DISK_READ,
			.iov = &slot[i].iov,
			.iovs = 1,
			.done = read_done,
			.opaque = &slot[i]};
		submit(&slot[i]);
	}
	disk_drain(r->disk);
	start = bench_now_ns() - start;
	for (i = 0; i < depth; i++)
		free(slot[i].iov.iov_base);
	return (double)r->done * 1e9 / (double)start;
}

static double run_godwit(
	const struct options *opt, const struct row *row, unsigned column)
{
	const struct loop_options loop_opt = {.backend = LOOP_URING};
	const struct loop_polling polling = {
		.max_ns = column == POLLED ? 32000 : 0, .grow = 2};
	struct disk_options disk_opt = {.name = "disk",
		.path = opt->file,
		.fd = -1,
		.readonly = true,
		.direct = row->direct,
		.engine = column == POOL ? DISK_POOL : DISK_URING};
	struct reads r = {.rnd = 88172645463325252u};
	struct error err = {0};
	struct loop *loop;
	struct pool *pool;
	double iops;

	if (loop_create(&loop_opt, &loop, &err) < 0 ||
		pool_create(NULL, &pool, &err) < 0 ||
		loop_set_polling(loop, &polling) < 0)
		bench_die("%s", err.text);
	if (disk_open(loop, pool, &disk_opt, &r.disk, &err) < 0)
		bench_die("%s", err.text);
	r.blocks = opt->bytes / BLOCK;
	iops = read_all(loop, &r, row->depth, opt->ms);
	disk_close(r.disk);
	pool_destroy(pool);
	loop_destroy(loop);
	return iops;
}

/* ---- fio ---- */

/* Reads per second; < 0 if there is no fio. */
static double run_fio(const struct options *opt, const struct row *row)
{
	char command[512];
	json_t *root, *job;
	double iops;
	FILE *fio;

	snprintf(command, sizeof(command),
		"fio --name=r --filename=%s --rw=randread --bs=4k --direct=%d "
		"--ioengine=io_uring --iodepth=%u --runtime=%ums --time_based "
		"--size=%llu --output-format=json --thread --norandommap "
		"--invalidate=0 2>/dev/null",
		opt->file, row->direct, row->depth, opt->ms,
		(unsigned long long)opt->bytes);
	fio = popen(command, "r");
	if (!fio)
		return -1;
	root = json_loadf(fio, 0, NULL);
	pclose(fio);
	job = json_array_get(json_object_get(root, "jobs"), 0);
	iops = json_number_value(
		json_object_get(json_object_get(job, "read"), "iops"));
	json_decref(root);
	return iops > 0 ? iops : -1;
}

/* ---- report ---- */

static double sample[ROWS][COLUMNS][ROUNDS_MAX];

static void measure(const struct options *opt)
{
	unsigned i, r, c;

	for (i = 0; i < opt->rounds; i++) {
		warm(opt);
		for (r = 0; r < ROWS; r++)
			for (c = 0; c < COLUMNS; c++)
				sample[r][c][i] =
					c == FIO ? run_fio(opt, &rows[r])
						 : run_godwit(opt, &rows[r], c);
		fprintf(stderr, "\rround %u of %u", i + 1, opt->rounds);
	}
	fprintf(stderr, "\n");
}

static json_t *row_json(const struct row *row, const struct bench_stats *stats)
{
	json_t *object = json_pack(
		"{s:s, s:s}", "row", row->name, "unit", "reads per second");
	double best = stats[URING].median > stats[POLLED].median
			      ? stats[URING].median
			      : stats[POLLED].median;
	unsigned c;

	for (c = 0; c < COLUMNS; c++)
		if (stats[c].median > 0)
			json_object_set_new(object, columns[c],
				bench_stats_json(&stats[c]));
	if (stats[FIO].median > 0)
		json_object_set_new(object, "best ring to fio",
			json_real(best / stats[FIO].median));
	return object;
}

static void print_row(const struct row *row, const struct bench_stats *stats)
{
	unsigned c;

	printf("%-20s", row->name);
	for (c = 0; c < COLUMNS; c++) {
		if (stats[c].median > 0)
			printf(" %12.1f", stats[c].median / 1e3);
		else
			printf(" %12s", "-");
	}
	if (stats[FIO].median > 0)
		printf("  %5.2f %5.2f", stats[URING].median / stats[FIO].median,
			stats[POLLED].median / stats[FIO].median);
	printf("\n");
}

static void report(const struct options *opt)
{
	struct bench_stats stats[COLUMNS];
	json_t *list = json_array();
	unsigned r, c;

	printf("\n4 KiB random reads of %llu MiB, thousands a second, median "
	       "of %u\n%-20s",
		(unsigned long long)(opt->bytes >> 20), opt->rounds, "");
	for (c = 0; c < COLUMNS; c++)
		printf(" %12s", columns[c]);
	printf("  ring/fio (reach: %.1f)\n", REACH_FIO);
	for (r = 0; r < ROWS; r++) {
		for (c = 0; c < COLUMNS; c++)
			stats[c] = bench_stats(sample[r][c], opt->rounds);
		print_row(&rows[r], stats);
		json_array_append_new(list, row_json(&rows[r], stats));
	}
	bench_write_json(
		json_pack("{s:s, s:o, s:i, s:I, s:o}", "bench", "disk", "host",
			bench_host_json(), "rounds", (int)opt->rounds, "bytes",
			(json_int_t)opt->bytes, "rows", list),
		opt->json);
}

int main(int argc, char **argv)
{
	struct options opt = {.rounds = 11,
		.ms = 500,
		.bytes = UINT64_C(1) << 30,
		.file = "build/bench/disk.data"};
	int letter;

	while ((letter = getopt(argc, argv, "n:t:s:f:o:")) != -1) {
		if (letter == 'n')
			opt.rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (letter == 't')
			opt.ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (letter == 's')
			opt.bytes = strtoull(optarg, NULL, 10) << 20;
		else if (letter == 'f')
			opt.file = optarg;
		else if (letter == 'o')
			opt.json = optarg;
		else
			return 2;
	}
	if (opt.rounds == 0 || opt.rounds > ROUNDS_MAX || opt.bytes == 0 ||
		opt.ms == 0)
		bench_die("-n 1 to %u, -t and -s from 1", ROUNDS_MAX);
	bench_warn_if_busy();
	make_file(&opt);
	measure(&opt);
	report(&opt);
	unlink(opt.file);
	return 0;
}
