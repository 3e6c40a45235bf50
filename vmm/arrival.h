/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/arrival.h - `godwit receive` and `godwit restore`: a machine that comes
 * from elsewhere, up to the point where its loop takes over.
 *
 * Thread: the main one, which becomes the VM's owner.
 */
#ifndef GODWIT_VMM_ARRIVAL_H
#define GODWIT_VMM_ARRIVAL_H

#include <stdbool.h>

#include "vmm/config.h"

struct chan_listener;
struct dest;
struct error;
struct mover;
struct snapshot;
struct vm;

#define ARRIVAL_OVERRIDES_MAX 64u

struct arrival {
	const char *from; /* borrowed: address or file */
	bool file;	  /* restore, not receive */
	/* Options. */
	const char *override[ARRIVAL_OVERRIDES_MAX]; /* borrowed */
	unsigned overrides;
	bool lazy;
	bool paused; /* stay paused whatever the source said */
	bool no_postcopy;
	int timeout_ms; /* for a source to come; -1: for ever */
	int quiet_ms;	/* without progress; 0: the default */
	unsigned verbose;
	bool help;
	/* What there is, owned. */
	struct chan_listener *listener;
	struct dest *dest;
	struct snapshot *snapshot;
};

/* Options of the verb.  0 or -EINVAL with @err. */
int arrival_parse(struct arrival *a, bool file, int argc, char *const *argv,
	struct error *err);

/**
 * arrival_meet - wait for the source, or open the file, and learn which machine
 * comes.
 * @cfg: initialised; always needs _fini() afterwards.
 * Return: 0 or -errno with @err; the source, if any, has been told.
 */
int arrival_meet(struct arrival *a, struct config *cfg, struct error *err);

/* The machine of that configuration could not be built: tell the source. */
void arrival_refuse(struct arrival *a, const struct error *err);

/**
 * arrival_begin - let the guest into @mover's VM.
 * @ret_run: run it now; else it waits for its pages or for the user.
 * Return: 0 or -errno with @err.
 */
int arrival_begin(struct arrival *a, struct mover *mover, struct vm *vm,
	bool *ret_run, struct error *err);

/* After mover_destroy().  NULL members are fine. */
void arrival_fini(struct arrival *a);

#endif
