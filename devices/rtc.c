/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/rtc.c - see rtc.h.
 *
 * Nothing ticks: a read computes the time.  While the guest sets the clock
 * (register B bit SET, or the divider held in reset) the time registers are
 * plain memory; when it lets go, they become the new offset to the host's
 * clock, unless they name no date: then the clock goes on as before.
 *
 * Source: Motorola MC146818A data sheet.  vCPU threads, under the device's
 * lock.
 */
#include "devices/rtc.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/device.h"
#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/layout.h"
#include "vmm/log.h"

#define NS_PER_S   INT64_C(1000000000)
#define DAY_S	   INT64_C(86400)
#define HALF_S_NS  (NS_PER_S / 2)
#define UIP_NS	   244000 /* warning before an update */
#define OFFSET_MAX (INT64_C(20000) * 366 * DAY_S)
#define CMOS_SIZE  128u
#define CMOS_INDEX (CMOS_SIZE - 1)

#define REG_SEC	  0x00u
#define REG_MIN	  0x02u
#define REG_HOUR  0x04u
#define REG_WDAY  0x06u
#define REG_MDAY  0x07u
#define REG_MONTH 0x08u
#define REG_YEAR  0x09u
#define REG_A	  0x0au
#define REG_B	  0x0bu
#define REG_C	  0x0cu
#define REG_D	  0x0du

#define A_UIP	   0x80u
#define A_DV_RESET 0x60u /* both set: the divider stands still */
#define A_POWER_ON 0x26u /* 32768 Hz, 1024 Hz rate */
#define B_SET	   0x80u
#define B_ENABLES  0x78u /* PIE, AIE, UIE, SQWE */
#define B_BINARY   0x04u
#define B_24H	   0x02u
#define C_UF	   0x10u /* an update has ended since the last read */
#define D_VALID	   0x80u
#define HOUR_PM	   0x80u

struct rtc {
	struct device dev;
	struct rtc_options opt;
	struct log_limit bad_time;
	pthread_mutex_t lock; /* all below */
	/* Guest time = host time + offset_s + offset_ns. */
	int64_t offset_s;
	int64_t offset_ns;	 /* 0 .. NS_PER_S - 1 */
	int64_t update_seen_s;	 /* guest second when C was read */
	int64_t poll_s;		 /* guest second when A was read */
	uint8_t index;		 /* port 0x70 */
	bool changed;		 /* time registers written while held */
	bool divider_was_reset;	 /* while held */
	uint8_t cmos[CMOS_SIZE]; /* time registers: valid while held */
};

struct civil {
	int64_t year;
	unsigned month, mday, hour, min, sec;
};

/* Guest time. */
struct instant {
	int64_t s, ns;
};

static const uint8_t time_regs[] = {REG_SEC, REG_MIN, REG_HOUR, REG_WDAY,
	REG_MDAY, REG_MONTH, REG_YEAR, RTC_CENTURY_REG};

static int64_t host_now_ns(void *opaque)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts); /* vDSO: no system call */
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* ---- calendar ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned month_days(int64_t year, unsigned month)
{
	static const uint8_t days[12] = {
		31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1970-01-01 to the first day of @year. */
static int64_t year_start(int64_t year)
{
	int64_t y = year - 1;

	return 365 * (year - 1970) + floor_div(y, 4) - floor_div(y, 100) +
	       floor_div(y, 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

static int64_t to_seconds(const struct civil *t)
{
	int64_t days = year_start(t->year) + t->mday - 1;
	unsigned m;

	for (m = 1; m < t->month; m++)
		days += month_days(t->year, m);
	return ((days * 24 + t->hour) * 60 + t->min) * 60 + t->sec;
}

static void from_seconds(int64_t s, struct civil *ret_t)
{
	int64_t days = floor_div(s, DAY_S), of_day = s - days * DAY_S;
	struct civil t = {.month = 1};

	/* The mean year is 365.2425 days: the guess is off by one at most. */
	t.year = 1970 + floor_div(days * 10000, 3652425);
	while (year_start(t.year) > days)
		t.year--;
	while (year_start(t.year + 1) <= days)
		t.year++;
	days -= year_start(t.year);
	while (days >= month_days(t.year, t.month))
		days -= month_days(t.year, t.month++);
	t.mday = (unsigned)days + 1;
	t.hour = (unsigned)(of_day / 3600);
	t.min = (unsigned)(of_day / 60 % 60);
	t.sec = (unsigned)(of_day % 60);
	*ret_t = t;
}

/* ---- register encoding ---- */

static uint8_t encode(const struct rtc *d, unsigned v)
{
	if (d->cmos[REG_B] & B_BINARY)
		return (uint8_t)v;
	return (uint8_t)(v / 10 << 4 | v % 10);
}

/* Return: the number, or -1 if it is not between @min and @max. */
static int decode(const struct rtc *d, uint8_t raw, int min, int max)
{
	int v = raw;

	if (!(d->cmos[REG_B] & B_BINARY)) {
		if ((raw & 0x0f) > 9 || raw >> 4 > 9)
			return -1;
		v = (raw >> 4) * 10 + (raw & 0x0f);
	}
	return v < min || v > max ? -1 : v;
}

static uint8_t encode_hour(const struct rtc *d, unsigned hour)
{
	if (d->cmos[REG_B] & B_24H)
		return encode(d, hour);
	return encode(d, hour % 12 ? hour % 12 : 12) |
	       (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *d, uint8_t raw)
{
	int v;

	if (d->cmos[REG_B] & B_24H)
		return decode(d, raw, 0, 23);
	v = decode(d, raw & (uint8_t)~HOUR_PM, 1, 12);
	if (v < 0)
		return -1;
	return v % 12 + (raw & HOUR_PM ? 12 : 0);
}

static void encode_time(struct rtc *d, int64_t s)
{
	/* 1970-01-01 was a Thursday; Sunday is day 1. */
	int64_t days = floor_div(s, DAY_S) + 4;
	struct civil t;
	int64_t century;

	from_seconds(s, &t);
	century = floor_div(t.year, 100);
	d->cmos[REG_SEC] = encode(d, t.sec);
	d->cmos[REG_MIN] = encode(d, t.min);
	d->cmos[REG_HOUR] = encode_hour(d, t.hour);
	d->cmos[REG_WDAY] =
		encode(d, (unsigned)(days - floor_div(days, 7) * 7) + 1);
	d->cmos[REG_MDAY] = encode(d, t.mday);
	d->cmos[REG_MONTH] = encode(d, t.month);
	d->cmos[REG_YEAR] = encode(d, (unsigned)(t.year - century * 100));
	d->cmos[RTC_CENTURY_REG] =
		encode(d, (unsigned)(century - floor_div(century, 100) * 100));
}

/* Return: false if the registers name no date. */
static bool decode_time(const struct rtc *d, int64_t *ret_s)
{
	int sec = decode(d, d->cmos[REG_SEC], 0, 59);
	int min = decode(d, d->cmos[REG_MIN], 0, 59);
	int hour = decode_hour(d, d->cmos[REG_HOUR]);
	int mday = decode(d, d->cmos[REG_MDAY], 1, 31);
	int month = decode(d, d->cmos[REG_MONTH], 1, 12);
	int year = decode(d, d->cmos[REG_YEAR], 0, 99);
	int century = decode(d, d->cmos[RTC_CENTURY_REG], 0, 99);
	struct civil t;

	if (sec < 0 || min < 0 || hour < 0 || mday < 0 || month < 0 ||
		year < 0 || century < 0)
		return false;
	t = (struct civil){.year = century * 100 + year,
		.month = (unsigned)month,
		.mday = (unsigned)mday,
		.hour = (unsigned)hour,
		.min = (unsigned)min,
		.sec = (unsigned)sec};
	if (t.mday > month_days(t.year, t.month))
		return false;
	*ret_s = to_seconds(&t);
	return true;
}

/* ---- the running clock ---- */

static bool is_time_reg(uint8_t reg)
{
	return memchr(time_regs, reg, sizeof(time_regs)) != NULL;
}

static bool divider_reset(const struct rtc *d)
{
	return (d->cmos[REG_A] & A_DV_RESET) == A_DV_RESET;
}

static bool held(const struct rtc *d)
{
	return d->cmos[REG_B] & B_SET || divider_reset(d);
}

static struct instant guest_now(const struct rtc *d)
{
	int64_t host = d->opt.now_ns(d->opt.opaque);
	int64_t host_s = floor_div(host, NS_PER_S);
	int64_t ns = host - host_s * NS_PER_S + d->offset_ns;

	return (struct instant){
		.s = host_s + d->offset_s + ns / NS_PER_S, .ns = ns % NS_PER_S};
}

/* Make the guest's clock read @want now. */
static void set_guest_now(struct rtc *d, struct instant want)
{
	int64_t host = d->opt.now_ns(d->opt.opaque);
	int64_t host_s = floor_div(host, NS_PER_S);
	int64_t ns = want.ns - (host - host_s * NS_PER_S);
	int64_t s = want.s - host_s - (ns < 0);

	if (s > OFFSET_MAX || s < -OFFSET_MAX)
		return; /* the host's own clock makes no sense */
	d->offset_s = s;
	d->offset_ns = ns < 0 ? ns + NS_PER_S : ns;
}

/* The registers are the guest's now; before, they were not kept. */
static void hold(struct rtc *d)
{
	encode_time(d, guest_now(d).s);
	d->changed = false;
	d->divider_was_reset = false;
}

static void take_time(struct rtc *d, int64_t phase_ns)
{
	int64_t s;

	if (decode_time(d, &s))
		set_guest_now(d, (struct instant){.s = s, .ns = phase_ns});
	else
		log_limited(&d->bad_time, LOG_WARN,
			"rtc: the guest set a date that does not exist; "
			"its clock goes on as before");
}

static void release(struct rtc *d)
{
	/* The first update comes half a second after the divider starts;
	 * without that, seconds go on falling where they fell. */
	if (d->changed)
		take_time(
			d, d->divider_was_reset ? HALF_S_NS : guest_now(d).ns);
}

static void write_control(struct rtc *d, uint8_t reg, uint8_t value)
{
	bool before = held(d);

	d->cmos[reg] = reg == REG_A ? value & (uint8_t)~A_UIP : value;
	if (!before && held(d))
		hold(d);
	if (divider_reset(d))
		d->divider_was_reset = true;
	if (before && !held(d))
		release(d);
}

static void write_time(struct rtc *d, uint8_t reg, uint8_t value)
{
	struct instant now;

	if (held(d)) {
		d->cmos[reg] = value;
		d->changed = true;
		return;
	}
	/* The chip takes this too, as far as it makes a date. */
	now = guest_now(d);
	encode_time(d, now.s);
	d->cmos[reg] = value;
	take_time(d, now.ns);
}

/* A poller waiting for a change of UIP must see one each second, even if its
 * exits are so slow that it never hits the 244 us in which the bit is set: so
 * the first read after a missed update shows it. */
static uint8_t read_a(struct rtc *d)
{
	struct instant now = guest_now(d);
	int64_t since = now.s - d->poll_s;
	bool uip;

	if (held(d))
		return d->cmos[REG_A];
	uip = now.ns >= NS_PER_S - UIP_NS || since == 1;
	/* During the warning, count the coming update as seen. */
	d->poll_s = now.ns >= NS_PER_S - UIP_NS ? now.s + 1 : now.s;
	return d->cmos[REG_A] | (uip ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *d)
{
	int64_t s = guest_now(d).s, seen = d->update_seen_s;

	if (held(d))
		return 0;
	d->update_seen_s = s;
	return s != seen ? C_UF : 0;
}

static uint8_t read_data(struct rtc *d)
{
	switch (d->index) {
	case REG_A:
		return read_a(d);
	case REG_C:
		return read_c(d);
	case REG_D:
		return D_VALID;
	default:
		if (is_time_reg(d->index) && !held(d))
			encode_time(d, guest_now(d).s);
		return d->cmos[d->index];
	}
}

static void write_data(struct rtc *d, uint8_t value)
{
	switch (d->index) {
	case REG_A:
	case REG_B:
		write_control(d, d->index, value);
		break;
	case REG_C:
	case REG_D:
		break;
	default:
		if (is_time_reg(d->index))
			write_time(d, d->index, value);
		else
			d->cmos[d->index] = value;
		break;
	}
}

/* ---- device ---- */

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	struct rtc *d = opaque;
	uint64_t v = 0;
	unsigned i;

	pthread_mutex_lock(&d->lock);
	for (i = 0; i < len; i++, off++) {
		/* The index port is write only. */
		uint64_t byte = off == 0 ? 0xff : read_data(d);

		v |= byte << 8 * i;
	}
	pthread_mutex_unlock(&d->lock);
	return v;
}

static void port_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct rtc *d = opaque;

	pthread_mutex_lock(&d->lock);
	for (; len > 0; len--, off++, value >>= 8) {
		if (off == 0)
			d->index = value & CMOS_INDEX; /* bit 7 masks NMI */
		else
			write_data(d, (uint8_t)value);
	}
	pthread_mutex_unlock(&d->lock);
}

static struct rtc *rtc_of(struct device *dev)
{
	return (struct rtc *)dev;
}

/* A battery keeps time and memory; firmware sets the control registers. */
static void reset(struct device *dev)
{
	struct rtc *d = rtc_of(dev);

	d->index = 0;
	d->cmos[REG_A] = A_POWER_ON;
	d->cmos[REG_B] = B_24H;
	d->changed = false;
	d->divider_was_reset = false;
	d->update_seen_s = guest_now(d).s;
	d->poll_s = 0;
}

static int save(const struct device *dev, struct state_writer *w)
{
	const struct rtc *d = (const struct rtc *)dev;
	uint8_t cmos[CMOS_SIZE];
	unsigned i;

	/* What is not held is computed, and must not differ by the hour. */
	memcpy(cmos, d->cmos, CMOS_SIZE);
	for (i = 0; i < sizeof(time_regs) && !held(d); i++)
		cmos[time_regs[i]] = 0;
	state_put_u64(w, (uint64_t)d->offset_s);
	state_put_u32(w, (uint32_t)d->offset_ns);
	state_put_u64(w, (uint64_t)d->update_seen_s);
	state_put_u64(w, (uint64_t)d->poll_s);
	state_put_u8(w, d->index);
	state_put_bool(w, d->changed);
	state_put_bool(w, d->divider_was_reset);
	state_put_bytes(w, cmos, CMOS_SIZE);
	return 0;
}

static int load(struct device *dev, struct state_reader *r, struct error *err)
{
	struct rtc *d = rtc_of(dev);
	uint8_t cmos[CMOS_SIZE];
	int64_t offset_s = (int64_t)state_get_u64(r);
	uint32_t offset_ns = state_get_u32(r);
	int64_t update_seen_s = (int64_t)state_get_u64(r);
	int64_t poll_s = (int64_t)state_get_u64(r);
	uint8_t index = state_get_u8(r);
	bool changed = state_get_bool(r);
	bool divider_was_reset = state_get_bool(r);
	int rc;

	state_get_bytes(r, cmos, CMOS_SIZE);
	rc = state_reader_end(r);
	if (rc < 0)
		return rc;
	if (offset_s > OFFSET_MAX || offset_s < -OFFSET_MAX ||
		offset_ns >= NS_PER_S || poll_s > 2 * OFFSET_MAX ||
		poll_s < -2 * OFFSET_MAX)
		return state_reject(r, err, "time offset out of range");
	if (index > CMOS_INDEX || cmos[REG_A] & A_UIP || cmos[REG_C] ||
		cmos[REG_D])
		return state_reject(r, err, "register with impossible bits");
	d->offset_s = offset_s;
	d->offset_ns = offset_ns;
	d->update_seen_s = update_seen_s;
	d->poll_s = poll_s;
	d->index = index;
	d->changed = changed;
	d->divider_was_reset = divider_was_reset;
	memcpy(d->cmos, cmos, CMOS_SIZE);
	return 0;
}

static void destroy(struct device *dev)
{
	struct rtc *d = rtc_of(dev);

	pthread_mutex_destroy(&d->lock);
	free(d);
}

static const struct bus_ops port_ops = {port_read, port_write};

static const struct device_ops ops = {
	.kind = "rtc",
	.version = 1,
	.reset = reset,
	.save = save,
	.load = load,
	.destroy = destroy,
};

int rtc_create(const struct rtc_options *opt, struct device **ret_dev,
	struct bus_range *ret_range)
{
	struct rtc *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->dev = (struct device){.ops = &ops, .name = "rtc"};
	if (opt)
		d->opt = *opt;
	if (!d->opt.now_ns)
		d->opt.now_ns = host_now_ns;
	pthread_mutex_init(&d->lock, NULL);
	reset(&d->dev);
	*ret_dev = &d->dev;
	*ret_range = (struct bus_range){
		LAYOUT_PIO_RTC, 2, &port_ops, d, d->dev.name};
	return 0;
}
