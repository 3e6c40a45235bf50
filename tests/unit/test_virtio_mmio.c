/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_mmio.c - transport and device state machine (Q1). */
#include "virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vtoy.h"
#include "vmm/error.h"

#define ACK	    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	    VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED	    VIRTIO_CONFIG_S_FAILED
#define V1	    (1ull << VIRTIO_F_VERSION_1)
#define EVENT_IDX   (1ull << VIRTIO_RING_F_EVENT_IDX)

static struct vbench bench;
static struct vtoy *toy;

static int setup(void **state)
{
	struct virtio_env env;

	vbench_init(&bench);
	env = vbench_env(&bench);
	toy = vtoy_create(&env);
	vbench_plug(&bench, &toy->dev);
	*state = &bench;
	return 0;
}

static int teardown(void **state)
{
	toy->hold = false;
	vtoy_release(toy);
	vd_settle(&bench);
	vbench_fini(&bench);
	return 0;
}

static uint32_t status(void)
{
	return vd_read(&bench, VIRTIO_MMIO_STATUS);
}

static void set_status(uint32_t v)
{
	vd_write(&bench, VIRTIO_MMIO_STATUS, v);
}

/* A request with one writable buffer; the device answers with its length. */
static void ask(unsigned q, uint32_t len)
{
	struct vd_buf buf = {.gpa = 0x400000, .len = len, .writable = true};

	vd_add(&bench, q, &buf, 1);
	vd_kick(&bench, q);
}

/* ---- registers ---- */

static void identity_registers_are_those_of_version_2(void **state)
{
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_DEVICE_ID), VTOY_ID);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_VENDOR_ID), 0x54574447);
	assert_true(vd_features(&bench) ==
		    (V1 | EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC |
			    VTOY_FEATURE | VTOY_HIGH));
	vd_write(&bench, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(
		vd_read(&bench, VIRTIO_MMIO_QUEUE_NUM_MAX), VTOY_SIZE_1);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_SEL, 2);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
}

/* Registers that say something else after a driver has set up nothing. */
static void wrong_widths_and_offsets_are_harmless(void **state)
{
	static const unsigned len[] = {1, 2, 8};
	const struct bus_ops *ops = bench.range.ops;
	void *opaque = bench.range.opaque;
	uint64_t off;
	unsigned i;

	for (off = 0; off < 0x100; off++) {
		for (i = 0; i < 3; i++) {
			if (off + len[i] > VIRTIO_MMIO_SIZE)
				continue;
			assert_int_equal(ops->read(opaque, off, len[i]), 0);
			ops->write(opaque, off, len[i], 0xffffffff);
		}
		if (off % 4 != 0) {
			assert_int_equal(ops->read(opaque, off, 4), 0);
			ops->write(opaque, off, 4, 0xffffffff);
		}
	}
	ops->write(opaque, VIRTIO_MMIO_STATUS, 1, ACK);
	ops->write(opaque, VIRTIO_MMIO_STATUS, 2, ACK);
	ops->write(opaque, VIRTIO_MMIO_STATUS, 8, ACK);
	assert_int_equal(status(), 0);
	set_status(ACK);
	ops->write(opaque, VIRTIO_MMIO_STATUS, 1, 0);
	ops->write(opaque, VIRTIO_MMIO_STATUS + 1, 4, 0);
	assert_int_equal(status(), ACK);
	/* Full words at every offset: no promise but that nothing breaks. */
	for (off = 0; off < VIRTIO_MMIO_SIZE; off += 4) {
		vd_write(&bench, off, 0xffffffff);
		vd_write(&bench, off, 1);
		vd_read(&bench, off);
	}
	set_status(0);
	vd_start(&bench, 0, 2, 8);
	assert_int_equal(status(), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

static void config_space_takes_bytes_words_and_dwords(void **state)
{
	const struct bus_ops *ops = bench.range.ops;
	void *opaque = bench.range.opaque;

	assert_int_equal(ops->read(opaque, 0x100, 1), 1);
	assert_int_equal(ops->read(opaque, 0x101, 1), 2);
	assert_int_equal(ops->read(opaque, 0x102, 2), 0x0403);
	assert_int_equal(ops->read(opaque, 0x100, 4), 0x04030201);
	assert_int_equal(ops->read(opaque, 0x106, 4), 0x00090807);
	assert_int_equal(ops->read(opaque, 0x109, 4), 0);
	assert_int_equal(ops->read(opaque, 0x1ff, 1), 0);
	ops->write(opaque, 0x100, 4, 0);
	ops->write(opaque, 0x100, 1, 0);
	assert_int_equal(ops->read(opaque, 0x100, 4), 0x04030201);
}

static void a_config_change_bumps_the_generation_and_interrupts(void **state)
{
	uint32_t before;

	vd_start(&bench, 0, 2, 8);
	vd_irqs(&bench);
	before = vd_read(&bench, VIRTIO_MMIO_CONFIG_GENERATION);
	virtio_dev_set_config(&toy->dev, 1, "\2", 1, true); /* the same */
	assert_int_equal(
		vd_read(&bench, VIRTIO_MMIO_CONFIG_GENERATION), before);
	assert_int_equal(vd_irqs(&bench), 0);
	virtio_dev_set_config(&toy->dev, 1, "\x77", 1, true);
	assert_int_equal(
		vd_read(&bench, VIRTIO_MMIO_CONFIG_GENERATION), before + 1);
	assert_int_equal(vd_irqs(&bench), 1);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
	assert_int_equal(vd_read(&bench, 0x100), 0x04037701);
}

/* ---- the ladder ---- */

static void the_ladder_is_climbed_rung_by_rung(void **state)
{
	set_status(ACK);
	assert_int_equal(status(), ACK);
	set_status(ACK | DRIVER);
	assert_int_equal(status(), ACK | DRIVER);
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	set_status(ACK | DRIVER | FEATURES_OK);
	assert_int_equal(status(), ACK | DRIVER | FEATURES_OK);
	set_status(ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(status(), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(toy->starts, 1);
}

static void rungs_skipped_or_taken_back_are_refused(void **state)
{
	static const uint32_t from_zero[] = {DRIVER, FEATURES_OK, DRIVER_OK,
		ACK | DRIVER, ACK | DRIVER | FEATURES_OK, 0x40, 0x10, 0x20,
		0x100, 0xf};
	unsigned i;

	for (i = 0; i < sizeof(from_zero) / sizeof(from_zero[0]); i++) {
		set_status(from_zero[i]);
		assert_int_equal(status(), 0);
	}
	vd_negotiate(&bench, V1);
	assert_int_equal(status(), 0xb);
	set_status(ACK | DRIVER);
	set_status(ACK);
	set_status(DRIVER_OK);
	set_status(ACK | DRIVER | DRIVER_OK);
	assert_int_equal(status(), 0xb);
	set_status(0);
	assert_int_equal(status(), 0);
	set_status(ACK);
	set_status(ACK | DRIVER);
	set_status(ACK | DRIVER | DRIVER_OK);
	set_status(ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(status(), ACK | DRIVER);
	assert_int_equal(toy->starts, 0);
}

static void features_not_offered_or_legacy_are_refused(void **state)
{
	vd_negotiate(&bench, V1 | 1ull << 7);
	assert_int_equal(status(), ACK | DRIVER);
	vd_negotiate(&bench, V1 | 1ull << 63);
	assert_int_equal(status(), ACK | DRIVER);
	vd_negotiate(&bench, VTOY_FEATURE);
	assert_int_equal(status(), ACK | DRIVER);
	vd_negotiate(&bench, V1 | VTOY_HIGH | VTOY_FEATURE);
	assert_int_equal(status(), ACK | DRIVER | FEATURES_OK);
	assert_true(
		toy->dev.driver_features == (V1 | VTOY_HIGH | VTOY_FEATURE));
}

static void features_are_written_only_after_driver_and_before_features_ok(
	void **state)
{
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES, 8);
	set_status(ACK);
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES, 8);
	assert_true(toy->dev.driver_features == 0);
	vd_negotiate(&bench, V1);
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES, 8);
	assert_true(toy->dev.driver_features == V1);
	set_status(0);
	set_status(ACK);
	set_status(ACK | DRIVER);
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES, 8);
	assert_true(toy->dev.driver_features == 0);
}

static void failed_can_be_left_by_a_reset_only(void **state)
{
	set_status(ACK);
	set_status(ACK | FAILED);
	assert_int_equal(status(), ACK | FAILED);
	set_status(ACK | DRIVER | FAILED);
	assert_int_equal(status(), ACK | FAILED);
	set_status(0);
	assert_int_equal(status(), 0);
}

/* ---- queues ---- */

static struct virtq_regs *regs(unsigned q)
{
	return &toy->dev.queue[q].regs;
}

static void queue_registers_are_writable_in_their_window_only(void **state)
{
	struct virtq_regs before;

	set_status(ACK);
	set_status(ACK | DRIVER);
	vd_queue(&bench, 0, 8);
	assert_int_equal(regs(0)->size, 0);
	assert_false(regs(0)->ready);
	vd_negotiate(&bench, V1);
	vd_queue(&bench, 0, 8);
	assert_int_equal(regs(0)->size, 8);
	assert_true(regs(0)->ready);
	before = *regs(0);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_NUM, 16); /* while ready */
	vd_write(&bench, VIRTIO_MMIO_QUEUE_DESC_HIGH, 1);
	assert_memory_equal(&before, regs(0), sizeof(before));
	set_status(0xf);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_SEL, 0);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_READY, 0); /* after DRIVER_OK */
	vd_write(&bench, VIRTIO_MMIO_QUEUE_NUM, 16);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_USED_LOW, 0x40);
	assert_memory_equal(&before, regs(0), sizeof(before));
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_QUEUE_READY), 1);
}

static void impossible_queue_sizes_are_ignored(void **state)
{
	static const uint32_t bad[] = {
		3, VTOY_SIZE_0 * 2, 65536, 65536 + 8, 0x80000000, UINT32_MAX};
	unsigned i;

	vd_negotiate(&bench, V1);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_SEL, 0);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_NUM, 8);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vd_write(&bench, VIRTIO_MMIO_QUEUE_NUM, bad[i]);
		assert_int_equal(regs(0)->size, 8);
	}
	vd_write(&bench, VIRTIO_MMIO_QUEUE_READY, 2);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void a_queue_at_a_bad_address_ends_in_needs_reset(void **state)
{
	uint32_t offs[] = {VIRTIO_MMIO_QUEUE_DESC_LOW,
		VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_USED_LOW,
		VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_USED_HIGH};
	uint32_t vals[] = {0x1008, 0x1001, 0x1002, 0xffffffff, 1};
	unsigned i;

	for (i = 0; i < 5; i++) {
		vd_negotiate(&bench, V1);
		vd_queue(&bench, 0, 8);
		vd_queue(&bench, 1, 8);
		vd_write(&bench, VIRTIO_MMIO_QUEUE_READY, 0);
		vd_write(&bench, offs[i], vals[i]);
		vd_write(&bench, VIRTIO_MMIO_QUEUE_READY, 1);
		set_status(0xf);
		assert_int_equal(status(), 0xf | NEEDS_RESET);
		/* A config interrupt tells the driver (2.1.2). */
		assert_int_equal(
			vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
		ask(0, 4); /* the other queue does not work either */
		vd_settle(&bench);
		assert_int_equal(vd_used(&bench, 0), 0);
		assert_false(toy->dev.active);
		set_status(0x4f); /* only a reset is listened to */
		set_status(0xcf);
		assert_int_equal(status(), 0xf | NEEDS_RESET);
	}
	vd_start(&bench, 0, 2, 8);
	assert_int_equal(status(), 0xf);
	assert_int_equal(toy->starts, 1);
}

static void a_queue_of_size_zero_ends_in_needs_reset(void **state)
{
	vd_negotiate(&bench, V1);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_SEL, 0);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_READY, 1);
	set_status(0xf);
	assert_int_equal(status(), 0xf | NEEDS_RESET);
}

static void a_second_driver_ok_does_nothing(void **state)
{
	vd_start(&bench, 0, 2, 8);
	ask(0, 4);
	assert_int_equal(vd_wait(&bench, 0), 4);
	set_status(0xf);
	assert_int_equal(toy->starts, 1);
	assert_int_equal(status(), 0xf);
	ask(0, 5);
	assert_int_equal(vd_wait(&bench, 0), 5);
}

static void requests_are_served_and_interrupt(void **state)
{
	vd_start(&bench, EVENT_IDX, 2, 8);
	vd_irqs(&bench);
	ask(0, 7);
	assert_int_equal(vd_wait(&bench, 0), 7);
	vd_settle(&bench);
	assert_int_equal(vd_irqs(&bench), 1);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	vd_write(&bench, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* used_event still says 0: the driver has not asked again. */
	ask(0, 7);
	assert_int_equal(vd_wait(&bench, 0), 7);
	vd_settle(&bench);
	assert_int_equal(vd_irqs(&bench), 0);
}

static void a_kick_before_driver_ok_is_not_lost(void **state)
{
	vd_negotiate(&bench, V1);
	vd_queue(&bench, 0, 8);
	ask(0, 3);
	vd_settle(&bench);
	assert_int_equal(vd_used(&bench, 0), 0);
	set_status(0xf);
	assert_int_equal(vd_wait(&bench, 0), 3);
}

static void a_kick_for_no_queue_is_harmless(void **state)
{
	vd_start(&bench, 0, 1, 8);
	vd_kick(&bench, 1); /* exists, not set up */
	vd_kick(&bench, 2);
	vd_kick(&bench, UINT32_MAX);
	vd_settle(&bench);
	ask(0, 3);
	assert_int_equal(vd_wait(&bench, 0), 3);
}

static void a_broken_ring_needs_a_reset_and_gets_it(void **state)
{
	struct vring_avail *avail;

	vd_start(&bench, 0, 2, 8);
	vd_irqs(&bench);
	avail = vd_at(&bench, bench.q[0].avail);
	avail->idx = 100;
	vd_kick(&bench, 0);
	vd_settle(&bench);
	assert_int_equal(status(), 0xf | NEEDS_RESET);
	assert_int_equal(vd_irqs(&bench), 1);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
	ask(1, 6); /* the other queue is not stopped */
	assert_int_equal(vd_wait(&bench, 1), 6);
	vd_start(&bench, 0, 2, 8);
	ask(0, 4);
	assert_int_equal(vd_wait(&bench, 0), 4);
}

/* Offers the next one while the last one is served: an endless ring. */
static void offer_another(void)
{
	struct vring_avail *avail = vd_at(&bench, bench.q[0].avail);

	avail->idx++;
}

static void endless_work_leaves_turns_for_others(void **state)
{
	unsigned turn, before;

	vd_start(&bench, 0, 1, 64);
	toy->on_request = offer_another;
	vd_desc(&bench, 0, 0, 0x400000, 4, 0, 0);
	vd_offer(&bench, 0, 0);
	vd_kick(&bench, 0); /* once: it goes on by itself */
	for (turn = 0; turn < 20; turn++) {
		before = toy->requests;
		loop_poll(bench.loop, true);
		assert_true(toy->requests - before <= VIRTIO_BATCH);
	}
	assert_true(toy->requests > 10 * VIRTIO_BATCH);
	toy->on_request = NULL;
	vd_settle(&bench);
	assert_int_equal(status(), 0xf);
}

static void a_malformed_chain_comes_back_and_the_queue_goes_on(void **state)
{
	uint16_t head;
	uint32_t len;

	vd_start(&bench, 0, 1, 8);
	vd_desc(&bench, 0, 0, UINT64_MAX, 4, 0, 0);
	vd_offer(&bench, 0, 0);
	vd_kick(&bench, 0);
	vd_settle(&bench);
	assert_true(vd_take(&bench, 0, &head, &len));
	assert_int_equal(len, 0);
	assert_int_equal(toy->requests, 0);
	assert_int_equal(status(), 0xf);
	assert_true(vd_irqs(&bench) > 0);
	ask(0, 9);
	assert_int_equal(vd_wait(&bench, 0), 9);
}

static void a_device_that_is_not_ready_leaves_the_ring_alone(void **state)
{
	vd_start(&bench, 0, 1, 8);
	toy->not_ready = true;
	ask(0, 1);
	vd_settle(&bench);
	assert_int_equal(vd_used(&bench, 0), 0);
	toy->not_ready = false;
	virtio_dev_run(&toy->dev, 0);
	assert_int_equal(vd_wait(&bench, 0), 1);
}

/* ---- reset ---- */

static void a_reset_forgets_everything(void **state)
{
	vd_start(&bench, 0, 2, 8);
	ask(0, 1);
	vd_wait(&bench, 0);
	vd_settle(&bench);
	set_status(0);
	assert_int_equal(status(), 0);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	vd_write(&bench, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(regs(0)->size, 0);
	assert_true(toy->dev.driver_features == 0);
	assert_int_equal(toy->stops, 1);
	ask(0, 1);
	vd_settle(&bench);
	assert_int_equal(vd_used(&bench, 0), 0);
}

static void a_reset_waits_for_requests_and_drops_their_completions(void **state)
{
	struct vring_used *used;

	vd_start(&bench, 0, 2, 8);
	vd_irqs(&bench);
	toy->hold = true;
	ask(0, 1);
	ask(0, 1);
	ask(1, 1);
	while (toy->holds < 3)
		loop_poll(bench.loop, true);
	used = vd_at(&bench, bench.q[0].used);
	vtoy_release(toy); /* runs only when the reset polls the loop */
	set_status(0);
	assert_int_equal(toy->holds, 0);
	assert_int_equal(toy->dev.inflight, 0);
	assert_int_equal(used->idx, 0);
	vd_settle(&bench);
	assert_int_equal(vd_irqs(&bench), 0);
	assert_int_equal(status(), 0);
}

/* ---- threads: the loop here, a vCPU there ---- */

struct vcpu {
	void (*fn)(void);
	_Atomic bool done;
};

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;

	v->fn();
	atomic_store(&v->done, true);
	loop_notify(bench.loop);
	return NULL;
}

/* Run @fn on a thread of its own while this one polls. */
static void on_vcpu(void (*fn)(void))
{
	struct vcpu v = {.fn = fn};
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, vcpu_main, &v), 0);
	while (!atomic_load(&v.done))
		loop_poll(bench.loop, true);
	pthread_join(t, NULL);
}

/* Linux does not poll for the end of a reset: the write itself must be it. */
static void reset_and_look(void)
{
	set_status(0);
	assert_int_equal(status(), 0);
	assert_int_equal(toy->dev.inflight, 0);
}

static void a_reset_from_a_vcpu_is_over_when_the_write_returns(void **state)
{
	vd_start(&bench, 0, 2, 8);
	toy->hold = true;
	ask(0, 1);
	while (toy->holds < 1)
		loop_poll(bench.loop, true);
	vtoy_release(toy);
	on_vcpu(reset_and_look);
	assert_int_equal(toy->holds, 0);
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

static void probe_use_remove(void)
{
	unsigned round, i;
	uint16_t head;
	uint32_t len;

	for (round = 0; round < 50; round++) {
		bench.next_gpa = 0x1000;
		vd_negotiate(&bench, V1 | VTOY_HIGH);
		vd_queue(&bench, 0, 8);
		vd_queue(&bench, 1, 8);
		set_status(0xf);
		assert_int_equal(status(), 0xf);
		for (i = 0; i < 20; i++) {
			ask(i & 1, i);
			await_used(i & 1);
			assert_true(vd_take(&bench, i & 1, &head, &len));
			assert_int_equal(len, i);
		}
		ask(0, 1); /* and a reset while that may be in flight */
		set_status(0);
	}
}

static void a_driver_on_a_vcpu_probes_uses_and_removes(void **state)
{
	on_vcpu(probe_use_remove);
	assert_int_equal(toy->starts, 50);
	assert_int_equal(toy->stops, 50);
}

static void hammer(void)
{
	uint64_t rnd = 88172645463325252ull;
	unsigned i;

	for (i = 0; i < 3000; i++) {
		uint64_t r = testing_random(&rnd);

		switch (r % 8) {
		case 0:
			set_status(0);
			break;
		case 1:
			set_status(status() | 1u << (r >> 8) % 4);
			break;
		case 2:
			vd_kick(&bench, (r >> 8) % 2);
			break;
		case 3:
			vd_write(&bench, VIRTIO_MMIO_INTERRUPT_ACK, 3);
			break;
		case 4:
			vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
			vd_write(&bench, VIRTIO_MMIO_DRIVER_FEATURES, 1);
			break;
		default:
			vd_read(&bench, (r >> 8) % 0x140 & ~3ull);
		}
	}
}

static void *hammer_main(void *arg)
{
	hammer();
	return NULL;
}

static void two_more(void)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, hammer_main, NULL), 0);
	hammer();
	pthread_join(t, NULL);
}

/* Says something under ThreadSanitizer. */
static void two_vcpus_at_the_registers_do_no_harm(void **state)
{
	on_vcpu(two_more);
	set_status(0);
	vd_start(&bench, 0, 2, 8);
	assert_int_equal(status(), 0xf);
}

/* ---- ioeventfd ---- */

static void ioeventfds_come_with_the_first_driver_and_go_with_the_device(
	void **state)
{
	struct virtio_env env;

	assert_int_equal(bench.ioeventfds_on, 0);
	vd_start(&bench, 0, 2, 8);
	assert_int_equal(bench.ioeventfds_on, 2);
	vd_start(&bench, 0, 2, 8);
	assert_int_equal(bench.ioeventfds_on, 2);
	vbench_unplug(&bench);
	assert_int_equal(bench.ioeventfds_off, 2);
	env = vbench_env(&bench);
	toy = vtoy_create(&env);
	vbench_plug(&bench, &toy->dev);
}

static void without_ioeventfds_kicks_still_arrive(void **state)
{
	bench.ioeventfd_result = -ENOSPC;
	vd_start(&bench, 0, 2, 8);
	ask(0, 2);
	assert_int_equal(vd_wait(&bench, 0), 2);
}

/* ---- pause and resume ---- */

static void a_pause_drains_and_takes_nothing_new(void **state)
{
	vd_start(&bench, 0, 2, 8);
	toy->hold = true;
	ask(0, 1);
	while (toy->holds < 1)
		loop_poll(bench.loop, true);
	vtoy_release(toy);
	toy->hold = false;
	bench.dev->ops->quiesce(bench.dev);
	assert_int_equal(vd_used(&bench, 0), 1);
	ask(0, 1);
	virtio_dev_run(&toy->dev, 0);
	vd_settle(&bench);
	assert_int_equal(vd_used(&bench, 0), 1);
	bench.dev->ops->resume(bench.dev);
	vd_settle(&bench);
	assert_int_equal(vd_used(&bench, 0), 2);
}

static void a_resume_kicks_and_interrupts_again(void **state)
{
	struct vd_buf buf = {.gpa = 0x400000, .len = 5, .writable = true};
	struct vring_avail *avail;

	vd_start(&bench, EVENT_IDX, 2, 8);
	ask(0, 1);
	vd_wait(&bench, 0);
	vd_settle(&bench);
	assert_true(vd_irqs(&bench) > 0);
	bench.dev->ops->quiesce(bench.dev);
	/* The edge above was lost with the old host, and so was this kick. */
	vd_add(&bench, 0, &buf, 1);
	bench.dev->ops->resume(bench.dev);
	assert_int_equal(vd_irqs(&bench), 1);
	assert_int_equal(vd_wait(&bench, 0), 5);
	vd_settle(&bench);
	vd_irqs(&bench);
	/* Acknowledged, and yet used_event says: not looked at. */
	vd_write(&bench, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	bench.dev->ops->quiesce(bench.dev);
	bench.dev->ops->resume(bench.dev);
	assert_true(vd_irqs(&bench) > 0);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	/* Nothing pending and all seen: no interrupt. */
	vd_write(&bench, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	avail = vd_at(&bench, bench.q[0].avail);
	avail->ring[8] = 2;
	bench.dev->ops->quiesce(bench.dev);
	bench.dev->ops->resume(bench.dev);
	vd_settle(&bench);
	assert_int_equal(vd_irqs(&bench), 0);
}

static void nothing_is_leaked(void **state)
{
	int fds = testing_fd_count();
	struct virtio_env env = vbench_env(&bench);

	vbench_unplug(&bench);
	vd_settle(&bench);
	toy = vtoy_create(&env);
	vbench_plug(&bench, &toy->dev);
	vd_start(&bench, 0, 2, 8);
	assert_int_equal(testing_fd_count(), fds);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(identity_registers_are_those_of_version_2),
		T(wrong_widths_and_offsets_are_harmless),
		T(config_space_takes_bytes_words_and_dwords),
		T(a_config_change_bumps_the_generation_and_interrupts),
		T(the_ladder_is_climbed_rung_by_rung),
		T(rungs_skipped_or_taken_back_are_refused),
		T(features_not_offered_or_legacy_are_refused),
		T(features_are_written_only_after_driver_and_before_features_ok),
		T(failed_can_be_left_by_a_reset_only),
		T(queue_registers_are_writable_in_their_window_only),
		T(impossible_queue_sizes_are_ignored),
		T(a_queue_at_a_bad_address_ends_in_needs_reset),
		T(a_queue_of_size_zero_ends_in_needs_reset),
		T(a_second_driver_ok_does_nothing),
		T(requests_are_served_and_interrupt),
		T(a_kick_before_driver_ok_is_not_lost),
		T(a_kick_for_no_queue_is_harmless),
		T(a_broken_ring_needs_a_reset_and_gets_it),
		T(endless_work_leaves_turns_for_others),
		T(a_malformed_chain_comes_back_and_the_queue_goes_on),
		T(a_device_that_is_not_ready_leaves_the_ring_alone),
		T(a_reset_forgets_everything),
		T(a_reset_waits_for_requests_and_drops_their_completions),
		T(a_reset_from_a_vcpu_is_over_when_the_write_returns),
		T(a_driver_on_a_vcpu_probes_uses_and_removes),
		T(two_vcpus_at_the_registers_do_no_harm),
		T(ioeventfds_come_with_the_first_driver_and_go_with_the_device),
		T(without_ioeventfds_kicks_still_arrive),
		T(a_pause_drains_and_takes_nothing_new),
		T(a_resume_kicks_and_interrupts_again),
		T(nothing_is_leaked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
