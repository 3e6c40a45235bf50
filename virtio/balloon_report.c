/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/balloon_report.c - free page reporting (5.5.6.7): the driver shows
 * ranges that it does not use, and uses them again, untold, when it has them
 * back.
 *
 * Given back are the pages that lie wholly within a range.  They read as zero
 * afterwards, which a driver that fills free pages with something else (page
 * poison) must not see: of its ranges nothing is done.  Nor while discards are
 * inhibited, and not later either.
 * Thread: the device's loop.
 */
#include "virtio/balloon_private.h"

#include "virtio/iov.h"

#define TURN_BYTES   (64u << 20)
#define PAGES_A_STEP 8u /* pages of a range cost as much as one of a list */

/* Bytes of [gpa, gpa + len) to do in this turn: at most @room, and what is cut
 * is cut between pages. */
static uint64_t piece_bytes(
	const struct balloon *b, uint64_t gpa, uint64_t len, uint64_t room)
{
	uint64_t unit = guestmem_unit(b->dev.gm), end;

	if (len <= room)
		return len;
	end = (gpa + room) & ~(unit - 1);
	return end > gpa ? end - gpa : room;
}

/* Some of the ranges, from byte @off of all on.  Return: bytes done. */
static uint64_t give_back_some(struct balloon *b, const struct iovec *iov,
	unsigned count, uint64_t off)
{
	uint64_t room = TURN_BYTES, n, gpa;
	unsigned i;
	int64_t got;

	for (i = 0; i < count && room > 0; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		gpa = guestmem_gpa(b->dev.gm, iov[i].iov_base) + off;
		n = piece_bytes(b, gpa, iov[i].iov_len - off, room);
		got = balloon_give_back(b, gpa, n);
		if (got > 0)
			b->reported_bytes += (uint64_t)got;
		room -= n;
		if (n < iov[i].iov_len - off)
			break;
		off = 0;
	}
	return TURN_BYTES - room;
}

static void charge(struct balloon *b, uint64_t bytes)
{
	uint64_t cost = bytes / (GUESTMEM_PAGE * PAGES_A_STEP) + 1;

	b->budget = cost < b->budget ? b->budget - (uint32_t)cost : 0;
}

void balloon_report_request(
	struct balloon *b, struct virtq_chain *chain, struct virtio_ticket t)
{
	const struct iovec *in = virtq_chain_in(chain);
	uint64_t total = iov_bytes(in, chain->writable), bytes;
	uint64_t *done = &b->done[BALLOON_REPORT];

	if (!b->poisoned && *done < total) {
		bytes = give_back_some(b, in, chain->writable, *done);
		charge(b, bytes);
		*done += bytes;
		if (*done < total) {
			virtio_dev_putback(&b->dev, t);
			return;
		}
	}
	*done = 0;
	virtio_dev_done(&b->dev, t, 0);
}
