/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/stats.h - what a migration did, in figures (P13).
 *
 * Every counter is written by the thread that does the work and read by any,
 * relaxed: figures need not be of one moment.
 */
#ifndef GODWIT_MIGRATE_STATS_H
#define GODWIT_MIGRATE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

enum migrate_phase {
	MIGRATE_IDLE,
	MIGRATE_CONNECT,  /* and handshake */
	MIGRATE_PRECOPY,  /* rounds while the guest runs here */
	MIGRATE_SWITCH,	  /* stopped; package on its way */
	MIGRATE_POSTCOPY, /* runs there, pages still here */
	MIGRATE_DONE,
	MIGRATE_FAILED, /* the source runs on */
	MIGRATE_CANCELLED,
	MIGRATE_LOST,	 /* after the switch: link lost, pages missing there */
	MIGRATE_UNKNOWN, /* commit sent, answer lost: owner not known */
};

const char *migrate_phase_name(enum migrate_phase phase); /* "precopy" */

/* Fault latencies: bucket i counts those below 2^i us (and not below half of
 * it); the last takes the rest. */
#define MIGRATE_BUCKETS 24u

struct migrate_stats {
	_Atomic uint32_t phase; /* enum migrate_phase */
	_Atomic uint32_t round;
	_Atomic uint64_t start_ns, end_ns; /* CLOCK_MONOTONIC */
	_Atomic uint64_t ram_bytes;

	_Atomic uint64_t bytes;		  /* written to all connections */
	_Atomic uint64_t pages_full;	  /* sent with data, all phases */
	_Atomic uint64_t pages_zero;	  /* sent as a word */
	_Atomic uint64_t pages_requested; /* of them on request */
	_Atomic uint64_t pages_background; /* pushed after the switch */
	_Atomic uint64_t pages_duplicate; /* requests for pages sent already */
	_Atomic uint64_t pages_discarded;
	_Atomic uint64_t pages_hinted; /* sent as a word, unseen: the guest
					  did not need them */
	_Atomic uint64_t pages_left; /* dirty or unsent, as known */

	_Atomic uint64_t bytes_per_s;	/* measured */
	_Atomic uint64_t dirty_per_s;	/* pages, measured */
	_Atomic uint64_t expected_downtime_ns;

	/* Of the stop, on the source's clock; 0: not there yet. */
	_Atomic uint64_t stop_ns;     /* guest told to stop */
	_Atomic uint64_t stopped_ns;  /* stopped and saved */
	_Atomic uint64_t sent_ns;     /* package written */
	_Atomic uint64_t loaded_ns;   /* LOADED came */
	_Atomic uint64_t running_ns;  /* RUNNING came */

	/* Destination. */
	_Atomic uint64_t faults;
	_Atomic uint64_t fault_ns;	/* summed */
	_Atomic uint64_t fault_bucket[MIGRATE_BUCKETS];
	_Atomic uint64_t load_ns;	/* duration of the state load */
	_Atomic uint64_t pages_placed, pages_again;
};

static inline void migrate_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Add @ns to the histogram. */
void migrate_stats_fault(struct migrate_stats *s, uint64_t ns);

struct json_t;
/* A new JSON object with all figures (docs/control.md), or NULL.
 * The downtime is split: save, send, load, run. */
struct json_t *migrate_stats_json(const struct migrate_stats *s);

#endif
