/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/uffd.h - userfaultfd, one call a function.
 *
 * Source: userfaultfd(2), ioctl_userfaultfd(2).
 */
#ifndef GODWIT_MIGRATE_UFFD_H
#define GODWIT_MIGRATE_UFFD_H

#include <stdint.h>
#include <linux/userfaultfd.h>

struct error;

/**
 * uffd_open - a non-blocking userfaultfd that sees KVM's faults, too.
 * @features: UFFD_FEATURE_*; all must be there.
 * /dev/userfaultfd first, then the system call.
 * Return: the fd, or -errno with @err, which names the remedy.
 */
int uffd_open(uint64_t features, struct error *err);

/* Missing pages of [@base, @base + @len) are ours from here on. */
int uffd_register(int fd, void *base, uint64_t len, struct error *err);
/* Wakes all who wait there; they get zero pages where there is none. */
int uffd_unregister(int fd, void *base, uint64_t len);

/**
 * uffd_copy, uffd_zero - place pages; nobody is woken.
 * @ret_done: bytes placed, also with an error.
 * Return: 0 (all of @len), -EAGAIN (part, or the map is just changing),
 *         -EEXIST (the page at @ret_done is there), -errno.
 */
int uffd_copy(
	int fd, void *dst, const void *src, uint64_t len, uint64_t *ret_done);
int uffd_zero(int fd, void *dst, uint64_t len, uint64_t *ret_done);

void uffd_wake(int fd, void *base, uint64_t len);

/* Up to @max messages: their number, 0 (none now) or -errno. */
int uffd_read(int fd, struct uffd_msg *msgs, unsigned max);

#endif
