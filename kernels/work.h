/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/work.h - what `work` writes and a host may read: the oracle.
 * kernels/README.md tells the whole of it; tests may include this file.
 */
#ifndef GODWIT_KERNELS_WORK_H
#define GODWIT_KERNELS_WORK_H

#include <stdint.h>

#define WORK_CONTROL_GPA 0x2000ull
#define WORK_MAGIC	 0x31304b524f574447ull /* "GDWORK01" */
#define WORK_RANGES	 8u
#define WORK_CPUS	 32u
#define WORK_FACTOR	 0x9e3779b97f4a7c15ull

#define WORK_SETUP   0u
#define WORK_RUNNING 1u
#define WORK_DONE    2u /* the verdict is printed */

/* At WORK_CONTROL_GPA, one page, little endian.  The guest writes all but
 * @stop; magic is written last of the set-up. */
struct work_control {
	uint64_t magic;
	uint32_t stop;	/* the host writes non-zero: come to the verdict */
	uint32_t state; /* WORK_* */
	uint32_t cpus, ranges;
	uint64_t pages;	    /* of each vCPU */
	uint64_t hot_pages; /* of them, from the first on: rewritten */
	uint64_t fill;	    /* 1: words 1 .. 511 of a page are used too */
	/* The region, in order: page number k of all is found by walking. */
	struct work_range {
		uint64_t gpa, pages;
	} range[WORK_RANGES];
	struct work_progress {
		uint64_t pass; /* last one finished; 0: none */
		uint64_t lost; /* pages that held something else */
	} progress[WORK_CPUS];
};

/* What word 0 of page @page (counted over all vCPUs) holds after @pass. */
static inline uint64_t work_word(uint64_t page, uint64_t pass)
{
	return (pass << 32 | page) * WORK_FACTOR;
}

/* Word n of a filled page from word n - 1; word 1 follows pass 1's word 0. */
static inline uint64_t work_next_word(uint64_t word)
{
	return word * 6364136223846793005ull + 1442695040888963407ull;
}

#endif
