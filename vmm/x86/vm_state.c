/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/vm_state.c - see vm_state.h. */
#include "vmm/x86/vm_state.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/kvm.h"

static const uint32_t chips[] = {
	KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC};
#define CHIPS (sizeof(chips) / sizeof(chips[0]))

int irqchip_state_save(
	int vm_fd, bool pit, struct state_writer *w, struct error *err)
{
	struct kvm_irqchip chip;
	struct kvm_pit_state2 pit_state;
	unsigned i;
	int code;

	for (i = 0; i < CHIPS; i++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = chips[i];
		code = kvm_ioctl(vm_fd, KVM_GET_IRQCHIP, &chip);
		if (code < 0)
			return error_errno(
				err, code, "KVM_GET_IRQCHIP %u", chips[i]);
		state_put_bytes(w, &chip.chip, sizeof(chip.chip));
	}
	state_put_bool(w, pit);
	if (pit) {
		memset(&pit_state, 0, sizeof(pit_state));
		code = kvm_ioctl(vm_fd, KVM_GET_PIT2, &pit_state);
		if (code < 0)
			return error_errno(err, code, "KVM_GET_PIT2");
		state_put_bytes(w, &pit_state, sizeof(pit_state));
	}
	return 0;
}

int irqchip_state_load(
	int vm_fd, bool pit, struct state_reader *r, struct error *err)
{
	struct kvm_irqchip chip[CHIPS];
	struct kvm_pit_state2 pit_state;
	unsigned i;
	int code;

	memset(chip, 0, sizeof(chip));
	for (i = 0; i < CHIPS; i++) {
		chip[i].chip_id = chips[i];
		state_get_bytes(r, &chip[i].chip, sizeof(chip[i].chip));
	}
	if (state_get_bool(r) != pit && r->error == 0)
		return state_reject(r, err, "one side has a PIT");
	if (pit)
		state_get_bytes(r, &pit_state, sizeof(pit_state));
	code = state_reader_end(r);
	if (code < 0)
		return code;
	for (i = 0; i < CHIPS; i++) {
		code = kvm_ioctl(vm_fd, KVM_SET_IRQCHIP, &chip[i]);
		if (code < 0)
			return error_errno(
				err, code, "KVM_SET_IRQCHIP %u", chips[i]);
	}
	if (!pit)
		return 0;
	code = kvm_ioctl(vm_fd, KVM_SET_PIT2, &pit_state);
	return code < 0 ? error_errno(err, code, "KVM_SET_PIT2") : 0;
}

int clock_get(int vm_fd, uint64_t *ret_ns, struct error *err)
{
	struct kvm_clock_data clock;
	int code;

	memset(&clock, 0, sizeof(clock));
	code = kvm_ioctl(vm_fd, KVM_GET_CLOCK, &clock);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_CLOCK");
	*ret_ns = clock.clock;
	return 0;
}

int clock_set(int vm_fd, uint64_t ns, struct error *err)
{
	struct kvm_clock_data clock;
	int code;

	memset(&clock, 0, sizeof(clock));
	clock.clock = ns;
	code = kvm_ioctl(vm_fd, KVM_SET_CLOCK, &clock);
	return code < 0 ? error_errno(err, code, "KVM_SET_CLOCK") : 0;
}
