/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vcpu.c - see vcpu.h.  The run loop and its exits; registers and their
 * save and load are in vmm/x86.
 *
 * Leaving KVM_RUN: the kicker sets kvm_run.immediate_exit and sends SIGUSR2.
 * The flag catches a vCPU that is about to enter, the signal one that is in.
 * The handler does nothing.  The vCPU clears the flag before it looks at the
 * gate, so a hold set later finds the flag clear and sets it again.
 *
 * Not a real-time signal: those are queued, and refused, so that the kick would
 * be lost, when the user's other processes have used up RLIMIT_SIGPENDING.
 *
 * A vCPU that has just seen an open gate may still count as arrived when the
 * owner closes it again, and the owner go on at once.  So it looks at the gate
 * once more after it has stopped counting, and goes back to waiting without a
 * look at the run page, whose immediate_exit the owner may need set now
 * (vmm/x86/vcpu_state.c): cleared there, the owner's own KVM_RUN would enter
 * the guest.
 *
 * The same holds for one that is throttled: it waits at the gate for a time to
 * pass and counts as arrived, so that a pause does not wait for it.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop.h"
#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/log.h"
#include "vmm/vcpu_park.h"
#include "vmm/x86/crash.h"

struct vcpu {
	unsigned id;
	struct vcpu_handle handle; /* owned */
	size_t run_bytes;
	struct vcpu_host host;
	pthread_t thread;  /* valid while started */
	bool started;	   /* owner */
	_Atomic bool quit; /* set by the owner, read by the thread */
	_Atomic bool gone; /* set by the thread, its last use of anything */
	bool half_done;	   /* thread: the last exit awaits completion */
};

void vcpu_gate_init(struct vcpu_gate *gate, struct loop *loop)
{
	pthread_condattr_t attr;

	atomic_init(&gate->hold, 0);
	atomic_init(&gate->arrived, 0);
	atomic_init(&gate->closed_until_ns, 0);
	pthread_mutex_init(&gate->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&gate->open, &attr);
	pthread_condattr_destroy(&attr);
	gate->loop = loop;
}

void vcpu_gate_fini(struct vcpu_gate *gate)
{
	pthread_mutex_destroy(&gate->lock);
	pthread_cond_destroy(&gate->open);
}

void vcpu_gate_hold(struct vcpu_gate *gate, unsigned bits)
{
	atomic_fetch_or(&gate->hold, bits);
}

void vcpu_gate_release(struct vcpu_gate *gate, unsigned bits)
{
	pthread_mutex_lock(&gate->lock);
	atomic_fetch_and(&gate->hold, ~bits);
	pthread_cond_broadcast(&gate->open);
	pthread_mutex_unlock(&gate->lock);
}

void vcpu_gate_close_until(struct vcpu_gate *gate, int64_t until_ns)
{
	pthread_mutex_lock(&gate->lock);
	atomic_store(&gate->closed_until_ns, until_ns);
	/* Those that wait already have the old time. */
	pthread_cond_broadcast(&gate->open);
	pthread_mutex_unlock(&gate->lock);
}

/* kvm_run is shared with the kernel and, for this byte, between threads. */
static void set_immediate_exit(struct vcpu *vcpu, uint8_t on)
{
	__atomic_store_n(
		&vcpu->handle.run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

static void kick_signal(int sig)
{
}

/* Process-wide and idempotent: only so that the signal does not kill us.  It
 * interrupts no other system call than KVM_RUN, which is never restarted. */
static int install_kick_signal(void)
{
	struct sigaction sa = {
		.sa_handler = kick_signal, .sa_flags = SA_RESTART};

	sigemptyset(&sa.sa_mask);
	return sigaction(VCPU_KICK_SIGNAL, &sa, NULL) < 0 ? -errno : 0;
}

int vcpu_create(struct vcpu_handle handle, unsigned id, size_t run_bytes,
	const struct vcpu_host *host, struct vcpu **ret_vcpu, struct error *err)
{
	struct vcpu *vcpu;
	int code;

	code = install_kick_signal();
	if (code < 0)
		return error_errno(err, code, "vcpu%u: SIGUSR2 handler", id);
	vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu)
		return error_errno(err, -ENOMEM, "vcpu%u", id);
	vcpu->id = id;
	vcpu->host = *host;
	vcpu->handle = handle;
	vcpu->run_bytes = run_bytes;
	*ret_vcpu = vcpu;
	return 0;
}

/* ---- exits ---- */

static uint64_t fetch(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	memcpy(&v, p, len); /* little endian host and guest */
	return v;
}

static void handle_pio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->handle.run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned len = run->io.size;
	uint32_t i;

	for (i = 0; i < run->io.count; i++, data += len) {
		uint64_t value;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			bus_write(vcpu->host.pio, run->io.port, len,
				fetch(data, len));
		} else {
			bus_read(vcpu->host.pio, run->io.port, len, &value);
			memcpy(data, &value, len);
		}
	}
}

static void handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->handle.run;
	unsigned len = run->mmio.len;
	uint64_t value;

	if (len > sizeof(run->mmio.data))
		len = sizeof(run->mmio.data);
	if (run->mmio.is_write) {
		bus_write(vcpu->host.mmio, run->mmio.phys_addr, len,
			fetch(run->mmio.data, len));
	} else {
		bus_read(vcpu->host.mmio, run->mmio.phys_addr, len, &value);
		memcpy(run->mmio.data, &value, len);
	}
}

static void handle_system_event(struct vcpu *vcpu)
{
	struct guest_event_sink *sink = &vcpu->host.events;

	switch (vcpu->handle.run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		sink->fn(sink->opaque, GUEST_EVENT_POWEROFF, 0);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		sink->fn(sink->opaque, GUEST_EVENT_RESET, 0);
		break;
	default:
		sink->fn(sink->opaque, GUEST_EVENT_PANIC, 0);
	}
}

static void crash(struct vcpu *vcpu, int run_errno)
{
	crash_report(vcpu->handle.fd, vcpu->id, vcpu->handle.run, run_errno,
		vcpu->host.gm);
	vcpu->host.crashed(vcpu->host.opaque, run_errno != 0);
}

static void handle_exit(struct vcpu *vcpu)
{
	vcpu->half_done = false;
	switch (vcpu->handle.run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(vcpu);
		vcpu->half_done = true;
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		vcpu->half_done = true;
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		break;
	default:
		crash(vcpu, 0);
	}
}

/* One KVM_RUN and its exit.  False when it came back without entering. */
static bool run_once(struct vcpu *vcpu)
{
	if (ioctl(vcpu->handle.fd, KVM_RUN, 0) == 0) {
		handle_exit(vcpu);
		return true;
	}
	if (errno == EINTR || errno == EAGAIN) {
		vcpu->half_done = false;
		return false;
	}
	vcpu->half_done = false;
	crash(vcpu, errno);
	return true;
}

/*
 * An I/O exit is complete only after the next KVM_RUN has moved the data into
 * guest registers; state saved before that would lose it.  With immediate_exit
 * KVM completes and comes back with EINTR, or with the next part of a string
 * instruction or a split MMIO access, which is handled in turn.  Each part is
 * progress of one instruction, so this ends.
 */
static void complete_exit(struct vcpu *vcpu)
{
	while (vcpu->half_done) {
		set_immediate_exit(vcpu, 1);
		run_once(vcpu);
	}
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* Until when the gate is closed for throttling; 0: it is not. */
static int64_t closed_until(const struct vcpu_gate *gate)
{
	int64_t until = atomic_load(&gate->closed_until_ns);

	return until != 0 && now_ns() < until ? until : 0;
}

/* gate->lock is held. */
static void wait_until_open(struct vcpu *vcpu)
{
	struct vcpu_gate *gate = vcpu->host.gate;
	int64_t until;

	while (!atomic_load(&vcpu->quit)) {
		if (atomic_load(&gate->hold)) {
			pthread_cond_wait(&gate->open, &gate->lock);
			continue;
		}
		until = closed_until(gate);
		if (until == 0)
			break;
		pthread_cond_timedwait(&gate->open, &gate->lock,
			&(struct timespec){.tv_sec = until / 1000000000,
				.tv_nsec = until % 1000000000});
	}
}

/* gate->lock is held.  False: the owner has closed the gate meanwhile and may
 * have counted us.  It may be using the run page now, so nothing is touched on
 * the way back to waiting. */
static bool leave_gate(struct vcpu *vcpu)
{
	struct vcpu_gate *gate = vcpu->host.gate;

	atomic_fetch_sub(&gate->arrived, 1);
	if (atomic_load(&vcpu->quit) || !atomic_load(&gate->hold))
		return true;
	atomic_fetch_add(&gate->arrived, 1);
	loop_notify(gate->loop);
	return false;
}

static void wait_at_gate(struct vcpu *vcpu)
{
	struct vcpu_gate *gate = vcpu->host.gate;

	complete_exit(vcpu);
	pthread_mutex_lock(&gate->lock);
	atomic_fetch_add(&gate->arrived, 1);
	/* One who sets hold later looks at arrived after that. */
	if (atomic_load(&gate->hold))
		loop_notify(gate->loop);
	do
		wait_until_open(vcpu);
	while (!leave_gate(vcpu));
	pthread_mutex_unlock(&gate->lock);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vcpu_gate *gate = vcpu->host.gate;
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, VCPU_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	for (;;) {
		/* Clear, then look: see the head of this file. */
		set_immediate_exit(vcpu, 0);
		if (atomic_load(&vcpu->quit))
			break;
		if (atomic_load(&gate->hold) || closed_until(gate) != 0)
			wait_at_gate(vcpu);
		else
			run_once(vcpu);
	}
	complete_exit(vcpu);
	atomic_store(&vcpu->gone, true);
	loop_notify(gate->loop);
	return NULL;
}

int vcpu_start(struct vcpu *vcpu, struct error *err)
{
	sigset_t all, old;
	char name[16];
	int code;

	/* Process signals belong to the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code != 0)
		return error_errno(
			err, -code, "vcpu%u: start its thread", vcpu->id);
	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	pthread_setname_np(vcpu->thread, name);
	vcpu->started = true;
	return 0;
}

bool vcpu_is_started(const struct vcpu *vcpu)
{
	return vcpu->started;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	set_immediate_exit(vcpu, 1);
	pthread_kill(vcpu->thread, VCPU_KICK_SIGNAL);
}

void vcpu_stop(struct vcpu *vcpu)
{
	struct vcpu_gate *gate = vcpu->host.gate;

	if (!vcpu->started)
		return;
	atomic_store(&vcpu->quit, true);
	pthread_mutex_lock(&gate->lock);
	pthread_cond_broadcast(&gate->open);
	pthread_mutex_unlock(&gate->lock);
	vcpu_kick(vcpu);
	while (!atomic_load(&vcpu->gone))
		loop_poll(gate->loop, true);
	pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
}

struct vcpu_handle vcpu_retire(struct vcpu *vcpu)
{
	struct vcpu_handle handle = vcpu->handle;

	vcpu_stop(vcpu);
	free(vcpu);
	return handle;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	size_t run_bytes;

	if (!vcpu)
		return;
	run_bytes = vcpu->run_bytes;
	vcpu_handle_close(vcpu_retire(vcpu), run_bytes);
}

int vcpu_fd(const struct vcpu *vcpu)
{
	return vcpu->handle.fd;
}

struct kvm_run *vcpu_run_page(const struct vcpu *vcpu)
{
	return vcpu->handle.run;
}

unsigned vcpu_id(const struct vcpu *vcpu)
{
	return vcpu->id;
}
