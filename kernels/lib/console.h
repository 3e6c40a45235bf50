/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/console.h - text on COM1, without interrupts.
 */
#ifndef GODWIT_KERNELS_LIB_CONSOLE_H
#define GODWIT_KERNELS_LIB_CONSOLE_H

#include <stddef.h>

#define COM1	 0x3f8
#define COM1_IER (COM1 + 1)
#define COM1_IIR (COM1 + 2)
#define COM1_FCR (COM1 + 2)
#define COM1_MCR (COM1 + 4)
#define COM1_LSR (COM1 + 5)
#define COM1_SCR (COM1 + 7)

#define COM1_FIFO 16 /* bytes of its transmit buffer */

/* Turns the transmit buffer on. */
void console_init(void);

/* Any vCPU; what one call writes stays together. */
void console_write(const char *text, size_t len);

/**
 * print - the formats %s %c %d %u %x %lu %lx %llu %llx %% and a width with or
 *         without leading 0 for the numbers.  At most 255 characters.
 */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A received byte, or -1. */
int console_getc(void);

#endif
