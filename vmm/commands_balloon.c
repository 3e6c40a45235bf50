/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/commands_balloon.c - see commands_balloon.h; docs/control.md says what
 * each argument means. */
#include "vmm/commands_balloon.h"

#include <errno.h>
#include <inttypes.h>

#include <jansson.h>

#include "virtio/balloon.h"
#include "vmm/commands.h"
#include "vmm/error.h"

#define NS_PER_MS 1000000

const struct control_arg commands_balloon_args[] = {
	{"bytes", "integer", false,
		"size to ask the guest for; 0: it gets all back"},
	{.name = NULL},
};

const struct control_arg commands_balloon_stats_args[] = {
	{"interval", "integer", false,
		"seconds from now on; 0: only when asked for"},
	{.name = NULL},
};

json_t *commands_balloon_json(struct vm *vm)
{
	struct virtio_dev *dev = vm_balloon(vm);
	struct balloon_info info;

	if (!dev)
		return json_null();
	virtio_balloon_info(dev, &info);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "target_bytes",
		(json_int_t)info.target_bytes, "actual_bytes",
		(json_int_t)info.actual_bytes, "returned_bytes",
		(json_int_t)info.returned_bytes, "reported_bytes",
		(json_int_t)info.reported_bytes, "held_bytes",
		(json_int_t)info.held_bytes, "inhibited", info.inhibited,
		"driver", info.driver);
}

static int find_balloon(const struct commands *commands, const char *what,
	struct virtio_dev **ret_dev, struct error *err)
{
	*ret_dev = vm_balloon(commands->vm);
	if (*ret_dev)
		return 0;
	return error_set(err, -ENODEV,
		"%s: the VM has no balloon (start it with --balloon)", what);
}

int commands_balloon(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	json_t *bytes = json_object_get(args, "bytes");
	json_int_t wanted = bytes ? json_integer_value(bytes) : 0;
	struct virtio_dev *dev;
	int ret;

	ret = find_balloon(commands, "balloon", &dev, err);
	if (ret == 0 && bytes)
		ret = commands_refuse_away(commands, "balloon", err);
	if (ret < 0)
		return ret;
	if (wanted < 0)
		return error_set(err, -EINVAL,
			"balloon: %" JSON_INTEGER_FORMAT
			" bytes are no size (give 0 or more)",
			wanted);
	if (bytes)
		ret = virtio_balloon_set(dev, (uint64_t)wanted, err);
	if (ret < 0)
		return ret;
	*ret_data = commands_balloon_json(commands->vm);
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "balloon");
}

static json_t *stats_json(const struct balloon_stats *stats)
{
	json_t *figures = json_object();
	unsigned i;

	for (i = 0; figures && i < BALLOON_STATS; i++) {
		uint64_t v = stats->value[i];

		if (!(stats->valid >> i & 1))
			continue;
		if (json_object_set_new(figures, balloon_stat_name(i),
			    json_integer(v > INT64_MAX ? INT64_MAX
						       : (json_int_t)v)) < 0) {
			json_decref(figures);
			return NULL;
		}
	}
	return json_pack("{s:o, s:o, s:I, s:i}", "stats", figures, "age_ms",
		stats->updates ? json_integer(stats->age_ns / NS_PER_MS)
			       : json_null(),
		"updates", (json_int_t)stats->updates, "interval",
		(int)stats->interval_s);
}

int commands_balloon_stats(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	json_t *interval = json_object_get(args, "interval");
	json_int_t seconds = interval ? json_integer_value(interval) : 0;
	struct balloon_stats stats;
	struct virtio_dev *dev;
	int ret;

	ret = find_balloon(commands, "balloon-stats", &dev, err);
	if (ret < 0)
		return ret;
	if (seconds < 0 || seconds > BALLOON_INTERVAL_MAX_S)
		return error_set(err, -EINVAL,
			"balloon-stats: interval %" JSON_INTEGER_FORMAT
			" is out of range (give 0 to %u seconds)",
			seconds, BALLOON_INTERVAL_MAX_S);
	if (interval)
		virtio_balloon_set_interval(dev, (unsigned)seconds);
	virtio_balloon_stats(dev, &stats);
	/* Without an interval the next call has newer ones. */
	if (stats.interval_s == 0 && virtio_balloon_ask_stats(dev) < 0 &&
		stats.updates == 0)
		return error_set(err, -EOPNOTSUPP,
			"balloon-stats: the guest has no driver for them yet, "
			"or the VM was started without --balloon=stats=SECONDS");
	*ret_data = stats_json(&stats);
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "balloon-stats");
}
