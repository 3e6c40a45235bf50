/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm_migrate.c - see vm_migrate.h.  Orders come from migration threads and
 * run on the VM's own (vm_call()); the dirty log is reached directly.
 */
#include "vmm/vm_migrate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "migrate/dirty.h"
#include "migrate/phase.h"
#include "migrate/prompt.h"
#include "vmm/description.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/machine.h"
#include "vmm/vm_priv.h"

/* A destination that gave up closes its images a moment later. */
#define LOCK_TRIES   500u
#define LOCK_WAIT_NS 10000000

struct vm_migrate {
	struct vm *vm;		 /* borrowed */
	pid_t owner;		 /* the VM's thread */
	struct dirty_log *dirty; /* owned by the migrate thread; or NULL */
	/* Where hints go: the migrate thread shuts it, whether the VM's thread
	 * can be reached or not. */
	pthread_mutex_t lock;
	struct migrate_hints hints; /* lock; unused NULL: shut */
};

/* An order on its way to the VM's thread. */
struct order {
	struct vm_migrate *m;
	void (*fn)(struct order *o);
	struct prompt_stay stay; /* of the VM's thread */
	struct state_writer *w;
	const uint8_t *state;
	uint64_t len;
	bool paused;
	int code;
	struct error *err;
};

/* The VM's thread was woken where its caller is; from here on it may be
 * anywhere again. */
static void obey(void *opaque)
{
	struct order *o = opaque;

	prompt_leave(&o->stay);
	o->fn(o);
}

static int give(
	struct vm_migrate *m, void (*fn)(struct order *o), struct order *o)
{
	int code;

	o->fn = fn;
	prompt_turns(m->owner, true);
	prompt_stay(&o->stay, m->owner, sched_getcpu());
	code = vm_call(m->vm, obey, o);
	/* Not by itself: a vCPU that it has just started would take the CPU
	 * before we hear of it. */
	prompt_turns(m->owner, false);
	if (code == 0)
		return o->code;
	prompt_leave(&o->stay);
	return error_errno(o->err, code, "reach the VM");
}

/* ---- source ---- */

static void stop_here(struct order *o)
{
	struct vm *vm = o->m->vm;

	migrate_publish(&vm->phases,
		&(struct migrate_phase_info){.phase = MIGRATE_COMPLETE});
	o->paused = vm_is_paused(vm);
	vm_pause(vm);
	o->code = vm_save(vm, o->w, o->err);
	if (o->code < 0) {
		vm_resume(vm);
		return;
	}
	machine_unlock_disks(vm);
	vm->away = true;
}

static int guest_stop(void *opaque, struct state_writer *w, bool *ret_paused,
	struct error *err)
{
	struct order o = {.m = opaque, .w = w, .err = err};
	int code = give(o.m, stop_here, &o);

	if (code == 0)
		*ret_paused = o.paused;
	return code;
}

static void restart_here(struct order *o)
{
	struct vm *vm = o->m->vm;

	o->code = machine_lock_disks(vm, o->err);
	if (o->code < 0)
		return;
	vm->away = false;
	vm_resume(vm);
}

static int guest_restart(void *opaque, struct error *err)
{
	static const struct timespec wait = {.tv_nsec = LOCK_WAIT_NS};
	struct order o = {.m = opaque, .err = err};
	unsigned tries = 0;
	int code;

	while ((code = give(o.m, restart_here, &o)) == -EBUSY &&
		++tries < LOCK_TRIES)
		nanosleep(&wait, NULL);
	return code;
}

int vm_migrate_take_back(struct vm_migrate *m, struct error *err)
{
	struct order o = {.m = m, .err = err};

	restart_here(&o);
	return o.code;
}

/* ---- destination ---- */

void vm_migrate_expect(struct vm_migrate *m)
{
	m->vm->away = true;
}

static void load_here(struct order *o)
{
	struct vm *vm = o->m->vm;

	/* It may make vCPUs, whose turns are to be ordinary ones. */
	prompt_turns(0, false);
	o->code = vm_load(vm, o->state, o->len, o->err);
	if (o->code == 0)
		o->code = vm_claim(vm, o->err);
}

static int guest_load(
	void *opaque, const uint8_t *state, uint64_t len, struct error *err)
{
	struct order o = {.m = opaque, .state = state, .len = len, .err = err};

	return give(o.m, load_here, &o);
}

static void abandon_here(struct order *o)
{
	machine_unlock_disks(o->m->vm);
}

static void guest_abandon(void *opaque)
{
	struct error err;
	struct order o = {.m = opaque, .err = &err};

	if (give(o.m, abandon_here, &o) < 0)
		log_warn("receive: %s: the images stay locked until the end",
			err.text);
}

static void run_here(struct order *o)
{
	struct vm *vm = o->m->vm;

	vm->away = false;
	vm->user_paused = o->paused;
	if (!o->paused)
		vm_resume(vm);
}

static int guest_run(void *opaque, bool paused, struct error *err)
{
	struct order o = {.m = opaque, .paused = paused, .err = err};

	return give(o.m, run_here, &o);
}

/* ---- dirty log ---- */

static int guest_dirty_start(void *opaque, struct error *err)
{
	struct vm_migrate *m = opaque;

	return dirty_log_start(
		m->vm->fd, &m->vm->gm, DIRTY_BEST, &m->dirty, err);
}

static int guest_dirty_sync(void *opaque, uint64_t *bitmap, struct error *err)
{
	struct vm_migrate *m = opaque;

	return dirty_log_sync(m->dirty, bitmap, err);
}

static int guest_dirty_clear(void *opaque, const uint64_t *bitmap,
	uint64_t first, uint64_t count, struct error *err)
{
	struct vm_migrate *m = opaque;

	return dirty_log_clear(m->dirty, bitmap, first, count, err);
}

static void guest_dirty_stop(void *opaque)
{
	struct vm_migrate *m = opaque;

	dirty_log_stop(m->dirty);
	m->dirty = NULL;
}

/* ---- phases ---- */

static void pass_hint(void *opaque, uint64_t gpa, uint64_t len)
{
	struct vm_migrate *m = opaque;

	pthread_mutex_lock(&m->lock);
	if (m->hints.unused)
		m->hints.unused(m->hints.opaque, gpa, len);
	pthread_mutex_unlock(&m->lock);
}

static void open_hints(struct vm_migrate *m, const struct migrate_hints *hints)
{
	pthread_mutex_lock(&m->lock);
	m->hints = hints ? *hints : (struct migrate_hints){.unused = NULL};
	pthread_mutex_unlock(&m->lock);
}

struct telling {
	struct vm *vm;
	const struct migrate_phase_info *info;
};

static void tell_here(void *opaque)
{
	const struct telling *t = opaque;

	migrate_publish(&t->vm->phases, t->info);
}

static void guest_phase(void *opaque, const struct migrate_phase_info *info)
{
	struct vm_migrate *m = opaque;
	struct migrate_hints hints = {.unused = pass_hint, .opaque = m};
	struct migrate_phase_info here = *info;
	struct telling t = {.vm = m->vm, .info = &here};

	if (!m->vm->phases.first)
		return;
	open_hints(m, info->hints);
	if (here.hints)
		here.hints = &hints;
	/* Who is not told goes on, and nobody listens; or does not begin. */
	if (vm_call(m->vm, tell_here, &t) < 0)
		log_warn("migration: no memory to tell the balloon");
}

static const struct migrate_guest_ops guest_ops = {
	.dirty_start = guest_dirty_start,
	.dirty_sync = guest_dirty_sync,
	.dirty_clear = guest_dirty_clear,
	.dirty_stop = guest_dirty_stop,
	.phase = guest_phase,
	.stop = guest_stop,
	.restart = guest_restart,
	.load = guest_load,
	.abandon = guest_abandon,
	.run = guest_run,
};

/* ---- life ---- */

int vm_migrate_create(struct vm *vm, struct vm_migrate **ret, struct error *err)
{
	struct vm_migrate *m = calloc(1, sizeof(*m));

	if (!m)
		return error_errno(err, -ENOMEM, "migration");
	m->vm = vm;
	m->owner = gettid();
	pthread_mutex_init(&m->lock, NULL);
	*ret = m;
	return 0;
}

void vm_migrate_destroy(struct vm_migrate *m)
{
	if (!m)
		return;
	dirty_log_stop(m->dirty);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

struct migrate_guest vm_migrate_guest(struct vm_migrate *m)
{
	return (struct migrate_guest){
		.ops = &guest_ops, .opaque = m, .gm = &m->vm->gm};
}

int vm_describe(struct vm *vm, char **ret_text, struct error *err)
{
	return description_make(vm->cfg, vm->cpuid, ret_text, err);
}
