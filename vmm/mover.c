/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/mover.c - see mover.h.  Leaving and saving are here, coming is in
 * mover_in.c.
 *
 * The engines report on their own threads; what they say is put aside and a
 * bottom half, under the VM's guard, acts upon it on the VM's loop.
 */
#include "vmm/mover_priv.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "vmm/guestmem.h"
#include "vmm/hotplug.h"
#include "vmm/log.h"
#include "vmm/vm.h"

#define PROGRESS_NS 100000000

const char *mover_place_name(enum mover_place place)
{
	static const char *const names[] = {
		[MOVER_HERE] = "here",
		[MOVER_LEAVING] = "leaving",
		[MOVER_SAVING] = "saving",
		[MOVER_ARRIVING] = "arriving",
		[MOVER_GONE] = "gone",
		[MOVER_LOST_PAGES] = "lost-pages",
		[MOVER_LOST_LINK] = "lost-link",
		[MOVER_UNRESOLVED] = "unresolved",
	};

	return names[place];
}

void mover_set_place(struct mover *m, enum mover_place place)
{
	m->place = place;
	if (m->changed)
		m->changed(m->changed_opaque);
}

void mover_on_change(
	struct mover *m, void (*changed)(void *opaque), void *opaque)
{
	m->changed = changed;
	m->changed_opaque = opaque;
}

void mover_keep_pages(struct mover *m, bool keep)
{
	if (keep == m->keeping)
		return;
	m->keeping = keep;
	if (keep)
		guestmem_inhibit_discard(vm_guestmem(m->vm));
	else
		guestmem_allow_discard(vm_guestmem(m->vm));
}

void mover_on_lost(struct mover *m, void (*lost)(void *opaque), void *opaque)
{
	m->lost = lost;
	m->lost_opaque = opaque;
}

void mover_tell_lost(struct mover *m)
{
	atomic_store(&m->lost_pages, true);
	if (m->lost)
		m->lost(m->lost_opaque);
}

bool mover_lost_pages(const struct mover *m)
{
	struct lazy *lazy = atomic_load(&m->lazy);

	return atomic_load(&m->lost_pages) ||
	       (lazy && snapshot_lazy_failed(lazy));
}

/* ---- what the watcher hears ---- */

static void arm_progress(struct mover *m)
{
	int64_t now = loop_now_ns(m->loop, LOOP_MONOTONIC);

	/* Without memory there is no progress line, which is bearable. */
	if (loop_timer_set(&m->progress, now + PROGRESS_NS) < 0)
		log_debug("progress: no memory for a timer");
}

static void on_progress(void *opaque)
{
	struct mover *m = opaque;
	json_t *stats = mover_stats_json(m);

	if (stats && m->watch.progress)
		m->watch.progress(m->watch.opaque, stats);
	json_decref(stats);
	arm_progress(m);
}

static void watch_begin(struct mover *m, const struct mover_watch *watch)
{
	m->watch = watch ? *watch : (struct mover_watch){.opaque = NULL};
	arm_progress(m);
}

static void watch_end(struct mover *m, int code, json_t *result)
{
	struct mover_watch watch = m->watch;

	loop_timer_cancel(&m->progress);
	m->watch = (struct mover_watch){.opaque = NULL};
	if (watch.ended)
		watch.ended(watch.opaque, code, &m->err, result);
}

/* ---- migration away ---- */

/* The migrate thread. */
static void source_done(
	void *opaque, enum source_result result, const struct error *err)
{
	struct mover *m = opaque;

	m->source_result = result;
	m->err = err ? *err : (struct error){.code = 0};
	loop_bh_schedule(m->ended);
}

static json_t *source_summary(struct mover *m)
{
	json_t *stats = migrate_stats_json(source_stats(m->source)), *part;
	const char *peer = source_peer_stats(m->source);
	char *timeline = source_timeline(m->source);

	if (stats && peer) {
		part = json_loads(peer, JSON_REJECT_DUPLICATES, NULL);
		if (part)
			json_object_set_new(stats, "destination", part);
	}
	if (stats && timeline)
		json_object_set_new(stats, "timeline", json_string(timeline));
	free(timeline);
	return stats;
}

static void source_ended_here(struct mover *m)
{
	json_t *summary;

	switch (m->source_result) {
	case SOURCE_RUNS_HERE:
		mover_set_place(m, MOVER_HERE);
		break;
	case SOURCE_MOVED:
		mover_set_place(m, MOVER_GONE);
		break;
	case SOURCE_LOST_LINK:
		mover_set_place(m, MOVER_LOST_LINK);
		break;
	case SOURCE_UNRESOLVED:
	case SOURCE_STUCK:
		mover_set_place(m, MOVER_UNRESOLVED);
		break;
	}
	summary = source_summary(m);
	json_decref(m->last);
	m->last = json_incref(summary);
	/* A source that may be asked for pages again is kept as it is. */
	if (m->place != MOVER_LOST_LINK) {
		source_join(m->source);
		m->source = NULL;
	}
	vm_cpus_thaw(m->vm);
	watch_end(m, m->place == MOVER_GONE ? 0 : m->err.code, summary);
	json_decref(summary);
	if (m->place == MOVER_GONE)
		vm_stop(m->vm, VM_END_MOVED);
}

/* The migrate thread.  The file stays ours while the guest is leaving. */
static int bring_rest(
	void *opaque, const _Atomic bool *cancel, struct error *err)
{
	struct mover *m = opaque;

	return snapshot_lazy_complete(m->lazy, cancel, err);
}

int mover_migrate(struct mover *m, const struct source_options *opt,
	const struct mover_watch *watch, struct error *err)
{
	struct migrate_guest guest = vm_migrate_guest(m->guest);
	struct source_options options = *opt;
	char *description = NULL;
	int code;

	if (m->lazy) {
		options.gather = bring_rest;
		options.gather_opaque = m;
	}
	code = mover_check_idle(m, "migrate", err);
	if (code < 0)
		return code;
	code = vm_cpus_freeze(m->vm, err);
	if (code < 0)
		return code;
	code = vm_describe(m->vm, &description, err);
	if (code == 0)
		code = source_start(&options, &guest, description, source_done,
			m, &m->source, err);
	free(description);
	if (code < 0) {
		vm_cpus_thaw(m->vm);
		return code;
	}
	mover_set_place(m, MOVER_LEAVING);
	watch_begin(m, watch);
	return 0;
}

static int no_migration(struct error *err)
{
	return error_set(err, -ESRCH, "no migration is under way");
}

int mover_switch(struct mover *m, struct error *err)
{
	int code;

	if (m->place != MOVER_LEAVING)
		return no_migration(err);
	code = source_switch(m->source);
	if (code == -EOPNOTSUPP)
		return error_set(err, code,
			"postcopy: this migration was begun without it (give "
			"--postcopy manual, or another policy)");
	return code == -EALREADY ? 0 : code;
}

int mover_cancel(struct mover *m, struct error *err)
{
	if (m->place == MOVER_SAVING) {
		atomic_store(&m->cancel, true);
		return 0;
	}
	if (m->place != MOVER_LEAVING)
		return no_migration(err);
	if (source_cancel(m->source) < 0)
		return error_set(err, -EALREADY,
			"cancel: too late, the guest is the destination's");
	return 0;
}

int mover_set_limits(struct mover *m, uint64_t bandwidth,
	uint64_t max_downtime_ns, struct error *err)
{
	if (m->place != MOVER_LEAVING)
		return no_migration(err);
	source_set_limits(m->source, bandwidth, max_downtime_ns);
	return 0;
}

int mover_take_back(struct mover *m, struct error *err)
{
	int code;

	if (m->place != MOVER_UNRESOLVED && m->place != MOVER_LOST_LINK)
		return error_set(err, -EINVAL,
			"take back: the guest is %s, there is nothing to "
			"decide",
			mover_place_name(m->place));
	if (m->place == MOVER_LOST_LINK)
		return error_set(err, -EINVAL,
			"take back: the guest has run at the destination since "
			"(its memory there is newer than ours)");
	code = vm_migrate_take_back(m->guest, err);
	if (code == 0)
		mover_set_place(m, MOVER_HERE);
	return code;
}

/* ---- snapshot ---- */

static void *save_thread(void *opaque)
{
	struct mover *m = opaque;
	struct snapshot_contents what = {
		.description = m->save.description,
		.state = m->save.state.buf,
		.state_len = m->save.state.len,
		.gm = vm_guestmem(m->vm),
		.paused = m->save.was_paused,
		.stop_ns = m->save.stop_ns,
	};
	struct snapshot_options opt = {
		.stats = &m->save.stats, .cancel = &m->cancel};

	m->save.code = 0;
	if (m->lazy)
		m->save.code =
			snapshot_lazy_complete(m->lazy, &m->cancel, &m->err);
	if (m->save.code == 0)
		m->save.code =
			snapshot_write(m->save.path, &what, &opt, &m->err);
	loop_bh_schedule(m->ended);
	return NULL;
}

static void save_fini(struct mover *m)
{
	state_writer_fini(&m->save.state);
	free(m->save.description);
	free(m->save.path);
	m->save.description = m->save.path = NULL;
}

static void save_ended_here(struct mover *m)
{
	json_t *summary = migrate_stats_json(&m->save.stats);
	bool stop = m->save.code == 0 && m->save.after == MOVER_THEN_STOP;

	pthread_join(m->save.thread, NULL);
	if (summary)
		json_object_set_new(summary, "file", json_string(m->save.path));
	save_fini(m);
	mover_set_place(m, MOVER_HERE);
	if (m->save.code == 0 && m->save.after == MOVER_THEN_PAUSE)
		vm_set_paused(m->vm, true); /* beside ours, or it is already */
	if (!stop)
		vm_resume(m->vm);
	vm_cpus_thaw(m->vm);
	watch_end(m, m->save.code, summary);
	json_decref(summary);
	if (stop)
		vm_stop(m->vm, VM_END_USER);
}

/* Stop the guest and gather all but its RAM. */
static int save_gather(struct mover *m, const char *path, struct error *err)
{
	struct timespec now;
	int code;

	m->save.path = strdup(path);
	if (!m->save.path)
		return error_errno(err, -ENOMEM, "snapshot");
	code = vm_describe(m->vm, &m->save.description, err);
	if (code < 0)
		return code;
	clock_gettime(CLOCK_REALTIME, &now);
	m->save.stop_ns =
		(uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	return vm_save(m->vm, &m->save.state, err);
}

static int save_start(struct mover *m, struct error *err)
{
	sigset_t all, old;
	int code;

	/* Process signals belong to the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = -pthread_create(&m->save.thread, NULL, save_thread, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return code < 0 ? error_errno(err, code, "snapshot: start its thread")
			: 0;
}

int mover_snapshot(struct mover *m, const char *path, enum mover_after after,
	const struct mover_watch *watch, struct error *err)
{
	int code;

	code = mover_check_idle(m, "snapshot", err);
	if (code == 0)
		code = vm_cpus_freeze(m->vm, err);
	if (code < 0)
		return code;
	memset(&m->save.stats, 0, sizeof(m->save.stats));
	atomic_store(&m->cancel, false);
	m->save.after = after;
	m->save.was_paused = vm_is_paused(m->vm);
	state_writer_init(&m->save.state);
	vm_pause(m->vm);
	code = save_gather(m, path, err);
	if (code == 0)
		code = save_start(m, err);
	if (code < 0) {
		save_fini(m);
		vm_resume(m->vm);
		vm_cpus_thaw(m->vm);
		return code;
	}
	mover_set_place(m, MOVER_SAVING);
	watch_begin(m, watch);
	return 0;
}

/* ---- life ---- */

int mover_check_idle(const struct mover *m, const char *what, struct error *err)
{
	if (m->place == MOVER_ARRIVING)
		return error_set(err, -EBUSY,
			"%s: the guest has not arrived yet, pages are missing "
			"(try again later)",
			what);
	if (m->place != MOVER_HERE)
		return error_set(err, -EBUSY, "%s: the guest is %s", what,
			mover_place_name(m->place));
	return 0;
}

/* Bottom half with the VM's guard: an engine has come to its end. */
static void on_ended(void *opaque)
{
	struct mover *m = opaque;

	switch (m->place) {
	case MOVER_LEAVING:
		source_ended_here(m);
		break;
	case MOVER_SAVING:
		save_ended_here(m);
		break;
	case MOVER_ARRIVING:
		mover_in_ended(m);
		break;
	default:
		break;
	}
}

int mover_create(struct vm *vm, struct mover **ret_mover, struct error *err)
{
	struct mover *m = calloc(1, sizeof(*m));
	int code;

	if (!m)
		return error_errno(err, -ENOMEM, "mover");
	m->vm = vm;
	m->loop = vm_loop(vm);
	state_writer_init(&m->save.state);
	loop_timer_init(&m->progress, m->loop, LOOP_MONOTONIC, on_progress, m);
	code = vm_migrate_create(vm, &m->guest, err);
	if (code == 0) {
		code = loop_bh_create(
			m->loop, on_ended, m, "mover", vm_guard(vm), &m->ended);
		if (code < 0)
			error_errno(err, code, "mover");
	}
	if (code < 0) {
		vm_migrate_destroy(m->guest);
		free(m);
		return code;
	}
	*ret_mover = m;
	return 0;
}

static bool under_way(const struct mover *m)
{
	/* Not dest_ended(): the bottom half, which wakes us, may come before
	 * that is true, and nothing after it. */
	return m->place == MOVER_LEAVING || m->place == MOVER_SAVING ||
	       m->place == MOVER_ARRIVING;
}

void mover_finish(struct mover *m)
{
	if (m->place == MOVER_LEAVING)
		source_cancel(m->source);
	atomic_store(&m->cancel, true);
	if (m->dest)
		dest_cancel(m->dest);
	while (under_way(m))
		loop_poll(m->loop, true);
}

void mover_destroy(struct mover *m)
{
	if (!m)
		return;
	mover_finish(m);
	loop_timer_cancel(&m->progress);
	source_join(m->source);
	mover_in_fini(m);
	loop_bh_delete(m->ended);
	vm_migrate_destroy(m->guest);
	json_decref(m->last);
	free(m);
}

enum mover_place mover_place(const struct mover *m)
{
	return m->place;
}

json_t *mover_stats_json(const struct mover *m)
{
	if (m->place == MOVER_SAVING)
		return migrate_stats_json(&m->save.stats);
	if (m->source)
		return migrate_stats_json(source_stats(m->source));
	if (m->dest)
		return migrate_stats_json(dest_stats(m->dest));
	if (m->lazy)
		return migrate_stats_json(&m->in_stats);
	return m->last ? json_incref(m->last) : json_null();
}

json_t *mover_info(const struct mover *m)
{
	bool missing = m->lazy && !snapshot_lazy_done(m->lazy);

	return json_pack("{s:s, s:o, s:b}", "place", mover_place_name(m->place),
		"migration", mover_stats_json(m), "pages_missing",
		missing || m->place == MOVER_ARRIVING);
}
