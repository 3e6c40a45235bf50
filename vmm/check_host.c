/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/check_host.c - the part of `godwit check` that is not KVM: userfaultfd,
 * io_uring, memory, network, limits.  See check.h.
 */
#include "vmm/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GROUP_UFFD    "userfaultfd"
#define GROUP_LOOP    "Event loop and disks"
#define GROUP_MEMORY  "Memory"
#define GROUP_NETWORK "Network"
#define GROUP_TIME    "Time"
#define GROUP_LIMITS  "Limits"

#define SYSFS_HUGE  "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define SYSFS_THP   "/sys/kernel/mm/transparent_hugepage/enabled"
#define SYSFS_CLOCK "/sys/devices/system/clocksource/clocksource0/"

#define CAP_NET_ADMIN_BIT 12u
/* The smallest VM needs 10 files; each vCPU one more, each device three. */
#define FILES_NEEDED  10u
#define FILES_ADVISED 256u

/* Newer than the headers this is built with. */
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1ull << 16)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* The first line of a small file; "" if there is none. */
static const char *first_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, buf, size - 1) : -1;

	if (fd >= 0)
		close(fd);
	buf[len > 0 ? len : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

/* The number after "key:" in a file like /proc/meminfo; false: not there. */
static bool proc_field(
	const char *path, const char *key, int base, uint64_t *ret_value)
{
	FILE *in = fopen(path, "re");
	bool found = false;
	char line[256];
	size_t len = strlen(key);

	while (in && !found && fgets(line, sizeof(line), in)) {
		if (strncmp(line, key, len) != 0 || line[len] != ':')
			continue;
		*ret_value = strtoull(line + len + 1, NULL, base);
		found = true;
	}
	if (in)
		fclose(in);
	return found;
}

/* ---- userfaultfd ---- */

struct uffd_open {
	int fd;		 /* owned, or -errno */
	const char *how; /* static */
	bool kernel_faults;
};

/* The device first: it needs no privilege but access to the node, and always
 * serves the kernel's own faults. */
static struct uffd_open open_uffd(const char *path)
{
	struct uffd_open uffd = {.how = "device", .kernel_faults = true};
	int dev = open(path, O_RDWR | O_CLOEXEC);

	if (dev >= 0) {
		uffd.fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC);
		close(dev);
		if (uffd.fd >= 0)
			return uffd;
	}
	uffd.how = "system call";
	uffd.fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd.fd >= 0)
		return uffd;
	uffd.kernel_faults = false;
	uffd.fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (uffd.fd < 0)
		uffd.fd = -errno;
	return uffd;
}

static void add_uffd_features(struct check_report *report, uint64_t features)
{
	static const struct {
		uint64_t bit;
		const char *name, *why, *lost;
	} table[] = {
		{UFFD_FEATURE_MOVE, "move",
			"a whole 2 MiB block is placed at once",
			"the background of a postcopy is copied page by page "
			"(use Linux 6.8 or later)"},
		{UFFD_FEATURE_PAGEFAULT_FLAG_WP, "write-protect",
			"a snapshot is taken while the guest runs",
			"the guest stands still for a snapshot"},
		{UFFD_FEATURE_EVENT_REMOVE, "remove events",
			"memory given up while pages are missing reads as zero",
			"nothing yet: the balloon is held meanwhile"},
		{UFFD_FEATURE_MISSING_SHMEM, "shared memory",
			"lazy restore with backing=memfd",
			"lazy restore needs backing=anon"},
		{UFFD_FEATURE_MISSING_HUGETLBFS, "huge pages",
			"lazy restore with backing=hugetlb",
			"lazy restore needs backing=anon"},
	};
	bool have;
	unsigned i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		have = (features & table[i].bit) != 0;
		check_explain(check_add(report, GROUP_UFFD, table[i].name,
				      have ? CHECK_OK : CHECK_LOST, "%s",
				      have ? "yes" : "no"),
			table[i].why, table[i].lost);
	}
}

static void gather_uffd(const char *path, struct check_report *report)
{
	static const char why[] =
		"missing pages are served on demand: postcopy, lazy restore";
	struct uffd_open uffd = open_uffd(path);
	struct uffdio_api api = {.api = UFFD_API};
	int ret;

	if (uffd.fd < 0) {
		check_explain(check_add(report, GROUP_UFFD, "open", CHECK_LOST,
				      "%s", strerror(-uffd.fd)),
			why,
			"no postcopy, no lazy restore (give access to "
			"/dev/userfaultfd)");
		return;
	}
	ret = ioctl(uffd.fd, UFFDIO_API, &api);
	check_explain(check_add(report, GROUP_UFFD, "open",
			      ret == 0 ? CHECK_OK : CHECK_LOST,
			      "by the %s, features 0x%" PRIx64, uffd.how,
			      ret == 0 ? (uint64_t)api.features : 0),
		why, "no postcopy, no lazy restore");
	check_explain(check_add(report, GROUP_UFFD, "kernel faults",
			      uffd.kernel_faults ? CHECK_OK : CHECK_LOST, "%s",
			      uffd.kernel_faults ? "yes" : "no"),
		"KVM itself may touch a missing page",
		"no postcopy, no lazy restore (give access to "
		"/dev/userfaultfd, or sysctl vm.unprivileged_userfaultfd=1)");
	if (ret == 0)
		add_uffd_features(report, api.features);
	close(uffd.fd);
}

/* ---- io_uring ---- */

static void gather_uring(struct check_report *report)
{
	static const char why[] =
		"one system call submits disk requests and waits for them";
	static const char lost[] =
		"epoll and a thread pool: fewer disk operations a second "
		"(sysctl kernel.io_uring_disabled=0, and Linux 5.11 or later)";
	struct io_uring_params params;
	const char *value = "yes";
	enum check_grade grade = CHECK_OK;
	int fd;

	memset(&params, 0, sizeof(params));
	fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (fd < 0) {
		grade = CHECK_LOST;
		value = strerror(errno);
	} else if (!(params.features & IORING_FEAT_EXT_ARG)) {
		grade = CHECK_LOST;
		value = "too old: it cannot wait with a time limit";
	}
	check_explain(
		check_add(report, GROUP_LOOP, "io_uring", grade, "%s", value),
		why, lost);
	if (fd >= 0)
		close(fd);
}

/* ---- memory, network, time, limits ---- */

static void gather_memory(struct check_report *report)
{
	uint64_t available_kib = 0, free_pages;
	char text[128];

	proc_field("/proc/meminfo", "MemAvailable", 10, &available_kib);
	check_explain(check_add(report, GROUP_MEMORY, "available", CHECK_OK,
			      "%" PRIu64 " MiB", available_kib >> 10),
		"guest RAM comes from here, page by page as it is touched", "");
	first_line(SYSFS_HUGE "free_hugepages", text, sizeof(text));
	free_pages = strtoull(text, NULL, 10);
	check_explain(check_add(report, GROUP_MEMORY, "huge pages free",
			      free_pages ? CHECK_OK : CHECK_LOST,
			      "%" PRIu64 " of 2 MiB", free_pages),
		"-m SIZE,backing=hugetlb: fewer TLB misses, nothing swaps",
		"backing=hugetlb is refused (sysctl vm.nr_hugepages=N)");
	first_line(SYSFS_THP, text, sizeof(text));
	check_explain(
		check_add(report, GROUP_MEMORY, "transparent huge pages",
			text[0] == '\0' || strstr(text, "[never]") ? CHECK_LOST
								   : CHECK_OK,
			"%s", text[0] ? text : "not there"),
		"-m SIZE,thp=on",
		"thp=on does nothing (echo madvise >" SYSFS_THP ")");
}

static void gather_network(const char *path, struct check_report *report)
{
	uint64_t caps = 0;
	unsigned features = 0;
	bool admin;
	int fd;

	proc_field("/proc/self/status", "CapEff", 16, &caps);
	admin = caps >> CAP_NET_ADMIN_BIT & 1;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		check_explain(
			check_add(report, GROUP_NETWORK, "tap", CHECK_LOST,
				"%s: %s", path, strerror(errno)),
			"guest networks through the host's",
			"no tap networks (modprobe tun, and give access to "
			"/dev/net/tun)");
		return;
	}
	if (ioctl(fd, TUNGETFEATURES, &features) < 0)
		features = 0;
	close(fd);
	check_explain(
		check_add(report, GROUP_NETWORK, "tap",
			features & IFF_VNET_HDR ? CHECK_OK : CHECK_LOST, "%s%s",
			features & IFF_VNET_HDR ? "offloads" : "plain",
			features & IFF_MULTI_QUEUE ? ", many queues" : ""),
		"guest networks through the host's",
		"networks are slow: checksums are made in software");
	check_explain(check_add(report, GROUP_NETWORK, "tap creation",
			      admin ? CHECK_OK : CHECK_LOST, "%s",
			      admin ? "CAP_NET_ADMIN" : "no CAP_NET_ADMIN"),
		"taps are made when a VM starts",
		"only taps made beforehand are used (ip tuntap add NAME mode "
		"tap user USER vnet_hdr)");
}

static void gather_time(struct check_report *report)
{
	char text[64];

	first_line(SYSFS_CLOCK "current_clocksource", text, sizeof(text));
	check_explain(check_add(report, GROUP_TIME, "host clocksource",
			      strcmp(text, "tsc") == 0 ||
					      strcmp(text, "kvm-clock") == 0
				      ? CHECK_OK
				      : CHECK_LOST,
			      "%s", text[0] ? text : "not known"),
		"timers and figures read the time without a system call",
		"reading the time is slow here, and in guests");
}

static void gather_limits(struct check_report *report)
{
	struct rlimit limit = {.rlim_cur = 0};
	enum check_grade grade = CHECK_OK;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < FILES_NEEDED)
		grade = CHECK_FATAL;
	else if (limit.rlim_cur < FILES_ADVISED)
		grade = CHECK_LOST;
	check_explain(check_add(report, GROUP_LIMITS, "open files", grade,
			      "%" PRIu64, (uint64_t)limit.rlim_cur),
		"10 for the smallest VM, 1 for a vCPU, 3 for a device",
		"VMs with many vCPUs or devices do not start (ulimit -n 256)");
	getrlimit(RLIMIT_AS, &limit);
	if (limit.rlim_cur == RLIM_INFINITY)
		check_add(report, GROUP_LIMITS, "address space", CHECK_OK,
			"unlimited");
	else
		check_add(report, GROUP_LIMITS, "address space", CHECK_LOST,
			"%" PRIu64 " MiB", (uint64_t)limit.rlim_cur >> 20);
	check_explain(&report->item[report->items - 1],
		"all of guest RAM is mapped at once",
		"guest RAM must fit into it (ulimit -v unlimited)");
}

void check_host_gather(
	const struct check_paths *paths, struct check_report *report)
{
	gather_time(report);
	gather_uffd(paths->userfaultfd, report);
	gather_uring(report);
	gather_memory(report);
	gather_network(paths->tun, report);
	gather_limits(report);
}
