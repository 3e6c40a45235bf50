/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_json.c - the configuration as JSON, for --dry-run.
 *
 * "guest" holds what the guest can see, and so what has to be equal on both
 * sides of a move; "host" holds what may be pointed elsewhere.
 */
#include "vmm/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the well-formed UTF-8 sequence at @s, 0 if there is none.
 * Source: RFC 3629, section 4. */
static size_t utf8_len(const unsigned char *s)
{
	unsigned low = 0x80, high = 0xbf;
	size_t i, len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	/* A NUL is below low: the walk never leaves the string. */
	for (i = 1; i < len; i++) {
		if (s[i] < low || s[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return len;
}

/* A new reference, NULL without memory; null for a NULL @text. */
static json_t *text_json(const char *text)
{
	const unsigned char *in = (const unsigned char *)text;
	size_t len, out = 0;
	json_t *value;
	char *copy;

	if (!text)
		return json_null();
	copy = malloc(strlen(text) * strlen(REPLACEMENT) + 1);
	if (!copy)
		return NULL;
	while (*in != '\0') {
		len = utf8_len(in);
		if (len > 0) {
			memcpy(copy + out, in, len);
			out += len;
			in += len;
		} else {
			memcpy(copy + out, REPLACEMENT, strlen(REPLACEMENT));
			out += strlen(REPLACEMENT);
			in++;
		}
	}
	value = json_stringn(copy, out);
	free(copy);
	return value;
}

static json_t *char_json(const struct config_char *chr)
{
	switch (chr->kind) {
	case CONFIG_CHAR_NONE:
		return json_string("none");
	case CONFIG_CHAR_STDIO:
		return json_string("stdio");
	case CONFIG_CHAR_FILE:
		return json_pack("{s:o}", "file", text_json(chr->path));
	}
	return NULL;
}

/* Element @i of @array becomes @value, which is consumed. */
static int append(json_t *array, json_t *value)
{
	return value && json_array_append_new(array, value) == 0 ? 0 : -ENOMEM;
}

static json_t *guest_disks(const struct config *cfg)
{
	json_t *array = json_array();
	unsigned i;

	for (i = 0; array && i < cfg->disks; i++) {
		const struct config_disk *disk = &cfg->disk[i];

		if (append(array,
			    json_pack("{s:b, s:s, s:i, s:b}", "readonly",
				    disk->readonly, "serial", disk->serial,
				    "queues", (int)disk->queues, "discard",
				    !disk->no_discard)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *guest_net(const struct config_net *net)
{
	char mac[18];

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", net->mac[0],
		net->mac[1], net->mac[2], net->mac[3], net->mac[4],
		net->mac[5]);
	/* What a back end can offload is what the guest sees of it. */
	return json_pack("{s:s, s:i, s:i, s:b}", "mac", mac, "mtu", net->mtu,
		"queues", (int)net->queues, "offload",
		net->kind != CONFIG_NET_USER && !net->plain);
}

static json_t *guest_nets(const struct config *cfg)
{
	json_t *array = json_array();
	unsigned i;

	for (i = 0; array && i < cfg->nets; i++) {
		if (append(array, guest_net(&cfg->net[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* null: the main loop */
static json_t *iothread_json(int index)
{
	return index < 0 ? json_null() : json_integer(index);
}

/* Limits by the names they are given with; those not given are left out. */
static json_t *limits_json(const struct bucket_limits *limits)
{
	static const char *const keys[] = {"iops", "iops-rd", "iops-wr", "bps",
		"bps-rd", "bps-wr", "iops-burst", "iops-rd-burst",
		"iops-wr-burst", "bps-burst", "bps-rd-burst", "bps-wr-burst"};
	struct bucket_limits copy = *limits;
	json_t *object = json_object();
	uint64_t *slot;
	unsigned i;

	for (i = 0; object && i < COUNT(keys); i++)
		if (config_limit_slot(&copy, keys[i], &slot) && *slot > 0 &&
			json_object_set_new(object, keys[i],
				json_integer((json_int_t)*slot)) < 0) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static int add_host_disk(json_t *value, const struct config_disk *disk)
{
	json_t *more = json_pack("{s:o, s:s, s:s, s:o, s:s}", "iothread",
		iothread_json(disk->iothread), "cache",
		config_cache_name(disk->cache), "werror",
		disk->stop_when_full ? "stop" : "report", "limits",
		limits_json(&disk->limits), "group", disk->group);
	int ret = more ? json_object_update(value, more) : -1;

	json_decref(more);
	return ret < 0 ? -ENOMEM : 0;
}

static json_t *host_disks(const struct config *cfg)
{
	json_t *array = json_array(), *value;
	unsigned i;
	int ret;

	for (i = 0; array && i < cfg->disks; i++) {
		const struct config_disk *disk = &cfg->disk[i];

		if (disk->path)
			value = json_pack("{s:o, s:b}", "path",
				text_json(disk->path), "direct", disk->direct);
		else
			value = json_pack("{s:i, s:b}", "fd", disk->fd,
				"direct", disk->direct);
		ret = append(array, value);
		if (ret == 0)
			ret = add_host_disk(value, disk);
		if (ret < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* null: there is none */
static json_t *guest_balloon(const struct config_balloon *balloon)
{
	if (!balloon->present)
		return json_null();
	return json_pack("{s:b, s:b, s:b, s:b}", "deflate_on_oom",
		balloon->deflate_on_oom, "stats", balloon->stats, "hinting",
		balloon->hinting, "reporting", balloon->reporting);
}

static json_t *host_balloon(const struct config_balloon *balloon)
{
	if (!balloon->present)
		return json_null();
	return json_pack("{s:I, s:I}", "bytes", (json_int_t)balloon->bytes,
		"stats_s", (json_int_t)balloon->stats_s);
}

static json_t *topology_json(const struct config *cfg)
{
	return json_pack("{s:I, s:I, s:I}", "sockets",
		(json_int_t)cfg->smp.sockets, "cores",
		(json_int_t)cfg->smp.cores, "threads",
		(json_int_t)cfg->smp.threads);
}

/* null: there is none */
static json_t *host_rng(const struct config *cfg)
{
	if (!cfg->rng)
		return json_null();
	return json_pack("{s:I, s:I}", "bps", (json_int_t)cfg->rng_limit.rate,
		"bps-burst", (json_int_t)cfg->rng_limit.burst);
}

static json_t *guest_vsock(const struct config_vsock *vsock)
{
	if (!vsock->path)
		return json_null();
	return json_pack("{s:I}", "cid", (json_int_t)vsock->cid);
}

static json_t *host_vsock(const struct config_vsock *vsock)
{
	if (!vsock->path)
		return json_null();
	return json_pack("{s:o, s:I, s:o}", "path", text_json(vsock->path),
		"max_conns", (json_int_t)vsock->max_conns, "iothread",
		iothread_json(vsock->iothread));
}

json_t *config_guest_json(const struct config *cfg)
{
	return json_pack(
		"{s:I, s:I, s:o, s:I, s:s, s:s, s:o, s:b, s:b, s:b, s:b, s:b, "
		"s:o, s:o, s:o, s:o}",
		"cpus", (json_int_t)cfg->cpus, "cpus_max",
		(json_int_t)cfg->smp.max, "topology", topology_json(cfg),
		"memory_bytes", (json_int_t)cfg->memory.size, "machine",
		config_machine_name(cfg->machine), "boot",
		config_protocol_name(cfg->protocol), "append",
		text_json(cfg->append), "serial",
		cfg->serial.kind != CONFIG_CHAR_NONE, "console",
		cfg->console.kind != CONFIG_CHAR_NONE, "rng", cfg->rng, "pit",
		cfg->pit, "debug_exit", cfg->debug_exit, "disks",
		guest_disks(cfg), "nets", guest_nets(cfg), "vsock",
		guest_vsock(&cfg->vsock), "balloon",
		guest_balloon(&cfg->balloon));
}

static const char *addr_text(uint32_t addr, char buf[INET_ADDRSTRLEN])
{
	struct in_addr a = {.s_addr = htonl(addr)};

	return inet_ntop(AF_INET, &a, buf, INET_ADDRSTRLEN);
}

static json_t *user_json(const struct config_net *net)
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];
	json_t *array = json_array();
	unsigned i;

	for (i = 0; array && i < net->forwards; i++) {
		const struct config_forward *f = &net->forward[i];

		if (append(array, json_pack("{s:s, s:s, s:i, s:s, s:i}",
					  "protocol", f->udp ? "udp" : "tcp",
					  "host", addr_text(f->host_addr, host),
					  "host_port", f->host_port, "guest",
					  addr_text(f->guest_addr, guest),
					  "guest_port", f->guest_port)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return json_pack("{s:s, s:i, s:o}", "network",
		addr_text(net->network, host), "prefix", (int)net->prefix,
		"hostfwd", array);
}

static json_t *fds_json(const struct config_net *net)
{
	json_t *array = json_array();
	unsigned i;

	for (i = 0; array && i < net->fds; i++) {
		if (append(array, json_integer(net->fd[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *host_net(const struct config_net *net)
{
	static const char *const kinds[] = {
		[CONFIG_NET_USER] = "user",
		[CONFIG_NET_TAP] = "tap",
		[CONFIG_NET_FD] = "fd",
	};
	json_t *what = net->kind == CONFIG_NET_USER  ? user_json(net)
		       : net->kind == CONFIG_NET_TAP ? json_string(net->tap)
						     : fds_json(net);

	return json_pack("{s:o, s:b, s:I, s:I, s:I, s:I, s:o}",
		kinds[net->kind], what, "link", !net->link_down, "rx_bw",
		(json_int_t)net->rx_bytes, "tx_bw", (json_int_t)net->tx_bytes,
		"rx_pps", (json_int_t)net->rx_frames, "tx_pps",
		(json_int_t)net->tx_frames, "iothread",
		iothread_json(net->iothread));
}

static json_t *host_nets(const struct config *cfg)
{
	json_t *array = json_array();
	unsigned i;

	for (i = 0; array && i < cfg->nets; i++) {
		if (append(array, host_net(&cfg->net[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* Where the control socket is. */
static json_t *control_json(const struct config *cfg)
{
	if (cfg->control)
		return json_pack("{s:o}", "file", text_json(cfg->control));
	return json_string(cfg->named && !cfg->control_none ? "name" : "none");
}

static json_t *host_json(const struct config *cfg)
{
	return json_pack("{s:o, s:o, s:{s:s, s:b}, s:o, s:o, s:s, s:I, s:I, "
			 "s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o}",
		"kernel", text_json(cfg->kernel), "initrd",
		text_json(cfg->initrd), "memory", "backing",
		config_backing_name(cfg->memory.backing), "thp",
		cfg->memory.thp, "serial", char_json(&cfg->serial), "console",
		char_json(&cfg->console), "loop", config_loop_name(cfg->loop),
		"iothreads", (json_int_t)cfg->iothreads, "poll_us",
		(json_int_t)cfg->poll_us, "trace", (json_int_t)cfg->trace,
		"no_reboot", cfg->no_reboot, "control", control_json(cfg),
		"disks", host_disks(cfg), "nets", host_nets(cfg), "vsock",
		host_vsock(&cfg->vsock), "balloon", host_balloon(&cfg->balloon),
		"rng", host_rng(cfg));
}

int config_print_json(const struct config *cfg, FILE *out)
{
	json_t *root;
	int ret = 0;

	root = json_pack("{s:o, s:o, s:o}", "name", text_json(cfg->name),
		"guest", config_guest_json(cfg), "host", host_json(cfg));
	if (!root)
		return -ENOMEM;
	if (json_dumpf(root, out, JSON_INDENT(2)) < 0 ||
		fputc('\n', out) == EOF || fflush(out) == EOF)
		ret = -EIO;
	json_decref(root);
	return ret;
}
