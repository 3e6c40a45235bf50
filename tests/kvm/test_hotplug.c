/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_hotplug.c - vCPUs that come, go, are parked and used again
 * (V1-V4), with kernels/cpus as the guest; and the throttle.
 *
 * HOTPLUG_CYCLES: cycles of the long test (10000).
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <linux/kvm.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/cpu_hotplug.h"
#include "migrate/state.h"
#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/hotplug.h"
#include "vmm/log.h"
#include "vmm/throttle.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/msr.h"

struct rig {
	struct vm_fixture f;
	struct loop_bh *bh;
	unsigned want; /* set_cpus() */
	int timeout_ms;
	int code; /* how the last one ended */
	unsigned ended;
	struct error err;
};

static void on_done(void *opaque, int code, const struct error *err)
{
	struct rig *r = opaque;

	r->code = code;
	r->ended++;
	assert_int_equal(code < 0, err != NULL);
	if (err)
		r->err = *err;
	vm_stop(r->f.vm, VM_END_USER);
}

static void start_set(void *opaque)
{
	struct rig *r = opaque;

	r->code = vm_set_cpus(
		r->f.vm, r->want, r->timeout_ms, on_done, r, &r->err);
	if (r->code < 0)
		vm_stop(r->f.vm, VM_END_USER);
}

static void rig_init(struct rig *r, const char *cpus, const char *append)
{
	const char *words[] = {"-k", "kernels/cpus", "-m", "16M", "-c", cpus,
		"-a", append, NULL};

	memset(r, 0, sizeof(*r));
	vm_fixture_init(&r->f, words);
	assert_int_equal(loop_bh_create(vm_loop(r->f.vm), start_set, r, "test",
				 vm_guard(r->f.vm), &r->bh),
		0);
}

static void rig_fini(struct rig *r)
{
	loop_bh_delete(r->bh);
	vm_fixture_fini(&r->f);
}

/* Run the VM until @count vCPUs are there or it is clear that they will not
 * be.  Return: what vm_set_cpus() or its callback said. */
static int set_cpus(struct rig *r, unsigned count)
{
	uint32_t code;

	r->want = count;
	r->code = -1;
	loop_bh_schedule(r->bh);
	assert_int_equal(vm_run(r->f.vm, &code), VM_END_USER);
	return r->code;
}

static void must_set(struct rig *r, unsigned count)
{
	if (set_cpus(r, count) != 0)
		fail_msg("set %u: %s", count, r->err.text);
	assert_int_equal(vm_cpus_present(r->f.vm), count);
}

static void until(struct rig *r, const char *text, unsigned count)
{
	assert_int_equal(vm_fixture_run_until(&r->f, text, count), VM_END_USER);
}

/* Plug while the VM is paused. */
static void set_paused(struct rig *r, unsigned count)
{
	unsigned ended = r->ended;

	r->want = count;
	start_set(r);
	assert_int_equal(r->code, 0);
	while (r->ended == ended)
		loop_poll(vm_loop(r->f.vm), true);
	atomic_store(&r->f.vm->stop, 0); /* nothing ran that it could end */
}

/* Play the guest that gives up vCPU 1 of 2, unasked. */
static void eject_paused(struct rig *r)
{
	const struct bus *pio = &r->f.vm->pio;

	bus_write(pio, LAYOUT_PIO_CPUS + CPU_HOTPLUG_SELECT, 4, 1);
	bus_write(pio, LAYOUT_PIO_CPUS + CPU_HOTPLUG_ORDER, 4,
		CPU_HOTPLUG_INSERT | CPU_HOTPLUG_EJECT);
	while (vm_cpus_present(r->f.vm) == 2)
		loop_poll(vm_loop(r->f.vm), true);
}

/* ---- what a user sees ---- */

static void a_plugged_vcpu_runs_code(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "1,max=4", "");
	assert_int_equal(vm_cpus_max(r.f.vm), 4);
	assert_int_equal(vm_cpus_present(r.f.vm), 1);
	until(&r, "max 4", 1);
	must_set(&r, 3);
	until(&r, "cpus: up 1", 1);
	until(&r, "cpus: up 2", 1);
	assert_true(vm_cpu_is_present(r.f.vm, 2));
	assert_false(vm_cpu_is_present(r.f.vm, 3));
	assert_false(vm_cpu_is_present(r.f.vm, 4));
	must_set(&r, 4);
	until(&r, "cpus: up 3", 1);
	rig_fini(&r);
}

static void an_ejected_vcpu_is_parked_and_its_fd_used_again(void **state)
{
	struct rig r;
	int fd, fds;

	testing_need_kvm();
	rig_init(&r, "1,max=3", "");
	must_set(&r, 3);
	until(&r, "cpus: up 2", 1);
	fd = vcpu_fd(r.f.vm->vcpu[2]);
	fds = testing_fd_count();
	must_set(&r, 2);
	until(&r, "cpus: gone 2", 1);
	assert_int_equal(vm_cpus_parked(r.f.vm), 1);
	assert_int_equal(r.f.vm->vcpus_running, 2);
	assert_int_equal(testing_fd_count(), fds);
	must_set(&r, 3);
	until(&r, "cpus: up 2", 2);
	assert_int_equal(vcpu_fd(r.f.vm->vcpu[2]), fd);
	assert_int_equal(vm_cpus_parked(r.f.vm), 0);
	assert_int_equal(testing_fd_count(), fds);
	rig_fini(&r);
}

static void vcpus_there_from_the_start_can_go_and_come_back(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "3", "");
	assert_int_equal(vm_cpus_max(r.f.vm), 3);
	must_set(&r, 1);
	assert_int_equal(vm_cpus_parked(r.f.vm), 2);
	must_set(&r, 2);
	until(&r, "cpus: up 1", 1);
	rig_fini(&r);
}

static void precreated_fds_wait_parked(void **state)
{
	struct rig r;
	int fds;

	testing_need_kvm();
	rig_init(&r, "1,max=4,precreate", "");
	assert_int_equal(vm_cpus_parked(r.f.vm), 3);
	fds = testing_fd_count();
	must_set(&r, 4);
	assert_int_equal(vm_cpus_parked(r.f.vm), 0);
	assert_int_equal(testing_fd_count(), fds);
	until(&r, "cpus: up 3", 1);
	rig_fini(&r);
}

static void a_vcpu_plugged_while_paused_starts_when_it_runs(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "1,max=2", "");
	set_paused(&r, 2);
	assert_int_equal(vm_cpus_present(r.f.vm), 2);
	assert_null(strstr(vm_fixture_text(&r.f), "up 1"));
	until(&r, "cpus: up 1", 1);
	rig_fini(&r);
}

/* ---- refusals ---- */

static void what_cannot_be_is_refused_and_nothing_is_tried(void **state)
{
	struct rig r;
	struct error err;
	int fds;

	testing_need_kvm();
	rig_init(&r, "2,max=4", "");
	fds = testing_fd_count();
	assert_int_equal(set_cpus(&r, 0), -EINVAL);
	assert_non_null(strstr(r.err.text, "the boot CPU stays"));
	assert_int_equal(set_cpus(&r, 5), -EINVAL);
	assert_non_null(strstr(r.err.text, "room for 4"));
	assert_int_equal(set_cpus(&r, UINT32_MAX), -EINVAL);
	/* Paused: the guest cannot give anything up. */
	assert_int_equal(
		vm_set_cpus(r.f.vm, 1, 0, on_done, &r, &err), 0 - EAGAIN);
	assert_non_null(strstr(err.text, "paused"));
	/* While it is moved. */
	assert_int_equal(vm_cpus_freeze(r.f.vm, &err), 0);
	assert_int_equal(vm_cpus_freeze(r.f.vm, &err), 0);
	vm_cpus_thaw(r.f.vm);
	assert_int_equal(set_cpus(&r, 3), -EBUSY);
	assert_non_null(strstr(r.err.text, "moved"));
	vm_cpus_thaw(r.f.vm);
	assert_int_equal(testing_fd_count(), fds);
	assert_int_equal(vm_cpus_present(r.f.vm), 2);
	assert_int_equal(vm_cpus_parked(r.f.vm), 0);
	assert_int_equal(r.ended, 0);
	must_set(&r, 2); /* nothing to do is no error */
	must_set(&r, 3);
	rig_fini(&r);
}

static void an_id_past_the_last_makes_no_ioctl(void **state)
{
	static const unsigned ids[] = {4, 5, 4096, UINT32_MAX};
	struct vcpu_handle handle;
	struct error err;
	struct rig r;
	unsigned i;
	int fds;

	testing_need_kvm();
	rig_init(&r, "1,max=4", "");
	fds = testing_fd_count();
	for (i = 0; i < 4; i++) {
		/* With a VM fd that no ioctl can be made on. */
		int vm_fd = r.f.vm->park.vm_fd;

		r.f.vm->park.vm_fd = -1;
		assert_int_equal(
			vcpu_park_take(&r.f.vm->park, ids[i], &handle, &err),
			-EINVAL);
		r.f.vm->park.vm_fd = vm_fd;
		assert_non_null(strstr(err.text, "ids end at 3"));
	}
	assert_int_equal(testing_fd_count(), fds);
	rig_fini(&r);
}

static void only_acpi_machines_can_grow(void **state)
{
	static const char *const machines[] = {"fdt", "cmdline"};
	const char *words[] = {
		"-k", "kernels/cpus", "-c", "1,max=2", "--machine", NULL, NULL};
	struct config cfg;
	struct error err;
	struct vm *vm;
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < 2; i++) {
		words[5] = machines[i];
		config_init(&cfg);
		assert_int_equal(config_parse_run(&cfg, 6,
					 (char *const *)(uintptr_t)words, &err),
			0);
		assert_int_equal(vm_create(&cfg, NULL, &vm, &err), -EINVAL);
		assert_non_null(strstr(err.text, "only --machine acpi"));
		config_fini(&cfg);
	}
}

static void a_guest_that_refuses_is_reported_and_keeps_it(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "1,max=4", "refuse=2");
	must_set(&r, 4);
	until(&r, "cpus: up 3", 1);
	assert_int_equal(set_cpus(&r, 1), -EACCES);
	assert_non_null(strstr(r.err.text, "vcpu2"));
	assert_non_null(strstr(r.err.text, "0x82: busy"));
	/* The others have gone. */
	assert_int_equal(vm_cpus_present(r.f.vm), 2);
	assert_true(vm_cpu_is_present(r.f.vm, 2));
	/* The gap is filled first. */
	must_set(&r, 3);
	assert_true(vm_cpu_is_present(r.f.vm, 1));
	until(&r, "cpus: up 1", 2);
	rig_fini(&r);
}

static void a_guest_that_never_ejects_is_a_timeout(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "2,max=2", "deaf=1");
	r.timeout_ms = 30;
	assert_int_equal(set_cpus(&r, 1), -ETIMEDOUT);
	assert_non_null(strstr(r.err.text, "vcpu1"));
	assert_int_equal(vm_cpus_present(r.f.vm), 2);
	until(&r, "cpus: hears 1", 1);
	/* And again: nothing of the first is left. */
	assert_int_equal(set_cpus(&r, 1), -ETIMEDOUT);
	assert_int_equal(r.ended, 2);
	rig_fini(&r);
}

struct second {
	struct rig *r;
	int code, freeze;
	struct error err;
};

static void ask_twice(void *opaque)
{
	struct second *s = opaque;

	start_set(s->r);
	s->code = vm_set_cpus(s->r->f.vm, 2, 0, on_done, s->r, &s->err);
	s->freeze = vm_cpus_freeze(s->r->f.vm, NULL);
}

static void one_at_a_time(void **state)
{
	struct second s;
	struct loop_bh *bh;
	struct rig r;
	uint32_t code;

	testing_need_kvm();
	rig_init(&r, "2,max=3", "deaf=1");
	r.timeout_ms = 30;
	r.want = 1;
	s = (struct second){.r = &r};
	assert_int_equal(loop_bh_create(vm_loop(r.f.vm), ask_twice, &s, "twice",
				 vm_guard(r.f.vm), &bh),
		0);
	loop_bh_schedule(bh);
	assert_int_equal(vm_run(r.f.vm, &code), VM_END_USER);
	assert_int_equal(r.code, -ETIMEDOUT);
	assert_int_equal(s.code, -EBUSY);
	assert_non_null(strstr(s.err.text, "already"));
	assert_int_equal(s.freeze, -EBUSY);
	assert_int_equal(r.ended, 1);
	loop_bh_delete(bh);
	rig_fini(&r);
}

static void a_vcpu_ejected_unasked_is_parked_all_the_same(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "2", "");
	until(&r, "max 2", 1);
	bus_write(&r.f.vm->pio, LAYOUT_PIO_CPUS + CPU_HOTPLUG_SELECT, 4, 1);
	bus_write(&r.f.vm->pio, LAYOUT_PIO_CPUS + CPU_HOTPLUG_ORDER, 4,
		CPU_HOTPLUG_EJECT);
	/* Not while it is moved; then it is. */
	assert_int_equal(vm_cpus_freeze(r.f.vm, NULL), 0);
	while (loop_poll(vm_loop(r.f.vm), false))
		;
	assert_int_equal(vm_cpus_present(r.f.vm), 2);
	vm_cpus_thaw(r.f.vm);
	while (vm_cpus_present(r.f.vm) == 2)
		loop_poll(vm_loop(r.f.vm), true);
	assert_int_equal(vm_cpus_parked(r.f.vm), 1);
	rig_fini(&r);
}

/* ---- the ends of a life ---- */

static void a_reset_keeps_the_plugged_and_ends_what_was_asked(void **state)
{
	struct error err;
	struct rig r;
	uint32_t code;

	testing_need_kvm();
	rig_init(&r, "1,max=4", "deaf=1");
	must_set(&r, 4);
	until(&r, "cpus: up 3", 1);
	r.want = 2;
	loop_bh_schedule(r.bh);
	until(&r, "cpus: hears 2", 1);
	assert_int_equal(r.ended, 1);
	assert_int_equal(vm_reset(r.f.vm, &err), 0);
	/* The report comes from a poll. */
	assert_int_equal(vm_run(r.f.vm, &code), VM_END_USER);
	assert_int_equal(r.code, -ECANCELED);
	assert_non_null(strstr(r.err.text, "reset"));
	assert_int_equal(r.ended, 2);
	assert_int_equal(vm_cpus_present(r.f.vm), 4);
	until(&r, "cpus: entry", 2);
	/* None has come anew: they are there from the start, of the new life.
	 */
	assert_int_equal(
		vm_fixture_count(vm_fixture_text(&r.f), "cpus: up"), 3);
	rig_fini(&r);
}

static void the_end_of_a_vm_ends_what_was_asked(void **state)
{
	struct rig r;
	int fds;

	testing_need_kvm();
	fds = testing_fd_count();
	rig_init(&r, "3", "deaf=1");
	r.want = 2;
	loop_bh_schedule(r.bh);
	until(&r, "cpus: hears 2", 1);
	loop_bh_delete(r.bh);
	vm_destroy(r.f.vm);
	r.f.vm = NULL;
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.code, -ECANCELED);
	vm_fixture_fini(&r.f);
	assert_int_equal(testing_fd_count(), fds);
}

/* ---- cycles ---- */

static void vcpus_that_come_and_go_leave_nothing_behind(void **state)
{
	const char *text = getenv("HOTPLUG_CYCLES");
	unsigned cycles = text ? (unsigned)strtoul(text, NULL, 10) : 10000, i;
	size_t heap = 0;
	struct rig r;
	int fds = 0;

	testing_need_kvm();
	/* The test plays the guest's part: one that only spins has none. */
	rig_init(&r, "1,max=2", "");
	for (i = 0; i < cycles; i++) {
		if (i == cycles / 10) { /* by now all is in place */
			fds = testing_fd_count();
			heap = mallinfo2().uordblks;
		}
		set_paused(&r, 2);
		eject_paused(&r);
		assert_int_equal(vm_cpus_parked(r.f.vm), 1);
	}
	assert_int_equal(testing_fd_count(), fds);
	assert_in_range(mallinfo2().uordblks, 0, heap + 16384);
	assert_int_equal(r.f.vm->vcpus_running, 1);
	/* And the guest, who slept through it, still takes one in. */
	must_set(&r, 2);
	until(&r, "cpus: up 1", 1);
	rig_fini(&r);
}

static void a_guest_brings_up_a_vcpu_again_and_again(void **state)
{
	unsigned i;
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "1,max=3", "busy=1 dirty=1");
	for (i = 1; i <= 20; i++) {
		must_set(&r, 3);
		until(&r, "cpus: up 2", i);
		must_set(&r, 1);
		assert_int_equal(vm_cpus_parked(r.f.vm), 2);
	}
	rig_fini(&r);
}

struct storm {
	struct rig *r;
	struct loop_timer timer;
	struct loop_bh *bh;
	uint64_t rnd;
	unsigned left, asked, answered;
};

static void storm_done(void *opaque, int code, const struct error *err)
{
	struct storm *s = opaque;

	/* The last one may be open when the VM ends. */
	assert_true(code == 0 || code == -ETIMEDOUT ||
		    (code == -ECANCELED && s->left == 0));
	s->answered++;
}

static void storm_step(void *opaque)
{
	struct storm *s = opaque;
	struct vm *vm = s->r->f.vm;
	uint64_t what = testing_random(&s->rnd) % 4;
	struct error err;

	if (what == 0) {
		vm_pause(vm);
		if (testing_random(&s->rnd) % 2 &&
			vm_set_cpus(vm, vm_cpus_max(vm), 0, storm_done, s,
				&err) == 0)
			s->asked++;
		vm_resume(vm);
	} else if (vm_set_cpus(vm, 1 + (unsigned)(testing_random(&s->rnd) % 4),
			   1 + (int)(testing_random(&s->rnd) % 50), storm_done,
			   s, &err) == 0) {
		s->asked++;
	}
	if (testing_random(&s->rnd) % 8 == 0)
		vm_throttle(vm, (unsigned)(testing_random(&s->rnd) % 2) * 50);
	if (--s->left == 0)
		vm_stop(vm, VM_END_USER);
	else
		loop_timer_set(&s->timer,
			loop_now_ns(vm_loop(vm), LOOP_MONOTONIC) +
				(int64_t)(testing_random(&s->rnd) % 3000000));
}

static void storm_tick(void *opaque)
{
	struct storm *s = opaque;

	loop_bh_schedule(s->bh);
}

static void storms_of_plug_unplug_and_pause_end_well(void **state)
{
	struct storm s = {.rnd = testing_seed(__func__), .left = 300};
	struct loop *loop;
	struct rig r;
	uint32_t code;

	testing_need_kvm();
	rig_init(&r, "2,max=4", "busy=1 quiet=1");
	s.r = &r;
	loop = vm_loop(r.f.vm);
	assert_int_equal(loop_bh_create(loop, storm_step, &s, "storm",
				 vm_guard(r.f.vm), &s.bh),
		0);
	loop_timer_init(&s.timer, loop, LOOP_MONOTONIC, storm_tick, &s);
	storm_tick(&s);
	assert_int_equal(vm_run(r.f.vm, &code), VM_END_USER);
	assert_true(s.asked > 0);
	assert_in_range(s.answered, s.asked - 1, s.asked);
	loop_timer_cancel(&s.timer);
	loop_bh_delete(s.bh);
	rig_fini(&r);
	assert_int_equal(s.answered, s.asked);
}

/* ---- a used vCPU is a new vCPU (V2) ---- */

#define MSR_TSC		   0x10u
#define MSR_HV_REF_COUNT   0x40000020u
#define MSR_KVM_WALL_CLOCK 0x4b564d00u
#define MSRS_MAX	   1024u
#define ROOM		   65536u /* for the largest getter */

/* Every get-ioctl of a vCPU; one that this KVM lacks fails on both. */
struct getter {
	const char *name;
	unsigned long request;
	uint32_t first_u32; /* what the caller puts at the start, or 0 */
};

static const struct getter getters[] = {
	{"KVM_GET_REGS", KVM_GET_REGS, 0},
	{"KVM_GET_SREGS", KVM_GET_SREGS, 0},
	{"KVM_GET_SREGS2", KVM_GET_SREGS2, 0},
	{"KVM_GET_FPU", KVM_GET_FPU, 0},
	{"KVM_GET_XSAVE2", KVM_GET_XSAVE2, 0},
	{"KVM_GET_XCRS", KVM_GET_XCRS, 0},
	{"KVM_GET_DEBUGREGS", KVM_GET_DEBUGREGS, 0},
	{"KVM_GET_LAPIC", KVM_GET_LAPIC, 0},
	{"KVM_GET_VCPU_EVENTS", KVM_GET_VCPU_EVENTS, 0},
	{"KVM_GET_MP_STATE", KVM_GET_MP_STATE, 0},
	{"KVM_GET_CPUID2", KVM_GET_CPUID2, 256},
	{"KVM_GET_NESTED_STATE", KVM_GET_NESTED_STATE, ROOM},
};
#define GETTERS (sizeof(getters) / sizeof(getters[0]))

struct dump {
	int code[GETTERS];
	uint8_t *bytes[GETTERS]; /* owned, ROOM each */
	int tsc_khz;
	uint64_t tsc_offset; /* less that of vCPU 0 */
	unsigned msrs;
	struct kvm_msr_entry msr[MSRS_MAX];
};

static uint64_t tsc_offset(int fd)
{
	uint64_t value = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)&value,
	};

	return kvm_ioctl(fd, KVM_GET_DEVICE_ATTR, &attr) < 0 ? 0 : value;
}

/* What may differ between two vCPUs, or two looks at one, and why. */
static bool moves(uint32_t msr)
{
	return msr == MSR_TSC ||	    /* runs; its offset is compared */
	       msr == MSR_HV_REF_COUNT ||   /* the same clock, in 100 ns */
	       msr == MSR_KVM_WALL_CLOCK || /* of the VM, all vCPUs share it */
	       msr == 0x11;		    /* its other number */
}

static uint32_t list_msrs(const struct vm *vm, uint32_t *index)
{
	struct kvm_msr_list *list =
		calloc(1, sizeof(*list) + MSRS_MAX * sizeof(uint32_t));
	uint32_t n, i;

	assert_non_null(list);
	list->nmsrs = MSRS_MAX - 64;
	assert_int_equal(
		kvm_ioctl(vm->kvm.fd, KVM_GET_MSR_INDEX_LIST, list), 0);
	n = list->nmsrs;
	memcpy(index, list->indices, n * sizeof(uint32_t));
	free(list);
	for (i = 0x200; i < 0x210; i++)
		index[n++] = i; /* MTRRs, not listed */
	for (i = 0x268; i < 0x270; i++)
		index[n++] = i;
	index[n++] = 0x250;
	index[n++] = 0x258;
	index[n++] = 0x259;
	index[n++] = 0x2ff;
	return n;
}

static void dump(const struct vm *vm, int fd, struct dump *d)
{
	uint32_t index[MSRS_MAX], n, i;
	uint64_t value;

	memset(d, 0, sizeof(*d));
	/* Backwards: asking for the MP state may change the rest. */
	for (i = GETTERS; i-- > 0;) {
		d->bytes[i] = calloc(1, ROOM);
		assert_non_null(d->bytes[i]);
		memcpy(d->bytes[i], &getters[i].first_u32, 4);
		d->code[i] = kvm_ioctl(fd, getters[i].request, d->bytes[i]);
	}
	n = list_msrs(vm, index);
	for (i = 0; i < n; i++) {
		if (moves(index[i]) || msr_get(fd, index[i], &value) < 0)
			continue;
		d->msr[d->msrs].index = index[i];
		d->msr[d->msrs++].data = value;
	}
	d->tsc_khz = kvm_ioctl_num(fd, KVM_GET_TSC_KHZ, 0);
	d->tsc_offset = tsc_offset(fd) - tsc_offset(vcpu_fd(vm->vcpu[0]));
}

static void dump_free(struct dump *d)
{
	unsigned i;

	for (i = 0; i < GETTERS; i++)
		free(d->bytes[i]);
	free(d);
}

/* How many getters and MSRs differ; each is named if @say. */
static unsigned differences(
	const struct dump *a, const struct dump *b, bool say)
{
	unsigned i, n = 0;
	size_t k;

	for (i = 0; i < GETTERS; i++) {
		for (k = 0; k < ROOM; k++)
			if (a->bytes[i][k] != b->bytes[i][k])
				break;
		if (k == ROOM && a->code[i] == b->code[i])
			continue;
		n++;
		if (say)
			print_message("# %s differs at byte %zu\n",
				getters[i].name, k);
	}
	assert_int_equal(a->msrs, b->msrs);
	for (i = 0; i < a->msrs; i++) {
		if (a->msr[i].data == b->msr[i].data)
			continue;
		n++;
		if (say)
			print_message("# MSR 0x%x is 0x%llx and 0x%llx\n",
				a->msr[i].index, a->msr[i].data,
				b->msr[i].data);
	}
	if (say && a->tsc_khz != b->tsc_khz)
		print_message("# TSC rate\n");
	if (say && a->tsc_offset != b->tsc_offset)
		print_message("# TSC offset\n");
	return n + (a->tsc_khz != b->tsc_khz) +
	       (a->tsc_offset != b->tsc_offset);
}

/* What the guest of kernels/cpus does not reach: every MSR that takes another
 * value, and by every setter another state. */
static void dirty(const struct vm *vm, int fd)
{
	uint32_t index[MSRS_MAX], n = list_msrs(vm, index), i;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_fpu fpu;
	uint64_t value;

	for (i = 0; i < n; i++)
		if (!moves(index[i]) && msr_get(fd, index[i], &value) == 0 &&
			msr_set(fd, index[i], value ^ 0x1000) < 0)
			msr_set(fd, index[i], value ^ 1);
	memset(&regs, 0x5a, sizeof(regs));
	regs.rflags = 2;
	assert_int_equal(kvm_ioctl(fd, KVM_SET_REGS, &regs), 0);
	assert_int_equal(kvm_ioctl(fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cr2 = 0x1234000;
	sregs.cr8 = 5;
	sregs.ds.base = 0x4000;
	sregs.idt.limit = 0x77;
	assert_int_equal(kvm_ioctl(fd, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(kvm_ioctl(fd, KVM_GET_FPU, &fpu), 0);
	memset(fpu.xmm, 0x66, sizeof(fpu.xmm));
	memset(fpu.fpr, 0x33, sizeof(fpu.fpr));
	fpu.fcw = 0x27f;
	assert_int_equal(kvm_ioctl(fd, KVM_SET_FPU, &fpu), 0);
	memset(&debug, 0, sizeof(debug));
	debug.db[1] = 0x5000;
	debug.dr6 = 0xffff0ff1;
	debug.dr7 = 0x404;
	assert_int_equal(kvm_ioctl(fd, KVM_SET_DEBUGREGS, &debug), 0);
	assert_int_equal(kvm_ioctl(fd, KVM_GET_VCPU_EVENTS, &events), 0);
	events.nmi.pending = 1;
	events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
	assert_int_equal(kvm_ioctl(fd, KVM_SET_VCPU_EVENTS, &events), 0);
}

static void a_used_vcpu_cannot_be_told_from_a_new_one(void **state)
{
	struct dump *fresh = calloc(1, sizeof(*fresh));
	struct dump *used = calloc(1, sizeof(*used));
	struct dump *again = calloc(1, sizeof(*again));
	struct rig r, other;
	int fd, n;

	testing_need_kvm();
	/* New: never run, of a VM of its own. */
	rig_init(&other, "1,max=2", "dirty=1");
	set_paused(&other, 2);
	dump(other.f.vm, vcpu_fd(other.f.vm->vcpu[1]), fresh);
	rig_fini(&other);
	/* Used: by the guest, then by us; parked, and plugged again. */
	rig_init(&r, "1,max=2", "dirty=1");
	must_set(&r, 2);
	until(&r, "cpus: up 1", 1);
	fd = vcpu_fd(r.f.vm->vcpu[1]);
	dirty(r.f.vm, fd);
	dump(r.f.vm, fd, used);
	/* Else this proves little. */
	n = (int)differences(fresh, used, false);
	assert_in_range(n, 20, 1000);
	/* It could not run like that. */
	eject_paused(&r);
	set_paused(&r, 2);
	assert_int_equal(vcpu_fd(r.f.vm->vcpu[1]), fd);
	dump(r.f.vm, fd, again);
	assert_int_equal(differences(fresh, again, true), 0);
	rig_fini(&r);
	dump_free(fresh);
	dump_free(used);
	dump_free(again);
}

/* A broadcast reaches the LAPICs of parked vCPUs, too. */
static void a_startup_interrupt_while_parked_starts_nobody(void **state)
{
	struct kvm_mp_state mp;
	struct rig r;
	unsigned mode;

	testing_need_kvm();
	rig_init(&r, "1,max=2", "");
	must_set(&r, 2);
	until(&r, "cpus: up 1", 1);
	must_set(&r, 1);
	for (mode = 5; mode <= 6; mode++) { /* INIT, SIPI */
		struct kvm_msi msi = {
			.address_lo = 0xfee00000u | 1u << 12,
			.data = mode << 8 | 0x4,
		};

		kvm_ioctl(r.f.vm->fd, KVM_SIGNAL_MSI, &msi);
	}
	set_paused(&r, 2);
	assert_int_equal(
		kvm_ioctl(vcpu_fd(r.f.vm->vcpu[1]), KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_UNINITIALIZED);
	until(&r, "cpus: up 1", 2);
	rig_fini(&r);
}

/* ---- state ---- */

static void save(struct rig *r, struct state_writer *w)
{
	struct error err;

	state_writer_init(w);
	if (vm_save(r->f.vm, w, &err) < 0)
		fail_msg("save: %s", err.text);
}

static void copy_ram(struct rig *to, const struct rig *from)
{
	memcpy(vm_guestmem(to->f.vm)->base, vm_guestmem(from->f.vm)->base,
		(size_t)vm_guestmem(from->f.vm)->size);
}

static void a_load_makes_the_set_of_vcpus_that_of_the_state(void **state)
{
	static const unsigned before[] = {1, 2, 4};
	struct state_writer w, again;
	struct rig from, to;
	struct error err;
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < 3; i++) {
		rig_init(&from, "1,max=4", "");
		must_set(&from, 4);
		until(&from, "cpus: up 3", 1);
		must_set(&from, 2); /* 0 and 1 present, 2 and 3 parked */
		save(&from, &w);
		rig_init(&to, "1,max=4", "");
		if (before[i] > 1)
			set_paused(&to, before[i]);
		copy_ram(&to, &from);
		if (vm_load(to.f.vm, w.buf, w.len, &err) < 0)
			fail_msg("load: %s", err.text);
		assert_int_equal(vm_cpus_present(to.f.vm), 2);
		assert_int_equal(vm_cpus_parked(to.f.vm), 2);
		assert_int_equal(to.f.vm->vcpus_running, 2);
		save(&to, &again);
		assert_int_equal(again.len, w.len);
		rig_fini(&from);
		/* It goes on where it was. */
		must_set(&to, 1);
		until(&to, "cpus: gone 1", 1);
		must_set(&to, 4);
		until(&to, "cpus: up 3", 1);
		state_writer_fini(&w);
		state_writer_fini(&again);
		rig_fini(&to);
	}
}

/* A request that the guest has not looked at travels. */
static void what_the_guest_has_not_heard_it_hears_after_a_move(void **state)
{
	struct state_writer w;
	struct rig from, to;
	struct error err;

	testing_need_kvm();
	rig_init(&from, "1,max=2", "");
	until(&from, "max 2", 1);
	set_paused(&from, 2);
	save(&from, &w);
	rig_init(&to, "1,max=2", "");
	copy_ram(&to, &from);
	assert_int_equal(vm_load(to.f.vm, w.buf, w.len, &err), 0);
	rig_fini(&from);
	until(&to, "cpus: up 1", 1);
	state_writer_fini(&w);
	rig_fini(&to);
}

/* @w with byte @at of section @name's body (from its end if negative) set. */
static void patch(const struct state_writer *w, const char *name, int at,
	uint8_t value, struct state_writer *out)
{
	const uint8_t *pos = w->buf;
	struct state_reader r;
	struct error err;

	state_writer_init(out);
	while (state_next(&pos, w->buf + w->len, &r, &err) == 1) {
		size_t len = (size_t)(r.end - r.pos), off;
		uint8_t *body = malloc(len + 1);

		assert_non_null(body);
		memcpy(body, r.pos, len);
		off = at < 0 ? len - (size_t)-at : (size_t)at;
		if (strcmp(r.name, name) == 0)
			body[off] = value;
		state_begin(out, r.name, r.version);
		state_put_bytes(out, body, len);
		state_end(out);
		free(body);
	}
	assert_int_equal(state_writer_error(out), 0);
}

static void a_map_that_lies_is_refused(void **state)
{
	/* u32 max | present | parked; 0 and 1 are present. */
	static const struct {
		const char *section;
		int at;
		uint8_t value;
		const char *says;
	} lies[] = {
		{"cpus", 0, 5, "number of possible"},
		{"cpus", 3, 0x80, "number of possible"},
		{"cpus", 4, 2, "boot CPU is absent"},
		{"cpus", 4, 0x13, "past the last"},
		{"cpus", 4, 0x83, "past the last"},
		{"cpus", 5, 0x10, "past the last"},
		{"cpus", 5, 2, "both present and parked"},
		/* A vCPU more or less than there are sections. */
		{"cpus", 4, 7, "vcpu2 is missing"},
		{"cpus", 4, 1, "of a vCPU that is absent"},
		/* The registers have one that the map has not. */
		{"cpu-hotplug", 12 + 5 * 3, 1, "vCPU 3 is present"},
	};
	struct state_writer good, bad;
	struct error err;
	struct rig r;
	unsigned i;

	testing_need_kvm();
	rig_init(&r, "2,max=4", "");
	save(&r, &good);
	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		patch(&good, lies[i].section, lies[i].at, lies[i].value, &bad);
		assert_int_equal(
			vm_load(r.f.vm, bad.buf, bad.len, &err), -EPROTO);
		if (!strstr(err.text, lies[i].says))
			fail_msg("lie %u: %s", i, err.text);
		state_writer_fini(&bad);
	}
	if (vm_load(r.f.vm, good.buf, good.len, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(vm_cpus_present(r.f.vm), 2);
	state_writer_fini(&good);
	rig_fini(&r);
}

/* ---- throttle ---- */

static void a_throttled_vm_waits_at_the_gate_and_pauses_all_the_same(
	void **state)
{
	struct loop *loop;
	struct rig r;
	unsigned seen;

	testing_need_kvm();
	rig_init(&r, "2", "busy=1");
	loop = vm_loop(r.f.vm);
	assert_int_equal(vm_throttle(r.f.vm, 100), -EINVAL);
	assert_int_equal(vm_throttle_percent(r.f.vm), 0);
	assert_int_equal(vm_throttle(r.f.vm, 99), 0);
	assert_int_equal(vm_throttle_percent(r.f.vm), 99);
	vm_resume(r.f.vm);
	for (seen = 0; seen < 10; seen++) {
		/* At the gate though nothing holds it ... */
		while (atomic_load(&r.f.vm->gate.arrived) < 2)
			loop_poll(loop, false);
		assert_int_equal(atomic_load(&r.f.vm->gate.hold), 0);
		/* ... and let in again. */
		while (atomic_load(&r.f.vm->gate.arrived) == 2)
			loop_poll(loop, false);
	}
	vm_pause(r.f.vm);
	assert_int_equal(atomic_load(&r.f.vm->gate.arrived), 2);
	vm_throttle(r.f.vm, 0);
	until(&r, "max 2", 1);
	rig_fini(&r);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_plugged_vcpu_runs_code),
		T(an_ejected_vcpu_is_parked_and_its_fd_used_again),
		T(vcpus_there_from_the_start_can_go_and_come_back),
		T(precreated_fds_wait_parked),
		T(a_vcpu_plugged_while_paused_starts_when_it_runs),
		T(what_cannot_be_is_refused_and_nothing_is_tried),
		T(an_id_past_the_last_makes_no_ioctl),
		T(only_acpi_machines_can_grow),
		T(a_guest_that_refuses_is_reported_and_keeps_it),
		T(a_guest_that_never_ejects_is_a_timeout),
		T(one_at_a_time),
		T(a_vcpu_ejected_unasked_is_parked_all_the_same),
		T(a_reset_keeps_the_plugged_and_ends_what_was_asked),
		T(the_end_of_a_vm_ends_what_was_asked),
		T(vcpus_that_come_and_go_leave_nothing_behind),
		T(a_guest_brings_up_a_vcpu_again_and_again),
		T(a_used_vcpu_cannot_be_told_from_a_new_one),
		T(a_startup_interrupt_while_parked_starts_nobody),
		T(storms_of_plug_unplug_and_pause_end_well),
		T(a_load_makes_the_set_of_vcpus_that_of_the_state),
		T(what_the_guest_has_not_heard_it_hears_after_a_move),
		T(a_map_that_lies_is_refused),
		T(a_throttled_vm_waits_at_the_gate_and_pauses_all_the_same),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
