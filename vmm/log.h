/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/log.h - messages to stderr, one write() a line, from any thread.
 *
 * The level is the one mutable global of the program.  Anything a guest or a
 * peer can provoke goes through log_limited(), so that it cannot flood.
 */
#ifndef GODWIT_VMM_LOG_H
#define GODWIT_VMM_LOG_H

#include <stdatomic.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Messages above @level are dropped.  Default LOG_WARN.  Thread: any. */
void log_set_level(enum log_level level);

/**
 * log_msg - write "godwit: <text>\n" to stderr with a single write().
 * Thread: any, not from a signal handler.  Takes no lock.
 * On a terminal in raw mode the line ends in "\r\n".
 */
void log_msg(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

/* One per call site or device; zero-initialised. */
struct log_limit {
	_Atomic int64_t next_ns; /* CLOCK_MONOTONIC; silent before that */
	_Atomic uint32_t dropped;
};

/* log_msg() at most once a second per @limit; tells how many were dropped. */
void log_limited(struct log_limit *limit, enum log_level level, const char *fmt,
	...) __attribute__((format(printf, 3, 4)));

#endif
