/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/work_user.c - runs in user mode, natively even where kernel code is
 * emulated.  No privileged instruction, no call out but user_leave().
 *
 * Pass 1 writes every page.  Each later pass reads word 0 of every hot page,
 * compares it with what the pass before has left, and (unless mode=read)
 * writes its own.
 */
#include <stddef.h>

#include "kernels/lib/cpu.h"
#include "kernels/work.h"
#include "kernels/work_user.h"

#define PAGE_WORDS 512u

static volatile uint64_t *page_at(const struct work_job *job, uint64_t i)
{
	return (volatile uint64_t *)(job->va + i * PAGE_WORDS * 8);
}

static void __attribute__((noinline)) note_lost(struct work_job *job,
	uint64_t i, uint64_t word, uint64_t want, uint64_t got)
{
	job->lost++;
	if (job->lost_noted == WORK_LOST_NOTED)
		return;
	job->lost_list[job->lost_noted].page = job->first + i;
	job->lost_list[job->lost_noted].word = word;
	job->lost_list[job->lost_noted].want = want;
	job->lost_list[job->lost_noted].got = got;
	job->lost_noted++;
}

/* The pass whose value a page holds now. */
static uint64_t held(const struct work_job *job, uint64_t i)
{
	return job->mode == WORK_READ || i >= job->hot ? 1 : job->pass;
}

static void first_pass(struct work_job *job)
{
	uint64_t i, n, v;

	for (i = 0; i < job->pages; i++) {
		volatile uint64_t *p = page_at(job, i);

		v = work_word(job->first + i, 1);
		p[0] = v;
		for (n = 1; job->fill && n < PAGE_WORDS; n++)
			p[n] = v = work_next_word(v);
	}
	job->sum = 0;
}

static void step(struct work_job *job, uint64_t i, uint64_t *sum)
{
	volatile uint64_t *p = page_at(job, i);
	uint64_t want = work_word(job->first + i, held(job, i)), got = *p;

	*sum += got;
	if (got != want)
		note_lost(job, i, 0, want, got);
	if (job->mode != WORK_READ)
		*p = work_word(job->first + i, job->pass + 1);
}

/* Every i below hot once, in an order that differs from pass to pass: a full
 * period generator modulo a power of two, numbers past the end left out. */
static void random_pass(struct work_job *job, uint64_t *sum)
{
	uint64_t mask = 1, i, n;

	while (mask < job->hot)
		mask <<= 1;
	n = mask--;
	for (i = job->pass & mask; n > 0; n--) {
		if (i < job->hot)
			step(job, i, sum);
		i = (i * 1664525 + 1013904223) & mask;
	}
}

void work_user_passes(void *arg)
{
	struct work_job *job = arg;
	uint64_t i, sum;

	do {
		sum = 0;
		if (job->pass == 0)
			first_pass(job);
		else if (job->mode == WORK_RANDOM)
			random_pass(job, &sum);
		else
			for (i = 0; i < job->hot; i++)
				step(job, i, &sum);
		job->sum = sum;
		job->pass++;
	} while (job->leave == 0 && *job->stop == 0 && job->lost_noted == 0 &&
		 job->pass != job->until);
	user_leave(0);
}

void work_user_verify(void *arg)
{
	struct work_job *job = arg;
	uint64_t i, n, v, sum = 0;

	for (i = 0; i < job->pages; i++) {
		volatile uint64_t *p = page_at(job, i);

		v = p[0];
		sum += v;
		if (v != work_word(job->first + i, held(job, i)))
			note_lost(job, i, 0,
				work_word(job->first + i, held(job, i)), v);
		v = work_word(job->first + i, 1);
		for (n = 1; job->fill && n < PAGE_WORDS; n++) {
			v = work_next_word(v);
			if (p[n] != v) {
				note_lost(job, i, n, v, p[n]);
				break;
			}
		}
	}
	job->sum = sum;
	user_leave(0);
}
