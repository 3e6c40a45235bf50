/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/io.h - the instructions that C has no words for.
 *
 * Only what KVM's instruction emulator knows may be used here
 * (kernels/README.md, "Rules"): no mfence, no rdtscp, no int3.
 */
#ifndef GODWIT_KERNELS_LIB_IO_H
#define GODWIT_KERNELS_LIB_IO_H

#include <stddef.h>
#include <stdint.h>

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* @count bytes from or to one port in one instruction. */
static inline void outsb(uint16_t port, const void *src, size_t count)
{
	__asm__ volatile("rep outsb"
			 : "+S"(src), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static inline void insb(uint16_t port, void *dst, size_t count)
{
	__asm__ volatile("rep insb"
			 : "+D"(dst), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (uint64_t)hi << 32;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return lo | (uint64_t)hi << 32;
}

/* Shape: ret[4] = eax, ebx, ecx, edx. */
static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	__asm__ volatile(
		"cpuid"
		: "=a"(ret[0]), "=b"(ret[1]), "=c"(ret[2]), "=d"(ret[3])
		: "a"(leaf), "c"(subleaf));
}

/* mmio_*: exactly one plain mov of that width. */
static inline uint32_t mmio_read32(uint64_t gpa)
{
	uint32_t v;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(gpa) : "memory");
	return v;
}

static inline void mmio_write32(uint64_t gpa, uint32_t v)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(gpa) : "memory");
}

static inline uint8_t mmio_read8(uint64_t gpa)
{
	uint8_t v;

	__asm__ volatile("movb (%1), %0" : "=q"(v) : "r"(gpa) : "memory");
	return v;
}

static inline void mmio_write8(uint64_t gpa, uint8_t v)
{
	__asm__ volatile("movb %0, (%1)" : : "q"(v), "r"(gpa) : "memory");
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static inline void irq_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

/* Sleep until an interrupt was handled; called and left with them off, so that
 * none is lost between the caller's check and the sleep. */
static inline void irq_sleep(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* Let what is pending in, then close again. */
static inline void irq_window(void)
{
	__asm__ volatile("sti; nop; cli" : : : "memory");
}

static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

/* Store-load fence; not mfence, which KVM's emulator lacks. */
static inline void barrier_full(void)
{
	__asm__ volatile("lock; orl $0, (%%rsp)" : : : "memory", "cc");
}

static inline uint32_t atomic_swap(volatile uint32_t *p, uint32_t v)
{
	__asm__ volatile("xchgl %0, %1" : "+r"(v), "+m"(*p) : : "memory");
	return v;
}

static inline uint32_t atomic_add(volatile uint32_t *p, uint32_t v)
{
	__asm__ volatile("lock; xaddl %0, %1"
			 : "+r"(v), "+m"(*p)
			 :
			 : "memory", "cc");
	return v;
}

#endif
