/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_run.c - the corners of vm_run(): stops at bad moments, events
 * from several vCPUs at once, pauses inside a reset, resets again and again.
 *
 * Looks inside struct vm to give vCPUs small programs of its own.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/vcpu_fresh.h"

#define CODE_GPA  0x4000u /* no guest of ours and no loader uses this page */
#define CODE_SIZE 0x100u  /* bytes a vCPU has for its program */

#define STOPS	  100
#define STORMS	  25
#define POSTERS	  8
#define RESETS	  300
#define SAVES	  200
#define MANY_CPUS 64

static const char *const hello[] = {"-k", "kernels/hello", NULL};
static const char *const hello_resets[] = {
	"-k", "kernels/hello", "-a", "exit=reset", "-c", "2", NULL};
static const char *const spinning[] = {
	"-k", "kernels/exits", "-a", "case=loop", "-c", "2", NULL};

static enum vm_end run(struct vm_fixture *f, uint32_t *ret_code)
{
	*ret_code = UINT32_MAX;
	return vm_run(f->vm, ret_code);
}

/* ---- stops ---- */

static void a_stop_before_the_run_ends_that_run_only(void **state)
{
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, hello);
	vm_stop(f.vm, VM_END_USER);
	assert_int_equal(run(&f, &code), VM_END_USER);
	assert_int_equal(code, 0);
	assert_int_equal(run(&f, &code), VM_END_POWEROFF);
	vm_fixture_fini(&f);
}

static void of_two_stops_the_last_counts(void **state)
{
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, spinning);
	vm_stop(f.vm, VM_END_POWEROFF);
	vm_stop(f.vm, VM_END_USER);
	assert_int_equal(run(&f, &code), VM_END_USER);
	vm_fixture_fini(&f);
}

/* vm_run() acts on a guest that asks for a reset, not on an order. */
static void a_stop_is_returned_as_it_was_given(void **state)
{
	static const enum vm_end all[] = {VM_END_POWEROFF, VM_END_RESET,
		VM_END_PANIC, VM_END_CRASH, VM_END_DEBUG_EXIT, VM_END_HOST,
		VM_END_USER};
	struct vm_fixture f;
	uint32_t code;
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&f, spinning);
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		vm_stop(f.vm, all[i]);
		assert_int_equal(run(&f, &code), all[i]);
		assert_int_equal(code, 0);
	}
	vm_fixture_fini(&f);
}

struct stopper {
	struct vm *vm;
	sem_t go;
	unsigned times;
	uint64_t random;
};

static void *stop_at_random_moments(void *opaque)
{
	struct stopper *s = opaque;
	uint64_t spins;

	while (s->times-- > 0) {
		while (sem_wait(&s->go) < 0)
			assert_int_equal(errno, EINTR);
		for (spins = testing_random(&s->random) % 3000; spins; spins--)
			sched_yield();
		vm_stop(s->vm, VM_END_USER);
	}
	return NULL;
}

static void a_stop_in_the_middle_of_resets_is_obeyed(void **state)
{
	struct stopper s = {.times = STOPS, .random = testing_seed(__func__)};
	struct vm_fixture f;
	pthread_t thread;
	uint32_t code;
	unsigned i, n;

	testing_need_kvm();
	vm_fixture_init(&f, hello_resets);
	s.vm = f.vm;
	sem_init(&s.go, 0, 0);
	assert_int_equal(
		pthread_create(&thread, NULL, stop_at_random_moments, &s), 0);
	for (i = 0; i < STOPS; i++) {
		sem_post(&s.go);
		assert_int_equal(run(&f, &code), VM_END_USER);
	}
	pthread_join(thread, NULL);
	sem_destroy(&s.go);
	/* And the guest is none the worse. */
	n = vm_fixture_count(vm_fixture_text(&f), "hello from");
	assert_int_equal(
		vm_fixture_run_until(&f, "hello from", n + 3), VM_END_USER);
	vm_fixture_fini(&f);
}

/* ---- events ---- */

static void what_the_guest_asked_for_waits_behind_a_stop(void **state)
{
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, spinning);
	vm_post(f.vm, VM_END_DEBUG_EXIT, 77);
	vm_post(f.vm, VM_END_POWEROFF, 0); /* too late */
	vm_stop(f.vm, VM_END_USER);
	assert_int_equal(run(&f, &code), VM_END_USER);
	assert_int_equal(code, 0);
	assert_int_equal(run(&f, &code), VM_END_DEBUG_EXIT);
	assert_int_equal(code, 77);
	vm_fixture_fini(&f);
}

static void what_the_guest_asked_for_moves_with_it(void **state)
{
	struct vm_fixture from, to;
	struct state_writer w;
	struct error err;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&from, spinning);
	vm_fixture_init(&to, spinning);
	vm_post(from.vm, VM_END_DEBUG_EXIT, 77);
	state_writer_init(&w);
	assert_int_equal(vm_save(from.vm, &w, &err), 0);
	assert_int_equal(vm_load(to.vm, w.buf, w.len, &err), 0);
	state_writer_fini(&w);
	assert_int_equal(run(&to, &code), VM_END_DEBUG_EXIT);
	assert_int_equal(code, 77);
	/* What went wrong on one host is no matter of the other's, and a load
	 * forgets what was there. */
	atomic_store(&from.vm->event, VM_END_HOST);
	state_writer_init(&w);
	assert_int_equal(vm_save(from.vm, &w, &err), 0);
	assert_int_equal(vm_load(to.vm, w.buf, w.len, &err), 0);
	state_writer_fini(&w);
	assert_int_equal(atomic_load(&to.vm->event), 0);
	assert_int_equal(atomic_load(&to.vm->gate.hold), VCPU_HOLD_PAUSE);
	vm_fixture_fini(&from);
	vm_fixture_fini(&to);
}

struct poster {
	struct vm *vm;
	pthread_barrier_t *line;
	unsigned id;
};

static const enum vm_end posted[] = {
	VM_END_POWEROFF, VM_END_PANIC, VM_END_CRASH, VM_END_DEBUG_EXIT};

static void *post(void *opaque)
{
	struct poster *p = opaque;

	pthread_barrier_wait(p->line);
	vm_post(p->vm, posted[p->id % 4], p->id);
	return NULL;
}

static void of_events_at_once_one_wins_with_its_own_code(void **state)
{
	struct poster p[POSTERS];
	pthread_t thread[POSTERS];
	pthread_barrier_t line;
	struct vm_fixture f;
	uint32_t code;
	enum vm_end end;
	unsigned i, n;

	testing_need_kvm();
	vm_fixture_init(&f, spinning);
	pthread_barrier_init(&line, NULL, POSTERS);
	for (n = 0; n < STOPS; n++) {
		for (i = 0; i < POSTERS; i++) {
			p[i] = (struct poster){f.vm, &line, i};
			assert_int_equal(
				pthread_create(&thread[i], NULL, post, &p[i]),
				0);
		}
		end = run(&f, &code);
		assert_true(code < POSTERS);
		assert_int_equal(end, posted[code % 4]);
		for (i = 0; i < POSTERS; i++)
			pthread_join(thread[i], NULL);
		/* As after a reset. */
		atomic_store(&f.vm->event, 0);
		vcpu_gate_release(&f.vm->gate, VCPU_HOLD_EVENT);
	}
	pthread_barrier_destroy(&line);
	vm_fixture_fini(&f);
}

/* ---- several vCPUs at once ---- */

/* Let vCPU @id run real-mode @code instead of waiting to be started. */
static void give_program(
	struct vm *vm, unsigned id, const uint8_t *code, size_t len)
{
	const uint32_t gpa = CODE_GPA + id * CODE_SIZE;
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_regs regs = {.rflags = 2};
	int fd = vcpu_fd(vm->vcpu[id]);
	struct kvm_sregs sregs;

	assert_true(len <= CODE_SIZE);
	assert_true(guestmem_write(&vm->gm, gpa, code, len));
	assert_int_equal(ioctl(fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = gpa;
	sregs.cs.selector = (uint16_t)(gpa >> 4);
	assert_int_equal(ioctl(fd, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(ioctl(fd, KVM_SET_REGS, &regs), 0);
	assert_int_equal(ioctl(fd, KVM_SET_MP_STATE, &mp), 0);
}

/* mov al, value; mov dx, port; out dx, al; and sleep. */
#define OUT(port, value)                                                       \
	{                                                                      \
		0xb0, value, 0xba, (port)&0xff, (port) >> 8, 0xee, 0xf4, 0xeb, \
			0xfd                                                   \
	}
#define OUT_BYTES 9

static void vcpus_that_end_the_vm_at_once_end_it_once(void **state)
{
	static const struct {
		uint8_t code[OUT_BYTES];
		enum vm_end end;
		uint32_t value;
	} way[] = {
		{OUT(0x600, 5 << 2 | 1 << 5), VM_END_POWEROFF, 0},
		{OUT(0x602, 1), VM_END_RESET, 0},
		{OUT(0x64, 0xfe), VM_END_RESET, 0},
		{OUT(0x505, 1), VM_END_PANIC, 0},
		{OUT(0xf4, 0x15), VM_END_DEBUG_EXIT, 0x15},
		{OUT(0xf4, 0x16), VM_END_DEBUG_EXIT, 0x16},
	};
	const char *words[] = {"-k", "kernels/exits", "-a", "case=loop", "-c",
		"13", "--no-reboot", "--debug-exit", NULL};
	struct vm_fixture f;
	unsigned n, id, i;
	uint32_t code;
	enum vm_end end;

	testing_need_kvm();
	for (n = 0; n < STORMS; n++) {
		vm_fixture_init(&f, words);
		for (id = 1; id < 13; id++)
			give_program(
				f.vm, id, way[(id + n) % 6].code, OUT_BYTES);
		end = run(&f, &code);
		for (i = 0; i < 6; i++)
			if (way[i].end == end && way[i].value == code)
				break;
		if (i == 6)
			fail_msg("end %d, code %u", (int)end, code);
		/* It stays ended, and for the same reason. */
		assert_int_equal(run(&f, &code), end);
		assert_int_equal(code, way[i].value);
		vm_fixture_fini(&f);
	}
}

/* At power-on every vCPU but the first prints a '#' and asks for a reset. */
static void vcpus_that_all_ask_for_a_reset_get_one_each_time(void **state)
{
	const uint8_t code[] = {0xb0, '#', 0xba, 0xf8, 0x03, 0xee, 0xb0, 1,
		0xba, 0x02, 0x06, 0xee, 0xf4, 0xeb, 0xfd};
	const char *words[] = {
		"-k", "kernels/exits", "-a", "case=loop", "-c", "8", NULL};
	struct vm_fixture f;
	struct error err;
	unsigned id;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	for (id = 1; id < 8; id++) {
		give_program(f.vm, id, code, sizeof(code));
		vcpu_fresh_free(f.vm->fresh[id]);
		assert_int_equal(
			vcpu_fresh_take(vcpu_fd(f.vm->vcpu[id]), &f.vm->scratch,
				&f.vm->fresh[id], &err),
			0);
	}
	/* No more than one each a life, so at least RESETS lives. */
	assert_int_equal(
		vm_fixture_run_until(&f, "#", 7 * RESETS), VM_END_USER);
	vm_fixture_fini(&f);
}

static void a_guest_of_any_size_starts_again_after_a_reset(void **state)
{
	char append[32], cpus[8];
	const char *words[] = {
		"-k", "kernels/irq", "-a", append, "-c", cpus, NULL};
	struct vm_fixture f;
	const char *text;
	unsigned n;

	testing_need_kvm();
	for (n = 1; n <= 8; n++) {
		snprintf(append, sizeof(append), "smp=%u exit=reset", n);
		snprintf(cpus, sizeof(cpus), "%u", n);
		vm_fixture_init(&f, words);
		assert_int_equal(vm_fixture_run_until(&f, ", 0 failed", 12),
			VM_END_USER);
		text = vm_fixture_text(&f);
		if (strstr(text, "FAIL"))
			fail_msg("%u vCPUs: %s", n, text);
		vm_fixture_fini(&f);
	}
}

static void sixty_four_vcpus_all_answer(void **state)
{
	const char *words[] = {
		"-k", "kernels/irq", "-a", "smp=64", "-c", "64", NULL};
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	assert_int_equal(f.vm->vcpus_running, MANY_CPUS);
	assert_int_equal(run(&f, &code), VM_END_POWEROFF);
	assert_null(strstr(vm_fixture_text(&f), "FAIL"));
	assert_non_null(strstr(vm_fixture_text(&f), ", 0 failed"));
	vm_fixture_fini(&f);
}

/* ---- pauses ---- */

struct pauser {
	struct vm *vm;
	struct loop_bh *bh;
	unsigned left, turns;
	bool paused, was_reset;
};

static void pauser_init(
	struct pauser *p, struct vm_fixture *f, loop_bh_fn *fn, unsigned times)
{
	*p = (struct pauser){.vm = f->vm, .left = times};
	assert_int_equal(loop_bh_create(vm_loop(f->vm), fn, p, "pauser",
				 vm_guard(f->vm), &p->bh),
		0);
	loop_bh_schedule(p->bh);
}

/* Save the whole machine: it can only be right if all stands still. */
static void save_and_go_on(void *opaque)
{
	struct pauser *p = opaque;
	struct state_writer w;
	struct error err;

	vm_pause(p->vm);
	assert_int_equal(
		atomic_load(&p->vm->gate.arrived), p->vm->vcpus_running);
	state_writer_init(&w);
	if (vm_save(p->vm, &w, &err) < 0)
		fail_msg("save: %s", err.text);
	state_writer_fini(&w);
	vm_resume(p->vm);
	if (--p->left == 0)
		vm_stop(p->vm, VM_END_USER);
	else
		loop_bh_schedule(p->bh);
}

static void pauses_and_resets_do_not_meet(void **state)
{
	struct vm_fixture f;
	struct pauser p;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, hello_resets);
	pauser_init(&p, &f, save_and_go_on, SAVES);
	assert_int_equal(run(&f, &code), VM_END_USER);
	assert_int_equal(p.left, 0);
	loop_bh_delete(p.bh);
	vm_fixture_fini(&f);
}

/* Pause, have a reset, see that we are still paused, go on. */
static void pause_over_a_reset(void *opaque)
{
	struct pauser *p = opaque;

	if (!p->paused) {
		p->paused = true;
		vm_pause(p->vm);
		vm_post(p->vm, VM_END_RESET, 0);
	} else if (atomic_load(&p->vm->event) == 0) {
		p->was_reset = true;
		assert_int_equal(p->vm->pauses, 1);
		assert_true(p->vm->gate.hold & VCPU_HOLD_PAUSE);
		vm_resume(p->vm);
		return;
	}
	loop_bh_schedule(p->bh);
}

static void a_reset_does_not_undo_a_pause(void **state)
{
	struct vm_fixture f;
	struct pauser p;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, hello);
	pauser_init(&p, &f, pause_over_a_reset, 1);
	assert_int_equal(run(&f, &code), VM_END_POWEROFF);
	assert_true(p.was_reset);
	loop_bh_delete(p.bh);
	vm_fixture_fini(&f);
}

static void pause_and_go_on(void *opaque)
{
	struct pauser *p = opaque;

	vm_pause(p->vm);
	vm_resume(p->vm);
	if (--p->left == 0)
		vm_stop(p->vm, VM_END_USER);
	else
		loop_bh_schedule(p->bh);
}

/* The user's other processes may have queued all the signals there may be. */
static void a_kick_needs_no_room_in_the_signal_queue(void **state)
{
	struct rlimit old, none;
	struct vm_fixture f;
	struct pauser p;
	uint32_t code;

	testing_need_kvm();
	assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &old), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
	vm_fixture_init(&f, spinning);
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &none), 0);
	pauser_init(&p, &f, pause_and_go_on, STOPS);
	assert_int_equal(run(&f, &code), VM_END_USER);
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &old), 0);
	loop_bh_delete(p.bh);
	vm_fixture_fini(&f);
}

static void two_vms_live_side_by_side(void **state)
{
	struct vm_fixture a, b;
	unsigned i;

	testing_need_kvm();
	vm_fixture_init(&a, hello_resets);
	vm_fixture_init(&b, hello_resets);
	for (i = 1; i <= 5; i++) {
		assert_int_equal(
			vm_fixture_run_until(&a, "hello from", i), VM_END_USER);
		assert_int_equal(
			vm_fixture_run_until(&b, "hello from", i), VM_END_USER);
	}
	vm_fixture_fini(&a);
	assert_int_equal(
		vm_fixture_run_until(&b, "hello from", 8), VM_END_USER);
	vm_fixture_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stop_before_the_run_ends_that_run_only),
		cmocka_unit_test(of_two_stops_the_last_counts),
		cmocka_unit_test(a_stop_is_returned_as_it_was_given),
		cmocka_unit_test(a_stop_in_the_middle_of_resets_is_obeyed),
		cmocka_unit_test(what_the_guest_asked_for_waits_behind_a_stop),
		cmocka_unit_test(what_the_guest_asked_for_moves_with_it),
		cmocka_unit_test(of_events_at_once_one_wins_with_its_own_code),
		cmocka_unit_test(vcpus_that_end_the_vm_at_once_end_it_once),
		cmocka_unit_test(
			vcpus_that_all_ask_for_a_reset_get_one_each_time),
		cmocka_unit_test(
			a_guest_of_any_size_starts_again_after_a_reset),
		cmocka_unit_test(sixty_four_vcpus_all_answer),
		cmocka_unit_test(pauses_and_resets_do_not_meet),
		cmocka_unit_test(a_reset_does_not_undo_a_pause),
		cmocka_unit_test(a_kick_needs_no_room_in_the_signal_queue),
		cmocka_unit_test(two_vms_live_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
