/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/machine_disk.c - see machine_disk.h: from configuration to device; and
 * what happens when an image is full.
 *
 * Owner, but where a line says otherwise.
 */
#include "vmm/machine_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "loop/pool.h"
#include "virtio/backend/bucket.h"
#include "virtio/backend/disk.h"
#include "virtio/blk.h"
#include "virtio/dev.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/loops.h"
#include "vmm/vm_disk.h"
#include "vmm/vm_priv.h"

/* ---- limits ---- */

/* Limits are with the first disk of a group, or with the only one. */
static unsigned limits_owner(const struct vm *vm, unsigned index)
{
	const struct config_disk *disk = vm->cfg->disk;
	unsigned i = 0;

	if (disk[index].group[0] == '\0')
		return index;
	while (strcmp(disk[i].group, disk[index].group) != 0)
		i++;
	return i;
}

static int new_limits(
	struct vm *vm, unsigned owner, const struct bucket_limits *limits)
{
	struct bucket_group *g = malloc(sizeof(*g));

	if (!g)
		return -ENOMEM;
	bucket_group_init(g, limits, loop_now_ns(vm->loop, LOOP_MONOTONIC));
	vm->limits[owner] = g;
	return 0;
}

/* NULL and 0: no limits. */
static int get_limits(
	struct vm *vm, unsigned index, struct bucket_group **ret_limits)
{
	unsigned owner = limits_owner(vm, index);
	const struct bucket_limits *limits = &vm->cfg->disk[owner].limits;
	int code = 0;

	if (!vm->limits[owner] && config_limited(limits))
		code = new_limits(vm, owner, limits);
	*ret_limits = vm->limits[owner];
	return code;
}

/* ---- full ---- */

/* The disk's loop. */
static void disk_full(void *opaque)
{
	struct vm_disk_ref *ref = opaque;

	atomic_fetch_or(&ref->vm->disks_full, 1u << ref->index);
	loop_bh_schedule(ref->vm->disks_full_bh);
}

/* In a bottom half with the guard. */
static void pause_for_room(void *opaque)
{
	struct vm *vm = opaque;
	uint32_t full = atomic_exchange(&vm->disks_full, 0);
	unsigned i;

	if (full == 0)
		return;
	for (i = 0; i < vm->cfg->disks; i++)
		if (full >> i & 1)
			log_warn("disk%u: no room for a write: the guest is "
				 "paused (make room, then resume it)",
				i);
	vm_set_paused(vm, true);
	vm->paused_for_disks |= full;
	for (i = 0; i < vm->cfg->disks; i++)
		if (full >> i & 1 && vm->on_disk_full)
			vm->on_disk_full(vm->on_disk_full_opaque, i);
}

void vm_on_disk_full(
	struct vm *vm, void (*fn)(void *opaque, unsigned disk), void *opaque)
{
	vm->on_disk_full = fn;
	vm->on_disk_full_opaque = opaque;
}

int machine_init_disks(struct vm *vm, struct error *err)
{
	unsigned i;
	int code;

	if (vm->cfg->disks == 0)
		return 0;
	code = pool_create(NULL, &vm->pool, err);
	if (code < 0)
		return code;
	for (i = 0; i < vm->cfg->disks; i++)
		vm->disk_ref[i] = (struct vm_disk_ref){vm, i};
	code = loop_bh_create(vm->loop, pause_for_room, vm, "disk full",
		&vm->guard, &vm->disks_full_bh);
	return code < 0 ? error_errno(err, code, "disks") : 0;
}

void machine_fini_disks(struct vm *vm)
{
	unsigned i;

	pool_destroy(vm->pool);
	loop_bh_delete(vm->disks_full_bh);
	for (i = 0; i < CONFIG_DISKS_MAX; i++) {
		if (!vm->limits[i])
			continue;
		bucket_group_fini(vm->limits[i]);
		free(vm->limits[i]);
	}
}

/* ---- the device ---- */

/* Made on the loop that is going to serve it. */
struct new_disk {
	struct vm *vm;
	unsigned index;
	const char *name;
	struct virtio_env env;
	struct bucket_group *limits;
	struct virtio_dev *virtio; /* the result */
	struct disk *disk;	   /* the device's */
	int code;
	struct error *err;
};

static void make_disk(void *opaque)
{
	struct new_disk *n = opaque;
	const struct config_disk *cfg = &n->vm->cfg->disk[n->index];
	struct virtio_blk_options opt = {
		.serial = cfg->serial,
		.no_discard = cfg->no_discard,
		.queues = cfg->queues,
		.limits = n->limits,
		.full = cfg->stop_when_full ? disk_full : NULL,
		.full_opaque = &n->vm->disk_ref[n->index],
	};
	struct disk_options disk = {
		.name = n->name,
		.path = cfg->path,
		.fd = cfg->fd,
		.readonly = cfg->readonly,
		.direct = cfg->direct,
		.cache = cfg->cache,
		.unlocked = n->vm->cfg->incoming,
	};

	n->code = disk_open(n->env.loop, n->vm->pool, &disk, &opt.disk, n->err);
	if (n->code < 0)
		return;
	n->disk = opt.disk;
	n->code = virtio_blk_create(&n->env, n->name, &opt, &n->virtio, n->err);
}

int machine_make_disk(struct vm *vm, unsigned index, const char *name,
	struct virtio_dev **ret_dev, struct error *err)
{
	struct new_disk n = {
		.vm = vm,
		.index = index,
		.name = name,
		.env = {.loop = loops_get(vm, vm->cfg->disk[index].iothread),
			.gm = &vm->gm},
		.err = err,
	};
	int code = get_limits(vm, index, &n.limits);

	if (code == 0)
		code = loop_run_sync(n.env.loop, make_disk, &n, name);
	if (code < 0)
		return error_errno(err, code, "%s", name);
	if (n.code < 0)
		return n.code;
	vm->disk[index] = n.disk;
	vm->blk[index] = n.virtio;
	*ret_dev = n.virtio;
	return 0;
}

/* ---- vm_disk.h ---- */

uint32_t vm_paused_for_disks(const struct vm *vm)
{
	return vm->user_paused ? vm->paused_for_disks : 0;
}

unsigned vm_disks(const struct vm *vm)
{
	return vm->cfg->disks;
}

int vm_disk_resize(struct vm *vm, unsigned disk, uint64_t bytes, bool shrink,
	struct error *err)
{
	return virtio_blk_resize(vm->blk[disk], bytes, shrink, err);
}

void vm_disk_stats(
	struct vm *vm, unsigned disk, struct virtio_blk_stats *ret_stats)
{
	virtio_blk_stats(vm->blk[disk], ret_stats);
}

void vm_disk_limits(
	struct vm *vm, unsigned disk, struct bucket_limits *ret_limits)
{
	struct bucket_group *g = vm->limits[limits_owner(vm, disk)];

	memset(ret_limits, 0, sizeof(*ret_limits));
	if (g)
		bucket_group_get(g, ret_limits);
}

int vm_disk_set_limits(
	struct vm *vm, unsigned disk, const struct bucket_limits *limits)
{
	unsigned owner = limits_owner(vm, disk), i;
	int code = 0;

	if (vm->limits[owner])
		bucket_group_reset(vm->limits[owner], limits,
			loop_now_ns(vm->loop, LOOP_MONOTONIC));
	else
		code = new_limits(vm, owner, limits);
	for (i = 0; code == 0 && i < vm->cfg->disks; i++)
		if (limits_owner(vm, i) == owner)
			code = virtio_blk_set_limits(
				vm->blk[i], vm->limits[owner]);
	return code;
}
