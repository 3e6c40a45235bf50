/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/aml.h - a bounded writer of ACPI machine language.
 *
 * Appends to a buffer of the caller; what does not fit is dropped and
 * remembered, so that only the end needs a check.  Blocks nest: open, contents,
 * close.  A name is four characters: "COM1", "_SB_".
 * Private to vmm/x86.
 */
#ifndef GODWIT_VMM_X86_AML_H
#define GODWIT_VMM_X86_AML_H

#include <stdbool.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;  /* borrowed */
	uint32_t cap;  /* bytes */
	uint32_t len;  /* bytes written */
	bool overflow; /* something was dropped */
};

/* A resource template being put together; zero-initialise. */
#define AML_RESOURCES_MAX 64u
struct aml_resources {
	uint8_t bytes[AML_RESOURCES_MAX];
	uint32_t len;
};

void aml_put(struct aml *aml, const void *bytes, uint32_t len);

/* Blocks.  Return: what aml_close() wants. */
uint32_t aml_open_scope(struct aml *aml, const char *name);
uint32_t aml_open_device(struct aml *aml, const char *name);
uint32_t aml_open_package(struct aml *aml, uint8_t elements);
uint32_t aml_open_method(struct aml *aml, const char *name, unsigned args);
uint32_t aml_open_if(struct aml *aml);	  /* followed by the predicate */
uint32_t aml_open_while(struct aml *aml); /* the same */
/* The fields of a region, accessed by 32 bits, unlocked. */
uint32_t aml_open_field(struct aml *aml, const char *region);
void aml_close(struct aml *aml, uint32_t block);

/* Name (@name, ...): followed by one data object. */
void aml_name(struct aml *aml, const char *name);

/* Named objects: ports as an operation region, a field of @bits < 64 of the
 * open block, a mutex. */
void aml_region_io(
	struct aml *aml, const char *name, uint16_t port, uint16_t len);
void aml_field(struct aml *aml, const char *name, unsigned bits);
void aml_mutex(struct aml *aml, const char *name);

/* Terms of methods.  An operator is followed by its operands; @path is a name,
 * or names from the root, "\\_SB_.CPUS.SCAN", of a method, field or device. */
enum aml_op {
	AML_STORE = 0x70,  /* source, target */
	AML_AND = 0x7b,	   /* two operands, then aml_integer(0): no target */
	AML_NOTIFY = 0x86, /* device, value */
	AML_EQUAL = 0x93,  /* two operands */
	AML_RETURN = 0xa4, /* value */
	AML_BREAK = 0xa5,  /* nothing */
};
void aml_op(struct aml *aml, enum aml_op op);
void aml_path(struct aml *aml, const char *path);
void aml_local(struct aml *aml, unsigned n);	      /* < 8 */
void aml_arg(struct aml *aml, unsigned n);	      /* < 7 */
void aml_acquire(struct aml *aml, const char *mutex); /* for ever */
void aml_release(struct aml *aml, const char *mutex);

/* Data objects. */
void aml_buffer(struct aml *aml, const void *bytes, uint32_t len);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* @id: "PNP0501": three capitals and four hex digits, packed as EISAID(). */
void aml_eisaid(struct aml *aml, const char *id);
void aml_put_resources(struct aml *aml, const struct aml_resources *res);

/* Resource descriptors (ACPI 6.5, 6.4): @len ports from @port; an ISA
 * interrupt, edge, active high, exclusive; a read-write memory range below 4
 * GiB; a GSI of the same kind. */
void aml_resource_io(struct aml_resources *res, uint16_t port, uint8_t len);
void aml_resource_irq(struct aml_resources *res, unsigned irq);
void aml_resource_memory(
	struct aml_resources *res, uint32_t gpa, uint32_t size);
void aml_resource_gsi(struct aml_resources *res, uint32_t gsi);

#endif
