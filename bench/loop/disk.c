/* SPDX-License-Identifier: Apache-2.0 */
/* bench/loop/disk.c - see disk.h. */
#include "bench/loop/disk.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/lib/bench.h"
#include "bench/loop/peer.h"
#include "loop/loop.h"
#include "loop/private.h"
#include "loop/uring.h"
#include "vmm/error.h"

#define BLOCK 4096

static struct loop *open_loop(int64_t poll_ns)
{
	const struct loop_options opt = {.backend = LOOP_URING};
	const struct loop_polling polling = {poll_ns, 2, 0};
	struct loop *loop;
	struct error err;

	if (loop_create(&opt, &loop, &err) < 0)
		bench_die("%s", err.text);
	if (loop_set_polling(loop, &polling) < 0)
		bench_die("loop_set_polling");
	return loop;
}

void disk_make(const char *path)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	char *block = malloc(1 << 20);
	int64_t at;

	if (fd < 0 || !block)
		bench_die("%s: cannot create", path);
	memset(block, 'x', 1 << 20);
	for (at = 0; at < DISK_BYTES; at += 1 << 20)
		if (pwrite(fd, block, 1 << 20, at) != 1 << 20)
			bench_die("%s: cannot write", path);
	fsync(fd);
	close(fd);
	free(block);
}

/* ---- the ring ---- */

struct reads {
	struct loop *loop;
	int fd;
	uint32_t seed;
	uint64_t done;
	int64_t end_ns;
	unsigned in_flight;
};

struct slot {
	struct reads *reads;
	struct loop_op op;
	char *buffer;
};

static void submit(struct slot *slot)
{
	struct reads *r = slot->reads;
	struct io_uring_sqe *sqe = loop_uring_prep(&slot->op);

	if (!sqe)
		bench_die("no submission entry");
	io_uring_prep_read(sqe, r->fd, slot->buffer, BLOCK,
		peer_random(&r->seed) % (DISK_BYTES / BLOCK) * (uint64_t)BLOCK);
}

static void read_done(void *opaque, int32_t res)
{
	struct slot *slot = opaque;
	struct reads *r = slot->reads;

	if (res != BLOCK)
		bench_die("read: %d", res);
	/* The clock is read now and then only. */
	if (++r->done % 16 == 0 && bench_now_ns() >= r->end_ns)
		r->end_ns = 0;
	if (r->end_ns)
		submit(slot);
	else
		r->in_flight--;
}

double disk_godwit(const char *path, unsigned depth, unsigned ms,
	int64_t poll_ns, bool direct)
{
	struct reads r = {.loop = open_loop(poll_ns),
		.fd = open(
			path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0)),
		.seed = PEER_TIMER_SEED,
		.in_flight = depth};
	struct slot *slot = calloc(depth, sizeof(*slot));
	int64_t start = bench_now_ns();
	unsigned i;

	if (r.fd < 0)
		bench_die("%s: cannot open", path);
	r.end_ns = start + (int64_t)ms * 1000000;
	for (i = 0; i < depth; i++) {
		slot[i].reads = &r;
		slot[i].buffer = aligned_alloc(BLOCK, BLOCK);
		loop_op_init(&slot[i].op, r.loop, read_done, &slot[i]);
		submit(&slot[i]);
	}
	while (r.in_flight > 0)
		loop_poll(r.loop, true);
	start = bench_now_ns() - start;
	for (i = 0; i < depth; i++)
		free(slot[i].buffer);
	free(slot);
	close(r.fd);
	loop_destroy(r.loop);
	return (double)r.done * 1e9 / (double)start;
}

double disk_fio(const char *path, unsigned depth, unsigned ms, bool direct)
{
	char command[512];
	json_t *root, *read;
	double iops;
	FILE *fio;

	snprintf(command, sizeof(command),
		"fio --name=r --filename=%s --rw=randread --bs=4k --direct=%d "
		"--ioengine=io_uring --iodepth=%u --runtime=%ums --time_based "
		"--size=%lld --output-format=json --thread --norandommap "
		"--invalidate=0 2>/dev/null",
		path, direct, depth, ms, (long long)DISK_BYTES);
	fio = popen(command, "r");
	if (!fio)
		return -1;
	root = json_loadf(fio, 0, NULL);
	pclose(fio);
	if (!root)
		return -1;
	read = json_object_get(
		json_array_get(json_object_get(root, "jobs"), 0), "read");
	iops = json_number_value(json_object_get(read, "iops"));
	json_decref(root);
	return iops > 0 ? iops : -1;
}

/* ---- a polled device ---- */

struct device {
	struct loop *loop;
	int kick_fd;
	_Atomic uint64_t posted; /* by the driver */
	_Atomic uint64_t served;
	_Atomic bool quiet; /* the driver need not kick */
	_Atomic bool stop;
	int64_t work_ns;
	bool joined;
};

static bool serve(void *opaque)
{
	struct device *d = opaque;
	uint64_t served = atomic_load(&d->served);
	int64_t end;

	if (atomic_load(&d->posted) == served)
		return false;
	end = bench_now_ns() + d->work_ns;
	while (bench_now_ns() < end)
		;
	atomic_store(&d->served, served + 1);
	return true;
}

static bool check(void *opaque)
{
	struct device *d = opaque;

	return atomic_load(&d->posted) != atomic_load(&d->served);
}

static bool ready(void *opaque)
{
	return serve(opaque);
}

static bool kicked(void *opaque, unsigned events)
{
	struct device *d = opaque;

	peer_drain(d->kick_fd);
	return serve(d);
}

static void begin(void *opaque)
{
	atomic_store(&((struct device *)opaque)->quiet, true);
}

static void end(void *opaque)
{
	atomic_store(&((struct device *)opaque)->quiet, false);
}

/* Posts one request, waits for its end, thinks a little. */
static void *driver_main(void *opaque)
{
	struct device *d = opaque;
	uint64_t posted = 0;
	int64_t until;

	while (!atomic_load(&d->stop)) {
		atomic_store(&d->posted, ++posted);
		if (!atomic_load(&d->quiet))
			peer_raise(d->kick_fd);
		while (atomic_load(&d->served) != posted &&
			!atomic_load(&d->stop))
			__builtin_ia32_pause();
		until = bench_now_ns() + 3000;
		while (bench_now_ns() < until)
			;
	}
	loop_notify(d->loop);
	return NULL;
}

static void stop_it(void *opaque)
{
	atomic_store(&((struct device *)opaque)->stop, true);
}

static void *device_main(void *opaque)
{
	struct device *d = opaque;

	while (!atomic_load(&d->stop)) {
		int64_t start = bench_now_ns();

		loop_poll(d->loop, true);
		/* The experiment: what the ready handler took is counted
		 * as if it had been spent in checking. */
		if (d->joined)
			loop_polling_adapt(d->loop, start);
	}
	return NULL;
}

double polled_device(
	enum polled_mode mode, unsigned ms, int64_t work_ns, const int cpu[2])
{
	static const struct loop_poll_fns fns = {check, ready, begin, end};
	struct device d = {.loop = open_loop(mode == POLLED_OFF ? 0 : 32000),
		.kick_fd = peer_eventfd(),
		.work_ns = work_ns,
		.joined = mode == POLLED_JOINED};
	struct loop_timer timer;
	struct loop_fd *h;
	int64_t ns;

	loop_fd_add(d.loop, d.kick_fd, LOOP_READ, LOOP_FD_DRAINS, kicked, &d,
		"device", &h);
	loop_fd_set_polling(h, &fns);
	loop_timer_init(&timer, d.loop, LOOP_MONOTONIC, stop_it, &d);
	loop_timer_set(&timer,
		loop_now_ns(d.loop, LOOP_MONOTONIC) + (int64_t)ms * 1000000);
	ns = peer_two_threads(device_main, &d, driver_main, &d, cpu);
	loop_fd_del(h);
	loop_destroy(d.loop);
	close(d.kick_fd);
	return (double)atomic_load(&d.served) * 1e9 / (double)ns;
}
