/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/start.h - constants that assembly and C share.
 */
#ifndef GODWIT_KERNELS_LIB_START_H
#define GODWIT_KERNELS_LIB_START_H

/* How the guest was entered. */
#define START_PVH     0
#define START_LINUX64 1
#define START_LINUX32 2
#define START_AP      3

/* Selectors; the boot GDT ends with SEG_CODE, cpu_init()'s has all of them. */
#define SEG_CODE32    0x08
#define SEG_DATA      0x10
#define SEG_CODE      0x18
#define SEG_USER_DATA 0x23
#define SEG_USER_CODE 0x2b
#define SEG_TSS	      0x30

/* Low memory a guest uses for itself once it runs. */
#define LOW_TRAMPOLINE 0x1000 /* where an AP starts, SIPI vector 1 */
#define LOW_CONTROL    0x2000 /* struct work_control, kernels/work.h */

#define TRAP_VECTORS 64

#endif
