/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/uart.h - the registers of a 16550A, and nothing else.
 *
 * No thread, no lock, no fd: devices/serial.c puts a struct uart between the
 * guest and the host.  Bytes go out in zero time, so there is no baud rate; the
 * divisor is stored only.
 *
 * The interrupt is an edge.  An access says UART_IRQ when a cause comes up, or
 * when it leaves *another* cause than before on top: a guest that serves one
 * cause an interrupt would never hear of the second one otherwise, because an
 * edge-triggered pin sees no edge while the line stays high.
 */
#ifndef GODWIT_DEVICES_UART_H
#define GODWIT_DEVICES_UART_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct state_reader;
struct state_writer;

#define UART_REGS 8u
#define UART_FIFO 16u

enum uart_reg {
	UART_RBR = 0, /* read; THR when written; DLL when LCR.DLAB */
	UART_IER = 1, /* DLM when LCR.DLAB */
	UART_IIR = 2, /* read; FCR when written */
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCR = 7,
};

#define UART_IER_RDI  0x01u
#define UART_IER_THRI 0x02u
#define UART_IER_RLSI 0x04u
#define UART_IER_MSI  0x08u

#define UART_IIR_NONE	 0x01u
#define UART_IIR_MSI	 0x00u
#define UART_IIR_THRI	 0x02u
#define UART_IIR_RDI	 0x04u
#define UART_IIR_RLSI	 0x06u
#define UART_IIR_TIMEOUT 0x0cu
#define UART_IIR_FIFO	 0xc0u

#define UART_FCR_ENABLE	  0x01u
#define UART_FCR_CLEAR_RX 0x02u
#define UART_FCR_CLEAR_TX 0x04u
#define UART_FCR_TRIGGER  0xc0u

#define UART_LCR_DLAB 0x80u

#define UART_MCR_DTR  0x01u
#define UART_MCR_RTS  0x02u
#define UART_MCR_OUT1 0x04u
#define UART_MCR_OUT2 0x08u
#define UART_MCR_LOOP 0x10u

#define UART_LSR_DR   0x01u
#define UART_LSR_OE   0x02u
#define UART_LSR_THRE 0x20u
#define UART_LSR_TEMT 0x40u

#define UART_MSR_DCTS 0x01u
#define UART_MSR_DDSR 0x02u
#define UART_MSR_TERI 0x04u
#define UART_MSR_DDCD 0x08u
#define UART_MSR_CTS  0x10u
#define UART_MSR_DSR  0x20u
#define UART_MSR_RI   0x40u
#define UART_MSR_DCD  0x80u

/* What an access asks of the caller. */
#define UART_IRQ 1u /* pulse the interrupt */
#define UART_TX	 2u /* the byte written goes out: then uart_tx_done() */

/* The owner's lock guards it. */
struct uart {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t lsr_err;	 /* UART_LSR_OE until LSR is read */
	uint8_t msr_delta;	 /* low half of MSR until it is read */
	bool thr_pending;	 /* "THR empty" not acknowledged yet */
	bool tx_held;		 /* the line takes no more for now: THRE is 0 */
	uint8_t fifo[UART_FIFO]; /* received; fifo[0] is the oldest */
	uint8_t fifo_len;
};

/* Power-on values. */
void uart_init(struct uart *u);

/* @reg: below UART_REGS.  Return: the register; *@effects gets UART_* added. */
uint8_t uart_read(struct uart *u, unsigned reg, unsigned *effects);

/* Return: UART_* bits. */
unsigned uart_write(struct uart *u, unsigned reg, uint8_t value);

/* After UART_TX: @room tells whether a whole FIFO of bytes can still follow;
 * else THRE stays 0 until uart_tx_release().  Raises no edge by itself: the
 * owner looks at uart_thr_pending() when the bytes have gone out. */
void uart_tx_done(struct uart *u, bool room);

/* The line takes bytes again.  Return: UART_* bits. */
unsigned uart_tx_release(struct uart *u);

/* Bytes that uart_rx() takes now: 0 until the guest has read all of the last
 * ones, so that each batch is an arrival with an edge of its own. */
unsigned uart_rx_room(const struct uart *u);

/* @len bytes arrive, at most uart_rx_room().  Return: UART_* bits. */
unsigned uart_rx(struct uart *u, const uint8_t *buf, unsigned len);

/* Some enabled cause is pending: IIR bit 0 would read 0. */
bool uart_pending(const struct uart *u);

/* ... and it is "THR empty". */
bool uart_thr_pending(const struct uart *u);

void uart_save(const struct uart *u, struct state_writer *w);

/* Fields of uart_save() into @ret_u; the caller ends the reader and uses @ret_u
 * only after that.  Return: 0, -EPROTO or -EBADMSG. */
int uart_load(struct uart *ret_u, struct state_reader *r, struct error *err);

#endif
