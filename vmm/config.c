/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config.c - see config.h.  One table of options and the walk over argv;
 * what a single value may look like is config_values.c's matter.
 */
#include "vmm/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_list.h"
#include "vmm/config_values.h"
#include "vmm/config_whole.h"
#include "vmm/error.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const machine_words[] = {
	[BOOT_MACHINE_ACPI] = "acpi",
	[BOOT_MACHINE_FDT] = "fdt",
	[BOOT_MACHINE_CMDLINE] = "cmdline",
};
static const char *const protocol_words[] = {
	[BOOT_AUTO] = "auto",
	[BOOT_PVH] = "pvh",
	[BOOT_LINUX64] = "linux64",
	[BOOT_LINUX32] = "linux32",
};
static const char *const loop_words[] = {
	[LOOP_AUTO] = "auto",
	[LOOP_POLL] = "poll",
	[LOOP_EPOLL] = "epoll",
	[LOOP_URING] = "uring",
};

const char *config_machine_name(enum boot_machine machine)
{
	return machine_words[machine];
}

const char *config_protocol_name(enum boot_protocol protocol)
{
	return protocol_words[protocol];
}

const char *config_loop_name(enum loop_backend backend)
{
	return loop_words[backend];
}

static int set_path(
	char **slot, const char *option, const char *value, struct error *err)
{
	if (value[0] == '\0')
		return config_refuse(err, option, value,
			"the file name is empty (give --%s FILE)", option);
	return config_set_text(slot, value);
}

static int set_machine(struct config *cfg, const char *value, struct error *err)
{
	int index, ret;

	ret = config_value_word("machine", value, machine_words,
		COUNT(machine_words), &index, err);
	if (ret == 0)
		cfg->machine = (enum boot_machine)index;
	return ret;
}

static int set_boot(struct config *cfg, const char *value, struct error *err)
{
	int index, ret;

	ret = config_value_word("boot", value, protocol_words,
		COUNT(protocol_words), &index, err);
	if (ret == 0)
		cfg->protocol = (enum boot_protocol)index;
	return ret;
}

static int set_loop(struct config *cfg, const char *value, struct error *err)
{
	int index, ret;

	ret = config_value_word(
		"loop", value, loop_words, COUNT(loop_words), &index, err);
	if (ret == 0)
		cfg->loop = (enum loop_backend)index;
	return ret;
}

static int set_iothreads(
	struct config *cfg, const char *value, struct error *err)
{
	uint32_t count;

	if (config_parse_u32(value, &count) < 0)
		return config_refuse(err, "iothread", value,
			"not a number (give 0 to %u, in digits)",
			CONFIG_IOTHREADS_MAX);
	if (count > CONFIG_IOTHREADS_MAX)
		return config_refuse(err, "iothread", value,
			"too many I/O threads (give at most %u)",
			CONFIG_IOTHREADS_MAX);
	cfg->iothreads = count;
	return 0;
}

static int set_trace(struct config *cfg, const char *value, struct error *err)
{
	uint32_t count;

	if (config_parse_u32(value, &count) < 0 || count > CONFIG_TRACE_MAX)
		return config_refuse(err, "trace", value,
			"not a number of events (give 0 to %u, in digits)",
			CONFIG_TRACE_MAX);
	cfg->trace = count;
	return 0;
}

static int set_poll(struct config *cfg, const char *value, struct error *err)
{
	uint32_t us;

	if (config_parse_u32(value, &us) < 0 || us > CONFIG_POLL_US_MAX)
		return config_refuse(err, "poll-us", value,
			"not a number of microseconds (give 0 to %u, in "
			"digits)",
			CONFIG_POLL_US_MAX);
	cfg->poll_us = us;
	return 0;
}

static int set_cpus(struct config *cfg, const char *value, struct error *err)
{
	return config_value_cpus(value, &cfg->cpus, &cfg->smp, err);
}

static int set_cpu(struct config *cfg, const char *value, struct error *err)
{
	return config_value_cpu_model(value, &cfg->cpu, err);
}

static int set_control(struct config *cfg, const char *value, struct error *err)
{
	cfg->control_none = strcmp(value, "none") == 0;
	if (!cfg->control_none)
		return set_path(&cfg->control, "control", value, err);
	free(cfg->control);
	cfg->control = NULL;
	return 0;
}

static int set_name(struct config *cfg, const char *value, struct error *err)
{
	size_t i, len = strlen(value);

	if (len == 0 || len > CONFIG_NAME_MAX)
		return config_refuse(err, "name", value,
			"the name has %zu characters (give 1 to %u)", len,
			CONFIG_NAME_MAX);
	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)value[i]) &&
			!strchr("._-", value[i]))
			return config_refuse(err, "name", value,
				"character %zu is not allowed (use letters, "
				"digits, '.', '_' and '-')",
				i + 1);
	cfg->named = true;
	return config_set_text(&cfg->name, value);
}

static int set_memory(struct config *cfg, const char *value, struct error *err)
{
	return config_value_memory(value, &cfg->memory, err);
}

static int add_disk(struct config *cfg, const char *value, struct error *err)
{
	int ret;

	if (cfg->disks == CONFIG_DISKS_MAX)
		return config_refuse(err, "disk", value,
			"there are %u disks already (give at most %u)",
			cfg->disks, CONFIG_DISKS_MAX);
	ret = config_value_disk(cfg, value, &cfg->disk[cfg->disks], err);
	if (ret == 0)
		cfg->disks++;
	return ret;
}

static int add_net(struct config *cfg, const char *value, struct error *err)
{
	int ret;

	if (cfg->nets == CONFIG_NETS_MAX)
		return config_refuse(err, "net", value,
			"there are %u networks already (give at most %u)",
			cfg->nets, CONFIG_NETS_MAX);
	ret = config_value_net(cfg, value, &cfg->net[cfg->nets], err);
	if (ret == 0)
		cfg->nets++;
	return ret;
}

static int set_vsock(struct config *cfg, const char *value, struct error *err)
{
	if (cfg->vsock.path)
		return config_refuse(err, "vsock", value,
			"there is one already (give it once)");
	return config_value_vsock(value, &cfg->vsock, err);
}

static int set_rng(struct config *cfg, const char *value, struct error *err)
{
	cfg->rng = true;
	return config_value_rng(value, &cfg->rng_limit, err);
}

static int set_balloon(struct config *cfg, const char *value, struct error *err)
{
	return config_value_balloon(value, &cfg->balloon, err);
}

static int set_serial(struct config *cfg, const char *value, struct error *err)
{
	return config_value_char("serial", value, &cfg->serial, err);
}

static int set_console(struct config *cfg, const char *value, struct error *err)
{
	return config_value_char("console", value, &cfg->console, err);
}

static int set_append(struct config *cfg, const char *value, struct error *err)
{
	return config_set_text(&cfg->append, value);
}

static int set_kernel(struct config *cfg, const char *value, struct error *err)
{
	return set_path(&cfg->kernel, "kernel", value, err);
}

static int set_initrd(struct config *cfg, const char *value, struct error *err)
{
	return set_path(&cfg->initrd, "initrd", value, err);
}

static int set_dump_dtb(
	struct config *cfg, const char *value, struct error *err)
{
	return set_path(&cfg->dump_dtb, "dump-dtb", value, err);
}

/* @more: the letters after the first of "-vvv". */
static int add_verbose(struct config *cfg, const char *more, struct error *err)
{
	size_t level = cfg->verbose + 1 + strlen(more);

	cfg->verbose = level > 2 ? 2 : (unsigned)level;
	return 0;
}

/* ---- the table and the walk over argv ---- */

typedef int option_fn(struct config *cfg, const char *value, struct error *err);

struct option {
	const char *name;
	char letter;	   /* 0: none */
	/* What the value is called; NULL: takes none; "[...]": it may be left
	 * out, so it cannot be a word of its own. */
	const char *value;
	option_fn *fn;	   /* NULL: set the bool at offset */
	size_t offset;
};

#define FLAG(n, field)                                                         \
	{                                                                      \
		.name = n, .offset = offsetof(struct config, field)            \
	}

static const struct option options[] = {
	{"kernel", 'k', "FILE", set_kernel, 0},
	{"initrd", 'i', "FILE", set_initrd, 0},
	{"append", 'a', "TEXT", set_append, 0},
	{"cpus", 'c', "N", set_cpus, 0},
	{"memory", 'm', "SIZE", set_memory, 0},
	{"disk", 'd', "path=FILE", add_disk, 0},
	{"net", 'n', "user|tap=NAME", add_net, 0},
	{"vsock", 0, "path=FILE", set_vsock, 0},
	{"balloon", 0, "[SIZE]", set_balloon, 0},
	{"rng", 0, "[bps=BYTES]", set_rng, 0},
	{"machine", 0, "acpi|fdt|cmdline", set_machine, 0},
	{"boot", 0, "auto|pvh|linux64|linux32", set_boot, 0},
	{"serial", 0, "stdio|file=FILE|none", set_serial, 0},
	{"console", 0, "stdio|file=FILE|none", set_console, 0},
	{"loop", 0, "auto|uring|epoll|poll", set_loop, 0},
	{"iothread", 0, "N", set_iothreads, 0},
	{"poll-us", 0, "N", set_poll, 0},
	{"trace", 0, "N", set_trace, 0},
	{"cpu", 0, "host|baseline|FILE", set_cpu, 0},
	{"control", 0, "FILE|none", set_control, 0},
	{"name", 0, "NAME", set_name, 0},
	{"dump-dtb", 0, "FILE", set_dump_dtb, 0},
	{"verbose", 'v', NULL, add_verbose, 0},
	FLAG("pit", pit),
	FLAG("debug-exit", debug_exit),
	FLAG("no-reboot", no_reboot),
	FLAG("dry-run", dry_run),
	{"help", 'h', NULL, NULL, offsetof(struct config, help)},
};

static const struct option *find_letter(char letter)
{
	unsigned i;

	for (i = 0; i < COUNT(options); i++)
		if (options[i].letter == letter)
			return &options[i];
	return NULL;
}

/* @len: of the name; it may be followed by '='. */
static const struct option *find_name(const char *name, size_t len)
{
	unsigned i;

	for (i = 0; i < COUNT(options); i++)
		if (strlen(options[i].name) == len &&
			memcmp(options[i].name, name, len) == 0)
			return &options[i];
	return NULL;
}

static int refuse_unknown(const char *word, struct error *err)
{
	const char *names[COUNT(options)];
	char name[64];
	unsigned i;
	int near = -1;

	for (i = 0; i < COUNT(options); i++)
		names[i] = options[i].name;
	if (word[0] != '-')
		return error_set(err, -EINVAL,
			"%.160s: not an option (a kernel is given as --kernel "
			"FILE; see `godwit help run`)",
			word);
	if (word[1] == '-') {
		strncpy(name, word + 2, sizeof(name) - 1);
		name[sizeof(name) - 1] = '\0';
		name[strcspn(name, "=")] = '\0';
		near = config_word_near(names, COUNT(options), name);
	}
	if (near >= 0)
		return error_set(err, -EINVAL,
			"%.160s: unknown option (did you mean --%s? see "
			"`godwit help run`)",
			word, names[near]);
	return error_set(err, -EINVAL,
		"%.160s: unknown option (see `godwit help run`)", word);
}

/* "--name", "--name=value", "-x", "-xvalue": the option, and the value that is
 * part of the word or NULL. */
static const struct option *match(const char *word, const char **ret_value)
{
	const struct option *opt;
	size_t len;

	*ret_value = NULL;
	if (word[0] != '-' || word[1] == '\0')
		return NULL;
	if (word[1] != '-') {
		opt = find_letter(word[1]);
		if (word[2] != '\0')
			*ret_value = word + 2;
		return opt;
	}
	len = strcspn(word + 2, "=");
	opt = find_name(word + 2, len);
	if (word[2 + len] == '=')
		*ret_value = word + 2 + len + 1;
	return opt;
}

static int apply_flag(struct config *cfg, const struct option *opt,
	const char *word, const char *value, struct error *err)
{
	/* "-vv" says it twice. */
	if (value && word[1] == opt->letter)
		value += strspn(value, (char[]){opt->letter, '\0'});
	if (value && (*value != '\0' || word[1] == '-'))
		return error_set(err, -EINVAL,
			"%.160s: --%s takes no value (give just --%s)", word,
			opt->name, opt->name);
	if (!opt->fn) {
		*(bool *)((char *)cfg + opt->offset) = true;
		return 0;
	}
	return opt->fn(cfg, word[1] == '-' ? "" : word + 2, err);
}

/* What is asked of this run alone is no part of the machine. */
static const char *const passing[] = {"dry-run", "dump-dtb", "verbose", "help"};

/* Return: @used or -errno. */
static int keep_words(struct config *cfg, const struct option *opt,
	const char *value, int used, struct error *err)
{
	int ret;

	if (config_word_find(passing, COUNT(passing), opt->name) >= 0)
		return used;
	ret = words_add(&cfg->words, opt->name, value);
	if (ret < 0)
		return error_set(err, ret == -E2BIG ? -EINVAL : ret,
			"--%s: too many options (give at most %u)", opt->name,
			WORDS_MAX);
	return used;
}

/* Take one option off @argv.  Return: the words used, 1 or 2, or -errno. */
static int take_option(
	struct config *cfg, int argc, char *const *argv, struct error *err)
{
	const struct option *opt;
	const char *value;
	int used = 1, ret;

	opt = match(argv[0], &value);
	if (!opt)
		return refuse_unknown(argv[0], err);
	if (!opt->value) {
		ret = apply_flag(cfg, opt, argv[0], value, err);
		return ret < 0 ? ret : keep_words(cfg, opt, NULL, used, err);
	}
	if (!value && opt->value[0] == '[') {
		ret = opt->fn(cfg, "", err);
		return ret < 0 ? ret : keep_words(cfg, opt, NULL, used, err);
	}
	if (!value) {
		if (argc < 2)
			return error_set(err, -EINVAL,
				"--%s: the value is missing (give --%s %s)",
				opt->name, opt->name, opt->value);
		value = argv[1];
		used = 2;
	}
	ret = opt->fn(cfg, value, err);
	return ret < 0 ? ret : keep_words(cfg, opt, value, used, err);
}

/* A message is one line whatever was on the command line. */
static void keep_one_line(struct error *err)
{
	char *p;

	if (!err)
		return;
	for (p = err->text; *p != '\0'; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
}

static int parse_words(
	struct config *cfg, int argc, char *const *argv, struct error *err)
{
	int used;

	while (argc > 0) {
		used = take_option(cfg, argc, argv, err);
		if (used < 0)
			return used;
		if (cfg->help)
			return 0;
		argc -= used;
		argv += used;
	}
	return config_whole_check(cfg, err);
}

int config_parse_run(
	struct config *cfg, int argc, char *const *argv, struct error *err)
{
	int ret = parse_words(cfg, argc, argv, err);

	if (ret == 0 && !cfg->name)
		ret = config_set_text(&cfg->name, "godwit");
	if (ret == 0 && !cfg->append)
		ret = config_set_text(&cfg->append, "");
	if (ret == 0)
		ret = config_whole_name_nets(cfg);
	if (ret == -ENOMEM)
		return error_errno(err, ret, "command line");
	if (ret < 0)
		keep_one_line(err);
	else
		config_whole_spread(cfg);
	return ret;
}

int config_parse_verb(int argc, char *const *argv, enum config_verb *ret_verb,
	struct error *err)
{
	static const struct {
		const char *word;
		enum config_verb verb;
	} verbs[] = {
		{"run", CONFIG_RUN},
		{"receive", CONFIG_RECEIVE},
		{"restore", CONFIG_RESTORE},
		{"check", CONFIG_CHECK},
		{"version", CONFIG_VERSION},
		{"help", CONFIG_HELP},
		{"--version", CONFIG_VERSION},
		{"--help", CONFIG_HELP},
		{"-h", CONFIG_HELP},
	};
	unsigned i;

	if (argc < 2)
		return error_set(
			err, -EINVAL, "no verb is given (see `godwit help`)");
	for (i = 0; i < COUNT(verbs); i++) {
		if (strcmp(argv[1], verbs[i].word) == 0) {
			*ret_verb = verbs[i].verb;
			return 0;
		}
	}
	error_set(err, -EINVAL, "%.160s: unknown verb (see `godwit help`)",
		argv[1]);
	keep_one_line(err);
	return -EINVAL;
}

void config_init(struct config *cfg)
{
	unsigned i;

	*cfg = (struct config){
		.cpus = 1,
		.smp = {.max = 1, .sockets = 1, .cores = 1, .threads = 1},
		.memory = {.size = CONFIG_MEMORY_DEFAULT},
		.poll_us = CONFIG_POLL_US,
		.serial = {.kind = CONFIG_CHAR_STDIO},
	};
	for (i = 0; i < CONFIG_DISKS_MAX; i++)
		cfg->disk[i].fd = cfg->disk[i].iothread = -1;
}

void config_fini(struct config *cfg)
{
	unsigned i;

	free(cfg->name);
	free(cfg->kernel);
	free(cfg->initrd);
	free(cfg->append);
	free(cfg->serial.path);
	free(cfg->console.path);
	free(cfg->dump_dtb);
	free(cfg->cpu);
	free(cfg->control);
	free(cfg->vsock.path);
	words_fini(&cfg->words);
	free(cfg->cpuid);
	for (i = 0; i < cfg->disks; i++)
		free(cfg->disk[i].path);
	*cfg = (struct config){.cpus = 0};
}
