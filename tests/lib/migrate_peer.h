/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/migrate_peer.h - a scripted destination: speaks the protocol well
 * enough to take a guest over, and misbehaves where a test tells it to.
 *
 * It keeps a model of its own: which pages it has, which were discarded, how
 * often each came after the package.  RAM and state go to a fake guest.
 *
 * Threads: one, "peer"; a test looks at the model after peer_join().
 */
#ifndef GODWIT_TESTS_LIB_MIGRATE_PEER_H
#define GODWIT_TESTS_LIB_MIGRATE_PEER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migrate/frame.h"
#include "migrate/wire.h"
#include "tests/lib/fake_guest.h"

struct chan;
struct chan_listener;
struct peer;

/* What to do with a frame that has come. */
enum peer_deed {
	PEER_OBEY,
	PEER_IGNORE, /* neither note nor answer it */
	PEER_HANG_UP /* end all connections */
};

/* On the peer's thread, for each frame before it is obeyed.  @urgent: on the
 * urgent connection. */
typedef enum peer_deed peer_hook(
	void *opaque, struct peer *p, uint16_t type, bool urgent);

struct peer_conn {
	struct chan *chan; /* owned */
	struct frame_in in;
	struct wire_out out;
	uint32_t in_seq, out_seq;
};

struct peer {
	/* Set by the test between peer_init() and peer_start(). */
	peer_hook *hook;
	void *opaque;
	uint32_t version;  /* of WELCOME */
	uint64_t features; /* of WELCOME, of those offered */
	uint64_t extra_features;
	bool no_urgent;	    /* do not wait for ATTACH */
	bool forget_urgent; /* pages of the urgent connection are dropped */
	int owner;	    /* answer to QUERY; -1: hang up */
	bool deaf;	    /* after the first connection nobody comes in */

	struct fake_guest *guest; /* borrowed; takes RAM and state */
	char address[128];
	struct chan_listener *listener; /* owned */
	struct peer_conn main, urgent;
	pthread_t thread;
	uint8_t session[WIRE_SESSION_BYTES];
	uint64_t pages, words;

	/* The model. */
	uint64_t *have;	      /* not stale */
	uint64_t *discarded;  /* ever */
	uint64_t *missing;    /* at the package: not in have */
	uint32_t *came;	      /* after the package; by page */
	uint32_t *sent_early; /* before it */
	unsigned frames[WIRE_STATUS + 1];
	uint64_t discarded_twice;
	bool packaged, listen, loaded, committed, complete;
	bool end; /* set by hooks, too */
};

/* @address: NULL for a UNIX socket in a fresh directory. */
void peer_init(struct peer *p, struct fake_guest *guest, const char *address);
void peer_start(struct peer *p);
/* Wait for the end of the connections. */
void peer_join(struct peer *p);
void peer_fini(struct peer *p);

/* For hooks. */
void peer_send_empty(struct peer *p, enum wire_type type);
void peer_request(struct peer *p, bool urgent, uint64_t page, uint32_t count);
void peer_error(struct peer *p, int code, const char *text);
void peer_drop(struct peer_conn *c);
/* Wait for one more frame and treat it as any other. */
void peer_read(struct peer *p, bool urgent);
/* Wait for a QUERY on a connection of its own and answer with p->owner. */
void peer_answer_query(struct peer *p);

bool peer_has(const uint64_t *map, uint64_t page);

#endif
