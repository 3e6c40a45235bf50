/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/runtime_dir.c - see runtime_dir.h. */
#include "vmm/runtime_dir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/config.h"
#include "vmm/error.h"

/* The characters that --name allows. */
static bool is_name(const char *name)
{
	size_t i, len = strlen(name);

	if (len == 0 || len > CONFIG_NAME_MAX)
		return false;
	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

char *runtime_dir_choose(uid_t uid, const char *godwit, const char *xdg)
{
	char *dir;
	int len;

	if (godwit && godwit[0] != '\0')
		return strdup(godwit);
	if (uid == 0)
		return strdup("/run/godwit");
	/* The XDG specification has relative ones ignored. */
	if (xdg && xdg[0] == '/')
		len = asprintf(&dir, "%s/godwit", xdg);
	else
		len = asprintf(&dir, "/tmp/godwit-%u", (unsigned)uid);
	return len < 0 ? NULL : dir;
}

int runtime_dir_check(
	const char *dir, uid_t uid, bool create, struct error *err)
{
	struct stat st;
	int fd, code;

	if (dir[0] != '/')
		return error_set(err, -EINVAL,
			"%.300s: not an absolute path (set GODWIT_RUNTIME_DIR "
			"to one)",
			dir);
	if (create && mkdir(dir, 0700) < 0 && errno != EEXIST)
		return error_errno(err, -errno, "%.300s: create it", dir);
	/* What was opened is what is looked at; nobody else can replace a
	 * folder of ours afterwards, /tmp being sticky. */
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, -errno, "%.300s", dir);
	code = fstat(fd, &st) < 0 ? -errno : 0;
	close(fd);
	if (code < 0)
		return error_errno(err, code, "%.300s", dir);
	if (st.st_uid != uid)
		return error_set(err, -EPERM,
			"%.300s: it belongs to user %u (remove it, or set "
			"XDG_RUNTIME_DIR)",
			dir, (unsigned)st.st_uid);
	if ((st.st_mode & 077) != 0)
		return error_set(err, -EPERM,
			"%.300s: others may use it, its mode is %03o (chmod "
			"700 it)",
			dir, (unsigned)st.st_mode & 07777);
	return 0;
}

int runtime_dir_socket(
	const char *name, bool create, char **ret_path, struct error *err)
{
	char *dir, *path;
	int code;

	if (!is_name(name))
		return error_set(err, -EINVAL,
			"'%.80s': not a name (use 1 to %u letters, digits, "
			"'.', '_' and '-', or a path with a '/')",
			name, CONFIG_NAME_MAX);
	dir = runtime_dir_choose(geteuid(), getenv("GODWIT_RUNTIME_DIR"),
		getenv("XDG_RUNTIME_DIR"));
	if (!dir)
		return error_errno(err, -ENOMEM, "%s", name);
	code = runtime_dir_check(dir, geteuid(), create, err);
	if (code == 0 && asprintf(&path, "%s/%s.sock", dir, name) < 0)
		code = error_errno(err, -ENOMEM, "%s", name);
	free(dir);
	if (code == 0)
		*ret_path = path;
	return code;
}
