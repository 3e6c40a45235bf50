/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/virtio.c - drives rng, blk and console devices and verifies what
 * they do.  Writes on every disk that is not read-only!
 *
 * Each device is run twice: by polling and by interrupt.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"
#include "kernels/lib/virtio.h"

#define PATIENCE_MS 20000u
#define CANARY	    0xa5
#define RNG_BYTES   64u

#define SECTOR	    512u
#define BLK_F_RO    5u
#define BLK_F_FLUSH 9u
#define BLK_WANTED  (1ull << BLK_F_RO | 1ull << BLK_F_FLUSH)
#define BLK_IN	    0u
#define BLK_OUT	    1u
#define BLK_FLUSH   4u
#define BLK_GET_ID  8u
#define BLK_UNKNOWN 0x7777u
#define BLK_OK	    0u
#define BLK_IOERR   1u
#define BLK_UNSUPP  2u
#define BLK_NONE    0xeeu /* our own: the device wrote no status */
#define BLK_BATCH   16u	  /* requests in flight at once */
#define BLK_SPAN    16u	  /* sectors of the large request */

struct blk_request { /* each in its own page: header, status; data behind */
	uint32_t type, reserved;
	uint64_t sector;
	volatile uint8_t status;
};

static struct cpu boot_cpu;
static struct virtio_device dev;
static const char *prefix; /* "rng0 irq": leads the name of a check */

static bool report(const char *what, bool ok)
{
	char name[64];
	size_t a = strlen(prefix), b = strlen(what);

	if (a + b + 2 > sizeof(name))
		return check(what, ok);
	memcpy(name, prefix, a);
	name[a] = ' ';
	memcpy(name + a + 1, what, b + 1);
	return check(name, ok);
}

/* Add one request, kick, wait for it.  Return: bytes written, or -1. */
static int64_t submit(
	unsigned queue, const struct virtio_buffer *buf, unsigned n)
{
	struct virtio_done done;
	int head = virtio_add(&dev, queue, buf, n);

	if (head < 0)
		return -1;
	virtio_kick(&dev, queue);
	if (!virtio_wait(&dev, queue, PATIENCE_MS, &done) || done.head != head)
		return -1;
	return done.len;
}

/* ---- rng -----------------------------------------------------------------*/

/* Return: bytes given; -1 if the device lied about them or gave none. */
static int64_t random_bytes(uint8_t *data)
{
	struct virtio_buffer buf = {data, RNG_BYTES, true};
	int64_t len, i;

	memset(data, CANARY, 2 * RNG_BYTES);
	len = submit(0, &buf, 1);
	if (len <= 0 || len > RNG_BYTES)
		return -1;
	for (i = len; i < 2 * RNG_BYTES; i++)
		if (data[i] != CANARY)
			return -1;
	return len;
}

static void test_rng(void)
{
	uint8_t *data = page_alloc(1);
	int64_t a, b, least;

	a = random_bytes(data);
	b = random_bytes(data + 1024);
	report("length", a > 0 && b > 0);
	least = a < b ? a : b;
	if (least >= 8)
		report("differs",
			memcmp(data, data + 1024, (size_t)least) != 0);
	else
		report("differs", false);
}

/* ---- blk -----------------------------------------------------------------*/

/* What a sector of the test pattern holds. */
static void pattern(uint64_t *data, uint64_t sector, uint64_t salt)
{
	unsigned i;

	for (i = 0; i < SECTOR / 8; i++)
		data[i] = (sector + 1) * 0x9e3779b97f4a7c15ull + salt + i;
}

static bool pattern_holds(
	const uint64_t *data, uint64_t sector, uint64_t salt, unsigned count)
{
	uint64_t want[SECTOR / 8];
	unsigned i;

	for (i = 0; i < count; i++) {
		pattern(want, sector + i, salt);
		if (memcmp(data + i * SECTOR / 8, want, SECTOR) != 0)
			return false;
	}
	return true;
}

static void blk_prepare(struct blk_request *rq, struct virtio_buffer *buf,
	uint32_t type, uint64_t sector)
{
	rq->type = type;
	rq->reserved = 0;
	rq->sector = sector;
	rq->status = BLK_NONE;
	*buf = (struct virtio_buffer){rq, 16, false};
}

/* One request with its data in @parts equal pieces.  Return: its status. */
static unsigned blk(struct blk_request *rq, uint32_t type, uint64_t sector,
	void *data, uint32_t len, unsigned parts)
{
	struct virtio_buffer buf[VIRTIO_CHAIN];
	bool in = type == BLK_IN || type == BLK_GET_ID;
	unsigned i, n = 1;
	int64_t got;

	blk_prepare(rq, &buf[0], type, sector);
	for (i = 0; i < parts; i++)
		buf[n++] = (struct virtio_buffer){
			(uint8_t *)data + i * (len / parts), len / parts, in};
	buf[n++] =
		(struct virtio_buffer){(void *)(uintptr_t)&rq->status, 1, true};
	got = submit(0, buf, n);
	if (got < 0)
		return BLK_NONE;
	/* The length covers what was written: status, and all data read. */
	if (rq->status == BLK_OK && got != (in ? (int64_t)len : 0) + 1 &&
		type != BLK_GET_ID)
		return BLK_NONE;
	return rq->status;
}

static void blk_id(struct blk_request *rq)
{
	char id[21];
	unsigned i;
	bool ok;

	memset(id, 0, sizeof(id));
	ok = blk(rq, BLK_GET_ID, 0, id, 20, 1) == BLK_OK;
	for (i = 0; id[i] != '\0'; i++)
		if (id[i] < ' ' || id[i] > '~')
			ok = false;
	print("virtio: %s id \"%s\"\n", prefix, ok ? id : "");
	report("id", ok);
}

static void blk_write_read(
	struct blk_request *rq, uint64_t capacity, uint64_t salt)
{
	uint64_t *data = page_alloc(BLK_SPAN * SECTOR / PAGE_SIZE);
	uint64_t last = capacity - 1, mid = capacity / 2;
	unsigned span = capacity < 2 * BLK_SPAN ? 1 : BLK_SPAN, i;
	bool ok = true;

	pattern(data, 0, salt);
	ok &= blk(rq, BLK_OUT, 0, data, SECTOR, 1) == BLK_OK;
	pattern(data, last, salt);
	ok &= blk(rq, BLK_OUT, last, data, SECTOR, 2) == BLK_OK;
	for (i = 0; i < span; i++)
		pattern(data + i * SECTOR / 8, mid - span + i, salt);
	if (capacity >= 4)
		ok &= blk(rq, BLK_OUT, mid - span, data, span * SECTOR, 4) ==
		      BLK_OK;
	report("write", ok);
	if ((dev.features >> BLK_F_FLUSH & 1) != 0)
		report("flush", blk(rq, BLK_FLUSH, 0, NULL, 0, 0) == BLK_OK);
	else
		check_skip("flush", "not offered");
}

static void blk_verify(struct blk_request *rq, uint64_t capacity, uint64_t salt)
{
	uint64_t *data = page_alloc(BLK_SPAN * SECTOR / PAGE_SIZE);
	uint64_t last = capacity - 1, mid = capacity / 2;
	unsigned span = capacity < 2 * BLK_SPAN ? 1 : BLK_SPAN;
	bool ok = true;

	ok &= blk(rq, BLK_IN, 0, data, SECTOR, 1) == BLK_OK &&
	      pattern_holds(data, 0, salt, 1);
	ok &= blk(rq, BLK_IN, last, data, SECTOR, 2) == BLK_OK &&
	      pattern_holds(data, last, salt, 1);
	if (capacity >= 4)
		ok &= blk(rq, BLK_IN, mid - span, data, span * SECTOR, 8) ==
			      BLK_OK &&
		      pattern_holds(data, mid - span, salt, span);
	report("verify", ok);
}

/* Many reads at once, one kick; each must bring its own sector. */
static void blk_batch(uint64_t capacity)
{
	uint8_t *page[BLK_BATCH];
	struct virtio_buffer buf[3];
	struct virtio_done done;
	struct blk_request *rq;
	unsigned i, added = 0, right = 0;

	for (i = 0; i < BLK_BATCH; i++, added++) {
		page[i] = page_alloc(1);
		rq = (struct blk_request *)page[i];
		memset(page[i] + SECTOR, CANARY, SECTOR);
		blk_prepare(rq, &buf[0], BLK_IN, i % 2 == 0 ? 0 : capacity - 1);
		buf[1] = (struct virtio_buffer){page[i] + SECTOR, SECTOR, true};
		buf[2] = (struct virtio_buffer){
			(void *)(uintptr_t)&rq->status, 1, true};
		if (virtio_add(&dev, 0, buf, 3) < 0)
			break;
	}
	virtio_kick(&dev, 0);
	for (i = 0; i < added; i++)
		if (!virtio_wait(&dev, 0, PATIENCE_MS, &done))
			break;
	for (i = 0; i < added; i++) {
		rq = (struct blk_request *)page[i];
		right += rq->status == BLK_OK &&
			 memcmp(page[i] + SECTOR, page[i % 2] + SECTOR,
				 SECTOR) == 0;
	}
	report("batch", added > 1 && right == added);
}

static void blk_refusals(
	struct blk_request *rq, uint64_t capacity, bool readonly)
{
	uint64_t *data = page_alloc(1);

	report("past_end",
		blk(rq, BLK_IN, capacity, data, SECTOR, 1) == BLK_IOERR);
	report("across_end", blk(rq, BLK_IN, capacity - 1, data, 2 * SECTOR,
				     1) == BLK_IOERR);
	report("far_past_end",
		blk(rq, BLK_IN, ~0ull, data, SECTOR, 1) == BLK_IOERR);
	report("unknown_type",
		blk(rq, BLK_UNKNOWN, 0, data, SECTOR, 1) == BLK_UNSUPP);
	if (readonly)
		report("write_refused",
			blk(rq, BLK_OUT, 0, data, SECTOR, 1) == BLK_IOERR);
	else
		report("write_past_end", blk(rq, BLK_OUT, capacity, data,
						 SECTOR, 1) == BLK_IOERR);
}

static void test_blk(void)
{
	struct blk_request *rq = page_alloc(1);
	uint64_t salt = boot_number("salt", 1), *data = page_alloc(1);
	uint64_t capacity = virtio_config32(&dev, 0) |
			    (uint64_t)virtio_config32(&dev, 4) << 32;
	const char *word = boot_word("blk", 0);
	bool readonly = (dev.features >> BLK_F_RO & 1) != 0;
	bool verify = word != NULL && word_is(word, "verify");

	print("virtio: %s sectors %lu%s\n", prefix, capacity,
		readonly ? " read-only" : "");
	if (!report("capacity", capacity > 0))
		return;
	blk_id(rq);
	report("read", blk(rq, BLK_IN, 0, data, SECTOR, 1) == BLK_OK);
	if (!readonly && !verify)
		blk_write_read(rq, capacity, salt);
	if (!readonly || verify)
		blk_verify(rq, capacity, salt);
	blk_batch(capacity);
	blk_refusals(rq, capacity, readonly);
}

/* ---- console -------------------------------------------------------------*/

/* Take a line from the host and send it back. */
static bool echo(uint8_t *data)
{
	struct virtio_buffer in = {data, 1024, true};
	struct virtio_buffer out = {data + 1024, 0, false};
	int64_t got;

	do {
		got = submit(0, &in, 1);
		if (got <= 0 || got > in.len || out.len + got > 1024)
			return false;
		memcpy(data + 1024 + out.len, data, (size_t)got);
		out.len += (uint32_t)got;
	} while (data[1024 + out.len - 1] != '\n');
	return submit(1, &out, 1) == 0;
}

static void test_console(void)
{
	static const char line[] = "virtio: console says hello\n";
	uint8_t *data = page_alloc(1);
	struct virtio_buffer buf = {data, sizeof(line) - 1, false};

	memcpy(data, line, sizeof(line));
	report("print", submit(1, &buf, 1) == 0);
	if (boot_word("echo", 0) != NULL)
		report("echo", echo(data));
}

/* ---- all of them ---------------------------------------------------------*/

static const struct kind {
	uint32_t id;
	unsigned queues;
	uint64_t wanted;
	void (*test)(void);
	const char *poll, *irq; /* prefixes */
} kinds[] = {
	{VIRTIO_ID_RNG, 1, 0, test_rng, "rng poll", "rng irq"},
	{VIRTIO_ID_BLOCK, 1, BLK_WANTED, test_blk, "blk poll", "blk irq"},
	{VIRTIO_ID_CONSOLE, 2, 0, test_console, "console poll", "console irq"},
};

static const struct kind *find_kind(uint32_t id)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].id == id)
			return &kinds[i];
	return NULL;
}

static void test_device(const struct kind *kind,
	const struct virtio_place *place, unsigned nth, bool irq)
{
	const char *why;

	prefix = irq ? kind->irq : kind->poll;
	why = virtio_open(&dev, place, kind->wanted, kind->queues, nth, irq);
	if (why != NULL)
		print("virtio: %s: %s\n", prefix, why);
	if (!report("open", why == NULL))
		return;
	print("virtio: %s features %lx queue %u\n", prefix, dev.features,
		dev.queue[0].size);
	kind->test();
	if (irq)
		report("interrupts", virtio_irq_wait(&dev, 1, PATIENCE_MS));
	virtio_close(&dev);
}

bool guest_main(void)
{
	struct virtio_place place[VIRTIO_MAX];
	const struct kind *kind;
	unsigned i, n;

	cpu_init(&boot_cpu, 0);
	apic_init();
	print("virtio: entry %s\n", boot_entry_name());
	n = virtio_find(place);
	for (i = 0; i < n; i++) {
		uint32_t id = virtio_probe(place[i].gpa);

		print("virtio: device %u id %u at %lx gsi %d\n", i, id,
			place[i].gpa, (int)place[i].gsi);
		kind = find_kind(id);
		if (kind == NULL) {
			check_skip("device", "no driver for it here");
			continue;
		}
		test_device(kind, &place[i], i, false);
		if (place[i].gsi < IOAPIC_PINS)
			test_device(kind, &place[i], i, true);
	}
	check("devices_found", n > 0);
	return check_summary("virtio");
}
