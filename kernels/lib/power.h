/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/power.h - the ways out.
 */
#ifndef GODWIT_KERNELS_LIB_POWER_H
#define GODWIT_KERNELS_LIB_POWER_H

#include <stdbool.h>
#include <stdint.h>

/* Leave as the command line's exit= says (kernels/README.md); @ok decides
 * which status the debug-exit port gets. */
void guest_exit(bool ok) __attribute__((noreturn));

/* Print "guest: @why" and guest_exit(false). */
void guest_fail(const char *why) __attribute__((noreturn));

/* Each returns if the machine does not have that way. */
void power_off(void);
void power_reset_acpi(void);
void power_reset_i8042(void);
void power_debug_exit(uint32_t value);
void power_triple_fault(void) __attribute__((noreturn));
void power_halt(void) __attribute__((noreturn));

/* Does QEMU run us?  Some devices of the full set are not there then. */
bool power_is_qemu(void);

#endif
