/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/load.c - keeps every disk and every entropy source busy at once, with
 * many requests in flight, and checks each answer.  Writes on every disk that
 * is not read-only!
 *
 * It sleeps as a driver does: between two looks at a ring it waits for the
 * device's interrupt alone, so a lost kick, answer or interrupt stops it.  The
 * work is done in user mode, natively even where kernel code is emulated; the
 * kernel half sets up, takes interrupts and prints.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/virtio.h"

#define SECTOR	    512u
#define SPAN	    8u /* sectors of a request: a page */
#define WORDS	    (PAGE_SIZE / 8)
#define BLK_F_RO    5u
#define BLK_F_FLUSH 9u
#define BLK_WANTED  (1ull << BLK_F_RO | 1ull << BLK_F_FLUSH)
#define BLK_IN	    0u
#define BLK_OUT	    1u
#define BLK_FLUSH   4u
#define BLK_OK	    0u
#define BLK_IOERR   1u
#define BLK_NONE    0xeeu /* our own: the device wrote no status */
#define BLK_CHAIN   3u	  /* descriptors of a slot: header, data, status */
#define FLUSH_EVERY 16u	  /* writes of a slot */
#define RNG_BYTES   64u
#define RNG_DEPTH   4u
#define SLOTS_MAX   (VIRTIO_DEPTH / BLK_CHAIN)
#define STACK_PAGES 4u
#define CANARY	    0xa5a5a5a5a5a5a5a5ull
#define DESC_NEXT   1u
#define DESC_WRITE  2u

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

/* One request that is made again and again.  Of a disk it has a part that is
 * its alone: written, sometimes flushed, read back and compared. */
struct slot {
	struct blk_header *header; /* disks: in a page, with the status */
	volatile uint8_t *status;
	volatile uint64_t *data; /* a page */
	uint64_t sector, version;
	uint64_t random; /* rng: the first word of the last answer */
	bool busy;
};

struct source {
	struct virtio_device dev;
	unsigned number; /* which device it is */
	bool is_disk, can_flush;
	unsigned chain; /* descriptors of a slot */
	unsigned slots;
	struct slot slot[SLOTS_MAX];
	uint64_t seen;	  /* interrupts, before the ring was last looked at */
	uint64_t answers; /* since the last report */
};

/* Shared by the halves; each runs only while the other waits. */
static struct {
	struct source *source[VIRTIO_MAX];
	unsigned sources;
	uint64_t answers, reads, writes, flushes, randoms;
	uint64_t errors;
	bool bear_errors;  /* ask again what a disk cannot do */
	uint64_t until;	   /* come out at so many, one of each at least */
	const char *wrong; /* NULL: all is well */
	const struct source *wrong_source;
	uint64_t want, got;
} load;

static struct cpu boot_cpu;

/* ---- user mode: what is asked and answered -------------------------------*/

static bool complain(
	const struct source *s, const char *what, uint64_t want, uint64_t got)
{
	load.wrong = what;
	load.wrong_source = s;
	load.want = want;
	load.got = got;
	return false;
}

static uint64_t pattern(const struct slot *slot, unsigned word)
{
	return (slot->sector + word / (SECTOR / 8)) * 0x9e3779b97f4a7c15ull +
	       (slot->version << 32) + word;
}

/* Next is a request of @type; its descriptors are those of slot @i. */
static void ask_disk(struct source *s, unsigned i, uint32_t type)
{
	struct virtq_desc *desc = &s->dev.queue[0].desc[i * BLK_CHAIN];
	struct slot *slot = &s->slot[i];
	unsigned w;

	if (type == BLK_OUT)
		slot->version++;
	for (w = 0; w < WORDS && type != BLK_FLUSH; w++)
		slot->data[w] = type == BLK_OUT ? pattern(slot, w) : CANARY;
	slot->header->type = type;
	slot->header->sector = type == BLK_FLUSH ? 0 : slot->sector;
	*slot->status = BLK_NONE;
	desc[0].next = (uint16_t)(i * BLK_CHAIN + (type == BLK_FLUSH ? 2 : 1));
	desc[1].flags = DESC_NEXT | (type == BLK_IN ? DESC_WRITE : 0);
}

static bool compare(const struct source *s, const struct slot *slot)
{
	unsigned w;

	for (w = 0; w < WORDS; w++)
		if (slot->data[w] != pattern(slot, w))
			return complain(
				s, "data", pattern(slot, w), slot->data[w]);
	return true;
}

static bool disk_answered(struct source *s, unsigned i, uint32_t len)
{
	struct slot *slot = &s->slot[i];
	uint32_t type = slot->header->type;
	uint32_t want = (type == BLK_IN ? SPAN * SECTOR : 0) + 1;

	if (load.bear_errors && *slot->status == BLK_IOERR) {
		load.errors++;
		/* The same version again, whatever has got there. */
		slot->version -= type == BLK_OUT;
		ask_disk(s, i, type);
		return true;
	}
	if (*slot->status != BLK_OK)
		return complain(s, "status", BLK_OK, *slot->status);
	if (len != want)
		return complain(s, "length", want, len);
	if (type == BLK_IN) {
		load.reads++;
		if (!compare(s, slot))
			return false;
		ask_disk(s, i, BLK_OUT);
	} else if (type == BLK_FLUSH) {
		load.flushes++;
		ask_disk(s, i, BLK_IN);
	} else {
		load.writes++;
		ask_disk(s, i,
			s->can_flush && slot->version % FLUSH_EVERY == 0
				? BLK_FLUSH
				: BLK_IN);
	}
	return true;
}

static bool rng_answered(struct source *s, unsigned i, uint32_t len)
{
	struct slot *slot = &s->slot[i];

	if (len == 0 || len > RNG_BYTES)
		return complain(s, "length", RNG_BYTES, len);
	if (slot->data[RNG_BYTES / 8] != CANARY)
		return complain(
			s, "overrun", CANARY, slot->data[RNG_BYTES / 8]);
	if (len >= 8 && slot->data[0] == slot->random)
		return complain(s, "random number", 0, slot->random);
	load.randoms++;
	slot->random = slot->data[0];
	return true;
}

/* ---- user mode: rings ----------------------------------------------------*/

static void offer(struct source *s, unsigned i)
{
	struct virtio_queue *q = &s->dev.queue[0];

	s->slot[i].busy = true;
	q->avail[2 + q->avail_idx % q->size] = (uint16_t)(i * s->chain);
	barrier();
	q->avail[1] = ++q->avail_idx;
}

/* Ask for an interrupt at the next answer. */
static void arm(struct source *s)
{
	struct virtio_queue *q = &s->dev.queue[0];

	q->avail[0] = 0;
	q->avail[2 + q->size] = q->used_idx;
	barrier_full();
}

/* Take one answer and ask the next question. */
static bool turn(struct source *s)
{
	struct virtio_queue *q = &s->dev.queue[0];
	const volatile uint32_t *used = (const volatile uint32_t *)&q->used[2];
	uint32_t head = used[2 * (q->used_idx % q->size)];
	uint32_t len = used[2 * (q->used_idx % q->size) + 1];
	unsigned i = head / s->chain;

	q->used_idx++;
	if (head % s->chain != 0 || i >= s->slots || !s->slot[i].busy)
		return complain(s, "answer to nothing", 0, head);
	s->slot[i].busy = false;
	if (!(s->is_disk ? disk_answered(s, i, len) : rng_answered(s, i, len)))
		return false;
	load.answers++;
	s->answers++;
	offer(s, i);
	return true;
}

/* All answers there are; then the next one brings an interrupt. */
static bool serve(struct source *s)
{
	struct virtio_queue *q = &s->dev.queue[0];

	s->seen = virtio_irqs(&s->dev);
	do {
		barrier();
		while (q->used[1] != q->used_idx) {
			barrier();
			if (!turn(s))
				return false;
		}
		virtio_kick(&s->dev, 0);
		arm(s);
	} while (q->used[1] != q->used_idx);
	return true;
}

static void start(struct source *s)
{
	unsigned i;

	s->seen = virtio_irqs(&s->dev);
	for (i = 0; i < s->slots; i++) {
		if (s->is_disk)
			ask_disk(s, i, BLK_OUT);
		offer(s, i);
	}
	arm(s);
	virtio_kick(&s->dev, 0);
}

static void user_start(void *arg)
{
	unsigned i;

	for (i = 0; i < load.sources; i++)
		start(load.source[i]);
	user_leave(0);
}

/* Enough answers, and one of every source at least?  One that is stuck must
 * not hide behind the others. */
static bool time_to_report(void)
{
	unsigned i;

	if (load.answers < load.until)
		return false;
	for (i = 0; i < load.sources; i++)
		if (load.source[i]->answers == 0)
			return false;
	for (i = 0; i < load.sources; i++)
		load.source[i]->answers = 0;
	return true;
}

static void user_main(void *arg)
{
	struct source *s;
	unsigned i;

	while (!time_to_report()) {
		cpu_pause();
		for (i = 0; i < load.sources; i++) {
			s = load.source[i];
			if (virtio_irqs(&s->dev) != s->seen && !serve(s))
				user_leave(1);
		}
	}
	user_leave(0);
}

/* ---- kernel mode ---------------------------------------------------------*/

static void describe(struct virtq_desc *desc, volatile void *at, uint32_t len,
	uint16_t flags)
{
	*desc = (struct virtq_desc){
		.addr = (uint64_t)at, .len = len, .flags = flags};
}

static void set_up_disk_slot(struct source *s, unsigned i)
{
	struct virtq_desc *desc = &s->dev.queue[0].desc[i * BLK_CHAIN];
	struct slot *slot = &s->slot[i];

	slot->header = page_alloc(1);
	slot->status = (volatile uint8_t *)(slot->header + 1);
	slot->data = page_alloc(1);
	slot->sector = i * SPAN;
	describe(&desc[0], slot->header, sizeof(*slot->header), DESC_NEXT);
	describe(&desc[1], slot->data, SPAN * SECTOR, DESC_NEXT);
	desc[1].next = (uint16_t)(i * BLK_CHAIN + 2);
	describe(&desc[2], slot->status, 1, DESC_WRITE);
}

static void set_up_rng_slot(struct source *s, unsigned i)
{
	struct slot *slot = &s->slot[i];

	slot->data = page_alloc(1);
	slot->data[RNG_BYTES / 8] = CANARY;
	describe(&s->dev.queue[0].desc[i], slot->data, RNG_BYTES, DESC_WRITE);
}

/* How many requests it can take at a time; 0: leave it alone. */
static unsigned depth_of(const struct source *s)
{
	uint64_t depth = boot_number("depth", 16), fit;

	if (!s->is_disk)
		return RNG_DEPTH;
	if ((s->dev.features >> BLK_F_RO & 1) != 0)
		return 0;
	if (depth > s->dev.queue[0].size / BLK_CHAIN)
		depth = s->dev.queue[0].size / BLK_CHAIN;
	fit = (virtio_config32(&s->dev, 0) |
		      (uint64_t)virtio_config32(&s->dev, 4) << 32) /
	      SPAN;
	return (unsigned)(depth < fit ? depth : fit);
}

/* False: @place cannot be opened. */
static bool add_source(const struct virtio_place *place, unsigned number)
{
	struct source *s = page_alloc((sizeof(*s) + PAGE_SIZE - 1) / PAGE_SIZE);
	uint32_t id = virtio_probe(place->gpa);
	const char *why;
	unsigned i;

	if (id != VIRTIO_ID_BLOCK && id != VIRTIO_ID_RNG)
		return true;
	s->number = number;
	s->is_disk = id == VIRTIO_ID_BLOCK;
	s->chain = s->is_disk ? BLK_CHAIN : 1;
	why = virtio_open(
		&s->dev, place, s->is_disk ? BLK_WANTED : 0, 1, number, true);
	if (why == NULL && !s->dev.irq)
		why = "has no interrupt that we know of";
	if (why != NULL) {
		print("load: device %u: %s\n", number, why);
		return false;
	}
	s->can_flush = (s->dev.features >> BLK_F_FLUSH & 1) != 0;
	s->slots = depth_of(s);
	print("load: device %u %s depth %u\n", number,
		s->is_disk ? "disk" : "rng", s->slots);
	for (i = 0; i < s->slots; i++)
		if (s->is_disk)
			set_up_disk_slot(s, i);
		else
			set_up_rng_slot(s, i);
	if (s->slots > 0)
		load.source[load.sources++] = s;
	return true;
}

static bool set_up(void)
{
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, n = virtio_find(place);

	page_user_image();
	for (i = 0; i < n; i++)
		if (!add_source(&place[i], i))
			return false;
	for (i = 0; i < load.sources; i++)
		page_user_block(load.source[i]->dev.gpa);
	if (load.sources == 0)
		print("load: no device to load\n");
	return load.sources > 0;
}

/* To the end, or to the first wrong answer. */
static bool run(uint64_t requests, uint64_t report)
{
	uint8_t *stack = page_alloc(STACK_PAGES);

	user_enter(
		&boot_cpu, user_start, NULL, stack + STACK_PAGES * PAGE_SIZE);
	while (requests == 0 || load.answers < requests) {
		load.until = report ? load.answers + report : ~0ull;
		if (requests != 0 && load.until > requests)
			load.until = requests;
		user_enter(&boot_cpu, user_main, NULL,
			stack + STACK_PAGES * PAGE_SIZE);
		if (load.wrong != NULL) {
			print("load: WRONG device %u %s want=%lx got=%lx\n",
				load.wrong_source->number, load.wrong,
				load.want, load.got);
			return false;
		}
		print("load: answers %lu reads %lu writes %lu flushes %lu "
		      "randoms %lu\n",
			load.answers, load.reads, load.writes, load.flushes,
			load.randoms);
		if (load.bear_errors)
			print("load: errors %lu\n", load.errors);
	}
	return true;
}

/* The end comes with requests in flight; that is part of the load. */
bool guest_main(void)
{
	bool ok;

	cpu_init(&boot_cpu, 0);
	apic_init();
	print("load: entry %s\n", boot_entry_name());
	load.bear_errors = boot_number("errors", 0) != 0;
	ok = set_up() &&
	     run(boot_number("requests", 1000), boot_number("report", 1000));
	print("load: verdict %s\n", ok ? "ok" : "FAIL");
	return ok;
}
