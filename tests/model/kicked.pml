/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/kicked.pml - a bare notify and the condition of its caller (L1).
 *
 * The loop's user runs `while (!condition) poll(blocking)`.  Another thread
 * makes the condition true and notifies.  Correct without:
 *   NOT_STICKY   a notify that finds nobody waiting leaves no mark
 *   KICK_LATE    the mark is made after asking for notify_me
 *   CLEAR_EARLY  the poll clears the mark before it looks at it
 */
bool condition, kicked, event;
byte notify_me;
bool left; /* the user's loop ended */

active proctype user()
{
	bool woken;

	do
	:: condition -> break
	:: else ->
		/* From here to the claim is where a notify could get lost. */
#ifdef CLEAR_EARLY
		kicked = false;
#endif
		notify_me++;
		woken = kicked;
		if
		:: woken
		:: else -> event
		fi;
		notify_me--;
		kicked = false;
		event = false
	od;
	left = true
}

active [2] proctype notifier()
{
	condition = true;
#ifdef KICK_LATE
	if
	:: notify_me > 0 -> event = true
	:: else
	fi;
	kicked = true
#else
#ifndef NOT_STICKY
	kicked = true;
#endif
	if
	:: notify_me > 0 -> event = true
	:: else
	fi
#endif
}

active proctype judge()
{
	timeout;
	assert(left)
}
