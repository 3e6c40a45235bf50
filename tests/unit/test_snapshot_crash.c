/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_snapshot_crash.c - a snapshot whose writing is interrupted,
 * at each of its system calls, leaves the file that was there or is complete.
 *
 * The writer is a child under ptrace(2).  It is killed before its Nth system
 * call, for every N; or its Nth system call that concerns the file fails.
 */
#include "tests/unit/snapshot_bed.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#define PAGES 160u

/* ---- a child whose system calls are counted ---- */

static pid_t start_writer(
	const struct snapshot_bed *b, const struct snapshot_options *opt)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	alarm(TESTING_WATCHDOG_S);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(99);
	raise(SIGSTOP);
	_exit(bed_write(b, opt, NULL) < 0 ? 1 : 0);
}

/* Which system calls count.  How often the writer waits for its ring depends on
 * the disk; all else is the same each time. */
enum which { ALL_BUT_RING, FILE_CALLS, RING };

static bool counts(enum which which, uint64_t nr)
{
	/* These fail for reasons of the host; others are the libraries'. */
	static const uint64_t list[] = {SYS_openat, SYS_newfstatat, SYS_lstat,
		SYS_ftruncate, SYS_pwrite64, SYS_fdatasync, SYS_fsync,
		SYS_linkat, SYS_rename, SYS_renameat, SYS_fcntl,
		SYS_io_uring_setup, SYS_pread64, SYS_getrandom};
	unsigned i;

	if (which == RING || nr == SYS_io_uring_enter)
		return which == RING && nr == SYS_io_uring_enter;
	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (list[i] == nr)
			return true;
	return which == ALL_BUT_RING;
}

/* To the next stop of kind @op (PTRACE_SYSCALL_INFO_*).  False: the child has
 * ended, with *ret_status. */
static bool run_until(pid_t pid, uint8_t op, int *ret_status)
{
	struct __ptrace_syscall_info info;

	do {
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, ret_status, 0), pid);
		if (!WIFSTOPPED(*ret_status))
			return false;
		memset(&info, 0, sizeof(info));
		assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info),
				    &info) > 0);
	} while (info.op != op);
	return true;
}

/* The system call that @pid is about to make is not made, but fails. */
static void fail_call(pid_t pid, struct user_regs_struct *regs, int error)
{
	int status;

	regs->orig_rax = (unsigned long long)-1;
	assert_int_equal(ptrace(PTRACE_SETREGS, pid, NULL, regs), 0);
	assert_true(run_until(pid, PTRACE_SYSCALL_INFO_EXIT, &status));
	assert_int_equal(ptrace(PTRACE_GETREGS, pid, NULL, regs), 0);
	regs->rax = (unsigned long long)(long long)-error;
	assert_int_equal(ptrace(PTRACE_SETREGS, pid, NULL, regs), 0);
	assert_int_equal(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
}

/* Run the writer up to its @n th system call of those that count.  @error: 0,
 * kill it there; else that call is not made but fails so.  Returns its status;
 * *ret_past: there were less than @n. */
static int run_to(const struct snapshot_bed *b, enum which which, unsigned n,
	int error, bool *ret_past)
{
	pid_t pid = start_writer(b, NULL);
	struct user_regs_struct regs;
	int status;

	*ret_past = false;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(
		ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD), 0);
	for (;;) {
		if (!run_until(pid, PTRACE_SYSCALL_INFO_ENTRY, &status)) {
			*ret_past = true;
			return status;
		}
		assert_int_equal(ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
		if (counts(which, regs.orig_rax) && n-- == 0)
			break;
	}
	if (error == 0)
		kill(pid, SIGKILL);
	else
		fail_call(pid, &regs, error);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static bool can_trace(const struct snapshot_bed *b)
{
	pid_t pid = start_writer(b, NULL);
	int status;

	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status))
		return false;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return true;
}

/* What a crash may leave beside the file: one with a temporary name. */
static int remove_temps(const struct snapshot_bed *b)
{
	DIR *d = opendir(b->dir);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d)))
		if (strncmp(e->d_name, ".vm.snap.", 9) == 0) {
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
			n++;
		}
	closedir(d);
	return n;
}

/* The file by 1 has replaced the one by 0?  Neither is a failure. */
static bool is_new(const struct snapshot_bed *b, unsigned n)
{
	if (bed_check(b, 0) == 0)
		return false;
	if (bed_check(b, 1) != 0)
		fail_msg("call %u: neither the old file nor the new", n);
	return true;
}

static bool write_old(struct snapshot_bed *b)
{
	struct snapshot_options opt = {.no_sync = true};

	bed_fill(b, 0);
	return bed_write(b, &opt, NULL) == 0;
}

/* ---- tests ---- */

static void killed_anywhere_it_leaves_the_old_file_or_the_new(void **state)
{
	unsigned which, n, old = 0, new = 0, temps = 0;
	struct snapshot_bed b;
	bool past;

	bed_init(&b, PAGES, GUESTMEM_ANON);
	/* The child has its own copy: guest RAM is not inherited. */
	madvise(b.gm.base, b.gm.size, MADV_DOFORK);
	if (!can_trace(&b))
		skip();
	for (which = ALL_BUT_RING; which <= RING; which += RING) {
		past = false;
		for (n = 0; !past; n++) {
			assert_true(write_old(&b));
			bed_fill(&b, 1);
			run_to(&b, which, n, 0, &past);
			temps += (unsigned)remove_temps(&b);
			if (is_new(&b, n))
				new ++;
			else
				old++;
		}
	}
	print_message("# killed at %u calls: %u old, %u new, %u temporary\n",
		old + new, old, new, temps);
	assert_true(old > 40);
	/* Before fsync of the directory, and after it. */
	assert_true(new > 4);
	/* Before getting its name, between that and rename. */
	assert_int_equal(temps, 1);
	bed_fini(&b);
}

/* Returns how many failures mattered; *ret_late: and came after the rename. */
static unsigned fail_each(
	struct snapshot_bed *b, enum which which, int error, unsigned *ret_late)
{
	unsigned n, failed = 0;
	bool past = false;
	int status;

	*ret_late = 0;
	for (n = 0; !past; n++) {
		assert_true(write_old(b));
		bed_fill(b, 1);
		status = run_to(b, which, n, error, &past);
		assert_true(WIFEXITED(status));
		assert_int_equal(remove_temps(b), 0);
		/* Some it can do without; but what it says is so. */
		if (WEXITSTATUS(status) == 0) {
			assert_true(is_new(b, n));
			continue;
		}
		failed++;
		*ret_late += is_new(b, n);
	}
	print_message("# %u calls failed, %u mattered\n", n, failed);
	return failed;
}

static void a_failing_call_leaves_the_old_file_and_no_other(void **state)
{
	static const int errors[] = {EIO, ENOSPC};
	struct snapshot_bed b;
	unsigned late, i;

	bed_init(&b, PAGES, GUESTMEM_ANON);
	madvise(b.gm.base, b.gm.size, MADV_DOFORK);
	if (!can_trace(&b))
		skip();
	for (i = 0; i < 2; i++) {
		/* lstat, 2 open, ftruncate, fdatasync, linkat, rename and too
		 * late, fsync of the directory. */
		assert_true(fail_each(&b, FILE_CALLS, errors[i], &late) >= 8);
		assert_int_equal(late, 1);
		assert_true(fail_each(&b, RING, errors[i], &late) > 15);
		assert_int_equal(late, 0);
	}
	bed_fini(&b);
}

/* In a child, so that the restrictions end with it; its exit status. */
static int in_child(int (*fn)(void *opaque), void *opaque)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(TESTING_WATCHDOG_S);
		_exit(fn(opaque));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define SKIPPED 77

static int forbid_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {
		.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 ? -errno
								     : 0;
}

static int without_ring(void *opaque)
{
	struct snapshot_bed *b = opaque;

	if (forbid_io_uring() < 0)
		return SKIPPED;
	if (bed_write(b, NULL, NULL) < 0)
		return 1;
	return bed_check(b, 0) < 0 ? 2 : 0;
}

static void without_io_uring_it_works_as_well(void **state)
{
	struct snapshot_bed b;
	int status;

	bed_init(&b, PAGES, GUESTMEM_ANON);
	madvise(b.gm.base, b.gm.size, MADV_DOFORK);
	status = in_child(without_ring, &b);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
	assert_int_equal(bed_check(&b, 0), 0);
	bed_fini(&b);
}

/* A disk of 1 MiB, and 600 pages of which 225 have data. */
static int on_small_disk(void *opaque)
{
	struct snapshot_bed *b = opaque;
	struct error err = {0};
	struct stat st;

	if (unshare(CLONE_NEWNS) < 0 ||
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tmpfs", b->dir, "tmpfs", 0, "size=640k") < 0)
		return SKIPPED;
	if (bed_write(b, NULL, &err) != -ENOSPC)
		return 1;
	if (!strstr(err.text, b->path) || bed_files(b) != 0)
		return 2;
	/* With a file in its place. */
	if (close(open(b->path, O_CREAT | O_WRONLY, 0600)) < 0)
		return 3;
	if (bed_write(b, NULL, NULL) != -ENOSPC || bed_files(b) != 1)
		return 4;
	return stat(b->path, &st) == 0 && st.st_size == 0 ? 0 : 5;
}

static void a_full_disk_keeps_its_old_file(void **state)
{
	struct snapshot_bed b;
	int status;

	bed_init(&b, 600, GUESTMEM_ANON);
	madvise(b.gm.base, b.gm.size, MADV_DOFORK);
	status = in_child(on_small_disk, &b);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
	bed_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			killed_anywhere_it_leaves_the_old_file_or_the_new),
		cmocka_unit_test(
			a_failing_call_leaves_the_old_file_and_no_other),
		cmocka_unit_test(without_io_uring_it_works_as_well),
		cmocka_unit_test(a_full_disk_keeps_its_old_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
