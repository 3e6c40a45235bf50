/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/work_user.h - the user-mode half of `work`: passes over pages.
 */
#ifndef GODWIT_KERNELS_WORK_USER_H
#define GODWIT_KERNELS_WORK_USER_H

#include <stdbool.h>
#include <stdint.h>

#define WORK_LOST_NOTED 8u

enum work_mode { WORK_DIRTY, WORK_RANDOM, WORK_READ };

/* One vCPU's; in turn the kernel's and user mode's, except leave and stop. */
struct work_job {
	enum work_mode mode;
	bool fill;
	uint64_t va;	/* of its first page */
	uint64_t first; /* number of its first page, over all vCPUs */
	uint64_t pages, hot;
	uint64_t pass;	/* last one finished */
	uint64_t until; /* come out after this one; 0: only when told */
	uint64_t sum;	/* of word 0 of the pages the last pass has read */
	uint64_t lost, lost_before;
	uint64_t lost_noted; /* entries of lost_list */
	struct {
		uint64_t page, word, want, got;
	} lost_list[WORK_LOST_NOTED];
	volatile uint32_t leave;       /* come out after this pass */
	const volatile uint32_t *stop; /* the same, from the host */
};

/* For user_enter(): both end with ud2.  @job: struct work_job. */
void work_user_passes(void *job);

/* Check every word of every page; sum is over word 0 of all of them. */
void work_user_verify(void *job);

#endif
