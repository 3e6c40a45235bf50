/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/commands_balloon.h - the commands about the balloon, rows of commands.c's
 * table, and what "info" says of it.
 *
 * Thread: the owner of the VM; handlers run in a bottom half with vm_guard().
 */
#ifndef GODWIT_VMM_COMMANDS_BALLOON_H
#define GODWIT_VMM_COMMANDS_BALLOON_H

#include "vmm/control.h"

struct vm;

control_fn commands_balloon;
control_fn commands_balloon_stats;

extern const struct control_arg commands_balloon_args[];
extern const struct control_arg commands_balloon_stats_args[];

/* A new object; null for a VM without a balloon; NULL without memory. */
struct json_t *commands_balloon_json(struct vm *vm);

#endif
