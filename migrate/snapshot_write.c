/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/snapshot_write.c - a stopped machine into a file.
 *
 * Pages go straight from guest RAM to the file, several writes in flight, while
 * this thread looks for zero pages and sums the rest; the head of the file,
 * which needs those sums, is last.  All that happens to a file without a name
 * (O_TMPFILE), or with a temporary one where the file system has no such
 * files.  So a crash leaves nothing, or in the moment between linkat(2) and
 * rename(2) a complete file with a temporary name.
 */
#include "migrate/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/fileio.h"
#include "migrate/snapshot_format.h"
#include "migrate/state.h"
#include "migrate/touched.h"
#include "migrate/zero.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"

#define RUN_PAGES 256u /* of one write */

struct writer {
	const struct snapshot_contents *what;
	const struct snapshot_options *opt;
	struct snapshot_layout layout;
	uint8_t *head; /* owned: [0, index end), rounded up to pages */
	uint64_t head_bytes;
	uint64_t *bitmap; /* in head */
	uint32_t *crc;	  /* in head */
	struct fileio io;

	const char *path; /* borrowed */
	char *dir, *temp; /* owned; temp is NULL while the file has no name */
	int dir_fd, fd;	  /* owned */
};

/* ---- the file and its name ---- */

static char *temp_name(const char *path)
{
	char *copy = strdup(path), *name = NULL;
	uint64_t r = 0;

	if (!copy)
		return NULL;
	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = (uint64_t)getpid();
	/* A name may have 255 bytes. */
	if (asprintf(&name, ".%.200s.%016" PRIx64, basename(copy), r) < 0)
		name = NULL;
	free(copy);
	return name;
}

static int check_target(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_errno(err, -errno, "%s", path);
	if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))
		return 0;
	return error_set(err, -EINVAL, "%s: not a regular file", path);
}

static int open_dir(struct writer *w, struct error *err)
{
	char *copy = strdup(w->path);

	if (!copy)
		return error_errno(err, -ENOMEM, "%s", w->path);
	w->dir = strdup(dirname(copy));
	free(copy);
	if (!w->dir)
		return error_errno(err, -ENOMEM, "%s", w->path);
	w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir_fd < 0)
		return error_errno(err, -errno, "%s: open directory", w->dir);
	return 0;
}

/* Guest RAM holds secrets: nobody else may read it. */
static int open_file(struct writer *w, struct error *err)
{
	int flags;

	w->fd = openat(w->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (w->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR ||
				 errno == EINVAL || errno == ENOENT)) {
		w->temp = temp_name(w->path);
		if (!w->temp)
			return error_errno(err, -ENOMEM, "%s", w->path);
		w->fd = openat(w->dir_fd, w->temp,
			O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	}
	if (w->fd < 0)
		return error_errno(err, -errno, "%s: create a file", w->dir);
	flags = fcntl(w->fd, F_GETFL);
	/* A file system may refuse: then through the page cache. */
	if (!(w->opt && w->opt->buffered) && flags >= 0)
		fcntl(w->fd, F_SETFL, flags | O_DIRECT);
	if (ftruncate(w->fd, (off_t)w->layout.file_bytes) < 0)
		return error_errno(err, -errno,
			"%s: a file of %" PRIu64 " MiB (sparse)", w->path,
			w->layout.file_bytes >> 20);
	return 0;
}

/* linkat(2) replaces nothing, so a name that is free comes first. */
static int give_name(struct writer *w, struct error *err)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", w->fd);
	w->temp = temp_name(w->path);
	if (!w->temp)
		return error_errno(err, -ENOMEM, "%s", w->path);
	if (linkat(AT_FDCWD, self, w->dir_fd, w->temp, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	free(w->temp);
	w->temp = NULL;
	return error_errno(
		err, -errno, "%s: link (is /proc mounted?)", w->path);
}

static int publish(struct writer *w, struct error *err)
{
	bool sync = !(w->opt && w->opt->no_sync);
	int code;

	if (sync && fdatasync(w->fd) < 0)
		return error_errno(err, -errno, "%s: fdatasync", w->path);
	if (!w->temp) {
		code = give_name(w, err);
		if (code < 0)
			return code;
	}
	if (renameat(w->dir_fd, w->temp, AT_FDCWD, w->path) < 0)
		return error_errno(err, -errno, "%s: rename", w->path);
	free(w->temp);
	w->temp = NULL;
	/* The file is there and complete; only a crash of the host could still
	 * bring the old one back. */
	if (sync && fsync(w->dir_fd) < 0)
		return error_errno(err, -errno,
			"%s: written, but fsync of its directory failed, so it "
			"may not outlive a crash of the host",
			w->path);
	return 0;
}

/* ---- pages ---- */

static bool cancelled(const struct writer *w)
{
	return w->opt && w->opt->cancel && atomic_load(w->opt->cancel);
}

static int write_run(struct writer *w, uint64_t page, uint32_t n)
{
	struct migrate_stats *stats = w->opt ? w->opt->stats : NULL;

	if (n == 0)
		return 0;
	if (stats) {
		migrate_count(&stats->pages_full, n);
		migrate_count(&stats->bytes, (uint64_t)n * SNAPSHOT_PAGE);
	}
	return fileio_submit(&w->io, w->what->gm->base + page * SNAPSHOT_PAGE,
		w->layout.pages_at + page * SNAPSHOT_PAGE, n * SNAPSHOT_PAGE);
}

/* Look at pages [page, end), write what is not zero. */
static int write_pages(struct writer *w, uint64_t page, uint64_t end)
{
	const uint8_t *base = w->what->gm->base;
	uint32_t run = 0;
	int code = 0;

	for (; page < end && code == 0; page++) {
		const uint8_t *p = base + page * SNAPSHOT_PAGE;

		if (page_is_zero(p)) {
			code = write_run(w, page - run, run);
			run = 0;
			continue;
		}
		w->bitmap[page / 64] |= htole64(1ull << (page % 64));
		w->crc[page] = htole32(state_crc32c(0, p, SNAPSHOT_PAGE));
		if (++run == RUN_PAGES) {
			code = write_run(w, page + 1 - run, run);
			run = 0;
			if (code == 0 && cancelled(w))
				code = -ECANCELED;
		}
	}
	return code < 0 ? code : write_run(w, page - run, run);
}

static void count_zero(struct writer *w)
{
	uint64_t n = w->layout.ram_bytes / SNAPSHOT_PAGE, full = 0, i;

	if (!w->opt || !w->opt->stats)
		return;
	for (i = 0; i < (n + 63) / 64; i++)
		full += (uint64_t)__builtin_popcountll(w->bitmap[i]);
	migrate_count(&w->opt->stats->pages_zero, n - full);
}

static int write_ram(struct writer *w, struct error *err)
{
	struct touched *t = malloc(sizeof(*t));
	uint64_t page = 0, end = 0;
	int code = 0, last;

	if (!t)
		return error_errno(err, -ENOMEM, "%s", w->path);
	fileio_init(&w->io, w->fd, true, NULL, NULL);
	touched_init(t, w->what->gm);
	while (code == 0 && (page = touched_next(t, page, &end)) < t->pages) {
		code = cancelled(w) ? -ECANCELED : write_pages(w, page, end);
		page = end;
	}
	touched_fini(t);
	free(t);
	last = fileio_fini(&w->io);
	code = code < 0 ? code : last;
	if (code == -ECANCELED)
		return error_set(err, code, "%s: cancelled", w->path);
	if (code < 0)
		return error_errno(err, code, "%s: write guest RAM", w->path);
	count_zero(w);
	return 0;
}

/* ---- all that is not pages ---- */

static int make_head(struct writer *w, struct error *err)
{
	struct snapshot_layout *l = &w->layout;
	void *head;

	l->paused = w->what->paused;
	l->stop_ns = w->what->stop_ns;
	l->ram_bytes = w->what->gm->size;
	l->description_len = strlen(w->what->description);
	l->state_len = w->what->state_len;
	if (snapshot_layout_fill(l, err) < 0)
		return error_prepend(err, "%s", w->path);
	w->head_bytes = (l->index_at + l->index_len + SNAPSHOT_PAGE - 1) &
			~(uint64_t)(SNAPSHOT_PAGE - 1);
	if (posix_memalign(&head, SNAPSHOT_PAGE, w->head_bytes) != 0)
		return error_errno(err, -ENOMEM, "%s: index", w->path);
	memset(head, 0, w->head_bytes);
	w->head = head;
	memcpy(w->head + l->description_at, w->what->description,
		l->description_len);
	if (l->state_len > 0)
		memcpy(w->head + l->state_at, w->what->state, l->state_len);
	w->bitmap = (uint64_t *)(void *)(w->head + l->index_at);
	w->crc = (uint32_t *)(void *)(w->head + l->index_at +
				      snapshot_bitmap_bytes(l->ram_bytes));
	return 0;
}

static int write_head(struct writer *w, struct error *err)
{
	struct snapshot_layout *l = &w->layout;
	uint64_t at, n;
	int code = 0, last;

	l->description_crc = state_crc32c(
		0, w->head + l->description_at, l->description_len);
	l->state_crc = state_crc32c(0, w->head + l->state_at, l->state_len);
	l->index_crc = state_crc32c(0, w->head + l->index_at, l->index_len);
	snapshot_header_encode(l, w->head);
	fileio_init(&w->io, w->fd, true, NULL, NULL);
	for (at = 0; at < w->head_bytes && code == 0; at += n) {
		n = w->head_bytes - at;
		n = n < 1u << 20 ? n : 1u << 20;
		code = fileio_submit(&w->io, w->head + at, at, (uint32_t)n);
	}
	last = fileio_fini(&w->io);
	code = code < 0 ? code : last;
	if (code < 0)
		return error_errno(err, code, "%s: write state", w->path);
	if (w->opt && w->opt->stats)
		migrate_count(&w->opt->stats->bytes, w->head_bytes);
	return 0;
}

static void clean_up(struct writer *w)
{
	if (w->temp)
		unlinkat(w->dir_fd, w->temp, 0);
	if (w->fd >= 0)
		close(w->fd);
	if (w->dir_fd >= 0)
		close(w->dir_fd);
	free(w->temp);
	free(w->dir);
	free(w->head);
	free(w);
}

int snapshot_write(const char *path, const struct snapshot_contents *what,
	const struct snapshot_options *opt, struct error *err)
{
	struct writer *w = calloc(1, sizeof(*w));
	int code;

	if (!w)
		return error_errno(err, -ENOMEM, "%s", path);
	w->what = what;
	w->opt = opt;
	w->path = path;
	w->fd = w->dir_fd = -1;
	code = check_target(path, err);
	if (code == 0)
		code = make_head(w, err);
	if (code == 0)
		code = open_dir(w, err);
	if (code == 0)
		code = open_file(w, err);
	if (code == 0)
		code = write_ram(w, err);
	if (code == 0)
		code = write_head(w, err);
	if (code == 0 && cancelled(w))
		code = error_set(err, -ECANCELED, "%s: cancelled", path);
	if (code == 0)
		code = publish(w, err);
	clean_up(w);
	if (code < 0)
		error_prepend(err, "snapshot");
	return code;
}
