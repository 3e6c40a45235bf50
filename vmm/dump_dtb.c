/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/dump_dtb.c - see dump_dtb.h.  Makes no VM; guest RAM is never touched. */
#include "vmm/dump_dtb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/x86/boot.h"

static int write_all(int fd, const char *data, size_t len)
{
	ssize_t done;

	while (len > 0) {
		done = write(fd, data, len);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		data += done;
		len -= (size_t)done;
	}
	return 0;
}

static int write_file(
	const char *path, const void *blob, size_t size, struct error *err)
{
	struct stat st;
	bool regular;
	int fd, code;

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY,
		0666);
	if (fd < 0)
		return error_errno(err, -errno,
			"--dump-dtb: open %s for writing (name a file in a "
			"folder you may write to)",
			path);
	/* A device or a pipe is not ours to remove. */
	regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	code = write_all(fd, blob, size);
	if (close(fd) < 0 && code == 0)
		code = -errno;
	if (code < 0) {
		if (regular)
			unlink(path);
		return error_errno(err, code, "--dump-dtb: write %s", path);
	}
	return 0;
}

int dump_dtb(const struct config *cfg, struct error *err)
{
	struct guestmem_options memory = cfg->memory;
	struct boot_spec spec = {
		.cmdline = cfg->append,
		.machine = BOOT_MACHINE_FDT,
		.protocol = cfg->protocol,
		.cpus = cfg->cpus,
		.cpus_max = cfg->cpus,
		.virtio_devices =
			cfg->disks + cfg->rng +
			(cfg->console.kind != CONFIG_CHAR_NONE ? 1 : 0),
		.serial = cfg->serial.kind != CONFIG_CHAR_NONE,
		.pvpanic = true,
	};
	struct guestmem gm;
	size_t size;
	void *blob;
	int code;

	memory.backing = GUESTMEM_ANON; /* only its size matters */
	code = guestmem_init(&gm, &memory, err);
	if (code < 0)
		return code;
	code = boot_fdt_build(&spec, &gm, cfg->append, 0, 0, &blob, &size, err);
	guestmem_fini(&gm);
	if (code < 0)
		return code;
	code = write_file(cfg->dump_dtb, blob, size, err);
	free(blob);
	return code;
}
