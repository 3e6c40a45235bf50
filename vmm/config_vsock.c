/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/config_vsock.c - what stands after --vsock; see config_values.h. */
#include "vmm/config_values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/vsock.h"
#include "vmm/config_list.h"

#define CID_DEFAULT   3u
#define CONNS_DEFAULT 256u
#define USAGE	      "path=FILE[,cid=N][,max-conns=N][,iothread=K]"

struct parse {
	struct config_vsock vsock;
	const char *whole;
	struct error *err;
};

#define REFUSE(p, ...) config_refuse((p)->err, "vsock", (p)->whole, __VA_ARGS__)

static bool parse_number(
	const char *text, uint32_t low, uint32_t high, uint32_t *ret_value)
{
	return config_parse_u32(text, ret_value) == 0 && *ret_value >= low &&
	       *ret_value <= high;
}

static int set_path(struct parse *p, const char *value)
{
	size_t len = strlen(value);

	if (len == 0)
		return REFUSE(p, "the path is empty (give path=FILE)");
	if (len > VIRTIO_VSOCK_PATH_BYTES)
		return REFUSE(p,
			"the path has %zu bytes (give at most %u, so that "
			"_PORT can follow)",
			len, VIRTIO_VSOCK_PATH_BYTES);
	return config_set_text(&p->vsock.path, value);
}

static int set_iothread(struct parse *p, const char *value)
{
	uint32_t index;

	if (!parse_number(value, 0, CONFIG_IOTHREADS_MAX - 1, &index))
		return REFUSE(p,
			"iothread '%.64s' is not the number of an I/O thread "
			"(give 0 to %u)",
			value, CONFIG_IOTHREADS_MAX - 1);
	p->vsock.iothread = (int)index;
	return 0;
}

static int set_item(struct parse *p, const char *key, const char *value)
{
	struct config_vsock *v = &p->vsock;

	if (value && strcmp(key, "path") == 0)
		return set_path(p, value);
	if (value && strcmp(key, "iothread") == 0)
		return set_iothread(p, value);
	if (value && strcmp(key, "cid") == 0) {
		if (parse_number(value, (uint32_t)VIRTIO_VSOCK_CID_MIN,
			    (uint32_t)VIRTIO_VSOCK_CID_MAX, &v->cid))
			return 0;
		return REFUSE(p,
			"cid '%.64s' cannot be a guest's (give %llu to %llu)",
			value, VIRTIO_VSOCK_CID_MIN, VIRTIO_VSOCK_CID_MAX);
	}
	if (value && strcmp(key, "max-conns") == 0) {
		if (parse_number(
			    value, 1, VIRTIO_VSOCK_CONNS_MAX, &v->max_conns))
			return 0;
		return REFUSE(p,
			"max-conns '%.64s' is not a number of connections "
			"(give 1 to %u)",
			value, VIRTIO_VSOCK_CONNS_MAX);
	}
	return REFUSE(p, "'%.64s' is not understood (give " USAGE ")", key);
}

int config_value_vsock(
	const char *value, struct config_vsock *ret_vsock, struct error *err)
{
	struct parse p = {
		.vsock = {.cid = CID_DEFAULT,
			.max_conns = CONNS_DEFAULT,
			.iothread = -1},
		.whole = value,
		.err = err,
	};
	struct config_item item;
	const char *pos = value;
	int ret;

	while ((ret = config_list_next(&pos, &item)) > 0) {
		ret = set_item(&p, item.key, item.value);
		free(item.key);
		if (ret < 0)
			break;
	}
	if (ret == 0 && !p.vsock.path)
		ret = REFUSE(&p, "no path is given (give " USAGE ")");
	if (ret < 0)
		free(p.vsock.path);
	else
		*ret_vsock = p.vsock;
	return ret;
}
