/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/speed.c - how fast are the devices?  Runs the jobs of the command
 * line one after another, each for a while, and prints what was done, by the
 * TSC, with the notifications it took.
 *
 * A driver as a kernel has it: rings of up to 256 descriptors, interrupts that
 * are off while there is work, notifications only where the device wants them.
 * It never sleeps: between two looks it waits for a word in memory to change.
 */
#include "kernels/speed.h"

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/power.h"
#include "kernels/lib/string.h"

#define STACK_PAGES 4u
#define PATIENCE    20u /* periods that a job may take */
#define WARM	    10u /* th part of the period */

/* By place; only what was opened has a gpa. */
static struct virtio_device devices[VIRTIO_MAX];
static struct cpu boot_cpu;
static uint8_t *stack;

struct speed speed;
uint64_t speed_irq_gpa;
volatile uint64_t speed_irq_count;

/* ---- user mode -----------------------------------------------------------*/

void speed_begin(void)
{
	speed.wrong = 0;
	speed.counting = speed.over = false;
	speed.start = rdtsc();
	speed.give_up = speed.start + PATIENCE * speed.period;
	speed.count = speed.bytes = speed.kicks = 0;
}

void speed_count_from_here(void)
{
	speed.counting = true;
	speed.start = rdtsc();
	speed.count = speed.bytes = speed.kicks = 0;
	speed.irqs = speed_irq_count;
}

void speed_count_to_here(void)
{
	speed.over = true;
	speed.ticks = rdtsc() - speed.start;
	speed.irqs = speed_irq_count - speed.irqs;
}

bool speed_note(uint64_t count, uint64_t bytes)
{
	uint64_t gone;

	if (speed.over)
		return true;
	speed.count += count;
	speed.bytes += bytes;
	gone = rdtsc() - speed.start;
	if (!speed.counting && gone >= speed.period / WARM)
		speed_count_from_here();
	else if (speed.counting && gone >= speed.period)
		speed_count_to_here();
	return speed.over;
}

void speed_hush(unsigned queue)
{
	struct virtio_queue *q = &speed.dev->queue[queue];

	q->avail[0] = 1;
	q->avail[2 + q->size] = (uint16_t)(q->used_idx - 1);
}

bool speed_wait(unsigned queue, unsigned ahead)
{
	struct virtio_queue *q = &speed.dev->queue[queue];
	uint64_t seen = speed_irq_count;
	unsigned spins = 0;

	if (speed.irq) {
		q->avail[0] = 0;
		q->avail[2 + q->size] = (uint16_t)(q->used_idx + ahead);
		barrier_full();
	}
	/* By interrupts, what came before the wish needs none. */
	while (q->used[1] == q->used_idx ||
		(speed.irq && spins > 0 && speed_irq_count == seen)) {
		if (++spins % 65536 == 0 && rdtsc() > speed.give_up)
			return false;
		cpu_pause();
	}
	if (speed.irq)
		speed_hush(queue);
	return true;
}

/* ---- kernel mode ---------------------------------------------------------*/

static void in_user_mode(void (*fn)(void *arg))
{
	user_enter(&boot_cpu, fn, NULL, stack + STACK_PAGES * PAGE_SIZE);
}

/* Opened at its first job; the rings go on from there. */
static const char *find_device(const struct speed_job *job)
{
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, n = virtio_find(place);
	const char *why;

	for (i = 0; i < n && virtio_probe(place[i].gpa) != job->id; i++)
		;
	if (i == n)
		return "no such device";
	speed.dev = &devices[i];
	speed_irq_gpa = place[i].gpa;
	if (speed.dev->gpa != 0)
		return NULL;
	why = virtio_open_deep(speed.dev, &place[i], 0, job->queues, i,
		speed.irq, VIRTIO_DEEP);
	if (why == NULL && speed.irq && !speed.dev->irq)
		why = "has no interrupt that we know of";
	if (why != NULL)
		return why;
	trap_gate(speed.dev->vector, speed_irq);
	page_user_block(speed.dev->gpa);
	for (i = 0; i < job->queues; i++)
		speed_hush(i);
	if (job->set_up != NULL)
		in_user_mode(job->set_up);
	return NULL;
}

static const struct speed_job *job_named(const char *word)
{
	static const struct speed_job *const lists[] = {speed_blk_jobs,
		speed_net_jobs, speed_rng_jobs, speed_vsock_jobs};
	const struct speed_job *job;
	unsigned i;

	for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (job = lists[i]; job->name != NULL; job++)
			if (word_is(word, job->name))
				return job;
	return NULL;
}

static void parse_numbers(const char *word)
{
	unsigned i;

	for (i = 0; i < SPEED_NUMBER; i++) {
		while (*word != ':' && *word != ' ' && *word != '\0')
			word++;
		speed.number[i] = 0;
		if (*word == ':')
			speed.number[i] = parse_uint(word + 1, &word);
	}
}

static void wait_for_host(const char *what)
{
	print("speed: %s ready\n", what);
	while (console_getc() < 0)
		;
}

static void run_job(const char *word)
{
	const struct speed_job *job = job_named(word);
	const char *why;

	if (job == NULL) {
		check("job", false);
		return;
	}
	parse_numbers(word);
	why = find_device(job);
	if (why != NULL) {
		print("speed: %s: %s\n", job->name, why);
		check(job->name, false);
		return;
	}
	if (job->waits)
		wait_for_host(job->name);
	in_user_mode(job->run);
	print("speed: %s:%lu %s %lu bytes %lu ticks %lu kicks %lu "
	      "interrupts %lu wrong %lu\n",
		job->name, speed.number[0], job->unit, speed.count, speed.bytes,
		speed.ticks, speed.kicks, speed.irqs, speed.wrong);
	check(job->name, speed.over && speed.count > 0 && speed.wrong == 0);
}

/* Every device in use, and nothing to do. */
static void idle(void)
{
	static const uint8_t queues[] = {
		[1] = 2, [2] = 1, [4] = 1, [5] = 2, [19] = 3};
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, n = virtio_find(place), opened = 0;
	uint32_t id;

	for (i = 0; i < n; i++) {
		id = virtio_probe(place[i].gpa);
		if (id < sizeof(queues) && queues[id] != 0)
			opened += virtio_open(&devices[i], &place[i], 0,
					  queues[id], i, false) == NULL;
	}
	print("speed: idle with %u devices\n", opened);
	power_halt();
}

static bool have_memory(void)
{
	struct boot_ram ram[BOOT_RAM_MAX];
	unsigned i, n = boot_ram_map(ram);

	for (i = 0; i < n; i++)
		if (ram[i].gpa <= SPEED_DATA &&
			ram[i].gpa + ram[i].size >= SPEED_DATA + SPEED_BYTES)
			return true;
	return false;
}

bool guest_main(void)
{
	const char *word;
	unsigned i;

	cpu_init(&boot_cpu, 0);
	apic_init();
	print("speed: entry %s\n", boot_entry_name());
	if (boot_word("idle", 0) != NULL)
		idle();
	if (!check("memory", have_memory()))
		return check_summary("speed");
	page_user_image();
	page_map(SPEED_DATA, SPEED_BYTES);
	stack = page_alloc(STACK_PAGES);
	speed.irq = boot_number("irq", 1) != 0;
	speed.period = boot_number("tsc", 2000000) * boot_number("ms", 500);
	if (boot_word("wait", 0) != NULL)
		wait_for_host("guest");
	for (i = 0; (word = boot_word("job", i)) != NULL; i++)
		run_job(word);
	for (i = 0; i < VIRTIO_MAX; i++)
		if (devices[i].gpa != 0)
			virtio_close(&devices[i]);
	return check_summary("speed");
}
