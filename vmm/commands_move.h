/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/commands_move.h - the commands that move a VM, rows of commands.c's
 * table.
 *
 * Thread: the owner of the VM; handlers run in a bottom half with vm_guard().
 */
#ifndef GODWIT_VMM_COMMANDS_MOVE_H
#define GODWIT_VMM_COMMANDS_MOVE_H

#include "vmm/control.h"

control_fn commands_migrate;
control_fn commands_migrate_postcopy;
control_fn commands_migrate_cancel;
control_fn commands_migrate_set;
control_fn commands_snapshot;
control_fn commands_take_back;

extern const struct control_arg commands_migrate_args[];
extern const struct control_arg commands_migrate_set_args[];
extern const struct control_arg commands_snapshot_args[];
extern const struct control_arg commands_take_back_args[];

#endif
