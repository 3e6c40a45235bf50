/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_state.c - save and load of virtio devices (Q3). */
#include "virtio/dev.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <unistd.h>

#include "loop/loop.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vtoy.h"
#include "tests/unit/device_test.h"
#include "virtio/backend/disk.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/rng.h"

#define BUF	    0x400000u
#define EVENT_IDX   (1ull << VIRTIO_RING_F_EVENT_IDX)
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

/* Offsets in the body of a section; see mmio.c and dev_state.c. */
enum {
	AT_ISR = 12,
	AT_ID = 16,
	AT_FEATURES = 20,
	AT_STATUS = 28,
	AT_ACTIVE = 36,
	AT_QUEUES = 37,
	AT_SIZE = 39, /* of queue 0, and what follows */
	AT_READY = 41,
	AT_DESC = 42,
	AT_AVAIL = 50,
	AT_USED = 58,
	AT_LAST_AVAIL = 66,
	AT_USED_IDX = 68,
	AT_SIGNALLED = 70,
};

static struct vbench b;
static int image = -1, in_pipe[2], out_pipe[2];

/* ---- four devices ---- */

static void plug_toy(void)
{
	struct virtio_env env = vbench_env(&b);

	vbench_plug(&b, &vtoy_create(&env)->dev);
}

static void plug_rng(void)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev *dev;

	assert_int_equal(virtio_rng_create(&env, "rng0", NULL, &dev, NULL), 0);
	vbench_plug(&b, dev);
}

static void plug_blk(void)
{
	struct virtio_env env = vbench_env(&b);
	struct disk_options disk = {
		.name = "disk0", .path = "image", .fd = dup(image)};
	struct virtio_blk_options opt = {.serial = NULL};
	struct virtio_dev *dev;

	assert_int_equal(disk_open(b.loop, b.pool, &disk, &opt.disk, NULL), 0);
	assert_int_equal(virtio_blk_create(&env, "disk0", &opt, &dev, NULL), 0);
	vbench_plug(&b, dev);
}

static void plug_console(void)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev *dev;

	assert_int_equal(virtio_console_create(&env, "console0", in_pipe[0],
				 out_pipe[1], &dev, NULL),
		0);
	vbench_plug(&b, dev);
}

static int setup(void **state)
{
	char path[] = "/tmp/godwit-state-XXXXXX";

	image = mkstemp(path);
	unlink(path);
	if (image < 0 || ftruncate(image, 1 << 20) < 0 ||
		pipe2(in_pipe, O_CLOEXEC) < 0 || pipe2(out_pipe, O_CLOEXEC) < 0)
		return -1;
	vbench_init(&b);
	return 0;
}

static int teardown(void **state)
{
	unsigned i;

	vbench_fini(&b);
	close(image);
	for (i = 0; i < 2; i++) {
		close(in_pipe[i]);
		close(out_pipe[i]);
	}
	return 0;
}

/* ---- half-used rings ---- */

/* Ask @n times on queue @q, of which the driver looks at half. */
static void use(unsigned q, bool writable, unsigned n)
{
	struct vd_buf buf = {BUF, 16, writable};
	unsigned i;
	uint16_t head;
	uint32_t len;

	for (i = 0; i < n; i++) {
		vd_add(&b, q, &buf, 1);
		vd_kick(&b, q);
		vd_settle(&b);
	}
	for (i = 0; i < n / 2; i++)
		assert_true(vd_take(&b, q, &head, &len));
}

static void use_toy(void)
{
	vd_start(&b, EVENT_IDX | VTOY_HIGH, 2, 8);
	use(0, true, 11); /* round the ring once */
	use(1, true, 3);
}

static void use_rng(void)
{
	vd_start(&b, EVENT_IDX, 1, 16);
	use(0, true, 9);
}

static void use_blk(void)
{
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_GET_ID};
	struct vd_buf buf[] = {
		{BUF, 16, false}, {BUF + 64, 20, true}, {BUF + 96, 1, true}};
	unsigned i;

	vd_start(&b, EVENT_IDX, 1, 128);
	memcpy(vd_at(&b, BUF), &h, sizeof(h));
	for (i = 0; i < 50; i++) {
		vd_add(&b, 0, buf, 3);
		vd_kick(&b, 0);
		vd_wait(&b, 0);
	}
	vd_settle(&b);
}

static void use_console(void)
{
	vd_start(&b, EVENT_IDX, 2, 16);
	virtio_console_resize(b.vdev, 80, 25);
	use(1, false, 6);
}

static const struct kind {
	const char *golden;
	void (*plug)(void), (*use)(void);
	uint32_t writable_len; /* of the next request, as answered */
} kinds[] = {
	{"virtio-rng-v1", plug_rng, use_rng, 16},
	{"virtio-blk-v1", plug_blk, use_blk, 21},
	{"virtio-console-v1", plug_console, use_console, 0},
	{"virtio-toy-v1", plug_toy, use_toy, 16},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* Fresh hardware; RAM and the driver's idea of the rings stay. */
static void replug(const struct kind *k)
{
	vbench_unplug(&b);
	k->plug();
}

/* The driver goes on where it was. */
static void goes_on(const struct kind *k)
{
	unsigned q = k->plug == plug_console;
	struct vd_buf buf[] = {{BUF, 16, !q}};
	struct vd_buf blk[] = {
		{BUF, 16, false}, {BUF + 64, 20, true}, {BUF + 96, 1, true}};
	unsigned before;

	while (vd_used(&b, q) > 0)
		vd_wait(&b, q);
	before = vd_used(&b, q);
	if (k->plug == plug_blk)
		vd_add(&b, q, blk, 3);
	else
		vd_add(&b, q, buf, 1);
	vd_kick(&b, q);
	assert_int_equal(vd_wait(&b, q), k->writable_len);
	assert_int_equal(before, 0);
}

/* ---- every device ---- */

static void a_half_used_ring_survives_save_load_save(void **state)
{
	struct bytes first;
	unsigned i;

	for (i = 0; i < KINDS; i++) {
		b.next_gpa = 0x1000;
		kinds[i].plug();
		kinds[i].use();
		b.dev->ops->quiesce(b.dev);
		first = saved(b.dev);
		replug(&kinds[i]);
		b.dev->ops->quiesce(b.dev);
		assert_int_equal(load_bytes(b.dev, &first), 0);
		assert_saves_as(b.dev, &first);
		b.dev->ops->resume(b.dev);
		goes_on(&kinds[i]);
		vbench_unplug(&b);
		free(first.p);
	}
}

static void golden_streams_are_still_written_and_read(void **state)
{
	struct bytes now, file;
	unsigned i;

	for (i = 0; i < KINDS; i++) {
		b.next_gpa = 0x1000;
		kinds[i].plug();
		kinds[i].use();
		b.dev->ops->quiesce(b.dev);
		now = saved(b.dev);
		file = golden(kinds[i].golden, &now);
		assert_same_bytes(&now, &file);
		replug(&kinds[i]);
		b.dev->ops->quiesce(b.dev);
		assert_int_equal(load_bytes(b.dev, &file), 0);
		assert_saves_as(b.dev, &file);
		b.dev->ops->resume(b.dev);
		goes_on(&kinds[i]);
		vbench_unplug(&b);
		free(now.p);
		free(file.p);
	}
}

static void wrong_lengths_are_refused_and_change_nothing(void **state)
{
	struct bytes good;
	unsigned i;

	for (i = 0; i < KINDS; i++) {
		b.next_gpa = 0x1000;
		kinds[i].plug();
		kinds[i].use();
		b.dev->ops->quiesce(b.dev);
		good = saved(b.dev);
		replug(&kinds[i]);
		assert_refuses_wrong_lengths(b.dev, &good);
		assert_int_equal(load_bytes(b.dev, &good), 0);
		assert_refuses_wrong_lengths(b.dev, &good);
		b.dev->ops->resume(b.dev);
		goes_on(&kinds[i]);
		vbench_unplug(&b);
		free(good.p);
	}
}

static void any_rung_of_the_ladder_survives(void **state)
{
	static const uint32_t rungs[] = {1, 2, 8, 4};
	struct kind toy = kinds[3];
	struct bytes first;
	uint32_t status;
	unsigned i;

	for (i = 0; i < 4; i++) {
		b.next_gpa = 0x1000;
		plug_toy();
		if (rungs[i] == 8 || rungs[i] == 4)
			vd_negotiate(
				&b, 1ull << VIRTIO_F_VERSION_1 | VTOY_HIGH);
		if (rungs[i] == 8) {
			vd_queue(&b, 1, 4);
			vd_write(&b, VIRTIO_MMIO_QUEUE_READY, 0);
		}
		if (rungs[i] <= 2)
			vd_write(&b, VIRTIO_MMIO_STATUS, 1);
		if (rungs[i] == 2) {
			vd_write(&b, VIRTIO_MMIO_STATUS, 3);
			vd_write(&b, VIRTIO_MMIO_DRIVER_FEATURES, 0x1234);
		}
		if (rungs[i] == 4)
			vd_write(&b, VIRTIO_MMIO_STATUS, 0xf);
		status = vd_read(&b, VIRTIO_MMIO_STATUS);
		assert_true(status & rungs[i]);
		first = saved(b.dev);
		replug(&toy);
		assert_int_equal(load_bytes(b.dev, &first), 0);
		assert_saves_as(b.dev, &first);
		assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), status);
		if (status == 0xb) {
			vd_write(&b, VIRTIO_MMIO_STATUS, 0xf);
			assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf);
			assert_true(b.vdev->driver_features & VTOY_HIGH);
		}
		vbench_unplug(&b);
		free(first.p);
	}
}

/* ---- hostile streams ---- */

static void values_a_driver_could_not_reach_are_refused(void **state)
{
	static const struct {
		unsigned at, len;
		uint64_t value;
	} bad[] = {
		{AT_ISR, 4, 4},
		{AT_ISR, 4, UINT32_MAX},
		{AT_ID, 4, 4},
		{AT_FEATURES, 8, 0},
		{AT_FEATURES, 8, UINT64_MAX},
		{AT_FEATURES, 8, VTOY_HIGH}, /* without VERSION_1 */
		{AT_STATUS, 4, 0},
		{AT_STATUS, 4, 3},
		{AT_STATUS, 4, 0xb},
		{AT_STATUS, 4, 0xd},
		{AT_STATUS, 4, 0x1f},
		{AT_STATUS, 4, 0x10f},
		{AT_STATUS, 4, 0x40},
		{AT_STATUS, 4, 0x4b},
		{AT_ACTIVE, 1, 0},
		{AT_ACTIVE, 1, 2},
		{AT_QUEUES, 2, 1},
		{AT_QUEUES, 2, 3},
		{AT_QUEUES, 2, 65535},
		{AT_SIZE, 2, 0},
		{AT_SIZE, 2, 3},
		{AT_SIZE, 2, 128},
		{AT_SIZE, 2, 32768},
		{AT_READY, 1, 2},
		{AT_READY, 1, 0},
		{AT_DESC, 8, 8},
		{AT_DESC, 8, UINT64_MAX - 15},
		{AT_DESC, 8, VBENCH_RAM - 16},
		{AT_AVAIL, 8, 1},
		{AT_AVAIL, 8, VBENCH_RAM},
		{AT_USED, 8, 2},
		{AT_USED, 8, 0xd0000000},
		{AT_LAST_AVAIL, 2, 12},
		{AT_LAST_AVAIL, 2, 10},
		{AT_USED_IDX, 2, 0},
	};
	struct bytes good;
	unsigned i;

	plug_toy();
	use_toy();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (load_patched(b.dev, &good, bad[i].at, &bad[i].value,
			    bad[i].len) >= 0)
			fail_msg("value %u was taken", i);
		assert_saves_as(b.dev, &good);
	}
	b.dev->ops->resume(b.dev);
	goes_on(&kinds[3]);
	free(good.p);
}

static void a_device_before_features_ok_has_no_queues(void **state)
{
	static const uint8_t one = 1, sixteen[8] = {16};
	struct bytes good;

	plug_toy();
	vd_write(&b, VIRTIO_MMIO_STATUS, 1);
	good = saved(b.dev);
	assert_true(load_patched(b.dev, &good, AT_SIZE, &one, 1) < 0);
	assert_true(load_patched(b.dev, &good, AT_READY, &one, 1) < 0);
	assert_true(load_patched(b.dev, &good, AT_DESC, sixteen, 8) < 0);
	assert_true(load_patched(b.dev, &good, AT_SIGNALLED, &one, 1) < 0);
	assert_true(load_patched(b.dev, &good, AT_FEATURES, &one, 1) < 0);
	assert_saves_as(b.dev, &good);
	free(good.p);
}

static void registers_not_in_use_yet_are_checked_too(void **state)
{
	static const uint8_t three = 3, big = 128, eight = 8;
	struct bytes good;

	plug_toy();
	vd_negotiate(&b, 1ull << VIRTIO_F_VERSION_1);
	good = saved(b.dev);
	assert_true(load_patched(b.dev, &good, AT_SIZE, &three, 1) < 0);
	assert_true(load_patched(b.dev, &good, AT_SIZE, &big, 1) < 0);
	assert_true(load_patched(b.dev, &good, AT_USED_IDX, &three, 1) < 0);
	assert_saves_as(b.dev, &good);
	assert_int_equal(load_patched(b.dev, &good, AT_SIZE, &eight, 1), 0);
	free(good.p);
}

static void any_byte_may_be_wrong(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct bytes good, was;
	const uint8_t *pos;
	struct state_reader r;
	size_t body, at;
	unsigned i, k;
	uint8_t v;

	for (k = 0; k < KINDS; k++) {
		b.next_gpa = 0x1000;
		kinds[k].plug();
		kinds[k].use();
		b.dev->ops->quiesce(b.dev);
		good = saved(b.dev);
		pos = good.p;
		assert_int_equal(
			state_next(&pos, good.p + good.len, &r, NULL), 1);
		body = (size_t)(r.end - r.pos);
		for (i = 0; i < 400; i++) {
			at = testing_random(&rnd) % body;
			v = (uint8_t)testing_random(&rnd);
			was = saved(b.dev);
			if (load_with_byte(b.dev, &good, at, v) < 0)
				assert_saves_as(b.dev, &was);
			free(was.p);
			b.dev->ops->resume(b.dev);
			vd_kick(&b, 0);
			vd_settle(&b);
			b.dev->ops->quiesce(b.dev);
		}
		vbench_unplug(&b);
		free(good.p);
	}
}

/* The good section with a subsection appended. */
static int load_with_sub(const struct bytes *good, const char *name,
	uint32_t version, uint64_t value, unsigned len)
{
	const uint8_t *pos = good->p;
	struct state_reader r;
	struct state_writer w;
	int rc;

	assert_int_equal(state_next(&pos, good->p + good->len, &r, NULL), 1);
	state_writer_init(&w);
	state_begin(&w, r.name, r.version);
	state_put_bytes(&w, r.pos, (size_t)(r.end - r.pos));
	state_sub_begin(&w, name, version);
	state_put_bytes(&w, &value, len);
	state_sub_end(&w);
	state_end(&w);
	assert_int_equal(state_writer_error(&w), 0);
	rc = load_bytes(b.dev, &(struct bytes){w.buf, w.len});
	state_writer_fini(&w);
	return rc;
}

static void subsections_not_known_or_wrong_are_refused(void **state)
{
	struct bytes good;

	plug_toy();
	use_toy();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	assert_true(load_with_sub(&good, "later", 1, 0, 8) < 0);
	assert_true(load_with_sub(&good, "broken", 2, 1, 8) < 0);
	assert_true(load_with_sub(&good, "broken", 1, 1, 4) < 0);
	assert_true(load_with_sub(&good, "broken", 1, 4, 8) < 0);
	assert_true(load_with_sub(&good, "broken", 1, 1, 8) < 0); /* status */
	assert_saves_as(b.dev, &good);
	free(good.p);
	vbench_unplug(&b);

	b.next_gpa = 0x1000;
	plug_console();
	use_console();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	assert_true(load_with_sub(&good, "tx", 2, 1, 8) < 0);
	assert_true(load_with_sub(&good, "tx", 1, 1, 7) < 0);
	assert_true(load_with_sub(&good, "rx", 1, 4, 5) < 0);
	assert_true(load_with_sub(&good, "rx", 1, 65535, 8) < 0);
	assert_saves_as(b.dev, &good);
	assert_int_equal(load_with_sub(&good, "rx", 1, 4, 6), 0);
	assert_int_equal(load_with_sub(&good, "tx", 1, 1, 8), 0);
	free(good.p);
}

static void a_broken_queue_stays_broken(void **state)
{
	struct vring_avail *avail;
	struct bytes first;

	plug_toy();
	use_toy();
	avail = vd_at(&b, b.q[1].avail);
	avail->idx += 100;
	vd_kick(&b, 1);
	vd_settle(&b);
	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	replug(&kinds[3]);
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &first), 0);
	assert_saves_as(b.dev, &first);
	avail->idx -= 100;
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf | NEEDS_RESET);
	assert_true(b.vdev->queue[1].vq.broken);
	goes_on(&kinds[3]); /* queue 0 */
	free(first.p);
}

static void a_start_that_failed_is_saved_as_such(void **state)
{
	struct bytes first;

	plug_toy();
	vd_negotiate(&b, 1ull << VIRTIO_F_VERSION_1);
	vd_write(&b, VIRTIO_MMIO_QUEUE_READY, 1); /* size 0 */
	vd_write(&b, VIRTIO_MMIO_STATUS, 0xf);
	first = saved(b.dev);
	replug(&kinds[3]);
	assert_int_equal(load_bytes(b.dev, &first), 0);
	assert_saves_as(b.dev, &first);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf | NEEDS_RESET);
	free(first.p);
}

/* ---- after a load ---- */

static void an_avail_jump_found_after_a_load_breaks_the_queue(void **state)
{
	struct vring_avail *avail;
	struct bytes first;

	plug_toy();
	use_toy();
	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	replug(&kinds[3]);
	b.dev->ops->quiesce(b.dev);
	avail = vd_at(&b, b.q[0].avail);
	avail->idx += 9; /* the queue has 8 */
	assert_int_equal(load_bytes(b.dev, &first), 0);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf | NEEDS_RESET);
	assert_true(vd_read(&b, VIRTIO_MMIO_INTERRUPT_STATUS) & 2);
	free(first.p);
}

static void kicks_and_interrupts_lost_on_the_way_come_again(void **state)
{
	struct vd_buf buf = {BUF, 16, true};
	struct bytes first;
	unsigned i;

	plug_toy();
	use_toy();
	assert_true(vd_irqs(&b) > 0);
	for (i = 0; i < 2; i++) {
		b.dev->ops->quiesce(b.dev);
		vd_add(&b, 0, &buf, 1); /* and the kick is lost */
		first = saved(b.dev);
		replug(&kinds[3]);
		b.dev->ops->quiesce(b.dev);
		assert_int_equal(load_bytes(b.dev, &first), 0);
		vd_irqs(&b); /* lost too */
		b.dev->ops->resume(b.dev);
		assert_true(vd_irqs(&b) > 0);
		while (vd_used(&b, 0) > 0)
			vd_wait(&b, 0);
		vd_settle(&b);
		assert_int_equal(b.ioeventfds_on - b.ioeventfds_off, 2);
		free(first.p);
	}
}

static void a_load_replaces_a_running_device(void **state)
{
	struct virtq_regs *regs;
	struct bytes idle;

	plug_toy();
	idle = saved(b.dev);
	use_toy();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &idle), 0);
	assert_saves_as(b.dev, &idle);
	b.dev->ops->resume(b.dev);
	regs = &b.vdev->queue[0].regs;
	assert_int_equal(regs->size, 0);
	use(0, true, 0);
	vd_kick(&b, 0);
	vd_settle(&b);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0);
	b.next_gpa = 0x1000;
	use_toy();
	free(idle.p);
}

static void a_disk_of_another_size_is_refused(void **state)
{
	struct bytes first;
	struct error err;
	struct state_reader r;
	const uint8_t *pos;

	plug_blk();
	use_blk();
	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	vbench_unplug(&b);
	assert_int_equal(ftruncate(image, 1 << 19), 0);
	plug_blk();
	pos = first.p;
	assert_int_equal(state_next(&pos, pos + first.len, &r, &err), 1);
	assert_int_equal(device_load(b.dev, &r, &err), -EPROTO);
	assert_string_equal(err.text, "disk0: a disk of another size");
	free(first.p);
}

static void console_bytes_on_their_way_are_moved(void **state)
{
	static char got[100000];
	struct vd_buf big = {BUF, sizeof(got), false}, room = {BUF, 16, true};
	uint8_t *data = vd_at(&b, BUF);
	struct bytes first;
	size_t have = 0, i;
	ssize_t n;

	plug_console();
	vd_start(&b, EVENT_IDX, 2, 16);
	for (i = 0; i < sizeof(got); i++)
		data[i] = (uint8_t)(i * 13 + i / 256);
	vd_add(&b, 1, &big, 1);
	vd_kick(&b, 1);
	assert_int_equal(write(in_pipe[1], "typed", 5), 5);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, 0) + vd_used(&b, 1), 0);
	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	n = read(out_pipe[0], got, sizeof(got));
	assert_true(n > 0);
	have = (size_t)n;

	/* Another host: another reader, another terminal. */
	vbench_unplug(&b);
	for (i = 0; i < 2; i++) {
		close(in_pipe[i]);
		close(out_pipe[i]);
	}
	assert_int_equal(pipe2(in_pipe, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out_pipe, O_CLOEXEC), 0);
	plug_console();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &first), 0);
	assert_saves_as(b.dev, &first);
	b.dev->ops->resume(b.dev);
	vd_wait(&b, 1);
	while (have < sizeof(got)) {
		n = read(out_pipe[0], got + have, sizeof(got) - have);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_memory_equal(got, data, sizeof(got));
	vd_add(&b, 0, &room, 1);
	vd_kick(&b, 0);
	assert_int_equal(vd_wait(&b, 0), 5);
	assert_memory_equal(vd_at(&b, BUF), "typed", 5);
	free(first.p);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_half_used_ring_survives_save_load_save),
		T(golden_streams_are_still_written_and_read),
		T(wrong_lengths_are_refused_and_change_nothing),
		T(any_rung_of_the_ladder_survives),
		T(values_a_driver_could_not_reach_are_refused),
		T(a_device_before_features_ok_has_no_queues),
		T(registers_not_in_use_yet_are_checked_too),
		T(any_byte_may_be_wrong),
		T(subsections_not_known_or_wrong_are_refused),
		T(a_broken_queue_stays_broken),
		T(a_start_that_failed_is_saved_as_such),
		T(an_avail_jump_found_after_a_load_breaks_the_queue),
		T(kicks_and_interrupts_lost_on_the_way_come_again),
		T(a_load_replaces_a_running_device),
		T(a_disk_of_another_size_is_refused),
		T(console_bytes_on_their_way_are_moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
