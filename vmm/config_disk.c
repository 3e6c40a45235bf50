/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_disk.c - what stands after --disk; see config_values.h.
 */
#include "vmm/config_values.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_list.h"
#include "vmm/error.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FD_MAX	 0x7fffffffu
#define USAGE                                                                  \
	"path=FILE|fd=N[,ro][,direct][,cache=MODE][,serial=ID][,queues=N]"     \
	"[,discard=off][,werror=report|stop][,iops=N][,bps=N][,group=NAME]"    \
	"[,iothread=K]"

static const char *const cache_words[] = {
	[DISK_WRITEBACK] = "writeback",
	[DISK_WRITETHROUGH] = "writethrough",
	[DISK_UNSAFE] = "unsafe",
};

const char *config_cache_name(enum disk_cache cache)
{
	return cache_words[cache];
}

static int set_disk_serial(struct config_disk *disk, const char *serial,
	const char *whole, struct error *err)
{
	size_t i, len = strlen(serial);

	if (len == 0 || len > CONFIG_SERIAL_MAX)
		return config_refuse(err, "disk", whole,
			"the serial has %zu characters (give 1 to %u)", len,
			CONFIG_SERIAL_MAX);
	for (i = 0; i < len; i++)
		if (!isgraph((unsigned char)serial[i]))
			return config_refuse(err, "disk", whole,
				"character %zu of the serial is not allowed "
				"(use printable ASCII without spaces)",
				i + 1);
	memcpy(disk->serial, serial, len + 1);
	return 0;
}

static int set_disk_iothread(struct config_disk *disk, const char *value,
	const char *whole, struct error *err)
{
	uint32_t index;

	if (config_parse_u32(value, &index) < 0 ||
		index >= CONFIG_IOTHREADS_MAX)
		return config_refuse(err, "disk", whole,
			"iothread '%.64s' is not the number of an I/O thread "
			"(give 0 to %u)",
			value, CONFIG_IOTHREADS_MAX - 1);
	disk->iothread = (int)index;
	return 0;
}

static int set_path(struct config_disk *disk, const char *value,
	const char *whole, struct error *err)
{
	if (value[0] == '\0')
		return config_refuse(err, "disk", whole,
			"the path is empty (give path=FILE)");
	return config_set_text(&disk->path, value);
}

static int set_fd(struct config_disk *disk, const char *value,
	const char *whole, struct error *err)
{
	uint32_t fd;

	if (config_parse_u32(value, &fd) < 0 || fd < 3 || fd > FD_MAX)
		return config_refuse(err, "disk", whole,
			"fd '%.64s' is not an inherited file descriptor (give "
			"3 or more)",
			value);
	disk->fd = (int)fd;
	return 0;
}

static int set_queues(struct config_disk *disk, const char *value,
	const char *whole, struct error *err)
{
	uint32_t queues;

	if (config_parse_u32(value, &queues) < 0 || queues < 1 ||
		queues > CONFIG_DISK_QUEUES_MAX)
		return config_refuse(err, "disk", whole,
			"queues '%.64s' is out of range (give 1 to %u)", value,
			CONFIG_DISK_QUEUES_MAX);
	disk->queues = queues;
	return 0;
}

/* One of two words. */
static int set_choice(bool *flag, const struct config_item *item,
	const char *yes, const char *no, const char *whole, struct error *err)
{
	if (strcmp(item->value, yes) != 0 && strcmp(item->value, no) != 0)
		return config_refuse(err, "disk", whole,
			"%s '%.64s' is unknown (give %s or %s)", item->key,
			item->value, yes, no);
	*flag = strcmp(item->value, yes) == 0;
	return 0;
}

static int set_cache(struct config_disk *disk, const char *value,
	const char *whole, struct error *err)
{
	int index = config_word_find(cache_words, COUNT(cache_words), value);
	char allowed[64];

	if (index < 0)
		return config_refuse(err, "disk", whole,
			"cache '%.64s' is unknown (give %s)", value,
			config_word_join(cache_words, COUNT(cache_words),
				allowed, sizeof(allowed)));
	disk->cache = (enum disk_cache)index;
	return 0;
}

static int set_group(struct config_disk *disk, const char *value,
	const char *whole, struct error *err)
{
	size_t i, len = strlen(value);

	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)value[i]) &&
			!strchr("-_.", value[i]))
			break;
	if (len == 0 || i < len || len > CONFIG_GROUP_MAX)
		return config_refuse(err, "disk", whole,
			"group '%.64s' is not a name (give 1 to %u letters, "
			"digits, '-', '_' or '.')",
			value, CONFIG_GROUP_MAX);
	memcpy(disk->group, value, len + 1);
	return 0;
}

/* ---- limits ---- */

bool config_limit_slot(
	struct bucket_limits *limits, const char *key, uint64_t **ret_slot)
{
	static const struct {
		const char *text;
		unsigned dir;
	} dirs[] = {
		{"-rd", BUCKET_READ}, {"-wr", BUCKET_WRITE}, {"", BUCKET_DIRS}};
	struct bucket_limit *limit;
	unsigned i;

	if (strncmp(key, "iops", 4) == 0) {
		limit = limits->ops;
		key += 4;
	} else if (strncmp(key, "bps", 3) == 0) {
		limit = limits->bytes;
		key += 3;
	} else {
		return false;
	}
	for (i = 0; strncmp(key, dirs[i].text, strlen(dirs[i].text)) != 0;)
		i++;
	limit += dirs[i].dir;
	key += strlen(dirs[i].text);
	*ret_slot = key[0] ? &limit->burst : &limit->rate;
	return key[0] == '\0' || strcmp(key, "-burst") == 0;
}

const char *config_limits_wrong(const struct bucket_limits *limits)
{
	const struct bucket_limit *both[] = {limits->ops, limits->bytes};
	unsigned i, k;

	for (i = 0; i < 2; i++)
		for (k = 0; k <= BUCKET_DIRS; k++) {
			const struct bucket_limit *l = &both[i][k];

			if (l->rate > BUCKET_RATE_MAX)
				return "a limit is out of range (give at most "
				       "1T a second)";
			if (l->burst > BUCKET_BURST_MAX)
				return "a burst is out of range (give at most "
				       "4G)";
			if (l->burst > 0 && l->rate == 0)
				return "a burst is of no use without its limit "
				       "(give both)";
		}
	return NULL;
}

bool config_limited(const struct bucket_limits *limits)
{
	unsigned k;

	for (k = 0; k <= BUCKET_DIRS; k++)
		if (limits->ops[k].rate > 0 || limits->bytes[k].rate > 0)
			return true;
	return false;
}

static int set_limit(uint64_t *slot, const struct config_item *item,
	const char *whole, struct error *err)
{
	uint64_t value;

	if (config_parse_size(item->value, &value) < 0 || value == 0)
		return config_refuse(err, "disk", whole,
			"%s '%.64s' is not a limit (give a number a second, "
			"for example 1000 or 10M)",
			item->key, item->value);
	*slot = value;
	return 0;
}

/* ---- items ---- */

static int set_word(struct config_disk *disk, const char *word,
	const char *whole, struct error *err)
{
	if (strcmp(word, "ro") == 0)
		disk->readonly = true;
	else if (strcmp(word, "direct") == 0)
		disk->direct = true;
	else if (word[0] != '\0')
		return config_refuse(err, "disk", whole,
			"'%.64s' is not understood (a file is given as path="
			"FILE; a comma in it is written twice)",
			word);
	else
		return config_refuse(err, "disk", whole,
			"'' is not understood (give " USAGE ")");
	return 0;
}

typedef int set_fn(struct config_disk *disk, const char *value,
	const char *whole, struct error *err);

static int set_disk_item(struct config_disk *disk,
	const struct config_item *item, const char *whole, struct error *err)
{
	static const struct {
		const char *key;
		set_fn *set;
	} keys[] = {{"path", set_path}, {"fd", set_fd},
		{"serial", set_disk_serial}, {"iothread", set_disk_iothread},
		{"queues", set_queues}, {"cache", set_cache},
		{"group", set_group}};
	uint64_t *slot;
	bool on = false;
	unsigned i;
	int ret;

	if (!item->value)
		return set_word(disk, item->key, whole, err);
	for (i = 0; i < COUNT(keys); i++)
		if (strcmp(item->key, keys[i].key) == 0)
			return keys[i].set(disk, item->value, whole, err);
	if (strcmp(item->key, "discard") == 0) {
		ret = set_choice(&on, item, "on", "off", whole, err);
		disk->no_discard = !on;
		return ret;
	}
	if (strcmp(item->key, "werror") == 0)
		return set_choice(&disk->stop_when_full, item, "stop", "report",
			whole, err);
	if (config_limit_slot(&disk->limits, item->key, &slot))
		return set_limit(slot, item, whole, err);
	return config_refuse(err, "disk", whole,
		"'%.64s' is not understood (give " USAGE ")", item->key);
}

/* Two writers, or a writer and a reader, on one image ruin it. */
static int check_disk_shared(const struct config *cfg,
	const struct config_disk *disk, const char *whole, struct error *err)
{
	const struct config_disk *other;
	unsigned i;
	bool same;

	for (i = 0; i < cfg->disks; i++) {
		other = &cfg->disk[i];
		same = disk->path ? other->path &&
					    strcmp(disk->path, other->path) == 0
				  : disk->fd == other->fd;
		if (same && !(disk->path && disk->readonly && other->readonly))
			return config_refuse(err, "disk", whole,
				"disk %u is the same (give each disk once, or "
				"each with path= and ro)",
				i);
	}
	return 0;
}

/* A group has the limits that its first disk gives. */
static int check_limits(const struct config *cfg,
	const struct config_disk *disk, const char *whole, struct error *err)
{
	const char *wrong = config_limits_wrong(&disk->limits);
	bool limited = config_limited(&disk->limits);
	unsigned i;

	if (wrong)
		return config_refuse(err, "disk", whole, "%s", wrong);
	if (disk->group[0] == '\0')
		return 0;
	for (i = 0; i < cfg->disks; i++)
		if (strcmp(cfg->disk[i].group, disk->group) == 0)
			break;
	if (i == cfg->disks && !limited)
		return config_refuse(err, "disk", whole,
			"group %s has no limits (give iops= or bps= with its "
			"first disk)",
			disk->group);
	if (i < cfg->disks && limited)
		return config_refuse(err, "disk", whole,
			"group %s has the limits of disk %u already (give them "
			"once)",
			disk->group, i);
	return 0;
}

static int check_disk(const struct config *cfg, const struct config_disk *disk,
	const char *whole, struct error *err)
{
	if (!disk->path && disk->fd < 0)
		return config_refuse(err, "disk", whole,
			"it has no file (give path=FILE or fd=N)");
	if (disk->path && disk->fd >= 0)
		return config_refuse(err, "disk", whole,
			"path and fd exclude each other (give one)");
	if (check_limits(cfg, disk, whole, err) < 0)
		return -EINVAL;
	return check_disk_shared(cfg, disk, whole, err);
}

int config_value_disk(const struct config *cfg, const char *value,
	struct config_disk *ret_disk, struct error *err)
{
	struct config_disk disk = {.fd = -1, .iothread = -1, .queues = 1};
	struct config_item item;
	const char *pos = value;
	int ret;

	while ((ret = config_list_next(&pos, &item)) > 0) {
		ret = set_disk_item(&disk, &item, value, err);
		free(item.key);
		if (ret < 0)
			break;
	}
	if (ret == 0)
		ret = check_disk(cfg, &disk, value, err);
	if (ret < 0) {
		free(disk.path);
		return ret;
	}
	*ret_disk = disk;
	return 0;
}
