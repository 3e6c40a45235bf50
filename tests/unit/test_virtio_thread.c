/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_virtio_thread.c - devices whose queues belong to the loop of
 * an I/O thread.  This thread plays the driver and the machine's owner; it
 * never polls a loop, so whatever needs that hangs.
 */
#include "virtio/mmio.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vtoy.h"
#include "virtio/backend/disk.h"
#include "virtio/blk.h"
#include "vmm/error.h"

#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define SECTORS	  2048u
#define SLOTS	  16u	    /* disk requests at a time */
#define HEADER	  0x300000u /* gpa; 32 bytes a slot */
#define DATA	  0x400000u /* a sector a slot */

static struct vbench bench;
static struct vtoy *toy;
static int image = -1;

static void plug_toy(void)
{
	struct virtio_env env = vbench_env(&bench);

	toy = vtoy_create(&env);
	vbench_plug(&bench, &toy->dev);
}

static int setup(void **state)
{
	vbench_init_threaded(&bench);
	plug_toy();
	return 0;
}

static int teardown(void **state)
{
	vbench_fini(&bench);
	return 0;
}

/* As machine_devices.c does it. */
static void make_disk(void *opaque)
{
	struct virtio_env env = vbench_env(&bench);
	struct disk_options disk = {
		.name = "disk0", .path = "image", .fd = dup(image)};
	struct virtio_blk_options opt = {.serial = "s"};
	struct virtio_dev **ret_dev = opaque;
	struct error err = {0};

	if (disk_open(bench.loop, bench.pool, &disk, &opt.disk, &err) < 0 ||
		virtio_blk_create(&env, "disk0", &opt, ret_dev, &err) < 0)
		fail_msg("%s", err.text);
}

static void plug_disk(void)
{
	struct virtio_dev *dev = NULL;

	assert_int_equal(loop_run_sync(bench.loop, make_disk, &dev, "make"), 0);
	vbench_plug(&bench, dev);
}

static int setup_disk(void **state)
{
	char path[] = "/tmp/godwit-thread-XXXXXX";

	image = mkstemp(path);
	unlink(path);
	if (image < 0 || ftruncate(image, SECTORS * 512) < 0)
		return -1;
	vbench_init_threaded(&bench);
	plug_disk();
	return 0;
}

static int teardown_disk(void **state)
{
	vbench_fini(&bench);
	close(image);
	return 0;
}

/* A request with one writable buffer; the toy answers with its length. */
static void ask(unsigned q, uint32_t len)
{
	struct vd_buf buf = {.gpa = DATA, .len = len, .writable = true};

	vd_add(&bench, q, &buf, 1);
	vd_kick(&bench, q);
}

/* ---- what only the loop may look at ---- */

struct look {
	unsigned (*fn)(void);
	unsigned value;
};

static void look(void *opaque)
{
	struct look *l = opaque;

	l->value = l->fn();
}

static unsigned on_loop(unsigned (*fn)(void))
{
	struct look l = {.fn = fn};

	assert_int_equal(loop_run_sync(bench.loop, look, &l, "look"), 0);
	return l.value;
}

static unsigned holds(void)
{
	return toy->holds;
}

static unsigned stops(void)
{
	return toy->stops;
}

static unsigned quiesced(void)
{
	return toy->dev.quiesced;
}

static unsigned run_queue(void)
{
	virtio_dev_run(&toy->dev, 0);
	return 0;
}

static unsigned hold(void)
{
	toy->hold = true;
	return 0;
}

static unsigned hold_no_more(void)
{
	toy->hold = false;
	return 0;
}

/* A thread that answers what is held once @arg says so. */
static void *release_when(void *arg)
{
	unsigned (*when)(void) = *(unsigned (**)(void))arg;

	while (on_loop(when) == 0)
		;
	vtoy_release(toy);
	return NULL;
}

/* One request held; @fn waits for it while @when tells that it waits. */
static void while_one_is_held(void (*fn)(void), unsigned (*when)(void))
{
	pthread_t t;

	vd_start(&bench, 0, 2, 8);
	on_loop(hold);
	ask(0, 1);
	while (on_loop(holds) == 0)
		;
	on_loop(hold_no_more);
	assert_int_equal(pthread_create(&t, NULL, release_when, &when), 0);
	fn();
	pthread_join(t, NULL);
}

/* ---- requests ---- */

static pthread_t seen_on;

static void remember_thread(void)
{
	seen_on = pthread_self();
}

static unsigned was_on_loop(void)
{
	return pthread_equal(seen_on, pthread_self()) != 0;
}

static void requests_are_served_on_the_threads_own_loop(void **state)
{
	vd_start(&bench, EVENT_IDX, 2, 8);
	toy->on_request = remember_thread;
	ask(0, 7);
	assert_int_equal(vd_wait(&bench, 0), 7);
	assert_true(on_loop(was_on_loop));
	assert_false(pthread_equal(seen_on, pthread_self()));
	assert_int_equal(vd_irqs(&bench), 1);
}

/* A vCPU's own interrupt: wait for the edge, then acknowledge. */
static void await_used(unsigned q)
{
	struct pollfd p = {.fd = bench.irq_fd, .events = POLLIN};

	while (vd_used(&bench, q) == 0) {
		poll(&p, 1, -1);
		vd_irqs(&bench);
		vd_write(&bench, VIRTIO_MMIO_INTERRUPT_ACK,
			vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS));
	}
}

static void a_driver_probes_uses_and_removes_without_the_main_loop(void **state)
{
	unsigned round, i;
	uint16_t head;
	uint32_t len;

	for (round = 0; round < 100; round++) {
		bench.next_gpa = 0x1000;
		vd_start(&bench, VTOY_HIGH, 2, 8);
		for (i = 0; i < 20; i++) {
			ask(i & 1, i);
			await_used(i & 1);
			assert_true(vd_take(&bench, i & 1, &head, &len));
			assert_int_equal(len, i);
		}
		ask(0, 1); /* and a reset while that may be in flight */
		vd_write(&bench, VIRTIO_MMIO_STATUS, 0);
	}
	assert_int_equal(on_loop(stops), 100);
}

/* ---- reset and pause ---- */

static void reset(void)
{
	vd_write(&bench, VIRTIO_MMIO_STATUS, 0);
	/* The write itself is the end of the reset. */
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(on_loop(holds), 0);
}

static void a_reset_waits_for_requests_on_another_thread(void **state)
{
	while_one_is_held(reset, stops);
	assert_int_equal(vd_used(&bench, 0), 0); /* it was dropped */
}

static void machine_reset(void)
{
	bench.dev->ops->reset(bench.dev);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(on_loop(holds), 0);
}

static void a_reset_of_the_machine_waits_likewise(void **state)
{
	while_one_is_held(machine_reset, stops);
}

static void pause_it(void)
{
	bench.dev->ops->quiesce(bench.dev);
	assert_int_equal(vd_used(&bench, 0), 1);
}

static void a_pause_drains_and_takes_nothing_new(void **state)
{
	while_one_is_held(pause_it, quiesced);
	ask(0, 1);
	on_loop(run_queue);
	vd_settle(&bench);
	vd_settle(&bench);
	assert_int_equal(vd_used(&bench, 0), 1);
	bench.dev->ops->resume(bench.dev);
	vd_wait(&bench, 0);
	vd_wait(&bench, 0);
	assert_int_equal(vd_used(&bench, 0), 0);
}

/* ---- disk ---- */

/* What slot @i's sector holds after its @round'th write. */
static void pattern(uint8_t *data, unsigned i, unsigned round)
{
	unsigned k;

	for (k = 0; k < 512; k++)
		data[k] = (uint8_t)(i * 31 + round * 7 + k);
}

/* Offer a read or a write of slot @i's own sector. */
static void ask_disk(unsigned i, uint32_t type)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = i};
	struct vd_buf buf[] = {
		{.gpa = HEADER + i * 32, .len = sizeof(h)},
		{.gpa = DATA + i * 512,
			.len = 512,
			.writable = type == VIRTIO_BLK_T_IN},
		{.gpa = HEADER + i * 32 + 24, .len = 1, .writable = true},
	};

	memcpy(vd_at(&bench, HEADER + i * 32), &h, sizeof(h));
	*(uint8_t *)vd_at(&bench, HEADER + i * 32 + 24) = 0xee;
	vd_add(&bench, 0, buf, 3);
}

/* All slots at once, with @pauses between the kick and the answers. */
static void ask_all(uint32_t type, unsigned pauses)
{
	unsigned i;

	for (i = 0; i < SLOTS; i++)
		ask_disk(i, type);
	vd_kick(&bench, 0);
	while (pauses-- > 0) {
		bench.dev->ops->quiesce(bench.dev);
		assert_int_equal(bench.vdev->inflight, 0);
		bench.dev->ops->resume(bench.dev);
	}
	for (i = 0; i < SLOTS; i++)
		vd_wait(&bench, 0);
	assert_int_equal(vd_used(&bench, 0), 0);
	for (i = 0; i < SLOTS; i++)
		assert_int_equal(
			*(uint8_t *)vd_at(&bench, HEADER + i * 32 + 24),
			VIRTIO_BLK_S_OK);
}

static void write_and_read_back(unsigned round, unsigned pauses)
{
	uint8_t want[512];
	unsigned i;

	for (i = 0; i < SLOTS; i++)
		pattern(vd_at(&bench, DATA + i * 512), i, round);
	ask_all(VIRTIO_BLK_T_OUT, pauses);
	memset(vd_at(&bench, DATA), 0, SLOTS * 512);
	ask_all(VIRTIO_BLK_T_IN, pauses);
	for (i = 0; i < SLOTS; i++) {
		pattern(want, i, round);
		assert_memory_equal(vd_at(&bench, DATA + i * 512), want, 512);
	}
}

static void pauses_of_a_busy_disk_lose_nothing(void **state)
{
	unsigned round;

	vd_start(&bench, EVENT_IDX, 1, 64);
	for (round = 0; round < 300; round++)
		write_and_read_back(round, round % 4);
}

static void a_busy_disk_moves_to_another_device(void **state)
{
	struct state_writer first, second;
	unsigned round, i;

	vd_start(&bench, EVENT_IDX, 1, 64);
	for (round = 0; round < 30; round++) {
		for (i = 0; i < SLOTS; i++)
			ask_disk(i, VIRTIO_BLK_T_IN);
		vd_kick(&bench, 0);
		vbench_save(&bench, &first);
		vbench_unplug(&bench);
		plug_disk();
		if (vbench_load(&bench, &first, NULL) < 0)
			fail_msg("load");
		vbench_save(&bench, &second);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.buf, second.buf, first.len);
		state_writer_fini(&first);
		state_writer_fini(&second);
		bench.dev->ops->resume(bench.dev);
		for (i = 0; i < SLOTS; i++)
			vd_wait(&bench, 0);
		assert_int_equal(vd_used(&bench, 0), 0);
		write_and_read_back(round, 0);
	}
}

/* ---- the end ---- */

/* Its handlers may be about to run at the very moment. */
static void a_device_with_work_pending_is_destroyed_on_its_thread(void **state)
{
	int fds = testing_fd_count();
	unsigned round, i;

	for (round = 0; round < 300; round++) {
		bench.next_gpa = 0x1000;
		vd_start(&bench, 0, 2, 8);
		for (i = 0; i < 8; i++)
			ask(i & 1, i);
		bench.dev->ops->quiesce(bench.dev);
		bench.dev->ops->resume(bench.dev);
		bench.dev->ops->quiesce(bench.dev);
		vd_kick(&bench, 1);
		toy->on_destroy = remember_thread;
		seen_on = pthread_self();
		vbench_unplug(&bench);
		assert_true(on_loop(was_on_loop));
		plug_toy();
		assert_int_equal(testing_fd_count(), fds);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define D(f) cmocka_unit_test_setup_teardown(f, setup_disk, teardown_disk)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(requests_are_served_on_the_threads_own_loop),
		T(a_driver_probes_uses_and_removes_without_the_main_loop),
		T(a_reset_waits_for_requests_on_another_thread),
		T(a_reset_of_the_machine_waits_likewise),
		T(a_pause_drains_and_takes_nothing_new),
		D(pauses_of_a_busy_disk_lose_nothing),
		D(a_busy_disk_moves_to_another_device),
		T(a_device_with_work_pending_is_destroyed_on_its_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
