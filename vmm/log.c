/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/log.c - see log.h. */
#include "vmm/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1400
#define LIMIT_NS       1000000000LL

static _Atomic int max_level = LOG_WARN;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

static void emit(const char *suffix, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	size_t len;
	int n;

	n = snprintf(line, sizeof(line), "godwit: ");
	vsnprintf(line + n, sizeof(line) - (size_t)n - 64, fmt, ap);
	len = strlen(line);
	/* CR first: harmless in a file, needed on a raw terminal. */
	n = snprintf(line + len, sizeof(line) - len, "%s%s", suffix,
		isatty(STDERR_FILENO) ? "\r\n" : "\n");
	len += (size_t)n;
	/* A log line that cannot be written has nowhere else to go. */
	if (write(STDERR_FILENO, line, len) < 0)
		errno = saved;
	errno = saved;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	emit("", fmt, ap);
	va_end(ap);
}

void log_limited(
	struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	struct timespec ts;
	char suffix[48] = "";
	uint32_t dropped;
	int64_t now, next;
	va_list ap;

	if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = ts.tv_sec * LIMIT_NS + ts.tv_nsec;
	next = atomic_load(&limit->next_ns);
	if (now < next || !atomic_compare_exchange_strong(
				  &limit->next_ns, &next, now + LIMIT_NS)) {
		atomic_fetch_add(&limit->dropped, 1);
		return;
	}
	dropped = atomic_exchange(&limit->dropped, 0);
	if (dropped)
		snprintf(suffix, sizeof(suffix), " (%u more like it)", dropped);
	va_start(ap, fmt);
	emit(suffix, fmt, ap);
	va_end(ap);
}
