/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/pager_private.h - what pager.c (state, placing) and pager_fault.c
 * (threads) share.
 *
 * A page goes one way:
 *
 *	missing  --claim-->  claimed  --placed-->  present
 *
 * Whoever wins the claim places it.  `present' is set after the memory is
 * there and before those who wait are woken.  So a fault that finds a page
 * claimed may be forgotten, for its wake is still to come; and one that finds
 * it present may place zero: if it has memory, that is an EEXIST.
 */
#ifndef GODWIT_MIGRATE_PAGER_PRIVATE_H
#define GODWIT_MIGRATE_PAGER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "migrate/pager.h"
#include "migrate/prompt.h"
#include "migrate/uffd.h"
#include "vmm/guestmem.h"

#define PAGER_THREADS_MAX 16u
#define PAGER_WINDOW_MAX  256u /* as in one REQUEST */
#define PAGER_MSGS	  64u
#define PAGER_WAITS	  256u
#define PAGER_TRAILS	  32u
#define PAGER_VCPU_NAME	  "vcpu" /* so begin the names of vCPU threads */

struct pager_thread {
	struct pager *pager;
	pthread_t thread;
	_Atomic pid_t tid; /* 0 while it does not run */
	unsigned index;
	/* Read and not yet served: [next, count). */
	struct uffd_msg msgs[PAGER_MSGS];
	unsigned next, count;
	/* Placement: the CPU we keep to, -1: any; faults till we look again. */
	int cpu;
	unsigned follow_in;
	struct prompt_stay self, guest; /* guest: the last who faulted */
};

/* Where a guest thread was last: only a hint, so fields may not match. */
struct pager_trail {
	_Atomic uint64_t tag;	     /* thread id << 8 | length of sequence */
	_Atomic uint64_t start, end; /* pages last asked for */
};

struct pager {
	struct guestmem *gm;	     /* borrowed */
	struct migrate_stats *stats; /* borrowed; may be NULL */
	uint64_t pages;
	uint32_t window_max;
	int uffd, stop_fd;		     /* owned */
	_Atomic uint64_t *claimed, *present; /* owned; one bit a page */
	_Atomic uint64_t missing;
	_Atomic uint64_t removes; /* messages UFFD_EVENT_REMOVE */
	_Atomic bool failed;

	struct pager_source source; /* fixed while threads run */
	bool has_source;
	unsigned threads, running;
	struct pager_thread thread[PAGER_THREADS_MAX];

	/* Faults that wait, by page % PAGER_WAITS; a newer one may take the
	 * place, and then the older is not measured.  0: none; else
	 * page / PAGER_WAITS in the upper 24 bits, ns since `epoch' below. */
	uint64_t epoch;
	_Atomic uint64_t wait[PAGER_WAITS];
	struct pager_trail trail[PAGER_TRAILS];
};

static inline void *pager_hva(const struct pager *p, uint64_t page)
{
	return p->gm->base + page * GUESTMEM_PAGE;
}

static inline bool pager_bit(const _Atomic uint64_t *map, uint64_t page)
{
	return atomic_load_explicit(&map[page / 64], memory_order_acquire) >>
		       (page % 64) &
	       1;
}

/* Place zero pages where there is none, whatever the maps say; wake nobody. */
int pager_fill_zero(struct pager *p, uint64_t page);

/* After an EAGAIN, the map was just changing: let the change go on.  @r: all 0
 * at first.  -ETIMEDOUT when nothing has changed for long. */
struct pager_retry {
	unsigned tries;
	uint64_t removes, since_ns;
};
int pager_retry(struct pager *p, struct pager_retry *r);

/* Begin and end to measure a fault on @page that was read at @ns.
 * pager_wait_begin() is false if @page is waited for already. */
bool pager_wait_begin(struct pager *p, uint64_t page, uint64_t ns);
void pager_wait_end(struct pager *p, uint64_t page);
uint64_t pager_now_ns(void);

void pager_fail(struct pager *p);

/* pager_fault.c */
int pager_threads_start(struct pager *p, unsigned threads, struct error *err);
void pager_threads_stop(struct pager *p);
/* Called by fault thread @t that may not place now: read on, so that whoever
 * changes the map is let go. */
void pager_read_on(struct pager_thread *t);

#endif
