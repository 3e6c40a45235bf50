/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/config_cpus.c - the value of --cpus, see config_values.h. */
#include "vmm/config_values.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_list.h"

enum {
	KEY_MAX,
	KEY_PRECREATE,
	KEY_SOCKETS,
	KEY_CORES,
	KEY_THREADS,
	KEYS,
};

static const char *const keys[KEYS] = {
	"max", "precreate", "sockets", "cores", "threads"};

struct cpus {
	const char *value;     /* all of it, for messages */
	uint32_t number[KEYS]; /* 0: not given */
};

static int set_number(struct cpus *c, int key, const struct config_item *item,
	struct error *err)
{
	uint32_t number;

	if (!item->value || config_parse_u32(item->value, &number) < 0 ||
		number == 0)
		return config_refuse(err, "cpus", c->value,
			"%s is not a number (give %s=N, 1 or more)", keys[key],
			keys[key]);
	if (number > CONFIG_CPUS_MAX)
		return config_refuse(err, "cpus", c->value,
			"%s=%u is too many (give at most %u)", keys[key],
			number, CONFIG_CPUS_MAX);
	c->number[key] = number;
	return 0;
}

static int set_item(
	struct cpus *c, const struct config_item *item, struct error *err)
{
	int key = config_word_find(keys, KEYS, item->key);
	char words[80];

	if (key < 0)
		return config_refuse(err, "cpus", c->value,
			"unknown part %s (give %s)", item->key,
			config_word_join(keys, KEYS, words, sizeof(words)));
	if (c->number[key] != 0)
		return config_refuse(err, "cpus", c->value,
			"%s is given twice (give it once)", keys[key]);
	if (key != KEY_PRECREATE)
		return set_number(c, key, item, err);
	if (item->value)
		return config_refuse(err, "cpus", c->value,
			"precreate takes no value (give just precreate)");
	c->number[key] = 1;
	return 0;
}

static int set_count(const struct cpus *c, const char *text, unsigned *count,
	struct error *err)
{
	uint32_t number;

	if (config_parse_u32(text, &number) < 0)
		return config_refuse(err, "cpus", c->value,
			"not a number (give 1 or more, in digits)");
	if (number == 0)
		return config_refuse(err, "cpus", c->value,
			"a VM needs at least one vCPU (give 1 or more)");
	if (number > CONFIG_CPUS_MAX)
		return config_refuse(err, "cpus", c->value,
			"too many vCPUs (give at most %u; `godwit check` shows "
			"this KVM's limit)",
			CONFIG_CPUS_MAX);
	*count = number;
	return 0;
}

/* What was left out: cores, or else sockets, take up what remains. */
static void fill_topology(struct cpus *c, unsigned max)
{
	uint32_t *n = c->number;
	uint64_t rest;

	if (n[KEY_THREADS] == 0)
		n[KEY_THREADS] = 1;
	if (n[KEY_SOCKETS] == 0 && n[KEY_CORES] == 0)
		n[KEY_SOCKETS] = 1;
	if (n[KEY_SOCKETS] != 0 && n[KEY_CORES] != 0)
		return;
	rest = (uint64_t)n[KEY_THREADS] *
	       (n[KEY_SOCKETS] ? n[KEY_SOCKETS] : n[KEY_CORES]);
	/* No whole number: 1, and the check of the product says so. */
	rest = max % rest == 0 ? max / rest : 1;
	n[n[KEY_SOCKETS] ? KEY_CORES : KEY_SOCKETS] = (uint32_t)rest;
}

static int finish(struct cpus *c, unsigned count, struct config_cpus *ret_smp,
	struct error *err)
{
	unsigned max = c->number[KEY_MAX] ? c->number[KEY_MAX] : count;
	uint64_t product;

	if (max < count)
		return config_refuse(err, "cpus", c->value,
			"max=%u is below the %u vCPUs to start with (give "
			"max=%u or more)",
			max, count, count);
	fill_topology(c, max);
	product = (uint64_t)c->number[KEY_SOCKETS] * c->number[KEY_CORES];
	/* At most 2^32 here, so the next product cannot wrap either. */
	product *= c->number[KEY_THREADS];
	if (product != max)
		return config_refuse(err, "cpus", c->value,
			"%u sockets of %u cores of %u threads are not %u vCPUs "
			"(make the product %u)",
			c->number[KEY_SOCKETS], c->number[KEY_CORES],
			c->number[KEY_THREADS], max, max);
	*ret_smp = (struct config_cpus){
		.max = max,
		.precreate = c->number[KEY_PRECREATE] != 0,
		.sockets = c->number[KEY_SOCKETS],
		.cores = c->number[KEY_CORES],
		.threads = c->number[KEY_THREADS],
	};
	return 0;
}

int config_value_cpus(const char *value, unsigned *ret_cpus,
	struct config_cpus *ret_smp, struct error *err)
{
	struct cpus c = {.value = value};
	struct config_item item;
	const char *pos = value;
	unsigned count = 0;
	int ret;

	/* There is always a first item, be it empty. */
	ret = config_list_next(&pos, &item);
	if (ret < 0)
		return ret;
	ret = set_count(&c, item.value ? "" : item.key, &count, err);
	free(item.key);
	while (ret == 0 && (ret = config_list_next(&pos, &item)) > 0) {
		ret = set_item(&c, &item, err);
		free(item.key);
	}
	if (ret == 0)
		ret = finish(&c, count, ret_smp, err);
	if (ret == 0)
		*ret_cpus = count;
	return ret;
}
