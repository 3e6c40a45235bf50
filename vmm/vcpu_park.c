/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/vcpu_park.c - see vcpu_park.h.  Resetting what is parked is done by
 * vmm/x86/vcpu_fresh.c. */
#include "vmm/vcpu_park.h"

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/kvm.h"

int vcpu_park_init(struct vcpu_park *park, int vm_fd, size_t run_bytes,
	unsigned max, struct error *err)
{
	unsigned id;

	*park = (struct vcpu_park){.vm_fd = vm_fd, .run_bytes = run_bytes};
	park->slot = calloc(max, sizeof(*park->slot));
	if (!park->slot)
		return error_errno(err, -ENOMEM, "parked vCPUs");
	park->max = max;
	for (id = 0; id < max; id++)
		park->slot[id].fd = -1;
	return 0;
}

void vcpu_park_fini(struct vcpu_park *park)
{
	unsigned id;

	for (id = 0; id < park->max; id++)
		if (park->slot[id].fd >= 0)
			vcpu_handle_close(park->slot[id], park->run_bytes);
	free(park->slot);
	*park = (struct vcpu_park){.vm_fd = -1};
}

static int create(const struct vcpu_park *park, unsigned id,
	struct vcpu_handle *ret_handle, struct error *err)
{
	struct vcpu_handle handle;
	int code;

	handle.fd = kvm_ioctl_num(park->vm_fd, KVM_CREATE_VCPU, id);
	if (handle.fd < 0)
		return error_errno(
			err, handle.fd, "vcpu%u: KVM_CREATE_VCPU", id);
	handle.run = mmap(NULL, park->run_bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED, handle.fd, 0);
	if (handle.run == MAP_FAILED) {
		code = error_errno(err, -errno, "vcpu%u: map kvm_run", id);
		close(handle.fd);
		return code;
	}
	*ret_handle = handle;
	return 0;
}

int vcpu_park_take(struct vcpu_park *park, unsigned id,
	struct vcpu_handle *ret_handle, struct error *err)
{
	if (id >= park->max)
		return error_set(err, -EINVAL,
			"vcpu%u: this machine's vCPU ids end at %u (start it "
			"with a higher max=)",
			id, park->max - 1);
	if (park->slot[id].fd < 0)
		return create(park, id, ret_handle, err);
	*ret_handle = park->slot[id];
	park->slot[id].fd = -1;
	park->count--;
	return 1;
}

void vcpu_park_put(
	struct vcpu_park *park, unsigned id, struct vcpu_handle handle)
{
	assert(id < park->max && park->slot[id].fd < 0 && handle.fd >= 0);
	/* Orders to KVM of the life before. */
	memset(handle.run, 0, sizeof(*handle.run));
	park->slot[id] = handle;
	park->count++;
}

int vcpu_park_fd(const struct vcpu_park *park, unsigned id)
{
	return id < park->max ? park->slot[id].fd : -1;
}

void vcpu_handle_close(struct vcpu_handle handle, size_t run_bytes)
{
	munmap(handle.run, run_bytes);
	close(handle.fd);
}
