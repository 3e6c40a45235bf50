/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm_migrate.h - a VM as migrations and snapshots see it: the real
 * migrate_guest (migrate/guest.h).
 */
#ifndef GODWIT_VMM_VM_MIGRATE_H
#define GODWIT_VMM_VM_MIGRATE_H

#include "migrate/guest.h"

struct error;
struct state_writer;
struct vm;
struct vm_migrate;

/* Make the @vm's; borrowed by whoever gets vm_migrate_guest().  0 or -ENOMEM.
 * Thread: the owner's. */
int vm_migrate_create(
	struct vm *vm, struct vm_migrate **ret, struct error *err);
void vm_migrate_destroy(struct vm_migrate *m); /* NULL is allowed */
struct migrate_guest vm_migrate_guest(struct vm_migrate *m);

/* The guest is to come: what it has asked for and not yet got (a reset, an end)
 * is the source's to act upon until run().  Owner's thread. */
void vm_migrate_expect(struct vm_migrate *m);

/* Undo stop() by the user's decision.  Owner's thread.  0 or -errno. */
int vm_migrate_take_back(struct vm_migrate *m, struct error *err);

/* The text of description.h, to be freed.  Owner's thread. */
int vm_describe(struct vm *vm, char **ret_text, struct error *err);

#endif
