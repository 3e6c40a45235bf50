/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_faults.c - a host that fails us, at each single step: building
 * a VM, saving, loading, resetting and running one.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"
#include "tests/kvm/faults.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/vm_priv.h"

#define STEPS_MAX 5000u /* no operation has so many calls */
#define RAM_MIB	  512u
#define RAM	  "512M" /* as much as to notice the loss of one */

/* ---- what is left behind ---- */

struct belongings {
	int fds, threads;
	unsigned long map_mib;
};

/* Is task @tid one that we started?  The kernel adds its own. */
static bool is_ours(const char *tid)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", tid);
	file = fopen(path, "re");
	if (!file)
		return false; /* gone */
	if (!fgets(name, sizeof(name), file))
		name[0] = '\0';
	fclose(file);
	return strncmp(name, "kvm-", 4) != 0 && strncmp(name, "iou-", 4) != 0;
}

static int thread_count(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *ent;
	int count = 0;

	assert_non_null(dir);
	while ((ent = readdir(dir)) != NULL)
		count += ent->d_name[0] != '.' && is_ours(ent->d_name);
	closedir(dir);
	return count;
}

static struct belongings belongings(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	return (struct belongings){
		.fds = testing_fd_count(),
		.threads = thread_count(),
		.map_mib = pages / 256, /* of 4 KiB */
	};
}

static void nothing_is_left(const struct belongings *before, const char *what)
{
	struct belongings now = belongings();
	unsigned tries;

	/* A thread is joined a moment before it is gone. */
	for (tries = 0; now.threads > before->threads && tries < 100000;
		tries++) {
		sched_yield();
		now = belongings();
	}
	if (now.fds != before->fds)
		fail_msg(
			"%s: %d fds instead of %d", what, now.fds, before->fds);
	if (now.threads != before->threads)
		fail_msg("%s: %d threads instead of %d", what, now.threads,
			before->threads);
	if (now.map_mib > before->map_mib + RAM_MIB / 2)
		fail_msg("%s: %lu MiB mapped instead of %lu", what, now.map_mib,
			before->map_mib);
}

/* ---- building ---- */

struct rig {
	char disk[64], serial[64];
	struct config cfg;
};

static void temp_file(char path[64], const char *prefix, off_t size)
{
	char name[] = "/tmp/godwit-fault.XXXXXX";
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
	snprintf(path, 64, "%s%s", prefix, name);
}

/* @more: further words, NULL-terminated. */
static void rig_init(struct rig *r, const char *const *more)
{
	const char *words[32] = {"-c", "3", "--rng", "--serial", r->serial,
		"--console", "file=/dev/null", "-d", r->disk, "-d", r->disk};
	struct error err;
	int n = 11;

	temp_file(r->disk, "ro,path=", 1 << 20);
	temp_file(r->serial, "file=", 0);
	while (*more)
		words[n++] = *more++;
	config_init(&r->cfg);
	if (config_parse_run(
		    &r->cfg, n, (char *const *)(uintptr_t)words, &err) < 0)
		fail_msg("config: %s", err.text);
}

static void rig_fini(struct rig *r)
{
	config_fini(&r->cfg);
	unlink(strchr(r->disk, '/'));
	unlink(strchr(r->serial, '/'));
}

static void build_and_run(struct rig *r)
{
	struct error err;
	uint32_t code;
	struct vm *vm;

	if (vm_create(&r->cfg, NULL, &vm, &err) < 0)
		fail_msg("vm_create: %s", err.text);
	assert_int_equal(vm_run(vm, &code), VM_END_POWEROFF);
	vm_destroy(vm);
}

/* Build with the nth call failing.  Return: false if there is none. */
static bool build_with_fault(
	struct rig *r, unsigned nth, int error, const struct belongings *before)
{
	struct error err = {.text = ""};
	const char *hit;
	struct vm *vm;
	uint32_t code;
	int ret;

	arm(nth, error);
	ret = vm_create(&r->cfg, NULL, &vm, &err);
	hit = disarm();
	if (ret == 0) {
		/* Something that can be done without: it must run then. */
		assert_int_equal(vm_run(vm, &code), VM_END_POWEROFF);
		vm_destroy(vm);
	} else {
		assert_non_null(hit);
		assert_true(ret < 0);
		/* Who, what, why. */
		if (strlen(err.text) < 10 || err.code != ret)
			fail_msg("call %u, %s: code %d, text \"%s\" (%d)", nth,
				hit, ret, err.text, err.code);
	}
	nothing_is_left(before, hit ? hit : "success");
	return hit != NULL;
}

static void a_vm_is_built_whole_or_not_at_all(void **state)
{
	static const char *const rows[][12] = {
		{"-k", "kernels/hello", "-m", RAM, "--iothread", "2", NULL},
		{"-k", "kernels/hello.bzimage", "-m", RAM ",backing=memfd",
			"--machine", "fdt", "--loop", "epoll", NULL},
		{"-k", "kernels/hello", "-m", RAM, "--machine", "cmdline",
			"--pit", NULL},
	};
	static const int errors[] = {ENOMEM, EINVAL, EMFILE};
	struct belongings before;
	unsigned i, n, total = 0;
	struct rig r;

	testing_need_kvm();
	for (i = 0; i < 3; i++) {
		rig_init(&r, rows[i]);
		build_and_run(&r); /* what glibc keeps, it has now */
		before = belongings();
		for (n = 1; n < STEPS_MAX; n++)
			if (!build_with_fault(&r, n, errors[i], &before))
				break;
		assert_true(n > 100 && n < STEPS_MAX);
		total += n;
		rig_fini(&r);
	}
	print_message("# %u steps\n", total);
}

static void a_limit_of_open_files_is_named(void **state)
{
	static const char *const more[] = {
		"-k", "kernels/hello", "-m", RAM, NULL};
	struct rlimit old, low;
	struct belongings before;
	struct error err;
	struct rig r;
	struct vm *vm;
	rlim_t limit;
	int ret = -1;

	testing_need_kvm();
	rig_init(&r, more);
	build_and_run(&r);
	before = belongings();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (limit = 3; ret < 0 && limit < 200; limit++) {
		low = (struct rlimit){limit, old.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
		ret = vm_create(&r.cfg, NULL, &vm, &err);
		if (ret == 0)
			vm_destroy(vm);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (ret < 0 && ret != -EMFILE)
			fail_msg("limit %u: %s", (unsigned)limit, err.text);
		nothing_is_left(&before, "file limit");
	}
	assert_int_equal(ret, 0);
	assert_true(limit > 15); /* it did fail before */
	rig_fini(&r);
}

/* ---- state ---- */

static const char *const three_cpus[] = {
	"-k", "kernels/hello", "-c", "3", "--rng", "-m", "16M", NULL};

static void finish(struct vm_fixture *f)
{
	uint32_t code;

	assert_int_equal(vm_run(f->vm, &code), VM_END_POWEROFF);
	assert_non_null(strstr(vm_fixture_text(f), "hello from"));
	vm_fixture_fini(f);
}

static void a_save_that_fails_says_why_and_harms_nothing(void **state)
{
	struct vm_fixture f;
	struct error err;
	const char *hit;
	unsigned n, spared = 0;
	int ret;

	testing_need_kvm();
	vm_fixture_init(&f, three_cpus);
	for (n = 1; n < STEPS_MAX; n++) {
		struct state_writer w;

		state_writer_init(&w);
		err.text[0] = '\0';
		arm(n, ENOMEM);
		ret = vm_save(f.vm, &w, &err);
		hit = disarm();
		state_writer_fini(&w);
		if (!hit)
			break;
		/* Where the run page cannot be had (KVM_RUN), each vCPU has
		 * other calls to fall back to. */
		if (ret == 0) {
			assert_true(++spared <= 3);
			continue;
		}
		assert_true(strncmp(err.text, "save ", 5) == 0);
	}
	assert_int_equal(ret, 0);
	assert_true(n > 25);
	finish(&f);
}

static void a_load_that_fails_says_why_and_can_be_repeated(void **state)
{
	struct vm_fixture from, to;
	struct state_writer w;
	struct error err;
	const char *hit;
	unsigned n;
	int ret = -1;

	testing_need_kvm();
	vm_fixture_init(&from, three_cpus);
	vm_fixture_init(&to, three_cpus);
	state_writer_init(&w);
	assert_int_equal(vm_save(from.vm, &w, &err), 0);
	for (n = 1; n < STEPS_MAX; n++) {
		err.text[0] = '\0';
		arm(n, EINVAL);
		ret = vm_load(to.vm, w.buf, w.len, &err);
		hit = disarm();
		if (!hit)
			break;
		if (ret < 0)
			assert_true(strncmp(err.text, "load", 4) == 0);
		assert_int_equal(vm_load(to.vm, w.buf, w.len, &err), 0);
	}
	assert_int_equal(ret, 0);
	assert_true(n > 25);
	state_writer_fini(&w);
	vm_fixture_fini(&from);
	finish(&to);
}

static void a_reset_that_fails_says_why_and_can_be_repeated(void **state)
{
	struct vm_fixture f;
	struct error err;
	const char *hit;
	unsigned n;
	int ret = -1;

	testing_need_kvm();
	vm_fixture_init(&f, three_cpus);
	for (n = 1; n < STEPS_MAX; n++) {
		err.text[0] = '\0';
		arm(n, ENOMEM);
		ret = vm_reset(f.vm, &err);
		hit = disarm();
		if (!hit)
			break;
		if (ret < 0)
			assert_true(strlen(err.text) > 5);
		assert_int_equal(vm_reset(f.vm, &err), 0);
	}
	assert_int_equal(ret, 0);
	assert_true(n > 25);
	finish(&f);
}

/* ---- running ---- */

static void a_reset_that_fails_ends_the_run_as_the_hosts_fault(void **state)
{
	const char *words[] = {
		"-k", "kernels/hello", "-a", "exit=reset", "-c", "2", NULL};
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	every_ioctl_fails(KVM_SET_LAPIC, EINVAL);
	assert_int_equal(vm_run(f.vm, &code), VM_END_HOST);
	every_ioctl_fails(0, 0);
	/* The guest still waits for it. */
	assert_int_equal(
		vm_fixture_run_until(&f, "hello from", 3), VM_END_USER);
	vm_fixture_fini(&f);
}

static void a_vcpu_that_kvm_will_not_run_ends_the_run(void **state)
{
	static const int errors[] = {EFAULT, ENOMEM, EINVAL, EIO};
	struct belongings before;
	struct vm_fixture f;
	uint32_t code;
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&f, three_cpus);
	vm_fixture_fini(&f);
	before = belongings();
	for (i = 0; i < 4; i++) {
		vm_fixture_init(&f, three_cpus);
		every_ioctl_fails(KVM_RUN, errors[i]);
		assert_int_equal(vm_run(f.vm, &code), VM_END_HOST);
		every_ioctl_fails(0, 0);
		vm_fixture_fini(&f);
		nothing_is_left(&before, "KVM_RUN");
	}
}

static void a_pause_without_a_clock_is_a_pause(void **state)
{
	static const unsigned long requests[] = {
		KVM_GET_CLOCK, KVM_SET_CLOCK, KVM_KVMCLOCK_CTRL};
	const char *words[] = {"-k", "kernels/work", "-a",
		"mem=1 passes=0 smp=2 report=1p", "-c", "2", NULL};
	struct vm_fixture f;
	unsigned i, n;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	for (i = 0; i < 3; i++) {
		every_ioctl_fails(requests[i], EINVAL);
		n = vm_fixture_count(vm_fixture_text(&f), "work: pass");
		assert_int_equal(vm_fixture_run_until(&f, "work: pass", n + 4),
			VM_END_USER);
		every_ioctl_fails(0, 0);
	}
	assert_null(strstr(vm_fixture_text(&f), "LOST"));
	vm_fixture_fini(&f);
}

struct latecomer {
	struct vm *vm;
	struct loop_bh *bh;
};

static void pause_when_one_is_late(void *opaque)
{
	struct latecomer *l = opaque;

	if (sem_trywait(&at_the_door) < 0) { /* it is still on its way */
		loop_bh_schedule(l->bh);
		return;
	}
	vm_pause(l->vm);
	vm_resume(l->vm);
	vm_stop(l->vm, VM_END_USER);
}

/* The guest has no exits of its own: only the flag can stop it. */
static void a_kick_just_before_the_guest_is_entered_is_not_lost(void **state)
{
	const char *words[] = {"-k", "kernels/exits", "-a", "case=loop", NULL};
	struct vm_fixture f;
	struct latecomer l;
	uint32_t code;
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	l.vm = f.vm;
	sem_init(&at_the_door, 0, 0);
	assert_int_equal(loop_bh_create(vm_loop(f.vm), pause_when_one_is_late,
				 &l, "late", vm_guard(f.vm), &l.bh),
		0);
	for (i = 0; i < 100; i++) {
		atomic_store(&late, f.vm);
		loop_bh_schedule(l.bh);
		assert_int_equal(vm_run(f.vm, &code), VM_END_USER);
	}
	loop_bh_delete(l.bh);
	sem_destroy(&at_the_door);
	vm_fixture_fini(&f);
}

static void devices_work_without_ioeventfds(void **state)
{
	const char *words[] = {
		"-k", "kernels/virtio", "--machine", "cmdline", "--rng", NULL};
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	every_ioctl_fails(KVM_IOEVENTFD, ENOSPC);
	assert_int_equal(vm_run(f.vm, &code), VM_END_POWEROFF);
	every_ioctl_fails(0, 0);
	assert_null(strstr(vm_fixture_text(&f), "FAIL"));
	assert_non_null(strstr(vm_fixture_text(&f), ", 0 failed"));
	vm_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vm_is_built_whole_or_not_at_all),
		cmocka_unit_test(a_limit_of_open_files_is_named),
		cmocka_unit_test(a_save_that_fails_says_why_and_harms_nothing),
		cmocka_unit_test(
			a_load_that_fails_says_why_and_can_be_repeated),
		cmocka_unit_test(
			a_reset_that_fails_says_why_and_can_be_repeated),
		cmocka_unit_test(
			a_reset_that_fails_ends_the_run_as_the_hosts_fault),
		cmocka_unit_test(a_vcpu_that_kvm_will_not_run_ends_the_run),
		cmocka_unit_test(
			a_kick_just_before_the_guest_is_entered_is_not_lost),
		cmocka_unit_test(a_pause_without_a_clock_is_a_pause),
		cmocka_unit_test(devices_work_without_ioeventfds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
