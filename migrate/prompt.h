/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/prompt.h - how soon, and on which CPU, a thread runs once it is
 * woken.
 *
 * A switch is a chain of some sixteen wake-ups, a page fault one of four, and
 * nobody in the chain has anything to do but wait for the next link.  To wake a
 * thread on a CPU that sleeps costs more than what it then does (35 us and more
 * in a VM), and the scheduler looks for just such a CPU.  A thread that is
 * woken where a guest computes may wait for milliseconds.  So the links keep to
 * one CPU for the time of the chain, and ask for short turns, which makes them
 * preempt those with long ones.
 *
 * All of it is a preference: what the host refuses is not done, and nobody is
 * told.  A CPU that the thread's own affinity excludes is never chosen.
 */
#ifndef GODWIT_MIGRATE_PROMPT_H
#define GODWIT_MIGRATE_PROMPT_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

/* Thread @tid (0: the caller) of this process wants short turns, or ordinary
 * ones again.  New threads inherit it.  Linux 6.12 and later; before that
 * nothing happens.  Source: sched_setattr(2), sched_runtime of SCHED_OTHER. */
void prompt_turns(pid_t tid, bool short_turns);

/* Where what comes on socket @fd is first handled, which is where whoever waits
 * for it is best woken; -1: not known. */
int prompt_packet_cpu(int fd);

/* A thread that is kept on one CPU.  All zero: none. */
struct prompt_stay {
	pid_t tid;
	cpu_set_t was; /* where it might be before */
	bool kept;
};

/* Keep thread @tid (0: the caller) on @cpu until prompt_leave().  Threads that
 * it makes meanwhile inherit that for good: only for those that make none. */
void prompt_stay(struct prompt_stay *stay, pid_t tid, int cpu);
/* Nothing if it is not kept.  Any thread. */
void prompt_leave(struct prompt_stay *stay);

#endif
