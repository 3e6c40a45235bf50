/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/runtime_dir.h - where the control socket of a name is.
 *
 * $GODWIT_RUNTIME_DIR if it is set (absolute; for tests and odd hosts), else
 * /run/godwit for root, else $XDG_RUNTIME_DIR/godwit, else /tmp/godwit-UID.
 * The folder is the user's own and closed to others, or it is refused: whoever
 * could put sockets there would be taken for the VM.
 *
 * Thread: any, while nobody changes the environment.
 */
#ifndef GODWIT_VMM_RUNTIME_DIR_H
#define GODWIT_VMM_RUNTIME_DIR_H

#include <stdbool.h>
#include <sys/types.h>

struct error;

/**
 * runtime_dir_socket - the socket path of the VM @name.
 * @create:   make the folder if it is not there.
 * @ret_path: to be freed.
 * Return: 0; -EINVAL (not a name; a variable that is no absolute path), -ENOENT
 *         (no folder, so no VM), -EPERM (somebody else's, or open to others),
 *         -ENOTDIR, -ELOOP (a symbolic link), -errno; with @err.
 */
int runtime_dir_socket(
	const char *name, bool create, char **ret_path, struct error *err);

/* The folder for @uid with these values of GODWIT_RUNTIME_DIR and
 * XDG_RUNTIME_DIR (NULL: not set); to be freed; NULL without memory. */
char *runtime_dir_choose(uid_t uid, const char *godwit, const char *xdg);

/* The second half of runtime_dir_socket(): is @dir fit for @uid? */
int runtime_dir_check(
	const char *dir, uid_t uid, bool create, struct error *err);

#endif
