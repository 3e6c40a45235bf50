/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/config_rng.c - what stands after --rng=; see config_values.h. */
#include "vmm/config_values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_list.h"

#define USAGE "--rng, or --rng=bps=BYTES[,bps-burst=BYTES]"

static int set_item(struct bucket_limit *limit, const struct config_item *item,
	const char *whole, struct error *err)
{
	bool burst = strcmp(item->key, "bps-burst") == 0;
	uint64_t most = burst ? BUCKET_BURST_MAX : BUCKET_RATE_MAX, bytes;

	if (!item->value || (!burst && strcmp(item->key, "bps") != 0))
		return config_refuse(err, "rng", whole,
			"'%.64s' is not understood (give " USAGE ")",
			item->key);
	if (config_parse_size(item->value, &bytes) < 0)
		return config_refuse(err, "rng", whole,
			"%s is '%.64s' (give bytes, like 1M)", item->key,
			item->value);
	if (bytes > most)
		return config_refuse(err, "rng", whole,
			"%s is out of range (give at most %s)", item->key,
			burst ? "4G" : "1T");
	*(burst ? &limit->burst : &limit->rate) = bytes;
	return 0;
}

int config_value_rng(
	const char *value, struct bucket_limit *ret_limit, struct error *err)
{
	struct bucket_limit limit = {.rate = 0};
	struct config_item item;
	const char *pos = *value == '\0' ? NULL : value;
	int ret = 0;

	while (pos && (ret = config_list_next(&pos, &item)) > 0) {
		ret = set_item(&limit, &item, value, err);
		free(item.key);
		if (ret < 0)
			return ret;
	}
	if (ret < 0)
		return ret;
	if (limit.burst > 0 && limit.rate == 0)
		return config_refuse(err, "rng", value,
			"bps-burst is of no use without its limit (give bps= "
			"too)");
	*ret_limit = limit;
	return 0;
}
