/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile.c - attacks every device it finds, case by case, and checks
 * after each that a good driver still gets what it wants.
 *
 * The cases are in hostile_*.c, the words and lines in README.md.
 */
#include "kernels/hostile.h"

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/power.h"
#include "kernels/lib/string.h"

static struct cpu boot_cpu;
static struct victim victims[VIRTIO_MAX];
static unsigned victim_count;

static const struct hostile_case *const tables[] = {
	hostile_mmio,
	hostile_setup,
	hostile_queue,
	hostile_flood,
	hostile_blk,
	hostile_net,
	hostile_small,
	hostile_balloon,
	hostile_vsock,
	hostile_machine,
};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

static const char *why; /* the first thing that went wrong in a case */
static uint64_t where;
static bool have_where;

bool wrong(const char *text)
{
	if (why == NULL) {
		why = text;
		have_where = false;
	}
	return false;
}

bool wrong_at(const char *text, uint64_t at)
{
	if (why == NULL) {
		why = text;
		where = at;
		have_where = true;
	}
	return false;
}

uint32_t chance(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15ull;

	x = x * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(x >> 32);
}

uint64_t ram_end(void)
{
	struct boot_ram ram[BOOT_RAM_MAX];
	unsigned i, n = boot_ram_map(ram);
	uint64_t here = (uint64_t)victims;

	for (i = 0; i < n; i++)
		if (here >= ram[i].gpa && here - ram[i].gpa < ram[i].size)
			return ram[i].gpa + ram[i].size;
	guest_fail("we are in no range of RAM");
}

/* Is @name among the words @key=?  No such words: @otherwise. */
static bool chosen(const char *key, const char *name, bool otherwise)
{
	const char *word;
	unsigned i;

	for (i = 0;; i++) {
		word = boot_word(key, i);
		if (word == NULL)
			return i == 0 ? otherwise : false;
		if (word_is(word, name))
			return true;
	}
}

/* One case on one victim (NULL: the machine).  @number: for from=. */
static void run_case(
	const struct hostile_case *c, struct victim *v, uint64_t number)
{
	const char *on = v != NULL ? v->name : "machine";
	char name[64];
	size_t a = strlen(on), b = strlen(c->name);
	unsigned i;
	bool ok;

	if (number < boot_number("from", 0) || a + b + 2 > sizeof(name) ||
		!chosen("case", c->name, true) || !chosen("on", on, true))
		return;
	memcpy(name, on, a);
	name[a] = ' ';
	memcpy(name + a + 1, c->name, b + 1);
	print("hostile: %lu %s\n", number, name);
	why = NULL;
	ok = c->run(v);
	/* After an attack on one, all of them must be well; to look at its
	 * victim is enough but for the machine's cases. */
	if (v != NULL && !good_driver(v))
		ok = false;
	for (i = 0; v == NULL && i < victim_count; i++)
		ok = good_driver(&victims[i]) && ok;
	if (!check(name, ok) && why != NULL) {
		print("hostile: %s: %s", name, why);
		if (have_where)
			print(" %lx", where);
		print("\n");
	}
}

static void run_all(void)
{
	const struct hostile_case *c;
	uint64_t number = 0;
	unsigned t, i;

	for (t = 0; t < TABLES; t++)
		for (c = tables[t]; c->name != NULL; c++) {
			if (c->id == ID_MACHINE)
				run_case(c, NULL, number++);
			for (i = 0; i < victim_count; i++)
				if (c->id == ID_ANY || c->id == victims[i].id)
					run_case(c, &victims[i], number++);
		}
}

/* Every case and what it asks of a device. */
static void list(void)
{
	const struct hostile_case *c;
	unsigned t, n = 0;

	for (t = 0; t < TABLES; t++)
		for (c = tables[t]; c->name != NULL; c++, n++)
			print("hostile: case %s must: %s\n", c->name, c->must);
	print("hostile: cases %u\n", n);
}

static void find_victims(void)
{
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, n = virtio_find(place), seen[32] = {0};
	struct victim *v;

	for (i = 0; i < n; i++) {
		v = &victims[victim_count];
		if (!victim_init(v, place[i].gpa,
			    seen[virtio_probe(place[i].gpa) % 32]++))
			continue;
		print("hostile: %s at %lx features %lx queues %u\n", v->name,
			v->gpa, v->offered, v->queues);
		why = NULL;
		if (check(v->name, good_driver(v)))
			victim_count++;
		else
			print("hostile: %s: %s\n", v->name,
				why != NULL ? why : "?");
	}
}

bool guest_main(void)
{
	uint64_t loops, i;

	cpu_init(&boot_cpu, 0);
	apic_init();
	print("hostile: entry %s\n", boot_entry_name());
	if (boot_word("list", 0) != NULL) {
		list();
		return true;
	}
	find_victims();
	check("devices_found", victim_count > 0);
	if (boot_word("wait", 0) != NULL) {
		print("hostile: ready\n");
		while (console_getc() < 0)
			rest();
	}
	loops = boot_number("loops", 1);
	for (i = 0; i < loops || loops == 0; i++)
		run_all();
	if (boot_word("wait", 0) != NULL) {
		print("hostile: done\n");
		while (console_getc() < 0)
			rest();
	}
	return check_summary("hostile");
}
