/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/start/floor.c - the least a program can do to run a PVH guest.
 *
 *   floor [-i] KERNEL [CMDLINE]
 *
 * Raw system calls in a straight line, no checks beyond "did it work": what a
 * VMM cannot beat, and so what godwit is compared with.  -i adds the in-kernel
 * interrupt controllers, which godwit always has.  Knows COM1's data and line
 * status, port 0x600 (sleep) and port 0xf4 (debug exit).
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAM_BYTES   (256ull << 20)
#define START_INFO  0x6000u
#define CMDLINE_GPA 0x7000u
#define PVH_MAGIC   0x336ec578u
#define PVH_NOTE    18u
#define CPUID_MAX   256u

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t modlist, cmdline, rsdp;
	uint64_t memmap;
	uint32_t memmap_entries, reserved;
};

static uint8_t *ram;

static void must(int ok, const char *what)
{
	if (ok)
		return;
	if (write(2, what, strlen(what)) < 0 || write(2, "\n", 1) < 0)
		_exit(3);
	_exit(2);
}

/* Load PT_LOAD segments; the entry comes from the Xen note. */
static uint32_t load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t entry = 0, note[3];
	const Elf64_Phdr *phdr;
	const Elf64_Ehdr *ehdr;
	const uint8_t *file, *p, *end;
	struct stat st;
	unsigned i;

	must(fd >= 0 && fstat(fd, &st) == 0, "kernel");
	file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	must(file != MAP_FAILED, "mmap kernel");
	ehdr = (const void *)file;
	phdr = (const void *)(file + ehdr->e_phoff);
	for (i = 0; i < ehdr->e_phnum; i++, phdr++) {
		p = file + phdr->p_offset;
		end = p + phdr->p_filesz;
		if (phdr->p_type == PT_LOAD)
			memcpy(ram + phdr->p_paddr, p, phdr->p_filesz);
		if (phdr->p_type != PT_NOTE)
			continue;
		while (p + sizeof(note) <= end) {
			memcpy(note, p, sizeof(note));
			p += sizeof(note) + ((note[0] + 3) & ~3u);
			if (note[2] == PVH_NOTE)
				memcpy(&entry, p, sizeof(entry));
			p += (note[1] + 3) & ~3u;
		}
	}
	must(entry != 0, "no PVH note");
	return entry;
}

static void describe(const char *cmdline)
{
	struct start_info info = {
		.magic = PVH_MAGIC, .version = 0, .cmdline = CMDLINE_GPA};

	memcpy(ram + START_INFO, &info, sizeof(info));
	memcpy(ram + CMDLINE_GPA, cmdline, strlen(cmdline) + 1);
}

static void set_registers(int vcpu, uint32_t entry)
{
	struct kvm_regs regs = {.rip = entry, .rbx = START_INFO, .rflags = 2};
	struct kvm_segment seg = {.limit = 0xffffffff,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = 1,
		.type = 3,
		.selector = 0x10};
	struct kvm_sregs sregs;

	must(ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = seg;
	seg.type = 11;
	seg.selector = 8;
	sregs.cs = seg;
	sregs.cr0 = 0x11;
	must(ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

static void set_cpuid(int kvm, int vcpu)
{
	static uint64_t
		room[(sizeof(struct kvm_cpuid2) +
			     CPUID_MAX * sizeof(struct kvm_cpuid_entry2)) /
				sizeof(uint64_t) +
			1];
	struct kvm_cpuid2 *cpuid = (void *)room;

	cpuid->nent = CPUID_MAX;
	must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) == 0, "cpuid");
	must(ioctl(vcpu, KVM_SET_CPUID2, cpuid) == 0, "KVM_SET_CPUID2");
}

static void handle_io(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	size_t len = (size_t)run->io.size * run->io.count;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		memset(data, 0xff, len);
		if (run->io.port == 0x3fd)
			*data = 0x60; /* transmitter empty */
	} else if (run->io.port == 0x3f8) {
		must(write(1, data, len) == (ssize_t)len, "stdout");
	} else if (run->io.port == 0xf4) {
		_exit((*data << 1 | 1) & 0xff);
	} else if (run->io.port == 0x600) {
		_exit(0);
	}
}

int main(int argc, char **argv)
{
	struct kvm_userspace_memory_region region = {.memory_size = RAM_BYTES};
	int irqchip = argc > 1 && strcmp(argv[1], "-i") == 0;
	int kvm, vm, vcpu, bytes;
	struct kvm_run *run;
	uint32_t entry;

	argc -= irqchip;
	argv += irqchip;
	must(argc > 1, "usage: floor [-i] KERNEL [CMDLINE]");
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	must(kvm >= 0, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(vm >= 0, "KVM_CREATE_VM");
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(ram != MAP_FAILED, "RAM");
	region.userspace_addr = (uintptr_t)ram;
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "slot");
	if (irqchip)
		must(ioctl(vm, KVM_CREATE_IRQCHIP, 0) == 0, "irqchip");
	entry = load(argv[1]);
	describe(argc > 2 ? argv[2] : "");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	must(vcpu >= 0, "KVM_CREATE_VCPU");
	bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		vcpu, 0);
	must(run != MAP_FAILED, "mmap vcpu");
	set_cpuid(kvm, vcpu);
	set_registers(vcpu, entry);
	for (;;) {
		must(ioctl(vcpu, KVM_RUN, 0) == 0, "KVM_RUN");
		if (run->exit_reason == KVM_EXIT_IO)
			handle_io(run);
		else
			must(run->exit_reason == KVM_EXIT_MMIO, "crash");
	}
}
