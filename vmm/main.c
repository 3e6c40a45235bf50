/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/main.c - the program: verbs, what is called in which order, and the exit
 * status.  Nothing else in godwit ends the process.
 *
 * Runs on the main thread; on_signal() in a signal handler.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/serial.h"
#include "loop/loop.h"
#include "vmm/arrival.h"
#include "vmm/check.h"
#include "vmm/commands.h"
#include "vmm/config.h"
#include "vmm/dump_dtb.h"
#include "vmm/error.h"
#include "vmm/help.h"
#include "vmm/log.h"
#include "vmm/mover.h"
#include "vmm/runtime_dir.h"
#include "vmm/terminal.h"
#include "vmm/verbs.h"
#include "vmm/vm.h"

/* As `godwit help run` and godwit(1) have it. */
#define EXIT_OK	    0
#define EXIT_HOST   1
#define EXIT_USAGE  2
#define EXIT_GUEST  3
#define EXIT_RESET  4
#define EXIT_SIGNAL 128

#define RETRY_NS 200000000

struct run {
	struct vm *_Atomic vm; /* NULL before and after its life */
	_Atomic int signo;     /* the one that ended the run, or 0 */
	_Atomic int ending;    /* the exit status that is to be, + 1; or 0 */
	struct terminal terminal;
	struct terminal_filter filter;

	/* Main thread, each once it is there. */
	const struct config *cfg; /* borrowed */
	struct vm *machine;
	struct mover *_Atomic mover;
	struct commands *commands; /* NULL without a control socket */
	struct loop_timer retry;   /* to open that socket */
	bool waiting;		   /* for it */
};

/* The line that tells why.  Running out of files can happen anywhere, so its
 * remedy is added here, unless the text has it. */
static void tell(const struct error *err)
{
	bool files = err->code == -EMFILE && !strstr(err->text, "ulimit");

	log_error("%s%s", err->text,
		files ? " (raise the limit: ulimit -n 256)" : "");
}

static int complain(const struct error *err)
{
	tell(err);
	return err->code == -EINVAL ? EXIT_USAGE : EXIT_HOST;
}

static int output_failed(int code)
{
	struct error err;

	error_errno(&err, code, "standard output");
	log_error("%s", err.text);
	return EXIT_HOST;
}

/* ---- run ---- */

/*
 * A guest whose missing pages are lost cannot be stopped: a vCPU that waits for
 * one in the host's kernel heeds no signal, and to give it a zero page could
 * write that to a disk.  So the process ends as it stands, which ends all that
 * wait.  Any thread, signal handlers too.
 */
static void leave_if_lost(struct run *run)
{
	static const char text[] = "godwit: error: memory that the guest lacks "
				   "is lost: it was ended as it stands\n";
	struct mover *mover = atomic_load(&run->mover);
	int ending = atomic_load(&run->ending);

	if (ending == 0 || !mover || !mover_lost_pages(mover))
		return;
	terminal_restore();
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(ending - 1); /* the same, but nobody reads it */
	_exit(ending - 1);
}

static void on_lost(void *opaque)
{
	leave_if_lost(opaque);
}

/* Signal handler.  The first signal ends the run in good order; terminal.c
 * lets a second one kill. */
static void on_signal(void *opaque, int signo)
{
	struct run *run = opaque;
	struct vm *vm;

	atomic_store(&run->signo, signo);
	vm = atomic_load(&run->vm);
	if (!vm)
		return;
	atomic_store(&run->ending, EXIT_SIGNAL + signo + 1);
	leave_if_lost(run);
	vm_stop(vm, VM_END_USER);
}

/* Signal handler: the loops' traces. */
static void on_report(void *opaque, int signo)
{
	struct run *run = opaque;
	struct vm *vm = atomic_load(&run->vm);

	if (vm)
		vm_dump_trace(vm, STDERR_FILENO);
}

static size_t filter_input(void *opaque, uint8_t *buf, size_t len)
{
	struct run *run = opaque;
	const char *help = terminal_help();
	unsigned commands;

	len = terminal_filter(&run->filter, buf, len, &commands);
	/* Help that cannot be shown is no reason to stop a guest. */
	if (commands & TERMINAL_HELP &&
		write(STDERR_FILENO, help, strlen(help)) < 0)
		log_debug("help: %s", strerror(errno));
	if (commands & TERMINAL_LEAVE)
		vm_stop(atomic_load(&run->vm), VM_END_USER);
	return len;
}

static bool input_ready(void *opaque)
{
	struct run *run = opaque;

	return terminal_ready(&run->terminal);
}

static int status_of(const struct run *run, enum vm_end end, uint32_t code)
{
	int signo = atomic_load(&run->signo);

	switch (end) {
	case VM_END_POWEROFF:
		return EXIT_OK;
	case VM_END_RESET:
		return EXIT_RESET;
	case VM_END_PANIC:
	case VM_END_CRASH:
		return EXIT_GUEST;
	case VM_END_DEBUG_EXIT:
		return (int)((code << 1 | 1) & 0xff);
	case VM_END_USER:
		return signo ? EXIT_SIGNAL + signo : EXIT_OK;
	case VM_END_MOVED:
		return EXIT_OK;
	case VM_END_NONE:
	case VM_END_HOST:
		break;
	}
	return EXIT_HOST;
}

/* Before the guest is stopped.  A second look comes if pages are lost while it
 * is being stopped. */
static void on_ending(void *opaque, enum vm_end end, uint32_t code)
{
	struct run *run = opaque;

	if (end == VM_END_NONE) {
		atomic_store(&run->ending, 0);
		return;
	}
	if (mover_lost_pages(run->mover)) {
		if (end == VM_END_PANIC)
			log_error("the guest kernel panicked");
		commands_end(run->commands, end);
	}
	atomic_store(&run->ending, status_of(run, end, code) + 1);
	leave_if_lost(run);
}

/* The control socket, if there is to be one.  0 or -errno with @err. */
static int open_control(struct vm *vm, const struct config *cfg,
	struct mover *mover, struct commands **ret_commands, struct error *err)
{
	char *path = NULL;
	int code = 0;

	if (cfg->control)
		return commands_create(
			vm, cfg, mover, cfg->control, ret_commands, err);
	if (!cfg->named || cfg->control_none)
		return 0;
	code = runtime_dir_socket(cfg->name, true, &path, err);
	if (code < 0)
		error_prepend(err, "control socket (or give --control none)");
	else
		code = commands_create(vm, cfg, mover, path, ret_commands, err);
	free(path);
	return code;
}

/* How a machine that is built begins, and goes on to its end. */
typedef enum vm_end begin_fn(
	void *opaque, struct vm *vm, struct mover *mover, uint32_t *ret_code);

/* Of a machine that boots. */
static enum vm_end begin_boot(
	void *opaque, struct vm *vm, struct mover *mover, uint32_t *ret_code)
{
	return vm_run(vm, ret_code);
}

/* Of one that comes from elsewhere; @opaque is the struct arrival. */
static enum vm_end begin_arrival(
	void *opaque, struct vm *vm, struct mover *mover, uint32_t *ret_code)
{
	struct error err = {0};
	bool run;

	if (arrival_begin(opaque, mover, vm, &run, &err) < 0) {
		tell(&err);
		return VM_END_HOST;
	}
	return run ? vm_run(vm, ret_code) : vm_serve(vm, ret_code);
}

/* A guest that moves brings its name along; the process that it leaves has the
 * socket until it ends. */
static void try_control(void *opaque)
{
	struct run *run = opaque;
	struct loop *loop = vm_loop(run->machine);
	struct error err = {0};

	run->waiting = false;
	if (open_control(run->machine, run->cfg, run->mover, &run->commands,
		    &err) == 0)
		return;
	if (err.code != -EADDRINUSE) {
		tell(&err);
		return;
	}
	run->waiting =
		loop_timer_set(&run->retry,
			loop_now_ns(loop, LOOP_MONOTONIC) + RETRY_NS) == 0;
}

/* What a machine needs beside itself.  0 or -errno with @err. */
static int surround(struct run *run, struct error *err)
{
	struct mover *mover;
	int code;

	code = mover_create(run->machine, &mover, err);
	if (code < 0)
		return code;
	mover_on_lost(mover, on_lost, run);
	vm_on_ending(run->machine, on_ending, run);
	atomic_store(&run->mover, mover);
	loop_timer_init(&run->retry, vm_loop(run->machine), LOOP_MONOTONIC,
		try_control, run);
	code = open_control(
		run->machine, run->cfg, run->mover, &run->commands, err);
	if (code == -EADDRINUSE && run->cfg->incoming) {
		try_control(run);
		return 0;
	}
	return code;
}

/* The reverse.  @end: why the run is over. */
static void strip(struct run *run, enum vm_end end)
{
	if (run->waiting)
		loop_timer_cancel(&run->retry);
	if (run->mover)
		mover_finish(run->mover);
	commands_end(run->commands, end);
	mover_destroy(atomic_exchange(&run->mover, NULL));
	vm_destroy(run->machine);
	commands_destroy(run->commands);
}

static int run_machine(struct run *run, begin_fn *begin, void *opaque)
{
	struct serial_front front = {
		.filter = filter_input,
		.ready = input_ready,
		.opaque = run,
	};
	struct error err = {0};
	uint32_t code = 0;
	enum vm_end end;
	int ret;

	/* Escape keys are for people: piped input is the guest's, all of it. */
	ret = vm_create(run->cfg, run->terminal.tty ? &front : NULL,
		&run->machine, &err);
	if (ret == 0)
		ret = surround(run, &err);
	if (ret < 0) {
		terminal_leave(&run->terminal);
		if (run->cfg->incoming)
			arrival_refuse(opaque, &err);
		strip(run, VM_END_HOST);
		tell(&err);
		return EXIT_HOST;
	}
	atomic_store(&run->vm, run->machine);
	if (atomic_load(&run->signo)) /* came before there was a VM to stop */
		vm_stop(run->machine, VM_END_USER);
	end = begin(opaque, run->machine, run->mover, &code);
	if (end == VM_END_PANIC)
		log_error("the guest kernel panicked");
	atomic_store(&run->vm, NULL);
	atomic_store(&run->ending, 0); /* it is stopped */
	terminal_leave(&run->terminal);
	strip(run, end);
	return status_of(run, end, code);
}

static int run_vm(const struct config *cfg, begin_fn *begin, void *opaque)
{
	struct run run = {.vm = NULL, .cfg = cfg};
	struct terminal_options opt = {
		.fd = -1, .stop = on_signal, .opaque = &run};
	struct error err = {0};

	if (cfg->trace > 0)
		opt.report = on_report;
	if (cfg->serial.kind == CONFIG_CHAR_STDIO ||
		cfg->console.kind == CONFIG_CHAR_STDIO)
		opt.fd = STDIN_FILENO;
	if (terminal_enter(&run.terminal, &opt, &err) < 0) {
		tell(&err);
		return EXIT_HOST;
	}
	return run_machine(&run, begin, opaque);
}

static int run_configured(const struct config *cfg)
{
	struct error err = {0};
	int code;

	if (cfg->help) {
		code = help_print("run", stdout);
		return code < 0 ? output_failed(code) : EXIT_OK;
	}
	log_set_level((enum log_level)(LOG_WARN + cfg->verbose));
	if (cfg->dry_run) {
		code = config_print_json(cfg, stdout);
		return code < 0 ? output_failed(code) : EXIT_OK;
	}
	if (cfg->dump_dtb) {
		if (dump_dtb(cfg, &err) == 0)
			return EXIT_OK;
		tell(&err);
		return EXIT_HOST;
	}
	return run_vm(cfg, begin_boot, NULL);
}

static int verb_run(int argc, char *const *argv)
{
	struct error err = {0};
	struct config cfg;
	int status;

	config_init(&cfg);
	if (config_parse_run(&cfg, argc, argv, &err) < 0)
		status = complain(&err);
	else
		status = run_configured(&cfg);
	config_fini(&cfg);
	return status;
}

/* ---- receive, restore ---- */

static int run_arrival(struct arrival *a)
{
	struct error err = {0};
	struct config cfg;
	int status;

	config_init(&cfg);
	if (arrival_meet(a, &cfg, &err) < 0) {
		tell(&err);
		status = EXIT_HOST;
	} else {
		status = run_vm(&cfg, begin_arrival, a);
	}
	arrival_fini(a);
	config_fini(&cfg);
	return status;
}

static int verb_arrival(bool file, int argc, char *const *argv)
{
	struct error err = {0};
	struct arrival arrival;
	int code;

	if (arrival_parse(&arrival, file, argc, argv, &err) < 0)
		return complain(&err);
	if (arrival.help) {
		code = help_print(file ? "restore" : "receive", stdout);
		return code < 0 ? output_failed(code) : EXIT_OK;
	}
	log_set_level((enum log_level)(
		LOG_WARN + (arrival.verbose < 2 ? arrival.verbose : 2)));
	return run_arrival(&arrival);
}

/* ---- verbs that talk to a running VM ---- */

static int verb_client(int argc, char *const *argv)
{
	struct verbs_request request;
	struct error err = {0};
	int code;

	code = verbs_parse(argc, argv, &request, &err);
	if (code < 0) {
		verbs_fini(&request);
		return complain(&err);
	}
	if (request.help) {
		code = help_print(argv[0], stdout);
		verbs_fini(&request);
		return code < 0 ? output_failed(code) : EXIT_OK;
	}
	code = verbs_run(&request, stdout, &err);
	verbs_fini(&request);
	if (code == 0)
		return EXIT_OK;
	log_error("%s", err.text);
	return code == -EINTR ? EXIT_SIGNAL + SIGINT : EXIT_HOST;
}

/* ---- the other verbs ---- */

static int refuse_word(const char *verb, const char *word)
{
	log_error("%s: '%.160s' is not understood (see `godwit help %s`)", verb,
		word, verb);
	return EXIT_USAGE;
}

static int verb_check(int argc, char *const *argv)
{
	static struct check_report report; /* 40 KiB, too much for a stack */
	bool json = false;
	int i, code;

	for (i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 ||
			strcmp(argv[i], "-h") == 0) {
			code = help_print("check", stdout);
			return code < 0 ? output_failed(code) : EXIT_OK;
		}
		if (strcmp(argv[i], "--json") != 0)
			return refuse_word("check", argv[i]);
		json = true;
	}
	check_gather(NULL, &report);
	code = json ? check_print_json(&report, stdout)
		    : check_print_text(&report, stdout);
	if (code < 0)
		return output_failed(code);
	return report.can_run ? EXIT_OK : EXIT_HOST;
}

static int verb_version(int argc, char *const *argv)
{
	if (argc > 0)
		return refuse_word("version", argv[0]);
	if (printf("godwit %s\n", GODWIT_VERSION) < 0 || fflush(stdout) == EOF)
		return output_failed(-errno);
	return EXIT_OK;
}

static int verb_help(int argc, char *const *argv)
{
	int code;

	if (argc > 1)
		return refuse_word("help", argv[1]);
	code = help_print(argc > 0 ? argv[0] : NULL, stdout);
	if (code == -EINVAL)
		return refuse_word("help", argv[0]);
	return code < 0 ? output_failed(code) : EXIT_OK;
}

/* A file we open must not become somebody's stdout. */
static int fill_standard_fds(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	enum config_verb verb;

	if (fill_standard_fds() < 0)
		return EXIT_HOST; /* and nowhere to say why */
	if (argc >= 2 && verbs_knows(argv[1]))
		return verb_client(argc - 1, argv + 1);
	if (config_parse_verb(argc, argv, &verb, &err) < 0)
		return complain(&err);
	argc -= 2;
	argv += 2;
	switch (verb) {
	case CONFIG_RUN:
		return verb_run(argc, argv);
	case CONFIG_RECEIVE:
		return verb_arrival(false, argc, argv);
	case CONFIG_RESTORE:
		return verb_arrival(true, argc, argv);
	case CONFIG_CHECK:
		return verb_check(argc, argv);
	case CONFIG_VERSION:
		return verb_version(argc, argv);
	case CONFIG_HELP:
		return verb_help(argc, argv);
	}
	return EXIT_USAGE;
}
