/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_mmio.c - attacks on the registers of a virtio-mmio device.
 * Source: virtio 1.2, 4.2.2 (registers) and 2.1 (status).
 */
#include "kernels/hostile.h"

#define ONES 0xffffffffu

/* Offsets below the configuration space that 4.2.2 does not define, or gives
 * to features that are not offered. */
static const uint16_t undefined[] = {0x018, 0x01c, 0x028, 0x02c, 0x03c, 0x040,
	0x048, 0x04c, 0x054, 0x058, 0x05c, 0x068, 0x06c, 0x074, 0x078, 0x07c,
	0x088, 0x08c, 0x098, 0x09c, 0x0a8, 0x0c0, 0x0c4, 0x0c8, 0x0cc, 0x0d0,
	0x0e0, 0x0f0, 0x0f8};

static const uint16_t read_only[] = {REG_MAGIC, REG_VERSION, REG_DEVICE_ID,
	REG_VENDOR, REG_FEATURES, REG_QUEUE_MAX, REG_INTERRUPT_STATUS,
	REG_SHM_LEN, REG_SHM_LEN + 4, REG_SHM_LEN + 8, REG_SHM_LEN + 12,
	REG_GENERATION};

static const uint16_t write_only[] = {REG_FEATURES_SEL, REG_DRIVER_FEATURES,
	REG_DRIVER_SEL, REG_QUEUE_SEL, REG_QUEUE_NUM, REG_QUEUE_NOTIFY,
	REG_INTERRUPT_ACK, REG_QUEUE_DESC, REG_QUEUE_DESC + 4, REG_QUEUE_DRIVER,
	REG_QUEUE_DRIVER + 4, REG_QUEUE_DEVICE, REG_QUEUE_DEVICE + 4,
	REG_SHM_SEL};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Up to FEATURES_OK with the work queue set up and ready. */
static bool halfway(struct victim *v)
{
	if (!rig_begin(v, F_VERSION1))
		return false;
	rig_queue(v, v->work, RING_SIZE);
	wr(v, REG_QUEUE_READY, 1);
	return rd(v, REG_QUEUE_READY) == 1 || wrong("the queue is not ready");
}

/* The rest of the way, and a request. */
static bool goes_on(struct victim *v)
{
	wr(v, REG_STATUS, ST_RUNNING);
	if (rd(v, REG_STATUS) != ST_RUNNING)
		return wrong_at("status", rd(v, REG_STATUS));
	return good_request(v);
}

static bool width_read(struct victim *v)
{
	unsigned reg;

	for (reg = 0; reg < REG_CONFIG; reg++) {
		if (rd_width(v, reg, 1) != 0 || rd_width(v, reg, 2) != 0)
			return wrong_at("a narrow read gives something", reg);
		if (reg % 4 != 0 && rd_width(v, reg, 4) != 0)
			return wrong_at("a crooked read gives something", reg);
		if (reg % 8 == 0 && rd_width(v, reg, 8) != 0)
			return wrong_at("a wide read gives something", reg);
	}
	return true;
}

static bool width_write(struct victim *v)
{
	unsigned reg;

	if (!halfway(v))
		return false;
	for (reg = 0; reg < REG_CONFIG; reg++) {
		wr_width(v, reg, 1, 0);
		wr_width(v, reg, 2, 0xffff);
		if (reg % 4 != 0)
			wr_width(v, reg, 4, ONES);
		wr_width(v, reg, 8, 0);
	}
	if (rd(v, REG_QUEUE_READY) != 1)
		return wrong("the queue is not ready any more");
	return goes_on(v);
}

/* Accesses that begin in one thing and end in another. */
static bool width_crossing(struct victim *v)
{
	unsigned reg, n;

	if (!halfway(v))
		return false;
	for (n = 2; n <= 8; n *= 2)
		for (reg = REG_CONFIG - n + 1; reg < REG_CONFIG; reg++) {
			if (rd_width(v, reg, n) != 0)
				return wrong_at("read into the config", reg);
			wr_width(v, reg, n, ~0ull);
		}
	for (n = 2; n <= 8; n *= 2)
		for (reg = REG_END - n + 1; reg < REG_END; reg++) {
			rd_width(v, reg, n);
			wr_width(v, reg, n, ~0ull);
		}
	/* Two pages: KVM makes two exits of one access. */
	for (reg = 0xff9; reg <= 0x1000; reg++) {
		rd_width(v, reg, 8);
		rd_width(v, reg, 4);
		if (reg < 0xffc) /* the other page may be another device */
			wr_width(v, reg, 4, ONES);
	}
	return goes_on(v);
}

static bool undefined_read(struct victim *v)
{
	unsigned i;

	for (i = 0; i < COUNT(undefined); i++)
		if (rd(v, undefined[i]) != 0)
			return wrong_at("not 0", undefined[i]);
	return true;
}

static bool undefined_write(struct victim *v)
{
	unsigned i;

	if (!halfway(v))
		return false;
	for (i = 0; i < COUNT(undefined); i++) {
		wr(v, undefined[i], ONES);
		wr(v, undefined[i], 1);
		wr(v, undefined[i], 0);
	}
	return undefined_read(v) && goes_on(v);
}

static bool read_only_write(struct victim *v)
{
	uint32_t before;
	unsigned i;

	if (!halfway(v))
		return false;
	for (i = 0; i < COUNT(read_only); i++) {
		before = rd(v, read_only[i]);
		wr(v, read_only[i], ~before);
		wr(v, read_only[i], 0);
		if (rd(v, read_only[i]) != before)
			return wrong_at("has changed", read_only[i]);
	}
	return goes_on(v);
}

static bool write_only_read(struct victim *v)
{
	unsigned i;

	if (!halfway(v))
		return false;
	for (i = 0; i < COUNT(write_only); i++)
		if (rd(v, write_only[i]) != 0)
			return wrong_at("not 0", write_only[i]);
	return goes_on(v);
}

static bool features_select(struct victim *v)
{
	static const uint32_t sel[] = {2, 3, 31, 32, 64, 1u << 31, ONES};
	unsigned i;

	if (!rig_reset(v))
		return false;
	wr(v, REG_STATUS, ST_ACKNOWLEDGE);
	wr(v, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER);
	for (i = 0; i < COUNT(sel); i++) {
		wr(v, REG_FEATURES_SEL, sel[i]);
		if (rd(v, REG_FEATURES) != 0)
			return wrong_at("features far up", sel[i]);
		wr(v, REG_DRIVER_SEL, sel[i]);
		wr(v, REG_DRIVER_FEATURES, ONES);
	}
	wr(v, REG_DRIVER_SEL, 1);
	wr(v, REG_DRIVER_FEATURES, 1);
	wr(v, REG_STATUS, ST_READY);
	if (rd(v, REG_STATUS) != ST_READY)
		return wrong("a write elsewhere became a feature");
	return true;
}

static bool refused(struct victim *v, uint64_t features)
{
	unsigned i;

	if (!rig_reset(v))
		return false;
	wr(v, REG_STATUS, ST_ACKNOWLEDGE);
	wr(v, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER);
	for (i = 0; i < 2; i++) {
		wr(v, REG_DRIVER_SEL, i);
		wr(v, REG_DRIVER_FEATURES, (uint32_t)(features >> 32 * i));
	}
	wr(v, REG_STATUS, ST_READY);
	if ((rd(v, REG_STATUS) & ST_FEATURES_OK) != 0)
		return wrong_at("FEATURES_OK with", features);
	/* And it does not start either. */
	wr(v, REG_STATUS, ST_RUNNING);
	if ((rd(v, REG_STATUS) & ST_DRIVER_OK) != 0)
		return wrong("DRIVER_OK without FEATURES_OK");
	return true;
}

static bool features_not_offered(struct victim *v)
{
	unsigned bit;

	for (bit = 0; bit < 64; bit++)
		if ((v->offered >> bit & 1) == 0 &&
			!refused(v, F_VERSION1 | 1ull << bit))
			return false;
	return refused(v, ~0ull);
}

static bool features_legacy(struct victim *v)
{
	return refused(v, 0) && refused(v, v->offered & ~F_VERSION1);
}

static bool features_early(struct victim *v)
{
	if (!rig_reset(v))
		return false;
	wr(v, REG_DRIVER_SEL, 1);
	wr(v, REG_DRIVER_FEATURES, 1);
	wr(v, REG_STATUS, ST_ACKNOWLEDGE);
	wr(v, REG_DRIVER_FEATURES, 1);
	wr(v, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER);
	wr(v, REG_STATUS, ST_READY);
	if ((rd(v, REG_STATUS) & ST_FEATURES_OK) != 0)
		return wrong("features from before DRIVER count");
	return true;
}

/* EVENT_IDX that comes late shows: the device would write avail_event. */
static bool features_late(struct victim *v)
{
	volatile uint16_t *event = &v->ring[v->work].used[2 + 4 * RING_SIZE];

	if (!halfway(v))
		return false;
	*event = 0xbeef;
	wr(v, REG_DRIVER_SEL, 0);
	wr(v, REG_DRIVER_FEATURES, ONES);
	if (!goes_on(v))
		return false;
	wr(v, REG_DRIVER_FEATURES, ONES);
	wr(v, REG_STATUS, ST_READY);
	if (!good_request(v))
		return false;
	return *event == 0xbeef || wrong("features after FEATURES_OK count");
}

static bool status_skip(struct victim *v)
{
	static const uint8_t skips[][2] = {
		{0, ST_DRIVER},
		{0, ST_FEATURES_OK},
		{0, ST_DRIVER_OK},
		{0, ST_RUNNING & ~ST_ACKNOWLEDGE},
		{ST_ACKNOWLEDGE, ST_ACKNOWLEDGE | ST_FEATURES_OK},
		{ST_ACKNOWLEDGE, ST_ACKNOWLEDGE | ST_DRIVER_OK},
		{ST_ACKNOWLEDGE | ST_DRIVER,
			ST_ACKNOWLEDGE | ST_DRIVER | ST_DRIVER_OK},
	};
	unsigned i;

	for (i = 0; i < COUNT(skips); i++) {
		if (!rig_reset(v))
			return false;
		wr(v, REG_STATUS, skips[i][0] & ST_ACKNOWLEDGE);
		wr(v, REG_STATUS, skips[i][0]);
		wr(v, REG_STATUS, skips[i][1]);
		if (rd(v, REG_STATUS) != skips[i][0])
			return wrong_at("status after a skip", i);
	}
	return true;
}

static bool status_clear(struct victim *v)
{
	static const uint8_t less[] = {ST_ACKNOWLEDGE, ST_DRIVER,
		ST_ACKNOWLEDGE | ST_DRIVER, ST_READY,
		ST_RUNNING & ~ST_ACKNOWLEDGE, ST_RUNNING & ~ST_FEATURES_OK,
		ST_DRIVER_OK};
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < COUNT(less); i++) {
		wr(v, REG_STATUS, less[i]);
		if (rd(v, REG_STATUS) != ST_RUNNING)
			return wrong_at("a bit was taken back", less[i]);
	}
	return good_request(v);
}

static bool status_failed(struct victim *v)
{
	if (!halfway(v))
		return false;
	wr(v, REG_STATUS, ST_READY | ST_FAILED);
	if (rd(v, REG_STATUS) != (ST_READY | ST_FAILED))
		return wrong("FAILED does not stick");
	wr(v, REG_STATUS, ST_RUNNING);
	wr(v, REG_STATUS, ST_RUNNING | ST_FAILED);
	wr(v, REG_STATUS, ST_READY);
	if (rd(v, REG_STATUS) != (ST_READY | ST_FAILED))
		return wrong("a failed device goes on");
	wr(v, REG_QUEUE_READY, 0);
	kick(v, v->work);
	return true;
}

static bool status_failed_running(struct victim *v)
{
	if (!rig_open(v))
		return false;
	wr(v, REG_STATUS, ST_RUNNING | ST_FAILED);
	if ((rd(v, REG_STATUS) & ST_FAILED) == 0)
		return wrong("FAILED does not stick");
	good_build(v, v->ring[v->work].desc);
	offer(&v->ring[v->work], 0);
	kick(v, v->work);
	return true;
}

static bool status_unknown(struct victim *v)
{
	unsigned bit;

	if (!halfway(v))
		return false;
	for (bit = 4; bit < 32; bit++) {
		if (bit == 7) /* FAILED */
			continue;
		wr(v, REG_STATUS, ST_READY | 1u << bit);
		if (rd(v, REG_STATUS) != ST_READY)
			return wrong_at("a bit of nobody's sticks", bit);
	}
	return goes_on(v);
}

static bool status_ok_twice(struct victim *v)
{
	if (!halfway(v) || !goes_on(v))
		return false;
	wr(v, REG_STATUS, ST_RUNNING);
	wr(v, REG_STATUS, ST_RUNNING);
	return good_request(v);
}

static bool reset_twice(struct victim *v)
{
	unsigned i;

	for (i = 0; i < 200; i++)
		wr(v, REG_STATUS, 0);
	if (!rig_open(v))
		return false;
	wr(v, REG_STATUS, 0);
	wr(v, REG_STATUS, 0);
	return rd(v, REG_STATUS) == 0 || wrong("status after two resets");
}

static bool reset_by_halves(struct victim *v)
{
	if (!halfway(v) || !goes_on(v))
		return false;
	wr_width(v, REG_STATUS, 1, 0);
	wr_width(v, REG_STATUS, 2, 0);
	wr_width(v, REG_STATUS + 1, 1, 0);
	wr_width(v, REG_STATUS, 8, 0);
	if (rd(v, REG_STATUS) != ST_RUNNING)
		return wrong("a part of the register resets");
	return good_request(v);
}

static bool ack_garbage(struct victim *v)
{
	static const uint32_t acks[] = {0, 4, 0x80000000u, 0xfffffffcu, ONES};
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < COUNT(acks); i++) {
		wr(v, REG_INTERRUPT_ACK, acks[i]);
		if (!good_request(v))
			return false;
		if ((rd(v, REG_INTERRUPT_STATUS) & ~3u) != 0)
			return wrong_at("interrupt status",
				rd(v, REG_INTERRUPT_STATUS));
	}
	wr(v, REG_INTERRUPT_ACK, ONES);
	return true;
}

/* Past what the device has there is nothing, whatever the width. */
static bool config_read(struct victim *v)
{
	unsigned reg;

	for (reg = REG_CONFIG; reg < REG_END; reg++) {
		rd_width(v, reg, 1);
		rd_width(v, reg, 2);
		rd_width(v, reg, 4);
		rd_width(v, reg, 8);
	}
	for (reg = REG_CONFIG + 0x80; reg < REG_END - 4; reg++)
		if (rd_width(v, reg, 1) != 0 || rd_width(v, reg, 4) != 0)
			return wrong_at("something past the end", reg);
	for (reg = REG_END; reg < 0x1000; reg += 61)
		if (rd_width(v, reg, 1) != 0xff)
			return wrong_at("something behind the device", reg);
	return true;
}

static void config_fill(struct victim *v, uint64_t value)
{
	unsigned reg, n;

	for (n = 1; n <= 8; n *= 2)
		for (reg = REG_CONFIG; reg < REG_END; reg++)
			wr_width(v, reg, n, value);
}

/* What a driver may write there, it writes again when it starts. */
static bool config_write(struct victim *v)
{
	uint64_t capacity;

	if (!rig_reset(v))
		return false;
	capacity = rd_width(v, REG_CONFIG, 4);
	config_fill(v, ~0ull);
	if (rd_width(v, REG_CONFIG, 4) != capacity)
		return wrong("written before DRIVER");
	if (!halfway(v))
		return false;
	config_fill(v, ~0ull);
	config_fill(v, 0x0102040810204080ull);
	config_fill(v, 0);
	if (rd_width(v, REG_CONFIG, 4) != capacity)
		return wrong("the first register was written");
	return goes_on(v);
}

static bool generation(struct victim *v)
{
	uint32_t before;

	if (!rig_open(v))
		return false;
	before = rd(v, REG_GENERATION);
	wr(v, REG_GENERATION, before + 1);
	wr_width(v, REG_GENERATION, 1, 77);
	if (rd(v, REG_GENERATION) != before)
		return wrong("it changes by itself");
	return good_request(v);
}

static bool shared_memory(struct victim *v)
{
	static const uint32_t ids[] = {0, 1, 255, 256, ONES};
	unsigned i, reg;

	for (i = 0; i < COUNT(ids); i++) {
		wr(v, REG_SHM_SEL, ids[i]);
		for (reg = REG_SHM_LEN; reg < REG_SHM_LEN + 8; reg += 4)
			if (rd(v, reg) != ONES)
				return wrong_at("there is a region", ids[i]);
	}
	return true;
}

/* The emulator reads and writes for one instruction. */
static bool atomics(struct victim *v)
{
	uint32_t value = 0;

	if (!halfway(v))
		return false;
	__asm__ volatile("xchgl %0, (%1)"
			 : "+r"(value)
			 : "r"(v->gpa + REG_MAGIC)
			 : "memory");
	__asm__ volatile("lock; orl $0x40, (%0)"
			 :
			 : "r"(v->gpa + REG_STATUS)
			 : "memory", "cc");
	__asm__ volatile("notl (%0)" : : "r"(v->gpa + REG_VENDOR) : "memory");
	if (value != rd(v, REG_MAGIC))
		return wrong_at("the magic was", value);
	return goes_on(v);
}

/* The whole window, word by word, in one instruction. */
static bool string_io(struct victim *v)
{
	uint64_t at = v->gpa, n = REG_END, words = REG_END / 4;
	void *to = v->data + 1024;

	__asm__ volatile("rep movsb"
			 : "+S"(at), "+D"(to), "+c"(n)
			 :
			 : "memory");
	at = v->gpa;
	to = v->data + 1024;
	__asm__ volatile("rep movsl"
			 : "+S"(at), "+D"(to), "+c"(words)
			 :
			 : "memory");
	at = v->gpa;
	n = REG_END;
	__asm__ volatile("rep stosb"
			 : "+D"(at), "+c"(n)
			 : "a"(0xff)
			 : "memory");
	at = v->gpa;
	words = REG_END / 4;
	__asm__ volatile("rep stosl"
			 : "+D"(at), "+c"(words)
			 : "a"(0xffffffffu)
			 : "memory");
	return rd(v, REG_MAGIC) == 0x74726976u || wrong("the magic is gone");
}

const struct hostile_case hostile_mmio[] = {
	{"width_read", ID_ANY, "read 0 in any width but an aligned word",
		width_read},
	{"width_write", ID_ANY, "ignore such writes", width_write},
	{"width_crossing", ID_ANY, "ignore accesses across its parts and ends",
		width_crossing},
	{"undefined_read", ID_ANY, "read 0 where there is no register",
		undefined_read},
	{"undefined_write", ID_ANY, "ignore writes there", undefined_write},
	{"read_only_write", ID_ANY, "keep what cannot be written",
		read_only_write},
	{"write_only_read", ID_ANY, "read 0 from what cannot be read",
		write_only_read},
	{"features_select", ID_ANY, "have no features past bit 63",
		features_select},
	{"features_not_offered", ID_ANY, "not set FEATURES_OK",
		features_not_offered},
	{"features_legacy", ID_ANY, "not set FEATURES_OK without VERSION_1",
		features_legacy},
	{"features_early", ID_ANY, "ignore features before DRIVER",
		features_early},
	{"features_late", ID_ANY, "ignore features after FEATURES_OK",
		features_late},
	{"status_skip", ID_ANY, "not climb two rungs at once", status_skip},
	{"status_clear", ID_ANY, "not take bits back but by reset",
		status_clear},
	{"status_failed", ID_ANY, "go on only after a reset", status_failed},
	{"status_failed_running", ID_ANY, "be well after a reset",
		status_failed_running},
	{"status_unknown", ID_ANY, "ignore unknown bits and NEEDS_RESET",
		status_unknown},
	{"status_ok_twice", ID_ANY, "ignore a second DRIVER_OK",
		status_ok_twice},
	{"reset_twice", ID_ANY, "be reset again and again", reset_twice},
	{"reset_by_halves", ID_ANY, "not be reset by a part of the register",
		reset_by_halves},
	{"ack_garbage", ID_ANY, "know two interrupt bits", ack_garbage},
	{"config_read", ID_ANY, "read 0 past its configuration", config_read},
	{"config_write", ID_ANY, "keep what cannot be written", config_write},
	{"generation", ID_ANY, "count it up only for changes", generation},
	{"shared_memory", ID_ANY, "have no region", shared_memory},
	{"atomics", ID_ANY, "take a read and a write of one instruction",
		atomics},
	{"string_io", ID_ANY, "take a flood over all registers", string_io},
	{NULL, 0, NULL, NULL},
};
