/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/frame.h - whole frames over a channel.
 *
 * Joins wire.h (bytes) and chan.h (I/O) and knows no more than they do: which
 * frame may come now is for the caller's state table.  No state but what the
 * caller passes in; one thread for each direction of a channel at a time.
 */
#ifndef GODWIT_MIGRATE_FRAME_H
#define GODWIT_MIGRATE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "migrate/wire.h"

struct chan;
struct error;
struct iovec;

/* A meta as it came in; used again for the next one.  All zero to begin with;
 * end it with frame_in_fini(). */
struct frame_in {
	uint8_t *meta; /* owned; valid until the next frame_recv() */
	size_t cap;
	uint8_t head[WIRE_HEADER_BYTES]; /* as it came */
};

void frame_in_fini(struct frame_in *in);

/**
 * frame_send - finish @out as frame *@seq and write it, @data behind it.
 * @out:  begun and filled; lengths, seq and CRC are set here, whatever
 *        wire_finish(), wire_pages() and so on put there before.
 * @seq:  frames written so far in this direction; counted up on success.
 * @data: guest pages of a PAGES frame, at most WIRE_PAGES_MAX pieces; not
 *        changed.  Pieces that lie side by side are written as one.
 * Return: 0, -ENOMEM or -EMSGSIZE (@out), or what chan_writev() says, with @err
 *         naming the channel and the frame.  After an error the direction is of
 *         no use any more.
 */
int frame_send(struct chan *chan, struct wire_out *out, uint32_t *seq,
	const struct iovec *data, int iovs, struct error *err);

/* A frame without meta: ADVISE, COMMIT, RUNNING ... */
int frame_send_empty(struct chan *chan, struct wire_out *out,
	enum wire_type type, uint32_t *seq, struct error *err);

/**
 * frame_recv - read and check the next header and its meta.
 * @ret_header: its data_len bytes of data are still in the channel: the caller
 *              reads exactly those, by chan_read() or chan_readv().
 * @in:  the meta; memory is taken as the bytes come, not as they are announced.
 * @seq: frames read so far in this direction; counted up on success.
 * Return: 0; -ENODATA (the peer ended the stream between two frames); -EBADMSG
 *         (framing, CRC, sequence), -EPROTO (unknown type, or one that belongs
 *         inside a PACKAGE), -ENOMEM, or what chan_read() says; with @err
 *         naming the channel.
 */
int frame_recv(struct chan *chan, struct wire_header *ret_header,
	struct frame_in *in, uint32_t *seq, struct error *err);

/* frame_recv() in two steps, for who wants to refuse a type before its meta
 * (up to WIRE_PACKAGE_MAX bytes) is read. */
int frame_recv_header(struct chan *chan, struct wire_header *ret_header,
	struct frame_in *in, struct error *err);
int frame_recv_meta(struct chan *chan, const struct wire_header *header,
	struct frame_in *in, uint32_t *seq, struct error *err);

#endif
