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
void aml_close(struct aml *aml, uint32_t block);

/* Name (@name, ...): followed by one data object. */
void aml_name(struct aml *aml, const char *name);

/* Data objects. */
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
