/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/config_whole.c - see config_whole.h. */
#include "vmm/config_whole.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/config_values.h"
#include "vmm/error.h"

static int check_iothreads(const struct config *cfg, struct error *err)
{
	unsigned i;
	int wanted;

	for (i = 0; i < cfg->disks; i++) {
		wanted = cfg->disk[i].iothread;
		if (wanted >= (int)cfg->iothreads)
			return error_set(err, -EINVAL,
				"--disk iothread=%d: disk %u wants an I/O "
				"thread that is not there (give --iothread %d, "
				"they count from 0)",
				wanted, i, wanted + 1);
	}
	for (i = 0; i < cfg->nets; i++) {
		wanted = cfg->net[i].iothread;
		if (wanted >= (int)cfg->iothreads)
			return error_set(err, -EINVAL,
				"--net iothread=%d: network %u wants an I/O "
				"thread that is not there (give --iothread %d, "
				"they count from 0)",
				wanted, i, wanted + 1);
	}
	wanted = cfg->vsock.iothread;
	if (cfg->vsock.path && wanted >= (int)cfg->iothreads)
		return error_set(err, -EINVAL,
			"--vsock iothread=%d: there is no such I/O thread "
			"(give --iothread %d, they count from 0)",
			wanted, wanted + 1);
	return 0;
}

void config_whole_spread(struct config *cfg)
{
	unsigned i, next = 0;

	if (cfg->iothreads == 0)
		return;
	for (i = 0; i < cfg->disks; i++)
		if (cfg->disk[i].iothread < 0)
			cfg->disk[i].iothread = (int)(next++ % cfg->iothreads);
	for (i = 0; i < cfg->nets; i++)
		if (cfg->net[i].iothread < 0)
			cfg->net[i].iothread = (int)(next++ % cfg->iothreads);
	if (cfg->vsock.path && cfg->vsock.iothread < 0)
		cfg->vsock.iothread = (int)(next++ % cfg->iothreads);
}

int config_whole_name_nets(struct config *cfg)
{
	unsigned i, net = 0;
	uint8_t *mac;
	int ret = 0;

	for (i = 0; ret == 0 && i < cfg->words.count; i++) {
		if (strncmp(cfg->words.word[i], "--net=", 6) != 0)
			continue;
		mac = cfg->net[net].mac;
		if (!cfg->net[net].have_mac) {
			config_net_default_mac(cfg->name, net, mac);
			ret = words_extend(&cfg->words, i,
				",mac=%02x:%02x:%02x:%02x:%02x:%02x", mac[0],
				mac[1], mac[2], mac[3], mac[4], mac[5]);
			cfg->net[net].have_mac = true;
		}
		net++;
	}
	return ret;
}

int config_whole_check(const struct config *cfg, struct error *err)
{
	if (!cfg->kernel && !cfg->dump_dtb)
		return error_set(err, -EINVAL,
			"--kernel: none is given (give --kernel FILE, a "
			"bzImage or an ELF kernel)");
	if (cfg->dump_dtb && cfg->dry_run)
		return error_set(err, -EINVAL,
			"--dry-run and --dump-dtb exclude each other (give "
			"one)");
	if (cfg->serial.kind == CONFIG_CHAR_STDIO &&
		cfg->console.kind == CONFIG_CHAR_STDIO)
		return error_set(err, -EINVAL,
			"--console stdio: --serial uses stdio already (add "
			"--serial none or --serial file=FILE)");
	if (cfg->serial.kind == CONFIG_CHAR_FILE &&
		cfg->console.kind == CONFIG_CHAR_FILE &&
		strcmp(cfg->serial.path, cfg->console.path) == 0)
		return error_set(err, -EINVAL,
			"--console file=%.160s: --serial writes there already "
			"(give another file)",
			cfg->console.path);
	if (cfg->balloon.bytes > cfg->memory.size)
		return error_set(err, -EINVAL,
			"--balloon: %" PRIu64 " MiB are more than the guest's "
			"%" PRIu64 " MiB (give less, or more with -m)",
			cfg->balloon.bytes >> 20, cfg->memory.size >> 20);
	return check_iothreads(cfg, err);
}
