/* SPDX-License-Identifier: Apache-2.0 */
/* migrate/chan_addr.c - addresses of channels, taken apart.  No side effects.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "migrate/chan_priv.h"
#include "vmm/error.h"

/* Digits only, at most @max; the end in @ret_end.  -1: none there. */
static long number(const char *s, long max, const char **ret_end)
{
	long v = 0;

	if (!isdigit((unsigned char)*s))
		return -1;
	for (; isdigit((unsigned char)*s); s++) {
		v = v * 10 + (*s - '0');
		if (v > max)
			return -1;
	}
	*ret_end = s;
	return v;
}

static int bad(struct error *err, const char *addr, const char *what)
{
	return error_set(err, -EINVAL, "%s: %s", addr, what);
}

static int parse_tcp(struct chan_addr *a, struct error *err)
{
	const char *host = a->path, *colon = strrchr(host, ':'), *end;
	size_t len;

	if (!colon)
		return bad(err, a->text, "wants tcp:HOST:PORT");
	len = (size_t)(colon - host);
	if (number(colon + 1, 65535, &end) < 0 || *end != '\0' ||
		strlen(colon + 1) >= sizeof(a->port))
		return bad(err, a->text, "wants a port from 0 to 65535");
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return bad(err, a->text,
			"wants brackets around an IPv6 address: tcp:[::1]:PORT");
	}
	if (len == 0)
		return bad(err, a->text,
			"wants a host (0.0.0.0 or [::] to listen on all)");
	if (len >= sizeof(a->host))
		return bad(err, a->text, "the host's name is too long");
	memcpy(a->host, host, len);
	a->host[len] = '\0';
	strcpy(a->port, colon + 1);
	return 0;
}

static int parse_fd(struct chan_addr *a, struct error *err)
{
	const char *s = a->path;
	long fd;

	do {
		if (a->fds > 0)
			s++; /* the comma */
		fd = number(s, INT_MAX, &s);
		if (fd < 0)
			return bad(err, a->text, "wants fd:N or fd:N,M");
		a->fd[a->fds++] = (int)fd;
	} while (*s == ',' && a->fds < CHAN_FDS_MAX);
	if (*s != '\0')
		return bad(err, a->text, "wants fd:N or fd:N,M");
	if (a->fds == 2 && a->fd[0] == a->fd[1])
		return bad(err, a->text, "wants two different fds");
	return 0;
}

int chan_addr_parse(
	const char *addr, struct chan_addr *ret_addr, struct error *err)
{
	static const struct {
		const char *prefix;
		enum chan_kind kind;
	} kinds[] = {{"unix:", CHAN_UNIX}, {"tcp:", CHAN_TCP}, {"fd:", CHAN_FD},
		{"exec:", CHAN_EXEC}, {"file:", CHAN_FILE}};
	struct chan_addr a = {.text = addr};
	size_t i;
	int rc = 0;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(addr, kinds[i].prefix, strlen(kinds[i].prefix)) ==
			0)
			break;
	if (i == sizeof(kinds) / sizeof(kinds[0]))
		return bad(err, addr,
			"wants unix:PATH, tcp:HOST:PORT, fd:N, exec:COMMAND or file:PATH");
	a.kind = kinds[i].kind;
	a.path = addr + strlen(kinds[i].prefix);
	if (*a.path == '\0')
		return bad(err, addr, "nothing after the colon");
	if (a.kind == CHAN_TCP)
		rc = parse_tcp(&a, err);
	else if (a.kind == CHAN_FD)
		rc = parse_fd(&a, err);
	else if (a.kind == CHAN_UNIX &&
		 strlen(a.path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		rc = error_set(err, -EINVAL,
			"%s: the path has %zu bytes, a UNIX socket's at most %zu "
			"(use a shorter directory or a relative path)",
			addr, strlen(a.path),
			sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	if (rc == 0)
		*ret_addr = a;
	return rc;
}

int chan_check_address(const char *addr, struct error *err)
{
	struct chan_addr a;

	return chan_addr_parse(addr, &a, err);
}
