/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/wire.h - frames of a migration: how they lie in the stream, how they
 * are built and checked.  Who sends what when is docs/protocol.md's matter.
 *
 * All integers are little endian.  A frame is
 *
 *   header: u32 magic "GWF1" | u16 type | u16 flags (0) | u32 meta_len
 *           | u32 data_len | u32 seq | u32 crc32c
 *   meta:   meta_len bytes, the fields below
 *   data:   data_len bytes of guest pages; PAGES only
 *
 * The CRC covers the header up to itself and the meta.  It does not cover the
 * data: in precopy the guest goes on writing the pages while they are sent, so
 * no sum would hold; a page torn that way is dirty and is sent again.  seq
 * counts the frames of one direction of one connection from 0: a frame lost,
 * repeated or from elsewhere is noticed.
 *
 * A decoder trusts nothing: type, lengths and every field are bounded before
 * anything is allocated or used.  Nothing here does I/O or keeps state but the
 * caller's counters; any thread.
 */
#ifndef GODWIT_MIGRATE_WIRE_H
#define GODWIT_MIGRATE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define WIRE_MAGIC	  0x31465747u /* "GWF1" */
#define WIRE_HEADER_BYTES 24u
/* This godwit speaks version 1; it will read WIRE_VERSION - 1 from 2 on. */
#define WIRE_VERSION	 1u
#define WIRE_VERSION_MIN 1u

#define WIRE_PAGE_BYTES	     4096u
#define WIRE_PAGES_MAX	     512u	 /* pages of one PAGES frame */
#define WIRE_DESCRIPTION_MAX (1u << 20)	 /* bytes */
#define WIRE_PACKAGE_MAX     (64u << 20) /* bytes */
#define WIRE_RANGES_MAX	     4096u	 /* ranges of one DISCARD frame */
#define WIRE_REQUEST_MAX     256u	 /* pages of one REQUEST */
#define WIRE_TEXT_MAX	     240u	 /* bytes of an ERROR's reason */
#define WIRE_STATS_MAX	     65536u	 /* bytes of DONE's JSON */
#define WIRE_SESSION_BYTES   16u

enum wire_type {
	/* source to destination, first connection */
	WIRE_HELLO = 1,	   /* who, versions, features */
	WIRE_MACHINE = 2,  /* the machine description, JSON text */
	WIRE_ADVISE = 3,   /* postcopy may come: can you? */
	WIRE_PAGES = 4,	   /* page numbers, then the pages */
	WIRE_ROUND = 5,	   /* a precopy round is over */
	WIRE_DISCARD = 6,  /* forget these pages, they are stale */
	WIRE_PACKAGE = 7,  /* LISTEN, STATE, RUN as one blob */
	WIRE_COMMIT = 8,   /* the guest is yours */
	WIRE_COMPLETE = 9, /* every page was sent */
	WIRE_CANCEL = 10,  /* forget all of it */
	/* inside a PACKAGE only */
	WIRE_LISTEN = 16, /* from here on pages may be missing */
	WIRE_STATE = 17,  /* the sections of vm_save() */
	WIRE_RUN = 18,	  /* last: go on when committed */
	/* destination to source, first connection */
	WIRE_WELCOME = 32, /* version and features chosen */
	WIRE_ACCEPT = 33,  /* machine built, pages may come */
	WIRE_ADVISED = 34, /* postcopy is possible here */
	WIRE_LOADED = 35,  /* package loaded, ready to run */
	WIRE_RUNNING = 36, /* the guest runs here */
	WIRE_DONE = 37,	   /* every page is here; statistics as JSON */
	/* destination to source, urgent connection, else the first one */
	WIRE_REQUEST = 48, /* a fault waits for these pages */
	/* either way */
	WIRE_ERROR = 64, /* the sender gives up; why */
	WIRE_SYNC = 65,	 /* please answer */
	WIRE_SYNCED = 66,
	/* first frame of a further connection of the same session */
	WIRE_ATTACH = 80, /* which role it has */
	WIRE_QUERY = 81,  /* who owns the guest? */
	WIRE_STATUS = 82, /* the answer */
};

/* Features, bits of HELLO and WELCOME.  Unknown ones are left out of the
 * answer, never an error. */
#define WIRE_FEATURE_POSTCOPY UINT64_C(1) /* ADVISE, DISCARD, LISTEN */
#define WIRE_FEATURE_URGENT   UINT64_C(2) /* a second connection for faults */

struct wire_header {
	uint16_t type;
	uint16_t flags;
	uint32_t meta_len, data_len; /* bytes */
	uint32_t seq;
	uint32_t crc;
};

/* ---- fixed metas ---- */

struct wire_hello {
	uint32_t version_min, version_max;
	uint64_t features;
	uint8_t session[WIRE_SESSION_BYTES]; /* random, names this migration */
	uint32_t page_bytes;
	uint64_t ram_bytes;
};

struct wire_welcome {
	uint32_t version;
	uint64_t features;
};

struct wire_round {
	uint32_t round;	    /* from 1 */
	uint64_t dirty;	    /* pages left to send, as known */
	uint64_t stream_ns; /* since HELLO */
};

struct wire_request {
	uint64_t page;	/* RAM offset / 4096 */
	uint32_t count; /* 1 .. WIRE_REQUEST_MAX */
};

struct wire_attach {
	uint8_t session[WIRE_SESSION_BYTES];
	uint32_t role;	/* enum wire_role */
	uint32_t index; /* of several of one role, from 0 */
};

enum wire_role { WIRE_ROLE_URGENT = 1, WIRE_ROLE_BULK = 2 };

/* What the destination says about the guest. */
enum wire_owner {
	WIRE_OWNER_SOURCE = 0,	   /* not committed here; the source's */
	WIRE_OWNER_LOADED = 1,	   /* loaded, COMMIT not seen; the source's */
	WIRE_OWNER_DESTINATION = 2 /* committed: runs, or ran, here */
};

struct wire_error {
	int32_t code; /* -errno, Linux numbers */
	char text[WIRE_TEXT_MAX + 1];
};

struct wire_run {
	bool paused;	  /* the user had paused the guest: do not start it */
	uint64_t stop_ns; /* CLOCK_REALTIME when the guest stopped */
};

/* STATUS. */
struct wire_status {
	uint8_t session[WIRE_SESSION_BYTES];
	uint32_t owner; /* enum wire_owner */
};

struct wire_range {
	uint64_t page, count;
};

/* ---- encoding ---- */

/* Header and meta of one frame under construction. */
struct wire_out {
	uint8_t *buf; /* owned */
	size_t len, cap;
	int error; /* sticky -ENOMEM or -EMSGSIZE */
};

void wire_out_init(struct wire_out *out);
void wire_out_fini(struct wire_out *out);
/* Start again with a header of @type. */
void wire_begin(struct wire_out *out, enum wire_type type);
void wire_put_u8(struct wire_out *out, uint8_t v);
void wire_put_u32(struct wire_out *out, uint32_t v);
void wire_put_u64(struct wire_out *out, uint64_t v);
void wire_put_bytes(struct wire_out *out, const void *src, size_t len);
/* Fill in lengths, @seq and CRC.  Return: 0 or out->error.  buf, len is then
 * header and meta, ready to be written, followed by @data_len bytes. */
int wire_finish(struct wire_out *out, uint32_t seq, uint32_t data_len);

void wire_put_hello(struct wire_out *out, const struct wire_hello *m);
void wire_put_welcome(struct wire_out *out, const struct wire_welcome *m);
void wire_put_round(struct wire_out *out, const struct wire_round *m);
void wire_put_request(struct wire_out *out, const struct wire_request *m);
void wire_put_attach(struct wire_out *out, const struct wire_attach *m);
void wire_put_error(struct wire_out *out, const struct wire_error *m);
void wire_put_run(struct wire_out *out, const struct wire_run *m);
/* SYNC and SYNCED: @id is the asker's, given back by the answer. */
void wire_put_sync(struct wire_out *out, uint32_t id);
/* @session: WIRE_SESSION_BYTES. */
void wire_put_query(struct wire_out *out, const uint8_t *session);
void wire_put_status(struct wire_out *out, const struct wire_status *m);
/* MACHINE and DONE: JSON text, without its NUL. */
void wire_put_text(struct wire_out *out, const char *text);

/* PAGES: one u64 a page, page number << 8 | kind.  The data are those of kind
 * WIRE_PAGE_FULL, in order.  Page numbers ascend strictly. */
enum wire_page_kind { WIRE_PAGE_FULL = 0, WIRE_PAGE_ZERO = 1 };

static inline uint64_t wire_page_entry(uint64_t page, enum wire_page_kind kind)
{
	return page << 8 | (uint64_t)kind;
}

/* Complete PAGES frame of @count entries.  Return: as wire_finish(). */
int wire_pages(struct wire_out *out, const uint64_t *entry, uint32_t count,
	uint32_t seq);
/* Complete DISCARD frame.  Ranges ascend and do not touch. */
int wire_discard(struct wire_out *out, const struct wire_range *range,
	uint32_t count, uint32_t seq);

/**
 * wire_package - a complete PACKAGE frame: LISTEN if @listen, STATE with
 * @state, RUN with @run, as sub-frames (their own seq from 0) in its meta.
 */
int wire_package(struct wire_out *out, bool listen, const uint8_t *state,
	size_t len, const struct wire_run *run, uint32_t seq);

/* ---- decoding ---- */

/**
 * wire_header - decode and bound a header.
 * @bytes: WIRE_HEADER_BYTES of them.
 * Checks magic, flags, that the type is known, and both lengths against what
 * the type allows; not the CRC, which needs the meta: wire_check().
 * Return: 0, -EBADMSG (framing) or -EPROTO (unknown type) with @err.
 */
int wire_header(const uint8_t *bytes, struct wire_header *ret_header,
	struct error *err);

/* CRC and sequence number.  @meta: header->meta_len bytes.  0 or -EBADMSG. */
int wire_check(const uint8_t *bytes, const struct wire_header *header,
	const uint8_t *meta, uint32_t seq, struct error *err);

const char *wire_type_name(uint16_t type); /* "HELLO"; "?" if unknown */

/* LISTEN, STATE, RUN: of no use outside a PACKAGE. */
bool wire_in_package_only(uint16_t type);

/**
 * wire_choose - the destination's answer to @hello.
 * @features: what it can do; the answer has those of them that were offered.
 * Return: 0, -EPROTO when no version is common, with @err naming both ranges.
 */
int wire_choose(const struct wire_hello *hello, uint64_t features,
	struct wire_welcome *ret_welcome, struct error *err);
/* The source's check that @welcome chose of what @hello offered.  0, -EPROTO.
 */
int wire_check_welcome(const struct wire_hello *hello,
	const struct wire_welcome *welcome, struct error *err);

/* Each wants exactly @len bytes and checks every field.  0, -EBADMSG (length)
 * or -EPROTO (value) with @err. */
int wire_get_hello(const uint8_t *meta, size_t len, struct wire_hello *ret,
	struct error *err);
int wire_get_welcome(const uint8_t *meta, size_t len, struct wire_welcome *ret,
	struct error *err);
int wire_get_round(const uint8_t *meta, size_t len, struct wire_round *ret,
	struct error *err);
/* @pages: of the guest; page + count <= pages. */
int wire_get_request(const uint8_t *meta, size_t len, uint64_t pages,
	struct wire_request *ret, struct error *err);
int wire_get_attach(const uint8_t *meta, size_t len, struct wire_attach *ret,
	struct error *err);
int wire_get_error(const uint8_t *meta, size_t len, struct wire_error *ret,
	struct error *err);
int wire_get_run(const uint8_t *meta, size_t len, struct wire_run *ret,
	struct error *err);

int wire_get_sync(
	const uint8_t *meta, size_t len, uint32_t *ret_id, struct error *err);
/* @ret_session: WIRE_SESSION_BYTES. */
int wire_get_query(const uint8_t *meta, size_t len, uint8_t *ret_session,
	struct error *err);
int wire_get_status(const uint8_t *meta, size_t len, struct wire_status *ret,
	struct error *err);
/* MACHINE and DONE: a copy with a NUL at the end, to be freed with free().  A
 * NUL within is -EPROTO; -ENOMEM.  Whether it is JSON is for the caller. */
int wire_get_text(
	const uint8_t *meta, size_t len, char **ret_text, struct error *err);

/* A cursor over the entries of a checked PAGES meta. */
struct wire_page {
	uint64_t page;
	enum wire_page_kind kind;
};

/**
 * wire_get_pages - check all entries: kinds, order, range, and that data_len is
 * the number of full pages times 4096.
 * @ret_count: of entries; read them by wire_page_at().
 */
int wire_get_pages(const struct wire_header *header, const uint8_t *meta,
	uint64_t pages, uint32_t *ret_count, struct error *err);
struct wire_page wire_page_at(const uint8_t *meta, uint32_t index);

int wire_get_discard(const uint8_t *meta, size_t len, uint64_t pages,
	uint32_t *ret_count, struct error *err);
struct wire_range wire_range_at(const uint8_t *meta, uint32_t index);

struct wire_package {
	bool listen;
	const uint8_t *state; /* into the meta */
	size_t state_len;
	struct wire_run run;
};

/* The whole blob: order, no nesting, nothing missing, nothing left over. */
int wire_get_package(const uint8_t *meta, size_t len, struct wire_package *ret,
	struct error *err);

#endif
