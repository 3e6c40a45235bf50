/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/commands_disk.c - see commands_disk.h. */
#include "vmm/commands_disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "virtio/blk.h"
#include "vmm/commands.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/vm_disk.h"

/* ---- disks ---- */

static const char *const limit_keys[] = {"iops", "iops-burst", "iops-rd",
	"iops-rd-burst", "iops-wr", "iops-wr-burst", "bps", "bps-burst",
	"bps-rd", "bps-rd-burst", "bps-wr", "bps-wr-burst"};

#define LIMITS (sizeof(limit_keys) / sizeof(limit_keys[0]))

static json_t *limits_json(const struct bucket_limits *limits)
{
	struct bucket_limits copy = *limits;
	json_t *object = json_object();
	uint64_t *slot;
	unsigned i;

	for (i = 0; i < LIMITS; i++)
		if (config_limit_slot(&copy, limit_keys[i], &slot) && *slot > 0)
			json_object_set_new(object, limit_keys[i],
				json_integer((json_int_t)*slot));
	return object;
}

static json_t *disk_json(struct vm *vm, unsigned disk)
{
	struct virtio_blk_stats s;
	struct bucket_limits limits;
	char name[16];

	snprintf(name, sizeof(name), "disk%u", disk);
	vm_disk_stats(vm, disk, &s);
	vm_disk_limits(vm, disk, &limits);
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
			 "s:I, s:I, s:o}",
		"name", name, "bytes", (json_int_t)s.bytes, "reads",
		(json_int_t)s.reads, "writes", (json_int_t)s.writes, "flushes",
		(json_int_t)s.flushes, "trims", (json_int_t)s.trims, "errors",
		(json_int_t)s.errors, "held", (json_int_t)s.held, "throttled",
		(json_int_t)s.throttled, "merged", (json_int_t)s.disk.merged,
		"ring_ops", (json_int_t)s.disk.uring, "pool_ops",
		(json_int_t)s.disk.pool, "limits", limits_json(&limits));
}

int commands_disks(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	json_t *array = json_array();
	unsigned i;

	for (i = 0; array && i < vm_disks(commands->vm); i++)
		if (json_array_append_new(array, disk_json(commands->vm, i)) <
			0) {
			json_decref(array);
			array = NULL;
		}
	*ret_data = json_pack("{s:o}", "disks", array);
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "disks");
}

/* ---- which one ---- */

/* Its number, or -ENOENT with @err. */
static int find_disk(struct commands *commands, const char *what, json_t *args,
	struct error *err)
{
	const char *name = json_string_value(json_object_get(args, "disk"));
	unsigned i, n = vm_disks(commands->vm);
	char text[16];

	for (i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "disk%u", i);
		if (strcmp(name, text) == 0)
			return (int)i;
	}
	if (n == 0)
		return error_set(err, -ENOENT,
			"%s: the VM has no disks (start it with --disk)", what);
	return error_set(err, -ENOENT,
		"%s: there is no disk '%.32s' (give disk0 to disk%u)", what,
		name, n - 1);
}

/* ---- disk-resize ---- */

const struct control_arg commands_disk_resize_args[] = {
	{"disk", "string", true, "which: disk0, disk1 ..."},
	{"bytes", "integer", false,
		"the size to give the file; else it is only looked at again"},
	{"shrink", "boolean", false, "it may become smaller"},
	{.name = NULL},
};

int commands_disk_resize(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	static const char what[] = "disk-resize";
	struct commands *commands = opaque;
	json_t *bytes = json_object_get(args, "bytes");
	int disk = commands_refuse_away(commands, what, err);
	struct virtio_blk_stats stats;
	int ret;

	if (disk == 0)
		disk = find_disk(commands, what, args, err);
	if (disk < 0)
		return disk;
	if (bytes && json_integer_value(bytes) <= 0)
		return error_set(err, -EINVAL,
			"%s: %" JSON_INTEGER_FORMAT
			" bytes are no size (give more)",
			what, json_integer_value(bytes));
	ret = vm_disk_resize(commands->vm, (unsigned)disk,
		bytes ? (uint64_t)json_integer_value(bytes) : 0,
		json_is_true(json_object_get(args, "shrink")), err);
	if (ret < 0)
		return ret;
	vm_disk_stats(commands->vm, (unsigned)disk, &stats);
	*ret_data = json_pack("{s:I}", "bytes", (json_int_t)stats.bytes);
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "%s", what);
}

/* ---- disk-throttle ---- */

const struct control_arg commands_disk_throttle_args[] = {
	{"disk", "string", true, "which; its group has the same limits"},
	{"iops", "integer", false, "requests a second; 0: no limit"},
	{"iops-burst", "integer", false, "requests at once"},
	{"iops-rd", "integer", false, "reads a second"},
	{"iops-rd-burst", "integer", false, "reads at once"},
	{"iops-wr", "integer", false, "writes a second"},
	{"iops-wr-burst", "integer", false, "writes at once"},
	{"bps", "integer", false, "bytes a second"},
	{"bps-burst", "integer", false, "bytes at once"},
	{"bps-rd", "integer", false, "bytes read a second"},
	{"bps-rd-burst", "integer", false, "bytes read at once"},
	{"bps-wr", "integer", false, "bytes written a second"},
	{"bps-wr-burst", "integer", false, "bytes written at once"},
	{.name = NULL},
};

/* What is not given is no limit: the new ones take the place of the old. */
static int read_limits(
	json_t *args, struct bucket_limits *ret_limits, struct error *err)
{
	const char *wrong;
	json_int_t value;
	uint64_t *slot;
	unsigned i;

	memset(ret_limits, 0, sizeof(*ret_limits));
	for (i = 0; i < LIMITS; i++) {
		value = json_integer_value(
			json_object_get(args, limit_keys[i]));
		if (value < 0)
			return error_set(err, -EINVAL,
				"disk-throttle: %s is below 0 (give 0 or more)",
				limit_keys[i]);
		if (config_limit_slot(ret_limits, limit_keys[i], &slot))
			*slot = (uint64_t)value;
	}
	wrong = config_limits_wrong(ret_limits);
	return wrong ? error_set(err, -EINVAL, "disk-throttle: %s", wrong) : 0;
}

int commands_disk_throttle(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	struct bucket_limits limits;
	int disk = find_disk(commands, "disk-throttle", args, err);
	int ret;

	if (disk < 0)
		return disk;
	ret = read_limits(args, &limits, err);
	if (ret < 0)
		return ret;
	ret = vm_disk_set_limits(commands->vm, (unsigned)disk, &limits);
	return ret < 0 ? error_errno(err, ret, "disk-throttle") : 0;
}
