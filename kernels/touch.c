/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/touch.c - what a move looks like from within: how long the guest
 * stood still, and what each touch of a page cost that was not there yet.
 *
 * It fills its pages, says `touch: ready` and looks at the TSC over and over.
 * Time that went by between two looks is a gap.  With mode=gap the largest ones
 * are the result, when the host says 'q'.  With mode=touch the host's 'g' (said
 * to the process that the guest moves to) begins a pass over all pages, each
 * read of which is timed.  'c' forgets the gaps so far.
 *
 * Needs a TSC that goes on counting while the guest is moved; hosts whose user
 * mode is native (kvm_pvm) have it, and so has a move that keeps the offset.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"

#define WINDOW	  0x8000000000ull /* where the region is seen */
#define PAGES_MIB 256u
#define SHIFT	  9u /* cycles of a bucket, as a power of two */
#define BUCKETS	  16384u
#define GAPS	  8u
#define TICK_US	  1000u

enum order { ORDER_RANDOM, ORDER_ASCENDING };

/* Kernel and user mode take turns; @stop is the timer handler's. */
struct touch_job {
	uint64_t pages, limit; /* limit: missing ones to measure; 0: all */
	enum order order;
	bool gap_mode, none;
	uint64_t slow; /* cycles: of a page that was missing, at least */
	volatile uint32_t stop;
	uint64_t touched, missing, cycles, sum, worst;
	uint64_t gap[GAPS]; /* cycles, largest first */
	uint32_t bucket[BUCKETS];
};

static const unsigned quantiles[] = {100, 500, 1000, 2000, 3000, 4000, 5000,
	6000, 7000, 8000, 9000, 9500, 9800, 9900, 9950, 9990, 10000};

static struct cpu boot_cpu;
static struct touch_job *the_job;

static inline uint64_t tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

/* ---- what runs in either mode ---- */

static void note_gap(struct touch_job *job, uint64_t cycles)
{
	unsigned i = GAPS - 1;

	for (; i > 0 && job->gap[i - 1] < cycles; i--)
		job->gap[i] = job->gap[i - 1];
	job->gap[i] = cycles;
}

static void look_user(void *arg)
{
	struct touch_job *job = arg;
	uint64_t last = tsc(), now, gap;

	while (job->stop == 0) {
		now = tsc();
		gap = now - last;
		last = now;
		if (gap > job->gap[GAPS - 1])
			note_gap(job, gap);
	}
	user_leave(0);
}

static inline __attribute__((always_inline)) void touch(
	struct touch_job *job, uint64_t i)
{
	const volatile uint64_t *p =
		(const volatile uint64_t *)(WINDOW + i * PAGE_SIZE);
	uint64_t begin = tsc(), took;

	(void)*p;
	took = tsc() - begin;
	job->touched++;
	if (took < job->slow)
		return;
	job->missing++;
	job->sum += took;
	if (took > job->worst)
		job->worst = took;
	took >>= SHIFT;
	job->bucket[took < BUCKETS ? took : BUCKETS - 1]++;
}

static inline __attribute__((always_inline)) bool enough(struct touch_job *job)
{
	return job->limit != 0 && job->missing >= job->limit;
}

/* The buckets first: they are not what is measured. */
static inline __attribute__((always_inline)) void clear(struct touch_job *job)
{
	uint64_t i;

	for (i = 0; i < BUCKETS; i++)
		*(volatile uint32_t *)&job->bucket[i] = 0;
	job->touched = job->missing = job->sum = job->worst = 0;
}

static inline __attribute__((always_inline)) void pass(struct touch_job *job)
{
	uint64_t mask = 1, i, n, begin;

	clear(job);
	while (mask < job->pages)
		mask <<= 1;
	n = mask--;
	begin = tsc();
	if (job->order == ORDER_ASCENDING)
		for (i = 0; i < job->pages && !enough(job); i++)
			touch(job, i);
	else
		for (i = begin & mask; n > 0 && !enough(job); n--) {
			if (i < job->pages)
				touch(job, i);
			i = (i * 1664525 + 1013904223) & mask;
		}
	job->cycles = tsc() - begin;
}

static void pass_user(void *arg)
{
	pass(arg);
	user_leave(0);
}

static void __attribute__((noinline)) pass_kernel(struct touch_job *job)
{
	pass(job);
}

/* Every word, so that no page can be told from noise; the same every time. */
static void fill_user(void *arg)
{
	struct touch_job *job = arg;
	uint64_t v = 0x9e3779b97f4a7c15ull, i;
	volatile uint64_t *p = (volatile uint64_t *)WINDOW;

	for (i = 0; i < job->pages * (PAGE_SIZE / 8); i++) {
		p[i] = v;
		v = v * 6364136223846793005ull + 1442695040888963407ull;
	}
	user_leave(0);
}

/* ---- the kernel's part ---- */

static void on_timer(struct trap_frame *frame)
{
	int c = console_getc();
	unsigned i;

	if (c == (the_job->gap_mode ? 'q' : 'g'))
		the_job->stop = 1;
	for (i = 0; c == 'c' && i < GAPS; i++)
		the_job->gap[i] = 0;
	if (c == 'c')
		print("touch: cleared\n");
	apic_eoi();
}

static bool map_region(uint64_t pages)
{
	struct boot_ram ram[BOOT_RAM_MAX];
	unsigned i, n = boot_ram_map(ram);
	uint64_t need = pages / (BLOCK_SIZE / PAGE_SIZE), blocks = 0;
	uint64_t first = page_alloc_end() + (need / 512 + 64) * PAGE_SIZE;
	uint64_t gpa, end;

	for (i = 0; i < n; i++) {
		gpa = ram[i].gpa > first ? ram[i].gpa : first;
		gpa = (gpa + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1);
		end = ram[i].gpa + ram[i].size;
		for (; blocks < need && gpa < end && end - gpa >= BLOCK_SIZE;
			gpa += BLOCK_SIZE)
			page_map_block(WINDOW + blocks++ * BLOCK_SIZE, gpa);
	}
	return blocks == need;
}

static const char *parse(
	struct touch_job *job, uint64_t *ret_khz, bool *ret_kernel)
{
	const char *mode = boot_word("mode", 0), *order = boot_word("order", 0);
	const char *where = boot_word("where", 0);

	*ret_khz = boot_number("tsc", 2000000);
	if (*ret_khz == 0)
		return "tsc: kHz of the time stamp counter";
	*ret_kernel = where != NULL && word_is(where, "kernel");
	job->gap_mode = mode == NULL || word_is(mode, "gap");
	job->order = order != NULL && word_is(order, "seq") ? ORDER_ASCENDING
							    : ORDER_RANDOM;
	job->pages = (boot_number("mem", 16) + 1) / 2 * 2 * PAGES_MIB;
	job->limit = boot_number("count", 0);
	job->slow = boot_number("slow", 10) * *ret_khz / 1000;
	job->none = boot_number("fill", 1) == 0;
	return NULL;
}

static void report(const struct touch_job *job, uint64_t khz)
{
	uint64_t seen = 0, want;
	unsigned i, q = 0;

	for (i = 0; i < GAPS; i++)
		print("touch: gap %lu ns\n", job->gap[i] * 1000000 / khz);
	if (job->gap_mode)
		return;
	print("touch: pages %lu missing %lu ns %lu mean %lu worst %lu\n",
		job->touched, job->missing, job->cycles * 1000000 / khz,
		job->sum / (job->missing ? job->missing : 1) * 1000000 / khz,
		job->worst * 1000000 / khz);
	for (i = 0; i < BUCKETS; i++) {
		seen += job->bucket[i];
		for (; q < sizeof(quantiles) / sizeof(quantiles[0]); q++) {
			want = (job->missing * quantiles[q] + 9999) / 10000;
			if (seen < want || seen == 0)
				break;
			print("touch: quantile %u ns %lu\n", quantiles[q],
				((uint64_t)i << SHIFT) * 1000000 / khz);
		}
	}
}

bool guest_main(void)
{
	uint8_t *stack = page_alloc(1);
	struct touch_job *job;
	const char *why;
	uint64_t khz;
	bool kernel;

	job = page_alloc((sizeof(*job) + PAGE_SIZE - 1) / PAGE_SIZE);
	the_job = job;
	cpu_init(&boot_cpu, 0);
	apic_init();
	page_user_image();
	why = parse(job, &khz, &kernel);
	if (why == NULL && !map_region(job->pages))
		why = "mem: more than this machine has";
	if (why != NULL) {
		print("touch: verdict FAIL %s\n", why);
		return false;
	}
	print("touch: entry %s pages %lu\n", boot_entry_name(), job->pages);
	if (!job->none)
		user_enter(&boot_cpu, fill_user, job, stack + PAGE_SIZE);
	trap_handle(VECTOR_TIMER, on_timer);
	apic_timer(VECTOR_TIMER, TICK_US, true);
	print("touch: ready\n");
	user_enter(&boot_cpu, look_user, job, stack + PAGE_SIZE);
	apic_timer_stop();
	if (!job->gap_mode && kernel)
		pass_kernel(job);
	else if (!job->gap_mode)
		user_enter(&boot_cpu, pass_user, job, stack + PAGE_SIZE);
	report(job, khz);
	print("touch: verdict ok\n");
	return true;
}
