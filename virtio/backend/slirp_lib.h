/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/slirp_lib.h - libslirp, found when it is first needed.
 *
 * It brings glib with it; linked in the ordinary way the two would be loaded,
 * and resolved, by every VM, and most have no user-mode network.
 */
#ifndef GODWIT_VIRTIO_BACKEND_SLIRP_LIB_H
#define GODWIT_VIRTIO_BACKEND_SLIRP_LIB_H

#include <slirp/libslirp.h>

struct error;

/* The functions we use, as <slirp/libslirp.h> declares them. */
struct slirp_lib {
	__typeof__(slirp_new) *new;
	__typeof__(slirp_cleanup) *cleanup;
	__typeof__(slirp_pollfds_fill) *fill;
	__typeof__(slirp_pollfds_poll) *poll;
	__typeof__(slirp_input) *input;
	__typeof__(slirp_add_hostfwd) *add_hostfwd;
	__typeof__(slirp_remove_hostfwd) *remove_hostfwd;
};

/**
 * slirp_lib_load - load it, for good: it stays in the process.
 * @name: of the network device, for messages.
 * Thread: any.
 * Return: 0, or -ENOENT with @err (not installed, or too old).
 */
int slirp_lib_load(
	const char *name, struct slirp_lib *ret_lib, struct error *err);

/* libslirp keeps variables for the whole process (the time, the name server):
 * hold this around every call into it.  Taken by loops, for short. */
void slirp_lib_lock(void);
void slirp_lib_unlock(void);

#endif
