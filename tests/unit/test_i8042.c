/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_i8042.c - promises of devices/i8042.h. */
#include "devices/i8042.h"

#include "tests/unit/device_test.h"

#define DATA	(&f->range[0])
#define COMMAND (&f->range[1])

#define OBF 0x01u
#define IBF 0x02u
#define SYS 0x04u
#define AUX 0x20u

struct fixture {
	struct sink_log log;
	struct device *dev;
	struct bus_range range[2];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	return i8042_create(sink_to(&f->log), &f->dev, f->range);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	free(f);
	return 0;
}

/* Send @command, expect an answer of one byte. */
static uint8_t ask(struct fixture *f, uint8_t command)
{
	uint8_t v;

	out(COMMAND, 0, 1, command);
	assert_true(in(COMMAND, 0, 1) & OBF);
	v = (uint8_t)in(DATA, 0, 1);
	assert_false(in(COMMAND, 0, 1) & OBF);
	return v;
}

static void fe_to_the_command_port_resets(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(DATA->base, 0x60);
	assert_int_equal(COMMAND->base, 0x64);
	out(COMMAND, 0, 1, 0xfe);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_RESET);
}

static void a_pulse_resets_iff_its_bit_0_is_low(void **state)
{
	struct fixture *f = *state;
	unsigned v, want = 0;

	for (v = 0xf0; v <= 0xff; v++) {
		out(COMMAND, 0, 1, v);
		want += !(v & 1);
		assert_int_equal(f->log.count, want);
	}
}

static void no_other_command_resets(void **state)
{
	struct fixture *f = *state;
	unsigned v;

	for (v = 0; v < 0xf0; v++)
		out(COMMAND, 0, 1, v);
	assert_int_equal(f->log.count, 0);
}

static void an_output_port_write_with_bit_0_low_resets(void **state)
{
	struct fixture *f = *state;

	out(COMMAND, 0, 1, 0xd1);
	out(DATA, 0, 1, 0x03);
	assert_int_equal(f->log.count, 0);
	out(COMMAND, 0, 1, 0xd1);
	out(DATA, 0, 1, 0x02);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_RESET);
}

static void a_data_byte_without_command_goes_nowhere(void **state)
{
	struct fixture *f = *state;
	unsigned v;

	for (v = 0; v < 256; v++)
		out(DATA, 0, 1, v);
	assert_int_equal(f->log.count, 0);
	assert_false(in(COMMAND, 0, 1) & OBF);
}

static void a20_requests_are_kept_and_harmless(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, 0xd0), 0x03);
	out(COMMAND, 0, 1, 0xdd);
	assert_int_equal(ask(f, 0xd0), 0x01);
	out(COMMAND, 0, 1, 0xdf);
	assert_int_equal(ask(f, 0xd0), 0x03);
	out(COMMAND, 0, 1, 0xd1);
	out(DATA, 0, 1, 0xdf);
	assert_int_equal(ask(f, 0xd0), 0xdf);
	assert_int_equal(f->log.count, 0);
}

static void a_writer_never_waits(void **state)
{
	struct fixture *f = *state;
	unsigned v;

	for (v = 0; v < 256; v++) {
		out(COMMAND, 0, 1, v);
		assert_false(in(COMMAND, 0, 1) & IBF);
		out(DATA, 0, 1, v | 1);
		assert_false(in(COMMAND, 0, 1) & IBF);
	}
}

/* The sequence of drivers/input/serio/i8042.c: flush, self test, the control
 * register twice the same, written, then a look for the mouse port. */
static void a_linux_probe_gets_answers_and_finds_no_mouse(void **state)
{
	struct fixture *f = *state;
	uint8_t ctr;

	assert_false(in(COMMAND, 0, 1) & OBF); /* nothing to flush */
	assert_int_equal(ask(f, 0xaa), 0x55);
	assert_true(in(COMMAND, 0, 1) & SYS);
	ctr = ask(f, 0x20);
	assert_int_equal(ask(f, 0x20), ctr);
	out(COMMAND, 0, 1, 0x60);
	out(DATA, 0, 1, ctr | 0x30);
	assert_int_equal(ask(f, 0x20), ctr | 0x30);
	out(COMMAND, 0, 1, 0xd3);
	out(DATA, 0, 1, 0x5a);
	assert_true(in(COMMAND, 0, 1) & OBF);
	assert_false(in(COMMAND, 0, 1) & AUX); /* so: not from a mouse port */
	in(DATA, 0, 1);
	assert_int_not_equal(ask(f, 0xa9), 0x00);
	assert_int_equal(ask(f, 0xab), 0x00);
	out(COMMAND, 0, 1, 0xad);
	assert_int_equal(ask(f, 0x20) & 0x10, 0x10);
	out(COMMAND, 0, 1, 0xae);
	assert_int_equal(ask(f, 0x20) & 0x10, 0);
}

static void the_whole_of_its_memory_can_be_written_and_read(void **state)
{
	struct fixture *f = *state;
	unsigned i;

	for (i = 0; i < 32; i++) {
		out(COMMAND, 0, 1, 0x60 + i);
		out(DATA, 0, 1, 0xa0 ^ i);
	}
	for (i = 0; i < 32; i++)
		assert_int_equal(ask(f, (uint8_t)(0x20 + i)), 0xa0 ^ i);
}

static void reset_brings_back_the_power_on_state(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct fixture *f = *state;
	struct bytes was = saved(f->dev);

	hammer(DATA, &rnd);
	hammer(COMMAND, &rnd);
	out(COMMAND, 0, 1, 0xd1);
	f->dev->ops->reset(f->dev);
	assert_saves_as(f->dev, &was);
	free(was.p);
}

static void state_survives_and_is_golden(void **state)
{
	struct fixture *f = *state, g;

	assert_int_equal(i8042_create(sink_to(&g.log), &g.dev, g.range), 0);
	out(COMMAND, 0, 1, 0x65);
	out(DATA, 0, 1, 0x99);
	out(COMMAND, 0, 1, 0xdd);
	out(COMMAND, 0, 1, 0xaa); /* its answer is left to be read */
	out(COMMAND, 0, 1, 0xd1); /* and this waits for its byte */
	assert_golden("i8042-v1", f->dev, g.dev);
	f = &g;
	assert_true(in(COMMAND, 0, 1) & OBF);
	assert_int_equal(in(DATA, 0, 1), 0x55);
	out(DATA, 0, 1, 0x00);
	assert_int_equal(g.log.event, GUEST_EVENT_RESET);
	assert_int_equal(ask(f, 0x25), 0x99);
	g.dev->ops->destroy(g.dev);
}

static void a_load_refuses_what_cannot_be(void **state)
{
	struct fixture *f = *state;
	struct bytes good = saved(f->dev);

	out(COMMAND, 0, 1, 0xaa); /* to see that it stays */
	out(COMMAND, 0, 1, 0xdd);
	assert_refuses_wrong_lengths(f->dev, &good);
	f->dev->ops->reset(f->dev);
	assert_int_equal(load_with_byte(f->dev, &good, 1, 2), -EBADMSG);
	assert_int_equal(load_with_byte(f->dev, &good, 3, 0xaa), -EPROTO);
	assert_int_equal(load_with_byte(f->dev, &good, 4, 0x02), -EPROTO);
	assert_saves_as(f->dev, &good);
	free(good.p);
}

static void no_access_does_harm(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct fixture *f = *state;
	unsigned i;

	for (i = 0; i < 10000; i++) {
		out(COMMAND, 0, 1, testing_random(&rnd));
		out(DATA, 0, 1, testing_random(&rnd));
		if (i % 16 == 0)
			assert_survives(f->dev, f->dev);
	}
	hammer(DATA, &rnd);
	hammer(COMMAND, &rnd);
	assert_survives(f->dev, f->dev);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(fe_to_the_command_port_resets),
		TEST(a_pulse_resets_iff_its_bit_0_is_low),
		TEST(no_other_command_resets),
		TEST(an_output_port_write_with_bit_0_low_resets),
		TEST(a_data_byte_without_command_goes_nowhere),
		TEST(a20_requests_are_kept_and_harmless),
		TEST(a_writer_never_waits),
		TEST(a_linux_probe_gets_answers_and_finds_no_mouse),
		TEST(the_whole_of_its_memory_can_be_written_and_read),
		TEST(reset_brings_back_the_power_on_state),
		TEST(state_survives_and_is_golden),
		TEST(a_load_refuses_what_cannot_be),
		TEST(no_access_does_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
