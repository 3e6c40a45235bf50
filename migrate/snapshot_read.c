/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/snapshot_read.c - open and check a snapshot; read all pages at once.
 *
 * The file is not trusted: lengths are checked against its real size before
 * anything is allocated, and every byte that is used has a checksum.  A file
 * that shrinks while it is open is an error of a read, never a SIGBUS: nothing
 * is mapped.
 */
#include "migrate/snapshot_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migrate/fileio.h"
#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"

#define RUN_PAGES 256u

/* ---- open ---- */

static int read_all(int fd, uint8_t *buf, uint64_t from, uint64_t to)
{
	ssize_t n;

	while (from < to) {
		n = pread(fd, buf + from, to - from, (off_t)from);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		from += (uint64_t)n;
	}
	return 0;
}

static int open_file(struct snapshot *s, uint64_t *ret_size, struct error *err)
{
	struct stat st;

	/* Not blocked by a FIFO. */
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (s->fd < 0)
		return error_errno(err, -errno, "open");
	if (fstat(s->fd, &st) < 0)
		return error_errno(err, -errno, "fstat");
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EPROTO,
			"not a regular file, so not a godwit snapshot");
	*ret_size = (uint64_t)st.st_size;
	/* Header and index are wanted at once, and mostly lie in this. */
	posix_fadvise(s->fd, 0, 1 << 20, POSIX_FADV_WILLNEED);
	return 0;
}

static int read_header(struct snapshot *s, uint64_t size, struct error *err)
{
	uint8_t buf[SNAPSHOT_HEADER_BYTES] = {0};
	uint64_t n = size < sizeof(buf) ? size : sizeof(buf);
	int code = read_all(s->fd, buf, 0, n);

	if (code < 0)
		return error_errno(err, code, "read the header");
	if (n < sizeof(buf)) {
		/* Too short for any; but was it meant to be one? */
		if (n < 8 || memcmp(buf, SNAPSHOT_MAGIC, 8) != 0)
			return error_set(err, -EPROTO, "not a godwit snapshot");
		return error_set(err, -EBADMSG,
			"cut short: %" PRIu64 " bytes (a torn copy?)", size);
	}
	code = snapshot_header_decode(buf, &s->layout, err);
	if (code < 0)
		return code;
	if (size != s->layout.file_bytes)
		return error_set(err, -EBADMSG,
			"%" PRIu64 " bytes, the header says %" PRIu64
			" (a torn copy?)",
			size, s->layout.file_bytes);
	return 0;
}

static int check_crc(const struct snapshot *s, uint64_t at, uint64_t len,
	uint32_t crc, const char *what, struct error *err)
{
	if (state_crc32c(0, s->head + at, len) == crc)
		return 0;
	return error_set(err, -EBADMSG,
		"the checksum of the %s is wrong (a damaged file)", what);
}

/* Bits for pages that are not, and sums of pages that have no data. */
static bool index_is_clean(const struct snapshot *s)
{
	uint64_t pages = snapshot_pages(s), i;

	if (pages % 64 != 0 &&
		le64toh(s->bitmap[pages / 64]) >> (pages % 64) != 0)
		return false;
	for (i = 0; i < pages; i++)
		if (s->crc[i] != 0 && !snapshot_has(s, i))
			return false;
	return true;
}

static int read_head(struct snapshot *s, struct error *err)
{
	const struct snapshot_layout *l = &s->layout;
	uint64_t end = l->index_at + l->index_len;
	int code;

	s->head = malloc(end);
	s->description = malloc(l->description_len + 1);
	if (!s->head || !s->description)
		return error_errno(
			err, -ENOMEM, "%" PRIu64 " KiB of index", end >> 10);
	code = read_all(s->fd, s->head, l->description_at, end);
	if (code < 0)
		return error_errno(err, code, "read description and index");
	code = check_crc(s, l->description_at, l->description_len,
		l->description_crc, "description", err);
	if (code == 0)
		code = check_crc(s, l->state_at, l->state_len, l->state_crc,
			"state", err);
	if (code == 0)
		code = check_crc(s, l->index_at, l->index_len, l->index_crc,
			"index", err);
	if (code < 0)
		return code;
	memcpy(s->description, s->head + l->description_at, l->description_len);
	s->description[l->description_len] = '\0';
	if (strlen(s->description) != l->description_len)
		return error_set(err, -EPROTO, "description: not a text");
	/* index_at is a multiple of 8, and so is the bitmap's length. */
	s->bitmap = (const void *)(s->head + l->index_at);
	s->crc = (const void *)(s->head + l->index_at +
				snapshot_bitmap_bytes(l->ram_bytes));
	if (!index_is_clean(s))
		return error_set(err, -EPROTO,
			"index: entries that do not fit together");
	return 0;
}

int snapshot_open(
	const char *path, struct snapshot **ret_snapshot, struct error *err)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	uint64_t size = 0;
	int code;

	if (!s)
		return error_errno(err, -ENOMEM, "%s", path);
	s->fd = -1;
	s->path = strdup(path);
	code = s->path ? open_file(s, &size, err)
		       : error_errno(err, -ENOMEM, "open");
	if (code == 0)
		code = read_header(s, size, err);
	if (code == 0)
		code = read_head(s, err);
	if (code < 0) {
		snapshot_close(s);
		error_prepend(err, "snapshot: %s", path);
		return code;
	}
	*ret_snapshot = s;
	return 0;
}

void snapshot_close(struct snapshot *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s->head);
	free(s->description);
	free(s);
}

/* ---- what it says ---- */

const char *snapshot_description(const struct snapshot *s)
{
	return s->description;
}

const uint8_t *snapshot_state(const struct snapshot *s, size_t *ret_len)
{
	*ret_len = s->layout.state_len;
	return s->head + s->layout.state_at;
}

uint64_t snapshot_ram_bytes(const struct snapshot *s)
{
	return s->layout.ram_bytes;
}

bool snapshot_paused(const struct snapshot *s)
{
	return s->layout.paused;
}

uint64_t snapshot_stop_ns(const struct snapshot *s)
{
	return s->layout.stop_ns;
}

/* ---- pages ---- */

uint64_t snapshot_first_bad(const struct snapshot *s, uint64_t page,
	uint64_t count, const uint8_t *data)
{
	uint64_t i;

	for (i = 0; i < count; i++)
		if (state_crc32c(0, data + i * SNAPSHOT_PAGE, SNAPSHOT_PAGE) !=
			le32toh(s->crc[page + i]))
			break;
	return i;
}

int snapshot_bad_page(
	const struct snapshot *s, uint64_t page, struct error *err)
{
	return error_set(err, -EBADMSG,
		"snapshot: %s: the checksum of page %" PRIu64 " (byte %" PRIu64
		") is wrong (a damaged file)",
		s->path, page, snapshot_offset(s, page));
}

int snapshot_check_ram(
	const struct snapshot *s, const struct guestmem *gm, struct error *err)
{
	if (gm->size == s->layout.ram_bytes)
		return 0;
	return error_set(err, -EINVAL,
		"snapshot: %s: %" PRIu64
		" MiB of RAM, the machine has %" PRIu64,
		s->path, s->layout.ram_bytes >> 20, gm->size >> 20);
}

struct reader {
	struct snapshot *s;
	struct guestmem *gm;
	struct migrate_stats *stats;
	struct error *err;
	bool told; /* err is set */
};

static int check_run(void *opaque, const struct fileio_op *op)
{
	struct reader *r = opaque;
	uint64_t page = (uint64_t)(op->buf - r->gm->base) / SNAPSHOT_PAGE;
	uint64_t count = op->len / SNAPSHOT_PAGE;
	uint64_t bad = snapshot_first_bad(r->s, page, count, op->buf);

	if (bad < count) {
		r->told = true;
		return snapshot_bad_page(r->s, page + bad, r->err);
	}
	if (r->stats) {
		atomic_fetch_add(&r->stats->pages_full, count);
		atomic_fetch_add(&r->stats->bytes, op->len);
	}
	return 0;
}

static bool cancelled(const struct snapshot_options *opt)
{
	return opt && opt->cancel && atomic_load(opt->cancel);
}

/* Pages with data from @page on, RUN_PAGES at most; 0: it is a hole. */
static uint32_t run_length(const struct snapshot *s, uint64_t page)
{
	uint64_t left = snapshot_pages(s) - page;
	uint32_t n = 0;

	while (n < RUN_PAGES && n < left && snapshot_has(s, page + n))
		n++;
	return n;
}

static int read_runs(
	struct reader *r, struct fileio *io, const struct snapshot_options *opt)
{
	struct snapshot *s = r->s;
	uint64_t page = 0, zero = 0;
	uint32_t n;
	int code = 0;

	while (page < snapshot_pages(s) && code == 0) {
		if (page % 64 == 0 && s->bitmap[page / 64] == 0) {
			n = snapshot_pages(s) - page < 64
				    ? (uint32_t)(snapshot_pages(s) - page)
				    : 64;
			zero += n;
			page += n;
			continue;
		}
		n = run_length(s, page);
		if (n > 0)
			code = fileio_submit(io,
				r->gm->base + page * SNAPSHOT_PAGE,
				snapshot_offset(s, page), n * SNAPSHOT_PAGE);
		zero += n == 0;
		page += n > 0 ? n : 1;
		if (code == 0 && cancelled(opt))
			code = -ECANCELED;
	}
	if (r->stats)
		atomic_fetch_add(&r->stats->pages_zero, zero);
	return code;
}

/* Are a few pages of it in the page cache?  Then reading past the cache would
 * be slower than from it. */
static bool is_cached(const struct snapshot *s)
{
	uint64_t pages = snapshot_pages(s), page, seen = 0, hits = 0, i;
	uint8_t byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};

	for (i = 0; i < 64 && seen < 8; i++) {
		page = pages * i / 64;
		if (!snapshot_has(s, page))
			continue;
		seen++;
		hits += preadv2(s->fd, &iov, 1, (off_t)snapshot_offset(s, page),
				RWF_NOWAIT) == 1;
	}
	return seen > 0 && hits == seen;
}

static void set_direct(int fd, bool direct)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0) /* refused: then not */
		fcntl(fd, F_SETFL,
			direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

int snapshot_read(struct snapshot *s, struct guestmem *gm,
	const struct snapshot_options *opt, struct error *err)
{
	struct reader r = {
		.s = s, .gm = gm, .stats = opt ? opt->stats : NULL, .err = err};
	struct fileio io;
	int code = snapshot_check_ram(s, gm, err), last;

	if (code < 0)
		return code;
	set_direct(s->fd, !(opt && opt->buffered) && !is_cached(s));
	fileio_init(&io, s->fd, false, check_run, &r);
	code = read_runs(&r, &io, opt);
	last = fileio_fini(&io);
	set_direct(s->fd, false);
	code = code < 0 ? code : last;
	if (code == -ECANCELED)
		return error_set(err, code, "snapshot: %s: cancelled", s->path);
	if (code < 0 && !r.told)
		return error_errno(
			err, code, "snapshot: %s: read guest RAM", s->path);
	return code;
}
