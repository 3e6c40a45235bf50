/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/uart.c - 16550A registers; see uart.h.
 *
 * Source: National Semiconductor PC16550D data sheet, section 8.  Left out, as
 * nothing on a virtual line can cause them: parity, framing and break errors.
 * Runs under the lock of its owner.
 */
#include "devices/uart.h"

#include <assert.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"

/* The other end of the line is always there and always ready. */
#define LINE_SIGNALS (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)

void uart_init(struct uart *u)
{
	/* 9600 baud is what firmware leaves behind. */
	*u = (struct uart){.dll = 12, .thr_pending = true};
}

static unsigned depth(const struct uart *u)
{
	return u->fcr & UART_FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned trigger(const struct uart *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return u->fcr & UART_FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The pending cause with the highest priority.  A timeout counts as RDI: bytes
 * below the trigger level have "timed out" at once, as no more are coming. */
static unsigned cause(const struct uart *u)
{
	if (u->ier & UART_IER_RLSI && u->lsr_err)
		return UART_IIR_RLSI;
	if (u->ier & UART_IER_RDI && u->fifo_len)
		return UART_IIR_RDI;
	if (u->ier & UART_IER_THRI && u->thr_pending)
		return UART_IIR_THRI;
	if (u->ier & UART_IER_MSI && u->msr_delta)
		return UART_IIR_MSI;
	return UART_IIR_NONE;
}

static unsigned edge(const struct uart *u, unsigned before)
{
	unsigned now = cause(u);

	return now != UART_IIR_NONE && now != before ? UART_IRQ : 0;
}

static uint8_t signals(const struct uart *u)
{
	uint8_t msr = 0;

	if (!(u->mcr & UART_MCR_LOOP))
		return LINE_SIGNALS;
	if (u->mcr & UART_MCR_RTS)
		msr |= UART_MSR_CTS;
	if (u->mcr & UART_MCR_DTR)
		msr |= UART_MSR_DSR;
	if (u->mcr & UART_MCR_OUT1)
		msr |= UART_MSR_RI;
	if (u->mcr & UART_MCR_OUT2)
		msr |= UART_MSR_DCD;
	return msr;
}

static uint8_t lsr(const struct uart *u)
{
	uint8_t v = u->lsr_err;

	if (u->fifo_len)
		v |= UART_LSR_DR;
	if (!u->tx_held)
		v |= UART_LSR_THRE | UART_LSR_TEMT;
	return v;
}

static uint8_t read_rbr(struct uart *u)
{
	uint8_t v = u->fifo[0];

	if (u->fifo_len == 0)
		return 0;
	u->fifo_len--;
	memmove(u->fifo, u->fifo + 1, u->fifo_len);
	return v;
}

static uint8_t read_iir(struct uart *u)
{
	unsigned v = cause(u);

	if (v == UART_IIR_THRI)
		u->thr_pending = false; /* reading it is the acknowledgement */
	if (v == UART_IIR_RDI && u->fifo_len < trigger(u))
		v = UART_IIR_TIMEOUT;
	if (u->fcr & UART_FCR_ENABLE)
		v |= UART_IIR_FIFO;
	return (uint8_t)v;
}

uint8_t uart_read(struct uart *u, unsigned reg, unsigned *effects)
{
	unsigned before = cause(u);
	uint8_t v;

	assert(reg < UART_REGS);
	switch (reg) {
	case UART_RBR:
		v = u->lcr & UART_LCR_DLAB ? u->dll : read_rbr(u);
		break;
	case UART_IER:
		v = u->lcr & UART_LCR_DLAB ? u->dlm : u->ier;
		break;
	case UART_IIR:
		v = read_iir(u);
		break;
	case UART_LCR:
		v = u->lcr;
		break;
	case UART_MCR:
		v = u->mcr;
		break;
	case UART_LSR:
		v = lsr(u);
		u->lsr_err = 0;
		break;
	case UART_MSR:
		v = signals(u) | u->msr_delta;
		u->msr_delta = 0;
		break;
	default:
		v = u->scr;
		break;
	}
	*effects |= edge(u, before);
	return v;
}

/* Loopback: the transmitter feeds the receiver. */
static void receive_own(struct uart *u, uint8_t value)
{
	if (u->fifo_len < depth(u)) {
		u->fifo[u->fifo_len++] = value;
	} else {
		u->lsr_err |= UART_LSR_OE;
		/* A FIFO keeps what it has; the single register does not. */
		if (!(u->fcr & UART_FCR_ENABLE))
			u->fifo[0] = value;
	}
	u->thr_pending = !u->tx_held;
}

static void write_ier(struct uart *u, uint8_t value)
{
	uint8_t added = value & ~u->ier;

	u->ier = value & 0x0f;
	/* Enabling it while the register is empty raises it (again). */
	if (added & UART_IER_THRI && !u->tx_held)
		u->thr_pending = true;
}

static void write_fcr(struct uart *u, uint8_t value)
{
	if ((value ^ u->fcr) & UART_FCR_ENABLE)
		u->fifo_len = 0;
	if (!(value & UART_FCR_ENABLE)) {
		u->fcr = 0; /* the other bits need bit 0 */
		return;
	}
	/* CLEAR_TX finds nothing: what was written is on the line already. */
	if (value & UART_FCR_CLEAR_RX)
		u->fifo_len = 0;
	u->fcr = value & (UART_FCR_ENABLE | UART_FCR_TRIGGER);
}

static void write_mcr(struct uart *u, uint8_t value)
{
	uint8_t old = signals(u), now;

	u->mcr = value & 0x1f;
	now = signals(u);
	u->msr_delta |= (old ^ now) >> 4 &
			(UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_DDCD);
	if (old & ~now & UART_MSR_RI)
		u->msr_delta |= UART_MSR_TERI; /* trailing edge only */
}

unsigned uart_write(struct uart *u, unsigned reg, uint8_t value)
{
	unsigned before = cause(u), effects = 0;

	assert(reg < UART_REGS);
	switch (reg) {
	case UART_RBR:
		if (u->lcr & UART_LCR_DLAB) {
			u->dll = value;
		} else if (!(u->mcr & UART_MCR_LOOP)) {
			effects = UART_TX;
		} else {
			u->thr_pending = false; /* full for no time at all */
			before = cause(u);
			receive_own(u, value);
		}
		break;
	case UART_IER:
		if (u->lcr & UART_LCR_DLAB) {
			u->dlm = value;
			break;
		}
		write_ier(u, value);
		before = UART_IIR_NONE; /* a guest that re-arms wants to know */
		break;
	case UART_IIR:
		write_fcr(u, value);
		break;
	case UART_LCR:
		u->lcr = value;
		break;
	case UART_MCR:
		write_mcr(u, value);
		break;
	case UART_SCR:
		u->scr = value;
		break;
	default: /* LSR and MSR are for reading */
		break;
	}
	return effects | edge(u, before);
}

void uart_tx_done(struct uart *u, bool room)
{
	u->tx_held = !room;
	u->thr_pending = room;
}

unsigned uart_tx_release(struct uart *u)
{
	unsigned before = cause(u);

	u->tx_held = false;
	u->thr_pending = true;
	return edge(u, before);
}

unsigned uart_rx_room(const struct uart *u)
{
	if (u->mcr & UART_MCR_LOOP || u->fifo_len)
		return 0; /* in loopback the receiver is off the line */
	return depth(u);
}

unsigned uart_rx(struct uart *u, const uint8_t *buf, unsigned len)
{
	unsigned before = cause(u);

	assert(len <= uart_rx_room(u));
	memcpy(u->fifo, buf, len);
	u->fifo_len = (uint8_t)len;
	return edge(u, before);
}

bool uart_pending(const struct uart *u)
{
	return cause(u) != UART_IIR_NONE;
}

bool uart_thr_pending(const struct uart *u)
{
	return cause(u) == UART_IIR_THRI;
}

void uart_save(const struct uart *u, struct state_writer *w)
{
	state_put_u8(w, u->ier);
	state_put_u8(w, u->fcr);
	state_put_u8(w, u->lcr);
	state_put_u8(w, u->mcr);
	state_put_u8(w, u->scr);
	state_put_u8(w, u->dll);
	state_put_u8(w, u->dlm);
	state_put_u8(w, u->lsr_err);
	state_put_u8(w, u->msr_delta);
	state_put_bool(w, u->thr_pending);
	state_put_bool(w, u->tx_held);
	state_put_u8(w, u->fifo_len);
	state_put_bytes(w, u->fifo, u->fifo_len);
}

int uart_load(struct uart *ret_u, struct state_reader *r, struct error *err)
{
	struct uart u = {0};

	u.ier = state_get_u8(r);
	u.fcr = state_get_u8(r);
	u.lcr = state_get_u8(r);
	u.mcr = state_get_u8(r);
	u.scr = state_get_u8(r);
	u.dll = state_get_u8(r);
	u.dlm = state_get_u8(r);
	u.lsr_err = state_get_u8(r);
	u.msr_delta = state_get_u8(r);
	u.thr_pending = state_get_bool(r);
	u.tx_held = state_get_bool(r);
	u.fifo_len = state_get_u8(r);
	if (r->error)
		return r->error;
	if (u.fifo_len > depth(&u))
		return state_reject(
			r, err, "more received than the FIFO holds");
	state_get_bytes(r, u.fifo, u.fifo_len);
	if (u.ier & ~0x0fu || u.mcr & ~0x1fu || u.msr_delta & ~0x0fu ||
		u.lsr_err & ~UART_LSR_OE ||
		u.fcr & ~(UART_FCR_ENABLE | UART_FCR_TRIGGER) ||
		(u.fcr && !(u.fcr & UART_FCR_ENABLE)))
		return state_reject(r, err, "register with impossible bits");
	if (u.tx_held && u.thr_pending)
		return state_reject(r, err, "THR both empty and full");
	if (r->error)
		return r->error;
	*ret_u = u;
	return 0;
}
