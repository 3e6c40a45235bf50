/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/commands.c - see commands.h: the table, and the commands about the
 * machine as a whole. */
#include "vmm/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "vmm/commands_balloon.h"
#include "vmm/commands_disk.h"
#include "vmm/commands_move.h"
#include "vmm/config.h"
#include "vmm/control.h"
#include "vmm/control_line.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/hotplug.h"
#include "vmm/log.h"
#include "vmm/mover.h"
#include "vmm/throttle.h"
#include "vmm/vm_disk.h"

#define CPU_TIMEOUT_MAX_MS 3600000

/* A cpu-set that goes on.  It outlives the control socket, because its end may
 * come when the VM is taken down. */
struct commands_cpus {
	struct commands *commands; /* borrowed */
	struct control_job *job;   /* borrowed; NULL: nobody to tell */
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Where the guest is, when it can be neither run nor paused here. */
static const char *away(const struct commands *commands)
{
	enum mover_place place = mover_place(commands->mover);

	/* Its state is written already: what changes now would be lost. */
	if (place == MOVER_LEAVING && vm_is_away(commands->vm))
		return "switching";
	if (place == MOVER_HERE || place == MOVER_LEAVING)
		return NULL;
	return mover_place_name(place);
}

const char *commands_state(const struct commands *commands)
{
	const char *where = away(commands);

	if (where)
		return where;
	return vm_is_paused(commands->vm) ? "paused" : "running";
}

void commands_tell_state(struct commands *commands)
{
	if (commands->control)
		control_event(commands->control, "vm-state",
			json_pack("{s:s}", "state", commands_state(commands)));
}

static void tell_change(void *opaque)
{
	commands_tell_state(opaque);
}

static void tell_balloon(void *opaque)
{
	struct commands *commands = opaque;

	control_event(commands->control, "balloon",
		commands_balloon_json(commands->vm));
}

static void tell_full(void *opaque, unsigned disk)
{
	struct commands *commands = opaque;
	char name[16];

	snprintf(name, sizeof(name), "disk%u", disk);
	control_event(commands->control, "disk-full",
		json_pack("{s:s}", "disk", name));
	commands_tell_state(commands);
}

/* ---- info ---- */

static json_t *device_json(const struct device *dev)
{
	return json_pack(
		"{s:s, s:s}", "name", dev->name, "kind", dev->ops->kind);
}

static json_t *devices_json(const struct vm *vm)
{
	json_t *array = json_array();
	const struct device *dev;
	unsigned i;

	for (i = 0; array && (dev = vm_device(vm, i)); i++) {
		if (json_array_append_new(array, device_json(dev)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *loop_json(const char *name, const struct loop *loop)
{
	struct loop_stats stats;

	loop_stats(loop, &stats);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
		name, "backend", loop_backend_name(loop), "polls",
		(json_int_t)stats.polls, "waits", (json_int_t)stats.waits,
		"fds", (json_int_t)stats.fds_run, "bhs",
		(json_int_t)stats.bhs_run, "timers",
		(json_int_t)stats.timers_run, "ops", (json_int_t)stats.ops_run);
}

static json_t *loops_json(struct vm *vm)
{
	json_t *array = json_array();
	struct loop *loop = vm_loop(vm);
	char name[32] = "main";
	unsigned i;

	for (i = 0; array && loop; i++) {
		if (json_array_append_new(array, loop_json(name, loop)) < 0) {
			json_decref(array);
			return NULL;
		}
		snprintf(name, sizeof(name), "io%u", i);
		loop = vm_io_loop(vm, i);
	}
	return array;
}

static json_t *cpus_json(const struct vm *vm)
{
	return json_pack("{s:i, s:i, s:i, s:i}", "present",
		(int)vm_cpus_present(vm), "parked", (int)vm_cpus_parked(vm),
		"max", (int)vm_cpus_max(vm), "throttle_percent",
		(int)vm_throttle_percent(vm));
}

/* Why the VM is paused: null, {why: user}, {why: disk-full, disks}. */
static json_t *pause_json(const struct commands *commands)
{
	uint32_t full = vm_paused_for_disks(commands->vm);
	json_t *disks;
	char name[16];
	unsigned i;

	if (away(commands) || !vm_is_paused(commands->vm))
		return json_null();
	if (full == 0)
		return json_pack("{s:s}", "why", "user");
	disks = json_array();
	for (i = 0; disks && i < vm_disks(commands->vm); i++) {
		snprintf(name, sizeof(name), "disk%u", i);
		if (full >> i & 1)
			json_array_append_new(disks, json_string(name));
	}
	return json_pack("{s:s, s:o}", "why", "disk-full", "disks", disks);
}

static int info(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	struct vm *vm = commands->vm;
	json_t *data;

	data = json_pack(
		"{s:o, s:s, s:i, s:s, s:o, s:I, s:o, s:I, s:o, s:o, s:o, s:o}",
		"name", control_text(commands->cfg->name), "version",
		GODWIT_VERSION, "pid", (int)getpid(), "state",
		commands_state(commands), "pause", pause_json(commands),
		"uptime_ms",
		(json_int_t)((now_ns() - commands->start_ns) / 1000000), "cpus",
		cpus_json(vm), "memory_bytes",
		(json_int_t)vm_guestmem(vm)->size, "devices", devices_json(vm),
		"loops", loops_json(vm), "move", mover_info(commands->mover),
		"balloon", commands_balloon_json(vm));
	if (!data)
		return error_errno(err, -ENOMEM, "info");
	*ret_data = data;
	return 0;
}

static int version(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	*ret_data = json_pack(
		"{s:s, s:i}", "version", GODWIT_VERSION, "protocol", 1);
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "version");
}

/* ---- run, pause, reset, end ---- */

int commands_refuse_away(
	const struct commands *commands, const char *what, struct error *err)
{
	const char *where = away(commands);

	if (!where)
		return 0;
	return error_set(err, -EBUSY,
		"%s: the guest is %s (\"info\" shows how it goes on)", what,
		where);
}

static int set_paused(struct commands *commands, bool paused, struct error *err)
{
	const char *what = paused ? "pause" : "resume";
	int ret = commands_refuse_away(commands, what, err);

	if (ret < 0)
		return ret;
	/* Asking for what is so already is no mistake. */
	if (vm_set_paused(commands->vm, paused) == 0)
		commands_tell_state(commands);
	return 0;
}

static int pause_vm(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	return set_paused(opaque, true, err);
}

static int resume_vm(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	return set_paused(opaque, false, err);
}

static int reset_vm(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	int ret = commands_refuse_away(commands, "reset", err);

	if (ret < 0)
		return ret;
	if (mover_place(commands->mover) == MOVER_LEAVING)
		return error_set(err, -EBUSY,
			"reset: the guest is being migrated (wait for the end, "
			"or cancel it)");
	vm_pause(commands->vm);
	ret = vm_reset(commands->vm, err);
	if (ret < 0) {
		/* Half reset, it must not run again. */
		error_prepend(err, "reset");
		log_error("%s", err->text);
		vm_stop(commands->vm, VM_END_HOST);
		return ret;
	}
	vm_resume(commands->vm);
	return 0;
}

static int stop_vm(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;

	vm_stop(commands->vm, VM_END_USER);
	return 0;
}

static int throttle(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	json_int_t percent =
		json_integer_value(json_object_get(args, "percent"));

	if (percent < 0 || percent > 99 ||
		vm_throttle(commands->vm, (unsigned)percent) < 0)
		return error_set(err, -EINVAL,
			"throttle: %" JSON_INTEGER_FORMAT
			" is no such share (give 0 to 99 percent)",
			percent);
	return 0;
}

/* ---- cpu-set ---- */

static void cpus_done(void *opaque, int code, const struct error *err)
{
	struct commands_cpus *cpus = opaque;
	struct commands *commands = cpus->commands;
	unsigned present;

	commands->cpus = NULL;
	if (cpus->job) {
		present = vm_cpus_present(commands->vm);
		control_event(commands->control, "cpu",
			json_pack("{s:i}", "present", (int)present));
		control_job_end(cpus->job, code, err,
			json_pack("{s:i}", "present", (int)present));
	}
	free(cpus);
}

static const struct control_arg cpu_set_args[] = {
	{"count", "integer", true, "vCPUs to be present, 1 to the maximum"},
	{"timeout_ms", "integer", false,
		"for the guest to give one back (10000)"},
	{.name = NULL},
};

static int cpu_set_numbers(
	json_t *args, unsigned *ret_count, int *ret_ms, struct error *err)
{
	json_int_t count = json_integer_value(json_object_get(args, "count"));
	json_t *timeout = json_object_get(args, "timeout_ms");
	json_int_t ms = timeout ? json_integer_value(timeout) : 0;

	if (count < 1 || count > CONFIG_CPUS_MAX)
		return error_set(err, -EINVAL,
			"cpu-set: count %" JSON_INTEGER_FORMAT
			" is out of range (give 1 to the maximum that \"info\" "
			"shows)",
			count);
	if (timeout && (ms < 1 || ms > CPU_TIMEOUT_MAX_MS))
		return error_set(err, -EINVAL,
			"cpu-set: timeout_ms %" JSON_INTEGER_FORMAT
			" is out of range (give 1 to %d)",
			ms, CPU_TIMEOUT_MAX_MS);
	*ret_count = (unsigned)count;
	*ret_ms = (int)ms;
	return 0;
}

static int cpu_set(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	struct commands_cpus *cpus;
	unsigned count = 0;
	int ms = 0, ret;

	ret = commands_refuse_away(commands, "cpu-set", err);
	if (ret == 0)
		ret = cpu_set_numbers(args, &count, &ms, err);
	if (ret < 0)
		return ret;
	if (commands->cpus)
		return error_set(err, -EBUSY,
			"cpu-set: another one is under way (wait for its end)");
	cpus = calloc(1, sizeof(*cpus));
	if (!cpus)
		return error_errno(err, -ENOMEM, "cpu-set");
	cpus->commands = commands;
	ret = vm_set_cpus(commands->vm, count, ms, cpus_done, cpus, err);
	if (ret < 0) {
		free(cpus);
		error_prepend(err, "cpu-set");
		return ret;
	}
	/* done comes from a later poll. */
	commands->cpus = cpus;
	cpus->job = control_job_begin(control, "cpu-set", NULL, NULL);
	if (!cpus->job)
		return error_set(err, -ENOMEM,
			"cpu-set: too many jobs, this one goes on unseen "
			"(\"info\" shows the vCPUs)");
	*ret_data = json_pack(
		"{s:I}", "job", (json_int_t)control_job_id(cpus->job));
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "cpu-set");
}

/* ---- the tables ---- */

static const struct control_arg throttle_args[] = {
	{"percent", "integer", true, "of the time to take, 0 to 99"},
	{.name = NULL},
};

static const struct control_command commands_table[] = {
	{"version", "of godwit and of this protocol", NULL, version, false},
	{"info", "the state of the VM and its figures", NULL, info, false},
	{"pause", "stop the guest where it is", NULL, pause_vm, false},
	{"resume", "let a paused guest run on", NULL, resume_vm, false},
	{"reset", "power-on state, the kernel loaded again", NULL, reset_vm,
		false},
	{"stop", "end the VM, whatever the guest does", NULL, stop_vm, false},
	{"cpu-set", "plug or unplug vCPUs until so many are present",
		cpu_set_args, cpu_set, true},
	{"throttle", "take a part of every vCPU's time", throttle_args,
		throttle, false},
	{"balloon", "ask the guest to give memory back, or see how it goes",
		commands_balloon_args, commands_balloon, false},
	{"balloon-stats", "what the guest says of its memory",
		commands_balloon_stats_args, commands_balloon_stats, false},
	{"disks", "the disks, their limits and figures", NULL, commands_disks,
		false},
	{"disk-resize", "take or give a disk another size",
		commands_disk_resize_args, commands_disk_resize, false},
	{"disk-throttle", "other limits for a disk and its group",
		commands_disk_throttle_args, commands_disk_throttle, false},
	{"migrate", "move the running guest to another godwit",
		commands_migrate_args, commands_migrate, true},
	{"migrate-postcopy", "let the guest run there now, pages follow", NULL,
		commands_migrate_postcopy, false},
	{"migrate-cancel", "give a migration up; the guest runs on here", NULL,
		commands_migrate_cancel, false},
	{"migrate-set", "change the limits of a migration under way",
		commands_migrate_set_args, commands_migrate_set, false},
	{"snapshot", "write the stopped guest to a file",
		commands_snapshot_args, commands_snapshot, true},
	{"take-back", "run a guest here whose migration nobody can resolve",
		commands_take_back_args, commands_take_back, false},
	{.name = NULL},
};

static const struct control_event_type events_table[] = {
	{"vm-state",
		"the guest runs, is paused or is elsewhere: state as in "
		"\"info\"",
		0},
	{"cpu", "vCPUs came or went: present", 0},
	{"balloon", "the guest changed its balloon: as in \"info\"", 100},
	{"disk-full", "no room for a write, so the guest is paused: disk", 0},
	{"shutdown",
		"the VM ends: why (poweroff, reset, panic, crash, debug-exit, "
		"host, user, moved)",
		0},
	{.name = NULL},
};

/* ---- life ---- */

const char *commands_end_name(enum vm_end why)
{
	switch (why) {
	case VM_END_POWEROFF:
		return "poweroff";
	case VM_END_RESET:
		return "reset";
	case VM_END_PANIC:
		return "panic";
	case VM_END_CRASH:
		return "crash";
	case VM_END_DEBUG_EXIT:
		return "debug-exit";
	case VM_END_USER:
		return "user";
	case VM_END_MOVED:
		return "moved";
	case VM_END_NONE:
	case VM_END_HOST:
		break;
	}
	return "host";
}

int commands_create(struct vm *vm, const struct config *cfg,
	struct mover *mover, const char *path, struct commands **ret_commands,
	struct error *err)
{
	struct commands *commands = calloc(1, sizeof(*commands));
	struct control_options opt = {
		.path = path,
		.vm_name = cfg->name,
		.commands = commands_table,
		.events = events_table,
		.guard = vm_guard(vm),
		.opaque = commands,
	};
	int ret;

	if (!commands)
		return error_errno(err, -ENOMEM, "control socket");
	commands->vm = vm;
	commands->cfg = cfg;
	commands->mover = mover;
	commands->start_ns = now_ns();
	ret = control_create(vm_loop(vm), &opt, &commands->control, err);
	if (ret < 0) {
		free(commands);
		return ret;
	}
	mover_on_change(mover, tell_change, commands);
	vm_on_balloon(vm, tell_balloon, commands);
	vm_on_disk_full(vm, tell_full, commands);
	*ret_commands = commands;
	return 0;
}

void commands_end(struct commands *commands, enum vm_end why)
{
	struct error err;

	if (!commands || !commands->control)
		return;
	mover_on_change(commands->mover, NULL, NULL);
	vm_on_balloon(commands->vm, NULL, NULL);
	vm_on_disk_full(commands->vm, NULL, NULL);
	if (commands->cpus && commands->cpus->job) {
		error_set(&err, -ECANCELED,
			"cpu-set: the VM has ended (start it again)");
		control_job_end(commands->cpus->job, err.code, &err, NULL);
		commands->cpus->job = NULL;
	}
	control_event(commands->control, "shutdown",
		json_pack("{s:s}", "why", commands_end_name(why)));
	control_destroy(commands->control);
	commands->control = NULL;
}

void commands_destroy(struct commands *commands)
{
	if (!commands)
		return;
	free(commands->cpus);
	free(commands);
}
