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
#include "loop/pool.h"
#include "virtio/backend/disk.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/dev.h"
#include "virtio/mmio.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/irq.h"
#include "vmm/loops.h"
#include "vmm/machine.h"
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
		*ret_out = open(cfg->path,
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY,
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

/* Making a disk, on the loop that is going to serve it. */
struct new_disk {
	struct vm *vm;
	const struct config_disk *cfg;
	struct virtio_env env;
	char name[DEVICE_NAME_MAX];
	struct virtio_dev *virtio; /* the result */
	struct disk *disk;	   /* the device's */
	int code;
	struct error *err;
};

static void make_disk(void *opaque)
{
	struct new_disk *n = opaque;
	struct virtio_blk_options opt = {.serial = n->cfg->serial};
	struct disk_options disk = {
		.name = n->name,
		.path = n->cfg->path,
		.fd = n->cfg->fd,
		.readonly = n->cfg->readonly,
		.direct = n->cfg->direct,
		.unlocked = n->vm->cfg->incoming,
	};

	n->code = disk_open(n->env.loop, n->vm->pool, &disk, &opt.disk, n->err);
	if (n->code < 0)
		return;
	n->disk = opt.disk;
	n->code = virtio_blk_create(
		&n->env, n->name, &opt, &n->virtio, n->err);
}

static int add_disk(struct vm *vm, unsigned index, struct error *err)
{
	const struct config_disk *cfg = &vm->cfg->disk[index];
	struct new_disk n = {
		.vm = vm,
		.cfg = cfg,
		.env = {.loop = loops_get(vm, cfg->iothread), .gm = &vm->gm},
		.err = err,
	};
	struct virtio_mmio_options slot;
	int code;

	snprintf(n.name, sizeof(n.name), "disk%u", index);
	code = next_slot(vm, &slot, err);
	if (code < 0)
		return code;
	code = loop_run_sync(n.env.loop, make_disk, &n, n.name);
	if (code < 0)
		return error_errno(err, code, "%s", n.name);
	if (n.code < 0)
		return n.code;
	vm->disk[index] = n.disk;
	return plug(vm, n.virtio, &slot, err);
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
	return 0;
}

void machine_unlock_disks(struct vm *vm)
{
	unsigned i;

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
		code = virtio_rng_create(&env, "rng0", &virtio, err);
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
	if (code == 0 && vm->cfg->disks > 0)
		code = pool_create(NULL, &vm->pool, err);
	for (i = 0; code == 0 && i < vm->cfg->disks; i++)
		code = add_disk(vm, i, err);
	if (code == 0)
		code = add_rng(vm, err);
	if (code == 0)
		code = add_console(vm, err);
	for (i = 0; code == 0 && i < vm->cfg->nets; i++)
		code = add_net(vm, i, err);
	return code;
}
