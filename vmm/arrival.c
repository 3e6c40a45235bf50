/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/arrival.c - see arrival.h. */
#include "vmm/arrival.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/chan.h"
#include "migrate/dest.h"
#include "migrate/snapshot.h"
#include "vmm/config_values.h"
#include "vmm/description.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/mover.h"
#include "vmm/vm.h"

/* ---- options ---- */

/* The value of option @name at argv[*i], "--name=value" or the next word; NULL
 * if argv[*i] is another option. */
static const char *value_of(const char *name, int argc, char *const *argv,
	int *i, bool *ret_missing)
{
	size_t len = strlen(name);

	if (strncmp(argv[*i], name, len) != 0)
		return NULL;
	if (argv[*i][len] == '=')
		return argv[*i] + len + 1;
	if (argv[*i][len] != '\0')
		return NULL;
	if (*i + 1 == argc) {
		*ret_missing = true;
		return NULL;
	}
	return argv[++*i];
}

static int add_override(struct arrival *a, const char *text, struct error *err)
{
	if (a->overrides == ARRIVAL_OVERRIDES_MAX)
		return error_set(err, -EINVAL,
			"--override %.160s: there are %u already", text,
			a->overrides);
	a->override[a->overrides++] = text;
	return 0;
}

static int set_timeout(
	int *ret_ms, const char *name, const char *text, struct error *err)
{
	uint32_t seconds;

	if (config_parse_u32(text, &seconds) < 0 || seconds > 86400)
		return error_set(err, -EINVAL,
			"%s %.160s: not a time (give seconds, at most 86400)",
			name, text);
	*ret_ms = seconds ? (int)seconds * 1000 : -1;
	return 0;
}

static bool set_flag(struct arrival *a, const char *word)
{
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		a->help = true;
	else if (a->file && strcmp(word, "--paused") == 0)
		a->paused = true;
	else if (strcmp(word, "-v") == 0 || strcmp(word, "--verbose") == 0)
		a->verbose++;
	else if (a->file && strcmp(word, "--lazy") == 0)
		a->lazy = true;
	else if (!a->file && strcmp(word, "--no-postcopy") == 0)
		a->no_postcopy = true;
	else
		return false;
	return true;
}

/* 1: taken, 0: unknown, or -EINVAL. */
static int take_option(struct arrival *a, int argc, char *const *argv, int *i,
	struct error *err)
{
	bool missing = false;
	const char *value;
	int code = 0;

	if (set_flag(a, argv[*i]))
		return 1;
	if ((value = value_of("--override", argc, argv, i, &missing)))
		code = add_override(a, value, err);
	else if (!a->file &&
		 (value = value_of("--timeout", argc, argv, i, &missing)))
		code = set_timeout(&a->timeout_ms, "--timeout", value, err);
	else if (!a->file &&
		 (value = value_of("--quiet-timeout", argc, argv, i, &missing)))
		code = set_timeout(&a->quiet_ms, "--quiet-timeout", value, err);
	else if (missing)
		return error_set(
			err, -EINVAL, "%s: the value is missing", argv[*i]);
	else
		return 0;
	return code < 0 ? code : 1;
}

int arrival_parse(struct arrival *a, bool file, int argc, char *const *argv,
	struct error *err)
{
	const char *verb = file ? "restore" : "receive";
	int i, code;

	*a = (struct arrival){.file = file, .timeout_ms = -1};
	for (i = 0; i < argc; i++) {
		code = take_option(a, argc, argv, &i, err);
		if (code < 0)
			return code;
		if (a->help)
			return 0;
		if (code > 0)
			continue;
		if (argv[i][0] == '-' || a->from)
			return error_set(err, -EINVAL,
				"%s: '%.160s' is not understood (see `godwit "
				"help %s`)",
				verb, argv[i], verb);
		a->from = argv[i];
	}
	if (!a->from)
		return error_set(err, -EINVAL,
			file ? "restore: no file is given (give restore FILE)"
			     : "receive: no address is given (give receive "
			       "unix:PATH, tcp:HOST:PORT, fd:N or "
			       "exec:COMMAND)");
	return file ? 0 : chan_check_address(a->from, err);
}

/* ---- meeting ---- */

static int meet_source(struct arrival *a, struct error *err)
{
	struct dest_options opt = {
		.timeout_ms = a->quiet_ms > 0 ? a->quiet_ms : 0,
		.postcopy = !a->no_postcopy,
	};
	int code;

	code = chan_listen(a->from, &a->listener, err);
	if (code < 0)
		return code;
	log_info("receive: waiting at %s", chan_listener_address(a->listener));
	return dest_accept(a->listener, &opt, a->timeout_ms, &a->dest, err);
}

int arrival_meet(struct arrival *a, struct config *cfg, struct error *err)
{
	const char *text;
	int code;

	code = a->file ? snapshot_open(a->from, &a->snapshot, err)
		       : meet_source(a, err);
	if (code < 0)
		return code;
	text = a->file ? snapshot_description(a->snapshot)
		       : dest_description(a->dest);
	code = description_parse(text, a->override, a->overrides, cfg, err);
	if (code == 0 &&
		cfg->memory.size != (a->file ? snapshot_ram_bytes(a->snapshot)
					     : dest_ram_bytes(a->dest)))
		code = error_set(err, -EPROTO,
			"machine description: its memory is not as large as "
			"what comes");
	if (code < 0)
		arrival_refuse(a, err);
	return code;
}

void arrival_refuse(struct arrival *a, const struct error *err)
{
	if (!a->dest)
		return;
	dest_refuse(a->dest, err);
	dest_join(a->dest);
	a->dest = NULL;
}

int arrival_begin(struct arrival *a, struct mover *mover, struct vm *vm,
	bool *ret_run, struct error *err)
{
	struct snapshot *snapshot = a->snapshot;
	struct dest *dest = a->dest;
	bool paused = false;
	int code;

	/* Taken by the mover, whatever becomes of it. */
	a->snapshot = NULL;
	a->dest = NULL;
	*ret_run = false;
	if (!a->file)
		return mover_receive(mover, dest, err);
	code = mover_restore(mover, snapshot, a->lazy, &paused, err);
	if (code < 0)
		return code;
	*ret_run = !paused && !a->paused;
	if (!*ret_run)
		vm_adopt_pause(vm);
	return 0;
}

void arrival_fini(struct arrival *a)
{
	dest_join(a->dest);
	snapshot_close(a->snapshot);
	chan_listener_close(a->listener);
}
