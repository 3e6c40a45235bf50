/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/chan_cut.h - faults on the way: a channel around another, and a
 * proxy between two processes, that do something at a chosen frame or byte.
 *
 * Both count frames by reading the headers as they pass; the bytes are not
 * touched.  A stream that is not made of frames counts bytes only.
 */
#ifndef GODWIT_TESTS_LIB_CHAN_CUT_H
#define GODWIT_TESTS_LIB_CHAN_CUT_H

#include <stdbool.h>
#include <stdint.h>

struct chan;
struct error;

#define CHAN_CUT_NEVER UINT64_MAX

enum chan_cut_way { CHAN_CUT_READ, CHAN_CUT_WRITE };

enum chan_cut_what {
	CHAN_CUT,  /* shut the channel down; the operation says -ECANCELED */
	CHAN_HOLD, /* the operation waits for chan_cut_release() or the end */
	CHAN_TELL  /* only call @fn */
};

/* What to do when byte number @byte or the first byte of frame number @frame of
 * one direction (both from 0) is about to pass; once. */
struct chan_cut {
	enum chan_cut_way way;
	uint64_t frame; /* or CHAN_CUT_NEVER */
	uint64_t byte;	/* or CHAN_CUT_NEVER */
	enum chan_cut_what what;
	/* NULL, or called first, in the thread of the operation; @type: of the
	 * frame, 0 inside one. */
	void (*fn)(void *opaque, uint64_t frame, uint16_t type);
	void *opaque;
};

/**
 * chan_cut_wrap - @inner with @how.
 * @inner: taken on success; closed with the wrapper.
 * Return: 0 or -ENOMEM.
 */
int chan_cut_wrap(
	struct chan *inner, const struct chan_cut *how, struct chan **ret_chan);
/* Let a held operation go on.  Any thread; also before it is held. */
void chan_cut_release(struct chan *chan);
/* Whole and begun frames that passed so far in direction @way. */
uint64_t chan_cut_frames(struct chan *chan, enum chan_cut_way way);

/* ---- a proxy, for two ends that open their own channels ---- */

struct cut_proxy;

struct cut_plan {
	unsigned connection; /* which, in the order they come, from 0 */
	bool to_source;	     /* else the frames from the source */
	uint64_t frame, byte;
	enum chan_cut_what what;
	void (*fn)(void *opaque, uint64_t frame, uint16_t type);
	void *opaque;
	bool all; /* CHAN_CUT: end every connection, and refuse new ones */
};

/**
 * cut_proxy_start - listen on @listen_addr; each connection becomes one to
 * @target_addr, and bytes go both ways until an end closes, or @plan acts.
 * @plan: copied; NULL: pass everything.
 * Thread: threads of its own; @plan->fn is called from one.
 * Return: 0 or -errno with @err.
 */
int cut_proxy_start(const char *listen_addr, const char *target_addr,
	const struct cut_plan *plan, struct cut_proxy **ret_proxy,
	struct error *err);
/* To be connected to; borrowed. */
const char *cut_proxy_address(const struct cut_proxy *proxy);
/* Frames that began to pass in connection @index in one direction. */
uint64_t cut_proxy_frames(
	struct cut_proxy *proxy, unsigned index, bool to_source);
void cut_proxy_release(struct cut_proxy *proxy);
/* End all connections now, refuse further ones. */
void cut_proxy_cut(struct cut_proxy *proxy);
/* Cut, join, free.  NULL is allowed. */
void cut_proxy_stop(struct cut_proxy *proxy);

#endif
