/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_terminal.c - promises of vmm/terminal.h, on a pseudo
 * terminal.
 *
 * Three processes: the test; a "shell", which leads a session with the terminal
 * and does the looking; a "job" in a process group of its own, which is what
 * godwit would be.  They talk over two pipes, a byte a step.  The shell
 * outlives the job, as the end of a session leader would reset the terminal by
 * itself.
 */
#include "vmm/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tests/lib/testing.h"

/* In the shell and the job, where cmocka must not be used. */
#define CHECK(x) ((x) ? (void)0 : broken(#x, __LINE__))

static void broken(const char *what, int line)
{
	fprintf(stderr, "# %s:%d: %s: %s\n", __FILE__, line, what,
		strerror(errno));
	_exit(1);
}

static int tty = -1; /* the slave, in all three */
static int to_job[2], to_shell[2];
static pid_t job;
static struct termios cooked;

/* ---- the shell's means ---- */

static void tell_job(char c)
{
	CHECK(write(to_job[1], &c, 1) == 1);
}

static void await_job(char c)
{
	char have = 0;

	CHECK(read(to_shell[0], &have, 1) == 1);
	CHECK(have == c);
}

/* Signal the job.  ThreadSanitizer may put the handler off until the job's next
 * system call of note returns, so give it one; the job may be gone by then. */
static void signal_job(int signo)
{
	CHECK(kill(job, signo) == 0);
	CHECK(write(to_job[1], "n", 1) == 1 || errno == EPIPE);
}

static bool is_raw(void)
{
	struct termios now;

	CHECK(tcgetattr(tty, &now) == 0);
	return !(now.c_lflag & (ICANON | ECHO | ISIG)) &&
	       !(now.c_oflag & OPOST);
}

static bool is_cooked(void)
{
	struct termios now;

	CHECK(tcgetattr(tty, &now) == 0);
	return now.c_lflag == cooked.c_lflag && now.c_iflag == cooked.c_iflag &&
	       now.c_oflag == cooked.c_oflag && now.c_cflag == cooked.c_cflag &&
	       memcmp(now.c_cc, cooked.c_cc, sizeof(now.c_cc)) == 0;
}

static int reap(void)
{
	int status;

	CHECK(waitpid(job, &status, 0) == job);
	close(to_job[1]);
	close(to_shell[0]);
	return status;
}

static bool killed_by(int status, int signo)
{
	/* Sanitizers catch crashes themselves and exit. */
	return (WIFSIGNALED(status) && WTERMSIG(status) == signo) ||
	       (WIFEXITED(status) && WEXITSTATUS(status) != 0 &&
		       (signo == SIGSEGV || signo == SIGABRT));
}

/* ---- the job's means ---- */

static void tell_shell(char c)
{
	CHECK(write(to_shell[1], &c, 1) == 1);
}

static void await_shell(char c)
{
	char have = 0;

	do {
		CHECK(read(to_job[0], &have, 1) == 1);
	} while (have == 'n'); /* signal_job() */
	CHECK(have == c);
}

static struct terminal entered(terminal_stop_fn *stop)
{
	struct terminal_options opt = {.fd = tty, .stop = stop};
	struct terminal t = {0};

	CHECK(terminal_enter(&t, &opt, NULL) == 0);
	return t;
}

/* ---- running them ---- */

/* cmocka catches crashes in order to go on with the next test: not here. */
static void die_of_crashes(void)
{
	static const int signals[] = {
		SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
	unsigned i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_DFL);
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
}

static void start_job(void (*job_main)(void), bool in_front)
{
	CHECK(pipe(to_job) == 0);
	CHECK(pipe(to_shell) == 0);
	job = fork();
	CHECK(job >= 0);
	if (job == 0) {
		close(to_job[1]);
		close(to_shell[0]);
		die_of_crashes();
		CHECK(setpgid(0, 0) == 0);
		signal(SIGTTOU, SIG_DFL);
		signal(SIGPIPE, SIG_DFL);
		await_shell('0');
		job_main();
		_exit(0);
	}
	close(to_job[0]); /* so that each sees the other's end as one */
	close(to_shell[1]);
	setpgid(job, job); /* either of the two may come first */
	if (in_front)
		CHECK(tcsetpgrp(tty, job) == 0);
	tell_job('0');
}

static void run_shell(void (*shell_main)(void))
{
	die_of_crashes();
	CHECK(setsid() > 0);
	CHECK(ioctl(tty, TIOCSCTTY, 0) == 0);
	signal(SIGTTOU, SIG_IGN); /* as shells do */
	signal(SIGPIPE, SIG_IGN);
	CHECK(tcgetattr(tty, &cooked) == 0);
	CHECK(cooked.c_lflag & ICANON);
	shell_main();
}

static void with_shell(void (*shell_main)(void))
{
	int master, status;
	pid_t shell;

	assert_int_equal(openpty(&master, &tty, NULL, NULL, NULL), 0);
	fflush(NULL);
	shell = fork();
	assert_true(shell >= 0);
	if (shell == 0) {
		run_shell(shell_main);
		_exit(0);
	}
	assert_int_equal(waitpid(shell, &status, 0), shell);
	close(master);
	close(tty);
	assert_int_equal(status, 0);
}

/* ---- ends ---- */

static void job_leaves(void)
{
	struct terminal t = entered(NULL);

	tell_shell('e');
	await_shell('l');
	terminal_leave(&t);
	terminal_leave(&t); /* twice is harmless */
	tell_shell('d');
	await_shell('x');
}

static void shell_sees_leaving(void)
{
	start_job(job_leaves, true);
	await_job('e');
	CHECK(is_raw());
	tell_job('l');
	await_job('d');
	CHECK(is_cooked());
	tell_job('x');
	CHECK(reap() == 0);
	CHECK(is_cooked());
}

static void it_is_raw_until_it_is_left(void **state)
{
	with_shell(shell_sees_leaving);
}

static void job_waits(void)
{
	entered(NULL);
	tell_shell('e');
	await_shell('x'); /* in vain */
}

static void shell_kills(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP};
	unsigned i;

	for (i = 0; i < 4; i++) {
		start_job(job_waits, true);
		await_job('e');
		CHECK(is_raw());
		signal_job(signals[i]);
		CHECK(killed_by(reap(), signals[i]));
		CHECK(is_cooked());
	}
}

static void a_signal_that_kills_restores_it_first(void **state)
{
	with_shell(shell_kills);
}

static void mute(void)
{
	int null = open("/dev/null", O_WRONLY);

	CHECK(dup2(null, STDERR_FILENO) >= 0); /* sanitizers tell at length */
}

static void job_faults(void)
{
	volatile char *p =
		mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	entered(NULL);
	tell_shell('e');
	mute();
	*p = 1;
}

static void job_aborts(void)
{
	entered(NULL);
	tell_shell('e');
	mute();
	abort();
}

static void shell_sees_crashes(void)
{
	start_job(job_faults, true);
	await_job('e');
	CHECK(killed_by(reap(), SIGSEGV));
	CHECK(is_cooked());
	start_job(job_aborts, true);
	await_job('e');
	CHECK(killed_by(reap(), SIGABRT));
	CHECK(is_cooked());
}

static void a_crash_or_an_abort_restores_it_first(void **state)
{
	with_shell(shell_sees_crashes);
}

/* ---- an orderly end ---- */

static void on_stop(void *opaque, int signo)
{
	tell_shell(signo == SIGTERM ? 't' : 'h');
}

static void job_stops_in_order(void)
{
	struct terminal t = entered(on_stop);

	tell_shell('e');
	await_shell('l');
	terminal_leave(&t);
}

static void shell_asks_it_to_stop(void)
{
	start_job(job_stops_in_order, true);
	await_job('e');
	signal_job(SIGTERM);
	await_job('t');
	CHECK(is_raw()); /* still its own: it is going to leave by itself */
	tell_job('l');
	CHECK(reap() == 0);
	CHECK(is_cooked());
}

static void the_first_stop_signal_asks_for_an_orderly_end(void **state)
{
	with_shell(shell_asks_it_to_stop);
}

static void shell_asks_twice(void)
{
	start_job(job_stops_in_order, true);
	await_job('e');
	signal_job(SIGHUP);
	await_job('h');
	signal_job(SIGHUP); /* the shell passes it on */
	signal_job(SIGINT);
	CHECK(killed_by(reap(), SIGINT));
	CHECK(is_cooked());
}

static void a_second_one_kills_unless_it_is_sighup_again(void **state)
{
	with_shell(shell_asks_twice);
}

static void job_was_started_by_nohup(void)
{
	struct terminal t;

	signal(SIGHUP, SIG_IGN);
	t = entered(on_stop);
	raise(SIGHUP);
	tell_shell('e'); /* and not 'h' */
	terminal_leave(&t);
}

static void shell_runs_nohup(void)
{
	start_job(job_was_started_by_nohup, true);
	await_job('e');
	CHECK(reap() == 0);
}

static void signals_ignored_at_the_start_stay_ignored(void **state)
{
	with_shell(shell_runs_nohup);
}

/* ---- stop and go ---- */

static void job_echoes(void)
{
	struct terminal t = entered(NULL);

	tell_shell('e');
	await_shell('p');
	tell_shell('q');
	await_shell('l');
	terminal_leave(&t);
}

/* The handler of SIGCONT has run when the job answers. */
static void go_on(void)
{
	CHECK(kill(job, SIGCONT) == 0);
	tell_job('p');
	await_job('q');
}

static void shell_suspends(void)
{
	int status;

	start_job(job_echoes, true);
	await_job('e');
	signal_job(SIGTSTP);
	CHECK(waitpid(job, &status, WUNTRACED) == job);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
	CHECK(is_cooked());
	go_on();
	CHECK(is_raw());
	tell_job('l');
	CHECK(reap() == 0);
	CHECK(is_cooked());
}

static void sigtstp_gives_it_back_and_sigcont_takes_it_again(void **state)
{
	with_shell(shell_suspends);
}

static void shell_stops_hard(void)
{
	int status;

	start_job(job_echoes, true);
	await_job('e');
	CHECK(kill(job, SIGSTOP) == 0);
	CHECK(waitpid(job, &status, WUNTRACED) == job);
	CHECK(tcsetattr(tty, TCSANOW, &cooked) == 0); /* as shells do */
	go_on();
	CHECK(is_raw());
	tell_job('l');
	CHECK(reap() == 0);
	CHECK(is_cooked());
}

static void after_sigstop_too_it_is_raw_again(void **state)
{
	with_shell(shell_stops_hard);
}

static void shell_continues_it_in_the_background(void)
{
	int status;

	start_job(job_echoes, true);
	await_job('e');
	signal_job(SIGTSTP);
	CHECK(waitpid(job, &status, WUNTRACED) == job);
	CHECK(tcsetpgrp(tty, getpgrp()) == 0);
	go_on();
	CHECK(is_cooked());
	tell_job('l');
	CHECK(reap() == 0);
	CHECK(is_cooked());
}

static void continued_in_the_background_it_leaves_it_alone(void **state)
{
	with_shell(shell_continues_it_in_the_background);
}

/* ---- background ---- */

static void job_in_background(void)
{
	struct terminal t;
	char c;

	signal(SIGTTIN, SIG_DFL);
	t = entered(NULL);
	CHECK(!terminal_ready(&t));
	CHECK(read(tty, &c, 1) == -1 && errno == EIO); /* and no SIGTTIN */
	CHECK(tcsetattr(tty, TCSANOW, &cooked) == 0);  /* and no SIGTTOU */
	tell_shell('b');
	await_shell('f');
	CHECK(terminal_ready(&t));
	tell_shell('r');
	await_shell('b');
	CHECK(!terminal_ready(&t));
	tell_shell('n');
	await_shell('f');
	CHECK(terminal_ready(&t));
	tell_shell('r');
	await_shell('l');
	terminal_leave(&t);
}

static void shell_brings_it_to_the_front(void)
{
	struct termios editor = cooked;

	/* A line editor's modes, which must not be taken for the cooked ones.
	 */
	editor.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	CHECK(tcsetattr(tty, TCSANOW, &editor) == 0);
	start_job(job_in_background, false);
	await_job('b');
	CHECK(!is_raw());
	CHECK(waitpid(job, NULL, WNOHANG | WUNTRACED) == 0);
	CHECK(tcsetattr(tty, TCSANOW, &cooked) == 0);
	CHECK(tcsetpgrp(tty, job) == 0);
	tell_job('f');
	await_job('r');
	CHECK(is_raw());
	/* Back and forth without a signal that tells it. */
	CHECK(tcsetpgrp(tty, getpgrp()) == 0);
	CHECK(tcsetattr(tty, TCSANOW, &cooked) == 0);
	tell_job('b');
	await_job('n');
	CHECK(is_cooked());
	CHECK(tcsetpgrp(tty, job) == 0);
	tell_job('f');
	await_job('r');
	CHECK(is_raw());
	tell_job('l');
	CHECK(reap() == 0);
	CHECK(is_cooked());
}

static void in_the_background_it_waits_and_in_front_it_is_raw(void **state)
{
	with_shell(shell_brings_it_to_the_front);
}

static void shell_kills_it_in_the_background(void)
{
	struct termios mine = cooked, now;

	start_job(job_waits, true);
	await_job('e');
	CHECK(tcsetpgrp(tty, getpgrp()) == 0);
	mine.c_cc[VINTR] = 7;
	CHECK(tcsetattr(tty, TCSANOW, &mine) == 0);
	signal_job(SIGTERM);
	CHECK(killed_by(reap(), SIGTERM));
	CHECK(tcgetattr(tty, &now) == 0);
	CHECK(now.c_cc[VINTR] == 7); /* the shell's modes, as it left them */
}

static void killed_in_the_background_it_leaves_it_alone(void **state)
{
	with_shell(shell_kills_it_in_the_background);
}

/* No shell here: the job leads the session, so nobody could continue it. */
static void an_orphan_is_not_stopped_and_stays_raw(void **state)
{
	int master, status;

	assert_int_equal(openpty(&master, &tty, NULL, NULL, NULL), 0);
	fflush(NULL);
	job = fork();
	assert_true(job >= 0);
	if (job == 0) {
		die_of_crashes();
		CHECK(setsid() > 0);
		CHECK(ioctl(tty, TIOCSCTTY, 0) == 0);
		CHECK(tcgetattr(tty, &cooked) == 0);
		entered(NULL);
		CHECK(is_raw());
		raise(SIGTSTP);
		CHECK(is_raw());
		raise(SIGTERM);
	}
	assert_int_equal(waitpid(job, &status, 0), job);
	assert_true(killed_by(status, SIGTERM));
	close(master);
	close(tty);
}

/* ---- no terminal ---- */

static void job_without_terminal(void)
{
	struct terminal_options opt = {.fd = to_job[0], .stop = on_stop};
	struct terminal t = {0};
	int p[2];

	CHECK(terminal_enter(&t, &opt, NULL) == 0);
	CHECK(!t.tty);
	CHECK(terminal_ready(&t));
	CHECK(pipe(p) == 0);
	close(p[0]);
	CHECK(write(p[1], "x", 1) == -1 && errno == EPIPE);
	raise(SIGTERM);
	tell_shell('a'); /* alive */
	terminal_leave(&t);
	raise(SIGPIPE);
}

static void shell_redirects_its_input(void)
{
	start_job(job_without_terminal, true);
	await_job('t');
	await_job('a');
	CHECK(killed_by(reap(), SIGPIPE)); /* as before, once it has left */
	CHECK(is_cooked());
}

static void an_input_that_is_no_terminal_is_fine(void **state)
{
	with_shell(shell_redirects_its_input);
}

static void there_is_one_terminal_in_a_process(void **state)
{
	struct terminal_options opt = {.fd = -1};
	struct terminal a = {0}, b = {0};

	assert_int_equal(terminal_enter(&a, &opt, NULL), 0);
	assert_int_equal(terminal_enter(&b, &opt, NULL), -EBUSY);
	terminal_leave(&b); /* it has nothing to leave */
	assert_int_equal(terminal_enter(&b, &opt, NULL), -EBUSY);
	terminal_leave(&a);
	assert_int_equal(terminal_enter(&b, &opt, NULL), 0);
	terminal_leave(&b);
}

static void leaving_brings_every_signal_back(void **state)
{
	struct terminal_options opt = {.fd = -1, .stop = on_stop};
	struct sigaction was[32], now;
	struct terminal t = {0};
	int i;

	for (i = 1; i < 32; i++)
		sigaction(i, NULL, &was[i]);
	assert_int_equal(terminal_enter(&t, &opt, NULL), 0);
	terminal_leave(&t);
	for (i = 1; i < 32; i++) {
		sigaction(i, NULL, &now);
		assert_ptr_equal(now.sa_handler, was[i].sa_handler);
		assert_int_equal(now.sa_flags, was[i].sa_flags);
	}
}

/* ---- the filter ---- */

/* Feed @in in pieces of @step; return what is for the guest. */
static const char *filtered(const char *in, size_t step, unsigned *ret_commands)
{
	struct terminal_filter f = {0};
	size_t len = strlen(in), at, n, have = 0;
	static char text[64];
	unsigned commands;
	uint8_t buf[64];

	*ret_commands = 0;
	for (at = 0; at < len; at += n) {
		n = len - at < step ? len - at : step;
		memcpy(buf, in + at, n);
		have += (size_t)snprintf(text + have, sizeof(text) - have,
			"%.*s", (int)terminal_filter(&f, buf, n, &commands),
			(char *)buf);
		*ret_commands |= commands;
		if (commands & TERMINAL_LEAVE)
			break;
	}
	text[have] = '\0';
	return text;
}

static const struct {
	const char *in, *guest;
	unsigned commands;
} cases[] = {
	{"", "", 0},
	{"plain text\r", "plain text\r", 0},
	{"\x01\x01", "\x01", 0},
	{"a\x01\x01z", "a\x01z", 0},
	{"\x01\x01\x01\x01", "\x01\x01", 0},
	{"\x01\x01x", "\x01x", 0},
	{"\x01x", "", TERMINAL_LEAVE},
	{"\x01X", "", TERMINAL_LEAVE},
	{"ab\x01xcd", "ab", TERMINAL_LEAVE},
	{"\x01h", "", TERMINAL_HELP},
	{"a\x01hb", "ab", TERMINAL_HELP},
	{"a\x01?b", "ab", TERMINAL_HELP},
	{"\x01h\x01x", "", TERMINAL_HELP | TERMINAL_LEAVE},
	{"a\x01qb", "ab", 0},
	{"x", "x", 0},
	{"\x01", "", 0},
};

static void the_filter_finds_commands_wherever_reads_are_cut(void **state)
{
	unsigned i, commands;
	size_t step;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (step = 1; step < 12; step++) {
			assert_string_equal(
				filtered(cases[i].in, step, &commands),
				cases[i].guest);
			assert_int_equal(commands, cases[i].commands);
		}
	}
}

static void other_bytes_pass_the_filter_unchanged(void **state)
{
	struct terminal_filter f = {0};
	uint8_t buf[256], want[256];
	unsigned commands, i, n = 0;

	for (i = 0; i < 256; i++)
		if (i != TERMINAL_ESCAPE)
			buf[n++] = (uint8_t)i;
	memcpy(want, buf, n);
	assert_int_equal(terminal_filter(&f, buf, n, &commands), n);
	assert_memory_equal(buf, want, n);
	assert_int_equal(commands, 0);
}

static void the_help_names_each_key_on_a_raw_terminal(void **state)
{
	const char *help = terminal_help(), *p;

	assert_non_null(strstr(help, "Ctrl-A x"));
	assert_non_null(strstr(help, "Ctrl-A h"));
	assert_non_null(strstr(help, "Ctrl-A Ctrl-A"));
	for (p = strchr(help, '\n'); p; p = strchr(p + 1, '\n'))
		assert_int_equal(p[-1], '\r');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_raw_until_it_is_left),
		cmocka_unit_test(a_signal_that_kills_restores_it_first),
		cmocka_unit_test(a_crash_or_an_abort_restores_it_first),
		cmocka_unit_test(the_first_stop_signal_asks_for_an_orderly_end),
		cmocka_unit_test(a_second_one_kills_unless_it_is_sighup_again),
		cmocka_unit_test(signals_ignored_at_the_start_stay_ignored),
		cmocka_unit_test(
			sigtstp_gives_it_back_and_sigcont_takes_it_again),
		cmocka_unit_test(after_sigstop_too_it_is_raw_again),
		cmocka_unit_test(
			continued_in_the_background_it_leaves_it_alone),
		cmocka_unit_test(
			in_the_background_it_waits_and_in_front_it_is_raw),
		cmocka_unit_test(killed_in_the_background_it_leaves_it_alone),
		cmocka_unit_test(an_orphan_is_not_stopped_and_stays_raw),
		cmocka_unit_test(an_input_that_is_no_terminal_is_fine),
		cmocka_unit_test(there_is_one_terminal_in_a_process),
		cmocka_unit_test(leaving_brings_every_signal_back),
		cmocka_unit_test(
			the_filter_finds_commands_wherever_reads_are_cut),
		cmocka_unit_test(other_bytes_pass_the_filter_unchanged),
		cmocka_unit_test(the_help_names_each_key_on_a_raw_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
