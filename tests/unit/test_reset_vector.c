/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_reset_vector.c - the code at F000:FFF0 (lowmem.c): stepped by
 * an interpreter of the few instructions it may consist of.
 */
#include "tests/lib/testing.h"

#include <stdbool.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/layout.h"
#include "vmm/x86/lowmem.h"

#define MIB	  (UINT64_C(1) << 20)
#define VECTOR	  UINT64_C(0xffff0) /* where a CPU starts: F000:FFF0 */
#define STEPS_MAX 100u

/* A real-mode CPU that has just been sent to the reset vector. */
struct cpu {
	uint16_t ip, dx;
	uint8_t al;
	unsigned outs; /* bytes written to ports */
	uint16_t port;
	uint8_t value;
	unsigned halts;
};

static void set_up(struct guestmem *gm)
{
	const struct guestmem_options opt = {.size = 2 * MIB};
	struct error err;

	assert_int_equal(guestmem_init(gm, &opt, &err), 0);
}

/* Fails the test on an instruction it does not know, or outside the vector. */
static void step(struct cpu *c, const struct guestmem *gm)
{
	const uint8_t *p = guestmem_at(gm, 0xf0000u + c->ip, 1);

	assert_non_null(p);
	assert_true(c->ip >= 0xfff0);
	switch (p[0]) {
	case 0xba: /* mov dx, imm16 */
		c->dx = (uint16_t)(p[1] | p[2] << 8);
		c->ip = (uint16_t)(c->ip + 3);
		break;
	case 0xb0: /* mov al, imm8 */
		c->al = p[1];
		c->ip = (uint16_t)(c->ip + 2);
		break;
	case 0xee: /* out dx, al */
		c->outs++;
		c->port = c->dx;
		c->value = c->al;
		c->ip++;
		break;
	case 0xf4: /* hlt: an interrupt wakes it */
		c->halts++;
		c->ip++;
		break;
	case 0xeb: /* jmp rel8 */
		c->ip = (uint16_t)(c->ip + 2 + (int8_t)p[1]);
		break;
	default:
		fail_msg("instruction 0x%02x at ip 0x%x", p[0], c->ip);
	}
}

static void the_reset_vector_resets_by_the_acpi_register(void **state)
{
	struct cpu c = {.ip = 0xfff0};
	struct guestmem gm;
	unsigned i;

	set_up(&gm);
	lowmem_write_reset_vector(&gm);
	for (i = 0; i < STEPS_MAX && c.outs == 0; i++)
		step(&c, &gm);
	assert_int_equal(c.outs, 1);
	/* As the FADT says it: RESET_REG and RESET_VALUE. */
	assert_int_equal(c.port, 0x602);
	assert_int_equal(c.value, 0x01);
	assert_int_equal(c.halts, 0);
	guestmem_fini(&gm);
}

/* A vCPU that is not stopped at once stays there, asleep. */
static void after_it_the_cpu_sleeps_for_ever(void **state)
{
	struct cpu c = {.ip = 0xfff0};
	struct guestmem gm;
	unsigned i;

	set_up(&gm);
	lowmem_write_reset_vector(&gm);
	for (i = 0; i < STEPS_MAX; i++)
		step(&c, &gm);
	assert_int_equal(c.outs, 1);
	assert_true(c.halts > STEPS_MAX / 4);
	guestmem_fini(&gm);
}

static void nothing_around_the_vector_is_touched(void **state)
{
	struct guestmem gm;
	const uint8_t *p;
	unsigned i;

	set_up(&gm);
	memset(guestmem_at(&gm, 0, 2 * MIB), 0x5a, 2 * MIB);
	lowmem_write_reset_vector(&gm);
	p = guestmem_at(&gm, 0, 2 * MIB);
	for (i = 0; i < VECTOR; i++)
		if (p[i] != 0x5a)
			fail_msg("byte 0x%x changed", i);
	for (i = (unsigned)MIB; i < 2 * MIB; i++)
		if (p[i] != 0x5a)
			fail_msg("byte 0x%x changed", i);
	guestmem_fini(&gm);
}

/* The tables end where the vector begins, and a migration sends it. */
static void the_vector_is_reserved_and_marked_dirty(void **state)
{
	struct lowmem_range map[LOWMEM_MAP_MAX];
	uint64_t bitmap[2 * MIB / GUESTMEM_PAGE / 64] = {0};
	const uint64_t page = VECTOR / GUESTMEM_PAGE;
	struct guestmem gm;
	unsigned i, n;

	set_up(&gm);
	assert_int_equal(guestmem_dirty_log_start(&gm), 0);
	lowmem_write_reset_vector(&gm);
	guestmem_dirty_fetch(&gm, bitmap);
	for (i = 0; i < sizeof(bitmap) / sizeof(bitmap[0]); i++)
		assert_true(
			bitmap[i] == (i == page / 64 ? 1ull << page % 64 : 0));
	assert_int_equal(LAYOUT_RESET_VECTOR, VECTOR);
	assert_true(LAYOUT_ACPI_END <= VECTOR);
	n = lowmem_map(&gm, map);
	for (i = 0; i < n; i++)
		if (VECTOR >= map[i].gpa && VECTOR - map[i].gpa < map[i].size)
			assert_int_equal(map[i].type, LOWMEM_RESERVED);
	guestmem_fini(&gm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reset_vector_resets_by_the_acpi_register),
		cmocka_unit_test(after_it_the_cpu_sleeps_for_ever),
		cmocka_unit_test(nothing_around_the_vector_is_touched),
		cmocka_unit_test(the_vector_is_reserved_and_marked_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
