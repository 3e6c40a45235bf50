/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/loops.h - all loops of a VM: the main loop and those of the I/O threads.
 *
 * The main loop belongs to the VM's owner.  Each I/O thread is the home of one
 * loop, which owns the queues of the devices given to it.  Everything here is
 * for the owner, who waits for the I/O threads; they never wait for the owner.
 */
#ifndef GODWIT_VMM_LOOPS_H
#define GODWIT_VMM_LOOPS_H

#include <stdint.h>

#include "loop/loop.h"

struct config;
struct error;
struct vm;

/* How loops of @cfg look before they sleep. */
struct loop_polling loops_polling(const struct config *cfg);

/**
 * loops_start_threads - start vm->cfg->iothreads I/O threads.
 * Return: 0, or -errno with @err as loop_thread_start() gives it; those that
 *         run stay in @vm for loops_stop_threads().
 */
int loops_start_threads(struct vm *vm, struct error *err);

/* Keep the last vm->cfg->trace events of every loop, if any; a loop that finds
 * no memory for it goes on without, with a warning. */
void loops_start_trace(struct vm *vm);

/* Write what is kept to @fd as text.  Any thread, signal handlers too. */
void loops_dump_trace(const struct vm *vm, int fd);

/* End them.  No device is left on their loops. */
void loops_stop_threads(struct vm *vm);

/* The loop of I/O thread @index; the main loop for -1.  Borrowed. */
struct loop *loops_get(const struct vm *vm, int index);

/* Guest-facing handlers off, on every loop, main loop first; and on again, the
 * other way round.  Counted. */
void loops_disable_external(struct vm *vm);
void loops_enable_external(struct vm *vm);

/* Stop and start LOOP_VIRTUAL on every loop.  It is one clock: while stopped
 * every loop reads what the main loop reads.  Counted. */
void loops_stop_virtual(struct vm *vm);
void loops_start_virtual(struct vm *vm);
/* Set it; stopped only. */
void loops_set_virtual_ns(struct vm *vm, int64_t now_ns);

#endif
