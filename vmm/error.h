/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/error.h - an error that travels upwards with its story.
 *
 * Functions that talk to the host or to a user's file return 0 or -errno and,
 * where the number alone would not help, fill a struct error that the caller
 * owns.  Whoever handles the error prints it, once.  A text reads
 * "object: operation: reason (remedy)", for example
 * "disk0: open /x.img: Permission denied (run as the owner)".
 */
#ifndef GODWIT_VMM_ERROR_H
#define GODWIT_VMM_ERROR_H

#define ERROR_TEXT_MAX 1024

struct error {
	int code; /* 0, or a negative errno */
	char text[ERROR_TEXT_MAX];
};

/**
 * error_set - state what went wrong.
 * @err:  filled in; NULL is allowed and drops the text.
 * @code: negative errno.
 * Thread: any; @err belongs to the caller.
 * Return: @code, so that `return error_set(...)` reads well.
 */
int error_set(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Like error_set(), and appends ": " and the text of @code's errno. */
int error_errno(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "context: " before the text; returns the code @err already holds. */
int error_prepend(struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
