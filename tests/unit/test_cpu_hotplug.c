/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_cpu_hotplug.c - promises of devices/cpu_hotplug.h. */
#include "devices/cpu_hotplug.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/device_test.h"
#include "vmm/layout.h"
#include "vmm/log.h"

#define MAX	5u
#define PRESENT CPU_HOTPLUG_PRESENT
#define INSERT	CPU_HOTPLUG_INSERT
#define REMOVE	CPU_HOTPLUG_REMOVE
#define EJECT	CPU_HOTPLUG_EJECT

/* Offsets in the section's body. */
#define AT_MAX	   8u
#define AT_SLOT(n) (12u + 5u * (n))

struct fixture {
	struct device *dev, *other;
	struct bus_range range, other_range;
	unsigned changed;
	int irq_fd;
};

static void changed(void *opaque)
{
	struct fixture *f = opaque;

	f->changed++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct cpu_hotplug_options opt = {
		.max = MAX, .count = 2, .changed = changed, .opaque = f};

	*state = f;
	log_set_level(LOG_ERROR);
	f->irq_fd = opt.irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(cpu_hotplug_create(&opt, &f->dev, &f->range), 0);
	opt.irq_fd = -1;
	opt.count = 1;
	assert_int_equal(
		cpu_hotplug_create(&opt, &f->other, &f->other_range), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	f->other->ops->destroy(f->other);
	close(f->irq_fd);
	free(f);
	return 0;
}

/* Edges since the last call. */
static uint64_t edges(const struct fixture *f)
{
	uint64_t n = 0;

	return read(f->irq_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static uint32_t status(const struct fixture *f, uint32_t id)
{
	out(&f->range, CPU_HOTPLUG_SELECT, 4, id);
	return (uint32_t)in(&f->range, CPU_HOTPLUG_STATUS, 4);
}

static void order(const struct fixture *f, uint32_t id, uint32_t what)
{
	out(&f->range, CPU_HOTPLUG_SELECT, 4, id);
	out(&f->range, CPU_HOTPLUG_ORDER, 4, what);
}

static void ost(
	const struct fixture *f, uint32_t id, uint32_t event, uint32_t code)
{
	out(&f->range, CPU_HOTPLUG_SELECT, 4, id);
	out(&f->range, CPU_HOTPLUG_EVENT, 4, event);
	out(&f->range, CPU_HOTPLUG_RESULT, 4, code);
}

static uint32_t pending(const struct fixture *f)
{
	return (uint32_t)in(&f->range, CPU_HOTPLUG_PENDING, 4);
}

static enum cpu_hotplug_answer answer(const struct fixture *f, unsigned id)
{
	uint32_t code;

	return cpu_hotplug_answer_of(f->dev, id, &code);
}

static void registers_tell_who_is_present(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	assert_int_equal(f->range.base, LAYOUT_PIO_CPUS);
	assert_int_equal(f->range.size, 16);
	for (id = 0; id < MAX; id++) {
		assert_int_equal(status(f, id), id < 2 ? PRESENT : 0);
		assert_int_equal(cpu_hotplug_is_present(f->dev, id), id < 2);
		assert_int_equal(in(&f->range, CPU_HOTPLUG_SELECT, 4), id);
	}
	assert_int_equal(in(&f->range, CPU_HOTPLUG_COUNT, 4), MAX);
	assert_int_equal(pending(f), CPU_HOTPLUG_NONE);
	assert_int_equal(edges(f), 0);
}

static void a_vcpu_that_comes_is_announced_until_taken_back(void **state)
{
	struct fixture *f = *state;

	cpu_hotplug_insert(f->dev, 3, true);
	cpu_hotplug_insert(f->dev, 2, true);
	assert_int_equal(edges(f), 2);
	assert_int_equal(pending(f), 2);
	assert_int_equal(status(f, 2), PRESENT | INSERT);
	order(f, 2, PRESENT | INSERT);
	assert_int_equal(status(f, 2), PRESENT);
	assert_int_equal(pending(f), 3);
	order(f, 3, INSERT);
	assert_int_equal(pending(f), CPU_HOTPLUG_NONE);
	cpu_hotplug_insert(f->dev, 4, false);
	assert_int_equal(pending(f), CPU_HOTPLUG_NONE);
	assert_int_equal(edges(f), 0);
	assert_int_equal(f->changed, 0);
}

static void a_vcpu_asked_to_go_is_ejected(void **state)
{
	struct fixture *f = *state;

	cpu_hotplug_ask(f->dev, 1);
	assert_int_equal(edges(f), 1);
	assert_int_equal(pending(f), 1);
	assert_int_equal(status(f, 1), PRESENT | REMOVE);
	order(f, 1, REMOVE);
	assert_int_equal(status(f, 1), PRESENT);
	assert_int_equal(answer(f, 1), CPU_HOTPLUG_SILENT);
	ost(f, 1, 3, 0x84); /* in progress */
	assert_int_equal(answer(f, 1), CPU_HOTPLUG_SILENT);
	assert_int_equal(f->changed, 0);
	order(f, 1, EJECT);
	assert_int_equal(f->changed, 1);
	assert_int_equal(status(f, 1), 0); /* at once: _STA is asked next */
	assert_false(cpu_hotplug_is_present(f->dev, 1));
	assert_int_equal(answer(f, 1), CPU_HOTPLUG_EJECTED);
	ost(f, 1, 3, 0);
	order(f, 1, EJECT); /* once is enough */
	assert_int_equal(f->changed, 1);
}

static void a_refusal_is_reported_with_its_code(void **state)
{
	struct fixture *f = *state;
	uint32_t code = 0;

	cpu_hotplug_ask(f->dev, 1);
	order(f, 1, REMOVE);
	ost(f, 1, 0x103, 0x82);
	assert_int_equal(f->changed, 1);
	assert_int_equal(
		cpu_hotplug_answer_of(f->dev, 1, &code), CPU_HOTPLUG_REFUSED);
	assert_int_equal(code, 0x82);
	assert_true(cpu_hotplug_is_present(f->dev, 1));
	/* Asking again is a new question. */
	cpu_hotplug_ask(f->dev, 1);
	assert_int_equal(answer(f, 1), CPU_HOTPLUG_SILENT);
	/* Withdrawn: neither a question nor an answer is left. */
	cpu_hotplug_withdraw(f->dev, 1);
	assert_int_equal(pending(f), CPU_HOTPLUG_NONE);
	ost(f, 1, 3, 0x82);
	assert_int_equal(answer(f, 1), CPU_HOTPLUG_SILENT);
	assert_int_equal(f->changed, 1);
}

static void a_status_of_something_else_is_no_refusal(void **state)
{
	struct fixture *f = *state;

	cpu_hotplug_ask(f->dev, 1);
	ost(f, 1, 1, 1); /* a device check that failed */
	ost(f, 0, 3, 0x82);
	ost(f, 2, 3, 0x82);
	ost(f, 1, 3, 0);
	assert_int_equal(answer(f, 1), CPU_HOTPLUG_SILENT);
	assert_int_equal(answer(f, 0), CPU_HOTPLUG_SILENT);
	assert_int_equal(f->changed, 0);
}

static void the_boot_cpu_cannot_be_ejected(void **state)
{
	struct fixture *f = *state;

	order(f, 0, EJECT | REMOVE | INSERT);
	assert_int_equal(status(f, 0), PRESENT);
	assert_int_equal(f->changed, 0);
}

static void ids_past_the_last_are_nobody(void **state)
{
	static const uint32_t ids[] = {MAX, MAX + 1, 0x7fffffff, 0xffffffff};
	struct fixture *f = *state;
	struct bytes before = saved(f->dev);
	unsigned i;

	for (i = 0; i < 4; i++) {
		assert_int_equal(status(f, ids[i]), 0);
		order(f, ids[i], EJECT | REMOVE | INSERT);
		ost(f, ids[i], 3, 0x82);
	}
	out(&f->range, CPU_HOTPLUG_SELECT, 4, 0);
	out(&f->range, CPU_HOTPLUG_EVENT, 4, 0);
	assert_saves_as(f->dev, &before);
	assert_int_equal(f->changed, 0);
	free(before.p);
}

static void only_whole_registers_are_written(void **state)
{
	struct fixture *f = *state;

	out(&f->range, CPU_HOTPLUG_SELECT, 4, 1);
	out(&f->range, CPU_HOTPLUG_SELECT, 1, 3);
	out(&f->range, CPU_HOTPLUG_SELECT, 2, 3);
	out(&f->range, CPU_HOTPLUG_SELECT, 8, 3 | (uint64_t)EJECT << 32);
	out(&f->range, 2, 4, 3);
	assert_int_equal(in(&f->range, CPU_HOTPLUG_SELECT, 4), 1);
	out(&f->range, CPU_HOTPLUG_ORDER, 1, EJECT);
	assert_int_equal(status(f, 1), PRESENT);
	/* A part of a register can be read. */
	assert_int_equal(in(&f->range, CPU_HOTPLUG_PENDING + 3, 1), 0xff);
	assert_int_equal(in(&f->range, CPU_HOTPLUG_COUNT + 1, 1), 0);
}

static void a_reset_keeps_who_is_present_and_nothing_else(void **state)
{
	struct fixture *f = *state;

	cpu_hotplug_insert(f->dev, 3, true);
	cpu_hotplug_ask(f->dev, 1);
	f->dev->ops->reset(f->dev);
	assert_int_equal(pending(f), CPU_HOTPLUG_NONE);
	assert_int_equal(status(f, 3), PRESENT);
	assert_int_equal(status(f, 1), PRESENT);
	assert_int_equal(status(f, 2), 0);
	ost(f, 1, 3, 0x82);
	assert_int_equal(answer(f, 1), CPU_HOTPLUG_SILENT);
}

/* An edge may have been lost with the old host. */
static void a_resume_announces_again_what_is_pending(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->resume(f->dev);
	assert_int_equal(edges(f), 0);
	assert_int_equal(f->changed, 1);
	cpu_hotplug_insert(f->dev, 3, true);
	assert_int_equal(edges(f), 1);
	f->dev->ops->resume(f->dev);
	assert_int_equal(edges(f), 1);
}

static void state_survives_and_is_golden(void **state)
{
	struct fixture *f = *state;

	cpu_hotplug_insert(f->dev, 2, true);
	cpu_hotplug_insert(f->dev, 4, false);
	cpu_hotplug_ask(f->dev, 1);
	cpu_hotplug_ask(f->dev, 4);
	ost(f, 4, 3, 0x81);
	order(f, 1, REMOVE);
	assert_golden("cpu-hotplug-v1", f->dev, f->other);
	assert_survives(f->dev, f->other);
	assert_int_equal(in(&f->other_range, CPU_HOTPLUG_PENDING, 4), 2);
	assert_true(cpu_hotplug_is_present(f->other, 4));
}

static void a_load_refuses_what_cannot_be(void **state)
{
	static const uint8_t never[] = {INSERT, REMOVE, INSERT | REMOVE,
		PRESENT | EJECT, PRESENT | 0x40, PRESENT | 0x80, 0x10, 0x20,
		PRESENT | REMOVE, PRESENT | 0x30};
	struct fixture *f = *state;
	struct bytes good = saved(f->dev);
	uint32_t one = 1, max = MAX - 1;
	unsigned i;

	for (i = 0; i < sizeof(never); i++) {
		assert_int_equal(
			load_with_byte(f->dev, &good, AT_SLOT(1), never[i]),
			-EPROTO);
		assert_int_equal(
			load_with_byte(f->dev, &good, AT_SLOT(0), never[i]),
			-EPROTO);
	}
	/* The boot CPU absent, coming, or asked to go. */
	assert_int_equal(load_with_byte(f->dev, &good, AT_SLOT(0), 0), -EPROTO);
	assert_int_equal(
		load_with_byte(f->dev, &good, AT_SLOT(0), PRESENT | INSERT),
		-EPROTO);
	assert_int_equal(load_with_byte(f->dev, &good, AT_SLOT(0),
				 PRESENT | REMOVE | 0x10),
		-EPROTO);
	/* A code without a refusal; another number of vCPUs. */
	assert_int_equal(
		load_patched(f->dev, &good, AT_SLOT(1) + 1, &one, 4), -EPROTO);
	assert_int_equal(load_patched(f->dev, &good, AT_MAX, &max, 4), -EPROTO);
	assert_saves_as(f->dev, &good);
	assert_refuses_wrong_lengths(f->dev, &good);
	assert_int_equal(f->changed, 0);
	free(good.p);
}

static void no_access_does_harm(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct fixture *f = *state;
	unsigned round;

	for (round = 0; round < 20; round++) {
		cpu_hotplug_insert(f->dev, 1 + round % (MAX - 1), true);
		cpu_hotplug_ask(f->dev, 1 + (round + 1) % (MAX - 1));
		hammer(&f->range, &rnd);
		assert_true(cpu_hotplug_is_present(f->dev, 0));
		assert_survives(f->dev, f->other);
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(registers_tell_who_is_present),
		TEST(a_vcpu_that_comes_is_announced_until_taken_back),
		TEST(a_vcpu_asked_to_go_is_ejected),
		TEST(a_refusal_is_reported_with_its_code),
		TEST(a_status_of_something_else_is_no_refusal),
		TEST(the_boot_cpu_cannot_be_ejected),
		TEST(ids_past_the_last_are_nobody),
		TEST(only_whole_registers_are_written),
		TEST(a_reset_keeps_who_is_present_and_nothing_else),
		TEST(a_resume_announces_again_what_is_pending),
		TEST(state_survives_and_is_golden),
		TEST(a_load_refuses_what_cannot_be),
		TEST(no_access_does_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
