/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/terminal.h - the user's terminal: raw mode, signals, escape keys.
 *
 * While the guest has the terminal it is raw, and given back whatever ends or
 * stops the process: return, a signal that kills, a crash, SIGTSTP.  Only
 * SIGKILL and SIGSTOP get past that.  In the background the terminal is left
 * alone and nothing stops the process; terminal_ready() finds out when it is
 * in the foreground again.
 *
 * Signals are a matter of the whole process, so there is one terminal in it.
 */
#ifndef GODWIT_VMM_TERMINAL_H
#define GODWIT_VMM_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Called from a signal handler: async-signal-safe things only. */
typedef void terminal_stop_fn(void *opaque, int signo);

struct terminal_options {
	int fd; /* borrowed; the input, which need not be a terminal, or -1 */
	/*
	 * NULL: SIGINT, SIGTERM, SIGQUIT and SIGHUP kill as usual, after the
	 * terminal was restored.  Else the first of them calls this instead,
	 * for an orderly end, and a second one kills.  Those that were ignored
	 * when the process started (nohup, a script's "&") stay ignored.
	 */
	terminal_stop_fn *stop;
	/* NULL, or what tells how things stand: called on SIGUSR1, and before a
	 * crash kills. */
	terminal_stop_fn *report;
	void *opaque; /* borrowed */
};

/* Caller's storage; zero-initialise. */
struct terminal {
	bool entered;
	bool tty;
};

/**
 * terminal_enter - take the terminal and the signals over.
 * Also ignores SIGPIPE and SIGXFSZ, whose errors the writers handle, and
 * SIGTTIN and SIGTTOU.  Call it for an input that is no terminal too.
 * Thread: main, before others are started.
 * Return: 0, -EBUSY (entered already), -errno of the terminal.
 */
int terminal_enter(struct terminal *t, const struct terminal_options *opt,
	struct error *err);

/* Give everything back.  Harmless when not entered.  Thread: main. */
void terminal_leave(struct terminal *t);

/* Only the modes: for a process that ends at once.  Signal handlers too. */
void terminal_restore(void);

/**
 * terminal_ready - may the input be read now?
 * False while the process is in the background; makes the terminal raw when it
 * finds itself in the foreground.  True for an input that is no terminal.
 * Thread: main loop.
 */
bool terminal_ready(struct terminal *t);

/* ---- escape keys ---- */

#define TERMINAL_ESCAPE 0x01 /* Ctrl-A */

#define TERMINAL_LEAVE 1u /* Ctrl-A x: end the run */
#define TERMINAL_HELP  2u /* Ctrl-A h, Ctrl-A ?: print terminal_help() */

/* Zero-initialise. */
struct terminal_filter {
	bool escaped; /* the last byte was Ctrl-A */
};

/**
 * terminal_filter - take the user's commands out of what was typed.
 * Ctrl-A Ctrl-A stands for one Ctrl-A; other pairs mean nothing and vanish.
 * Nothing after Ctrl-A x is kept.
 * @buf:          @len bytes, changed in place.
 * @ret_commands: TERMINAL_* seen.
 * Return: bytes of @buf that are for the guest.
 */
size_t terminal_filter(struct terminal_filter *f, uint8_t *buf, size_t len,
	unsigned *ret_commands);

/* Lines that end in "\r\n", for a raw terminal. */
const char *terminal_help(void);

#endif
