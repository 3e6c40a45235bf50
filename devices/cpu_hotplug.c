/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/cpu_hotplug.c - see cpu_hotplug.h.
 *
 * The guest's side runs on vCPU threads, the machine's on the main loop; one
 * lock guards all fields.  The interrupt and the callback are raised without
 * it.
 */
#include "devices/cpu_hotplug.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/device.h"
#include "migrate/state.h"
#include "vmm/layout.h"
#include "vmm/log.h"

/* Per id, beside the bits of STATUS. */
#define ASKED	0x10u /* cpu_hotplug_ask(), and no answer yet */
#define REFUSED 0x20u /* the answer was no */

#define FLAGS_GUEST                                                            \
	(CPU_HOTPLUG_PRESENT | CPU_HOTPLUG_INSERT | CPU_HOTPLUG_REMOVE)
#define FLAGS_ALL (FLAGS_GUEST | ASKED | REFUSED)

/* ACPI 6.5, table 6.22: the notifications that ask for an ejection. */
#define NOTIFY_EJECT	  0x03u
#define NOTIFY_OSPM_EJECT 0x103u
/* Table 6.23: general and ejection status codes. */
#define OST_SUCCESS	  0u
#define OST_EJECT_PENDING 0x84u

struct slot {
	uint8_t flags;
	uint32_t status; /* of _OST, with REFUSED */
};

struct cpu_hotplug {
	struct device dev;
	struct cpu_hotplug_options opt;
	struct log_limit boot_cpu;
	pthread_mutex_t lock; /* guards what follows */
	uint32_t select;
	uint32_t event;	    /* last EVENT written */
	struct slot slot[]; /* opt.max */
};

static struct cpu_hotplug *regs_of(struct device *dev)
{
	return (struct cpu_hotplug *)dev;
}

/* The lock may be taken through a const device: it is none of its state. */
static void lock(const struct cpu_hotplug *c)
{
	pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&c->lock);
}

static void unlock(const struct cpu_hotplug *c)
{
	pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&c->lock);
}

static void raise_irq(const struct cpu_hotplug *c)
{
	static const uint64_t one = 1;
	ssize_t n;

	if (c->opt.irq_fd < 0)
		return;
	/* A full counter (EAGAIN) means that the edge is on its way. */
	n = write(c->opt.irq_fd, &one, sizeof(one));
	(void)n;
}

/* ---- the guest's side ---- */

static uint32_t pending_locked(const struct cpu_hotplug *c)
{
	uint32_t id;

	for (id = 0; id < c->opt.max; id++)
		if (c->slot[id].flags &
			(CPU_HOTPLUG_INSERT | CPU_HOTPLUG_REMOVE))
			return id;
	return CPU_HOTPLUG_NONE;
}

static uint32_t read_locked(const struct cpu_hotplug *c, unsigned reg)
{
	switch (reg) {
	case CPU_HOTPLUG_SELECT:
		return c->select;
	case CPU_HOTPLUG_STATUS:
		return c->select < c->opt.max
			       ? c->slot[c->select].flags & FLAGS_GUEST
			       : 0;
	case CPU_HOTPLUG_PENDING:
		return pending_locked(c);
	default:
		return c->opt.max;
	}
}

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	struct cpu_hotplug *c = opaque;
	uint64_t value;

	/* A read across two registers gives the first one's part only. */
	lock(c);
	value = read_locked(c, (unsigned)off & ~3u);
	unlock(c);
	return value >> (8 * (off & 3));
}

/* Return: something the machine wants to know. */
static bool order_locked(struct cpu_hotplug *c, uint32_t order)
{
	struct slot *s = &c->slot[c->select];

	s->flags &=
		(uint8_t) ~(order & (CPU_HOTPLUG_INSERT | CPU_HOTPLUG_REMOVE));
	if (!(order & CPU_HOTPLUG_EJECT) || !(s->flags & CPU_HOTPLUG_PRESENT))
		return false;
	if (c->select == 0) {
		log_limited(&c->boot_cpu, LOG_WARN,
			"cpu-hotplug: the guest ejects vCPU 0, which stays");
		return false;
	}
	s->flags = 0;
	return true;
}

static bool result_locked(struct cpu_hotplug *c, uint32_t status)
{
	struct slot *s = &c->slot[c->select];

	if (c->event != NOTIFY_EJECT && c->event != NOTIFY_OSPM_EJECT)
		return false;
	if (status == OST_SUCCESS || status == OST_EJECT_PENDING)
		return false;
	/* Only what was asked can be refused. */
	if (!(s->flags & ASKED))
		return false;
	s->flags =
		(uint8_t)((s->flags & ~(ASKED | CPU_HOTPLUG_REMOVE)) | REFUSED);
	s->status = status;
	return true;
}

static bool write_locked(struct cpu_hotplug *c, unsigned reg, uint32_t value)
{
	if (reg == CPU_HOTPLUG_SELECT) {
		c->select = value;
		return false;
	}
	if (reg == CPU_HOTPLUG_EVENT) {
		c->event = value;
		return false;
	}
	if (c->select >= c->opt.max)
		return false;
	return reg == CPU_HOTPLUG_ORDER ? order_locked(c, value)
					: result_locked(c, value);
}

static void port_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct cpu_hotplug *c = opaque;
	bool changed;

	if (off % 4 != 0 || len != 4)
		return;
	lock(c);
	changed = write_locked(c, (unsigned)off, (uint32_t)value);
	unlock(c);
	if (changed)
		c->opt.changed(c->opt.opaque);
}

/* ---- the machine's side ---- */

bool cpu_hotplug_is_present(const struct device *dev, unsigned id)
{
	const struct cpu_hotplug *c = (const struct cpu_hotplug *)dev;
	bool present;

	assert(id < c->opt.max);
	lock(c);
	present = c->slot[id].flags & CPU_HOTPLUG_PRESENT;
	unlock(c);
	return present;
}

void cpu_hotplug_insert(struct device *dev, unsigned id, bool tell)
{
	struct cpu_hotplug *c = regs_of(dev);

	assert(id < c->opt.max);
	lock(c);
	c->slot[id].flags = (uint8_t)(CPU_HOTPLUG_PRESENT |
				      (tell ? CPU_HOTPLUG_INSERT : 0));
	unlock(c);
	if (tell)
		raise_irq(c);
}

void cpu_hotplug_ask(struct device *dev, unsigned id)
{
	struct cpu_hotplug *c = regs_of(dev);
	struct slot *s = &c->slot[id];

	assert(id > 0 && id < c->opt.max);
	lock(c);
	/* The guest may have ejected it this very moment. */
	if (s->flags & CPU_HOTPLUG_PRESENT)
		s->flags = (uint8_t)((s->flags & ~REFUSED) |
				     CPU_HOTPLUG_REMOVE | ASKED);
	unlock(c);
	raise_irq(c);
}

void cpu_hotplug_withdraw(struct device *dev, unsigned id)
{
	struct cpu_hotplug *c = regs_of(dev);

	assert(id < c->opt.max);
	lock(c);
	c->slot[id].flags &= (uint8_t) ~(CPU_HOTPLUG_REMOVE | ASKED | REFUSED);
	unlock(c);
}

enum cpu_hotplug_answer cpu_hotplug_answer_of(
	const struct device *dev, unsigned id, uint32_t *ret_status)
{
	const struct cpu_hotplug *c = (const struct cpu_hotplug *)dev;
	enum cpu_hotplug_answer answer = CPU_HOTPLUG_SILENT;

	assert(id < c->opt.max);
	lock(c);
	if (!(c->slot[id].flags & CPU_HOTPLUG_PRESENT))
		answer = CPU_HOTPLUG_EJECTED;
	if (c->slot[id].flags & REFUSED) {
		answer = CPU_HOTPLUG_REFUSED;
		*ret_status = c->slot[id].status;
	}
	unlock(c);
	return answer;
}

/* ---- struct device ---- */

/* As on a real board: what is plugged stays, what was under way is over. */
static void reset(struct device *dev)
{
	struct cpu_hotplug *c = regs_of(dev);
	unsigned id;

	c->select = c->event = 0;
	for (id = 0; id < c->opt.max; id++)
		c->slot[id].flags &= CPU_HOTPLUG_PRESENT;
}

/* An edge that the old host raised, and the interrupt controller had not seen,
 * is lost; an ejection may not have been acted upon. */
static void resume(struct device *dev)
{
	struct cpu_hotplug *c = regs_of(dev);
	bool pending;

	lock(c);
	pending = pending_locked(c) != CPU_HOTPLUG_NONE;
	unlock(c);
	if (pending)
		raise_irq(c);
	c->opt.changed(c->opt.opaque);
}

static int save(const struct device *dev, struct state_writer *w)
{
	const struct cpu_hotplug *c = (const struct cpu_hotplug *)dev;
	unsigned id;

	state_put_u32(w, c->select);
	state_put_u32(w, c->event);
	state_put_u32(w, c->opt.max);
	for (id = 0; id < c->opt.max; id++) {
		state_put_u8(w, c->slot[id].flags);
		state_put_u32(w,
			c->slot[id].flags & REFUSED ? c->slot[id].status : 0);
	}
	return 0;
}

/* NULL, or what is wrong with the slot of @id. */
static const char *check_slot(const struct slot *s, unsigned id)
{
	if (s->flags & ~FLAGS_ALL)
		return "unknown flags of a vCPU";
	if (id == 0 && s->flags != CPU_HOTPLUG_PRESENT)
		return "the boot CPU is absent or is to go";
	if (s->flags != 0 && !(s->flags & CPU_HOTPLUG_PRESENT))
		return "an event of an absent vCPU";
	if ((s->flags & REFUSED) && (s->flags & ASKED))
		return "a request both open and refused";
	if ((s->flags & CPU_HOTPLUG_REMOVE) && !(s->flags & ASKED))
		return "a vCPU to go that nobody asked for";
	if (s->status != 0 && !(s->flags & REFUSED))
		return "a refusal of what was not asked";
	return NULL;
}

static int load(struct device *dev, struct state_reader *r, struct error *err)
{
	struct cpu_hotplug *c = regs_of(dev);
	uint32_t select = state_get_u32(r), event = state_get_u32(r);
	uint32_t max = state_get_u32(r), id;
	const char *wrong = NULL;
	struct slot *slots;
	int code;

	if (r->error == 0 && max != c->opt.max)
		return state_reject(r, err,
			"another number of possible vCPUs (give the same "
			"max=)");
	slots = calloc(c->opt.max, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (id = 0; r->error == 0 && id < max; id++) {
		slots[id].flags = state_get_u8(r);
		slots[id].status = state_get_u32(r);
		if (!wrong)
			wrong = check_slot(&slots[id], id);
	}
	code = r->error == 0 && wrong ? state_reject(r, err, wrong)
				      : state_reader_end(r);
	if (code == 0) {
		c->select = select;
		c->event = event;
		for (id = 0; id < max; id++)
			c->slot[id] = slots[id];
	}
	free(slots);
	return code;
}

static void destroy(struct device *dev)
{
	struct cpu_hotplug *c = regs_of(dev);

	pthread_mutex_destroy(&c->lock);
	free(c);
}

static const struct bus_ops port_ops = {port_read, port_write};

static const struct device_ops ops = {
	.kind = "cpu-hotplug",
	.version = 1,
	.reset = reset,
	.resume = resume,
	.save = save,
	.load = load,
	.destroy = destroy,
};

int cpu_hotplug_create(const struct cpu_hotplug_options *opt,
	struct device **ret_dev, struct bus_range *ret_range)
{
	struct cpu_hotplug *c;
	unsigned id;

	assert(opt->max >= 1 && opt->count <= opt->max);
	c = calloc(1, sizeof(*c) + opt->max * sizeof(c->slot[0]));
	if (!c)
		return -ENOMEM;
	c->dev = (struct device){.ops = &ops, .name = "cpu-hotplug"};
	c->opt = *opt;
	pthread_mutex_init(&c->lock, NULL);
	for (id = 0; id < opt->count; id++)
		c->slot[id].flags = CPU_HOTPLUG_PRESENT;
	*ret_dev = &c->dev;
	*ret_range = (struct bus_range){LAYOUT_PIO_CPUS, LAYOUT_PIO_CPUS_PORTS,
		&port_ops, c, c->dev.name};
	return 0;
}
