/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_vcpu_state.c - vCPU and irqchip sections: complete, stable,
 * and refused when they lie.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/cpu_features.h"
#include "vmm/x86/cpu_model.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/cpuid_json.h"
#include "vmm/x86/msr.h"
#include "vmm/x86/vcpu_fields.h"
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

static const char *const two_cpus[] = {
	"-k", "kernels/hello", "-c", "2", "-m", "16M", NULL};

/* End @f, say why, skip. */
static void skip_with(struct vm_fixture *f, const char *why)
{
	vm_fixture_fini(f);
	print_message("# skip: %s\n", why);
	skip();
}

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

	for (n = 0; n < VCPU_FIELDS_BYTES; n++) {
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
	xsave = state_get_u32(&a); /* bytes of nested state */
	assert_int_equal(state_get_u32(&b), xsave);
	for (n = 0; n < xsave; n++)
		assert_int_equal(state_get_u8(&a), state_get_u8(&b));
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
	r.pos += VCPU_FIELDS_BYTES;
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
	assert_int_equal(state_get_u32(&r), 0); /* no hypervisor in there */
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
	assert_int_not_equal(
		memcmp(section(&fresh, "vcpu1").pos,
			section(&after, "vcpu1").pos, VCPU_FIELDS_BYTES),
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

/* A copy of vCPU 1's body in @good, one byte longer. */
static uint8_t *copy_body(const struct state_writer *good, size_t *ret_len)
{
	struct state_reader r = section(good, "vcpu1");
	uint8_t *body;

	*ret_len = (size_t)(r.end - r.pos);
	body = calloc(1, *ret_len + 1);
	assert_non_null(body);
	memcpy(body, r.pos, *ret_len);
	return body;
}

static void a_vcpu_section_of_another_shape_is_refused(void **state)
{
	struct state_writer good;
	struct vm_fixture f;
	struct error err;
	uint8_t *body;
	size_t len, steps[] = {0, 1, 4, 100, VCPU_FIELDS_BYTES - 1,
			    VCPU_FIELDS_BYTES, VCPU_FIELDS_BYTES + 4,
			    VCPU_FIELDS_BYTES + 100};
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &good);
	body = copy_body(&good, &len);
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		assert_int_equal(load_body(&f, &good, body, steps[i], 2, &err),
			-EBADMSG);
	for (i = 1; i < 40; i++)
		assert_int_equal(
			load_body(&f, &good, body, len - i, 2, &err), -EBADMSG);
	assert_int_equal(
		load_body(&f, &good, body, len + 1, 2, &err), -EBADMSG);
	assert_int_equal(load_body(&f, &good, body, len, 1, &err), -EPROTO);
	assert_non_null(strstr(err.text, "vcpu1"));
	assert_int_equal(load_body(&f, &good, body, len, 3, &err), -EPROTO);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), 0);
	free(body);
	state_writer_fini(&good);
	vm_fixture_fini(&f);
}

#define AT_REGS	  4
#define AT_SREGS  (AT_REGS + sizeof(struct kvm_regs))
#define AT_DEBUG  (AT_SREGS + sizeof(struct kvm_sregs2))
#define AT_XCRS	  (AT_DEBUG + sizeof(struct kvm_debugregs))
#define AT_LAPIC  (AT_XCRS + sizeof(struct kvm_xcrs))
#define AT_EVENTS (AT_LAPIC + sizeof(struct kvm_lapic_state))
#define AT_KHZ	  (AT_EVENTS + sizeof(struct kvm_vcpu_events))
#define AT_XSAVE  (VCPU_FIELDS_BYTES + 4)

#define SREG(field)  (AT_SREGS + offsetof(struct kvm_sregs2, field))
#define SEG(field)   (SREG(ss) + offsetof(struct kvm_segment, field))
#define DEBUG(field) (AT_DEBUG + offsetof(struct kvm_debugregs, field))
#define XCR(field)   (AT_XCRS + offsetof(struct kvm_xcrs, field))
#define EVENT(field) (AT_EVENTS + offsetof(struct kvm_vcpu_events, field))

/* @size bytes at @at become @value: none of these can be. */
static const struct lie {
	const char *why; /* part of the message */
	size_t at;
	unsigned size;
	uint64_t value;
} lies[] = {
	{"MP state", 0, 4, 5},
	{"MP state", 0, 4, 0x80000000},
	{"RFLAGS", AT_REGS + offsetof(struct kvm_regs, rflags), 8, 1 << 22},
	{"segment", SEG(type), 1, 16},
	{"segment", SEG(present), 1, 2},
	{"segment", SEG(dpl), 1, 4},
	{"segment", SEG(db), 1, 2},
	{"segment", SEG(s), 1, 2},
	{"segment", SEG(l), 1, 2},
	{"segment", SEG(g), 1, 2},
	{"segment", SEG(avl), 1, 2},
	{"segment", SEG(unusable), 1, 2},
	{"padding", SREG(gdt.padding), 2, 1},
	{"padding", SREG(idt.padding) + 4, 2, 1},
	{"CR0", SREG(cr0), 8, 1ull << 32},
	{"CR0", SREG(cr0), 8, 1ull << 31},
	{"CR0", SREG(cr0), 8, 1ull << 29},
	{"CR8", SREG(cr8), 8, 16},
	{"EFER", SREG(efer), 8, 1ull << 10},
	{"APIC base", SREG(apic_base), 8, 0xfee00400},
	{"APIC base", SREG(apic_base), 8, 0xfee00801},
	{"system registers", SREG(flags), 8, 2},
	{"directory", SREG(flags), 8, 1},
	{"debug", DEBUG(flags), 8, 1},
	{"debug", DEBUG(reserved), 8, 1},
	{"DR6", DEBUG(dr6), 8, 1ull << 32},
	{"DR7", DEBUG(dr7), 8, 1ull << 32},
	{"XCRs", XCR(nr_xcrs), 4, 2},
	{"XCRs", XCR(nr_xcrs), 4, 0xffffffff},
	{"XCRs", XCR(flags), 4, 1},
	{"XCR0", XCR(xcrs), 4, 1},
	{"XCR0", XCR(xcrs) + offsetof(struct kvm_xcr, value), 8, 2},
	{"events", EVENT(flags), 4, 0x40},
	{"events", EVENT(reserved), 1, 1},
	{"exception", EVENT(exception.injected), 1, 2},
	{"exception", EVENT(exception.pending), 1, 2},
	{"exception", EVENT(exception.has_error_code), 1, 2},
	{"exception", EVENT(exception_has_payload), 1, 2},
	{"vector", EVENT(exception.injected), 2, 0x2001},
	{"vector", EVENT(exception.injected), 2, 0x0201},
	{"interrupt", EVENT(interrupt.injected), 1, 2},
	{"interrupt", EVENT(interrupt.soft), 1, 2},
	{"interrupt", EVENT(interrupt.shadow), 1, 4},
	{"NMI", EVENT(nmi.injected), 1, 2},
	{"NMI", EVENT(nmi.masked), 1, 2},
	{"NMI", EVENT(nmi.pad), 1, 1},
	{"start-up", EVENT(sipi_vector), 4, 0x100},
	{"SMI", EVENT(smi.smm), 1, 2},
	{"SMI", EVENT(smi.pending), 1, 2},
	{"SMI", EVENT(smi.smm_inside_nmi), 1, 2},
	{"INIT", EVENT(smi.latched_init), 1, 2},
	{"triple", EVENT(triple_fault.pending), 1, 2},
	{"rate", AT_KHZ, 4, 999},
	{"rate", AT_KHZ, 4, 0xffffffff},
	{"xsave", VCPU_FIELDS_BYTES, 4, 0x7fffffff},
	{"MXCSR", AT_XSAVE + 24, 4, 0x00011f80},
	{"compacted", AT_XSAVE + 520, 8, 1ull << 63},
	{"compacted", AT_XSAVE + 568, 8, 1},
};

/* Every field that has values it cannot have; the vCPU stays as it was. */
static void a_vcpu_section_that_lies_changes_nothing(void **state)
{
	struct state_writer good, after;
	struct vm_fixture f;
	struct error err;
	uint8_t *body;
	unsigned i;
	size_t len;
	int code;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &good);
	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		body = copy_body(&good, &len);
		/* Something that would show if it were set. */
		memset(body + AT_REGS, 0x5a, 16);
		memcpy(body + lies[i].at, &lies[i].value, lies[i].size);
		code = load_body(&f, &good, body, len, 2, &err);
		if (code != -EPROTO || !strstr(err.text, lies[i].why))
			fail_msg("lie %u (%s): %d %s", i, lies[i].why, code,
				code < 0 ? err.text : "");
		save(&f, &after);
		assert_same_vcpu(
			section(&good, "vcpu1"), section(&after, "vcpu1"));
		state_writer_fini(&after);
		free(body);
	}
	state_writer_fini(&good);
	vm_fixture_fini(&f);
}

/* Where the MSRs of a body begin, after their count. */
static size_t msrs_at(const uint8_t *body, uint32_t *ret_count)
{
	uint32_t xsave;
	size_t at;

	memcpy(&xsave, body + VCPU_FIELDS_BYTES, 4);
	at = AT_XSAVE + xsave;
	memcpy(ret_count, body + at, 4);
	return at + 4;
}

static void msrs_that_cannot_be_are_refused(void **state)
{
	const uint32_t unknown = 0x0badbad0, huge = 0x7fffffff, more = 513;
	const uint64_t one = 1, none = 0;
	struct state_writer good;
	struct vm_fixture f;
	struct error err;
	uint32_t count;
	uint8_t *body;
	size_t len, at;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &good);
	body = copy_body(&good, &len);
	at = msrs_at(body, &count);
	memcpy(body + at - 4, &huge, 4);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), -EPROTO);
	assert_non_null(strstr(err.text, "MSRs"));
	memcpy(body + at - 4, &more, 4);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), -EPROTO);
	memcpy(body + at - 4, &count, 4);
	/* One nobody knows, with a value, and without: the guest reads 0. */
	memcpy(body + at + 12, &unknown, 4);
	memcpy(body + at + 16, &one, 8);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), -EPROTO);
	assert_non_null(strstr(err.text, "0xbadbad0"));
	memcpy(body + at + 16, &none, 8);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), 0);
	/* The same one twice. */
	memcpy(body + at + 12, body + at, 12);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), -EPROTO);
	assert_non_null(strstr(err.text, "twice"));
	free(body);
	state_writer_fini(&good);
	vm_fixture_fini(&f);
}

/* A foreign hypervisor's state, on a host that has none or of a wrong size. */
static void nested_state_that_cannot_be_is_refused(void **state)
{
	struct state_writer good;
	struct vm_fixture f;
	uint8_t *body, *longer;
	struct error err;
	uint32_t bytes = 64;
	size_t len;
	bool nests;
	int code;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &good);
	body = copy_body(&good, &len);
	longer = calloc(1, len + bytes);
	assert_non_null(longer);
	memcpy(longer, body, len);
	memcpy(longer + len - 4, &bytes, 4);
	nests = kvm_caps_has(&f.vm->caps, KVM_HAS_NESTED_STATE);
	code = load_body(&f, &good, longer, len + bytes, 2, &err);
	assert_int_equal(code, nests ? -EPROTO : -ENOTSUP);
	assert_non_null(strstr(err.text, nests ? "size" : "hypervisor"));
	free(body);
	free(longer);
	state_writer_fini(&good);
	vm_fixture_fini(&f);
}

/* ---- time ---- */

static void offset_attr(const struct vm_fixture *f, unsigned id,
	unsigned long call, uint64_t *v)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)v,
	};

	assert_int_equal(ioctl(cpu(f, id), call, &attr), 0);
}

static uint64_t tsc_offset(const struct vm_fixture *f, unsigned id)
{
	uint64_t v = 0;

	offset_attr(f, id, KVM_GET_DEVICE_ATTR, &v);
	return v;
}

static uint64_t tsc_of(const struct vm_fixture *f, unsigned id)
{
	uint64_t v = 0;

	assert_int_equal(msr_get(cpu(f, id), MSR_TSC, &v), 0);
	return v;
}

/* Has them, and keeps them. */
static void need_offsets(struct vm_fixture *f)
{
	uint64_t v = 12345;

	if (!kvm_caps_has(&f->vm->caps, KVM_HAS_VCPU_ATTRIBUTES))
		skip_with(f, "KVM has no TSC offsets");
	v += tsc_offset(f, 1);
	offset_attr(f, 1, KVM_SET_DEVICE_ATTR, &v);
	if (tsc_offset(f, 1) != v)
		skip_with(f, "KVM does not keep TSC offsets");
}

/* From VM to VM; every TSC goes on from where it stood and takes part of the
 * time of the move at most; the vCPUs keep what they differed by. */
static void moved_tscs_go_on_and_differ_as_before(void **state)
{
	const uint64_t apart = 123456789;
	struct vm_fixture vm[2];
	uint64_t before[2], host, now, v;
	struct state_writer w;
	struct error err;
	unsigned hop, id;

	testing_need_kvm();
	vm_fixture_init(&vm[0], two_cpus);
	need_offsets(&vm[0]);
	v = tsc_offset(&vm[0], 0) + apart;
	offset_attr(&vm[0], 1, KVM_SET_DEVICE_ATTR, &v);
	for (hop = 0; hop < 20; hop++) {
		struct vm_fixture *from = &vm[hop % 2];
		struct vm_fixture *to = &vm[(hop + 1) % 2];

		host = __rdtsc();
		before[0] = tsc_of(from, 0);
		before[1] = tsc_of(from, 1);
		save(from, &w);
		vm_fixture_init(to, two_cpus);
		if (vm_load(to->vm, w.buf, w.len, &err) < 0)
			fail_msg("load: %s", err.text);
		assert_true(tsc_offset(to, 1) - tsc_offset(to, 0) == apart);
		for (id = 0; id < 2; id++) {
			now = tsc_of(to, id);
			assert_true(now > before[id]);
			assert_true(now - before[id] <= __rdtsc() - host);
		}
		state_writer_fini(&w);
		vm_fixture_fini(from);
	}
	vm_fixture_fini(&vm[hop % 2]);
}

static void a_tsc_of_another_rate_is_scaled_or_refused(void **state)
{
	struct state_writer good;
	struct vm_fixture f;
	uint32_t khz, wanted;
	struct error err;
	uint8_t *body;
	size_t len;
	int code;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &good);
	body = copy_body(&good, &len);
	memcpy(&khz, body + AT_KHZ, 4);
	assert_int_equal(khz, ioctl(cpu(&f, 1), KVM_GET_TSC_KHZ, 0));
	wanted = khz + khz / 5000; /* 200 ppm: as good as the same */
	memcpy(body + AT_KHZ, &wanted, 4);
	assert_int_equal(load_body(&f, &good, body, len, 2, &err), 0);
	assert_int_equal(ioctl(cpu(&f, 1), KVM_GET_TSC_KHZ, 0), khz);
	wanted = khz + khz / 10;
	memcpy(body + AT_KHZ, &wanted, 4);
	code = load_body(&f, &good, body, len, 2, &err);
	if (kvm_caps_has(&f.vm->caps, KVM_HAS_TSC_CONTROL)) {
		assert_int_equal(code, 0);
		assert_int_equal(ioctl(cpu(&f, 1), KVM_GET_TSC_KHZ, 0), wanted);
	} else {
		assert_int_equal(code, -ENOTSUP);
		assert_non_null(strstr(err.text, "kHz"));
	}
	free(body);
	state_writer_fini(&good);
	vm_fixture_fini(&f);
}

/* Whether KVM_RUN carries the registers or ioctls do. */
static void the_run_page_and_the_ioctls_say_the_same(void **state)
{
	struct state_writer by_page, by_ioctl;
	struct vm_fixture f;

	testing_need_kvm();
	vm_fixture_init(&f, two_cpus);
	save(&f, &by_page);
	if (!f.vm->scratch.sync_regs) {
		state_writer_fini(&by_page);
		skip_with(&f, "no KVM_CAP_SYNC_REGS, or Linux before 6.13");
	}
	f.vm->scratch.sync_regs = false;
	save(&f, &by_ioctl);
	assert_same_vcpu(
		section(&by_page, "vcpu0"), section(&by_ioctl, "vcpu0"));
	assert_same_vcpu(
		section(&by_page, "vcpu1"), section(&by_ioctl, "vcpu1"));
	state_writer_fini(&by_page);
	state_writer_fini(&by_ioctl);
	vm_fixture_fini(&f);
}

/* ---- CPUID ---- */

/* What a vCPU was given. */
static struct kvm_cpuid2 *cpuid_of(const struct vm_fixture *f, unsigned id)
{
	struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	assert_non_null(c);
	c->nent = 256;
	assert_int_equal(ioctl(cpu(f, id), KVM_GET_CPUID2, c), 0);
	return c;
}

static void a_host_can_run_the_cpuid_it_gave(void **state)
{
	static const char *const words[] = {"-k", "kernels/hello", "-c",
		"8,sockets=2,cores=2,threads=2", "-m", "16M", NULL};
	struct kvm_cpuid2 *wanted;
	struct vm_fixture f;
	struct error err;
	json_t *json;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	/* Not what KVM says it gave: kvm_pvm puts the host's bits in. */
	assert_int_equal(cpuid_describe(f.vm->cpuid, &json), 0);
	assert_int_equal(cpuid_from_json(json, &wanted, &err), 0);
	json_decref(json);
	cpuid_set_apic_id(wanted, 5);
	if (cpuid_check_host(wanted, f.vm->kvm.fd, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(cpu_leaf(wanted, 1, 0)->ebx >> 24, 5);
	if (cpu_leaf(wanted, 0xb, 0)) {
		assert_int_equal(cpu_leaf(wanted, 0xb, 0)->edx, 5);
		assert_int_equal(cpu_leaf(wanted, 0xb, 0)->ebx, 2);
		assert_int_equal(cpu_leaf(wanted, 0xb, 1)->ebx, 4);
	}
	/* A bit that no CPU has. */
	cpu_leaf(wanted, 7, 0)->ecx |= 1u << 15;
	assert_int_equal(
		cpuid_check_host(wanted, f.vm->kvm.fd, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "cpuid.7.0.ecx.15"));
	free(wanted);
	vm_fixture_fini(&f);
}

static void a_model_takes_features_from_the_vcpus(void **state)
{
	static const char *const words[] = {"-k", "kernels/hello", "-c", "2",
		"-m", "16M", "--cpu", "host,-nonstop_tsc,-kvm_steal_time",
		NULL};
	struct kvm_cpuid2 *is;
	struct vm_fixture f;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	is = cpuid_of(&f, 1);
	assert_int_equal(cpu_leaf(is, 0x80000007, 0)->edx & 0x100, 0);
	assert_int_equal(cpu_leaf(is, 0x40000001, 0)->eax & 0x20, 0);
	assert_int_equal(cpu_leaf(is, 0x40000001, 0)->eax & 1, 1);
	free(is);
	vm_fixture_fini(&f);
}

/* ---- a guest at work ---- */

#define HOPS 40u

/* GODWIT_HOPS=N: so many instead of 40. */
static unsigned hops(void)
{
	const char *given = getenv("GODWIT_HOPS");

	return given ? (unsigned)strtoul(given, NULL, 10) : HOPS;
}

/* All state and RAM of a running SMP guest, from VM to VM: it checks its memory
 * and its timers go on; no TSC steps back. */
static void a_working_smp_guest_does_not_notice_its_moves(void **state)
{
	static const char *const words[] = {"-k", "kernels/work", "-c", "2",
		"-m", "16M", "-a", "smp=2 mem=1 passes=0 report=20", NULL};
	struct vm_fixture vm[2];
	struct state_writer w;
	uint64_t before[2];
	struct error err;
	unsigned count = hops(), hop, id;

	testing_need_kvm();
	vm_fixture_init(&vm[0], words);
	for (hop = 0; hop < count; hop++) {
		struct vm_fixture *from = &vm[hop % 2];
		struct vm_fixture *to = &vm[(hop + 1) % 2];

		assert_int_equal(
			vm_fixture_run_until(from, "work:", 3), VM_END_USER);
		assert_null(strstr(vm_fixture_text(from), "verdict"));
		for (id = 0; id < 2; id++)
			before[id] = tsc_of(from, id);
		save(from, &w);
		vm_fixture_init(to, words);
		memcpy(vm_guestmem(to->vm)->base, vm_guestmem(from->vm)->base,
			vm_guestmem(to->vm)->size);
		if (vm_load(to->vm, w.buf, w.len, &err) < 0)
			fail_msg("load: %s", err.text);
		for (id = 0; id < 2; id++)
			assert_true(tsc_of(to, id) > before[id]);
		state_writer_fini(&w);
		vm_fixture_fini(from);
	}
	vm_fixture_fini(&vm[hop % 2]);
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
		cmocka_unit_test(a_vcpu_section_of_another_shape_is_refused),
		cmocka_unit_test(a_vcpu_section_that_lies_changes_nothing),
		cmocka_unit_test(msrs_that_cannot_be_are_refused),
		cmocka_unit_test(nested_state_that_cannot_be_is_refused),
		cmocka_unit_test(moved_tscs_go_on_and_differ_as_before),
		cmocka_unit_test(a_tsc_of_another_rate_is_scaled_or_refused),
		cmocka_unit_test(the_run_page_and_the_ioctls_say_the_same),
		cmocka_unit_test(a_host_can_run_the_cpuid_it_gave),
		cmocka_unit_test(a_model_takes_features_from_the_vcpus),
		cmocka_unit_test(a_working_smp_guest_does_not_notice_its_moves),
		cmocka_unit_test(an_event_no_guest_can_ask_for_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
