/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/commands_disk.h - the commands about disks, rows of commands.c's table.
 *
 * Thread: the owner of the VM; handlers run in a bottom half with vm_guard().
 */
#ifndef GODWIT_VMM_COMMANDS_DISK_H
#define GODWIT_VMM_COMMANDS_DISK_H

#include "vmm/control.h"

control_fn commands_disks;
control_fn commands_disk_resize;
control_fn commands_disk_throttle;

extern const struct control_arg commands_disk_resize_args[];
extern const struct control_arg commands_disk_throttle_args[];

#endif
