/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dirty.h - which pages were written: KVM's log for the guest's own
 * writes, guestmem's for the VMM's, joined in one bitmap.
 *
 * The calls are those of migrate_guest_ops.dirty_*, so that vmm/vm_migrate.c
 * passes them on.  Memory slot i holds guestmem region i (vmm/machine.c).
 *
 * Thread: one at a time; not the vCPUs' business, they may run all the while.
 */
#ifndef GODWIT_MIGRATE_DIRTY_H
#define GODWIT_MIGRATE_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

struct dirty_log;
struct error;
struct guestmem;

enum dirty_method {
	DIRTY_BEST,	 /* the best of those below that KVM has */
	DIRTY_PLAIN,	 /* a sync protects all again at once */
	DIRTY_MANUAL,	 /* dirty_log_clear() protects what is sent next */
	DIRTY_MANUAL_SET /* same, and nothing is protected at the start: the
			    first sync calls every page dirty */
};

/**
 * dirty_log_start - begin to record writes to all of @gm.
 * @vm_fd, @gm: borrowed until dirty_log_stop().
 * @method:     DIRTY_BEST but in tests.
 * Return: 0; -ENOTSUP (@method), -ENOMEM, or -errno of the failing ioctl with
 *         @err; then nothing is recorded.
 * Source: Linux Documentation/virt/kvm/api.rst, 4.35, 4.8, 4.117 and 7.14.
 */
int dirty_log_start(int vm_fd, struct guestmem *gm, enum dirty_method method,
	struct dirty_log **ret_log, struct error *err);

/* What was chosen; never DIRTY_BEST. */
enum dirty_method dirty_log_method(const struct dirty_log *log);

/**
 * dirty_log_sync - or the pages written since the last sync into @bitmap.
 * Shape:  one bit a page by RAM offset, bit i % 64 of word i / 64.
 * Return: 0 or -errno with @err; then @bitmap may have got some of them.
 */
int dirty_log_sync(struct dirty_log *log, uint64_t *bitmap, struct error *err);

/**
 * dirty_log_clear - record writes again to those of pages [first, first +
 * count) that are set in @bitmap.  Before they are read.
 * @first: a multiple of 64.
 * Return: 0, -EINVAL (range), or -errno with @err.
 */
int dirty_log_clear(struct dirty_log *log, const uint64_t *bitmap,
	uint64_t first, uint64_t count, struct error *err);

/* Record no more, and free.  NULL is allowed. */
void dirty_log_stop(struct dirty_log *log);

#endif
