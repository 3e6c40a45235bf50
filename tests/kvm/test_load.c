/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_load.c - a VM whose disks and entropy source never rest
 * (kernels/load), paused, reset, saved and destroyed at any moment, with its
 * disks on the main loop and on I/O threads.
 *
 * The guest checks every answer and sleeps until interrupts come, so what is
 * lost shows as a WRONG line, or as a run that never ends.
 * An SMP guest with a vCPU that was plugged (kernels/work) moves from VM to VM,
 * and one that has asked for its end.
 * GODWIT_PAUSES=N: so many pauses instead of 10,000.  LOAD_MOVES=N: so many
 * moves of the SMP guest instead of 20.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/work.h"
#include "migrate/guest.h"
#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/hotplug.h"
#include "vmm/vm_migrate.h"

#define PAUSES	    10000u
#define GAP_NS	    200000u /* at most, between two pauses */
#define LOOK_EVERY  512u    /* pauses; is all quiet? */
#define RESETS	    50u
#define HOPS	    30u
#define MOVES	    20u
#define DESTROYS    30u
#define DISK_BYTES  (1 << 20)
#define ANSWERED    "load: answers"
#define REPORT_2000 "requests=0 report=2000"

/* ---- fixture ---- */

struct setting {
	const char *iothreads, *loop;
};

static const struct setting settings[] = {
	{"0", "auto"}, {"2", "auto"}, {"2", "poll"}, {"2", "epoll"}};

struct load {
	struct vm_fixture f;
	char disk[2][64]; /* "path=..." */
};

static void make_disks(struct load *l)
{
	unsigned i;
	int fd;

	for (i = 0; i < 2; i++) {
		strcpy(l->disk[i], "path=/tmp/godwit-load.XXXXXX");
		fd = mkstemp(l->disk[i] + strlen("path="));
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
		close(fd);
	}
}

static void remove_disks(struct load *l)
{
	unlink(l->disk[0] + strlen("path="));
	unlink(l->disk[1] + strlen("path="));
}

static void boot(struct load *l, const struct setting *s, const char *append)
{
	const char *words[] = {"-k", "kernels/load", "-a", append, "-m", "16M",
		"--machine", "cmdline", "--rng", "-d", l->disk[0], "-d",
		l->disk[1], "--iothread", s->iothreads, "--loop", s->loop,
		NULL};

	vm_fixture_init(&l->f, words);
}

static void no_complaint(struct load *l)
{
	const char *text = vm_fixture_text(&l->f);
	const char *wrong = strstr(text, "WRONG");

	if (!wrong)
		wrong = strstr(text, "FAIL");
	if (!wrong)
		wrong = strstr(text, "guest: ");
	if (wrong)
		fail_msg("the guest says: %s", wrong);
}

/* Run until the guest has got on by two reports, then leave it paused. */
static void get_on(struct load *l)
{
	unsigned reports = vm_fixture_count(vm_fixture_text(&l->f), ANSWERED);

	assert_int_equal(vm_fixture_run_until(&l->f, ANSWERED, reports + 2),
		VM_END_USER);
	no_complaint(l);
}

/* ---- something at random moments ---- */

struct storm {
	struct vm *vm;
	void (*fn)(struct storm *s); /* with the VM paused */
	struct loop_timer timer;
	unsigned left;
	uint64_t random;
};

static void rearm(struct storm *s)
{
	int64_t gap = (int64_t)(testing_random(&s->random) % GAP_NS);

	assert_int_equal(
		loop_timer_set(&s->timer,
			loop_now_ns(vm_loop(s->vm), LOOP_MONOTONIC) + gap),
		0);
}

static void strike(void *opaque)
{
	struct storm *s = opaque;

	vm_pause(s->vm);
	if (s->fn)
		s->fn(s);
	vm_resume(s->vm);
	if (--s->left == 0)
		vm_stop(s->vm, VM_END_USER);
	else
		rearm(s);
}

static void storm(struct load *l, void (*fn)(struct storm *s), unsigned times)
{
	struct storm s = {.vm = l->f.vm,
		.fn = fn,
		.left = times,
		.random = testing_seed(__func__)};
	uint32_t code;

	loop_timer_init(&s.timer, vm_loop(l->f.vm), LOOP_MONOTONIC, strike, &s);
	rearm(&s);
	assert_int_equal(vm_run(l->f.vm, &code), VM_END_USER);
	assert_int_equal(s.left, 0);
	loop_timer_cancel(&s.timer);
	no_complaint(l);
}

static uint64_t sum_of_ram(struct vm *vm)
{
	const struct guestmem *gm = vm_guestmem(vm);
	const uint64_t *word = (const uint64_t *)(const void *)gm->base;
	uint64_t sum = 0, i;

	for (i = 0; i < gm->size / 8; i++)
		sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15ull;
	return sum;
}

static void nothing(void *opaque)
{
}

/* Every loop gets turns, which it could use to do what it should not. */
static void turn_every_loop(struct vm *vm)
{
	struct loop *io;
	unsigned turn, i;

	for (turn = 0; turn < 20; turn++) {
		loop_poll(vm_loop(vm), false);
		for (i = 0; (io = vm_io_loop(vm, i)) != NULL; i++)
			assert_int_equal(
				loop_run_sync(io, nothing, NULL, "turn"), 0);
	}
}

static void now_and_then_all_is_quiet(struct storm *s)
{
	uint64_t sum;

	if (s->left % LOOK_EVERY != 0)
		return;
	sum = sum_of_ram(s->vm);
	turn_every_loop(s->vm);
	assert_true(sum_of_ram(s->vm) == sum);
}

/* ---- the tests ---- */

static unsigned number_of(const char *name, unsigned usual)
{
	const char *given = getenv(name);
	unsigned n = given ? (unsigned)strtoul(given, NULL, 0) : usual;

	assert_true(n > 0);
	return n;
}

/* The disks' kicks arrive where their queues live. */
static void disks_are_served_by(struct vm *vm, unsigned iothreads)
{
	struct loop_stats stats;
	unsigned i;

	for (i = 0; i < iothreads; i++) {
		loop_stats(vm_io_loop(vm, i), &stats);
		assert_true(stats.fds_run > 0);
	}
	assert_null(vm_io_loop(vm, iothreads));
}

static void ten_thousand_pauses_under_load_lose_nothing(void **state)
{
	unsigned i, times, before = (unsigned)testing_fd_count();
	struct load l;
	int fds;

	testing_need_kvm();
	make_disks(&l);
	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		boot(&l, &settings[i], REPORT_2000);
		get_on(&l);
		fds = testing_fd_count();
		/* All of them on the usual loop, some on the others. */
		times = number_of("GODWIT_PAUSES", PAUSES);
		times = i < 2 ? times : times / 10 + 1;
		storm(&l, now_and_then_all_is_quiet, times);
		get_on(&l);
		assert_int_equal(testing_fd_count(), fds);
		disks_are_served_by(
			l.f.vm, (unsigned)atoi(settings[i].iothreads));
		vm_fixture_fini(&l.f);
		assert_int_equal(testing_fd_count(), before);
	}
	remove_disks(&l);
}

static void a_reset_under_load_starts_the_guest_again(void **state)
{
	unsigned i, times;
	struct error err;
	struct load l;
	int fds;

	testing_need_kvm();
	make_disks(&l);
	for (i = 0; i < 2; i++) {
		boot(&l, &settings[i], "requests=0 report=100");
		get_on(&l);
		fds = testing_fd_count();
		for (times = 0; times < RESETS; times++) {
			get_on(&l);
			if (vm_reset(l.f.vm, &err) < 0)
				fail_msg("reset: %s", err.text);
		}
		get_on(&l);
		assert_int_equal(
			vm_fixture_count(vm_fixture_text(&l.f), "load: entry"),
			RESETS + 1);
		assert_int_equal(testing_fd_count(), fds);
		vm_fixture_fini(&l.f);
	}
	remove_disks(&l);
}

/* Or a guest that resets while it is migrated would boot from old pages. */
static void a_reset_tells_the_dirty_log_where_it_loaded_the_kernel(void **state)
{
	const char *words[] = {"-k", "kernels/hello", "-m", "16M", NULL};
	uint64_t map[(16 << 20) / 4096 / 64] = {0};
	struct guestmem *gm;
	struct vm_fixture f;
	struct error err;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	gm = vm_guestmem(f.vm);
	assert_int_equal(guestmem_dirty_log_start(gm), 0);
	if (vm_reset(f.vm, &err) < 0)
		fail_msg("reset: %s", err.text);
	guestmem_dirty_fetch(gm, map);
	/* All bundled guests are linked at 1 MiB. */
	assert_true(map[256 / 64] >> (256 % 64) & 1);
	guestmem_dirty_log_stop(gm);
	vm_fixture_fini(&f);
}

/* The guest itself asks for it, with all requests in flight. */
static void a_guest_that_resets_under_load_starts_again(void **state)
{
	struct load l;
	unsigned i;

	testing_need_kvm();
	make_disks(&l);
	for (i = 0; i < 2; i++) {
		boot(&l, &settings[i], "requests=500 exit=reset");
		assert_int_equal(
			vm_fixture_run_until(&l.f, "load: verdict ok", RESETS),
			VM_END_USER);
		no_complaint(&l);
		vm_fixture_fini(&l.f);
	}
	remove_disks(&l);
}

/* State and RAM to a VM that serves the same disks by another number of
 * threads: where a queue lives is the host's business alone. */
static void a_loaded_guest_moves_between_vms_with_other_io_threads(void **state)
{
	static const struct setting hosts[] = {
		{"0", "auto"}, {"2", "auto"}, {"1", "epoll"}};
	uint64_t bytes;
	struct state_writer w;
	struct error err;
	struct load l;
	uint8_t *ram;
	unsigned hop;

	testing_need_kvm();
	make_disks(&l);
	boot(&l, &hosts[0], REPORT_2000);
	bytes = vm_guestmem(l.f.vm)->size;
	ram = malloc(bytes);
	assert_non_null(ram);
	for (hop = 1; hop <= HOPS; hop++) {
		get_on(&l);
		state_writer_init(&w);
		if (vm_save(l.f.vm, &w, &err) < 0)
			fail_msg("save: %s", err.text);
		memcpy(ram, vm_guestmem(l.f.vm)->base, bytes);
		vm_fixture_fini(&l.f);
		boot(&l, &hosts[hop % 3], REPORT_2000);
		memcpy(vm_guestmem(l.f.vm)->base, ram, bytes);
		if (vm_load(l.f.vm, w.buf, w.len, &err) < 0)
			fail_msg("load: %s", err.text);
		state_writer_fini(&w);
	}
	get_on(&l);
	vm_fixture_fini(&l.f);
	free(ram);
	remove_disks(&l);
}

/* ---- an SMP guest from VM to VM ---- */

static void boot_smp(struct vm_fixture *f, const char *cpus)
{
	const char *words[] = {"-k", "kernels/work", "-a",
		"smp=2 more=1 mem=2 passes=0 mode=rand fill=1 tick=2 report=4",
		"-m", "16M", "-c", cpus, NULL};

	vm_fixture_init(f, words);
}

/* Run until it has got on by two reports, then leave it paused. */
static void smp_gets_on(struct vm_fixture *f)
{
	unsigned reports = vm_fixture_count(vm_fixture_text(f), "work: pass ");

	assert_int_equal(vm_fixture_run_until(f, "work: pass ", reports + 2),
		VM_END_USER);
	if (strstr(vm_fixture_text(f), "LOST") || strstr(f->text, "guest: "))
		fail_msg("the guest says: %s", f->text);
}

static void plugged(void *opaque, int code, const struct error *err)
{
	*(int *)opaque = code;
}

/* The third of four vCPUs comes while the guest runs. */
static void plug_the_third(struct vm_fixture *f)
{
	struct error err;
	int code = 1;

	smp_gets_on(f);
	if (vm_set_cpus(f->vm, 3, 0, plugged, &code, &err) < 0)
		fail_msg("plug: %s", err.text);
	assert_int_equal(
		vm_fixture_run_until(f, "work: vCPU 2 joins", 1), VM_END_USER);
	assert_int_equal(code, 0);
	assert_int_equal(vm_cpus_present(f->vm), 3);
}

/* The guest sees RAM and state as they were; @cpus is what the new machine
 * begins with. */
static void move(struct vm_fixture *f, const char *cpus, uint8_t *ram)
{
	uint64_t bytes = vm_guestmem(f->vm)->size;
	struct state_writer w;
	struct error err;

	state_writer_init(&w);
	if (vm_save(f->vm, &w, &err) < 0)
		fail_msg("save: %s", err.text);
	memcpy(ram, vm_guestmem(f->vm)->base, bytes);
	vm_fixture_fini(f);
	boot_smp(f, cpus);
	memcpy(vm_guestmem(f->vm)->base, ram, bytes);
	if (vm_load(f->vm, w.buf, w.len, &err) < 0)
		fail_msg("load: %s", err.text);
	state_writer_fini(&w);
}

static void an_smp_guest_moves_from_vm_to_vm_with_its_plugged_vcpu(void **state)
{
	static const char *const cpus[] = {
		"1,max=4", "4,max=4", "2,max=4", "3,max=4"};
	unsigned hop, hops = number_of("LOAD_MOVES", MOVES);
	struct work_control *control;
	struct vm_fixture f;
	uint8_t *ram;
	int fds;

	testing_need_kvm();
	ram = malloc(16 << 20);
	assert_non_null(ram);
	fds = testing_fd_count();
	boot_smp(&f, "2,max=4");
	plug_the_third(&f);
	for (hop = 0; hop < hops; hop++) {
		move(&f, cpus[hop % 4], ram);
		assert_int_equal(vm_cpus_present(f.vm), 3);
		assert_true(vm_cpu_is_present(f.vm, 2));
		/* The second machine had one more than the guest, and parked
		 * it; where one is parked goes along, too. */
		assert_int_equal(vm_cpus_parked(f.vm), hop >= 1);
		smp_gets_on(&f);
	}
	control = guestmem_at(
		vm_guestmem(f.vm), WORK_CONTROL_GPA, sizeof(*control));
	assert_non_null(control);
	control->stop = 1;
	vm_fixture_run_until(&f, "work: verdict ok", 1);
	if (!strstr(vm_fixture_text(&f), "work: verdict ok"))
		fail_msg("the guest says: %s", f.text);
	vm_fixture_fini(&f);
	assert_int_equal(testing_fd_count(), fds);
	free(ram);
}

/* ---- an end that came along ---- */

struct arrival {
	struct vm *vm;
	struct migrate_guest guest;
	const struct state_writer *w;
	_Atomic bool ordered;
};

/* As the migration does, on a thread of its own. */
static void *load_and_run(void *opaque)
{
	struct arrival *a = opaque;
	struct error err;
	unsigned i;

	if (a->guest.ops->load(a->guest.opaque, a->w->buf, a->w->len, &err) < 0)
		fail_msg("load: %s", err.text);
	/* It goes on serving, whatever the guest has asked for. */
	for (i = 0; i < 100; i++)
		assert_int_equal(vm_call(a->vm, nothing, NULL), 0);
	a->ordered = true;
	assert_int_equal(a->guest.ops->run(a->guest.opaque, false, &err), 0);
	return NULL;
}

/* Until then the end is the source's to act upon, which still has the guest. */
static void an_end_that_came_along_waits_for_the_order_to_run(void **state)
{
	const char *words[] = {"-k", "kernels/hello", NULL};
	struct vm_fixture source, dest;
	struct vm_migrate *migrate;
	struct state_writer w;
	struct arrival a = {.w = &w};
	struct error err;
	pthread_t thread;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&source, words);
	assert_int_equal(vm_run(source.vm, &code), VM_END_POWEROFF);
	state_writer_init(&w);
	if (vm_save(source.vm, &w, &err) < 0)
		fail_msg("save: %s", err.text);
	vm_fixture_fini(&source);

	vm_fixture_init(&dest, words);
	assert_int_equal(vm_migrate_create(dest.vm, &migrate, &err), 0);
	a.vm = dest.vm;
	a.guest = vm_migrate_guest(migrate);
	vm_migrate_expect(migrate);
	assert_int_equal(pthread_create(&thread, NULL, load_and_run, &a), 0);
	assert_int_equal(vm_serve(dest.vm, &code), VM_END_POWEROFF);
	assert_true(a.ordered);
	pthread_join(thread, NULL);
	assert_string_equal(vm_fixture_text(&dest), ""); /* never ran here */
	vm_migrate_destroy(migrate);
	vm_fixture_fini(&dest);
	state_writer_fini(&w);
}

static void a_vm_destroyed_under_load_leaves_nothing_behind(void **state)
{
	int fds = testing_fd_count();
	struct load l;
	unsigned i;

	testing_need_kvm();
	make_disks(&l);
	for (i = 0; i < DESTROYS; i++) {
		boot(&l, &settings[i % 4], REPORT_2000);
		get_on(&l);
		vm_resume(l.f.vm); /* not paused: it runs on while we come */
		vm_fixture_fini(&l.f);
		assert_int_equal(testing_fd_count(), fds);
	}
	remove_disks(&l);
}

/* ---- the virtual clock ---- */

struct virtual_clock {
	struct vm *vm;
	struct loop *io;
	struct loop_timer timer;
	int64_t ns; /* its reading */
};

static void read_clock(void *opaque)
{
	struct virtual_clock *c = opaque;

	c->ns = loop_now_ns(c->io, LOOP_VIRTUAL);
}

static void rang(void *opaque)
{
	struct virtual_clock *c = opaque;

	vm_stop(c->vm, VM_END_USER);
}

static void set_alarm(void *opaque)
{
	struct virtual_clock *c = opaque;

	loop_timer_init(&c->timer, c->io, LOOP_VIRTUAL, rang, c);
	read_clock(c);
	assert_int_equal(loop_timer_set(&c->timer, c->ns + 1000000), 0);
}

static void let_a_millisecond_pass(struct loop *loop)
{
	int64_t start = loop_now_ns(loop, LOOP_MONOTONIC);

	while (loop_now_ns(loop, LOOP_MONOTONIC) - start < 1000000)
		;
}

static void every_loop_has_the_vms_virtual_clock(void **state)
{
	const char *words[] = {"-k", "kernels/exits", "-a", "case=loop",
		"--iothread", "2", NULL};
	struct virtual_clock c;
	struct vm_fixture f;
	uint32_t code;
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	c.vm = f.vm;
	for (i = 0; i < 20; i++) {
		c.io = vm_io_loop(f.vm, i % 2);
		loop_run_sync(c.io, set_alarm, &c, "set");
		/* It runs with the VM, or the alarm would never ring ... */
		assert_int_equal(vm_run(f.vm, &code), VM_END_USER);
		/* ... stands while that is paused, and is the main loop's. */
		let_a_millisecond_pass(vm_loop(f.vm));
		loop_run_sync(c.io, read_clock, &c, "read");
		assert_int_equal(
			c.ns, loop_now_ns(vm_loop(f.vm), LOOP_VIRTUAL));
	}
	vm_fixture_fini(&f);
}

/* A failed start must end the threads that run already. */
static void a_vm_that_cannot_be_built_ends_its_io_threads(void **state)
{
	const char *words[] = {"-k", "kernels/hello", "--iothread", "8", "-d",
		"path=/nonexistent"};
	int fds = testing_fd_count();
	struct error err = {.text = ""};
	struct config cfg;
	struct vm *vm;

	testing_need_kvm();
	config_init(&cfg);
	assert_int_equal(config_parse_run(&cfg, 6,
				 (char *const *)(uintptr_t)words, &err),
		0);
	assert_true(vm_create(&cfg, NULL, &vm, &err) < 0);
	assert_non_null(strstr(err.text, "/nonexistent"));
	config_fini(&cfg);
	assert_int_equal(testing_fd_count(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_pauses_under_load_lose_nothing),
		cmocka_unit_test(a_reset_under_load_starts_the_guest_again),
		cmocka_unit_test(
			a_reset_tells_the_dirty_log_where_it_loaded_the_kernel),
		cmocka_unit_test(a_guest_that_resets_under_load_starts_again),
		cmocka_unit_test(
			a_loaded_guest_moves_between_vms_with_other_io_threads),
		cmocka_unit_test(
			an_smp_guest_moves_from_vm_to_vm_with_its_plugged_vcpu),
		cmocka_unit_test(
			an_end_that_came_along_waits_for_the_order_to_run),
		cmocka_unit_test(
			a_vm_destroyed_under_load_leaves_nothing_behind),
		cmocka_unit_test(every_loop_has_the_vms_virtual_clock),
		cmocka_unit_test(a_vm_that_cannot_be_built_ends_its_io_threads),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
