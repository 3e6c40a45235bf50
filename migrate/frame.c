/* SPDX-License-Identifier: Apache-2.0 */
/* migrate/frame.c - see frame.h. */
#include "migrate/frame.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "migrate/chan.h"
#include "vmm/error.h"

/* A meta is read in pieces that double, beginning with this many bytes. */
#define FIRST_PIECE 65536u

void frame_in_fini(struct frame_in *in)
{
	free(in->meta);
	*in = (struct frame_in){0};
}

/* ---- sending ---- */

/* Append @data to @iov, which has *@n pieces.  Returns its bytes. */
static size_t gather(
	struct iovec *iov, int *n, const struct iovec *data, int iovs)
{
	size_t bytes = 0;
	int i;

	for (i = 0; i < iovs; i++) {
		struct iovec *last = &iov[*n - 1];

		bytes += data[i].iov_len;
		if ((uint8_t *)last->iov_base + last->iov_len ==
			(uint8_t *)data[i].iov_base)
			last->iov_len += data[i].iov_len;
		else
			iov[(*n)++] = data[i];
	}
	return bytes;
}

static uint16_t type_of(const struct wire_out *out)
{
	return (uint16_t)(out->buf[4] | out->buf[5] << 8);
}

int frame_send(struct chan *chan, struct wire_out *out, uint32_t *seq,
	const struct iovec *data, int iovs, struct error *err)
{
	struct iovec iov[1 + WIRE_PAGES_MAX];
	size_t bytes;
	int n = 1, rc;

	assert(iovs >= 0 && iovs <= (int)WIRE_PAGES_MAX);
	if (out->error)
		return error_errno(err, out->error, "%s: a frame for sending",
			chan_name(chan));
	/* Known at last, after wire_finish(), only if nothing is to be added.
	 */
	iov[0] = (struct iovec){.iov_base = out->buf, .iov_len = out->len};
	bytes = gather(iov, &n, data, iovs);
	assert(bytes <= (size_t)WIRE_PAGES_MAX * WIRE_PAGE_BYTES);
	rc = wire_finish(out, *seq, (uint32_t)bytes);
	if (rc < 0)
		return error_errno(err, rc, "%s: send %s", chan_name(chan),
			wire_type_name(type_of(out)));
	rc = chan_writev(chan, iov, n);
	if (rc < 0)
		return error_errno(err, rc, "%s: send %s", chan_name(chan),
			wire_type_name(type_of(out)));
	(*seq)++;
	return 0;
}

int frame_send_empty(struct chan *chan, struct wire_out *out,
	enum wire_type type, uint32_t *seq, struct error *err)
{
	wire_begin(out, type);
	return frame_send(chan, out, seq, NULL, 0, err);
}

/* ---- receiving ---- */

static int read_error(
	struct chan *chan, int rc, const char *what, struct error *err)
{
	if (rc == -ENODATA)
		return error_set(err, rc, "%s: the peer closed the connection",
			chan_name(chan));
	if (rc == -ETIMEDOUT)
		return error_set(err, rc, "%s: nothing came in time (%s)",
			chan_name(chan), what);
	return error_errno(err, rc, "%s: read %s", chan_name(chan), what);
}

int frame_recv_header(struct chan *chan, struct wire_header *ret_header,
	struct frame_in *in, struct error *err)
{
	struct wire_header h;
	int rc = chan_read(chan, in->head, WIRE_HEADER_BYTES);

	if (rc < 0)
		return read_error(chan, rc, "a frame's header", err);
	rc = wire_header(in->head, &h, err);
	if (rc < 0)
		goto fail;
	if (wire_in_package_only(h.type)) {
		rc = error_set(err, -EPROTO, "%s outside a PACKAGE",
			wire_type_name(h.type));
		goto fail;
	}
	*ret_header = h;
	return 0;
fail:
	error_prepend(err, "%s", chan_name(chan));
	return rc;
}

/* Room for @len bytes; those already there stay. */
static int grow(struct frame_in *in, size_t len)
{
	uint8_t *meta;

	if (len <= in->cap)
		return 0;
	meta = realloc(in->meta, len);
	if (!meta)
		return -ENOMEM;
	in->meta = meta;
	in->cap = len;
	return 0;
}

int frame_recv_meta(struct chan *chan, const struct wire_header *header,
	struct frame_in *in, uint32_t *seq, struct error *err)
{
	const char *name = wire_type_name(header->type);
	size_t have = 0, piece, left;
	int rc = 0;

	/* Never NULL, so that an empty meta is like any other. */
	rc = grow(in, WIRE_HEADER_BYTES);
	while (rc == 0 && have < header->meta_len) {
		left = header->meta_len - have;
		piece = have > FIRST_PIECE ? have : FIRST_PIECE;
		if (piece > left)
			piece = left;
		rc = grow(in, have + piece);
		if (rc == 0)
			rc = chan_read(chan, in->meta + have, piece);
		have += piece;
	}
	if (rc == -ENODATA)
		rc = -ECONNRESET; /* not between two frames */
	if (rc < 0)
		return read_error(chan, rc, name, err);
	rc = wire_check(in->head, header, in->meta, *seq, err);
	if (rc < 0) {
		error_prepend(err, "%s", chan_name(chan));
		return rc;
	}
	(*seq)++;
	return 0;
}

int frame_recv(struct chan *chan, struct wire_header *ret_header,
	struct frame_in *in, uint32_t *seq, struct error *err)
{
	struct wire_header h;
	int rc = frame_recv_header(chan, &h, in, err);

	if (rc < 0)
		return rc;
	rc = frame_recv_meta(chan, &h, in, seq, err);
	if (rc < 0)
		return rc;
	*ret_header = h;
	return 0;
}
