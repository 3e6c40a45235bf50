/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/check.h - `godwit check`: what this host offers, what each part is for
 * and what is lost without it.
 *
 * Looks, measures and undoes; changes nothing.  Gathering never fails: what
 * cannot be found out is an item that says so.
 */
#ifndef GODWIT_VMM_CHECK_H
#define GODWIT_VMM_CHECK_H

#include <stdbool.h>
#include <stdio.h>

#define CHECK_ITEMS_MAX 80u

enum check_grade {
	CHECK_OK,
	CHECK_LOST,  /* something does not work or is slower */
	CHECK_FATAL, /* no guest can run */
};

struct check_item {
	const char *group; /* static */
	enum check_grade grade;
	char name[40];
	char value[160];
	char why[160];	/* what godwit does with it */
	char lost[200]; /* what is lost without it, and the remedy; or "" */
};

struct check_report {
	struct check_item item[CHECK_ITEMS_MAX];
	unsigned items;
	bool can_run;	   /* no item is CHECK_FATAL */
	bool native;	   /* guest kernel code runs on the CPU itself */
	bool native_known; /* else the measurement failed */
	double guest_mips; /* of guest kernel code; 0 if not known */
};

/* Device nodes to look at; NULL members stand for the usual ones. */
struct check_paths {
	const char *kvm;	 /* /dev/kvm */
	const char *userfaultfd; /* /dev/userfaultfd */
	const char *tun;	 /* /dev/net/tun */
};

/* @paths: NULL for the usual ones.  Thread: any; blocks for some 20 ms. */
void check_gather(
	const struct check_paths *paths, struct check_report *ret_report);

/* Return: 0, -ENOMEM or -EIO. */
int check_print_text(const struct check_report *report, FILE *out);
int check_print_json(const struct check_report *report, FILE *out);

/* Add an item; @fmt makes its value.  For check.c and check_host.c. */
struct check_item *check_add(struct check_report *report, const char *group,
	const char *name, enum check_grade grade, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void check_explain(struct check_item *item, const char *why, const char *lost);

/* The items that do not come from KVM (check_host.c). */
void check_host_gather(
	const struct check_paths *paths, struct check_report *report);

#endif
