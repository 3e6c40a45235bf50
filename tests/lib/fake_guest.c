/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/fake_guest.c - see fake_guest.h. */
#include "tests/lib/fake_guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "tests/lib/testing.h"
#include "vmm/error.h"

#define WORDS	(GUESTMEM_PAGE / sizeof(uint64_t))
#define BATCH	16u /* writes between two looks at the orders */
#define SECTION "fake"

/* What each word of @page is after @count writes; 0 writes: zero. */
static uint64_t word_of(uint64_t page, uint32_t count)
{
	return count == 0
		       ? 0
		       : ((page << 32) + count) * UINT64_C(0x9e3779b97f4a7c15);
}

/* A guest's accesses are none of ThreadSanitizer's business: that the sender
 * reads pages under the writer's hands is how precopy works. */
__attribute__((noinline, no_sanitize("thread"))) static bool
right(const struct fake_guest *g, uint64_t page, uint32_t count, uint64_t step)
{
	const volatile uint64_t *w =
		(const volatile uint64_t *)(g->gm.base + page * GUESTMEM_PAGE);
	uint64_t want = word_of(page, count), i;

	for (i = 0; i < WORDS; i += step)
		if (w[i] != want)
			return false;
	return w[WORDS - 1] == want;
}

__attribute__((noinline, no_sanitize("thread"))) static void fill(
	struct fake_guest *g, uint64_t page, uint32_t count)
{
	volatile uint64_t *w =
		(volatile uint64_t *)(g->gm.base + page * GUESTMEM_PAGE);
	uint64_t value = word_of(page, count), i;

	for (i = 0; i < WORDS; i++)
		w[i] = value;
}

static bool bit_test(const uint64_t *map, uint64_t bit)
{
	return map[bit / 64] >> (bit % 64) & 1;
}

/* After the write, as the VMM's own writes do: a sender that cleared and read
 * before the write finds the page armed and is told; one that comes later
 * reads what was written. */
static void mark(struct fake_guest *g, uint64_t page)
{
	uint64_t bit = UINT64_C(1) << (page % 64);

	pthread_mutex_lock(&g->lock);
	if (g->logging && g->armed[page / 64] & bit) {
		g->armed[page / 64] &= ~bit;
		g->dirty[page / 64] |= bit;
	}
	pthread_mutex_unlock(&g->lock);
}

static void write_page(struct fake_guest *g, uint64_t page)
{
	uint32_t count = g->count[page];

	if (!right(g, page, count, 73))
		g->wrong++;
	fill(g, page, count + 1);
	g->count[page] = count + 1;
	mark(g, page);
	g->writes++;
}

void fake_guest_write(struct fake_guest *g, uint64_t first, uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++)
		write_page(g, first + i);
}

static void *guest_thread(void *opaque)
{
	struct fake_guest *g = opaque;
	uint64_t at = 0, first, count;
	unsigned i;

	pthread_mutex_lock(&g->lock);
	while (!g->quit) {
		if (!g->may_run || g->set_count == 0) {
			g->runs = false;
			pthread_cond_broadcast(&g->changed);
			pthread_cond_wait(&g->changed, &g->lock);
			continue;
		}
		g->runs = true;
		first = g->set_first;
		count = g->set_count;
		pthread_mutex_unlock(&g->lock);
		for (i = 0; i < BATCH; i++, at++)
			write_page(g, first + at % count);
		pthread_mutex_lock(&g->lock);
		pthread_cond_broadcast(&g->changed);
	}
	g->runs = false;
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

void fake_guest_init(
	struct fake_guest *g, struct fake_world *world, uint64_t pages)
{
	struct guestmem_options opt = {
		.size = pages * GUESTMEM_PAGE, .backing = GUESTMEM_ANON};
	struct error err;

	memset(g, 0, sizeof(*g));
	if (guestmem_init(&g->gm, &opt, &err) < 0)
		fail_msg("%s", err.text);
	g->world = world;
	g->pages = pages;
	g->count = calloc(pages, sizeof(*g->count));
	g->dirty = calloc(migrate_bitmap_words(pages), sizeof(*g->dirty));
	g->armed = calloc(migrate_bitmap_words(pages), sizeof(*g->armed));
	assert_non_null(g->count);
	assert_non_null(g->dirty);
	assert_non_null(g->armed);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	assert_int_equal(pthread_create(&g->thread, NULL, guest_thread, g), 0);
}

void fake_guest_fini(struct fake_guest *g)
{
	pthread_mutex_lock(&g->lock);
	g->quit = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	guestmem_fini(&g->gm);
	free((void *)(uintptr_t)g->count);
	free(g->dirty);
	free(g->armed);
}

/* The guest is had here, from now on, and by nobody else. */
static void take(struct fake_guest *g)
{
	if (g->world && g->world->running++ != 0)
		g->world->two_owners++;
	pthread_mutex_lock(&g->lock);
	g->may_run = !g->paused;
	g->started = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void fake_guest_start(struct fake_guest *g, bool paused)
{
	g->paused = paused;
	take(g);
}

void fake_guest_work(struct fake_guest *g, uint64_t first, uint64_t count)
{
	pthread_mutex_lock(&g->lock);
	g->set_first = first;
	g->set_count = count;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void fake_guest_rest(struct fake_guest *g)
{
	fake_guest_work(g, 0, 0);
	pthread_mutex_lock(&g->lock);
	while (g->runs)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void fake_guest_wait_writes(struct fake_guest *g, uint64_t more)
{
	uint64_t goal = g->writes + more;

	pthread_mutex_lock(&g->lock);
	while (g->writes < goal)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void fake_guest_wait_started(struct fake_guest *g)
{
	pthread_mutex_lock(&g->lock);
	while (!g->started)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

bool fake_guest_page_right(const struct fake_guest *g, uint64_t page)
{
	return right(g, page, g->count[page], 1);
}

uint64_t fake_guest_check(const struct fake_guest *g)
{
	uint64_t page, wrong = 0;

	for (page = 0; page < g->pages; page++)
		wrong += !fake_guest_page_right(g, page);
	return wrong;
}

bool fake_guest_is_running(struct fake_guest *g)
{
	bool started;

	pthread_mutex_lock(&g->lock);
	started = g->started;
	pthread_mutex_unlock(&g->lock);
	return started;
}

unsigned fake_guest_calls(const struct fake_guest *g, enum fake_op op)
{
	return g->calls[op];
}

/* ---- orders ---- */

static int begin(struct fake_guest *g, enum fake_op op, struct error *err)
{
	static const char *const name[FAKE_OPS] = {"dirty_start", "dirty_sync",
		"dirty_clear", "dirty_stop", "stop", "restart", "load", "run"};
	unsigned call = ++g->calls[op];

	if (g->hook)
		g->hook(g->hook_opaque, g, op);
	if (call == g->fail_at[op])
		return error_set(
			err, -EIO, "fake guest: %s: told to fail", name[op]);
	return 0;
}

static int op_dirty_start(void *opaque, struct error *err)
{
	struct fake_guest *g = opaque;
	uint64_t i;
	int code = begin(g, FAKE_DIRTY_START, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&g->lock);
	g->bad_calls += g->logging;
	g->logging = true;
	memset(g->dirty, 0, migrate_bitmap_words(g->pages) * 8);
	memset(g->armed, 0, migrate_bitmap_words(g->pages) * 8);
	for (i = 0; i < g->pages; i++)
		(g->all_dirty ? g->dirty : g->armed)[i / 64] |= UINT64_C(1)
								<< (i % 64);
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static int op_dirty_sync(void *opaque, uint64_t *bitmap, struct error *err)
{
	struct fake_guest *g = opaque;
	uint64_t i;
	int code = begin(g, FAKE_DIRTY_SYNC, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&g->lock);
	g->bad_calls += !g->logging;
	for (i = 0; i < migrate_bitmap_words(g->pages); i++) {
		bitmap[i] |= g->dirty[i];
		g->dirty[i] = 0;
	}
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static int op_dirty_clear(void *opaque, const uint64_t *bitmap, uint64_t first,
	uint64_t count, struct error *err)
{
	struct fake_guest *g = opaque;
	uint64_t i;
	int code = begin(g, FAKE_DIRTY_CLEAR, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&g->lock);
	if (!g->logging || first % 64 != 0 || count > g->pages ||
		first > g->pages - count) {
		g->bad_calls++;
		pthread_mutex_unlock(&g->lock);
		return error_set(err, -EINVAL, "fake guest: dirty_clear");
	}
	for (i = first; i < first + count; i++)
		if (bit_test(bitmap, i)) {
			g->armed[i / 64] |= UINT64_C(1) << (i % 64);
			g->dirty[i / 64] &= ~(UINT64_C(1) << (i % 64));
		}
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static void op_dirty_stop(void *opaque)
{
	struct fake_guest *g = opaque;

	begin(g, FAKE_DIRTY_STOP, NULL);
	pthread_mutex_lock(&g->lock);
	g->logging = false;
	pthread_mutex_unlock(&g->lock);
}

/* SETUP, after, before, cleanup. */
static void op_phase(void *opaque, const struct migrate_phase_info *info)
{
	static const char letter[] = "SbaCc";
	struct fake_guest *g = opaque;
	size_t len;

	pthread_mutex_lock(&g->lock);
	g->bad_calls += !g->logging;
	len = strlen(g->steps);
	if (len + 1 < sizeof(g->steps))
		g->steps[len] = letter[info->phase];
	g->hints = (struct migrate_hints){.unused = NULL};
	if (info->hints)
		g->hints = *info->hints;
	pthread_mutex_unlock(&g->lock);
	if (info->ret_hints && g->gives_hints)
		*info->ret_hints = true;
	if (g->phase)
		g->phase(g->phase_opaque, g, info->phase);
}

bool fake_guest_hint(struct fake_guest *g, uint64_t first, uint64_t count)
{
	bool heard;

	pthread_mutex_lock(&g->lock);
	heard = g->hints.unused != NULL;
	if (heard)
		g->hints.unused(g->hints.opaque, first * GUESTMEM_PAGE,
			count * GUESTMEM_PAGE);
	pthread_mutex_unlock(&g->lock);
	return heard;
}

static void save(const struct fake_guest *g, struct state_writer *w)
{
	uint64_t i;

	state_begin(w, SECTION, 1);
	state_put_u64(w, g->pages);
	for (i = 0; i < g->pages; i++)
		state_put_u32(w, g->count[i]);
	state_end(w);
}

static int op_stop(void *opaque, struct state_writer *w, bool *ret_paused,
	struct error *err)
{
	struct fake_guest *g = opaque;
	int code = begin(g, FAKE_STOP, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&g->lock);
	g->bad_calls += !g->started;
	g->may_run = false;
	g->started = false;
	pthread_cond_broadcast(&g->changed);
	while (g->runs)
		pthread_cond_wait(&g->changed, &g->lock);
	*ret_paused = g->paused;
	pthread_mutex_unlock(&g->lock);
	if (g->world)
		g->world->running--;
	save(g, w);
	return state_writer_error(w);
}

static int op_restart(void *opaque, struct error *err)
{
	struct fake_guest *g = opaque;
	int code = begin(g, FAKE_RESTART, err);

	if (code < 0)
		return code;
	g->bad_calls += fake_guest_is_running(g);
	take(g);
	return 0;
}

/* Read pages all over RAM, as loading a device's queues does. */
static void touch(struct fake_guest *g)
{
	uint64_t i, page;

	for (i = 0; i < g->load_touches; i++) {
		page = i * (g->pages / g->load_touches) % g->pages;
		if (!fake_guest_page_right(g, page))
			g->wrong++;
	}
}

static int op_load(
	void *opaque, const uint8_t *state, uint64_t len, struct error *err)
{
	struct fake_guest *g = opaque;
	const uint8_t *pos = state;
	struct state_reader r;
	uint64_t i;
	int code = begin(g, FAKE_LOAD, err);

	if (code < 0)
		return code;
	if (state_next(&pos, state + len, &r, err) != 1 ||
		strcmp(r.name, SECTION) != 0 || r.version != 1)
		return error_set(err, -EPROTO, "fake guest: not my state");
	if (state_get_u64(&r) != g->pages)
		return error_set(err, -EPROTO, "fake guest: other RAM size");
	for (i = 0; i < g->pages; i++)
		g->count[i] = state_get_u32(&r);
	code = state_reader_end(&r);
	if (code < 0)
		return error_set(err, code, "fake guest: state");
	touch(g);
	return 0;
}

static int op_run(void *opaque, bool paused, struct error *err)
{
	struct fake_guest *g = opaque;
	int code = begin(g, FAKE_RUN, err);

	if (code < 0)
		return code;
	g->bad_calls += fake_guest_is_running(g);
	g->paused = paused;
	take(g);
	return 0;
}

struct migrate_guest fake_guest_migrate(struct fake_guest *g)
{
	static const struct migrate_guest_ops ops = {
		.dirty_start = op_dirty_start,
		.dirty_sync = op_dirty_sync,
		.dirty_clear = op_dirty_clear,
		.dirty_stop = op_dirty_stop,
		.phase = op_phase,
		.stop = op_stop,
		.restart = op_restart,
		.load = op_load,
		.run = op_run,
	};

	return (struct migrate_guest){.ops = &ops, .opaque = g, .gm = &g->gm};
}
