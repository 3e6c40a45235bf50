/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/machine_devices.c - which devices a machine has, in which order, at which
 * addresses.  All of that is migration ABI: add at the end, never reorder.
 *
 * Interrupts and kicks are bound here, so that the devices know eventfds only.
 */
#include "vmm/machine_devices.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/debug_exit.h"
#include "devices/i8042.h"
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "loop/loop.h"
#include "virtio/backend/disk.h"
#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/dev.h"
#include "virtio/mmio.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/irq.h"
#include "vmm/loops.h"
#include "vmm/machine.h"
#include "vmm/machine_disk.h"
#include "vmm/machine_net.h"
#include "vmm/vm_priv.h"

/* @dev is the VM's from here on, whatever happens. */
static int adopt(struct vm *vm, struct device *dev, struct bus *bus,
	const struct bus_range *range, unsigned ranges, struct error *err)
{
	unsigned i;
	int code;

	assert(vm->devices < VM_DEVICES_MAX);
	vm->device[vm->devices++] = dev;
	for (i = 0; i < ranges; i++) {
		code = bus_add(bus, &range[i], err);
		if (code < 0)
			return code;
	}
	return 0;
}

static int add_irq(struct vm *vm, uint32_t gsi, int *ret_fd, struct error *err)
{
	struct vm_irq *irq = &vm->irq[vm->irqs];
	int code;

	assert(vm->irqs < VM_DEVICES_MAX);
	code = irq_line_open(vm->fd, gsi, &irq->fd, err);
	if (code < 0)
		return code;
	irq->gsi = gsi;
	vm->irqs++;
	*ret_fd = irq->fd;
	return 0;
}

/* The host fds of a character device; -1 where there is none. */
static int open_char(struct vm *vm, const char *what,
	const struct config_char *cfg, int *ret_in, int *ret_out,
	struct error *err)
{
	*ret_in = *ret_out = -1;
	if (cfg->kind == CONFIG_CHAR_STDIO) {
		*ret_in = STDIN_FILENO;
		*ret_out = STDOUT_FILENO;
	} else if (cfg->kind == CONFIG_CHAR_FILE) {
		assert(vm->host_fds < VM_HOST_FDS_MAX);
		/* A guest that comes from elsewhere goes on writing. */
		*ret_out = open(cfg->path,
			O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY |
				(vm->cfg->incoming ? O_APPEND : O_TRUNC),
			0666);
		if (*ret_out < 0)
			return error_errno(err, -errno,
				"%s: open %s for writing (name a file in a "
				"folder you may write to)",
				what, cfg->path);
		vm->host_fd[vm->host_fds++] = *ret_out;
	}
	return 0;
}

static const struct serial_front *front_of(
	const struct vm *vm, const struct config_char *cfg)
{
	return cfg->kind == CONFIG_CHAR_STDIO ? vm->front : NULL;
}

/* ---- legacy devices ---- */

static int add_serial(struct vm *vm, struct error *err)
{
	struct serial_options opt = {
		.loop = vm->loop,
		.irq_fd = -1,
		.front = front_of(vm, &vm->cfg->serial),
	};
	struct bus_range range;
	struct device *dev;
	int code;

	if (vm->cfg->serial.kind == CONFIG_CHAR_NONE)
		return 0;
	code = open_char(
		vm, "serial", &vm->cfg->serial, &opt.in_fd, &opt.out_fd, err);
	if (code < 0)
		return code;
	code = add_irq(vm, LAYOUT_GSI_COM1, &opt.irq_fd, err);
	if (code < 0)
		return code;
	code = serial_create(&opt, &dev, &range, err);
	if (code < 0)
		return code;
	vm->serial = dev;
	return adopt(vm, dev, &vm->pio, &range, 1, err);
}

static int add_rtc(struct vm *vm, struct error *err)
{
	struct bus_range range;
	struct device *dev;
	int code;

	code = rtc_create(NULL, &dev, &range);
	if (code < 0)
		return error_errno(err, code, "rtc");
	return adopt(vm, dev, &vm->pio, &range, 1, err);
}

static int add_i8042(struct vm *vm, struct error *err)
{
	struct guest_event_sink sink = {machine_guest_event, vm};
	struct bus_range range[2];
	struct device *dev;
	int code;

	code = i8042_create(sink, &dev, range);
	if (code < 0)
		return error_errno(err, code, "i8042");
	return adopt(vm, dev, &vm->pio, range, 2, err);
}

/* Devices of one port range that only report events. */
typedef int event_device_fn(struct guest_event_sink sink,
	struct device **ret_dev, struct bus_range *ret_range);

static int add_event_device(struct vm *vm, const char *name,
	event_device_fn *create, struct error *err)
{
	struct guest_event_sink sink = {machine_guest_event, vm};
	struct bus_range range;
	struct device *dev;
	int code;

	code = create(sink, &dev, &range);
	if (code < 0)
		return error_errno(err, code, "%s", name);
	return adopt(vm, dev, &vm->pio, &range, 1, err);
}

/* ---- virtio ---- */

static int bind_kick(void *opaque, uint64_t gpa, unsigned len,
	uint64_t datamatch, int fd, bool on)
{
	const struct vm *vm = opaque;

	return irq_bind_kick(vm->fd, gpa, len, datamatch, fd, on);
}

static int raise_edge(void *opaque, uint32_t gsi)
{
	const struct vm *vm = opaque;

	return irq_line_edge(vm->fd, gsi);
}

/* The next virtio slot: its window and its interrupt. */
static int next_slot(
	struct vm *vm, struct virtio_mmio_options *ret_slot, struct error *err)
{
	unsigned slot = vm->virtio_devices;
	int irq_fd, code;

	assert(slot < LAYOUT_VIRTIO_MAX);
	code = add_irq(vm, layout_virtio_gsi(slot), &irq_fd, err);
	if (code < 0)
		return code;
	vm->virtio_devices++;
	*ret_slot = (struct virtio_mmio_options){
		.gpa = layout_virtio_gpa(slot),
		.irq_fd = irq_fd,
		.gsi = layout_virtio_gsi(slot),
		.edge = raise_edge,
		.ioeventfd = bind_kick,
		.opaque = vm,
	};
	return 0;
}

/* Put @virtio, taken, into @slot. */
static int plug(struct vm *vm, struct virtio_dev *virtio,
	const struct virtio_mmio_options *slot, struct error *err)
{
	struct bus_range range;
	struct device *dev;
	int code;

	code = virtio_mmio_create(virtio, slot, &dev, &range, err);
	if (code < 0)
		return code;
	return adopt(vm, dev, &vm->mmio, &range, 1, err);
}

static int add_disk(struct vm *vm, unsigned index, struct error *err)
{
	struct virtio_mmio_options slot;
	char name[DEVICE_NAME_MAX];
	struct virtio_dev *virtio;
	int code;

	snprintf(name, sizeof(name), "disk%u", index);
	code = next_slot(vm, &slot, err);
	if (code == 0)
		code = machine_make_disk(vm, index, name, &virtio, err);
	if (code < 0)
		return code;
	return plug(vm, virtio, &slot, err);
}

int machine_lock_disks(struct vm *vm, struct error *err)
{
	unsigned i;
	int code;

	for (i = 0; i < vm->cfg->disks; i++) {
		code = disk_lock(vm->disk[i], err);
		if (code < 0) {
			while (i-- > 0)
				disk_unlock(vm->disk[i]);
			return code;
		}
	}
	for (i = 0; i < vm->cfg->nets; i++)
		virtio_net_settle(vm->net[i], true);
	if (vm->vsock)
		virtio_vsock_settle(vm->vsock, true);
	return 0;
}

void machine_unlock_disks(struct vm *vm)
{
	unsigned i;

	if (vm->vsock)
		virtio_vsock_settle(vm->vsock, false);
	for (i = 0; i < vm->cfg->nets; i++)
		virtio_net_settle(vm->net[i], false);
	for (i = 0; i < vm->cfg->disks; i++)
		disk_unlock(vm->disk[i]);
}

static int add_rng(struct vm *vm, struct error *err)
{
	struct virtio_env env = {.loop = vm->loop, .gm = &vm->gm};
	struct virtio_mmio_options slot;
	struct virtio_dev *virtio;
	int code;

	if (!vm->cfg->rng)
		return 0;
	code = next_slot(vm, &slot, err);
	if (code == 0)
		code = virtio_rng_create(
			&env, "rng0", &vm->cfg->rng_limit, &virtio, err);
	if (code < 0)
		return code;
	return plug(vm, virtio, &slot, err);
}

static int add_console(struct vm *vm, struct error *err)
{
	struct virtio_env env = {.loop = vm->loop, .gm = &vm->gm};
	struct virtio_mmio_options slot;
	struct virtio_dev *virtio;
	int in_fd, out_fd, code;

	if (vm->cfg->console.kind == CONFIG_CHAR_NONE)
		return 0;
	code = open_char(
		vm, "console", &vm->cfg->console, &in_fd, &out_fd, err);
	if (code == 0)
		code = next_slot(vm, &slot, err);
	if (code == 0)
		code = virtio_console_create(
			&env, "console0", in_fd, out_fd, &virtio, err);
	if (code < 0)
		return code;
	return plug(vm, virtio, &slot, err);
}

static int add_net(struct vm *vm, unsigned index, struct error *err)
{
	const struct config_net *cfg = &vm->cfg->net[index];
	struct virtio_env env = {
		.loop = loops_get(vm, cfg->iothread), .gm = &vm->gm};
	struct virtio_mmio_options slot;
	char name[DEVICE_NAME_MAX];
	int code;

	snprintf(name, sizeof(name), "net%u", index);
	code = next_slot(vm, &slot, err);
	if (code == 0)
		code = machine_make_net(&env, name, cfg, vm->cfg->incoming,
			&vm->net[index], err);
	if (code < 0)
		return code;
	return plug(vm, vm->net[index], &slot, err);
}

static void balloon_changed(void *opaque)
{
	const struct vm *vm = opaque;

	if (vm->balloon_changed)
		vm->balloon_changed(vm->balloon_opaque);
}

static int add_balloon(struct vm *vm, struct error *err)
{
	const struct config_balloon *cfg = &vm->cfg->balloon;
	struct virtio_env env = {.loop = vm->loop, .gm = &vm->gm};
	struct balloon_options opt = {
		.bytes = cfg->bytes,
		.deflate_on_oom = cfg->deflate_on_oom,
		.stats = cfg->stats,
		.hinting = cfg->hinting,
		.reporting = cfg->reporting,
		.stats_interval_s = cfg->stats_s,
		.phases = &vm->phases,
		.changed = balloon_changed,
		.opaque = vm,
	};
	struct virtio_mmio_options slot;
	int code;

	if (!cfg->present)
		return 0;
	code = next_slot(vm, &slot, err);
	if (code == 0)
		code = virtio_balloon_create(
			&env, "balloon0", &opt, &vm->balloon, err);
	if (code < 0)
		return code;
	return plug(vm, vm->balloon, &slot, err);
}

/* Making a socket device, on the loop that is going to serve it. */
struct new_vsock {
	struct virtio_env env;
	struct virtio_vsock_options opt;
	struct virtio_dev *virtio; /* the result */
	int code;
	struct error *err;
};

static void make_vsock(void *opaque)
{
	struct new_vsock *n = opaque;

	n->code = virtio_vsock_create(
		&n->env, "vsock0", &n->opt, &n->virtio, n->err);
}

static int add_vsock(struct vm *vm, struct error *err)
{
	const struct config_vsock *cfg = &vm->cfg->vsock;
	struct new_vsock n = {
		.env = {.gm = &vm->gm},
		.opt = {.path = cfg->path,
			.cid = cfg->cid,
			.max_conns = cfg->max_conns,
			.incoming = vm->cfg->incoming},
		.err = err,
	};
	struct virtio_mmio_options slot;
	int code;

	if (!cfg->path)
		return 0;
	n.env.loop = loops_get(vm, cfg->iothread);
	code = next_slot(vm, &slot, err);
	if (code < 0)
		return code;
	code = loop_run_sync(n.env.loop, make_vsock, &n, "vsock0");
	if (code < 0)
		return error_errno(err, code, "vsock0");
	if (n.code < 0)
		return n.code;
	vm->vsock = n.virtio;
	return plug(vm, n.virtio, &slot, err);
}

int machine_add_devices(struct vm *vm, struct error *err)
{
	unsigned i;
	int code;

	code = add_serial(vm, err);
	if (code == 0)
		code = add_rtc(vm, err);
	if (code == 0)
		code = add_i8042(vm, err);
	if (code == 0)
		code = add_event_device(vm, "power", power_create, err);
	if (code == 0)
		code = add_event_device(vm, "pvpanic", pvpanic_create, err);
	if (code == 0 && vm->cfg->debug_exit)
		code = add_event_device(
			vm, "debug-exit", debug_exit_create, err);
	if (code == 0)
		code = machine_init_disks(vm, err);
	for (i = 0; code == 0 && i < vm->cfg->disks; i++)
		code = add_disk(vm, i, err);
	if (code == 0)
		code = add_rng(vm, err);
	if (code == 0)
		code = add_console(vm, err);
	for (i = 0; code == 0 && i < vm->cfg->nets; i++)
		code = add_net(vm, i, err);
	if (code == 0)
		code = add_balloon(vm, err);
	if (code == 0)
		code = add_vsock(vm, err);
	return code;
}
