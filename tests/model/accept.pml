/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/accept.pml - clearing a notification (MECHANISMS.md L4).
 *
 * An eventfd, the flag that spares reading it, two notifiers, a loop.  A late
 * notifier may find the loop anywhere, since it asked for notify_me earlier;
 * so it is left out here and everybody notifies.
 *
 * Correct without any of:
 *   SKIP_IF_SET   the set side trusts a flag that is set already
 *   FLAG_FIRST    the flag is set before the eventfd is written
 *   READ_FIRST    accept reads the eventfd before it clears the flag
 *   ACCEPT_LATE   accept comes after the work
 * WITH_SEEN adds what loop/notify.c has besides: a wait that reported the
 * eventfd makes accept read it, whatever the flag says.
 */
#define NOTIFIERS 2
#define ROUNDS	  2

bool event;	/* the eventfd is readable */
bool notified;	/* it may be */
byte work;	/* pushed and not yet taken */
byte notifying = NOTIFIERS;
byte idle_turns; /* wake-ups in a row that found nothing to do */

inline accept(seen)
{
	if
	:: notified || seen ->
#ifdef READ_FIRST
		event = false;
		notified = false
#else
		notified = false;
		event = false
#endif
	:: else
	fi
}

active proctype loop()
{
	bool seen = false;

	do
	::
		event; /* the wait */
#ifdef WITH_SEEN
		seen = true;
#endif
#ifndef ACCEPT_LATE
		accept(seen);
#endif
		atomic {
			if
			:: work > 0 -> work = 0; idle_turns = 0
			:: else -> idle_turns++
			fi
		}
#ifdef ACCEPT_LATE
		accept(seen);
#endif
		/* Each notify may cost one needless turn, and a flag that comes
		 * late a second; an eventfd nobody clears costs them all. */
		assert(notifying > 0 || idle_turns < 2 * NOTIFIERS * ROUNDS)
	od
}

active [NOTIFIERS] proctype notifier()
{
	byte round = 0;

	do
	:: round < ROUNDS ->
		work++;
#ifdef SKIP_IF_SET
		if
		:: notified -> goto next
		:: else
		fi;
#endif
#ifdef FLAG_FIRST
		notified = true;
		event = true;
#else
		event = true;
		notified = true;
#endif
next:		round++
	:: else -> break
	od;
	atomic { notifying--; idle_turns = 0 }
}

active proctype judge()
{
	timeout;
	assert(notifying == 0);
	assert(work == 0) /* asleep with work to do: a lost wake-up */
}
