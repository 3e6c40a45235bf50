/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/machine_devices.h - the devices of a machine, for machine.c only. */
#ifndef GODWIT_VMM_MACHINE_DEVICES_H
#define GODWIT_VMM_MACHINE_DEVICES_H

struct error;
struct vm;

/**
 * machine_add_devices - create every device of vm->cfg in the fixed order and
 * give it its bus range and interrupt.
 * Return: 0 or -errno with @err; what was made stays in @vm for machine_fini().
 */
int machine_add_devices(struct vm *vm, struct error *err);

#endif
