/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/loops.c - see loops.h. */
#include "vmm/loops.h"

#include <assert.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/thread.h"
#include "loop/trace.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/vm_priv.h"

/* Names outlive the loops. */
static const char *const names[CONFIG_IOTHREADS_MAX] = {
	"io0", "io1", "io2", "io3", "io4", "io5", "io6", "io7"};

struct loop_polling loops_polling(const struct config *cfg)
{
	return (struct loop_polling){
		.max_ns = (int64_t)cfg->poll_us * 1000, .grow = 2};
}

int loops_start_threads(struct vm *vm, struct error *err)
{
	const struct loop_polling polling = loops_polling(vm->cfg);
	struct loop_options opt = {
		.backend = vm->cfg->loop, .polling = &polling};
	int code;

	assert(vm->cfg->iothreads <= CONFIG_IOTHREADS_MAX);
	while (vm->iothreads < vm->cfg->iothreads) {
		opt.name = names[vm->iothreads];
		code = loop_thread_start(
			&opt, &vm->iothread[vm->iothreads], err);
		if (code < 0)
			return code;
		vm->iothreads++;
	}
	return 0;
}

void loops_stop_threads(struct vm *vm)
{
	while (vm->iothreads > 0)
		loop_thread_stop(vm->iothread[--vm->iothreads]);
}

struct loop *loops_get(const struct vm *vm, int index)
{
	if (index < 0)
		return vm->loop;
	assert((unsigned)index < vm->iothreads);
	return loop_thread_loop(vm->iothread[index]);
}

/* ---- on every loop ---- */

struct order {
	void (*fn)(struct loop *loop, int64_t value);
	struct loop *loop;
	int64_t value;
};

static void obey(void *opaque)
{
	struct order *o = opaque;

	o->fn(o->loop, o->value);
}

static void on_thread(struct vm *vm, unsigned index,
	void (*fn)(struct loop *loop, int64_t value), int64_t value)
{
	struct order o = {
		.fn = fn, .loop = loops_get(vm, (int)index), .value = value};

	/* Only memory can be short, and half a pause is of no use. */
	while (loop_run_sync(o.loop, obey, &o, "order") < 0)
		sched_yield();
}

static void disable_external(struct loop *loop, int64_t value)
{
	loop_disable_external(loop);
}

static void enable_external(struct loop *loop, int64_t value)
{
	loop_enable_external(loop);
}

static void stop_virtual(struct loop *loop, int64_t value)
{
	loop_virtual_stop(loop);
	loop_virtual_set_ns(loop, value);
}

static void start_virtual(struct loop *loop, int64_t value)
{
	loop_virtual_start(loop);
}

static void start_trace(struct loop *loop, int64_t entries)
{
	int code = loop_trace_start(loop, (size_t)entries);

	if (code < 0)
		log_warn("trace: %s; this loop goes without", strerror(-code));
}

void loops_start_trace(struct vm *vm)
{
	unsigned i;

	if (vm->cfg->trace == 0)
		return;
	start_trace(vm->loop, vm->cfg->trace);
	for (i = 0; i < vm->iothreads; i++)
		on_thread(vm, i, start_trace, vm->cfg->trace);
}

/* write(2) alone: this runs in signal handlers. */
static void dump_one(const struct loop *loop, const char *name, int fd)
{
	const char *part[] = {"loop ", name, ":\n"};
	unsigned i;

	for (i = 0; i < 3; i++)
		if (write(fd, part[i], strlen(part[i])) < 0)
			return;
	loop_trace_dump(loop, fd);
}

void loops_dump_trace(const struct vm *vm, int fd)
{
	unsigned i;

	dump_one(vm->loop, "main", fd);
	for (i = 0; i < vm->iothreads; i++)
		dump_one(loop_thread_loop(vm->iothread[i]), names[i], fd);
}

void loops_disable_external(struct vm *vm)
{
	unsigned i;

	loop_disable_external(vm->loop);
	for (i = 0; i < vm->iothreads; i++)
		on_thread(vm, i, disable_external, 0);
}

void loops_enable_external(struct vm *vm)
{
	unsigned i;

	for (i = vm->iothreads; i-- > 0;)
		on_thread(vm, i, enable_external, 0);
	loop_enable_external(vm->loop);
}

void loops_stop_virtual(struct vm *vm)
{
	unsigned i;

	loop_virtual_stop(vm->loop);
	for (i = 0; i < vm->iothreads; i++)
		on_thread(vm, i, stop_virtual,
			loop_now_ns(vm->loop, LOOP_VIRTUAL));
}

void loops_start_virtual(struct vm *vm)
{
	unsigned i;

	for (i = vm->iothreads; i-- > 0;)
		on_thread(vm, i, start_virtual, 0);
	loop_virtual_start(vm->loop);
}

void loops_set_virtual_ns(struct vm *vm, int64_t now_ns)
{
	unsigned i;

	loop_virtual_set_ns(vm->loop, now_ns);
	for (i = 0; i < vm->iothreads; i++)
		on_thread(vm, i, loop_virtual_set_ns, now_ns);
}
