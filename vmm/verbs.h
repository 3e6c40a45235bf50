/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/verbs.h - the verbs that talk to a running VM: info, pause, migrate ...
 *
 * verbs.c makes one command of the words; verbs_run.c sends it and shows what
 * comes of it; progress.c knows how that looks.
 *
 * Thread: the main one.
 */
#ifndef GODWIT_VMM_VERBS_H
#define GODWIT_VMM_VERBS_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

struct error;

/* What to do with the answer, when it is not for --json. */
enum verbs_show {
	VERBS_SHOW_NOTHING,
	VERBS_SHOW_TREE, /* indented lines */
	VERBS_SHOW_JOBS, /* a table */
	VERBS_SHOW_JSON,
};

struct verbs_request {
	const char *verb;     /* borrowed: "cpu set" */
	const char *name;     /* borrowed: of the VM, or a path */
	const char *cmd;      /* borrowed: "cpu-set" */
	json_t *args;	      /* owned object */
	const char *timeline; /* borrowed: file for the job's timeline; NULL */
	enum verbs_show show;
	bool job;  /* wait for the end of the job that the answer names */
	bool last; /* wait until the VM closes the connection */
	bool json;
	bool help; /* --help was given; nothing else was checked */
};

/* Is @word one of these verbs? */
bool verbs_knows(const char *word);

/**
 * verbs_parse - @argv: argc words, the verb first; kept by pointer.
 * No side effects, but that relative file names become absolute, because the
 * VM's process has another working directory.
 * Return: 0; -EINVAL or -ENOMEM with @err.  Always needs _fini().
 */
int verbs_parse(int argc, char *const *argv, struct verbs_request *ret_request,
	struct error *err);
void verbs_fini(struct verbs_request *request);

/* Connect, do it, print to @out.  The error has not been printed.
 * Return: 0; -EREMOTEIO (refused, or the job failed), -EINTR (left while the
 * job goes on), -EIO (@out), or -errno of client.h; with @err. */
int verbs_run(
	const struct verbs_request *request, FILE *out, struct error *err);

#endif
