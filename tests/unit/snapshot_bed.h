/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/snapshot_bed.h - RAM with known pages and a directory of its own,
 * for the tests of snapshots.
 */
#ifndef GODWIT_TESTS_UNIT_SNAPSHOT_BED_H
#define GODWIT_TESTS_UNIT_SNAPSHOT_BED_H

#include "tests/lib/testing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/pager.h"
#include "migrate/snapshot.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"

#define PAGE	    4096u
#define DESCRIPTION "{\"memory\": 1}"
#define STATE	    "state of some device"

struct snapshot_bed {
	char dir[32], path[48];
	struct guestmem gm;
	uint64_t pages;
};

/* Pages 3, 4 and 5 of each 8 have data, by @salt; others are zero, and each
 * eighth of those has memory all the same. */
static inline uint64_t bed_value(uint64_t page, uint64_t salt)
{
	if (page % 8 < 3 || page % 8 > 5)
		return 0;
	return (page + salt) * 0x9e3779b97f4a7c15ull | 1;
}

static inline void bed_ram(
	struct guestmem *gm, uint64_t pages, enum guestmem_backing backing)
{
	struct guestmem_options opt = {
		.size = pages * PAGE, .backing = backing};
	struct error err;

	assert_int_equal(guestmem_init(gm, &opt, &err), 0);
}

static inline void bed_fill(struct snapshot_bed *b, uint64_t salt)
{
	uint64_t i, v;

	for (i = 0; i < b->pages; i++) {
		v = bed_value(i, salt);
		if (v == 0 && i % 8 != 0)
			continue;
		/* One word in a page, elsewhere each time. */
		memcpy(b->gm.base + i * PAGE + i % 512 * 8, &v, 8);
	}
}

static inline uint64_t bed_peek(const struct guestmem *gm, uint64_t page)
{
	return *(volatile uint64_t *)(gm->base + page * PAGE + page % 512 * 8);
}

static inline void bed_init(
	struct snapshot_bed *b, uint64_t pages, enum guestmem_backing backing)
{
	memset(b, 0, sizeof(*b));
	strcpy(b->dir, "/tmp/godwit-snap-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/vm.snap", b->dir);
	b->pages = pages;
	bed_ram(&b->gm, pages, backing);
	bed_fill(b, 0);
	alarm(TESTING_WATCHDOG_S); /* what hangs ends here */
}

/* Files in the directory, hidden ones too. */
static inline int bed_files(const struct snapshot_bed *b)
{
	DIR *d = opendir(b->dir);
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 &&
		     strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static inline void bed_fini(struct snapshot_bed *b)
{
	unlink(b->path);
	assert_int_equal(rmdir(b->dir), 0); /* nothing else was left */
	guestmem_fini(&b->gm);
	alarm(0);
}

static inline struct snapshot_contents bed_contents(
	const struct snapshot_bed *b)
{
	return (struct snapshot_contents){
		.description = DESCRIPTION,
		.state = (const uint8_t *)STATE,
		.state_len = sizeof(STATE),
		.gm = &b->gm,
		.paused = true,
		.stop_ns = 1234567890123,
	};
}

static inline int bed_write(const struct snapshot_bed *b,
	const struct snapshot_options *opt, struct error *err)
{
	struct snapshot_contents what = bed_contents(b);

	return snapshot_write(b->path, &what, opt, err);
}

static inline struct snapshot *bed_open(const struct snapshot_bed *b)
{
	struct snapshot *s = NULL;
	struct error err = {0};

	if (snapshot_open(b->path, &s, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

/* Does the file open, and hold the pages of @salt?  0 or -errno. */
static inline int bed_check(const struct snapshot_bed *b, uint64_t salt)
{
	struct snapshot *s = NULL;
	struct guestmem gm;
	uint64_t i;
	int code = snapshot_open(b->path, &s, NULL);

	if (code < 0)
		return code;
	bed_ram(&gm, b->pages, GUESTMEM_ANON);
	code = snapshot_read(s, &gm, NULL, NULL);
	for (i = 0; i < b->pages && code == 0; i++)
		if (bed_peek(&gm, i) != bed_value(i, salt))
			code = -EILSEQ;
	guestmem_fini(&gm);
	snapshot_close(s);
	return code;
}

#endif
