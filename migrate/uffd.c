/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/uffd.c - see uffd.h.  Keeps no state; any thread.
 *
 * A descriptor for faults of user mode alone would be had without privileges,
 * but KVM touches guest RAM from the kernel: such a fault would be an EFAULT of
 * KVM_RUN.
 */
#include "migrate/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/error.h"

#define DEVICE "/dev/userfaultfd"

static int open_device(void)
{
	int dev, fd, code;

	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -errno;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	code = fd < 0 ? -errno : fd;
	close(dev);
	return code;
}

static int refused(int device, int call, struct error *err)
{
	if (call == -ENOSYS)
		return error_set(err, call,
			"userfaultfd: this kernel has none (it wants "
			"CONFIG_USERFAULTFD)");
	if (call == -EPERM && device == -EACCES)
		return error_set(err, call,
			"userfaultfd: not permitted (run as root, or give this "
			"user " DEVICE " with chown or chmod, or set sysctl "
			"vm.unprivileged_userfaultfd=1)");
	if (call == -EPERM)
		return error_set(err, call,
			"userfaultfd: not permitted, and no " DEVICE " (run "
			"as root, or set sysctl "
			"vm.unprivileged_userfaultfd=1)");
	return error_errno(err, call, "userfaultfd: open");
}

int uffd_open(uint64_t features, struct error *err)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd, device, code;

	device = fd = open_device();
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return refused(device, -errno, err);
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	code = -errno;
	close(fd);
	return error_errno(err, code,
		"userfaultfd: this kernel lacks a feature of 0x%" PRIx64
		" (Linux 4.14 has all that is needed)",
		features);
}

int uffd_register(int fd, void *base, uint64_t len, struct error *err)
{
	const uint64_t need = 1ull << _UFFDIO_COPY | 1ull << _UFFDIO_ZEROPAGE |
			      1ull << _UFFDIO_WAKE;
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)base, .len = len},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		return error_errno(err, -errno,
			"userfaultfd: register %" PRIu64 " KiB of guest RAM",
			len >> 10);
	if ((reg.ioctls & need) == need)
		return 0;
	uffd_unregister(fd, base, len);
	return error_set(err, -EOPNOTSUPP,
		"userfaultfd: this memory cannot be filled page by page (use "
		"anonymous memory or a memfd of 4 KiB pages)");
}

int uffd_unregister(int fd, void *base, uint64_t len)
{
	struct uffdio_range range = {.start = (uintptr_t)base, .len = len};
	int code = ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;

	/* The kernel wakes who waits, and only then locks out who is about to:
	 * since Linux 6.7 a fault is handled under its VMA's lock alone, and
	 * may begin to wait in between. */
	uffd_wake(fd, base, len);
	return code;
}

/* Both ioctls tell in their last field how far they came, or why not. */
static int result(int ret, int64_t done, uint64_t *ret_done)
{
	int code = ret < 0 ? -errno : 0;

	*ret_done = done > 0 ? (uint64_t)done : 0;
	return code;
}

int uffd_copy(
	int fd, void *dst, const void *src, uint64_t len, uint64_t *ret_done)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = UFFDIO_COPY_MODE_DONTWAKE,
	};
	int ret = ioctl(fd, UFFDIO_COPY, &copy);

	return result(ret, copy.copy, ret_done);
}

int uffd_zero(int fd, void *dst, uint64_t len, uint64_t *ret_done)
{
	struct uffdio_zeropage zero = {
		.range = {.start = (uintptr_t)dst, .len = len},
		.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE,
	};
	int ret = ioctl(fd, UFFDIO_ZEROPAGE, &zero);

	return result(ret, zero.zeropage, ret_done);
}

void uffd_wake(int fd, void *base, uint64_t len)
{
	struct uffdio_range range = {.start = (uintptr_t)base, .len = len};

	/* Finds who waits, registered or not; a good range cannot fail. */
	ioctl(fd, UFFDIO_WAKE, &range);
}

int uffd_read(int fd, struct uffd_msg *msgs, unsigned max)
{
	ssize_t n;

	do
		n = read(fd, msgs, max * sizeof(*msgs));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	return (int)((size_t)n / sizeof(*msgs));
}
