/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/migrate/floor.c - the least a remote page fault can cost: one vCPU by
 * raw ioctls reads missing pages in random order, one thread answers its
 * userfaultfd by asking another process over loopback TCP.
 *
 *   floor tsc                       kHz of the time stamp counter
 *   floor user|kernel PAGES         quantiles in ns, as kernels/touch prints
 *   floor send MIB                  bytes/s of memory to memory over TCP
 *   floor warm MIB                  touches so much memory and gives it back: a
 *                                   host that is a VM itself may have to ask
 *                                   its own host for memory, page by page
 *
 * Everything on one CPU, which is the fastest placement; no checks beyond "did
 * it work".  The vCPU starts in long mode at CPL 0 or 3 and times each read by
 * its own TSC.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE	  4096u
#define LOW_BYTES (4u << 20) /* tables, code, lists: there from the start */
#define PML4	  0x1000u
#define PDPT	  0x2000u
#define PD	  0x3000u
#define CODE	  0x8000u
#define LIST	  0x100000u
#define SAMPLES	  0x200000u
#define PAGES_MAX 65536u
#define TABLE	  7u /* present, writable, user */
#define BIG	  0x87u

/* rdi: page addresses, rsi: samples, rcx: count. */
__asm__(".pushsection .rodata\n"
	"guest_code:\n"
	"1: mov (%rdi), %rbx\n"
	"   rdtsc\n"
	"   shl $32, %rdx\n"
	"   or %rdx, %rax\n"
	"   mov %rax, %r8\n"
	"   mov (%rbx), %r9\n"
	"   rdtsc\n"
	"   shl $32, %rdx\n"
	"   or %rdx, %rax\n"
	"   sub %r8, %rax\n"
	"   mov %rax, (%rsi)\n"
	"   add $8, %rdi\n"
	"   add $8, %rsi\n"
	"   dec %rcx\n"
	"   jnz 1b\n"
	"   hlt\n"
	"guest_code_end:\n"
	".popsection\n");
extern const uint8_t guest_code[], guest_code_end[];

static uint8_t *ram;
static uint64_t pages;
static int uffd, conn;

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

/* Of several short measurements the one with the least between its two looks at
 * either clock. */
static uint64_t tsc_khz(void)
{
	uint64_t t0 = now_ns(), c0 = tsc(), t1, c1;

	do {
		c1 = tsc();
		t1 = now_ns();
	} while (t1 - t0 < 200000000);
	return (uint64_t)((double)(c1 - c0) * 1e6 / (double)(t1 - t0));
}

/* ---- the two ends of a TCP connection ---- */

static void connect_pair(int *ret_a, int *ret_b)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(sa);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	must(listener >= 0, "socket");
	must(bind(listener, (struct sockaddr *)&sa, sizeof(sa)) == 0, "bind");
	must(listen(listener, 1) == 0, "listen");
	must(getsockname(listener, (struct sockaddr *)&sa, &len) == 0, "name");
	*ret_a = socket(AF_INET, SOCK_STREAM, 0);
	must(connect(*ret_a, (struct sockaddr *)&sa, len) == 0, "connect");
	*ret_b = accept(listener, NULL, NULL);
	must(*ret_b >= 0, "accept");
	setsockopt(*ret_a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*ret_b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
}

static void read_all(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;
	ssize_t n;

	for (; len > 0; len -= (size_t)n, p += n) {
		n = read(fd, p, len);
		must(n > 0, "read");
	}
}

/* 16 bytes ask, a page answers. */
static void serve(int fd)
{
	uint8_t page[PAGE], ask[16];
	ssize_t n;

	memset(page, 0x5a, sizeof(page));
	for (;;) {
		n = read(fd, ask, sizeof(ask));
		if (n == 0)
			_exit(0);
		must(n == sizeof(ask), "request");
		must(write(fd, page, PAGE) == PAGE, "answer");
	}
}

/* ---- faults ---- */

static void *answer_faults(void *unused)
{
	uint8_t page[PAGE], ask[16] = {0};
	struct uffdio_copy copy;
	struct uffd_msg msg;

	for (;;) {
		if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			return NULL;
		must(write(conn, ask, sizeof(ask)) == sizeof(ask), "ask");
		read_all(conn, page, sizeof(page));
		copy = (struct uffdio_copy){
			.dst = msg.arg.pagefault.address &
			       ~(uint64_t)(PAGE - 1),
			.src = (uintptr_t)page,
			.len = PAGE,
		};
		must(ioctl(uffd, UFFDIO_COPY, &copy) == 0 || errno == EEXIST,
			"UFFDIO_COPY");
	}
}

static void watch_pages(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {
		.range = {(uintptr_t)ram + LOW_BYTES, pages * PAGE},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (dev >= 0)
		uffd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC);
	else
		uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	must(uffd >= 0, "userfaultfd");
	must(ioctl(uffd, UFFDIO_API, &api) == 0, "UFFDIO_API");
	must(ioctl(uffd, UFFDIO_REGISTER, &reg) == 0, "UFFDIO_REGISTER");
}

static void fill_guest(void)
{
	uint64_t *list = (uint64_t *)(ram + LIST), i, j, t;
	uint64_t *pd = (uint64_t *)(ram + PD);

	*(uint64_t *)(ram + PML4) = PDPT | TABLE;
	*(uint64_t *)(ram + PDPT) = PD | TABLE;
	for (i = 0; i < 512; i++)
		pd[i] = i << 21 | BIG;
	memcpy(ram + CODE, guest_code, (size_t)(guest_code_end - guest_code));
	for (i = 0; i < pages; i++)
		list[i] = LOW_BYTES + i * PAGE;
	srandom(1);
	for (i = pages - 1; i > 0; i--) {
		j = (uint64_t)random() % (i + 1);
		t = list[i];
		list[i] = list[j];
		list[j] = t;
	}
	memset(ram + SAMPLES, 0, pages * 8);
}

static void set_registers(int vcpu, unsigned cpl)
{
	struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = (uint16_t)(0x10 | cpl),
		.type = 11,
		.present = 1,
		.dpl = (uint8_t)cpl,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_segment data = code;
	struct kvm_regs regs = {
		.rip = CODE,
		.rflags = 2,
		.rdi = LIST,
		.rsi = SAMPLES,
		.rcx = pages,
		.rsp = CODE,
	};
	struct kvm_sregs s;

	data.selector = (uint16_t)(0x18 | cpl);
	data.type = 3;
	data.l = 0;
	data.db = 1;
	must(ioctl(vcpu, KVM_GET_SREGS, &s) == 0, "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr3 = PML4;
	s.cr4 = 0x20;
	s.cr0 = 0x80000011;
	s.efer = 0x500;
	s.idt.limit = 0;
	must(ioctl(vcpu, KVM_SET_SREGS, &s) == 0, "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

static void set_cpuid(int kvm, int vcpu)
{
	struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c) == 0, "supported CPUID");
	must(ioctl(vcpu, KVM_SET_CPUID2, c) == 0, "KVM_SET_CPUID2");
	free(c);
}

static void run_guest(unsigned cpl)
{
	struct kvm_userspace_memory_region slot = {
		.memory_size = LOW_BYTES + pages * PAGE,
		.userspace_addr = (uintptr_t)ram,
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;
	struct kvm_run *run;
	int size;

	must(kvm >= 0, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(vm >= 0, "KVM_CREATE_VM");
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, "slot");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	must(vcpu >= 0, "KVM_CREATE_VCPU");
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu,
		0);
	must(run != MAP_FAILED, "mmap vCPU");
	set_cpuid(kvm, vcpu);
	set_registers(vcpu, cpl);
	must(ioctl(vcpu, KVM_RUN, 0) == 0, "KVM_RUN");
	/* At CPL 3 the hlt is a fault that nobody handles. */
	must(run->exit_reason == KVM_EXIT_HLT ||
			run->exit_reason == KVM_EXIT_SHUTDOWN,
		"the guest did not come to its end");
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_samples(uint64_t khz)
{
	static const unsigned quantiles[] = {100, 500, 1000, 2000, 3000, 4000,
		5000, 6000, 7000, 8000, 9000, 9500, 9800, 9900, 9950, 9990,
		10000};
	uint64_t *sample = (uint64_t *)(ram + SAMPLES), at;
	unsigned i;

	must(sample[pages - 1] != 0, "the guest did not touch every page");
	qsort(sample, pages, sizeof(*sample), by_value);
	for (i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		at = (pages * quantiles[i] + 9999) / 10000;
		printf("floor: quantile %u ns %.0f\n", quantiles[i],
			(double)sample[at - 1] * 1e6 / (double)khz);
	}
}

static void one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	must(sched_setaffinity(0, sizeof(set), &set) == 0, "affinity");
}

static void faults(unsigned cpl)
{
	uint64_t khz = tsc_khz();
	pthread_t thread;
	int peer, fd;

	one_cpu();
	connect_pair(&conn, &peer);
	if (fork() == 0) {
		close(conn);
		serve(peer);
	}
	close(peer);
	fd = memfd_create("floor", MFD_CLOEXEC);
	must(fd >= 0 && ftruncate(fd, (off_t)(LOW_BYTES + pages * PAGE)) == 0,
		"memory");
	ram = mmap(NULL, LOW_BYTES + pages * PAGE, PROT_READ | PROT_WRITE,
		MAP_SHARED, fd, 0);
	must(ram != MAP_FAILED, "mmap");
	fill_guest();
	watch_pages();
	must(pthread_create(&thread, NULL, answer_faults, NULL) == 0, "thread");
	run_guest(cpl);
	print_samples(khz);
	shutdown(conn, SHUT_RDWR);
	wait(NULL);
}

/* ---- bulk ---- */

#define FRAME (256u * PAGE)

/* Each frame a header and 256 pages, from memory that is there to memory that
 * is there. */
static void bulk(uint64_t mib)
{
	uint64_t bytes = mib << 20, at, begin;
	uint8_t header[64] = {0}, *mem;
	int peer, size = 4 << 20;
	struct iovec iov[2];

	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(mem != MAP_FAILED, "mmap");
	memset(mem, 0x5a, bytes);
	connect_pair(&conn, &peer);
	setsockopt(conn, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (fork() == 0) {
		close(conn);
		memset(mem, 1, bytes);
		must(write(peer, "r", 1) == 1, "ready");
		for (at = 0; at < bytes; at += FRAME) {
			read_all(peer, header, sizeof(header));
			read_all(peer, mem + at, FRAME);
		}
		must(write(peer, "d", 1) == 1, "done");
		_exit(0);
	}
	close(peer);
	read_all(conn, header, 1);
	begin = now_ns();
	for (at = 0; at < bytes; at += FRAME) {
		size_t left = sizeof(header) + FRAME;
		ssize_t n;

		iov[0] = (struct iovec){header, sizeof(header)};
		iov[1] = (struct iovec){mem + at, FRAME};
		n = writev(conn, iov, 2);
		must(n == (ssize_t)left, "writev");
	}
	read_all(conn, header, 1);
	printf("floor: bytes/s %.0f\n",
		(double)bytes * 1e9 / (double)(now_ns() - begin));
	wait(NULL);
}

static void warm(uint64_t mib)
{
	uint64_t i, bytes = mib << 20;
	uint8_t *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(mem != MAP_FAILED, "mmap");
	madvise(mem, bytes, MADV_HUGEPAGE);
	for (i = 0; i < bytes; i += PAGE)
		mem[i] = 1;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "tsc") == 0) {
		printf("%llu\n", (unsigned long long)tsc_khz());
		return 0;
	}
	must(argc == 3, "usage: floor tsc | user PAGES | kernel PAGES | "
			"send MIB | warm MIB");
	pages = strtoull(argv[2], NULL, 10);
	if (strcmp(argv[1], "warm") == 0) {
		warm(pages);
		return 0;
	}
	if (strcmp(argv[1], "send") == 0) {
		bulk(pages);
		return 0;
	}
	must(pages > 0 && pages <= PAGES_MAX, "PAGES: 1 to 65536");
	faults(strcmp(argv[1], "user") == 0 ? 3 : 0);
	return 0;
}
