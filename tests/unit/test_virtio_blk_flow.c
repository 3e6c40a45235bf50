/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_virtio_blk_flow.c - how requests get to the disk: several
 * queues, neighbours that become one, limits, and images that are full.
 */
#include "tests/unit/blk_bed.h"

#include <time.h>

#include "migrate/state.h"
#include "tests/unit/small_fs.h"
#include "virtio/backend/bucket.h"
#include "virtio/blk_private.h"

#define MS INT64_C(1000000)

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 * MS + t.tv_nsec;
}

static struct blk *blk(void)
{
	return (struct blk *)b.vdev;
}

static void replug(struct virtio_blk_options opt)
{
	vbench_unplug(&b);
	b.next_gpa = 0x1000;
	plug_with(opt, (struct disk_options){0});
}

static uint64_t merged(void)
{
	struct virtio_blk_stats s;

	virtio_blk_stats(b.vdev, &s);
	return s.disk.merged;
}

/* ---- queues ---- */

static void every_queue_is_served_and_answers_for_itself(void **state)
{
	struct asked a[4];
	unsigned q;

	replug((struct virtio_blk_options){.queues = 4});
	assert_true(vd_features(&b) >> VIRTIO_BLK_F_MQ & 1);
	assert_int_equal(
		b.range.ops->read(b.range.opaque, VIRTIO_MMIO_CONFIG + 34, 2),
		4);
	vd_start(&b, INDIRECT | 1ull << VIRTIO_BLK_F_MQ, 4, 128);
	fill(DATA, 4 * 4096, 3);
	for (q = 0; q < 4; q++)
		a[q] = offer_on(
			q, VIRTIO_BLK_T_OUT, q * 8, DATA + q * 4096, 4096);
	for (q = 4; q-- > 0;)
		vd_kick(&b, q);
	for (q = 0; q < 4; q++) {
		assert_int_equal(vd_wait(&b, q), 1);
		assert_int_equal(status_of(a[q]), 0);
		assert_int_equal(vd_used(&b, q), 0);
	}
	for (q = 0; q < 4; q++) {
		a[q] = offer_on(
			q, VIRTIO_BLK_T_IN, (3 - q) * 8, DATA + 0x10000, 4096);
		vd_kick(&b, q);
		vd_wait(&b, q);
		assert_memory_equal(vd_at(&b, DATA + 0x10000),
			vd_at(&b, DATA + (3 - q) * 4096), 4096);
	}
}

static void a_driver_may_use_fewer_queues_than_there_are(void **state)
{
	replug((struct virtio_blk_options){.queues = 16});
	vd_start(&b, 0, 1, 128);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 512), 0);
}

/* ---- neighbours ---- */

static void settle(unsigned n)
{
	while (n-- > 0)
		vd_wait(&b, 0);
}

static void neighbours_of_a_batch_are_one_operation(void **state)
{
	static uint8_t back[32 * 4096];
	struct asked a[32];
	unsigned i, round;

	vd_start(&b, INDIRECT, 1, 128);
	for (round = 0; round < 2; round++) {
		fill(DATA, sizeof(back), round);
		for (i = 0; i < 32; i++)
			a[i] = offer(
				VIRTIO_BLK_T_OUT, i * 8, DATA + i * 4096, 4096);
		vd_kick(&b, 0);
		settle(32);
		for (i = 0; i < 32; i++)
			assert_int_equal(status_of(a[i]), 0);
		assert_int_equal(
			pread(image, back, sizeof(back), 0), sizeof(back));
		assert_memory_equal(back, vd_at(&b, DATA), sizeof(back));
	}
	assert_int_equal(merged(), 62);
	memset(vd_at(&b, DATA), 0, sizeof(back));
	for (i = 0; i < 32; i++)
		a[i] = offer(VIRTIO_BLK_T_IN, i * 8, DATA + i * 4096, 4096);
	vd_kick(&b, 0);
	settle(32);
	for (i = 0; i < 32; i++)
		assert_int_equal(status_of(a[i]), 0);
	assert_memory_equal(back, vd_at(&b, DATA), sizeof(back));
	assert_int_equal(merged(), 93);
}

static void only_neighbours_in_one_direction_are_merged(void **state)
{
	vd_start(&b, INDIRECT, 1, 128);
	offer(VIRTIO_BLK_T_OUT, 0, DATA, 4096);
	offer(VIRTIO_BLK_T_OUT, 9, DATA, 4096);	 /* a gap */
	offer(VIRTIO_BLK_T_OUT, 16, DATA, 4096); /* overlaps */
	offer(VIRTIO_BLK_T_IN, 24, DATA + 0x8000, 4096);
	offer(VIRTIO_BLK_T_OUT, 32, DATA, 4096);
	offer(VIRTIO_BLK_T_OUT, 24, DATA, 4096); /* the wrong way round */
	vd_kick(&b, 0);
	settle(6);
	assert_int_equal(merged(), 0);
	/* A flush between does not part them: what it covers ended before. */
	offer(VIRTIO_BLK_T_OUT, 0, DATA, 4096);
	offer(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
	offer(VIRTIO_BLK_T_OUT, 8, DATA, 4096);
	vd_kick(&b, 0);
	settle(3);
	assert_int_equal(merged(), 1);
}

static void a_merged_operation_has_an_end(void **state)
{
	unsigned i;

	vd_start(&b, INDIRECT, 1, 128);
	for (i = 0; i < 4; i++)
		offer(VIRTIO_BLK_T_OUT, i * 256, DATA, 128 << 10);
	vd_kick(&b, 0);
	settle(4);
	assert_int_equal(merged(), 2); /* two by two: 256 KiB */
}

static void each_part_of_a_merged_failure_has_its_own_status(void **state)
{
	struct asked a[8];
	unsigned i;

	assert_int_equal(pwrite(image, "part", 4, 3 * 4096), 4);
	vd_start(&b, INDIRECT, 1, 128);
	/* Behind the device's back: five of eight are there, one in part. */
	assert_int_equal(ftruncate(image, 5 * 4096 + 512), 0);
	for (i = 0; i < 8; i++)
		a[i] = offer(VIRTIO_BLK_T_IN, i * 8, DATA + i * 4096, 4096);
	vd_kick(&b, 0);
	settle(8);
	assert_int_equal(merged(), 7);
	for (i = 0; i < 8; i++)
		assert_int_equal(status_of(a[i]),
			i < 5 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
	assert_memory_equal(vd_at(&b, DATA + 3 * 4096), "part", 4);
}

/* ---- limits ---- */

static struct bucket_group group;

static void limit(const struct bucket_limits *limits, unsigned queues)
{
	bucket_group_init(&group, limits, now_ns());
	replug((struct virtio_blk_options){.limits = &group, .queues = queues});
}

static void unlimit(void)
{
	vbench_unplug(&b);
	bucket_group_fini(&group);
}

static void requests_wait_for_their_tokens_in_order(void **state)
{
	struct bucket_limits l = {.ops[BUCKET_DIRS] = {200, 1}};
	struct virtio_blk_stats s;
	struct asked a[21];
	int64_t start;
	unsigned i, done;

	limit(&l, 1);
	start = now_ns();
	vd_start(&b, INDIRECT, 1, 128);
	for (i = 0; i < 21; i++)
		a[i] = offer(VIRTIO_BLK_T_OUT, i * 16, DATA, 512);
	vd_kick(&b, 0);
	for (done = 0; done < 21;) {
		loop_poll(b.loop, true);
		virtio_blk_stats(b.vdev, &s);
		done = vd_used(&b, 0);
		/* Nobody overtakes: what has begun are the first ones. */
		for (i = (unsigned)s.writes; i < 21; i++)
			assert_int_equal(status_of(a[i]), 0xee);
		/* One of the burst, and another while no debt is left. */
		assert_true(s.writes <=
			    2 + (uint64_t)(now_ns() - start) / (5 * MS));
	}
	for (i = 0; i < 21; i++)
		assert_int_equal(status_of(a[i]), 0);
	assert_true(s.throttled > 0);
	unlimit();
}

static void bytes_are_limited_too(void **state)
{
	struct bucket_limits l = {.bytes[BUCKET_READ] = {1 << 20, 4096}};
	int64_t start;
	unsigned i;

	limit(&l, 1);
	vd_start(&b, INDIRECT, 1, 128);
	start = now_ns();
	for (i = 0; i < 5; i++)
		offer(VIRTIO_BLK_T_IN, 0, DATA + i * 0x8000, 0x8000);
	vd_kick(&b, 0);
	settle(5);
	/* Four wait for those before them: 128 KiB less the burst. */
	assert_true(now_ns() - start >= 115 * MS);
	/* Writes are free. */
	start = now_ns();
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 512 << 10), 0);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 512 << 10), 0);
	unlimit();
}

/* A queue that will not be looked at for hours: one request is through and has
 * left a debt; a second is in the ring. */
static struct asked stuck(unsigned queues)
{
	struct bucket_limits l = {.bytes[BUCKET_WRITE] = {1, 1}};
	struct asked a;
	unsigned q;

	limit(&l, queues);
	vd_start(&b, INDIRECT, queues, 128);
	fill(DATA, 8192, 5);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 4096), 0);
	a = offer(VIRTIO_BLK_T_OUT, 8, DATA + 4096, 4096);
	vd_kick(&b, 0);
	while (!blk()->waiter[0].waiting)
		loop_poll(b.loop, true);
	for (q = 0; q < queues; q++)
		assert_int_equal(b.q[q].size, 128);
	assert_int_equal(b.vdev->inflight, 0);
	assert_int_equal(status_of(a), 0xee);
	return a;
}

static void a_pause_does_not_wait_for_tokens(void **state)
{
	struct asked a = stuck(1);

	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(status_of(a), 0xee);
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->reset(b.dev);
	b.dev->ops->resume(b.dev);
	unlimit();
}

static void what_waits_for_tokens_moves_with_the_ring(void **state)
{
	struct asked a = stuck(1);
	struct state_writer w;
	struct error err = {0};
	uint8_t back[4096];

	vbench_save(&b, &w);
	unlimit();
	plug(false, NULL); /* RAM and the rings are still there */
	if (vbench_load(&b, &w, &err) < 0)
		fail_msg("%s", err.text);
	state_writer_fini(&w);
	b.dev->ops->resume(b.dev);
	vd_wait(&b, 0);
	assert_int_equal(status_of(a), 0);
	assert_int_equal(pread(image, back, 4096, 4096), 4096);
	assert_memory_equal(back, vd_at(&b, DATA + 4096), 4096);
}

static void other_limits_hold_at_once(void **state)
{
	struct bucket_limits none = {.ops[0] = {0, 0}}, back;
	struct asked a = stuck(1);

	bucket_group_get(&group, &back);
	assert_int_equal(back.bytes[BUCKET_WRITE].rate, 1);
	assert_int_equal(back.bytes[BUCKET_WRITE].burst, 1);
	assert_int_equal(back.ops[BUCKET_DIRS].rate, 0);
	bucket_group_reset(&group, &none, now_ns());
	assert_int_equal(virtio_blk_set_limits(b.vdev, &group), 0);
	vd_wait(&b, 0);
	assert_int_equal(status_of(a), 0);
	unlimit();
}

static void limits_may_come_later(void **state)
{
	struct bucket_limits l = {.ops[BUCKET_DIRS] = {100, 1}};
	struct virtio_blk_stats s;

	replug((struct virtio_blk_options){.queues = 2});
	vd_start(&b, INDIRECT, 2, 128);
	bucket_group_init(&group, &l, now_ns());
	assert_int_equal(virtio_blk_set_limits(b.vdev, &group), 0);
	ask(VIRTIO_BLK_T_IN, 0, DATA, 512);
	ask(VIRTIO_BLK_T_IN, 0, DATA, 512);
	ask(VIRTIO_BLK_T_IN, 0, DATA, 512);
	virtio_blk_stats(b.vdev, &s);
	assert_int_equal(s.throttled, 1);
	unlimit();
}

static void a_reset_forgets_who_waits(void **state)
{
	stuck(1);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_false(blk()->waiter[0].waiting);
	b.next_gpa = 0x1000;
	vd_start(&b, INDIRECT, 1, 128);
	/* Reads are not limited, and the queue is looked at. */
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 512), 0);
	unlimit();
}

static void one_queue_that_waits_does_not_stop_another(void **state)
{
	struct asked a, other;

	a = stuck(2);
	other = offer_on(1, VIRTIO_BLK_T_IN, 0, DATA, 512);
	vd_kick(&b, 1);
	vd_wait(&b, 1);
	assert_int_equal(status_of(other), 0);
	assert_int_equal(status_of(a), 0xee);
	unlimit();
}

static void flushes_and_unknown_requests_are_free(void **state)
{
	struct bucket_limits l = {.ops[BUCKET_DIRS] = {1, 1}};
	struct virtio_blk_stats s;
	unsigned i;

	limit(&l, 1);
	vd_start(&b, INDIRECT, 1, 128);
	for (i = 0; i < 30; i++) {
		ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
		ask(99, 0, DATA, 512);
	}
	virtio_blk_stats(b.vdev, &s);
	assert_int_equal(s.throttled, 0);
	unlimit();
}

/* ---- two disks, one group ---- */

/* Another machine, on a thread of its own, with a disk in the same group. */
static void plug_other(struct vbench *v)
{
	struct disk_options disk = {.name = "disk1", .path = "other"};
	struct virtio_blk_options opt = {.limits = &group};
	char path[] = "/tmp/godwit-blk-XXXXXX";
	struct virtio_dev *dev = NULL;
	struct virtio_env env;
	struct error err = {0};

	disk.fd = mkstemp(path);
	unlink(path);
	assert_int_equal(ftruncate(disk.fd, SECTORS * 512), 0);
	vbench_init_threaded(v);
	env = vbench_env(v);
	if (disk_open(v->loop, v->pool, &disk, &opt.disk, &err) < 0 ||
		virtio_blk_create(&env, "disk1", &opt, &dev, &err) < 0)
		fail_msg("%s", err.text);
	vbench_plug(v, dev);
	vd_start(v, INDIRECT, 1, 128);
}

static void a_group_has_one_limit_for_all_its_disks(void **state)
{
	struct bucket_limits l = {.ops[BUCKET_DIRS] = {100, 1}};
	static struct vbench other;
	struct vbench *both[2] = {&b, &other};
	unsigned i, k, done = 0;
	int64_t start;
	uint32_t len;
	uint16_t head;

	limit(&l, 1);
	vd_start(&b, INDIRECT, 1, 128);
	plug_other(&other);
	start = now_ns();
	for (k = 0; k < 2; k++) {
		for (i = 0; i < 12; i++)
			offer_to(
				both[k], 0, VIRTIO_BLK_T_IN, i * 16, DATA, 512);
		vd_kick(both[k], 0);
	}
	while (done < 24) {
		loop_poll(b.loop, false);
		for (k = 0; k < 2; k++)
			done += vd_take(both[k], 0, &head, &len);
	}
	assert_int_equal(vd_used(&b, 0) + vd_used(&other, 0), 0);
	assert_true(now_ns() - start >= 22 * 10 * MS);
	vbench_fini(&other);
	unlimit();
}

/* ---- full ---- */

static unsigned fulls;

static void note_full(void *opaque)
{
	++*(unsigned *)opaque;
}

/* The image becomes one of a megabyte on 64 KiB of storage, or skip. */
static void use_small_image(bool stop)
{
	int fd = borrow_small_file();

	if (fd < 0) {
		print_message(
			"# skip: no tmpfs of our own: %s\n", strerror(errno));
		skip();
	}
	close(image);
	image = fd;
	fulls = 0;
	assert_int_equal(ftruncate(image, SECTORS * 512), 0);
	replug((struct virtio_blk_options){
		.full = stop ? note_full : NULL, .full_opaque = &fulls});
	vd_start(&b, INDIRECT, 1, 128);
	fill(DATA, 512 << 10, 11);
}

static void make_room(void)
{
	assert_int_equal(
		fallocate(image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			SECTORS * 512),
		0);
}

static void a_full_image_is_an_io_error_by_default(void **state)
{
	use_small_image(false);
	assert_int_equal(
		ask(VIRTIO_BLK_T_OUT, 0, DATA, 128 << 10), VIRTIO_BLK_S_IOERR);
	make_room();
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 4096), 0);
}

/* Three writes that find no room, neighbours, and a read that ends. */
static void fill_up(struct asked a[3])
{
	unsigned i;

	/* All there is. */
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 48 << 10), 0);
	for (i = 0; i < 3; i++)
		a[i] = offer(VIRTIO_BLK_T_OUT, 1024 + i * 64, DATA + (i << 16),
			32 << 10);
	vd_kick(&b, 0);
	while (fulls < 3)
		loop_poll(b.loop, true);
	assert_int_equal(b.vdev->inflight, 0);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA + 0x80000, 4096), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(status_of(a[i]), 0xee);
}

static unsigned answered(const struct asked a[3])
{
	unsigned i, n = 0;

	for (i = 0; i < 3; i++) {
		assert_true(status_of(a[i]) == 0 || status_of(a[i]) == 0xee);
		n += status_of(a[i]) == 0;
	}
	return n;
}

static void a_full_image_holds_writes_until_the_resume(void **state)
{
	struct asked a[3];
	unsigned i;

	use_small_image(true);
	fill_up(a);
	/* No room yet: held again, one by one. */
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	while (fulls < 6)
		loop_poll(b.loop, true);
	for (i = 0; i < 3; i++)
		assert_int_equal(status_of(a[i]), 0xee);
	/* Room for two of them, perhaps, at a time. */
	for (i = 0; i < 5 && answered(a) < 3; i++) {
		unsigned before = fulls;

		b.dev->ops->quiesce(b.dev);
		make_room();
		b.dev->ops->resume(b.dev);
		while (answered(a) + fulls - before < 3)
			loop_poll(b.loop, true);
	}
	assert_int_equal(answered(a), 3);
	settle(3);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 512), 0);
}

static void what_is_held_moves_to_where_there_is_room(void **state)
{
	struct state_writer w, again;
	struct error err = {0};
	struct asked a[3];
	char path[] = "/tmp/godwit-blk-XXXXXX";
	static uint8_t back[32 << 10];
	unsigned i;

	use_small_image(true);
	fill_up(a);
	vbench_save(&b, &w);
	vbench_unplug(&b);
	close(image);
	image = mkstemp(path);
	unlink(path);
	assert_int_equal(ftruncate(image, SECTORS * 512), 0);
	plug(false, NULL);
	if (vbench_load(&b, &w, &err) < 0)
		fail_msg("%s", err.text);
	vbench_save(&b, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.buf, again.buf, w.len);
	state_writer_fini(&w);
	state_writer_fini(&again);
	b.dev->ops->resume(b.dev);
	settle(3);
	assert_int_equal(answered(a), 3);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pread(image, back, sizeof(back),
					 (off_t)(1024 + i * 64) * 512),
			sizeof(back));
		assert_memory_equal(
			back, vd_at(&b, DATA + (i << 16)), sizeof(back));
	}
}

/* One write in the ring that found no room. */
static struct bytes one_held(void)
{
	use_small_image(true);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 48 << 10), 0);
	offer(VIRTIO_BLK_T_OUT, 1024, DATA, 64 << 10);
	vd_kick(&b, 0);
	while (fulls < 1)
		loop_poll(b.loop, true);
	b.dev->ops->quiesce(b.dev);
	return saved(b.dev);
}

static void what_is_held_is_saved_as_in_version_1(void **state)
{
	struct bytes now, file;

	requests = 0;
	now = one_held();
	file = golden("virtio-blk-held-v1", &now);
	assert_same_bytes(&now, &file);
	replug((struct virtio_blk_options){0});
	assert_int_equal(load_bytes(b.dev, &file), 0);
	assert_saves_as(b.dev, &file);
	b.dev->ops->reset(b.dev);
	free(now.p);
	free(file.p);
}

/* In the subsection: u16 queue, count, head; last of the section. */
static void what_cannot_be_held_is_refused(void **state)
{
	static const struct {
		unsigned back;
		uint8_t value;
	} bad[] = {{6, 1}, {6, 16}, {5, 1}, {4, 0}, {4, 2}, {3, 1}, {2, 128},
		{1, 1}};
	struct bytes good = one_held(), was;
	struct state_reader r;
	const uint8_t *pos = good.p;
	size_t len;
	unsigned i;

	replug((struct virtio_blk_options){0});
	was = saved(b.dev);
	assert_int_equal(state_next(&pos, pos + good.len, &r, NULL), 1);
	len = (size_t)(r.end - r.pos);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(load_with_byte(b.dev, &good, len - bad[i].back,
				    bad[i].value) < 0);
		assert_saves_as(b.dev, &was);
	}
	free(good.p);
	free(was.p);
}

static void a_reset_forgets_what_is_held(void **state)
{
	struct asked a[3];
	unsigned i;

	use_small_image(true);
	fill_up(a);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	b.next_gpa = 0x1000;
	vd_start(&b, INDIRECT, 1, 128);
	make_room();
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	for (i = 0; i < 3; i++)
		assert_int_equal(status_of(a[i]), 0xee);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 512), 0);
}

/* ---- memory ---- */

static void an_idle_device_is_small(void **state)
{
	size_t queues = VIRTIO_BLK_QUEUES_MAX;

	assert_true(sizeof(struct blk) + sizeof(struct virtq_chain) +
			    queues * (sizeof(struct virtio_queue) +
					     sizeof(struct blk_waiter)) <
		    32 << 10);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_queue_is_served_and_answers_for_itself),
		T(a_driver_may_use_fewer_queues_than_there_are),
		T(neighbours_of_a_batch_are_one_operation),
		T(only_neighbours_in_one_direction_are_merged),
		T(a_merged_operation_has_an_end),
		T(each_part_of_a_merged_failure_has_its_own_status),
		T(requests_wait_for_their_tokens_in_order),
		T(bytes_are_limited_too),
		T(a_pause_does_not_wait_for_tokens),
		T(what_waits_for_tokens_moves_with_the_ring),
		T(other_limits_hold_at_once),
		T(limits_may_come_later),
		T(a_reset_forgets_who_waits),
		T(one_queue_that_waits_does_not_stop_another),
		T(flushes_and_unknown_requests_are_free),
		T(a_group_has_one_limit_for_all_its_disks),
		T(a_full_image_is_an_io_error_by_default),
		T(a_full_image_holds_writes_until_the_resume),
		T(what_is_held_moves_to_where_there_is_room),
		T(what_is_held_is_saved_as_in_version_1),
		T(what_cannot_be_held_is_refused),
		T(a_reset_forgets_what_is_held),
		T(an_idle_device_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
