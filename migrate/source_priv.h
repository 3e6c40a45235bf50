/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_priv.h - what the files of the sending side share.
 *
 * source.c           life, the order of the phases, how it ends
 * source_greet.c     connections and handshake
 * source_precopy.c   rounds, when to stop, the bandwidth limit
 * source_hints.c     pages that need not be sent, says the guest
 * source_switch.c    stop, package, commit, and who owns it if the answer is
 *                    lost
 * source_postcopy.c  pages after the switch: pushed, and answers to requests
 * source_return.c    what the destination says; waiting for it
 * source_timeline.c  samples for plots
 */
#ifndef GODWIT_MIGRATE_SOURCE_PRIV_H
#define GODWIT_MIGRATE_SOURCE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migrate/bucket.h"
#include "migrate/frame.h"
#include "migrate/guest.h"
#include "migrate/source.h"
#include "migrate/stats.h"
#include "migrate/touched.h"
#include "migrate/wire.h"
#include "vmm/error.h"

struct chan;
struct source_timeline;

#define SOURCE_TIMEOUT_MS  10000
#define SOURCE_BUILD_MS	   60000 /* for the destination to build a machine */
#define SOURCE_DOWNTIME_NS UINT64_C(300000000)
#define SOURCE_MAX_ROUNDS  30u
#define SOURCE_BULK_PAGES  256u /* of a frame in precopy */
#define SOURCE_PUSH_PAGES  32u	/* of a frame pushed after the switch */
#define SOURCE_BULK_BUFFER (4u << 20)
#define SOURCE_AHEAD	   1024u /* the urgent connection's: requests */
#define SOURCE_NO_PAGE	   UINT64_MAX

/* Answers of the destination that somebody may wait for, as bits. */
enum source_answer {
	SOURCE_GOT_WELCOME = 1,
	SOURCE_GOT_ACCEPT = 2,
	SOURCE_GOT_ADVISED = 4,
	SOURCE_GOT_LOADED = 8,
	SOURCE_GOT_RUNNING = 16,
	SOURCE_GOT_DONE = 32,
	SOURCE_GOT_SYNCED = 64, /* the last one asked for */
};

/* A connection: one reader, writers under the lock. */
struct source_conn {
	struct chan *chan;  /* owned; NULL: not there */
	struct frame_in in; /* reader */
	uint32_t in_seq;    /* reader */

	pthread_mutex_t lock;
	pthread_cond_t turn;	   /* nobody urgent waits any more */
	_Atomic uint32_t urgent;   /* writers that go first */
	struct wire_out out;	   /* lock */
	uint32_t out_seq;	   /* lock */
	uint64_t *entry;	   /* owned, WIRE_PAGES_MAX; lock */
	struct iovec *iov;	   /* owned, WIRE_PAGES_MAX; lock */
	bool spoiled;		   /* lock: a write failed half way */
	_Atomic uint64_t busy_ns;  /* since when a write goes on; 0: none */
	_Atomic uint64_t write_ns; /* spent in writing, all together */
};

struct source {
	struct source_options opt; /* address owned */
	struct migrate_guest guest;
	char *description; /* owned */
	source_done_fn *done;
	void *opaque;
	struct migrate_stats stats;
	uint64_t pages, words; /* of RAM; of a bitmap */
	uint8_t session[WIRE_SESSION_BYTES];

	pthread_t migrate_thread, return_thread, urgent_thread;
	bool return_started, urgent_started; /* migrate thread */
	_Atomic pid_t return_tid;	     /* 0: it does not run yet */
	int wake_fd; /* owned eventfd: the readers shall look up */
	_Atomic bool ended;
	_Atomic bool closing; /* connections end because we end them */

	/* Orders from outside; read at every chunk. */
	_Atomic bool cancel, want_switch;
	_Atomic uint64_t bandwidth, max_downtime_ns;

	pthread_mutex_t lock;
	pthread_cond_t cond; /* anything below, or an order; CLOCK_MONOTONIC */
	uint32_t expected;   /* enum source_answer: what may come */
	uint32_t got;
	uint32_t sync_id; /* of the last SYNC sent */
	struct wire_welcome welcome;
	char *peer_stats;  /* owned */
	bool broken;	   /* error: the first trouble of the connections */
	bool peer_gave_up; /* it was the peer's ERROR */
	bool return_over;  /* nothing more will be read on the first one */
	bool switched;	   /* the package is on its way */
	bool committed;	   /* COMMIT may have been written */
	bool over;	   /* nothing more is decided */
	struct error error;
	_Atomic uint64_t progress_ns; /* when the peer last did something */

	struct source_conn main, urgent;

	/* Migrate thread. */
	bool advised;	 /* postcopy is possible */
	bool logging;	 /* dirty_start() was called */
	bool stopped;	 /* the guest, by us */
	bool given_back; /* after COMMIT: the destination says it is ours */
	bool postcopy;	 /* the switch is one to postcopy */
	uint64_t *dirty; /* owned: to be sent; before the package */
	uint64_t *told;	 /* owned: discarded over there */
	struct touched touched; /* RAM that has memory */
	bool sparse;		/* it seems that much has none: look first */
	struct source_bucket bucket;
	uint64_t bulk_bytes, bulk_ns; /* measured, older rounds count less */
	uint64_t round_bytes, round_ns;
	uint64_t rtt_ns;
	uint64_t synced_ns; /* the last dirty_sync() */
	bool setup;	    /* SETUP was told */
	bool hinting;	    /* this round takes hints */
	uint64_t hints_at;  /* word: hints for those before it are too late */
	uint64_t left_out[WIRE_PAGES_MAX]; /* to be sent as a word each */
	uint32_t left_outs;
	/* Owned bitmap, NULL: no hints.  The VM's loop sets bits. */
	_Atomic uint64_t *hinted;
	struct source_timeline *timeline; /* owned */

	/* After the switch; any thread of ours. */
	bool nothing_missing;	     /* nor was when the package went */
	_Atomic uint64_t *unsent;    /* owned bitmap */
	_Atomic uint64_t *by_urgent; /* owned: sent on the urgent connection */
	_Atomic bool urgent_owes;    /* a bit of by_urgent may be set */
	_Atomic uint64_t left;	     /* bits in unsent */
	_Atomic bool serving;	     /* requests may come */
	_Atomic uint64_t hint;	    /* scan here; SOURCE_NO_PAGE: nothing new */
	_Atomic uint32_t answering; /* requests being answered */
	_Atomic bool settling;	    /* somebody waits until none is */
};

/* ---- source.c ---- */

uint64_t source_now_ns(void);
/* Signals blocked.  0 or -errno. */
int source_thread(pthread_t *ret_thread, const char *name, void *(*fn)(void *),
	void *arg);
void source_set_phase(struct source *s, enum migrate_phase phase);
/* What really went wrong: the trouble that the readers met came first, even if
 * the writer met it too.  Replaces @err by it; may wait a moment for it. */
void source_find_cause(struct source *s, struct error *err);

/* ---- source_greet.c ---- */

int source_conn_init(struct source_conn *c);
void source_conn_fini(struct source_conn *c);
/* chan_connect() that a cancel ends. */
int source_dial(struct source *s, unsigned index, int timeout_ms,
	struct chan **ret_chan, struct error *err);
/* From nothing to a built machine over there.  0 or -errno. */
int source_greet(struct source *s, struct error *err);

/* ---- source_precopy.c ---- */

/* Rounds until it is time to stop the guest; decides s->postcopy. */
int source_precopy(struct source *s, struct error *err);
/* Send every page of s->dirty.  @live: the guest runs and may dirty them again.
 * Return: 0, 1 when a switch to postcopy was asked for, -errno. */
int source_send_dirty(struct source *s, bool live, struct error *err);
uint64_t source_count_bits(const uint64_t *map, uint64_t words);
int source_dirty_sync(struct source *s, struct error *err);
uint64_t source_expected_ns(struct source *s, uint64_t pages);

/* ---- source_hints.c ---- */

/* Dirty logging is on.  0 or -ENOMEM. */
int source_hints_setup(struct source *s, struct error *err);
/* A round is about to send s->dirty: ask for hints, if it is worth it. */
int source_hints_begin(struct source *s, struct error *err);
/* Move what was hinted of word @w of s->dirty to s->left_out, which has
 * source_hints_room() for it; once in a round. */
void source_hints_take(struct source *s, uint64_t w);
static inline bool source_hints_room(const struct source *s)
{
	return s->left_outs <= WIRE_PAGES_MAX - 64;
}
/* Send s->left_out.  0 or -errno. */
int source_hints_send(struct source *s, struct error *err);
/* The round is over: no more hints.  Before the sync. */
void source_hints_end(struct source *s);
/* The migration is over. */
void source_hints_cleanup(struct source *s);

/* ---- source_switch.c ---- */

/* From the running guest to the guest that runs over there.  0: it does.  1: it
 * does, but the connections are gone.  -errno without s->committed: nothing has
 * changed, but the guest may be stopped.  -errno with it: the owner is not
 * known, unless s->given_back. */
int source_switch_over(struct source *s, struct error *err);

/* ---- source_postcopy.c ---- */

/* s->dirty becomes the pages to serve.  Before the package. */
void source_postcopy_begin(struct source *s);
/* Push what is left; 0 when every page was sent. */
int source_postcopy_push(struct source *s, struct error *err);
/* Answer @req on @c.  Reader threads. */
int source_answer_request(struct source *s, struct source_conn *c,
	const struct wire_request *req, struct error *err);
/* What went over the urgent connection may not have arrived. */
void source_urgent_lost(struct source *s);

/* ---- source_return.c ---- */

/* Writers: _begin takes the lock and gives the empty frame, _send sends it and
 * lets go of the lock. */
struct wire_out *source_begin(struct source_conn *c, enum wire_type type);
int source_send(struct source *s, struct source_conn *c, struct error *err);
int source_send_empty(struct source *s, enum wire_type type, struct error *err);
/* With @iovs pieces of data; the lock is held before and after. */
int source_send_locked(
	struct source *s, struct source_conn *c, int iovs, struct error *err);

/* One frame of @page[0 .. pages), ascending; zero pages as words.  Takes the
 * lock; _urgent goes before others.  Bulk is the migrate thread's, on the first
 * connection. */
int source_send_bulk(struct source *s, const uint64_t *page, uint32_t pages,
	struct error *err);
int source_send_urgent(struct source *s, struct source_conn *c,
	const uint64_t *page, uint32_t pages, struct error *err);

/* From now on @answer may come. */
void source_expect(struct source *s, enum source_answer answer);
/* Wait for it.  0, -ECANCELED, -EINTR when @switch_ends and a switch was asked
 * for, -ETIMEDOUT, or the trouble of the connections. */
int source_wait(struct source *s, enum source_answer answer, int timeout_ms,
	bool switch_ends, struct error *err);
/* Until all that was written has been read over there. */
int source_drain(struct source *s, bool switch_ends, struct error *err);

/* The connections are of no use; @err is why unless something was before.
 * @end: end them now. */
void source_break(struct source *s, const struct error *err, bool end);
bool source_is_broken(struct source *s);
void source_kick(struct source *s);

void *source_return_main(void *arg);
void *source_urgent_main(void *arg);

/* ---- source_timeline.c ---- */

struct source_timeline *source_timeline_create(void);
void source_timeline_destroy(struct source_timeline *t);
/* Migrate thread; takes a sample if it is time for one, or if @now. */
void source_sample(struct source *s, bool now);
char *source_timeline_text(const struct source_timeline *t);

#endif
