/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/mover_in.c - a guest comes: from a source, or out of a file.  See
 * mover_priv.h for threads.
 */
#include "vmm/mover_priv.h"

#include <errno.h>

#include <jansson.h>

#include "vmm/log.h"
#include "vmm/vm.h"

/* How often a lazy restore is looked at, and how long a destination goes on
 * answering who owns the guest. */
#define LOOK_NS	  200000000
#define LINGER_NS 10000000000

static void look_in(struct mover *m, int64_t ns)
{
	int64_t now = loop_now_ns(m->loop, LOOP_MONOTONIC);

	m->looking = loop_timer_set(&m->look, now + ns) == 0;
	if (!m->looking)
		log_debug("mover: no memory for a timer");
}

/* ---- from a source ---- */

/* A migration thread. */
static void dest_done(
	void *opaque, enum dest_result result, const struct error *err)
{
	struct mover *m = opaque;

	m->dest_result = result;
	m->err = err ? *err : (struct error){.code = 0};
	/* The owner may be waiting for a page, for ever. */
	if (result == DEST_LOST_LINK)
		mover_tell_lost(m);
	loop_bh_schedule(m->ended);
}

static void drop_dest(void *opaque)
{
	struct mover *m = opaque;

	dest_join(m->dest);
	m->dest = NULL;
}

void mover_in_ended(struct mover *m)
{
	json_decref(m->last);
	m->last = migrate_stats_json(dest_stats(m->dest));
	switch (m->dest_result) {
	case DEST_RUNS_HERE:
		mover_keep_pages(m, false);
		mover_set_place(m, MOVER_HERE);
		loop_timer_init(
			&m->look, m->loop, LOOP_MONOTONIC, drop_dest, m);
		look_in(m, LINGER_NS);
		break;
	case DEST_NOT_OURS:
		log_error("receive: %s", m->err.text);
		mover_set_place(m, MOVER_GONE);
		vm_stop(m->vm, VM_END_HOST);
		break;
	case DEST_LOST_LINK:
		log_error("receive: %s", m->err.text);
		mover_set_place(m, MOVER_LOST_PAGES);
		break;
	}
}

int mover_receive(struct mover *m, struct dest *dest, struct error *err)
{
	struct migrate_guest guest = vm_migrate_guest(m->guest);
	int code;

	m->dest = dest;
	mover_keep_pages(m, true);
	vm_migrate_expect(m->guest);
	mover_set_place(m, MOVER_ARRIVING);
	code = dest_start(dest, &guest, dest_done, m, err);
	if (code < 0)
		mover_set_place(m, MOVER_GONE);
	return code;
}

/* ---- out of a file ---- */

static void drop_file(struct mover *m)
{
	/* First: signal handlers look at it. */
	snapshot_lazy_stop(atomic_exchange(&m->lazy, NULL));
	snapshot_close(m->snapshot);
	m->snapshot = NULL;
}

static void look_at_lazy(void *opaque)
{
	struct error err = {.text = ""};
	struct mover *m = opaque;

	/* A snapshot or a migration under way reads through it, and fails by
	 * itself; its end wants to find the place as it was. */
	if (m->place != MOVER_HERE) {
		look_in(m, LOOK_NS);
		return;
	}
	if (snapshot_lazy_failed(m->lazy)) {
		snapshot_lazy_error(m->lazy, &err);
		log_error("restore: %s; vCPUs that touch what is missing stop "
			  "(end the VM, and see the disk of the file)",
			err.text);
		mover_tell_lost(m);
		mover_set_place(m, MOVER_LOST_PAGES);
		return;
	}
	if (snapshot_lazy_done(m->lazy)) {
		drop_file(m);
		mover_keep_pages(m, false);
		return;
	}
	look_in(m, LOOK_NS);
}

static int load_pages(struct mover *m, bool lazy, struct error *err)
{
	struct guestmem *gm = vm_guestmem(m->vm);
	struct snapshot_options opt = {.stats = &m->in_stats};
	struct lazy *l;
	int code;

	if (!lazy)
		return snapshot_read(m->snapshot, gm, &opt, err);
	code = snapshot_lazy_start(
		m->snapshot, gm, true, &m->in_stats, &l, err);
	if (code == 0)
		atomic_store(&m->lazy, l);
	return code;
}

int mover_restore(struct mover *m, struct snapshot *snapshot, bool lazy,
	bool *ret_paused, struct error *err)
{
	struct error why = {.text = ""};
	const uint8_t *state;
	size_t len;
	int code;

	m->snapshot = snapshot;
	mover_keep_pages(m, lazy);
	state = snapshot_state(snapshot, &len);
	code = load_pages(m, lazy, err);
	if (code == 0)
		code = vm_load(m->vm, state, len, err);
	/* What was loaded may have been read as zero, if it could not be read.
	 */
	if (m->lazy && snapshot_lazy_loaded(m->lazy, &why) < 0)
		code = error_set(err, why.code, "%s", why.text);
	if (code == 0)
		code = vm_claim(m->vm, err);
	if (code < 0)
		return code;
	*ret_paused = snapshot_paused(snapshot);
	mover_set_place(m, MOVER_HERE);
	if (!lazy) {
		drop_file(m);
		return 0;
	}
	loop_timer_init(&m->look, m->loop, LOOP_MONOTONIC, look_at_lazy, m);
	look_in(m, LOOK_NS);
	return 0;
}

void mover_in_fini(struct mover *m)
{
	if (m->looking)
		loop_timer_cancel(&m->look);
	dest_join(m->dest);
	drop_file(m);
}
