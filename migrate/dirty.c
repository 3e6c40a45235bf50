/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dirty.c - see dirty.h.  Leaves to others what is done with the pages.
 */
#include "migrate/dirty.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/guest.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/kvm.h"

#define MANUAL	   ((uint64_t)KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)
#define MANUAL_SET (MANUAL | (uint64_t)KVM_DIRTY_LOG_INITIALLY_SET)

struct dirty_log {
	int vm_fd;	     /* borrowed */
	struct guestmem *gm; /* borrowed */
	enum dirty_method method;
	unsigned slots;	   /* that record, from 0 */
	uint64_t *scratch; /* owned; a bit for each page of the largest slot */
};

static uint64_t region_pages(const struct guestmem_region *r)
{
	return r->size / GUESTMEM_PAGE;
}

/* A region's first page begins a word of every bitmap: only the last region
 * may end inside one. */
static uint64_t region_first(const struct guestmem_region *r)
{
	uint64_t first = r->offset / GUESTMEM_PAGE;

	assert(first % 64 == 0);
	return first;
}

static int set_slot(struct dirty_log *log, unsigned i, uint32_t flags)
{
	const struct guestmem_region *r = &log->gm->region[i];
	struct kvm_userspace_memory_region slot = {
		.slot = i,
		.flags = flags,
		.guest_phys_addr = r->gpa,
		.memory_size = r->size,
		.userspace_addr =
			(uint64_t)(uintptr_t)(log->gm->base + r->offset),
	};

	return kvm_ioctl(log->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);
}

static int choose(
	struct dirty_log *log, enum dirty_method wanted, struct error *err)
{
	int offered = kvm_ioctl_num(log->vm_fd, KVM_CHECK_EXTENSION,
		KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2};
	int code;

	if (offered < 0)
		return error_errno(
			err, offered, "dirty log: KVM_CHECK_EXTENSION");
	if (wanted == DIRTY_BEST) {
		if (((uint64_t)offered & MANUAL_SET) == MANUAL_SET)
			wanted = DIRTY_MANUAL_SET;
		else if ((uint64_t)offered & MANUAL)
			wanted = DIRTY_MANUAL;
		else
			wanted = DIRTY_PLAIN;
	}
	if (wanted == DIRTY_MANUAL_SET)
		cap.args[0] = MANUAL_SET;
	else if (wanted == DIRTY_MANUAL)
		cap.args[0] = MANUAL;
	if (cap.args[0] & ~(uint64_t)offered)
		return error_set(err, -ENOTSUP,
			"dirty log: this KVM has no such manual protection "
			"(use DIRTY_BEST)");
	/* Also switched off, should an earlier log have switched it on. */
	if (offered != 0) {
		code = kvm_ioctl(log->vm_fd, KVM_ENABLE_CAP, &cap);
		if (code < 0)
			return error_errno(err, code,
				"dirty log: KVM_ENABLE_CAP "
				"MANUAL_DIRTY_LOG_PROTECT2");
	}
	log->method = wanted;
	return 0;
}

static void free_log(struct dirty_log *log)
{
	free(log->scratch);
	free(log);
}

static void stop_slots(struct dirty_log *log)
{
	while (log->slots > 0)
		/* Cannot fail for a slot that exists; were it to, the VM would
		 * go on recording and nobody would ask. */
		(void)set_slot(log, --log->slots, 0);
}

static int start_slots(struct dirty_log *log, struct error *err)
{
	int code;

	for (; log->slots < log->gm->regions; log->slots++) {
		code = set_slot(log, log->slots, KVM_MEM_LOG_DIRTY_PAGES);
		if (code < 0)
			return error_errno(err, code,
				"dirty log: KVM_SET_USER_MEMORY_REGION %u",
				log->slots);
	}
	return 0;
}

int dirty_log_start(int vm_fd, struct guestmem *gm, enum dirty_method method,
	struct dirty_log **ret_log, struct error *err)
{
	struct dirty_log *log = calloc(1, sizeof(*log));
	uint64_t pages = 0;
	unsigned i;
	int code;

	if (!log)
		return error_set(err, -ENOMEM, "dirty log: out of memory");
	log->vm_fd = vm_fd;
	log->gm = gm;
	for (i = 0; i < gm->regions; i++)
		if (region_pages(&gm->region[i]) > pages)
			pages = region_pages(&gm->region[i]);
	log->scratch = calloc(
		(size_t)migrate_bitmap_words(pages), sizeof(*log->scratch));
	if (!log->scratch) {
		free_log(log);
		return error_set(err, -ENOMEM, "dirty log: out of memory");
	}
	code = choose(log, method, err);
	if (code < 0)
		goto fail;
	code = guestmem_dirty_log_start(gm);
	if (code < 0) {
		error_set(err, code, "dirty log: out of memory");
		goto fail;
	}
	code = start_slots(log, err);
	if (code < 0)
		goto fail_log;
	*ret_log = log;
	return 0;
fail_log:
	stop_slots(log);
	guestmem_dirty_log_stop(gm);
fail:
	free_log(log);
	return code;
}

enum dirty_method dirty_log_method(const struct dirty_log *log)
{
	return log->method;
}

static void or_words(uint64_t *dst, const uint64_t *src, uint64_t words)
{
	uint64_t i;

	for (i = 0; i < words; i++)
		dst[i] |= src[i];
}

int dirty_log_sync(struct dirty_log *log, uint64_t *bitmap, struct error *err)
{
	unsigned i;
	int code;

	for (i = 0; i < log->slots; i++) {
		const struct guestmem_region *r = &log->gm->region[i];
		struct kvm_dirty_log get = {
			.slot = i, .dirty_bitmap = log->scratch};

		/* KVM writes whole words, zero beyond the slot's end. */
		code = kvm_ioctl(log->vm_fd, KVM_GET_DIRTY_LOG, &get);
		if (code < 0)
			return error_errno(err, code,
				"dirty log: KVM_GET_DIRTY_LOG %u", i);
		or_words(bitmap + region_first(r) / 64, log->scratch,
			migrate_bitmap_words(region_pages(r)));
	}
	guestmem_dirty_fetch(log->gm, bitmap);
	return 0;
}

static int clear_slot(struct dirty_log *log, unsigned i, const uint64_t *bitmap,
	uint64_t first, uint64_t count, struct error *err)
{
	uint64_t base = region_first(&log->gm->region[i]);
	uint64_t pages = region_pages(&log->gm->region[i]);
	struct kvm_clear_dirty_log clear = {.slot = i};
	int code;

	/* KVM takes whole words, but for the slot's end.  Pages more than asked
	 * for are recorded earlier than need be, which loses nothing. */
	count = (count + 63) / 64 * 64;
	if (count > pages - (first - base))
		count = pages - (first - base);
	clear.first_page = first - base;
	clear.num_pages = (uint32_t)count;
	/* Only read by KVM, whatever the field's type says. */
	clear.dirty_bitmap = (void *)(uintptr_t)(bitmap + first / 64);
	code = kvm_ioctl(log->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear);
	if (code < 0)
		return error_errno(err, code,
			"dirty log: KVM_CLEAR_DIRTY_LOG %u, pages %" PRIu64
			"+%" PRIu64,
			i, (uint64_t)clear.first_page, count);
	return 0;
}

int dirty_log_clear(struct dirty_log *log, const uint64_t *bitmap,
	uint64_t first, uint64_t count, struct error *err)
{
	uint64_t pages = log->gm->size / GUESTMEM_PAGE;
	uint64_t begin, end;
	unsigned i;
	int code;

	if (first % 64 != 0 || count > pages || first > pages - count)
		return error_set(err, -EINVAL,
			"dirty log: pages %" PRIu64 "+%" PRIu64 " of %" PRIu64,
			first, count, pages);
	if (log->method == DIRTY_PLAIN)
		return 0; /* the sync has done it */
	for (i = 0; i < log->slots; i++) {
		const struct guestmem_region *r = &log->gm->region[i];

		begin = region_first(r);
		end = begin + region_pages(r);
		if (begin < first)
			begin = first;
		if (end > first + count)
			end = first + count;
		if (begin >= end)
			continue;
		code = clear_slot(log, i, bitmap, begin, end - begin, err);
		if (code < 0)
			return code;
	}
	return 0;
}

void dirty_log_stop(struct dirty_log *log)
{
	if (!log)
		return;
	stop_slots(log);
	guestmem_dirty_log_stop(log->gm);
	free_log(log);
}
