/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source.c - a migration's life on the sending side: the phases in
 * order, and how each way it can go ends.
 *
 *   failed before COMMIT     the guest is restarted, the destination told
 *   answer to COMMIT lost    source_switch.c asks; unresolved: it stays stopped
 *   link lost after RUNNING  the destination has it; were all pages there?
 *
 * Threads: see source.h.
 */
#include "migrate/source.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "migrate/chan.h"
#include "migrate/source_priv.h"
#include "vmm/guestmem.h"
#include "vmm/log.h"

/* For the destination to hear that we give up, and to hang up. */
#define FAREWELL_MS 1000

uint64_t source_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int source_thread(
	pthread_t *ret_thread, const char *name, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	pthread_t thread;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = pthread_create(&thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code != 0)
		return -code;
	pthread_setname_np(thread, name);
	*ret_thread = thread;
	return 0;
}

void source_set_phase(struct source *s, enum migrate_phase phase)
{
	s->stats.phase = phase;
	source_sample(s, true);
}

/* ---- the end ---- */

/* A peer's own words may still be unread when a write fails. */
void source_find_cause(struct source *s, struct error *err)
{
	uint64_t end = source_now_ns() + FAREWELL_MS * UINT64_C(1000000);
	struct timespec ts = {
		.tv_sec = (time_t)(end / 1000000000u),
		.tv_nsec = (long)(end % 1000000000u),
	};
	bool link = err->code == -EPIPE || err->code == -ECONNRESET ||
		    err->code == -ECANCELED;

	pthread_mutex_lock(&s->lock);
	while (link && !s->cancel && s->return_started && !s->broken &&
		!s->return_over &&
		pthread_cond_timedwait(&s->cond, &s->lock, &ts) == 0)
		;
	if (s->cancel && !s->committed)
		error_set(err, -ECANCELED, "cancelled");
	else if (s->broken)
		*err = s->error;
	pthread_mutex_unlock(&s->lock);
}

/* ERROR or CANCEL.  False: nobody listens. */
static bool tell_peer(struct source *s, const struct error *why)
{
	struct wire_error m = {.code = why->code};
	bool deaf;

	pthread_mutex_lock(&s->lock);
	deaf = s->peer_gave_up || !s->return_started;
	pthread_mutex_unlock(&s->lock);
	if (deaf)
		return false;
	chan_set_deadline(s->main.chan, FAREWELL_MS);
	if (why->code == -ECANCELED)
		return source_send_empty(s, WIRE_CANCEL, NULL) == 0;
	memcpy(m.text, why->text, strnlen(why->text, WIRE_TEXT_MAX));
	wire_put_error(source_begin(&s->main, WIRE_ERROR), &m);
	return source_send(s, &s->main, NULL) == 0;
}

/* Until the destination has hung up: closing with something unread could take
 * our words back. */
static void wait_farewell(struct source *s)
{
	uint64_t end = source_now_ns() + FAREWELL_MS * UINT64_C(1000000);
	struct timespec ts = {
		.tv_sec = (time_t)(end / 1000000000u),
		.tv_nsec = (long)(end % 1000000000u),
	};
	bool over;

	pthread_mutex_lock(&s->lock);
	over = s->return_over;
	pthread_mutex_unlock(&s->lock);
	/* Nobody else reads any more. */
	if (over)
		chan_linger(s->main.chan, FAREWELL_MS);
	pthread_mutex_lock(&s->lock);
	while (!s->return_over &&
		pthread_cond_timedwait(&s->cond, &s->lock, &ts) == 0)
		;
	pthread_mutex_unlock(&s->lock);
}

static enum source_result give_up(struct source *s, struct error *err)
{
	enum source_result result = SOURCE_RUNS_HERE;
	bool early = s->switched && !s->committed, told = false;
	struct error again;
	int code = 0;

	/* A destination that has the package may have locked the images: it
	 * lets go of them when it hears that it is over. */
	if (early) {
		source_find_cause(s, err);
		told = tell_peer(s, err);
	}
	/* Else the guest first: it has stood long enough. */
	if (s->stopped)
		code = s->guest.ops->restart(s->guest.opaque, &again);
	if (!s->committed && !early)
		source_find_cause(s, err);
	if (code < 0) {
		result = SOURCE_STUCK;
		error_prepend(err, "the guest could not be restarted here (%s)",
			again.text);
	}
	if (!s->committed && !early)
		told = tell_peer(s, err);
	if (told)
		wait_farewell(s);
	source_set_phase(s, err->code == -ECANCELED && result != SOURCE_STUCK
				    ? MIGRATE_CANCELLED
				    : MIGRATE_FAILED);
	return result;
}

/* The guest runs over there, the connections are gone.  Every page that was
 * sent before LOADED has arrived. */
static enum source_result lost(struct source *s, struct error *err)
{
	if (!s->postcopy || s->nothing_missing) {
		source_set_phase(s, MIGRATE_DONE);
		return SOURCE_MOVED;
	}
	source_find_cause(s, err);
	error_prepend(err,
		"the guest runs at the destination, but %llu pages are still "
		"here and more may not have arrived",
		(unsigned long long)s->left);
	source_set_phase(s, MIGRATE_LOST);
	return SOURCE_LOST_LINK;
}

static enum source_result unresolved(struct source *s, struct error *err)
{
	error_prepend(err,
		"who owns the guest is open (look at the destination; it "
		"stays stopped here)");
	source_set_phase(s, MIGRATE_UNKNOWN);
	return SOURCE_UNRESOLVED;
}

/* ---- the course ---- */

static enum source_result after_running(struct source *s, struct error *err)
{
	int code = 0;

	if (s->postcopy)
		code = source_postcopy_push(s, err);
	source_expect(s, SOURCE_GOT_DONE);
	if (code == 0)
		code = source_send_empty(s, WIRE_COMPLETE, err);
	if (code == 0)
		code = source_wait(
			s, SOURCE_GOT_DONE, s->opt.timeout_ms, false, err);
	if (code < 0)
		return lost(s, err);
	source_set_phase(s, MIGRATE_DONE);
	return SOURCE_MOVED;
}

static enum source_result course(struct source *s, struct error *err)
{
	int code = 0;

	source_set_phase(s, MIGRATE_CONNECT);
	if (s->opt.gather)
		code = s->opt.gather(s->opt.gather_opaque, &s->cancel, err);
	if (code == 0)
		code = source_greet(s, err);
	if (code == 0)
		code = source_precopy(s, err);
	if (code == 0)
		code = source_switch_over(s, err);
	if (code == 0)
		return after_running(s, err);
	if (code == 1)
		return lost(s, err);
	if (!s->committed || s->given_back)
		return give_up(s, err);
	return unresolved(s, err);
}

static void end_connections(struct source *s)
{
	s->closing = true;
	if (s->main.chan)
		chan_shutdown(s->main.chan);
	if (s->urgent.chan)
		chan_shutdown(s->urgent.chan);
	source_kick(s);
	if (s->return_started)
		pthread_join(s->return_thread, NULL);
	if (s->urgent_started)
		pthread_join(s->urgent_thread, NULL);
}

static void *migrate_main(void *arg)
{
	struct source *s = arg;
	struct error err = {.code = 0};
	enum source_result result;

	result = course(s, &err);
	pthread_mutex_lock(&s->lock);
	s->over = true;
	pthread_mutex_unlock(&s->lock);
	end_connections(s);
	if (result == SOURCE_MOVED)
		s->stats.pages_left = 0; /* whatever the last hang-up said */
	source_hints_cleanup(s);
	if (s->logging)
		s->guest.ops->dirty_stop(s->guest.opaque);
	s->stats.end_ns = source_now_ns();
	s->done(s->opaque, result, result == SOURCE_MOVED ? NULL : &err);
	s->ended = true;
	return NULL;
}

/* ---- life ---- */

static int check_options(const struct source_options *opt,
	const char *description, struct error *err)
{
	int code = chan_check_address(opt->address, err);

	if (code < 0)
		return code;
	if (opt->postcopy > SOURCE_POSTCOPY_IMMEDIATE || opt->timeout_ms < 0)
		return error_set(err, -EINVAL, "migrate: bad options");
	if (opt->postcopy == SOURCE_POSTCOPY_AFTER && opt->after_rounds == 0)
		return error_set(err, -EINVAL,
			"migrate: postcopy after 0 rounds (use immediate)");
	if (strlen(description) > WIRE_DESCRIPTION_MAX)
		return error_set(err, -EINVAL,
			"migrate: a description of %zu bytes (%u at most)",
			strlen(description), WIRE_DESCRIPTION_MAX);
	return 0;
}

static void source_free(struct source *s)
{
	source_conn_fini(&s->main);
	source_conn_fini(&s->urgent);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->lock);
	touched_fini(&s->touched);
	source_timeline_destroy(s->timeline);
	free(s->peer_stats);
	free((void *)(uintptr_t)s->unsent);
	free((void *)(uintptr_t)s->by_urgent);
	free((void *)(uintptr_t)s->hinted);
	free(s->dirty);
	free(s->told);
	free(s->description);
	free((void *)(uintptr_t)s->opt.address);
	free(s);
}

static int alloc_maps(struct source *s)
{
	uint64_t i;

	s->pages = s->guest.gm->size / GUESTMEM_PAGE;
	s->words = migrate_bitmap_words(s->pages);
	s->dirty = calloc(s->words, sizeof(*s->dirty));
	s->told = calloc(s->words, sizeof(*s->told));
	s->unsent = calloc(s->words, sizeof(*s->unsent));
	s->by_urgent = calloc(s->words, sizeof(*s->by_urgent));
	s->timeline = source_timeline_create();
	touched_init(&s->touched, s->guest.gm);
	s->sparse = true;
	if (!s->dirty || !s->told || !s->unsent || !s->by_urgent ||
		!s->timeline)
		return -ENOMEM;
	for (i = 0; i < s->pages; i++)
		s->dirty[i / 64] |= UINT64_C(1) << (i % 64);
	return 0;
}

static void set_defaults(struct source *s)
{
	struct source_options *opt = &s->opt;

	if (opt->timeout_ms == 0)
		opt->timeout_ms = SOURCE_TIMEOUT_MS;
	if (opt->max_rounds == 0)
		opt->max_rounds = SOURCE_MAX_ROUNDS;
	s->max_downtime_ns = opt->max_downtime_ns ? opt->max_downtime_ns
						  : SOURCE_DOWNTIME_NS;
	s->bandwidth = opt->bandwidth;
	s->hint = SOURCE_NO_PAGE;
	s->stats.ram_bytes = s->guest.gm->size;
	s->stats.pages_left = s->pages;
	s->stats.start_ns = source_now_ns();
}

static struct source *source_alloc(const struct source_options *opt,
	const struct migrate_guest *guest, const char *description)
{
	struct source *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int main_code, urgent_code;

	if (!s)
		return NULL;
	s->opt = *opt;
	s->touched.fd = -1;
	s->opt.address = strdup(opt->address);
	s->description = strdup(description);
	s->guest = *guest;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	main_code = source_conn_init(&s->main);
	urgent_code = source_conn_init(&s->urgent);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!s->opt.address || !s->description || main_code < 0 ||
		urgent_code < 0 || s->wake_fd < 0 || alloc_maps(s) < 0) {
		source_free(s);
		return NULL;
	}
	return s;
}

int source_start(const struct source_options *opt,
	const struct migrate_guest *guest, const char *description,
	source_done_fn *done, void *opaque, struct source **ret_source,
	struct error *err)
{
	struct source *s;
	int code = check_options(opt, description, err);

	if (code < 0)
		return code;
	s = source_alloc(opt, guest, description);
	if (!s)
		return error_set(err, -ENOMEM, "migrate: out of memory");
	set_defaults(s);
	s->done = done;
	s->opaque = opaque;
	/* Before the thread: it may call done at once, and done may look. */
	*ret_source = s;
	code = source_thread(&s->migrate_thread, "migrate", migrate_main, s);
	if (code < 0) {
		*ret_source = NULL;
		source_free(s);
		return error_errno(err, code, "migrate: thread");
	}
	return 0;
}

int source_switch(struct source *s)
{
	int code = 0;

	if (s->opt.postcopy == SOURCE_POSTCOPY_NEVER)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&s->lock);
	if (s->switched || s->over) {
		code = -EALREADY;
	} else {
		s->want_switch = true;
		pthread_cond_broadcast(&s->cond);
	}
	pthread_mutex_unlock(&s->lock);
	return code;
}

int source_cancel(struct source *s)
{
	int code = 0;

	pthread_mutex_lock(&s->lock);
	if (s->committed || s->over) {
		code = -EALREADY;
	} else {
		s->cancel = true;
		pthread_cond_broadcast(&s->cond);
	}
	pthread_mutex_unlock(&s->lock);
	if (code == 0)
		source_kick(s);
	return code;
}

void source_set_limits(
	struct source *s, uint64_t bandwidth, uint64_t max_downtime_ns)
{
	pthread_mutex_lock(&s->lock);
	if (bandwidth != SOURCE_KEEP)
		s->bandwidth = bandwidth;
	if (max_downtime_ns != SOURCE_KEEP)
		s->max_downtime_ns =
			max_downtime_ns ? max_downtime_ns : SOURCE_DOWNTIME_NS;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

const struct migrate_stats *source_stats(const struct source *s)
{
	return &s->stats;
}

const char *source_peer_stats(const struct source *s)
{
	/* Set once, before DONE is noted; owners look after done. */
	return s->peer_stats;
}

char *source_timeline(struct source *s)
{
	return source_timeline_text(s->timeline);
}

bool source_ended(const struct source *s)
{
	return s->ended;
}

void source_join(struct source *s)
{
	if (!s)
		return;
	pthread_join(s->migrate_thread, NULL);
	source_free(s);
}
