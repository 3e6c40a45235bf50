/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/state.h - sections: the one format of saved state.
 *
 * The same bytes travel in a live stream, in a package, in a snapshot file and
 * in a save-load-save test.  A stream is a sequence of sections; all integers
 * are little endian:
 *
 *   section:  u32 magic "GWS1" | u8 name_len | name | u32 version
 *             | u64 body_len | body | u32 crc32c over all that precedes it
 *   body:     the fields the owner put, then zero or more subsections
 *   subsection: u8 0xA5 | u8 name_len | name | u32 version | u32 len | bytes
 *
 * Names are 1..STATE_NAME_MAX bytes of [a-z0-9._/-].  A reader trusts nothing:
 * it checks magic, lengths by subtraction and the CRC before it hands out a
 * body, and every getter is bounded.  A getter that runs short returns 0 and
 * makes the reader's error sticky, so loaders check once, at the end.
 */
#ifndef GODWIT_MIGRATE_STATE_H
#define GODWIT_MIGRATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define STATE_NAME_MAX 63
#define STATE_BODY_MAX (64u << 20) /* bytes; larger is -EMSGSIZE */
#define STATE_MAGIC    0x31535747u /* "GWS1" */
#define STATE_SUB_MARK 0xA5u

/* ---- writing ---- */

/* Growable; one thread at a time.  Errors are sticky: check at the end. */
struct state_writer {
	uint8_t *buf; /* owned */
	size_t len, cap;
	size_t section; /* offset of the open section, SIZE_MAX if none */
	size_t sub;	/* offset of the open subsection, SIZE_MAX if none */
	bool subs;	/* the open section has subsections: fields are over */
	int error;	/* 0 or the first -errno */
};

void state_writer_init(struct state_writer *w);
void state_writer_fini(struct state_writer *w);

/* Open and close a section; subsections follow its last field and do not nest.
 * @name: copied; 1..STATE_NAME_MAX bytes of [a-z0-9._/-]. */
void state_begin(struct state_writer *w, const char *name, uint32_t version);
void state_end(struct state_writer *w);
void state_sub_begin(
	struct state_writer *w, const char *name, uint32_t version);
void state_sub_end(struct state_writer *w);

void state_put_u8(struct state_writer *w, uint8_t v);
void state_put_u16(struct state_writer *w, uint16_t v);
void state_put_u32(struct state_writer *w, uint32_t v);
void state_put_u64(struct state_writer *w, uint64_t v);
void state_put_bool(struct state_writer *w, bool v);
void state_put_bytes(struct state_writer *w, const void *src, size_t len);

/* 0, -ENOMEM, -EMSGSIZE, or -EINVAL (calls out of order, bad name). */
int state_writer_error(const struct state_writer *w);

/* ---- reading ---- */

/* Borrowed bytes with a cursor and a sticky error. */
struct state_reader {
	const uint8_t *pos, *end;
	char name[STATE_NAME_MAX + 1]; /* of the section or subsection */
	uint32_t version;
	int error; /* 0, or -EBADMSG / -EPROTO */
};

/**
 * state_next - take the next section off [*@pos, @end).
 * Return: 1 and @ret_section over the body, 0 at the clean end, -EBADMSG for
 *         framing or CRC, -EMSGSIZE for a body over STATE_BODY_MAX.
 */
int state_next(const uint8_t **pos, const uint8_t *end,
	struct state_reader *ret_section, struct error *err);

uint8_t state_get_u8(struct state_reader *r);
uint16_t state_get_u16(struct state_reader *r);
uint32_t state_get_u32(struct state_reader *r);
uint64_t state_get_u64(struct state_reader *r);
bool state_get_bool(struct state_reader *r); /* other than 0/1: error */
void state_get_bytes(struct state_reader *r, void *dst, size_t len);

/**
 * state_sub_next - the next subsection of @r's body, from the cursor on.
 * Return: 1 and @ret_sub, 0 when the body is used up, -EBADMSG (sticky in @r).
 */
int state_sub_next(struct state_reader *r, struct state_reader *ret_sub);

/* End of a load: -EBADMSG if a getter ran short or bytes are left. */
int state_reader_end(struct state_reader *r);

/* Mark @r bad: a value is well framed but not acceptable.  Returns -EPROTO. */
int state_reject(struct state_reader *r, struct error *err, const char *what);

/* CRC-32C (Castagnoli, reflected, as in iSCSI RFC 3720), start with crc 0. */
uint32_t state_crc32c(uint32_t crc, const void *buf, size_t len);

#endif
