/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/backend/slirp_lib.c - see slirp_lib.h. */
#include "virtio/backend/slirp_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "vmm/error.h"

#define LIBRARY "libslirp.so.0"

/* No state of ours: it stands for the library's own. */
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

void slirp_lib_lock(void)
{
	pthread_mutex_lock(&library_lock);
}

void slirp_lib_unlock(void)
{
	pthread_mutex_unlock(&library_lock);
}

int slirp_lib_load(
	const char *name, struct slirp_lib *ret_lib, struct error *err)
{
	static const struct {
		const char *symbol;
		size_t offset;
	} wanted[] = {
		{"slirp_new", offsetof(struct slirp_lib, new)},
		{"slirp_cleanup", offsetof(struct slirp_lib, cleanup)},
		{"slirp_pollfds_fill", offsetof(struct slirp_lib, fill)},
		{"slirp_pollfds_poll", offsetof(struct slirp_lib, poll)},
		{"slirp_input", offsetof(struct slirp_lib, input)},
		{"slirp_add_hostfwd", offsetof(struct slirp_lib, add_hostfwd)},
		{"slirp_remove_hostfwd",
			offsetof(struct slirp_lib, remove_hostfwd)},
	};
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	void *fn;
	unsigned i;

	if (!handle)
		return error_set(err, -ENOENT,
			"%s: user-mode networking needs libslirp: %s (install "
			"the package libslirp0, or use --net tap=NAME)",
			name, dlerror());
	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		fn = dlsym(handle, wanted[i].symbol);
		if (!fn)
			return error_set(err, -ENOENT,
				"%s: libslirp has no %s (install version 4.1 "
				"or later)",
				name, wanted[i].symbol);
		memcpy((char *)ret_lib + wanted[i].offset, &fn, sizeof(fn));
	}
	return 0;
}
