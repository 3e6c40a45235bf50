/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_net.c - what stands after --net; see config_values.h.
 *
 * The first word says which back end: user, tap=NAME or fd=N.  Key words of the
 * other back end are refused, so that nothing is given in vain.
 */
#include "vmm/config_values.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_list.h"

#define FD_MAX		(1u << 20)
#define NETWORK_DEFAULT 0x0a000200u /* 10.0.2.0 */
#define MTU_MIN		68u
#define RATE_MAX	(1ull << 40)
#define USAGE                                                                  \
	"user[,hostfwd=tcp|udp:[ADDR:]PORT-[GADDR]:GPORT]...[,net=ADDR/N] or " \
	"tap=NAME|fd=N[,queues=N][,offload=on|off]; then [,mac=][,mtu=]"       \
	"[,link=up|down][,rx-bw=][,tx-bw=][,rx-pps=][,tx-pps=][,iothread=K]"

struct parse {
	struct config_net net;
	const char *whole;
	bool have_kind, have_queues;
	struct error *err;
};

#define REFUSE(p, ...) config_refuse((p)->err, "net", (p)->whole, __VA_ARGS__)

/* ---- single values ---- */

static bool parse_number(
	const char *text, uint32_t low, uint32_t high, uint32_t *ret_value)
{
	return config_parse_u32(text, ret_value) == 0 && *ret_value >= low &&
	       *ret_value <= high;
}

static bool parse_addr(const char *text, size_t len, uint32_t *ret_addr)
{
	char copy[INET_ADDRSTRLEN];
	struct in_addr a;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (inet_pton(AF_INET, copy, &a) != 1)
		return false;
	*ret_addr = ntohl(a.s_addr);
	return true;
}

static bool parse_port(const char *text, size_t len, uint16_t *ret_port)
{
	char copy[8];
	uint32_t port;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!parse_number(copy, 1, UINT16_MAX, &port))
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

/* [ADDR:]PORT, or [ADDR]:PORT */
static bool parse_end(
	const char *text, size_t len, uint32_t *ret_addr, uint16_t *ret_port)
{
	const char *colon = memchr(text, ':', len);
	size_t n;

	if (!colon)
		return parse_port(text, len, ret_port);
	n = (size_t)(colon - text);
	if (n > 0 && !parse_addr(text, n, ret_addr))
		return false;
	return parse_port(colon + 1, len - n - 1, ret_port);
}

static int add_forward(struct parse *p, const char *value)
{
	struct config_forward f = {.host_addr = INADDR_LOOPBACK};
	const char *ends = value + 4, *dash;

	if (p->net.forwards == CONFIG_FORWARDS_MAX)
		return REFUSE(p,
			"there are %u forwarded ports already (give at most "
			"%u)",
			p->net.forwards, CONFIG_FORWARDS_MAX);
	f.udp = strncmp(value, "udp:", 4) == 0;
	dash = f.udp || strncmp(value, "tcp:", 4) == 0 ? strchr(ends, '-')
						       : NULL;
	if (!dash ||
		!parse_end(ends, (size_t)(dash - ends), &f.host_addr,
			&f.host_port) ||
		!parse_end(dash + 1, strlen(dash + 1), &f.guest_addr,
			&f.guest_port))
		return REFUSE(p,
			"hostfwd '%.64s' is not understood (give "
			"tcp|udp:[ADDR:]PORT-[GADDR]:GPORT, for example "
			"tcp:8080-:80)",
			value);
	p->net.forward[p->net.forwards++] = f;
	return 0;
}

static int set_network(struct parse *p, const char *value)
{
	const char *slash = strchr(value, '/');
	uint32_t addr, prefix;

	if (!slash || !parse_addr(value, (size_t)(slash - value), &addr) ||
		!parse_number(slash + 1, 8, 27, &prefix))
		return REFUSE(p,
			"net '%.64s' is not a network (give ADDRESS/8 to "
			"ADDRESS/27, for example 10.0.2.0/24)",
			value);
	if (addr & UINT32_MAX >> prefix)
		return REFUSE(p,
			"net '%.64s' has host bits (clear those behind the "
			"first %u)",
			value, prefix);
	p->net.network = addr;
	p->net.prefix = prefix;
	return 0;
}

static int set_mac(struct parse *p, const char *value)
{
	unsigned byte[6], i;
	int end = 0;

	if (sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1],
		    &byte[2], &byte[3], &byte[4], &byte[5], &end) != 6 ||
		end != 17 || value[end] != '\0' ||
		strspn(value, "0123456789abcdefABCDEF:") != 17)
		return REFUSE(p,
			"mac '%.64s' is not an address (give six bytes, for "
			"example 02:00:00:00:00:01)",
			value);
	for (i = 0; i < 6; i++)
		p->net.mac[i] = (uint8_t)byte[i];
	p->net.have_mac = true;
	if (byte[0] & 1)
		return REFUSE(p,
			"mac '%.64s' is that of a group (the first byte must "
			"be even)",
			value);
	if (memcmp(p->net.mac, (uint8_t[6]){0}, 6) == 0)
		return REFUSE(p, "mac is zero (give another one)");
	return 0;
}

static int set_tap(struct parse *p, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= sizeof(p->net.tap) || strchr(value, '/') ||
		strpbrk(value, " \t\n:"))
		return REFUSE(p,
			"'%.64s' cannot be the name of an interface (give 1 "
			"to %zu characters)",
			value, sizeof(p->net.tap) - 1);
	memcpy(p->net.tap, value, len + 1);
	return 0;
}

static int add_fd(struct parse *p, const char *value)
{
	uint32_t fd;
	unsigned i;

	if (!parse_number(value, 3, FD_MAX, &fd))
		return REFUSE(p,
			"fd '%.64s' is not an inherited file descriptor (give "
			"3 or more)",
			value);
	if (p->net.fds == CONFIG_NET_QUEUES_MAX)
		return REFUSE(p, "too many fds (give at most %u)",
			CONFIG_NET_QUEUES_MAX);
	for (i = 0; i < p->net.fds; i++)
		if (p->net.fd[i] == (int)fd)
			return REFUSE(p, "fd %u is given twice", fd);
	p->net.fd[p->net.fds++] = (int)fd;
	return 0;
}

static int set_queues(struct parse *p, const char *value)
{
	uint32_t queues;

	if (!parse_number(value, 1, CONFIG_NET_QUEUES_MAX, &queues))
		return REFUSE(p,
			"queues '%.64s' is not a number of queues (give 1 to "
			"%u)",
			value, CONFIG_NET_QUEUES_MAX);
	p->net.queues = queues;
	p->have_queues = true;
	return 0;
}

static int set_mtu(struct parse *p, const char *value)
{
	uint32_t mtu;

	if (!parse_number(value, MTU_MIN, UINT16_MAX, &mtu))
		return REFUSE(p, "mtu '%.64s' is impossible (give %u to %u)",
			value, MTU_MIN, UINT16_MAX);
	p->net.mtu = (uint16_t)mtu;
	return 0;
}

static int set_iothread(struct parse *p, const char *value)
{
	uint32_t index;

	if (!parse_number(value, 0, CONFIG_IOTHREADS_MAX - 1, &index))
		return REFUSE(p,
			"iothread '%.64s' is not the number of an I/O thread "
			"(give 0 to %u)",
			value, CONFIG_IOTHREADS_MAX - 1);
	p->net.iothread = (int)index;
	return 0;
}

/* One of two words; @ret_second: it was the second. */
static int set_choice(struct parse *p, const char *key, const char *value,
	const char *first, const char *second, bool *ret_second)
{
	if (strcmp(value, first) != 0 && strcmp(value, second) != 0)
		return REFUSE(p, "%s '%.64s' is unknown (give %s or %s)", key,
			value, first, second);
	*ret_second = strcmp(value, second) == 0;
	return 0;
}

static int set_rate(
	struct parse *p, const char *key, const char *value, uint64_t *ret_rate)
{
	uint64_t rate;

	if (config_parse_size(value, &rate) < 0 || rate == 0 || rate > RATE_MAX)
		return REFUSE(p,
			"%s '%.64s' is not a rate (give a number a second, "
			"with K, M or G, for example 10M)",
			key, value);
	*ret_rate = rate;
	return 0;
}

/* ---- items ---- */

static int set_kind(struct parse *p, enum config_net_kind kind)
{
	if (p->have_kind && p->net.kind != kind)
		return REFUSE(p,
			"user, tap=NAME and fd=N exclude each other (give "
			"one)");
	p->net.kind = kind;
	p->have_kind = true;
	return 0;
}

/* 1: not one of these. */
static int set_user_item(struct parse *p, const char *key, const char *value)
{
	int ret;

	if (strcmp(key, "hostfwd") == 0)
		ret = add_forward(p, value);
	else if (strcmp(key, "net") == 0)
		ret = set_network(p, value);
	else
		return 1;
	if (ret == 0 && p->net.kind != CONFIG_NET_USER)
		return REFUSE(p, "%s is for user only (drop it)", key);
	return ret;
}

static int set_tap_item(struct parse *p, const char *key, const char *value)
{
	int ret;

	if (strcmp(key, "queues") == 0)
		ret = set_queues(p, value);
	else if (strcmp(key, "offload") == 0)
		ret = set_choice(p, key, value, "on", "off", &p->net.plain);
	else
		return 1;
	if (ret == 0 && p->net.kind == CONFIG_NET_USER)
		return REFUSE(p, "%s is for tap and fd only (drop it)", key);
	return ret;
}

static int set_common_item(struct parse *p, const char *key, const char *value)
{
	struct config_net *net = &p->net;

	if (strcmp(key, "mac") == 0)
		return set_mac(p, value);
	if (strcmp(key, "mtu") == 0)
		return set_mtu(p, value);
	if (strcmp(key, "link") == 0)
		return set_choice(p, key, value, "up", "down", &net->link_down);
	if (strcmp(key, "rx-bw") == 0)
		return set_rate(p, key, value, &net->rx_bytes);
	if (strcmp(key, "tx-bw") == 0)
		return set_rate(p, key, value, &net->tx_bytes);
	if (strcmp(key, "rx-pps") == 0)
		return set_rate(p, key, value, &net->rx_frames);
	if (strcmp(key, "tx-pps") == 0)
		return set_rate(p, key, value, &net->tx_frames);
	if (strcmp(key, "iothread") == 0)
		return set_iothread(p, value);
	return REFUSE(p, "'%.64s' is not understood (give " USAGE ")", key);
}

static int set_item(struct parse *p, const struct config_item *item)
{
	int ret;

	if (!item->value && strcmp(item->key, "user") == 0)
		return set_kind(p, CONFIG_NET_USER);
	if (item->value && strcmp(item->key, "tap") == 0) {
		ret = set_kind(p, CONFIG_NET_TAP);
		return ret < 0 ? ret : set_tap(p, item->value);
	}
	if (item->value && strcmp(item->key, "fd") == 0) {
		ret = set_kind(p, CONFIG_NET_FD);
		return ret < 0 ? ret : add_fd(p, item->value);
	}
	if (!p->have_kind || !item->value)
		return REFUSE(p, "'%.64s' is not understood (give " USAGE ")",
			item->key);
	ret = set_user_item(p, item->key, item->value);
	if (ret == 1)
		ret = set_tap_item(p, item->key, item->value);
	if (ret == 1)
		ret = set_common_item(p, item->key, item->value);
	return ret;
}

static int check(struct parse *p, const struct config *cfg)
{
	struct config_net *net = &p->net;
	unsigned i, k, m;

	if (net->kind == CONFIG_NET_USER && net->prefix == 0) {
		net->network = NETWORK_DEFAULT;
		net->prefix = 24;
	}
	if (net->kind == CONFIG_NET_FD) {
		if (p->have_queues && net->queues != net->fds)
			return REFUSE(p,
				"%u queues and %u fds (give one fd= for each "
				"queue)",
				net->queues, net->fds);
		net->queues = net->fds;
	}
	for (i = 0; i < cfg->nets; i++) {
		const struct config_net *other = &cfg->net[i];

		if (net->kind == CONFIG_NET_TAP &&
			strcmp(net->tap, other->tap) == 0)
			return REFUSE(p,
				"network %u is the same (give each interface "
				"once)",
				i);
		if (net->have_mac && other->have_mac &&
			memcmp(net->mac, other->mac, 6) == 0)
			return REFUSE(p, "network %u has the same mac", i);
		for (k = 0; k < net->fds; k++)
			for (m = 0; m < other->fds; m++)
				if (net->fd[k] == other->fd[m])
					return REFUSE(p,
						"network %u has fd %d already",
						i, net->fd[k]);
	}
	return 0;
}

int config_value_net(const struct config *cfg, const char *value,
	struct config_net *ret_net, struct error *err)
{
	struct parse p = {
		.net = {.queues = 1, .iothread = -1},
		.whole = value,
		.err = err,
	};
	struct config_item item;
	const char *pos = value;
	int ret;

	while ((ret = config_list_next(&pos, &item)) > 0) {
		ret = set_item(&p, &item);
		free(item.key);
		if (ret < 0)
			return ret;
	}
	if (ret == 0)
		ret = check(&p, cfg);
	if (ret == 0)
		*ret_net = p.net;
	return ret;
}

/* FNV-1a: the same for the same machine on every host. */
void config_net_default_mac(
	const char *name, unsigned index, uint8_t ret_mac[6])
{
	uint64_t hash = 0xcbf29ce484222325ull;
	unsigned i;

	for (; *name != '\0'; name++)
		hash = (hash ^ (uint8_t)*name) * 0x100000001b3ull;
	hash = (hash ^ (uint8_t)index) * 0x100000001b3ull;
	hash ^= hash >> 32;
	ret_mac[0] = 0x02; /* locally administered, of one machine */
	for (i = 1; i < 6; i++)
		ret_mac[i] = (uint8_t)(hash >> 8 * (i - 1));
}
