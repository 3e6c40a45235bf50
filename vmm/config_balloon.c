/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/config_balloon.c - what stands after --balloon=; see config_values.h. */
#include "vmm/config_values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_list.h"

#define STATS_MAX 86400u /* seconds */
#define USAGE                                                                  \
	"--balloon, or --balloon=[SIZE][,deflate-on-oom=on|off]"               \
	"[,stats=SECONDS][,hinting=on|off][,reporting=on|off]"

struct parse {
	struct config_balloon balloon;
	const char *whole;
	bool have_size;
	struct error *err;
};

#define REFUSE(p, ...)                                                         \
	config_refuse((p)->err, "balloon", (p)->whole, __VA_ARGS__)

/* "" before a comma: none. */
static int set_size(struct parse *p, const char *text)
{
	p->have_size = true;
	if (*text == '\0')
		return 0;
	if (config_parse_size(text, &p->balloon.bytes) < 0)
		return REFUSE(
			p, "'%.64s' is not understood (give " USAGE ")", text);
	if (p->balloon.bytes % GUESTMEM_PAGE != 0)
		return REFUSE(p,
			"the size is not a multiple of 4096 bytes (round it)");
	return 0;
}

static int set_switch(
	struct parse *p, const char *key, const char *value, bool *ret_on)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return REFUSE(p, "%s is '%.64s' (give on or off)", key, value);
	*ret_on = value[1] == 'n';
	return 0;
}

static int set_stats(struct parse *p, const char *value)
{
	uint32_t seconds;

	if (config_parse_u32(value, &seconds) < 0 || seconds > STATS_MAX)
		return REFUSE(p,
			"stats is '%.64s' (give seconds, 1 to %u; 0: only when "
			"asked for)",
			value, STATS_MAX);
	p->balloon.stats = true;
	p->balloon.stats_s = seconds;
	return 0;
}

static int set_item(struct parse *p, const char *key, const char *value)
{
	struct config_balloon *b = &p->balloon;

	if (!value && !p->have_size)
		return set_size(p, key);
	if (value && strcmp(key, "deflate-on-oom") == 0)
		return set_switch(p, key, value, &b->deflate_on_oom);
	if (value && strcmp(key, "hinting") == 0)
		return set_switch(p, key, value, &b->hinting);
	if (value && strcmp(key, "reporting") == 0)
		return set_switch(p, key, value, &b->reporting);
	if (value && strcmp(key, "stats") == 0)
		return set_stats(p, value);
	return REFUSE(p, "'%.64s' is not understood (give " USAGE ")", key);
}

int config_value_balloon(const char *value, struct config_balloon *ret_balloon,
	struct error *err)
{
	struct parse p = {
		.balloon = {.present = true},
		.whole = value,
		.err = err,
	};
	struct config_item item;
	const char *pos = *value == '\0' ? NULL : value;
	int ret = 0;

	while (pos && (ret = config_list_next(&pos, &item)) > 0) {
		ret = set_item(&p, item.key, item.value);
		free(item.key);
		if (ret < 0)
			return ret;
	}
	if (ret == 0)
		*ret_balloon = p.balloon;
	return ret;
}
