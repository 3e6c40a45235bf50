/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/i8042.c - see i8042.h.
 *
 * vCPU threads under the device's lock; events are reported outside it.
 */
#include "devices/i8042.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "devices/device.h"
#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/layout.h"

#define STATUS_OBF	0x01u /* a byte waits at the data port */
#define STATUS_SYS	0x04u /* self test passed */
#define STATUS_COMMAND	0x08u /* last write was to the command port */
#define STATUS_UNLOCKED 0x10u /* keyboard lock switch */

#define CMD_READ_RAM	0x20u /* .. 0x3f */
#define CMD_WRITE_RAM	0x60u /* .. 0x7f */
#define CMD_TEST_AUX	0xa9u
#define CMD_SELF_TEST	0xaau
#define CMD_TEST_KBD	0xabu
#define CMD_DISABLE_KBD 0xadu
#define CMD_ENABLE_KBD	0xaeu
#define CMD_READ_INPUT	0xc0u
#define CMD_READ_OUTPUT 0xd0u
#define CMD_WRITE_OUT	0xd1u
#define CMD_LOOP_KBD	0xd2u
#define CMD_LOOP_AUX	0xd3u
#define CMD_WRITE_AUX	0xd4u
#define CMD_A20_OFF	0xddu
#define CMD_A20_ON	0xdfu
#define CMD_PULSE	0xf0u /* .. 0xff: low for a moment where bits are 0 */

#define CTR_SYS	    0x04u
#define CTR_KBD_OFF 0x10u
#define CTR_AUX_OFF 0x20u
#define CTR_XLATE   0x40u

#define OUT_RESET 0x01u /* 0 resets the machine */
#define OUT_A20	  0x02u

#define RAM_SIZE 32u

struct i8042 {
	struct device dev;
	struct guest_event_sink sink;
	pthread_mutex_t lock; /* all below */
	uint8_t data;	      /* read at the data port */
	bool full;	      /* data not read yet */
	bool last_command;
	uint8_t pending;       /* command that waits for its byte, or 0 */
	uint8_t out;	       /* output port */
	uint8_t ram[RAM_SIZE]; /* ram[0] is the command byte */
};

static struct i8042 *i8042_of(struct device *dev)
{
	return (struct i8042 *)dev;
}

static void answer(struct i8042 *k, uint8_t data)
{
	k->data = data;
	k->full = true;
}

static bool takes_byte(uint8_t command)
{
	return (command & 0xe0) == CMD_WRITE_RAM ||
	       (command >= CMD_WRITE_OUT && command <= CMD_WRITE_AUX);
}

/* Return: the machine is to be reset. */
static bool command(struct i8042 *k, uint8_t value)
{
	k->last_command = true;
	k->pending = takes_byte(value) ? value : 0;
	if ((value & 0xe0) == CMD_READ_RAM) {
		answer(k, k->ram[value & (RAM_SIZE - 1)]);
		return false;
	}
	switch (value) {
	case CMD_SELF_TEST:
		k->ram[0] |= CTR_SYS;
		answer(k, 0x55);
		break;
	case CMD_TEST_KBD:
		answer(k, 0x00);
		break;
	case CMD_TEST_AUX:
		answer(k, 0x02); /* clock line stuck: there is no such port */
		break;
	case CMD_DISABLE_KBD:
		k->ram[0] |= CTR_KBD_OFF;
		break;
	case CMD_ENABLE_KBD:
		k->ram[0] &= (uint8_t)~CTR_KBD_OFF;
		break;
	case CMD_READ_INPUT:
		answer(k, 0x80);
		break;
	case CMD_READ_OUTPUT:
		answer(k, k->out);
		break;
	case CMD_A20_OFF:
		k->out &= (uint8_t)~OUT_A20;
		break;
	case CMD_A20_ON:
		k->out |= OUT_A20;
		break;
	default:
		return value >= CMD_PULSE && !(value & OUT_RESET);
	}
	return false;
}

/* Return: the machine is to be reset. */
static bool data(struct i8042 *k, uint8_t value)
{
	uint8_t pending = k->pending;

	k->last_command = false;
	k->pending = 0;
	if ((pending & 0xe0) == CMD_WRITE_RAM) {
		k->ram[pending & (RAM_SIZE - 1)] = value;
		return false;
	}
	switch (pending) {
	case CMD_WRITE_OUT:
		k->out = value | OUT_RESET;
		return !(value & OUT_RESET);
	case CMD_LOOP_KBD:
	case CMD_LOOP_AUX:
		/* From the keyboard either way: a probe for a mouse port sees
		 * at once that there is none, instead of waiting for it. */
		answer(k, value);
		return false;
	default: /* to a device that is not there */
		return false;
	}
}

static uint64_t data_read(void *opaque, uint64_t off, unsigned len)
{
	struct i8042 *k = opaque;
	uint8_t v;

	pthread_mutex_lock(&k->lock);
	v = k->data;
	k->full = false;
	pthread_mutex_unlock(&k->lock);
	return v;
}

static void data_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct i8042 *k = opaque;
	bool reset_now;

	pthread_mutex_lock(&k->lock);
	reset_now = data(k, (uint8_t)value);
	pthread_mutex_unlock(&k->lock);
	if (reset_now)
		k->sink.fn(k->sink.opaque, GUEST_EVENT_RESET, 0);
}

/* Bit 1, "input buffer full", stays 0: each write is taken at once. */
static uint64_t status_read(void *opaque, uint64_t off, unsigned len)
{
	struct i8042 *k = opaque;
	uint8_t v = STATUS_UNLOCKED;

	pthread_mutex_lock(&k->lock);
	if (k->full)
		v |= STATUS_OBF;
	if (k->ram[0] & CTR_SYS)
		v |= STATUS_SYS;
	if (k->last_command)
		v |= STATUS_COMMAND;
	pthread_mutex_unlock(&k->lock);
	return v;
}

static void command_write(
	void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct i8042 *k = opaque;
	bool reset_now;

	pthread_mutex_lock(&k->lock);
	reset_now = command(k, (uint8_t)value);
	pthread_mutex_unlock(&k->lock);
	if (reset_now)
		k->sink.fn(k->sink.opaque, GUEST_EVENT_RESET, 0);
}

static void reset(struct device *dev)
{
	struct i8042 *k = i8042_of(dev);
	unsigned i;

	k->data = 0;
	k->full = false;
	k->last_command = false;
	k->pending = 0;
	k->out = OUT_RESET | OUT_A20;
	for (i = 0; i < RAM_SIZE; i++)
		k->ram[i] = 0;
	/* As firmware would leave it, had it found nothing plugged in. */
	k->ram[0] = CTR_SYS | CTR_KBD_OFF | CTR_AUX_OFF | CTR_XLATE;
}

static int save(const struct device *dev, struct state_writer *w)
{
	const struct i8042 *k = (const struct i8042 *)dev;

	state_put_u8(w, k->data);
	state_put_bool(w, k->full);
	state_put_bool(w, k->last_command);
	state_put_u8(w, k->pending);
	state_put_u8(w, k->out);
	state_put_bytes(w, k->ram, RAM_SIZE);
	return 0;
}

static int load(struct device *dev, struct state_reader *r, struct error *err)
{
	struct i8042 *k = i8042_of(dev);
	uint8_t ram[RAM_SIZE];
	uint8_t byte = state_get_u8(r);
	bool full = state_get_bool(r);
	bool last_command = state_get_bool(r);
	uint8_t pending = state_get_u8(r);
	uint8_t out = state_get_u8(r);
	int rc;

	state_get_bytes(r, ram, RAM_SIZE);
	rc = state_reader_end(r);
	if (rc < 0)
		return rc;
	if (pending && !takes_byte(pending))
		return state_reject(r, err, "a command that takes no byte");
	if (!(out & OUT_RESET))
		return state_reject(r, err, "reset line held down");
	k->data = byte;
	k->full = full;
	k->last_command = last_command;
	k->pending = pending;
	k->out = out;
	for (unsigned i = 0; i < RAM_SIZE; i++)
		k->ram[i] = ram[i];
	return 0;
}

static void destroy(struct device *dev)
{
	struct i8042 *k = i8042_of(dev);

	pthread_mutex_destroy(&k->lock);
	free(k);
}

static const struct bus_ops data_ops = {data_read, data_write};
static const struct bus_ops command_ops = {status_read, command_write};

static const struct device_ops ops = {
	.kind = "i8042",
	.version = 1,
	.reset = reset,
	.save = save,
	.load = load,
	.destroy = destroy,
};

int i8042_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range ret_ranges[2])
{
	struct i8042 *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->dev = (struct device){.ops = &ops, .name = "i8042"};
	k->sink = sink;
	pthread_mutex_init(&k->lock, NULL);
	reset(&k->dev);
	*ret_dev = &k->dev;
	ret_ranges[0] = (struct bus_range){
		LAYOUT_PIO_I8042, 1, &data_ops, k, "i8042 data"};
	ret_ranges[1] = (struct bus_range){
		LAYOUT_PIO_I8042 + 4, 1, &command_ops, k, "i8042 command"};
	return 0;
}
