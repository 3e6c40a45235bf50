/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/terminal.c - see terminal.h.
 *
 * Handlers may run on any thread, at any instruction; they use functions on
 * POSIX's list of async-signal-safe ones and atomic flags only.
 */
#include "vmm/terminal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/error.h"

/*
 * A signal handler gets no argument of ours, so what it needs to restore the
 * terminal has to be global: with the log level, the only such state there is.
 * Written by terminal_enter() before the handlers are installed, constant
 * after that, but for the atomics and the modes (published by have_modes).
 */
static struct {
	_Atomic bool entered;
	_Atomic bool have_modes; /* cooked and raw are valid */
	_Atomic bool raw_on;	 /* our doing: to be undone */
	_Atomic bool stopping;	 /* stop() has been called */
	int fd;			 /* borrowed; -1: no terminal */
	struct termios cooked, raw;
	terminal_stop_fn *stop, *report;
	void *opaque;
	sigset_t handled;
} self;

enum handling { STOP, CRASH, REPORT, SUSPEND, CONTINUE, IGNORE };

static const struct {
	int signo;
	enum handling how;
} signals[] = {
	{SIGINT, STOP},
	{SIGTERM, STOP},
	{SIGQUIT, STOP},
	{SIGHUP, STOP},
	{SIGSEGV, CRASH},
	{SIGBUS, CRASH},
	{SIGILL, CRASH},
	{SIGFPE, CRASH},
	{SIGABRT, CRASH},
	{SIGSYS, CRASH},
	{SIGUSR1, REPORT},
	{SIGTSTP, SUSPEND},
	{SIGCONT, CONTINUE},
	{SIGTTIN, IGNORE},
	{SIGTTOU, IGNORE},
	{SIGPIPE, IGNORE},
	{SIGXFSZ, IGNORE},
};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

/* What was there before; part of the signal-time state above. */
static struct sigaction before[SIGNALS];

/* ---- modes, async-signal-safe ---- */

static bool foreground(void)
{
	pid_t group = tcgetpgrp(self.fd);

	/* Not our controlling terminal: no job control on it. */
	return group < 0 || group == getpgrp();
}

/* Return: 0 or -errno.  -EAGAIN: in the background. */
static int go_raw(void)
{
	if (self.fd < 0)
		return 0;
	if (!foreground())
		return -EAGAIN;
	/* Once, and in the foreground: in the background the modes are those
	 * of the shell's line editor, and after SIGSTOP they may be ours. */
	if (!self.have_modes) {
		if (tcgetattr(self.fd, &self.cooked) < 0)
			return -errno;
		self.raw = self.cooked;
		cfmakeraw(&self.raw);
		self.have_modes = true;
	}
	self.raw_on = true; /* first: a signal in between restores too much */
	if (tcsetattr(self.fd, TCSANOW, &self.raw) < 0)
		return -errno;
	return 0;
}

static void go_cooked(void)
{
	/* In the background the terminal is somebody else's. */
	if (atomic_exchange(&self.raw_on, false) && foreground())
		tcsetattr(self.fd, TCSANOW, &self.cooked);
}

/* ---- handlers ---- */

static void as_before(int signo)
{
	size_t i;

	for (i = 0; i < SIGNALS; i++)
		if (signals[i].signo == signo)
			sigaction(signo, &before[i], NULL);
}

/* Pending until the handler returns; then it acts as it did before us. */
static void again(int signo)
{
	go_cooked();
	as_before(signo);
	raise(signo);
}

static void on_crash(int signo)
{
	int saved = errno;

	go_cooked();
	/* First of all: a crash inside the report is the end of it. */
	as_before(signo);
	if (self.report)
		self.report(self.opaque, signo);
	raise(signo);
	errno = saved;
}

static void on_report(int signo)
{
	int saved = errno;

	self.report(self.opaque, signo);
	errno = saved;
}

static void on_stop(int signo)
{
	int saved = errno;

	if (self.stop && !atomic_exchange(&self.stopping, true))
		self.stop(self.opaque, signo);
	else if (!self.stop || signo != SIGHUP)
		again(signo); /* SIGHUP comes twice: terminal and shell */
	errno = saved;
}

static void on_continue(int signo)
{
	int saved = errno;

	if (self.entered)
		go_raw();
	errno = saved;
}

static void on_suspend(int signo)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL}, ours;
	int saved = errno;
	sigset_t set, was;

	go_cooked();
	sigemptyset(&set);
	sigaddset(&set, signo);
	sigaction(signo, &dfl, &ours);
	raise(signo);
	pthread_sigmask(SIG_UNBLOCK, &set, &was); /* stops here */
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	sigaction(signo, &ours, NULL);
	/* An orphaned process group is not stopped and gets no SIGCONT. */
	if (self.entered)
		go_raw();
	errno = saved;
}

/* ---- entering and leaving ---- */

static bool wanted(enum handling how)
{
	switch (how) {
	case STOP:
		return self.fd >= 0 || self.stop;
	case IGNORE:
		return true;
	case REPORT:
		return self.report;
	case CRASH:
		return self.fd >= 0 || self.report;
	default:
		return self.fd >= 0;
	}
}

static void install(size_t i)
{
	struct sigaction sa = {.sa_flags = SA_RESTART | SA_ONSTACK};

	sigaction(signals[i].signo, NULL, &before[i]);
	if (!wanted(signals[i].how))
		return;
	sa.sa_mask = self.handled;
	switch (signals[i].how) {
	case STOP:
		if (before[i].sa_handler == SIG_IGN)
			return;
		sa.sa_handler = on_stop;
		break;
	case CRASH:
		sa.sa_handler = on_crash;
		break;
	case REPORT:
		sa.sa_handler = on_report;
		break;
	case SUSPEND:
		if (before[i].sa_handler == SIG_IGN)
			return;
		sa.sa_handler = on_suspend;
		break;
	case CONTINUE:
		sa.sa_handler = on_continue;
		break;
	case IGNORE:
		sa.sa_handler = SIG_IGN;
		break;
	}
	sigaction(signals[i].signo, &sa, NULL);
}

int terminal_enter(struct terminal *t, const struct terminal_options *opt,
	struct error *err)
{
	size_t i;
	int rc;

	if (self.entered)
		return error_set(err, -EBUSY, "terminal: already in use");
	self.fd = opt->fd >= 0 && isatty(opt->fd) ? opt->fd : -1;
	self.stop = opt->stop;
	self.report = opt->report;
	self.opaque = opt->opaque;
	self.have_modes = self.raw_on = self.stopping = false;
	sigemptyset(&self.handled);
	for (i = 0; i < SIGNALS; i++)
		if (signals[i].how != CRASH)
			sigaddset(&self.handled, signals[i].signo);
	for (i = 0; i < SIGNALS; i++)
		install(i);
	self.entered = true;
	*t = (struct terminal){.entered = true, .tty = self.fd >= 0};
	rc = go_raw();
	if (rc < 0 && rc != -EAGAIN) {
		terminal_leave(t);
		return error_errno(err, rc, "terminal: raw mode");
	}
	return 0;
}

void terminal_leave(struct terminal *t)
{
	size_t i;

	if (!t->entered)
		return;
	self.entered = false; /* from here on no SIGCONT makes it raw */
	go_cooked();
	for (i = 0; i < SIGNALS; i++)
		sigaction(signals[i].signo, &before[i], NULL);
	*t = (struct terminal){0};
}

void terminal_restore(void)
{
	if (self.entered)
		go_cooked();
}

bool terminal_ready(struct terminal *t)
{
	if (!t->tty)
		return true;
	if (!foreground()) {
		self.raw_on = false; /* whoever is in front sets the modes */
		return false;
	}
	if (!self.raw_on)
		go_raw(); /* a failure shows when the input is read */
	return true;
}

/* ---- escape keys ---- */

size_t terminal_filter(struct terminal_filter *f, uint8_t *buf, size_t len,
	unsigned *ret_commands)
{
	size_t in, out = 0;

	*ret_commands = 0;
	for (in = 0; in < len; in++) {
		uint8_t c = buf[in];

		if (!f->escaped) {
			f->escaped = c == TERMINAL_ESCAPE;
			if (!f->escaped)
				buf[out++] = c;
			continue;
		}
		f->escaped = false;
		if (c == TERMINAL_ESCAPE) {
			buf[out++] = c;
		} else if (c == 'x' || c == 'X') {
			*ret_commands |= TERMINAL_LEAVE;
			break;
		} else if (c == 'h' || c == 'H' || c == '?') {
			*ret_commands |= TERMINAL_HELP;
		}
	}
	return out;
}

const char *terminal_help(void)
{
	return "\r\n"
	       "Ctrl-A x       end the virtual machine\r\n"
	       "Ctrl-A h       this help\r\n"
	       "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";
}
