/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/source_rig.h - a source, its guest and a scripted destination, for
 * the tests of migrate/source.
 */
#ifndef GODWIT_TESTS_UNIT_SOURCE_RIG_H
#define GODWIT_TESTS_UNIT_SOURCE_RIG_H

#include "tests/lib/testing.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/chan.h"
#include "migrate/source.h"
#include "tests/lib/fake_guest.h"
#include "tests/lib/migrate_peer.h"
#include "vmm/error.h"

struct rig {
	struct fake_world world;
	struct fake_guest src, dst;
	struct peer peer;
	struct source *source;
	struct source_options opt;
	/* Written by done, read after the semaphore. */
	enum source_result result;
	struct error err;
	bool has_err;
	_Atomic unsigned dones;
	sem_t ended;
	/* For hooks. */
	uint16_t type; /* of a frame */
	unsigned nth;  /* of its type, from 1 */
	unsigned seen;
	uint64_t random;
	uint64_t *written; /* owned bitmap: dirtied behind the round */
	sem_t reached, go;
};

static inline void rig_init(
	struct rig *r, uint64_t pages, enum source_postcopy postcopy)
{
	memset(r, 0, sizeof(*r));
	fake_guest_init(&r->src, &r->world, pages);
	fake_guest_init(&r->dst, &r->world, pages);
	peer_init(&r->peer, &r->dst, NULL);
	r->written = calloc(r->peer.words, sizeof(*r->written));
	assert_non_null(r->written);
	r->opt.address = r->peer.address;
	r->opt.postcopy = postcopy;
	r->opt.after_rounds = 1;
	r->nth = 1;
	r->random = 88172645463325252u;
	sem_init(&r->ended, 0, 0);
	sem_init(&r->reached, 0, 0);
	sem_init(&r->go, 0, 0);
}

static inline void rig_done(
	void *opaque, enum source_result result, const struct error *err)
{
	struct rig *r = opaque;

	r->dones++;
	r->result = result;
	r->has_err = err != NULL;
	if (err)
		r->err = *err;
	sem_post(&r->ended);
}

static inline void rig_start(struct rig *r)
{
	struct migrate_guest g = fake_guest_migrate(&r->src);
	struct error err;

	if (!fake_guest_is_running(&r->src))
		fake_guest_start(&r->src, false);
	peer_start(&r->peer);
	if (source_start(&r->opt, &g, "{\"test\": 1}", rig_done, r, &r->source,
		    &err) < 0)
		fail_msg("%s", err.text);
}

/* After this the source may be looked at, but its threads are done. */
static inline void rig_wait(struct rig *r)
{
	sem_wait(&r->ended);
	if (r->peer.listener && !r->peer.deaf)
		chan_listener_shutdown(r->peer.listener);
	peer_join(&r->peer);
}

static inline void rig_run(struct rig *r)
{
	rig_start(r);
	rig_wait(r);
}

/* What must hold however it ended. */
static inline void rig_fini(struct rig *r)
{
	source_join(r->source);
	assert_int_equal(r->dones, 1);
	assert_int_equal(r->world.two_owners, 0);
	assert_int_equal(r->src.bad_calls, 0);
	assert_int_equal(r->dst.bad_calls, 0);
	assert_int_equal(fake_guest_calls(&r->src, FAKE_DIRTY_START) >= 1,
		fake_guest_calls(&r->src, FAKE_DIRTY_STOP) == 1 ||
			r->src.fail_at[FAKE_DIRTY_START] == 1);
	peer_fini(&r->peer);
	fake_guest_fini(&r->src);
	fake_guest_fini(&r->dst);
	assert_int_equal(r->src.wrong, 0);
	assert_int_equal(r->dst.wrong, 0);
	free(r->written);
	sem_destroy(&r->ended);
	sem_destroy(&r->reached);
	sem_destroy(&r->go);
}

/* It moved: everything is right over there, and only there. */
static inline void rig_moved(struct rig *r)
{
	if (r->result != SOURCE_MOVED)
		fail_msg("%s", r->err.text);
	assert_false(r->has_err);
	assert_true(fake_guest_is_running(&r->dst));
	assert_false(fake_guest_is_running(&r->src));
	assert_int_equal(fake_guest_calls(&r->src, FAKE_STOP), 1);
	assert_int_equal(fake_guest_calls(&r->src, FAKE_RESTART), 0);
	assert_int_equal(r->peer.frames[WIRE_COMMIT], 1);
	assert_int_equal(r->peer.frames[WIRE_COMPLETE], 1);
	assert_string_equal(source_peer_stats(r->source), "{\"peer\": 1}");
}

/* It did not: the guest runs here as if nothing had been. */
static inline void rig_stayed(struct rig *r, int code)
{
	assert_int_equal(r->result, SOURCE_RUNS_HERE);
	assert_true(r->has_err);
	if (code != 0 && r->err.code != code)
		fail_msg("code %d, not %d: %s", r->err.code, code, r->err.text);
	assert_true(fake_guest_is_running(&r->src));
	assert_false(fake_guest_is_running(&r->dst));
	assert_int_equal(fake_guest_calls(&r->src, FAKE_RESTART),
		fake_guest_calls(&r->src, FAKE_STOP) -
			(r->src.fail_at[FAKE_STOP] != 0));
	assert_int_equal(r->peer.frames[WIRE_COMMIT], 0);
	assert_int_equal(fake_guest_check(&r->src), 0);
}

#endif
