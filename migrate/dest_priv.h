/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest_priv.h - what the files of the receiving side share.
 *
 * dest.c         life, handshake
 * dest_end.c     the return path; how it ends, and who owns the guest then
 * dest_states.c  which frame may come in which state, as data
 * dest_in.c      "migrate-in": reads the stream and obeys
 * dest_ram.c     pages before LISTEN, discards, the map of received pages
 * dest_postcopy.c  pages after LISTEN, requests, "migrate-load"
 * dest_door.c    "migrate-door": further connections
 */
#ifndef GODWIT_MIGRATE_DEST_PRIV_H
#define GODWIT_MIGRATE_DEST_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "migrate/dest.h"
#include "migrate/frame.h"
#include "migrate/guest.h"
#include "migrate/prompt.h"
#include "migrate/stats.h"
#include "migrate/wire.h"
#include "vmm/error.h"
#include "vmm/log.h"

struct chan;
struct pager;

/* One way only; docs/postcopy.md. */
enum dest_state {
	DEST_HELLO,
	DEST_BUILD,
	DEST_RAM,
	DEST_ADVISED,
	DEST_DISCARD,
	DEST_LISTEN,  /* the package is here and being loaded */
	DEST_LOADED,  /* the source may commit */
	DEST_RUNNING, /* committed: ours */
	DEST_END,
	DEST_STATES
};

/* ops->run(): where it is. */
enum dest_run { DEST_RUN_NOT, DEST_RUN_GOING, DEST_RUN_OK, DEST_RUN_FAILED };

/* Connections that have not said yet what they are. */
#define DEST_PEERS   8
#define DEST_PEER_MS 2000 /* for each piece of the first frame */
/* Frames in a row that bring no page: more is a flood. */
#define DEST_IDLE_FRAMES (1u << 20)
/* Pages placed at once: they fit the second-level cache. */
#define DEST_CHUNK	64u
#define DEST_FEW_BYTES	65536u /* of a frame that is no bulk yet */
#define DEST_AHEAD	8192u  /* the urgent connection's: a frame of a page */
#define DEST_REQUESTS	64u    /* remembered, for the loss of the urgent link */
#define DEST_TIMEOUT_MS 10000
/* For the source to read our last words and close. */
#define DEST_LINGER_MS 500

/* A connection: one reader at a time, writers under the lock. */
struct dest_conn {
	struct chan *chan;  /* owned; fixed once others may see it */
	struct frame_in in; /* reader */
	uint32_t in_seq;    /* reader */
	pthread_mutex_t lock;
	struct wire_out out; /* lock */
	uint32_t out_seq;    /* lock */
};

struct dest_peer {
	struct dest *dest;
	pthread_t thread;
	uint64_t serial;   /* 0: slot free; door thread */
	_Atomic bool over; /* the thread has nothing left to do */
	struct chan *chan; /* owned until given away; dest.lock */
	bool cut;	   /* has to end now; dest.lock */
};

struct dest {
	struct chan_listener *listener; /* borrowed */
	struct dest_options opt;
	struct migrate_guest guest;
	dest_done_fn *done;
	void *opaque;
	struct migrate_stats stats;

	/* Written before migrate-in starts. */
	struct wire_hello hello;
	uint64_t features; /* common ones */
	uint64_t pages;
	char *description; /* owned */

	pthread_mutex_t lock;
	pthread_cond_t cond; /* anything below changed; CLOCK_MONOTONIC */
	enum dest_state state;
	bool committed; /* COMMIT taken */
	bool failed;	/* error says why; before or after COMMIT */
	bool cancelled; /* by dest_cancel() or by the source */
	bool disowned;	/* somebody was told that the source owns the guest */
	enum dest_run run;
	bool load_busy; /* ops->load() or ops->run() */
	bool started;	/* dest_start() was all right */
	bool closing;	/* dest_join() */
	bool asked;	/* a QUERY was answered */
	bool main_up;	/* a HELLO was taken */
	bool door_over; /* no further connection can come */
	unsigned peers; /* that may still bring a HELLO */
	struct error error;
	_Atomic bool ended;

	struct dest_conn main;
	struct dest_conn urgent;
	_Atomic bool urgent_was; /* set once */
	_Atomic bool urgent_up;	 /* set once, cleared once */
	bool urgent_taken;	 /* lock */
	int urgent_set;		 /* owned epoll fd that holds the urgent one */
	_Atomic bool completing; /* COMPLETE came: wake migrate-in */
	int wake_fd; /* owned eventfd: the urgent one did something */

	/* migrate-in until LISTEN, nobody after that. */
	uint64_t *received, *touched; /* owned; one bit a page */
	uint64_t received_count;
	bool any_pages;
	bool asked_again; /* for all that is missing */
	uint32_t idle_frames;

	struct pager *pager;		      /* owned; from LISTEN on */
	struct frame_in package_in;	      /* owned; load thread */
	struct wire_package package;	      /* into package_in */
	uint8_t *main_bounce, *urgent_bounce; /* owned; DEST_CHUNK pages */
	struct wire_request request[DEST_REQUESTS]; /* urgent.lock */
	uint64_t requests;			    /* urgent.lock */

	pthread_t in_thread, load_thread, door_thread;
	bool load_started;	 /* the owner, then the joiner */
	bool load_go, load_over; /* lock: load it; there is nothing to load */
	_Atomic pid_t load_tid;	 /* 0: it does not run yet */
	/* Where the two keep from the source's last questions on. */
	struct prompt_stay in_stay, load_stay; /* migrate-in, migrate-load */
	bool door_started;
	struct dest_peer peer[DEST_PEERS]; /* door thread but for chan */
	uint64_t peer_serial;
	struct log_limit warned;
};

/* ---- dest.c ---- */

/* Signals blocked.  0 or -errno. */
int dest_thread(pthread_t *ret_thread, const char *name, void *(*fn)(void *),
	void *arg);
uint64_t dest_now_ns(void);

void dest_set_state(struct dest *d, enum dest_state state);
void dest_set_phase(struct dest *d, enum migrate_phase phase);

/* ---- dest_end.c ---- */

/* Whoever fails first gives the reason.  Tells the source unless the guest is
 * ours, then ends the first connection, which wakes migrate-in.  Any thread. */
void dest_fail(struct dest *d, const struct error *why);

/* Frames of the return path; they take the connection's lock.  Any thread but
 * while it holds dest.lock. */
int dest_send_empty(struct dest *d, enum wire_type type, struct error *err);
int dest_send_error(struct dest *d, const struct error *why);

/* Who owns the guest, as far as we know.  lock held. */
enum wire_owner dest_owner_locked(const struct dest *d);
/* The link ended, and not by anybody's word? */
bool dest_is_loss(int code);

/* Join migrate-load, if it was started. */
void dest_stop_load(struct dest *d);
/* End of migrate-in: @code is 0 after COMPLETE. */
void dest_settle(struct dest *d, int code, struct error *err);

/* ---- dest_states.c ---- */

const char *dest_state_name(enum dest_state state);
/* May @type come now?  0, or -EPROTO with both names in @err. */
int dest_check_frame(enum dest_state state, uint16_t type, struct error *err);

/* ---- dest_in.c ---- */

void *dest_in_main(void *arg);

/* ---- dest_ram.c ---- */

int dest_ram_init(struct dest *d);
void dest_ram_fini(struct dest *d);
/* A PAGES frame before LISTEN: data go straight into guest RAM. */
int dest_ram_pages(
	struct dest *d, const struct wire_header *h, struct error *err);
int dest_ram_discard(
	struct dest *d, const struct wire_header *h, struct error *err);
/* Give up the memory of every page that has not come: from now on it is missing
 * and not just zero. */
int dest_ram_forget_rest(struct dest *d, struct error *err);

/* ---- dest_postcopy.c ---- */

int dest_advise(struct dest *d, struct error *err);
int dest_listen(struct dest *d, struct error *err);
/* A PAGES frame after LISTEN from @conn. */
int dest_place(struct dest *d, struct dest_conn *conn, uint8_t *bounce,
	const struct wire_header *h, struct error *err);
/* Ask for every missing page on the first connection. */
int dest_request_rest(struct dest *d);
/* Start migrate-load, which waits for the package; and let it begin. */
int dest_load_start(struct dest *d, struct error *err);
void dest_load_go(struct dest *d);
void dest_postcopy_fini(struct dest *d);

/* ---- dest_door.c ---- */

int dest_conn_init(struct dest_conn *conn);
void dest_conn_fini(struct dest_conn *conn);
/* End what is done on the urgent connection and let none in any more; the
 * memory stays until dest_conn_fini().  d->lock held. */
void dest_urgent_end_locked(struct dest *d);

int dest_door_start(struct dest *d, struct error *err);
void dest_door_stop(struct dest *d);

#endif
