/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/throttle.c - see throttle.h.
 *
 * A timer closes the gate every 10 ms for a part of them and kicks the vCPUs;
 * they open it for themselves when the time is over.  One that waits there
 * counts as arrived, so a pause need not wait for the end of its sentence.  The
 * timer is of the virtual clock: there is nothing to slow down while paused.
 */
#include "vmm/throttle.h"

#include <errno.h>
#include <time.h>

#include "loop/loop.h"
#include "vmm/log.h"
#include "vmm/vm_priv.h"

#define PERIOD_NS   INT64_C(10000000)
#define PERCENT_MAX 99u

static int64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static int arm(struct vm *vm)
{
	return loop_timer_set(&vm->throttle_timer,
		loop_now_ns(vm->loop, LOOP_VIRTUAL) + PERIOD_NS);
}

static void tick(void *opaque)
{
	struct vm *vm = opaque;

	vcpu_gate_close_until(&vm->gate,
		monotonic_ns() + PERIOD_NS / 100 * vm->throttle_percent);
	vm_kick_vcpus(vm);
	if (arm(vm) < 0) {
		log_warn("throttle: out of memory: the guest runs at full "
			 "speed");
		vm->throttle_percent = 0;
	}
}

int vm_throttle(struct vm *vm, unsigned percent)
{
	bool was_on = vm->throttle_percent > 0;

	if (percent > PERCENT_MAX)
		return -EINVAL;
	vm->throttle_percent = percent;
	if (percent == 0 && was_on) {
		loop_timer_cancel(&vm->throttle_timer);
		vcpu_gate_close_until(&vm->gate, 0);
	} else if (percent > 0 && !was_on) {
		loop_timer_init(
			&vm->throttle_timer, vm->loop, LOOP_VIRTUAL, tick, vm);
		tick(vm);
	}
	return 0;
}

unsigned vm_throttle_percent(const struct vm *vm)
{
	return vm->throttle_percent;
}
