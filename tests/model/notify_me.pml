/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/notify_me.pml - who must wake the loop (MECHANISMS.md L3).
 *
 * One bottom half, a loop that sleeps without limit, two threads that schedule
 * it; one of them is dispatching on its own account.  The model follows
 * loop/notify.c and loop/bh.c: set the flag, push if it was clear, then ask
 * for notify_me.  Promela is sequentially consistent; a missing fence is shown
 * by the order it would allow.
 *
 * Correct without any of:
 *   ASK_DISPATCHING  skip the wake-up while somebody dispatches, and if the
 *                    bottom half was scheduled already (the second reading)
 *   ASK_FIRST        the scheduler asks for notify_me before its push is seen
 *   CLAIM_LATE       the loop looks for work before it claims the wait
 *   CLAIM_EARLY_END  the claim is given up before the wait
 *   WAKE_BEFORE_LINK the push is linked after the wake-up
 */
#define ROUNDS 2

bool scheduled;	  /* BH_SCHEDULED and BH_PENDING: they go together here */
bool pushed;	  /* on loop->incoming */
bool linked;	  /* its next pointer is written: the gap is closed */
byte notify_me;
byte dispatching; /* only the broken reading looks at it */
bool event;	  /* the eventfd is readable */
byte asked;	  /* schedules that have returned */
byte runs;
bool dirty;	  /* a schedule after the last run began */

inline ask_and_wake()
{
#ifdef ASK_DISPATCHING
	if
	:: dispatching == 0 -> event = true
	:: else
	fi
#else
	if
	:: notify_me > 0 -> event = true
	:: else
	fi
#endif
}

inline schedule(was)
{
	/* The caller's data is ready before: the run must come after. */
	dirty = true;
#ifdef ASK_FIRST
	bool claim = notify_me > 0;
#endif
	atomic { was = scheduled; scheduled = true }
	if
	:: !was ->
		pushed = true;
#ifdef WAKE_BEFORE_LINK
		ask_and_wake();
		linked = true
#else
		linked = true
#endif
	:: else
	fi;
#ifdef ASK_FIRST
	if
	:: claim -> event = true
	:: else
	fi
#else
#ifdef ASK_DISPATCHING
	if
	:: !was -> ask_and_wake()
	:: else
	fi
#else
#ifndef WAKE_BEFORE_LINK
	ask_and_wake()
#endif
#endif
#endif
}

inline look(found)
{
	found = pushed && linked
}

active proctype loop()
{
	bool work;

	do
	::
#ifdef CLAIM_LATE
		look(work);
		notify_me++;
#else
		notify_me++;
		look(work);
#endif
#ifdef CLAIM_EARLY_END
		notify_me--;
#endif
		if
		:: work
		:: else ->
event /* the wait, without limit */
		fi;
#ifndef CLAIM_EARLY_END
		notify_me--;
#endif
		event = false; /* accept, before any work */
		dispatching++;
		if
		:: pushed && linked ->
			pushed = false;
			linked = false;
			/* fetch_and: the run sees all that came before. */
			atomic { scheduled = false; dirty = false };
			runs++
		:: else
		fi;
		dispatching--
	od
}

proctype scheduler(bool dispatches)
{
	bool was;
	byte round = 0;

	do
	:: round < ROUNDS ->
		if
		:: dispatches -> dispatching++
		:: else
		fi;
		schedule(was);
		if
		:: dispatches -> dispatching--
		:: else
		fi;
		round++
	:: else -> break
	od;
	asked++
}

init
{
	atomic { run scheduler(true); run scheduler(false) }
}

/* Nothing can move: everybody is done, and the loop may sleep. */
active proctype judge()
{
	timeout;
	assert(asked == 2);
	assert(!dirty);	    /* no schedule was left without a run */
	assert(!scheduled);
	assert(notify_me <= 1)
}
