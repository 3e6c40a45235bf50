/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/console.c - text on COM1.  Every access is an exit, so the line
 * status is read once per bufferful and the bytes leave in one instruction.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/lib/console.h"
#include "kernels/lib/io.h"
#include "kernels/lib/string.h"

#define LSR_DATA  0x01
#define LSR_EMPTY 0x20
#define PATIENCE  100000u /* reads of a full transmitter before we go on */

static volatile uint32_t lock;

void console_init(void)
{
	outb(COM1_FCR, 0x01);
}

static void wait_empty(void)
{
	unsigned i;

	for (i = 0; i < PATIENCE; i++) {
		if ((inb(COM1_LSR) & LSR_EMPTY) != 0)
			return;
		cpu_pause();
	}
}

void console_write(const char *text, size_t len)
{
	while (atomic_swap(&lock, 1) != 0)
		cpu_pause();
	while (len > 0) {
		size_t n = len < COM1_FIFO ? len : COM1_FIFO;

		wait_empty();
		outsb(COM1, text, n);
		text += n;
		len -= n;
	}
	barrier();
	lock = 0;
}

int console_getc(void)
{
	uint8_t lsr = inb(COM1_LSR);

	/* All ones: there is no COM1. */
	if (lsr == 0xff || (lsr & LSR_DATA) == 0)
		return -1;
	return inb(COM1);
}

struct line {
	char text[256];
	size_t len;
};

static void put(struct line *line, char c)
{
	if (line->len < sizeof(line->text))
		line->text[line->len++] = c;
}

static void put_number(
	struct line *line, uint64_t v, unsigned base, unsigned width, char pad)
{
	char digits[20];
	unsigned n = 0;

	do {
		unsigned d = (unsigned)(v % base);

		digits[n++] = (char)(d < 10 ? '0' + d : 'a' + d - 10);
		v /= base;
	} while (v != 0);
	for (; width > n; width--)
		put(line, pad);
	while (n > 0)
		put(line, digits[--n]);
}

static void put_string(struct line *line, const char *s)
{
	while (*s != '\0')
		put(line, *s++);
}

static void put_signed(struct line *line, int64_t v, unsigned width, char pad)
{
	if (v < 0)
		put(line, '-');
	put_number(line, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, pad);
}

void print(const char *fmt, ...)
{
	struct line line;
	va_list ap;

	line.len = 0;
	va_start(ap, fmt);
	for (; *fmt != '\0'; fmt++) {
		unsigned width = 0;
		bool wide = false;
		char pad = ' ';

		if (*fmt != '%') {
			put(&line, *fmt);
			continue;
		}
		if (*++fmt == '0')
			pad = '0';
		while (*fmt >= '0' && *fmt <= '9')
			width = width * 10 + (unsigned)(*fmt++ - '0');
		for (; *fmt == 'l'; fmt++)
			wide = true;
		if (*fmt == '\0')
			break;
		if (*fmt == 's')
			put_string(&line, va_arg(ap, const char *));
		else if (*fmt == 'c')
			put(&line, (char)va_arg(ap, int));
		else if (*fmt == 'd')
			put_signed(&line, va_arg(ap, int), width, pad);
		else if (*fmt == 'u' || *fmt == 'x')
			put_number(&line,
				wide ? va_arg(ap, uint64_t)
				     : va_arg(ap, uint32_t),
				*fmt == 'u' ? 10 : 16, width, pad);
		else
			put(&line, *fmt);
	}
	va_end(ap);
	console_write(line.text, line.len);
}
