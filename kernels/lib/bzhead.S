/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/bzhead.S - boot sector, setup header and real-mode code of a
 * bzImage around a guest's flat image; mkbzimage.sh gives the sizes.  Bytes
 * that the boot protocol takes for memory maps are 0: the real-mode way knows
 * no RAM sizes.
 *
 * Source: Linux Documentation/arch/x86/boot.rst.
 */
#define LOAD 0x100000
#define CS32 0x10
#define DS32 0x18

	.text
	.code16
	.globl _start
_start:
	.org 0x1f1
	.byte 1                  /* setup_sects */
	.word 0                  /* root_flags */
	.long SYSSIZE / 16       /* syssize, in paragraphs */
	.word 0, 0, 0            /* ram_size, vid_mode, root_dev */
	.word 0xaa55             /* boot_flag */
	.byte 0xeb, real_mode - 0x202
	.ascii "HdrS"
	.word 0x020c             /* version 2.12 */
	.long 0                  /* realmode_swtch */
	.word 0, 0               /* start_sys_seg, kernel_version */
	.byte 0                  /* type_of_loader */
	.byte 1                  /* loadflags: LOADED_HIGH */
	.word 0                  /* setup_move_size */
	.long LOAD               /* code32_start */
	.long 0, 0, 0            /* ramdisk_image, ramdisk_size, kludge */
	.word 0                  /* heap_end_ptr */
	.byte 0, 0               /* ext_loader_ver, ext_loader_type */
	.long 0                  /* cmd_line_ptr */
	.long 0x7fffffff         /* initrd_addr_max */
	.long 0x200000           /* kernel_alignment */
	.byte 0                  /* relocatable_kernel */
	.byte 21                 /* min_alignment */
	.word 1                  /* xloadflags: XLF_KERNEL_64 */
	.long 2047               /* cmdline_size */
	.long 0                  /* hardware_subarch */
	.quad 0                  /* hardware_subarch_data */
	.long 0, 0               /* payload_offset, payload_length */
	.quad 0                  /* setup_data */
	.quad LOAD               /* pref_address */
	.long INIT_SIZE          /* init_size */
	.long 0                  /* handover_offset */

	/* ds is where we were loaded; cs is 0x20 more. */
	.org 0x268
real_mode:
	cli
	cld
	xorl %esi, %esi
	movw %ds, %si
	shll $4, %esi
	leal gdt(%esi), %eax
	movl %eax, gdt_ptr + 2
	lgdtl gdt_ptr
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	movw $DS32, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	ljmpl $CS32, $LOAD

	.balign 4
gdt_ptr:
	.word 4 * 8 - 1
	.long 0
	.org 0x300
gdt:
	.quad 0, 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
	.org 0x400
