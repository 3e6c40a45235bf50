/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/vtoy.h - a virtio device that does what a test tells it.
 *
 * Two queues.  A request is answered at once with the number of its writable
 * bytes, or held until vtoy_release().
 */
#ifndef GODWIT_TESTS_LIB_VTOY_H
#define GODWIT_TESTS_LIB_VTOY_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/dev.h"

#define VTOY_ID	      42u
#define VTOY_FEATURE  (1ull << 3)
#define VTOY_HIGH     (1ull << 50) /* a high one must survive everything */
#define VTOY_SIZE_0   64u
#define VTOY_SIZE_1   8u
#define VTOY_HELD_MAX 256u

struct vtoy {
	struct virtio_dev dev; /* first */
	bool hold;	       /* keep requests instead of answering */
	bool not_ready;
	bool polled;		  /* queue 0 is; set it before DRIVER_OK */
	void (*on_request)(void); /* NULL, or told of each one */
	void (*on_destroy)(void); /* NULL, or told of its end */
	struct virtio_ticket held[VTOY_HELD_MAX];
	unsigned holds, requests, starts, stops;
	struct loop_bh *release; /* answers all that is held */
};

struct vtoy *vtoy_create(const struct virtio_env *env);
/* Answer what is held, from a bottom half. */
void vtoy_release(struct vtoy *toy);

#endif
