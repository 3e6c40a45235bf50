/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/rtc.h - MC146818 real-time clock and CMOS memory, ports 0x70, 0x71.
 *
 * The time is the host's wall clock in UTC plus what the guest has added by
 * setting it.  There is no interrupt: alarm and rate registers keep what is
 * written to them and cause nothing.  The day of the week follows from the
 * date.  Register 0x32 is the century (FADT: CENTURY).
 */
#ifndef GODWIT_DEVICES_RTC_H
#define GODWIT_DEVICES_RTC_H

#include <stdint.h>

#include "vmm/bus.h"

struct device;

#define RTC_CENTURY_REG 0x32u /* for the FADT */

struct rtc_options {
	/* Nanoseconds since 1970 UTC, any thread; NULL: CLOCK_REALTIME. */
	int64_t (*now_ns)(void *opaque);
	void *opaque; /* borrowed */
};

/**
 * rtc_create - the device "rtc" and its 2 ports.
 * @opt:  NULL for the defaults; copied.
 * Thread: main loop.
 * Return: 0 or -ENOMEM.
 */
int rtc_create(const struct rtc_options *opt, struct device **ret_dev,
	struct bus_range *ret_range);

#endif
