/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_uart.c - the 16550A register by register. */
#include "devices/uart.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "tests/lib/testing.h"

#define FIFO_ON UART_FCR_ENABLE

static unsigned effects; /* of the last rd() */

static int setup(void **state)
{
	static struct uart u;

	uart_init(&u);
	*state = &u;
	return 0;
}

static uint8_t rd(struct uart *u, unsigned reg)
{
	effects = 0;
	return uart_read(u, reg, &effects);
}

static unsigned wr(struct uart *u, unsigned reg, unsigned value)
{
	return uart_write(u, reg, (uint8_t)value);
}

static unsigned rx(struct uart *u, const char *text)
{
	return uart_rx(u, (const uint8_t *)text, (unsigned)strlen(text));
}

/* A byte out, taken by the line at once. */
static void tx(struct uart *u)
{
	assert_int_equal(wr(u, UART_RBR, 'x'), UART_TX);
	uart_tx_done(u, true);
}

static void power_on_values_are_those_of_the_data_sheet(void **state)
{
	struct uart *u = *state;

	assert_int_equal(rd(u, UART_IER), 0);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
	assert_int_equal(rd(u, UART_LCR), 0);
	assert_int_equal(rd(u, UART_MCR), 0);
	assert_int_equal(rd(u, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	assert_int_equal(
		rd(u, UART_MSR), UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD);
	assert_int_equal(rd(u, UART_RBR), 0);
}

static void scratch_and_line_control_keep_every_bit(void **state)
{
	struct uart *u = *state;
	unsigned v;

	for (v = 0; v < 256; v++) {
		wr(u, UART_SCR, v);
		wr(u, UART_LCR, v);
		assert_int_equal(rd(u, UART_SCR), v);
		assert_int_equal(rd(u, UART_LCR), v);
	}
}

static void ier_and_mcr_keep_only_the_bits_they_have(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IER, 0xff);
	assert_int_equal(rd(u, UART_IER), 0x0f);
	wr(u, UART_MCR, 0xff);
	assert_int_equal(rd(u, UART_MCR), 0x1f);
}

static void lsr_and_msr_cannot_be_written(void **state)
{
	struct uart *u = *state;
	uint8_t lsr = rd(u, UART_LSR), msr = rd(u, UART_MSR);

	assert_int_equal(wr(u, UART_LSR, 0xff), 0);
	assert_int_equal(wr(u, UART_MSR, 0xff), 0);
	assert_int_equal(rd(u, UART_LSR), lsr);
	assert_int_equal(rd(u, UART_MSR), msr);
}

static void dlab_swaps_the_divisor_in_and_out(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IER, 0x05);
	rx(u, "z");
	wr(u, UART_LCR, UART_LCR_DLAB | 3);
	assert_int_equal(wr(u, UART_RBR, 0x34), 0); /* goes nowhere */
	wr(u, UART_IER, 0x12);
	assert_int_equal(rd(u, UART_RBR), 0x34);
	assert_int_equal(rd(u, UART_IER), 0x12);
	wr(u, UART_LCR, 3);
	assert_int_equal(rd(u, UART_IER), 0x05);
	assert_int_equal(rd(u, UART_RBR), 'z');
}

/* drivers/tty/serial/8250: autoconfig(). */
static void linux_finds_a_16550a(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IER, 0);
	assert_int_equal(rd(u, UART_IER) & 0x0f, 0x00);
	wr(u, UART_IER, 0x0f);
	assert_int_equal(rd(u, UART_IER) & 0x0f, 0x0f);
	wr(u, UART_IER, 0);
	/* loopback test: RTS and OUT2 come back as CTS and DCD */
	wr(u, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(rd(u, UART_MSR) & 0xf0, 0x90);
	wr(u, UART_MCR, 0);
	/* not a 16650 or later: no EFR behind LCR 0xbf */
	wr(u, UART_LCR, 0xbf);
	wr(u, UART_IIR, 0);
	wr(u, UART_LCR, 0);
	wr(u, UART_IIR, FIFO_ON);
	assert_int_equal(rd(u, UART_IIR) >> 6, 3);
	/* not a 16750: no 64-byte FIFO */
	wr(u, UART_LCR, 0);
	wr(u, UART_IIR, FIFO_ON | 0x20);
	assert_int_equal(rd(u, UART_IIR) & 0x20, 0);
	/* not an XScale port: no UUE bit */
	wr(u, UART_IER, 0x40);
	assert_int_equal(rd(u, UART_IER) & 0x40, 0);
	wr(u, UART_IIR, 0);
	assert_int_equal(rd(u, UART_IIR) >> 6, 0);
}

/* drivers/tty/serial/8250: the THRE test of startup(). */
static void enabling_thri_raises_it_each_time(void **state)
{
	struct uart *u = *state;
	unsigned i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(wr(u, UART_IER, UART_IER_THRI), UART_IRQ);
		assert_int_equal(rd(u, UART_IIR), UART_IIR_THRI);
		assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
		wr(u, UART_IER, 0);
	}
}

static void loopback_wires_each_output_to_its_input(void **state)
{
	static const struct {
		uint8_t mcr, msr;
	} want[] = {{UART_MCR_DTR, UART_MSR_DSR}, {UART_MCR_RTS, UART_MSR_CTS},
		{UART_MCR_OUT1, UART_MSR_RI}, {UART_MCR_OUT2, UART_MSR_DCD}};
	struct uart *u = *state;
	unsigned i;

	for (i = 0; i < 4; i++) {
		wr(u, UART_MCR, UART_MCR_LOOP | want[i].mcr);
		assert_int_equal(rd(u, UART_MSR) & 0xf0, want[i].msr);
	}
	wr(u, UART_MCR, 0x0f);
	assert_int_equal(rd(u, UART_MSR) & 0xf0, 0xb0); /* the line's again */
}

static void modem_changes_show_as_deltas_once(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IER, UART_IER_MSI);
	/* CTS, DSR and DCD fall */
	assert_int_equal(wr(u, UART_MCR, UART_MCR_LOOP), UART_IRQ);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_MSI);
	assert_int_equal(
		rd(u, UART_MSR), UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_DDCD);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
	assert_int_equal(rd(u, UART_MSR), 0);
	/* RI tells of its falling edge only */
	assert_int_equal(wr(u, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1), 0);
	assert_int_equal(rd(u, UART_MSR), UART_MSR_RI);
	assert_int_equal(wr(u, UART_MCR, UART_MCR_LOOP), UART_IRQ);
	assert_int_equal(rd(u, UART_MSR), UART_MSR_TERI);
}

static void in_loopback_bytes_come_back_and_none_go_out(void **state)
{
	struct uart *u = *state;
	unsigned i;

	wr(u, UART_IIR, FIFO_ON);
	wr(u, UART_MCR, UART_MCR_LOOP);
	for (i = 0; i < UART_FIFO; i++)
		assert_int_equal(wr(u, UART_RBR, 'a' + i) & UART_TX, 0);
	assert_int_equal(uart_rx_room(u), 0);
	for (i = 0; i < UART_FIFO; i++) {
		assert_int_equal(rd(u, UART_LSR) & UART_LSR_DR, UART_LSR_DR);
		assert_int_equal(rd(u, UART_RBR), 'a' + i);
	}
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_DR, 0);
	assert_int_equal(uart_rx_room(u), 0); /* off the line */
	wr(u, UART_MCR, 0);
	assert_int_equal(uart_rx_room(u), UART_FIFO);
}

static void overrun_of_a_fifo_loses_the_new_byte_and_tells_once(void **state)
{
	struct uart *u = *state;
	unsigned i;

	wr(u, UART_IIR, FIFO_ON);
	wr(u, UART_MCR, UART_MCR_LOOP);
	wr(u, UART_IER, UART_IER_RLSI);
	for (i = 0; i < UART_FIFO; i++)
		assert_int_equal(wr(u, UART_RBR, i), 0);
	assert_int_equal(wr(u, UART_RBR, 99), UART_IRQ);
	assert_int_equal(rd(u, UART_IIR) & 0x0f, UART_IIR_RLSI);
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_OE, UART_LSR_OE);
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_OE, 0);
	assert_int_equal(rd(u, UART_IIR) & 0x0f, UART_IIR_NONE);
	for (i = 0; i < UART_FIFO; i++)
		assert_int_equal(rd(u, UART_RBR), i);
}

static void overrun_without_fifo_keeps_the_new_byte(void **state)
{
	struct uart *u = *state;

	wr(u, UART_MCR, UART_MCR_LOOP);
	wr(u, UART_RBR, 'a');
	wr(u, UART_RBR, 'b');
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_OE, UART_LSR_OE);
	assert_int_equal(rd(u, UART_RBR), 'b');
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_DR, 0);
}

static void received_bytes_come_in_order_with_one_edge_a_batch(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IIR, FIFO_ON);
	wr(u, UART_IER, UART_IER_RDI);
	assert_int_equal(uart_rx_room(u), UART_FIFO);
	assert_int_equal(rx(u, "abc"), UART_IRQ);
	assert_int_equal(uart_rx_room(u), 0);
	assert_int_equal(rd(u, UART_RBR), 'a');
	assert_int_equal(effects, 0);
	assert_int_equal(rd(u, UART_RBR), 'b');
	assert_int_equal(rd(u, UART_IIR) & 0x0f, UART_IIR_RDI);
	assert_int_equal(rd(u, UART_RBR), 'c');
	assert_int_equal(effects, 0);
	assert_int_equal(rd(u, UART_IIR) & 0x0f, UART_IIR_NONE);
	assert_int_equal(rx(u, "d"), UART_IRQ);
}

static void without_fifo_one_byte_at_a_time(void **state)
{
	struct uart *u = *state;

	assert_int_equal(uart_rx_room(u), 1);
	rx(u, "a");
	assert_int_equal(uart_rx_room(u), 0);
	assert_int_equal(rd(u, UART_RBR), 'a');
	assert_int_equal(uart_rx_room(u), 1);
}

static void below_the_trigger_level_iir_says_timeout(void **state)
{
	static const uint8_t level[4] = {1, 4, 8, 14};
	struct uart *u = *state;
	unsigned i, n;

	wr(u, UART_IER, UART_IER_RDI);
	for (i = 0; i < 4; i++) {
		wr(u, UART_IIR, FIFO_ON | UART_FCR_CLEAR_RX | i << 6);
		rx(u, "0123456789abcdef");
		for (n = UART_FIFO; n > 0; n--) {
			assert_int_equal(rd(u, UART_IIR),
				UART_IIR_FIFO |
					(n >= level[i] ? UART_IIR_RDI
						       : UART_IIR_TIMEOUT));
			rd(u, UART_RBR);
		}
	}
}

static void clearing_or_switching_the_fifo_drops_what_it_holds(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IIR, FIFO_ON);
	rx(u, "abc");
	wr(u, UART_IIR, FIFO_ON | UART_FCR_CLEAR_TX);
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_DR, UART_LSR_DR);
	wr(u, UART_IIR, FIFO_ON | UART_FCR_CLEAR_RX);
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_DR, 0);
	rx(u, "abc");
	wr(u, UART_IIR, UART_FCR_CLEAR_TX); /* bit 0 off: FIFO off */
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_DR, 0);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
	rx(u, "a");
	wr(u, UART_IIR, UART_FCR_CLEAR_RX); /* means nothing without bit 0 */
	assert_int_equal(rd(u, UART_LSR) & UART_LSR_DR, UART_LSR_DR);
}

static void causes_come_in_the_order_of_their_priority(void **state)
{
	struct uart *u = *state;

	wr(u, UART_MCR, UART_MCR_LOOP);
	wr(u, UART_RBR, 'a');
	wr(u, UART_RBR, 'b'); /* overrun, data, THR empty, modem change */
	assert_int_equal(wr(u, UART_IER, 0x0f), UART_IRQ);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_RLSI);
	assert_int_equal(effects, 0);
	rd(u, UART_LSR);
	assert_int_equal(effects, UART_IRQ); /* another one is on top now */
	assert_int_equal(rd(u, UART_IIR), UART_IIR_RDI);
	rd(u, UART_RBR);
	assert_int_equal(effects, UART_IRQ);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_THRI);
	assert_int_equal(effects, UART_IRQ); /* the read acknowledged it */
	assert_int_equal(rd(u, UART_IIR), UART_IIR_MSI);
	assert_int_equal(effects, 0);
	rd(u, UART_MSR);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
}

static void only_enabled_causes_interrupt(void **state)
{
	struct uart *u = *state;

	assert_int_equal(rx(u, "a"), 0);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
	assert_false(uart_pending(u));
	assert_int_equal(wr(u, UART_IER, UART_IER_THRI), UART_IRQ);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_THRI);
	assert_int_equal(wr(u, UART_IER, UART_IER_RDI), UART_IRQ);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_RDI);
	assert_int_equal(wr(u, UART_IER, 0), 0);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
}

static void writing_ier_with_something_pending_is_an_edge(void **state)
{
	struct uart *u = *state;

	rx(u, "a");
	assert_int_equal(wr(u, UART_IER, UART_IER_RDI), UART_IRQ);
	assert_int_equal(wr(u, UART_IER, UART_IER_RDI), UART_IRQ);
}

static void a_sent_byte_leaves_thr_empty_pending_again(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IER, UART_IER_THRI);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_THRI);
	assert_false(uart_thr_pending(u));
	tx(u);
	assert_true(uart_thr_pending(u));
	assert_int_equal(rd(u, UART_IIR), UART_IIR_THRI);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
}

static void a_held_line_shows_no_thre_until_it_is_released(void **state)
{
	struct uart *u = *state;

	wr(u, UART_IER, UART_IER_THRI);
	rd(u, UART_IIR);
	wr(u, UART_RBR, 'x');
	uart_tx_done(u, false);
	assert_int_equal(rd(u, UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_NONE);
	wr(u, UART_IER, 0);
	assert_int_equal(wr(u, UART_IER, UART_IER_THRI), 0);
	assert_int_equal(uart_tx_release(u), UART_IRQ);
	assert_int_equal(rd(u, UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT),
		UART_LSR_THRE | UART_LSR_TEMT);
	assert_int_equal(rd(u, UART_IIR), UART_IIR_THRI);
}

/* An access leaves no cause on top that was not there before without an edge;
 * transmitting is the exception, as the owner looks after that. */
static void no_access_hides_a_new_cause(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct uart *u = *state;
	unsigned i, did, reg, before, iir;
	struct uart copy;

	for (i = 0; i < 100000; i++) {
		copy = *u;
		before = rd(&copy, UART_IIR) & 0x07;
		reg = testing_random(&rnd) % UART_REGS;
		did = 0;
		if (testing_random(&rnd) & 1)
			did = wr(u, reg, (unsigned)testing_random(&rnd));
		else
			uart_read(u, reg, &did);
		if (did & UART_TX)
			uart_tx_done(u, testing_random(&rnd) & 7);
		if (uart_rx_room(u) && testing_random(&rnd) % 8 == 0)
			did |= rx(u, "k");
		if (u->tx_held && testing_random(&rnd) % 8 == 0)
			did |= uart_tx_release(u);
		copy = *u;
		iir = rd(&copy, UART_IIR) & 0x07;
		assert_int_equal(iir != UART_IIR_NONE, uart_pending(u));
		if (iir != UART_IIR_NONE && iir != before && !(did & UART_TX))
			assert_int_equal(did & UART_IRQ, UART_IRQ);
		assert_true(u->fifo_len <= UART_FIFO);
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup(fn, setup)
	const struct CMUnitTest tests[] = {
		TEST(power_on_values_are_those_of_the_data_sheet),
		TEST(scratch_and_line_control_keep_every_bit),
		TEST(ier_and_mcr_keep_only_the_bits_they_have),
		TEST(lsr_and_msr_cannot_be_written),
		TEST(dlab_swaps_the_divisor_in_and_out),
		TEST(linux_finds_a_16550a),
		TEST(enabling_thri_raises_it_each_time),
		TEST(loopback_wires_each_output_to_its_input),
		TEST(modem_changes_show_as_deltas_once),
		TEST(in_loopback_bytes_come_back_and_none_go_out),
		TEST(overrun_of_a_fifo_loses_the_new_byte_and_tells_once),
		TEST(overrun_without_fifo_keeps_the_new_byte),
		TEST(received_bytes_come_in_order_with_one_edge_a_batch),
		TEST(without_fifo_one_byte_at_a_time),
		TEST(below_the_trigger_level_iir_says_timeout),
		TEST(clearing_or_switching_the_fifo_drops_what_it_holds),
		TEST(causes_come_in_the_order_of_their_priority),
		TEST(only_enabled_causes_interrupt),
		TEST(writing_ier_with_something_pending_is_an_edge),
		TEST(a_sent_byte_leaves_thr_empty_pending_again),
		TEST(a_held_line_shows_no_thre_until_it_is_released),
		TEST(no_access_hides_a_new_cause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
