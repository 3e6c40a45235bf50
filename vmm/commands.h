/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/commands.h - what the control socket of a VM can do: the one table of
 * commands and the one of events (C1, C3).  docs/control.md describes them.
 *
 * To add a command: a handler, its arguments, a row in commands.c (or, when it
 * is a family of its own, handlers in another file, declared below).
 *
 * Thread: the owner of the VM; handlers run in a bottom half with vm_guard().
 */
#ifndef GODWIT_VMM_COMMANDS_H
#define GODWIT_VMM_COMMANDS_H

#include <stdint.h>

#include "vmm/vm.h"

struct commands_cpus;
struct config;
struct control;
struct control_job;
struct error;
struct mover;

/* The opaque of every command. */
struct commands {
	struct vm *vm;		    /* borrowed */
	const struct config *cfg;   /* borrowed */
	struct control *control;    /* owned; NULL after commands_end() */
	struct commands_cpus *cpus; /* owned; the cpu-set under way, or NULL */
	int64_t start_ns;	    /* CLOCK_MONOTONIC */
	struct mover *mover;	    /* borrowed */
};

/**
 * commands_create - open the control socket of @vm.
 * @path: of the socket.
 * Return: 0, or -errno of control_create() with @err.
 */
int commands_create(struct vm *vm, const struct config *cfg,
	struct mover *mover, const char *path, struct commands **ret_commands,
	struct error *err);

/* The run is over: tell so, end the jobs of ours, close the socket.  Before
 * vm_destroy(); whoever else has jobs has ended them.  NULL is allowed. */
void commands_end(struct commands *commands, enum vm_end why);
/* After vm_destroy().  NULL is allowed. */
void commands_destroy(struct commands *commands);

/* "running", "paused", or where it is when it can be neither (mover.h). */
const char *commands_state(const struct commands *commands);
/* Send event "vm-state"; whenever what commands_state() says has changed. */
void commands_tell_state(struct commands *commands);
/* 0, or -EBUSY with @err: the guest is elsewhere, @what makes no sense. */
int commands_refuse_away(
	const struct commands *commands, const char *what, struct error *err);
/* "poweroff", "user" ...: the word of @why in event "shutdown". */
const char *commands_end_name(enum vm_end why);

#endif
