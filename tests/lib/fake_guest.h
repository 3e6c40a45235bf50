/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/fake_guest.h - a migrate_guest of plain memory, for both ends.
 *
 * RAM is a struct guestmem; the "vCPU" is a thread that writes to a working
 * set; the dirty log is in software, with the rule of KVM's manual protect: a
 * page is recorded again only after dirty_clear(), which forgets what was
 * recorded.  How often each page was
 * written goes along as device state, so that the fake on the other side knows
 * what each page must hold: a lost or stale page is seen at its next write, or
 * by fake_guest_check().
 *
 * One struct fake_world is shared by the fakes of one guest: it sees that never
 * two of them have it.
 *
 * Threads: the functions are for the test's thread unless they say more; the
 * orders of fake_guest_migrate() come from migration threads.
 */
#ifndef GODWIT_TESTS_LIB_FAKE_GUEST_H
#define GODWIT_TESTS_LIB_FAKE_GUEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migrate/guest.h"
#include "migrate/phase.h"
#include "vmm/guestmem.h"

/* All zero to begin with. */
struct fake_world {
	_Atomic int running;	     /* fakes that have the guest now */
	_Atomic unsigned two_owners; /* times a second one took it */
};

/* The orders, in guest.h's sequence. */
enum fake_op {
	FAKE_DIRTY_START,
	FAKE_DIRTY_SYNC,
	FAKE_DIRTY_CLEAR,
	FAKE_DIRTY_STOP,
	FAKE_STOP,
	FAKE_RESTART,
	FAKE_LOAD,
	FAKE_RUN,
	FAKE_OPS
};

struct fake_guest;

/* Before an order is carried out, on the thread that gave it; may block. */
typedef void fake_hook(void *opaque, struct fake_guest *g, enum fake_op op);

/* At each phase, after it was taken note of, on the migration's thread. */
typedef void fake_phase(
	void *opaque, struct fake_guest *g, enum migrate_step step);

struct fake_guest {
	struct guestmem gm;
	struct fake_world *world; /* borrowed */
	uint64_t pages;

	_Atomic unsigned calls[FAKE_OPS];
	_Atomic unsigned fail_at[FAKE_OPS]; /* which call fails; 0: none */
	fake_hook *hook;		    /* set before the migration */
	void *hook_opaque;
	bool all_dirty;	   /* all is dirty at dirty_start, as with KVM's
			      INITIALLY_SET */
	bool gives_hints;  /* says so when asked */
	fake_phase *phase; /* set before the migration */
	void *phase_opaque;
	uint64_t load_touches; /* load() reads so many pages, evenly spread */

	_Atomic uint32_t *count;    /* owned: writes to each page */
	_Atomic uint64_t writes;    /* all of them */
	_Atomic uint64_t wrong;	    /* pages found with other contents */
	_Atomic uint64_t bad_calls; /* orders against guest.h's rules */

	pthread_t thread;
	pthread_mutex_t lock; /* what follows, and the dirty log */
	pthread_cond_t changed;
	bool started; /* it has the guest: runs it, or the user paused it */
	bool may_run, runs, quit, paused;
	uint64_t set_first, set_count; /* working set; count 0: idle */
	uint64_t *dirty, *armed;       /* owned bitmaps; armed: record writes */
	bool logging;
	struct migrate_hints hints; /* of this round; unused NULL: none */
	char steps[128];	    /* what was told, a letter each: Sabc */
};

/* @pages: of RAM, all zero; the guest is stopped and owned by nobody. */
void fake_guest_init(
	struct fake_guest *g, struct fake_world *world, uint64_t pages);
/* Nobody may be waiting for a missing page any more. */
void fake_guest_fini(struct fake_guest *g);

struct migrate_guest fake_guest_migrate(struct fake_guest *g);

/* Write to each page of [first, first + count) once; unless the guest is
 * stopped, from any thread. */
void fake_guest_write(struct fake_guest *g, uint64_t first, uint64_t count);
/* The guest is here: run, or stay paused by the user. */
void fake_guest_start(struct fake_guest *g, bool paused);
/* What the thread writes to while the guest runs, page by page without end. */
void fake_guest_work(struct fake_guest *g, uint64_t first, uint64_t count);
/* Make it idle, and return when it is: no page is half written any more. */
void fake_guest_rest(struct fake_guest *g);
/* Return when the guest has written @more pages from now on. */
void fake_guest_wait_writes(struct fake_guest *g, uint64_t more);
/* Return when the guest is here: runs, or is paused by the user. */
void fake_guest_wait_started(struct fake_guest *g);

/* Does @page hold what its count of writes says? */
bool fake_guest_page_right(const struct fake_guest *g, uint64_t page);
/* How many pages do not; touches all.  While the guest does not write. */
uint64_t fake_guest_check(const struct fake_guest *g);

/* Hint pages [first, first + count).  False: not now, nothing was told. */
bool fake_guest_hint(struct fake_guest *g, uint64_t first, uint64_t count);

bool fake_guest_is_running(struct fake_guest *g);
unsigned fake_guest_calls(const struct fake_guest *g, enum fake_op op);

#endif
