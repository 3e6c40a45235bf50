/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_queue.c - the ring (Q2), friendly and hostile. */
#include "virtio/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <string.h>

#include "tests/lib/testing.h"
#include "vmm/guestmem.h"

#define RAM   (4ull << 20)
#define DESC  0x1000u
#define AVAIL 0x2000u
#define USED  0x3000u
#define TABLE 0x4000u /* an indirect one */
#define DATA  0x10000u
#define SIZE  16u
#define BOTH                                                                   \
	(1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)

struct ring {
	struct guestmem gm;
	struct virtq q;
	struct virtq_chain chain;
	struct vring_desc *desc, *table;
	struct vring_avail *avail;
	struct vring_used *used;
};

static const struct virtq_regs good = {.desc = DESC,
	.avail = AVAIL,
	.used = USED,
	.size = SIZE,
	.ready = true};

static void start(struct ring *r, uint64_t features)
{
	static const struct virtq_pos fresh;

	assert_int_equal(virtq_start(&r->q, &good, VIRTQ_SIZE_MAX, features,
				 &fresh, &r->gm),
		0);
}

static int setup(void **state)
{
	static struct ring r;
	struct guestmem_options opt = {.size = RAM};

	memset(&r, 0, sizeof(r));
	assert_int_equal(guestmem_init(&r.gm, &opt, NULL), 0);
	r.desc = guestmem_at(&r.gm, DESC, 4096);
	r.avail = guestmem_at(&r.gm, AVAIL, 4096);
	r.used = guestmem_at(&r.gm, USED, 4096);
	r.table = guestmem_at(&r.gm, TABLE, 8192);
	start(&r, BOTH);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	struct ring *r = *state;

	guestmem_fini(&r->gm);
	return 0;
}

static void offer(struct ring *r, uint16_t head)
{
	uint16_t idx = r->avail->idx;

	r->avail->ring[idx % SIZE] = head;
	__atomic_store_n(&r->avail->idx, (uint16_t)(idx + 1), __ATOMIC_SEQ_CST);
}

static void describe(struct vring_desc *d, uint64_t gpa, uint32_t len,
	uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){
		.addr = gpa, .len = len, .flags = flags, .next = next};
}

/* The head went back with length 0, and nothing else happened. */
static void expect_bad(struct ring *r, uint16_t head)
{
	uint16_t used = r->used->idx;

	assert_int_equal(virtq_pop(&r->q, &r->chain), -EBADMSG);
	assert_int_equal(r->used->idx, (uint16_t)(used + 1));
	assert_int_equal(r->used->ring[used % SIZE].id, head);
	assert_int_equal(r->used->ring[used % SIZE].len, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 0);
	assert_false(r->q.broken);
}

static void expect_broken(struct ring *r)
{
	uint16_t used = r->used->idx;

	assert_int_equal(virtq_pop(&r->q, &r->chain), -EPROTO);
	assert_int_equal(virtq_pop(&r->q, &r->chain), -EPROTO);
	assert_int_equal(r->used->idx, used);
}

/* ---- friendly ---- */

static void a_chain_becomes_readable_then_writable_iovecs(void **state)
{
	struct ring *r = *state;

	describe(&r->desc[3], DATA, 16, VRING_DESC_F_NEXT, 7);
	describe(&r->desc[7], DATA + 0x100, 0, VRING_DESC_F_NEXT, 1);
	describe(&r->desc[1], DATA + 0x200, 32,
		VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	describe(&r->desc[0], DATA + 0x300, 1, VRING_DESC_F_WRITE, 9);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 0);
	offer(r, 3);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_int_equal(r->chain.head, 3);
	assert_int_equal(r->chain.readable, 1); /* the empty one is dropped */
	assert_int_equal(r->chain.writable, 2);
	assert_ptr_equal(
		r->chain.iov[0].iov_base, guestmem_at(&r->gm, DATA, 1));
	assert_int_equal(r->chain.iov[0].iov_len, 16);
	assert_ptr_equal(virtq_chain_in(&r->chain)[1].iov_base,
		guestmem_at(&r->gm, DATA + 0x300, 1));
	assert_int_equal(virtq_pop(&r->q, &r->chain), 0);
	virtq_done(&r->q, 3, 33);
	assert_int_equal(r->used->idx, 1);
	assert_int_equal(r->used->ring[0].id, 3);
	assert_int_equal(r->used->ring[0].len, 33);
}

static void indices_wrap_at_65536(void **state)
{
	struct virtq_pos pos = {65530, 65530, 65530};
	struct ring *r = *state;
	unsigned i;

	assert_int_equal(
		virtq_start(&r->q, &good, SIZE, BOTH, &pos, &r->gm), 0);
	r->avail->idx = 65530;
	describe(&r->desc[0], DATA, 8, 0, 0);
	for (i = 0; i < 20; i++) {
		offer(r, 0);
		assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
		virtq_done(&r->q, 0, i);
		assert_int_equal(r->used->idx, (uint16_t)(65531 + i));
		assert_int_equal(r->used->ring[(65530 + i) % SIZE].len, i);
	}
}

static void an_indirect_table_is_followed(void **state)
{
	struct ring *r = *state;

	/* One direct descriptor first, which is allowed; the WRITE flag of the
	 * one that refers to the table is to be ignored. */
	describe(&r->desc[0], DATA, 16, VRING_DESC_F_NEXT, 1);
	describe(&r->desc[1], TABLE, 32,
		VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	describe(&r->table[0], DATA + 64, 4, VRING_DESC_F_NEXT, 1);
	describe(&r->table[1], DATA + 128, 5, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_int_equal(r->chain.readable, 2);
	assert_int_equal(r->chain.writable, 1);
	assert_int_equal(r->chain.iov[2].iov_len, 5);
}

static void an_indirect_table_may_be_longer_than_the_ring_but_bounded(
	void **state)
{
	struct ring *r = *state;
	unsigned i;

	for (i = 0; i < 300; i++)
		describe(&r->table[i], DATA, 1, VRING_DESC_F_NEXT,
			(uint16_t)(i + 1));
	r->table[VIRTQ_SIZE_MAX - 1].flags = 0;
	describe(&r->desc[0], TABLE, 300 * 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_int_equal(r->chain.readable, VIRTQ_SIZE_MAX);
	virtq_done(&r->q, 0, 0);
	r->table[VIRTQ_SIZE_MAX - 1].flags = VRING_DESC_F_NEXT;
	offer(r, 0);
	expect_bad(r, 0);
	/* With readable ones before it the table has that much less room. */
	r->table[VIRTQ_SIZE_MAX - 1].flags = 0;
	describe(&r->desc[1], DATA, 1, VRING_DESC_F_NEXT, 0);
	offer(r, 1);
	expect_bad(r, 1);
}

static void a_chain_put_back_is_popped_again(void **state)
{
	struct ring *r = *state;

	describe(&r->desc[0], DATA, 8, 0, 0);
	describe(&r->desc[1], DATA, 9, 0, 0);
	offer(r, 0);
	offer(r, 1);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	virtq_unpop(&r->q);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_int_equal(r->chain.head, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_int_equal(r->chain.head, 1);
}

/* ---- hostile ---- */

static void a_loop_of_descriptors_ends(void **state)
{
	struct ring *r = *state;

	describe(&r->desc[0], DATA, 8, VRING_DESC_F_NEXT, 0);
	offer(r, 0);
	expect_bad(r, 0);
	describe(&r->desc[0], DATA, 0, VRING_DESC_F_NEXT, 1);
	describe(&r->desc[1], DATA, 0, VRING_DESC_F_NEXT, 0);
	offer(r, 0); /* empty ones fill no iovec and yet must count */
	expect_bad(r, 0);
	describe(&r->table[0], DATA, 0, VRING_DESC_F_NEXT, 0);
	describe(&r->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	expect_bad(r, 0);
}

static void next_past_the_table_is_refused(void **state)
{
	struct ring *r = *state;

	describe(&r->desc[0], DATA, 8, VRING_DESC_F_NEXT, SIZE);
	offer(r, 0);
	expect_bad(r, 0);
	describe(&r->desc[0], TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	describe(&r->table[0], DATA, 8, VRING_DESC_F_NEXT, 2);
	offer(r, 0);
	expect_bad(r, 0);
	describe(&r->table[0], DATA, 8, VRING_DESC_F_NEXT, 65535);
	offer(r, 0);
	expect_bad(r, 0);
}

static void a_head_past_the_table_breaks_the_queue(void **state)
{
	struct ring *r = *state;

	offer(r, SIZE);
	expect_broken(r);
}

static void an_avail_index_that_jumps_breaks_the_queue(void **state)
{
	struct ring *r = *state;

	describe(&r->desc[0], DATA, 8, 0, 0);
	r->avail->idx = SIZE + 1;
	expect_broken(r);
	start(*state, BOTH);
	r->avail->idx = 65535; /* backwards by one */
	expect_broken(r);
	start(*state, BOTH);
	r->avail->idx = SIZE; /* the most that can be */
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
}

static void one_descriptor_offered_for_ever_is_bounded(void **state)
{
	struct ring *r = *state;
	unsigned i;

	describe(&r->desc[0], DATA, 8, 0, 0);
	for (i = 0; i < SIZE; i++) {
		offer(r, 0);
		assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	}
	offer(r, 0);
	expect_broken(r);
}

static void indirect_rules_are_enforced(void **state)
{
	struct ring *r = *state;
	static const struct {
		uint64_t gpa;
		uint32_t len;
		uint16_t flags;
	} bad[] = {
		{TABLE, 0, VRING_DESC_F_INDIRECT},
		{TABLE, 15, VRING_DESC_F_INDIRECT},
		{TABLE, 17, VRING_DESC_F_INDIRECT},
		{TABLE, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT},
		{RAM - 16, 32, VRING_DESC_F_INDIRECT},
		{UINT64_MAX - 15, 32, VRING_DESC_F_INDIRECT},
	};
	unsigned i;

	describe(&r->table[0], DATA, 8, 0, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		describe(&r->desc[0], bad[i].gpa, bad[i].len, bad[i].flags, 1);
		offer(r, 0);
		expect_bad(r, 0);
	}
	/* A table in a table. */
	describe(&r->desc[0], TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	describe(&r->table[0], TABLE + 16, 16, VRING_DESC_F_INDIRECT, 0);
	describe(&r->table[1], DATA, 8, 0, 0);
	offer(r, 0);
	expect_bad(r, 0);
	/* Not negotiated. */
	describe(&r->table[0], DATA, 8, 0, 0);
	r->avail->idx = 0;
	r->used->idx = 0;
	start(r, 0);
	offer(r, 0);
	expect_bad(r, 0);
}

static void an_unaligned_indirect_table_is_read_all_the_same(void **state)
{
	struct ring *r = *state;
	struct vring_desc d = {.addr = DATA, .len = 8};

	memcpy((uint8_t *)r->table + 3, &d, sizeof(d));
	describe(&r->desc[0], TABLE + 3, 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_int_equal(r->chain.iov[0].iov_len, 8);
}

static void buffers_outside_ram_are_refused(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {{RAM - 7, 8}, {RAM, 1}, {UINT64_MAX - 3, 8}, {0xd0000000, 4},
		{GUESTMEM_HOLE_END, 8}, {0, UINT32_MAX}};
	struct ring *r = *state;
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		describe(&r->desc[0], bad[i].gpa, bad[i].len, 0, 0);
		offer(r, 0);
		expect_bad(r, 0);
	}
	describe(&r->desc[0], RAM - 8, 8, 0, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
}

static void readable_after_writable_is_refused(void **state)
{
	struct ring *r = *state;

	describe(&r->desc[0], DATA, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
		1);
	describe(&r->desc[1], DATA, 8, 0, 0);
	offer(r, 0);
	expect_bad(r, 0);
}

static void queue_registers_are_checked(void **state)
{
	struct ring *r = *state;
	struct virtq_regs v;
	unsigned i;

	assert_true(virtq_regs_ok(&good, SIZE, &r->gm));
	assert_false(virtq_regs_ok(&good, SIZE / 2, &r->gm));
	for (i = 0; i < 12; i++) {
		v = good;
		switch (i) {
		case 0:
			v.size = 0;
			break;
		case 1:
			v.size = 12;
			break;
		case 2:
			v.size = 512; /* VIRTQ_SIZE_MAX is 256 */
			break;
		case 3:
			v.desc += 8;
			break;
		case 4:
			v.avail += 1;
			break;
		case 5:
			v.used += 2;
			break;
		case 6:
			v.desc = RAM - 16 * SIZE + 16;
			break;
		case 7:
			v.avail = RAM - 4 - 2 * SIZE; /* no used_event */
			break;
		case 8:
			v.used = RAM - 4 - 8 * SIZE; /* no avail_event */
			break;
		case 9:
			v.desc = UINT64_MAX - 15;
			break;
		case 10:
			v.avail = 0xd0000000;
			break;
		case 11:
			v.used = UINT64_MAX - 3;
			break;
		}
		assert_false(virtq_regs_ok(&v, 1024, &r->gm));
	}
	v = good;
	v.desc = RAM - 16 * SIZE;
	assert_true(virtq_regs_ok(&v, SIZE, &r->gm));
}

/* ---- notifications ---- */

static void avail_event_follows_and_a_race_is_reported(void **state)
{
	struct ring *r = *state;
	uint16_t *event = (uint16_t *)&r->used->ring[SIZE];

	describe(&r->desc[0], DATA, 8, 0, 0);
	virtq_notify_off(&r->q);
	assert_int_equal(r->used->flags, 0); /* it is all in avail_event */
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_false(virtq_notify_on(&r->q));
	assert_int_equal(*event, 1);
	offer(r, 0);
	assert_true(virtq_notify_on(&r->q));
}

static void without_event_idx_the_flag_says_it(void **state)
{
	struct ring *r = *state;

	start(r, 0);
	describe(&r->desc[0], DATA, 8, 0, 0);
	virtq_notify_off(&r->q);
	assert_int_equal(r->used->flags, VRING_USED_F_NO_NOTIFY);
	offer(r, 0);
	assert_true(virtq_notify_on(&r->q));
	assert_int_equal(r->used->flags, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_false(virtq_notify_on(&r->q));
	virtq_done(&r->q, 0, 0);
	assert_true(virtq_wants_interrupt(&r->q));
	assert_false(virtq_wants_interrupt(&r->q)); /* nothing new */
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	virtq_done(&r->q, 0, 0);
	r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	assert_false(virtq_wants_interrupt(&r->q));
}

static void use(struct ring *r, unsigned n)
{
	while (n-- > 0) {
		offer(r, 0);
		assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
		virtq_done(&r->q, 0, 0);
	}
}

static void used_event_decides_about_interrupts(void **state)
{
	struct ring *r = *state;
	uint16_t *event = &r->avail->ring[SIZE];

	describe(&r->desc[0], DATA, 8, 0, 0);
	assert_false(virtq_wants_interrupt(&r->q));
	*event = 0;
	use(r, 1);
	assert_true(virtq_wants_interrupt(&r->q));
	use(r, 1); /* the driver has not looked yet */
	assert_false(virtq_wants_interrupt(&r->q));
	*event = 4;
	use(r, 2);
	assert_false(virtq_wants_interrupt(&r->q));
	use(r, 3); /* past 4 in the middle of a batch */
	assert_true(virtq_wants_interrupt(&r->q));
}

static void used_event_works_across_the_wrap(void **state)
{
	struct virtq_pos pos = {65534, 65534, 65534};
	struct ring *r = *state;

	assert_int_equal(
		virtq_start(&r->q, &good, SIZE, BOTH, &pos, &r->gm), 0);
	r->avail->idx = 65534;
	r->avail->ring[SIZE] = 65535;
	describe(&r->desc[0], DATA, 8, 0, 0);
	use(r, 1);
	assert_false(virtq_wants_interrupt(&r->q));
	use(r, 1); /* used index 0: passed 65535 */
	assert_true(virtq_wants_interrupt(&r->q));
}

static void unseen_entries_are_known_after_a_resume(void **state)
{
	struct ring *r = *state;

	describe(&r->desc[0], DATA, 8, 0, 0);
	assert_false(virtq_may_be_unseen(&r->q));
	use(r, 2);
	r->avail->ring[SIZE] = 1;
	assert_true(virtq_may_be_unseen(&r->q));
	r->avail->ring[SIZE] = 2; /* it has seen both */
	assert_false(virtq_may_be_unseen(&r->q));
}

/* ---- dirty logging ---- */

static bool dirty(struct ring *r, uint64_t gpa)
{
	static uint64_t map[RAM / 4096 / 64];

	memset(map, 0, sizeof(map));
	guestmem_dirty_fetch(&r->gm, map);
	return map[gpa / 4096 / 64] >> gpa / 4096 % 64 & 1;
}

static void every_write_to_guest_ram_is_logged(void **state)
{
	struct iovec iov[2];
	struct ring *r = *state;

	assert_int_equal(guestmem_dirty_log_start(&r->gm), 0);
	describe(&r->desc[0], DATA, 8, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->chain), 1);
	assert_false(dirty(r, USED)); /* popping writes nothing */
	virtq_done(&r->q, 0, 8);
	assert_true(dirty(r, USED));
	virtq_notify_on(&r->q);
	assert_true(dirty(r, USED));
	start(r, 0);
	virtq_notify_off(&r->q);
	assert_true(dirty(r, USED));
	virtq_notify_on(&r->q);
	assert_true(dirty(r, USED));
	assert_false(dirty(r, USED));

	iov[0] = (struct iovec){guestmem_at(&r->gm, DATA, 1), 0x1000};
	iov[1] = (struct iovec){guestmem_at(&r->gm, DATA + 0x5000, 1), 0x2000};
	virtq_mark_written(&r->gm, iov, 2, 0x1800);
	assert_true(dirty(r, DATA + 0x5000));
	virtq_mark_written(&r->gm, iov, 2, 0x1800);
	assert_false(dirty(r, DATA + 0x6000));
	virtq_mark_written(&r->gm, iov, 2, 0x1000);
	assert_false(dirty(r, DATA + 0x5000));
}

/* ---- a real second thread ---- */

#define ROUNDS 20000u

/* Offers descriptor i % SIZE with i as data, never more than SIZE ahead. */
static void *driver(void *arg)
{
	struct ring *r = arg;
	uint16_t head;
	unsigned i;

	for (i = 0; i < ROUNDS; i++) {
		while ((uint16_t)(i - __atomic_load_n(&r->used->idx,
					      __ATOMIC_ACQUIRE)) >= SIZE)
			;
		head = (uint16_t)(i % SIZE);
		memcpy(guestmem_at(&r->gm, DATA + head * 64u, 64), &i,
			sizeof(i));
		describe(&r->desc[head], DATA + head * 64u, sizeof(i), 0, 0);
		__atomic_store_n(
			&r->avail->ring[i % SIZE], head, __ATOMIC_RELAXED);
		__atomic_store_n(
			&r->avail->idx, (uint16_t)(i + 1), __ATOMIC_RELEASE);
	}
	return NULL;
}

static void a_driver_on_another_cpu_loses_nothing(void **state)
{
	struct ring *r = *state;
	unsigned i = 0, got;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, driver, r), 0);
	while (i < ROUNDS) {
		if (virtq_pop(&r->q, &r->chain) == 0)
			continue;
		memcpy(&got, r->chain.iov[0].iov_base, sizeof(got));
		assert_int_equal(got, i);
		virtq_done(&r->q, r->chain.head, 0);
		i++;
	}
	pthread_join(t, NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_chain_becomes_readable_then_writable_iovecs),
		T(indices_wrap_at_65536),
		T(an_indirect_table_is_followed),
		T(an_indirect_table_may_be_longer_than_the_ring_but_bounded),
		T(a_chain_put_back_is_popped_again),
		T(a_loop_of_descriptors_ends),
		T(next_past_the_table_is_refused),
		T(a_head_past_the_table_breaks_the_queue),
		T(an_avail_index_that_jumps_breaks_the_queue),
		T(one_descriptor_offered_for_ever_is_bounded),
		T(indirect_rules_are_enforced),
		T(an_unaligned_indirect_table_is_read_all_the_same),
		T(buffers_outside_ram_are_refused),
		T(readable_after_writable_is_refused),
		T(queue_registers_are_checked),
		T(avail_event_follows_and_a_race_is_reported),
		T(without_event_idx_the_flag_says_it),
		T(used_event_decides_about_interrupts),
		T(used_event_works_across_the_wrap),
		T(unseen_entries_are_known_after_a_resume),
		T(every_write_to_guest_ram_is_logged),
		T(a_driver_on_another_cpu_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
