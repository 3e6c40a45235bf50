/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_vcpu_state.c - vCPU and irqchip sections: complete, stable,
 * and refused when they lie.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/msr.h"
#include "vmm/x86/vcpu_state.h"

#define MSR_TSC		 0x10u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_MTRR_TYPE	 0x2ffu
#define MSR_MTRR_BASE0	 0x200u
#define MSR_MTRR_MASK0	 0x201u
#define MSR_MTRR_FIX_64K 0x250u
#define LVT_TIMER	 0x320u
#define LVT_DEADLINE	 (2u << 17)
#define QUARTER_HOUR	 (UINT64_C(1) << 41) /* TSC ticks, or so */

/* Bytes of a vCPU body before the xsave area's length. */
#define FIXED_BYTES                                                            \
	(4 + sizeof(struct kvm_regs) + sizeof(struct kvm_sregs) +              \
		sizeof(struct kvm_debugregs) + sizeof(struct kvm_xcrs) +       \
		sizeof(struct kvm_lapic_state) +                               \
		sizeof(struct kvm_vcpu_events))

static const char *const two_cpus[] = {
	"-k", "kernels/hello", "-c", "2", "-m", "16M", NULL};

static void save(struct vm_fixture *f, struct state_writer *w)
{
	struct error err;

	state_writer_init(w);
	if (vm_save(f->vm, w, &err) < 0)
		fail_msg("save: %s", err.text);
}

/* The section of @name in @w. */
static struct state_reader section(
	const struct state_writer *w, const char *name)
{
	const uint8_t *pos = w->buf;
	struct state_reader r;
	struct error err;

	while (state_next(&pos, w->buf + w->len, &r, &err) == 1)
		if (strcmp(r.name, name) == 0)
			return r;
	fail_msg("no section %s", name);
	return r;
}

/* Two vCPU bodies are the same but for the TSC, which runs while we look. */
static void assert_same_vcpu(struct state_reader a, struct state_reader b)
{
	uint32_t xsave, count, i;
	uint8_t byte_a, byte_b;
	unsigned tsc = 0;
	size_t n;

	for (n = 0; n < FIXED_BYTES; n++) {
		byte_a = state_get_u8(&a);
		byte_b = state_get_u8(&b);
		if (byte_a != byte_b)
			fail_msg("fixed part differs at byte %zu", n);
	}
	xsave = state_get_u32(&a);
	assert_int_equal(state_get_u32(&b), xsave);
	for (n = 0; n < xsave; n++)
		assert_int_equal(state_get_u8(&a), state_get_u8(&b));
	count = state_get_u32(&a);
	assert_int_equal(state_get_u32(&b), count);
	assert_true(count > 10);
	for (i = 0; i < count; i++) {
		uint32_t index = state_get_u32(&a);
		uint64_t value = state_get_u64(&a);

		assert_int_equal(state_get_u32(&b), index);
		if (state_get_u64(&b) == value)
			continue;
		if (index != MSR_TSC)
			fail_msg("MSR 0x%x differs", index);
		tsc++;
	}
	assert_true(tsc <= 1);
	assert_int_equal(state_reader_end(&a), 0);
	assert_int_equal(state_reader_end(&b), 0);
}

static void save_load_save_gives_the_same_state(void **state)
{
	struct state_writer before, after;
	struct vm_fixture from, to;
	struct state_reader a, b;
	struct error err;

	testing_need_kvm();
	vm_fixture_init(&from, two_cpus);
	vm_fixture_init(&to, two_cpus);
	save(&from, &before);
	if (vm_load(to.vm, before.buf, before.len, &err) < 0)
		fail_msg("load: %s", err.text);
	save(&to, &after);
	assert_same_vcpu(section(&before, "vcpu0"), section(&after, "vcpu0"));
	assert_same_vcpu(section(&before, "vcpu1"), section(&after, "vcpu1"));
	a = section(&before, "irqchip");
	b = section(&after, "irqchip");
	assert_int_equal(a.end - a.pos, b.end - b.pos);
	assert_memory_equal(a.pos, b.pos, (size_t)(a.end - a.pos));
	assert_int_equal(before.len, after.len);
	state_writer_fini(&before);
	state_writer_fini(&after);
	vm_fixture_fini(&from);
	vm_fixture_fini(&to);
}

/* ---- order and completeness ---- */

static int cpu(const struct vm_fixture *f, unsigned id)
{
	return vcpu_fd(f->vm->vcpu[id]);
}

static void set_msr(const struct vm_fixture *f, uint32_t index, uint64_t value)
{
	if (msr_set(cpu(f, 1), index, value) < 0)
		fail_msg("MSR 0x%x", index);
}

static uint64_t get_msr(const struct vm_fixture *f, uint32_t index)
{
	uint64_t value = 0;

	if (msr_get(cpu(f, 1), index, &value) < 0)
		fail_msg("MSR 0x%x", index);
	return value;
}

/* KVM drops a deadline written before the LAPIC timer is in that mode. */
static void an_armed_tsc_deadline_arrives(void **state)
{
	struct kvm_lapic_state lapic;
	struct vm_fixture from, to;
	const uint32_t lvt = LVT_DEADLINE | 0xec;
	uint64_t deadline;
	struct state_writer w;
	struct error err;

	testing_need_kvm();
	vm_fixture_init(&from, two_cpus);
	vm_fixture_init(&to, two_cpus);
	assert_int_equal(ioctl(cpu(&from, 1), KVM_GET_LAPIC, &lapic), 0);
	memcpy(&lapic.regs[LVT_TIMER], &lvt, sizeof(lvt));
	assert_int_equal(ioctl(cpu(&from, 1), KVM_SET_LAPIC, &lapic), 0);
	deadline = get_msr(&from, MSR_TSC) + QUARTER_HOUR;
	set_msr(&from, MSR_TSC_DEADLINE, deadline);
	assert_true(get_msr(&from, MSR_TSC_DEADLINE) == deadline);
	save(&from, &w);
	assert_int_equal(vm_load(to.vm, w.buf, w.len, &err), 0);
	assert_true(get_msr(&to, MSR_TSC_DEADLINE) == deadline);
	state_writer_fini(&w);
	vm_fixture_fini(&from);
	vm_fixture_fini(&to);
}

static void the_tsc_is_loaded_first_and_its_deadline_last(void **state)
{
	uint32_t count, i, index = 0;
	struct state_writer w;
	struct state_reader r;
	struct vm_fixture f;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &w);
	r = section(&w, "vcpu0");
	r.pos += FIXED_BYTES;
	r.pos += state_get_u32(&r);
	count = state_get_u32(&r);
	for (i = 0; i < count; i++) {
		index = state_get_u32(&r);
		state_get_u64(&r);
		assert_int_equal(index == MSR_TSC, i == 0);
		if (i + 1 < count)
			assert_int_not_equal(index, MSR_TSC_DEADLINE);
	}
	assert_int_equal(index, MSR_TSC_DEADLINE);
	assert_int_equal(state_reader_end(&r), 0);
	state_writer_fini(&w);
	vm_fixture_fini(&f);
}

/* KVM keeps the MTRRs and does not list them among what there is to save. */
static void memory_types_move_and_are_reset(void **state)
{
	static const uint32_t msr[] = {MSR_MTRR_TYPE, MSR_MTRR_BASE0,
		MSR_MTRR_MASK0, MSR_MTRR_FIX_64K};
	static const uint64_t value[] = {
		0xc00, 0xd0000000, 0xfff000800, 0x0606060606060606};
	struct vm_fixture from, to;
	uint64_t fresh[4];
	struct state_writer w;
	struct error err;
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&from, two_cpus);
	vm_fixture_init(&to, two_cpus);
	for (i = 0; i < 4; i++) {
		fresh[i] = get_msr(&from, msr[i]);
		assert_true(fresh[i] != value[i]);
		set_msr(&from, msr[i], value[i]);
	}
	save(&from, &w);
	assert_int_equal(vm_load(to.vm, w.buf, w.len, &err), 0);
	for (i = 0; i < 4; i++)
		assert_true(get_msr(&to, msr[i]) == value[i]);
	assert_int_equal(vm_reset(from.vm, &err), 0);
	for (i = 0; i < 4; i++)
		assert_true(get_msr(&from, msr[i]) == fresh[i]);
	state_writer_fini(&w);
	vm_fixture_fini(&from);
	vm_fixture_fini(&to);
}

static void send_ipi(const struct vm_fixture *f, uint32_t mode)
{
	struct kvm_msi msi = {
		.address_lo = 0xfee00000u | 1u << 12, /* to vCPU 1 */
		.data = mode << 8 | 0x4,	      /* edge; vector 4 */
	};

	assert_true(ioctl(f->vm->fd, KVM_SIGNAL_MSI, &msi) > 0);
}

/* The guest starts vCPU 1 and resets the machine before that has noticed: the
 * interrupts must not start it in the next life. */
static void a_startup_interrupt_does_not_outlive_a_reset(void **state)
{
	struct kvm_mp_state mp;
	struct vm_fixture f;
	struct error err;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	send_ipi(&f, 5); /* INIT */
	send_ipi(&f, 6); /* SIPI */
	assert_int_equal(vm_reset(f.vm, &err), 0);
	assert_int_equal(ioctl(cpu(&f, 1), KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_UNINITIALIZED);
	/* They would have. */
	send_ipi(&f, 5);
	send_ipi(&f, 6);
	assert_int_equal(ioctl(cpu(&f, 1), KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_RUNNABLE);
	vm_fixture_fini(&f);
}

/* Everything a vCPU can be asked for, as it was at power-on. */
static void a_reset_vcpu_is_a_new_vcpu(void **state)
{
	const char *words[] = {"-k", "kernels/irq", "-a", "smp=2", "-c", "2",
		"-m", "16M", NULL};
	struct state_writer fresh, after;
	struct vm_fixture f;
	struct error err;
	uint32_t code;
	unsigned id;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	save(&f, &fresh);
	assert_int_equal(vm_run(f.vm, &code), VM_END_POWEROFF);
	save(&f, &after);
	assert_true(
		section(&fresh, "vcpu1").end - section(&fresh, "vcpu1").pos ==
		section(&after, "vcpu1").end - section(&after, "vcpu1").pos);
	assert_int_not_equal(memcmp(section(&fresh, "vcpu1").pos,
				     section(&after, "vcpu1").pos, FIXED_BYTES),
		0);
	state_writer_fini(&after);
	for (id = 0; id < 3; id++) {
		assert_int_equal(vm_reset(f.vm, &err), 0);
		save(&f, &after);
		assert_same_vcpu(
			section(&fresh, "vcpu0"), section(&after, "vcpu0"));
		assert_same_vcpu(
			section(&fresh, "vcpu1"), section(&after, "vcpu1"));
		state_writer_fini(&after);
	}
	state_writer_fini(&fresh);
	vm_fixture_fini(&f);
}

/* ---- lies ---- */

/* Sections of @w with the body of @name replaced by @body. */
static void rebuild(const struct state_writer *w, const char *name,
	const uint8_t *body, size_t len, uint32_t version,
	struct state_writer *out)
{
	const uint8_t *pos = w->buf;
	struct state_reader r;
	struct error err;

	state_writer_init(out);
	while (state_next(&pos, w->buf + w->len, &r, &err) == 1) {
		if (strcmp(r.name, name) == 0) {
			state_begin(out, r.name, version);
			state_put_bytes(out, body, len);
		} else {
			state_begin(out, r.name, r.version);
			state_put_bytes(out, r.pos, (size_t)(r.end - r.pos));
		}
		state_end(out);
	}
	assert_int_equal(state_writer_error(out), 0);
}

static int load_body(struct vm_fixture *f, const struct state_writer *good,
	const uint8_t *body, size_t len, uint32_t version, struct error *err)
{
	struct state_writer w;
	int code;

	rebuild(good, "vcpu1", body, len, version, &w);
	code = vm_load(f->vm, w.buf, w.len, err);
	state_writer_fini(&w);
	return code;
}

static void a_vcpu_section_that_lies_is_refused(void **state)
{
	struct state_writer good;
	struct vm_fixture f;
	struct state_reader r;
	struct error err;
	uint32_t huge = 0x7fffffff;
	uint8_t *body;
	size_t len, cut,
		steps[] = {0, 1, 4, 100, FIXED_BYTES - 1, FIXED_BYTES,
			FIXED_BYTES + 4, FIXED_BYTES + 100};
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &good);
	r = section(&good, "vcpu1");
	len = (size_t)(r.end - r.pos);
	body = malloc(len + 1);
	assert_non_null(body);
	memcpy(body, r.pos, len);
	body[len] = 0;
	/* Too short, too long, another version. */
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		cut = steps[i];
		assert_int_equal(
			load_body(&f, &good, body, cut, 1, &err), -EBADMSG);
	}
	assert_int_equal(
		load_body(&f, &good, body, len + 1, 1, &err), -EBADMSG);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), -EPROTO);
	assert_non_null(strstr(err.text, "vcpu1"));
	/* More xsave than this host has; more MSRs than there can be. */
	memcpy(body + FIXED_BYTES, &huge, 4);
	assert_int_equal(load_body(&f, &good, body, len, 1, &err), -EPROTO);
	assert_non_null(strstr(err.text, "xsave"));
	memcpy(body, r.pos, len);
	memcpy(&huge, body + FIXED_BYTES, 4);
	cut = FIXED_BYTES + 4 + huge;
	huge = 0x7fffffff;
	memcpy(body + cut, &huge, 4);
	assert_int_equal(load_body(&f, &good, body, len, 1, &err), -EPROTO);
	assert_non_null(strstr(err.text, "MSRs"));
	/* An MSR nobody knows. */
	memcpy(body, r.pos, len);
	huge = 0x0badbad0;
	memcpy(body + cut + 4, &huge, 4);
	assert_int_equal(load_body(&f, &good, body, len, 1, &err), -EPROTO);
	assert_non_null(strstr(err.text, "0xbadbad0"));
	/* And the good one still loads. */
	memcpy(body, r.pos, len);
	assert_int_equal(load_body(&f, &good, body, len, 1, &err), 0);
	free(body);
	state_writer_fini(&good);
	vm_fixture_fini(&f);
}

static void an_event_no_guest_can_ask_for_is_refused(void **state)
{
	uint32_t body[2] = {0, 0}, end;
	struct state_writer good, bad;
	struct vm_fixture f;
	struct error err;
	int code;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &good);
	for (end = VM_END_DEBUG_EXIT; end < 100; end++) {
		body[0] = end;
		rebuild(&good, "event", (const uint8_t *)body, sizeof(body), 1,
			&bad);
		code = vm_load(f.vm, bad.buf, bad.len, &err);
		assert_int_equal(code, end == VM_END_DEBUG_EXIT ? 0 : -EPROTO);
		state_writer_fini(&bad);
	}
	assert_non_null(strstr(err.text, "event"));
	/* The last good one is still there. */
	assert_int_equal(atomic_load(&f.vm->event), VM_END_DEBUG_EXIT);
	state_writer_fini(&good);
	vm_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(save_load_save_gives_the_same_state),
		cmocka_unit_test(an_armed_tsc_deadline_arrives),
		cmocka_unit_test(the_tsc_is_loaded_first_and_its_deadline_last),
		cmocka_unit_test(memory_types_move_and_are_reset),
		cmocka_unit_test(a_startup_interrupt_does_not_outlive_a_reset),
		cmocka_unit_test(a_reset_vcpu_is_a_new_vcpu),
		cmocka_unit_test(a_vcpu_section_that_lies_is_refused),
		cmocka_unit_test(an_event_no_guest_can_ask_for_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
