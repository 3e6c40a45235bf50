/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/work.c - a guest that dirties memory at native speed and notices
 * every lost write: the oracle of migration, snapshot and balloon tests.
 *
 * Each vCPU runs passes over its own pages in user mode (work_user.c) and
 * comes out by ud2 for reports.  The vCPU's timer tells it when to come out;
 * on the boot CPU it also looks for a 'q' on COM1 and for the host's stop flag.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/power.h"
#include "kernels/lib/smp.h"
#include "kernels/lib/start.h"
#include "kernels/lib/string.h"
#include "kernels/work.h"
#include "kernels/work_user.h"

#define WINDOW		 0x8000000000ull /* where user mode sees the region */
#define PAGES_MIB	 256u
#define TICK_MS		 100u
#define REPORT_MS	 1000u
#define USER_STACK_PAGES 1u
/* godwit's vCPU hotplug registers (devices/cpu_hotplug.h). */
#define PIO_CPUS     0x620u
#define CPUS_SELECT  0u
#define CPUS_ORDER   4u
#define CPUS_PENDING 8u
#define CPUS_INSERT  2u

#define LOST_PRINTED	 16u /* pages of one vCPU; the rest is only counted */

struct worker {
	struct work_job job;
	struct cpu *cpu;
	uint8_t *user_stack;
	volatile uint64_t ticks;
	uint64_t report_at; /* tick or pass of the next report */
	bool started; /* boot CPU only */
	volatile uint32_t done;
	uint64_t final_sum;
};

/* Set up by the boot CPU before any worker runs; constant from then on. */
static struct {
	unsigned cpus; /* from the start */
	unsigned room; /* with those that may be plugged later */
	uint64_t pages, hot, passes, idle_ticks;
	uint64_t report; /* in ticks, or in passes */
	bool report_passes;
	uint32_t tick_ms; /* 0: no timer */
	enum work_mode mode;
	const char *mode_name;
	bool fill;
	struct worker *worker[WORK_CPUS];
} work;

static struct cpu boot_cpu;

_Static_assert(WORK_CONTROL_GPA == LOW_CONTROL, "its place in low memory");
_Static_assert(sizeof(struct work_control) <= PAGE_SIZE, "one page");

static struct work_control *control(void)
{
	return (struct work_control *)WORK_CONTROL_GPA;
}

static volatile uint32_t *stop_flag(void)
{
	return &control()->stop;
}

/* ---- the command line ----------------------------------------------------*/

static bool parse_mode(void)
{
	static const struct {
		const char *name;
		enum work_mode mode;
	} modes[] = {
		{"dirty", WORK_DIRTY},
		{"seq", WORK_DIRTY},
		{"rand", WORK_RANDOM},
		{"read", WORK_READ},
	};
	const char *word = boot_word("mode", 0);
	size_t i;

	if (word == NULL)
		word = "dirty";
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (word_is(word, modes[i].name)) {
			work.mode = modes[i].mode;
			work.mode_name = modes[i].name;
			return true;
		}
	return false;
}

static void parse_report(void)
{
	const char *word = boot_word("report", 0), *end = "";
	uint64_t n = REPORT_MS;

	if (word != NULL)
		n = parse_uint(word, &end);
	work.report_passes = *end == 'p';
	if (!work.report_passes && work.tick_ms != 0)
		n = (n + work.tick_ms - 1) / work.tick_ms;
	work.report = n;
}

static const char *parse(void)
{
	uint64_t hot, cpus = boot_number("smp", boot_number("threads", 1));

	if (cpus == 0 || cpus > WORK_CPUS)
		return "smp: 1 to 32";
	work.cpus = (unsigned)cpus;
	cpus += boot_number("more", 0);
	if (cpus > WORK_CPUS)
		return "more: 32 vCPUs in all";
	work.room = (unsigned)cpus;
	work.pages = boot_number("mem", 16) * PAGES_MIB;
	if (work.pages == 0 || work.pages * work.room >> 32 != 0)
		return "mem: 1 MiB or more, 2^32 pages at most";
	hot = boot_number("hot", 0) * PAGES_MIB;
	work.hot = hot != 0 && hot < work.pages ? hot : work.pages;
	work.passes = boot_number("passes", 100);
	work.tick_ms = (uint32_t)boot_number("tick", TICK_MS);
	if (work.tick_ms > 1000)
		return "tick: 0 to 1000 ms";
	work.idle_ticks = boot_number("idle", 0);
	if (work.idle_ticks != 0 && work.tick_ms == 0)
		return "idle: needs tick";
	if (work.tick_ms != 0)
		work.idle_ticks =
			(work.idle_ticks + work.tick_ms - 1) / work.tick_ms;
	work.fill = boot_number("fill", 0) != 0;
	parse_report();
	return parse_mode() ? NULL : "mode: dirty, seq, rand or read";
}

/* ---- memory --------------------------------------------------------------*/

/* Put the block at @gpa behind what the window holds already. */
static void add_block(struct work_control *c, uint64_t gpa, uint64_t *blocks)
{
	struct work_range *r = c->range;
	unsigned n = c->ranges;

	if (n == 0 || r[n - 1].gpa + r[n - 1].pages * PAGE_SIZE != gpa) {
		if (n == WORK_RANGES)
			return;
		r[n].gpa = gpa;
		c->ranges = ++n;
	}
	r[n - 1].pages += BLOCK_SIZE / PAGE_SIZE;
	page_map_block(WINDOW + (*blocks)++ * BLOCK_SIZE, gpa);
}

/* Whole blocks of RAM behind what page_alloc() has given and has yet to give:
 * the tables of the window, workers, and the APs' stacks. */
static bool map_region(struct work_control *c, uint64_t need)
{
	struct boot_ram ram[BOOT_RAM_MAX];
	unsigned i, n = boot_ram_map(ram);
	uint64_t gpa, end, blocks = 0;
	uint64_t reserve = need / 512 + 64 + 8 * work.room;
	uint64_t first = page_alloc_end() + reserve * PAGE_SIZE;

	for (i = 0; i < n; i++) {
		gpa = ram[i].gpa > first ? ram[i].gpa : first;
		gpa = (gpa + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1);
		end = ram[i].gpa + ram[i].size;
		for (; blocks < need && gpa < end && end - gpa >= BLOCK_SIZE;
			gpa += BLOCK_SIZE)
			add_block(c, gpa, &blocks);
	}
	return blocks == need;
}

static void set_up_workers(void)
{
	unsigned i;

	for (i = 0; i < work.room; i++) {
		struct worker *w = page_alloc(1);

		w->user_stack = page_alloc(USER_STACK_PAGES);
		w->job.mode = work.mode;
		w->job.stop = stop_flag();
		w->job.fill = work.fill;
		w->job.va = WINDOW + i * work.pages * PAGE_SIZE;
		w->job.first = i * work.pages;
		w->job.pages = work.pages;
		w->job.hot = work.hot;
		work.worker[i] = w;
	}
}

static const char *set_up(void)
{
	struct work_control *c = control();
	uint64_t per_block = BLOCK_SIZE / PAGE_SIZE;
	uint64_t need = (work.pages * work.room + per_block - 1) / per_block;

	memset(c, 0, sizeof(*c));
	page_user_image();
	if (!map_region(c, need))
		return "mem: more than this machine has";
	set_up_workers();
	c->cpus = work.room;
	c->pages = work.pages;
	c->hot_pages = work.hot;
	c->fill = work.fill;
	c->state = WORK_RUNNING;
	barrier();
	c->magic = WORK_MAGIC;
	return NULL;
}

/* ---- one vCPU ------------------------------------------------------------*/

static void on_timer(struct trap_frame *frame)
{
	unsigned index = work.room > 1 ? apic_id() : 0;
	struct worker *w = work.worker[index];

	w->ticks++;
	if (work.report != 0 && !work.report_passes && w->ticks >= w->report_at)
		w->job.leave = 1;
	if (index == 0 && console_getc() == 'q')
		*stop_flag() = 1;
	apic_eoi();
}

static void print_lost(struct worker *w)
{
	struct work_job *job = &w->job;
	uint64_t i;

	for (i = 0; i < job->lost_noted; i++)
		if (job->lost_before + i < LOST_PRINTED)
			print("work: LOST page=%lu word=%lu want=%lx got=%lx "
			      "pass=%lu\n",
				job->lost_list[i].page, job->lost_list[i].word,
				job->lost_list[i].want, job->lost_list[i].got,
				job->pass);
	job->lost_before = job->lost;
	job->lost_noted = 0;
}

/* Is it time to say something?  Sets the next time, if so. */
static bool report_due(struct worker *w)
{
	uint64_t now = work.report_passes ? w->job.pass : w->ticks;

	if (work.report == 0 || now < w->report_at)
		return false;
	w->report_at = now + work.report;
	return true;
}

static void idle(struct worker *w)
{
	uint64_t until = w->ticks + work.idle_ticks;

	while (w->ticks < until && *stop_flag() == 0)
		irq_sleep();
}

/* Run user mode until it comes out: a pass was finished at least. */
static void run_passes(struct worker *w)
{
	struct work_job *job = &w->job;

	job->until = work.passes;
	if (work.report_passes && work.report != 0 &&
		(job->until == 0 || w->report_at < job->until))
		job->until = w->report_at;
	if (work.idle_ticks != 0)
		job->until = job->pass + 1;
	user_enter(w->cpu, work_user_passes, job,
		w->user_stack + USER_STACK_PAGES * PAGE_SIZE);
	job->leave = 0;
	control()->progress[w->cpu->index].pass = job->pass;
	control()->progress[w->cpu->index].lost = job->lost;
}

static void run_ap(struct cpu *cpu);

/* A vCPU that has been plugged joins in.  Boot CPU, whose timer smp_start()
 * uses. */
static void look_for_cpus(void)
{
	uint32_t id = inl(PIO_CPUS + CPUS_PENDING);

	if (id >= work.room || work.worker[id]->started)
		return;
	outl(PIO_CPUS + CPUS_SELECT, id);
	outl(PIO_CPUS + CPUS_ORDER, CPUS_INSERT);
	work.worker[id]->started = smp_start(id, run_ap);
	print("work: vCPU %u %s\n", id,
		work.worker[id]->started ? "joins" : "does not start");
	if (work.tick_ms != 0)
		apic_timer(VECTOR_TIMER, work.tick_ms * 1000, true);
}

static void run(struct worker *w)
{
	struct work_job *job = &w->job;
	unsigned index = w->cpu->index;

	w->report_at = work.report;
	if (work.tick_ms != 0)
		apic_timer(VECTOR_TIMER, work.tick_ms * 1000, true);
	do {
		run_passes(w);
		print_lost(w);
		if (report_due(w))
			print("work: pass %lu sum %016lx cpu %u\n", job->pass,
				job->sum, index);
		irq_window();
		if (index == 0 && work.room > work.cpus)
			look_for_cpus();
		if (work.idle_ticks != 0)
			idle(w);
	} while (*stop_flag() == 0 &&
		 (work.passes == 0 || job->pass < work.passes));
	user_enter(w->cpu, work_user_verify, job,
		w->user_stack + USER_STACK_PAGES * PAGE_SIZE);
	apic_timer_stop();
	irq_window();
	print_lost(w);
	control()->progress[index].lost = job->lost;
	w->final_sum = job->sum;
	print("work: cpu %u passes=%lu pages=%lu sum=%016lx lost=%lu\n", index,
		job->pass, job->pages, w->final_sum, job->lost);
	barrier();
	w->done = 1;
}

static void run_ap(struct cpu *cpu)
{
	struct worker *w = work.worker[cpu->index];

	w->cpu = cpu;
	run(w);
}

static bool verdict(void)
{
	uint64_t passes = 0, pages = 0, sum = 0, lost = 0, never = 0;
	unsigned i;

	for (i = 0; i < work.room; i++) {
		if (!work.worker[i]->started)
			continue;
		while (work.worker[i]->done == 0)
			irq_wait(&never, 1, 5);
		passes += work.worker[i]->job.pass;
		pages += work.worker[i]->job.pages;
		sum += work.worker[i]->final_sum;
		lost += work.worker[i]->job.lost;
	}
	control()->state = WORK_DONE;
	if (lost == 0)
		print("work: verdict ok passes=%lu pages=%lu sum=%016lx\n",
			passes, pages, sum);
	else
		print("work: verdict LOST passes=%lu pages=%lu sum=%016lx "
		      "lost=%lu\n",
			passes, pages, sum, lost);
	return lost == 0;
}

bool guest_main(void)
{
	const char *why;
	unsigned i;

	cpu_init(&boot_cpu, 0);
	apic_init();
	why = parse();
	if (why == NULL)
		why = set_up();
	if (why != NULL) {
		print("work: verdict FAIL %s\n", why);
		return false;
	}
	print("work: entry %s cpus %u pages %lu hot %lu mode %s control %lx\n",
		boot_entry_name(), work.cpus, work.pages, work.hot,
		work.mode_name, (uint64_t)WORK_CONTROL_GPA);
	for (i = 0; i < control()->ranges; i++)
		print("work: region gpa %lx pages %lu\n",
			(uint64_t)control()->range[i].gpa,
			(uint64_t)control()->range[i].pages);
	trap_handle(VECTOR_TIMER, on_timer);
	for (i = 1; i < work.cpus; i++) {
		if (!smp_start(i, run_ap)) {
			print("work: verdict FAIL vCPU %u does not start\n", i);
			return false;
		}
		work.worker[i]->started = true;
	}
	work.worker[0]->started = true;
	work.worker[0]->cpu = &boot_cpu;
	run(work.worker[0]);
	return verdict();
}
