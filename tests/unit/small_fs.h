/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/small_fs.h - a file on a tmpfs of 64 KiB, without privileges: a
 * child mounts it in namespaces of its own and hands out the file.
 */
#ifndef GODWIT_TESTS_UNIT_SMALL_FS_H
#define GODWIT_TESTS_UNIT_SMALL_FS_H

#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -1 : 0;
}

/* Be the root of a user namespace, if one is not root already. */
static inline int become_root(void)
{
	char uids[32], gids[32];

	if (unshare(CLONE_NEWNS) == 0)
		return 0;
	snprintf(uids, sizeof(uids), "0 %u 1", geteuid());
	snprintf(gids, sizeof(gids), "0 %u 1", getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
		write_text("/proc/self/setgroups", "deny") < 0 ||
		write_text("/proc/self/uid_map", uids) < 0 ||
		write_text("/proc/self/gid_map", gids) < 0)
		return -1;
	/* So that the parent may look at our fds. */
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* In the child: a file on a tmpfs of 64 KiB that nobody else sees. */
static inline int small_file(void)
{
	if (become_root() < 0)
		return -1;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("small", "/tmp", "tmpfs", 0, "size=65536") < 0)
		return -1;
	return open("/tmp/img", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
}

/* That file, in this process; -1: not allowed here. */
static inline int borrow_small_file(void)
{
	int ready[2], over[2], status, theirs = -1, fd = -1;
	char path[64];
	pid_t child;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(over, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(over[1]);
		fd = small_file();
		fd = fd < 0 ? -errno : fd;
		if (write(ready[1], &fd, sizeof(fd)) != sizeof(fd) ||
			read(over[0], &fd, 1) != 0)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &theirs, sizeof(theirs)) == sizeof(theirs) &&
		theirs >= 0) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)child,
			theirs);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	errno = theirs < 0 ? -theirs : errno;
	close(ready[0]);
	close(over[0]);
	close(over[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return fd;
}

#endif
