/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/check_native.c - see check_native.h.  A VM of five pages and one vCPU:
 * code, PML4, PDPT, PD, and nothing else; a 2 MiB page maps it all.
 */
#include "vmm/check_native.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/kvm.h"

#define PAGE	   4096u
#define GUEST_SIZE (4 * PAGE)
#define CODE_GPA   0u
#define PML4_GPA   (1 * PAGE)
#define PDPT_GPA   (2 * PAGE)
#define PD_GPA	   (3 * PAGE)

#define PTE_TABLE (1u | 2u)	    /* present, writable */
#define PTE_HUGE  (1u | 2u | 0x80u) /* and a 2 MiB page */
#define CR0_PE	  0x1u
#define CR0_ET	  0x10u
#define CR0_PG	  0x80000000u
#define CR4_PAE	  0x20u
#define EFER_LME  0x100u
#define EFER_LMA  0x400u

/* 500 turns take an interpreter about 0.3 ms; hardware is asked for more until
 * the loop lasts long against the cost of an exit. */
#define TURNS_FIRST	    500u
#define TURNS_LAST	    (1u << 23)
#define LONG_ENOUGH_NS	    500000
#define TRIES		    5u
#define INSTRUCTIONS_A_TURN 2u
#define EXIT_PORT	    0x10u

/* 1: dec %rcx; jnz 1b; out %al, $EXIT_PORT; jmp 1b */
static const uint8_t code[] = {
	0x48, 0xff, 0xc9, 0x75, 0xfb, 0xe6, EXIT_PORT, 0xeb, 0xf7};

struct scratch {
	const struct kvm *kvm; /* borrowed */
	int vm_fd, vcpu_fd;    /* owned, -1: none */
	uint8_t *ram;	       /* owned mapping, GUEST_SIZE bytes */
	struct kvm_run *run;   /* owned mapping, kvm->vcpu_bytes */
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void scratch_fini(struct scratch *s)
{
	if (s->run)
		munmap(s->run, s->kvm->vcpu_bytes);
	if (s->vcpu_fd >= 0)
		close(s->vcpu_fd);
	if (s->vm_fd >= 0)
		close(s->vm_fd);
	if (s->ram)
		munmap(s->ram, GUEST_SIZE);
}

static int add_ram(struct scratch *s, struct error *err)
{
	struct kvm_userspace_memory_region region = {.memory_size = GUEST_SIZE};
	uint64_t entry;
	void *ram;
	int ret;

	ram = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED)
		return error_errno(err, -errno, "scratch VM: mmap");
	s->ram = ram;
	memcpy(s->ram + CODE_GPA, code, sizeof(code));
	entry = PDPT_GPA | PTE_TABLE;
	memcpy(s->ram + PML4_GPA, &entry, sizeof(entry));
	entry = PD_GPA | PTE_TABLE;
	memcpy(s->ram + PDPT_GPA, &entry, sizeof(entry));
	entry = PTE_HUGE;
	memcpy(s->ram + PD_GPA, &entry, sizeof(entry));

	region.userspace_addr = (uintptr_t)s->ram;
	ret = kvm_ioctl(s->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
	if (ret < 0)
		return error_errno(
			err, ret, "scratch VM: KVM_SET_USER_MEMORY_REGION");
	return 0;
}

/* 64-bit code at CPL0, flat segments, the identity map of add_ram(). */
static int enter_long_mode(struct scratch *s, struct error *err)
{
	struct kvm_segment seg = {
		.limit = 0xffffffff, .present = 1, .s = 1, .g = 1};
	struct kvm_sregs sregs;
	int ret;

	ret = kvm_ioctl(s->vcpu_fd, KVM_GET_SREGS, &sregs);
	if (ret < 0)
		return error_errno(err, ret, "scratch VM: KVM_GET_SREGS");
	seg.selector = 0x10;
	seg.type = 3; /* data, writable, accessed */
	seg.db = 1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = seg;
	seg.selector = 0x8;
	seg.type = 11; /* code, readable, accessed */
	seg.db = 0;
	seg.l = 1;
	sregs.cs = seg;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
	sregs.cr3 = PML4_GPA;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	ret = kvm_ioctl(s->vcpu_fd, KVM_SET_SREGS, &sregs);
	if (ret < 0)
		return error_errno(err, ret, "scratch VM: KVM_SET_SREGS");
	return 0;
}

static int scratch_init(
	struct scratch *s, const struct kvm *kvm, struct error *err)
{
	void *run;
	int ret;

	*s = (struct scratch){.kvm = kvm, .vm_fd = -1, .vcpu_fd = -1};
	ret = kvm_ioctl_num(kvm->fd, KVM_CREATE_VM, 0);
	if (ret < 0)
		return error_errno(err, ret, "scratch VM: KVM_CREATE_VM");
	s->vm_fd = ret;
	ret = add_ram(s, err);
	if (ret < 0)
		return ret;
	ret = kvm_ioctl_num(s->vm_fd, KVM_CREATE_VCPU, 0);
	if (ret < 0)
		return error_errno(err, ret, "scratch VM: KVM_CREATE_VCPU");
	s->vcpu_fd = ret;
	run = mmap(NULL, kvm->vcpu_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		s->vcpu_fd, 0);
	if (run == MAP_FAILED)
		return error_errno(err, -errno, "scratch VM: mmap of the vCPU");
	s->run = run;
	return enter_long_mode(s, err);
}

/* Let the guest count @turns down.  0 with the time it took, or -errno. */
static int count_down(
	struct scratch *s, uint64_t turns, int64_t *ret_ns, struct error *err)
{
	struct kvm_regs regs = {.rcx = turns, .rip = CODE_GPA, .rflags = 2};
	int64_t start;
	int ret;

	ret = kvm_ioctl(s->vcpu_fd, KVM_SET_REGS, &regs);
	if (ret < 0)
		return error_errno(err, ret, "scratch VM: KVM_SET_REGS");
	start = now_ns();
	do
		ret = ioctl(s->vcpu_fd, KVM_RUN, 0);
	while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return error_errno(err, -errno, "scratch VM: KVM_RUN");
	*ret_ns = now_ns() - start;
	if (s->run->exit_reason != KVM_EXIT_IO || s->run->io.port != EXIT_PORT)
		return error_set(err, -EIO,
			"scratch VM: a loop of three instructions ended with "
			"exit reason %u",
			s->run->exit_reason);
	return 0;
}

/* Instructions a microsecond at CPL0, once. */
static int measure_once(struct scratch *s, int64_t overhead_ns,
	double *ret_speed, struct error *err)
{
	uint64_t turns = TURNS_FIRST;
	int64_t ns;
	int ret;

	for (;;) {
		ret = count_down(s, turns, &ns, err);
		if (ret < 0)
			return ret;
		if (ns >= LONG_ENOUGH_NS || turns >= TURNS_LAST)
			break;
		/* Near the goal already: an interpreter would need long. */
		turns *= ns >= LONG_ENOUGH_NS / 4 ? 2 : 8;
	}
	if (ns > overhead_ns)
		ns -= overhead_ns;
	*ret_speed =
		(double)(turns * INSTRUCTIONS_A_TURN) * 1000.0 / (double)ns;
	return 0;
}

static int measure_speed(
	struct scratch *s, struct check_native *native, struct error *err)
{
	int64_t ns, overhead_ns;
	unsigned i;
	double speed;
	int ret;

	/* The first entry faults the pages in; the second is the bare cost. */
	ret = count_down(s, 1, &ns, err);
	if (ret == 0)
		ret = count_down(s, 1, &overhead_ns, err);
	if (ret < 0)
		return ret;
	native->userspace_exit_ns = (int32_t)overhead_ns;
	/* Being scheduled away looks like interpretation, but not each time:
	 * the best of a few counts. */
	for (i = 0; i < TRIES && !native->native; i++) {
		ret = measure_once(s, overhead_ns, &speed, err);
		if (ret < 0)
			return ret;
		if (speed > native->instructions_per_us)
			native->instructions_per_us = speed;
		native->native =
			native->instructions_per_us >= CHECK_NATIVE_MIN;
	}
	return 0;
}

int check_native_measure(const struct kvm *kvm, struct check_native *ret_native,
	struct error *err)
{
	struct check_native native = {.native = false};
	struct kvm_clock_data clock = {.clock = 0};
	struct scratch s;
	int ret;

	ret = scratch_init(&s, kvm, err);
	if (ret == 0)
		ret = measure_speed(&s, &native, err);
	if (ret == 0) {
		ret = kvm_ioctl_num(s.vcpu_fd, KVM_GET_TSC_KHZ, 0);
		native.tsc_khz = ret > 0 ? (uint32_t)ret : 0;
		ret = kvm_ioctl(s.vm_fd, KVM_GET_CLOCK, &clock);
		native.clock_stable =
			ret == 0 && clock.flags & KVM_CLOCK_TSC_STABLE;
		*ret_native = native;
		ret = 0;
	}
	scratch_fini(&s);
	return ret;
}
