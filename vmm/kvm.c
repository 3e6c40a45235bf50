/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/kvm.c - see kvm.h.  Opens, asks and checks; creates no VM.
 */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/error.h"

#define KVM_DEVICE "/dev/kvm"
/* A kvm_run mapping is a few pages, and a few more with a dirty ring. */
#define VCPU_BYTES_MAX (1 << 20)

#define NEED(n, min, text, without)                                            \
	[KVM_HAS_##n] = {KVM_CAP_##n, #n, min, true, text, without}
#define WANT(n, min, text, without)                                            \
	[KVM_HAS_##n] = {KVM_CAP_##n, #n, min, false, text, without}
/* For numbers whose KVM name is long: the table name stays KVM's own. */
#define WANT_AS(n, cap, min, text, without)                                    \
	[KVM_HAS_##n] = {KVM_CAP_##cap, #cap, min, false, text, without}

#define NO_GUEST "no guest can run"

static const struct kvm_cap table[KVM_CAPS_COUNT] = {
	NEED(USER_MEMORY, 1, "guest RAM is memory of this process", NO_GUEST),
	NEED(IRQCHIP, 1, "local APICs and the IOAPIC live in the kernel",
		NO_GUEST),
	NEED(IRQFD, 1, "devices interrupt the guest through an eventfd",
		NO_GUEST),
	NEED(IOEVENTFD, 1, "a virtqueue kick reaches the loop without an exit",
		NO_GUEST),
	NEED(IMMEDIATE_EXIT, 1, "a kick just before KVM_RUN is not lost",
		NO_GUEST),
	NEED(EXT_CPUID, 1, "the CPU is described to the guest", NO_GUEST),
	NEED(MP_STATE, 1, "secondary CPUs wait for their start-up interrupt",
		NO_GUEST),
	NEED(VCPU_EVENTS, 1, "pending interrupts and exceptions are saved",
		NO_GUEST),
	NEED(DEBUGREGS, 1, "debug registers are saved and reset", NO_GUEST),
	NEED(XSAVE, 1, "floating point and vector state is saved", NO_GUEST),
	NEED(XCRS, 1, "XCR0 is saved with the vector state", NO_GUEST),
	NEED(ADJUST_CLOCK, 1, "kvmclock stops while the VM is paused",
		NO_GUEST),
	NEED(SET_TSS_ADDR, 1, "Intel CPUs need three pages for real mode",
		NO_GUEST),
	NEED(SET_IDENTITY_MAP_ADDR, 1,
		"Intel CPUs need a page for unpaged guest code", NO_GUEST),
	NEED(NR_MEMSLOTS, 2, "RAM has a part below 3 GiB and one above 4 GiB",
		NO_GUEST),

	WANT(NR_VCPUS, 1, "how many vCPUs this host advises",
		"4 are taken to be advisable"),
	WANT(MAX_VCPUS, 1, "how many vCPUs a VM may have",
		"the advised number is the limit"),
	WANT(MAX_VCPU_ID, 1, "which vCPU ids exist",
		"ids are limited to the number of vCPUs"),
	WANT(XSAVE2, 1, "vector state beyond 4 KiB (AMX) is saved",
		"guests see no AMX"),
	WANT(GET_TSC_KHZ, 1, "the guest is told its TSC frequency",
		"the guest calibrates its TSC by itself at boot"),
	WANT(TSC_CONTROL, 1, "the TSC keeps its rate across a move",
		"moves between hosts of unlike TSC rates change its rate"),
	WANT(VCPU_ATTRIBUTES, 1, "TSC offsets are kept exactly",
		"TSCs of vCPUs may differ slightly after a restore"),
	WANT(TSC_DEADLINE_TIMER, 1, "the guest's cheapest timer",
		"guests use the one-shot APIC timer, which is slower"),
	WANT(KVMCLOCK_CTRL, 1, "the guest's watchdog is told of a pause",
		"soft-lockup warnings in the guest after a long pause"),
	WANT(X2APIC_API, 1, "APIC ids above 254", "at most 255 vCPUs"),
	WANT(SYNC_REGS, KVM_SYNC_X86_VALID_FIELDS,
		"registers travel in the kvm_run page, not by ioctls",
		"a move stands still a little longer for each vCPU"),
	WANT(SREGS2, 1, "a 32-bit PAE guest's page directory travels with it",
		"it is read from guest memory, which a postcopy must fetch"),
	WANT(NESTED_STATE, 1, "a guest that runs guests of its own can move",
		"such a guest cannot be saved"),
	WANT(SYNC_MMU, 1, "guest pages can be taken away and served on demand",
		"no balloon, no postcopy, no lazy restore"),
	WANT_AS(DIRTY_LOG_PROTECT2, MANUAL_DIRTY_LOG_PROTECT2, 1,
		"dirty pages are write-protected piece by piece",
		"longer stalls at each pass of a live migration"),
	WANT_AS(DIRTY_RING, DIRTY_LOG_RING, 4096,
		"dirty pages arrive as a list",
		"migration scans bitmaps instead"),
	WANT(GET_MSR_FEATURES, 1, "which MSR-based CPU features exist",
		"guests see KVM's defaults"),
	WANT(EXCEPTION_PAYLOAD, 1, "a pending page fault keeps its address",
		"a page fault pending at a move may be delivered wrongly"),
	WANT_AS(TRIPLE_FAULT_EVENT, X86_TRIPLE_FAULT_EVENT, 1,
		"a pending triple fault is saved",
		"a guest that crashes while it moves may hang instead"),
	WANT_AS(EMULATION_FAILURE_EXIT, EXIT_ON_EMULATION_FAILURE, 1,
		"crash reports name the instruction KVM could not run",
		"crash reports read it from guest memory"),
	WANT(INTERNAL_ERROR_DATA, 1, "crash reports say why KVM gave up",
		"crash reports lack KVM's reason"),
};

const struct kvm_cap *kvm_cap_table(void)
{
	return table;
}

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

int kvm_ioctl_num(int fd, unsigned long request, unsigned long arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

static int open_failed(const char *path, int code, struct error *err)
{
	const char *remedy;
	char why[128];

	switch (-code) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		remedy = "load kvm_intel or kvm_amd, or enable virtualisation "
			 "in the firmware";
		break;
	case EACCES:
	case EPERM:
		remedy = "add the user to group kvm, or run as root";
		break;
	case EMFILE:
		remedy = "raise the limit: ulimit -n 256";
		break;
	case EBUSY:
		remedy = "another hypervisor holds the CPU: stop it";
		break;
	default:
		remedy = "see `godwit check`";
		break;
	}
	return error_set(err, code, "%s: open: %s (%s)", path,
		strerror_r(-code, why, sizeof(why)), remedy);
}

int kvm_open_path(const char *path, struct kvm *ret_kvm, struct error *err)
{
	int fd, ret;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return open_failed(path, -errno, err);
	ret = kvm_ioctl_num(fd, KVM_GET_API_VERSION, 0);
	if (ret < 0) {
		ret = error_set(err, ret,
			"%s: this is not KVM (it refuses KVM_GET_API_VERSION; "
			"recreate the node: mknod /dev/kvm c 10 232)",
			path);
		goto fail;
	}
	if (ret != KVM_API_VERSION) {
		ret = error_set(err, -ENOTSUP,
			"%s: API version %d, %d is needed (use Linux 5.10 or "
			"later)",
			path, ret, KVM_API_VERSION);
		goto fail;
	}
	ret = kvm_ioctl_num(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret >= 0 && (ret < 4096 || ret > VCPU_BYTES_MAX))
		ret = -EPROTO;
	if (ret < 0) {
		error_errno(err, ret, "%s: KVM_GET_VCPU_MMAP_SIZE", path);
		goto fail;
	}
	*ret_kvm = (struct kvm){.fd = fd, .vcpu_bytes = (uint32_t)ret};
	return 0;
fail:
	close(fd);
	return ret;
}

int kvm_open(struct kvm *ret_kvm, struct error *err)
{
	return kvm_open_path(KVM_DEVICE, ret_kvm, err);
}

void kvm_close(struct kvm *kvm)
{
	if (kvm->fd >= 0)
		close(kvm->fd);
	kvm->fd = -1;
}

void kvm_close_vm(int fd)
{
	struct io_uring_params params;
	int ring;

	memset(&params, 0, sizeof(params));
	ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	/* Should this fail, the close() below is simply the last one. */
	if (ring >= 0)
		syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &fd,
			1);
	close(fd);
	if (ring >= 0)
		close(ring);
}

bool kvm_caps_has(const struct kvm_caps *caps, enum kvm_cap_index index)
{
	return caps->value[index] >= table[index].minimum;
}

/* The defaults are those of api.rst where a capability is absent. */
static void derive_limits(struct kvm_caps *caps)
{
	int32_t advised = caps->value[KVM_HAS_NR_VCPUS];
	int32_t max = caps->value[KVM_HAS_MAX_VCPUS];
	int32_t id = caps->value[KVM_HAS_MAX_VCPU_ID];

	if (advised <= 0)
		advised = 4;
	if (max <= 0)
		max = advised;
	if (id <= 0)
		id = max;
	caps->vcpus_advised = (uint32_t)advised;
	caps->vcpus_max = (uint32_t)max;
	caps->vcpu_id_max = (uint32_t)id;
	if (caps->value[KVM_HAS_NR_MEMSLOTS] > 0)
		caps->memslots_max = (uint32_t)caps->value[KVM_HAS_NR_MEMSLOTS];
}

int kvm_caps_check(int fd, struct kvm_caps *ret_caps, struct error *err)
{
	struct kvm_caps caps = {0};
	unsigned i;
	int ret;

	for (i = 0; i < KVM_CAPS_COUNT; i++) {
		ret = kvm_ioctl_num(fd, KVM_CHECK_EXTENSION, table[i].number);
		if (ret < 0)
			return error_errno(err, ret,
				"KVM_CHECK_EXTENSION of KVM_CAP_%s",
				table[i].name);
		caps.value[i] = ret;
	}
	derive_limits(&caps);
	*ret_caps = caps;
	return kvm_caps_missing(&caps, err);
}

int kvm_caps_missing(const struct kvm_caps *caps, struct error *err)
{
	unsigned i;

	for (i = 0; i < KVM_CAPS_COUNT; i++)
		if (table[i].required && !kvm_caps_has(caps, i))
			return error_set(err, -ENOTSUP,
				"this KVM lacks KVM_CAP_%s (has %d, needs %d): "
				"%s (use Linux 5.10 or later)",
				table[i].name, caps->value[i], table[i].minimum,
				table[i].why);
	return 0;
}

int kvm_caps_check_vcpus(
	const struct kvm_caps *caps, unsigned count, struct error *err)
{
	if (count == 0)
		return error_set(err, -EINVAL,
			"--cpus 0: a VM needs a vCPU (give 1 to %u)",
			caps->vcpus_max);
	if (count > caps->vcpus_max)
		return error_set(err, -EINVAL,
			"--cpus %u: this KVM takes %u vCPUs a VM (give 1 to "
			"%u)",
			count, caps->vcpus_max, caps->vcpus_max);
	if (count > caps->vcpu_id_max)
		return error_set(err, -EINVAL,
			"--cpus %u: vCPU id %u is too high, this KVM's ids end "
			"at %u (give 1 to %u)",
			count, count - 1, caps->vcpu_id_max - 1,
			caps->vcpu_id_max);
	return 0;
}
