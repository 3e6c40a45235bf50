/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm_priv.h - the insides of struct vm, for vm.c (running), vm_save.c
 * (state) and machine.c (building) only.
 *
 * Everything belongs to the owner thread but where a line says otherwise.
 */
#ifndef GODWIT_VMM_VM_PRIV_H
#define GODWIT_VMM_VM_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "migrate/state.h"
#include "vmm/bus.h"
#include "vmm/config.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/vcpu_state.h"

#define VM_DEVICES_MAX (LAYOUT_VIRTIO_MAX + 8u)

#define VM_HOST_FDS_MAX 4u

struct kvm_cpuid2;
struct loop_thread;
struct pool;
struct serial_front;

struct vm_irq {
	uint32_t gsi;
	int fd; /* owned irqfd */
};

struct vm {
	const struct config *cfg;	  /* borrowed; outlives the VM */
	const struct serial_front *front; /* borrowed while building */
	struct loop *loop;		  /* owned */
	struct kvm kvm;			  /* owned */
	struct kvm_caps caps;
	int fd;			     /* owned KVM VM */
	struct guestmem gm;	     /* owned */
	struct bus pio, mmio;	     /* complete before the first vCPU runs */
	struct image kernel;	     /* owned */
	struct image initrd;	     /* owned; fd -1 and no mem: none */
	struct kvm_cpuid2 *cpuid;    /* owned; leaves of the last vCPU set up */
	struct vcpu_scratch scratch; /* owned; made when first needed */

	struct vcpu **vcpu; /* owned array of vcpus */
	unsigned vcpus;
	unsigned vcpus_running; /* of them, how many have a thread */
	struct vcpu_gate gate;

	struct device *device[VM_DEVICES_MAX]; /* owned, creation order */
	unsigned devices;
	struct pool *pool; /* owned; disk I/O; NULL without disks */
	/* Owned; run before the devices come and until they are gone. */
	struct loop_thread *iothread[CONFIG_IOTHREADS_MAX];
	unsigned iothreads;
	struct device *serial, *console;   /* borrowed from device[], or NULL */
	unsigned virtio_devices;	   /* slots used from 0 on */
	struct vm_irq irq[VM_DEVICES_MAX]; /* owned */
	unsigned irqs;
	int host_fd[VM_HOST_FDS_MAX]; /* owned: files devices write to */
	unsigned host_fds;

	unsigned pauses; /* vm_pause() count; 1 after vm_create() */
	bool changing;	 /* inside vm_pause(), vm_resume() or vm_reset() */
	struct loop_guard guard;      /* busy meanwhile */
	uint64_t clock_ns;	      /* kvmclock while paused; 0: never read */
	struct state_writer pristine; /* power-on vCPU and irqchip sections */

	/* What the guest did: enum vm_end | code << 32; 0 while it goes on.
	 * Set once by any thread, cleared by the owner after a reset. */
	_Atomic uint64_t event;
	_Atomic uint32_t stop; /* enum vm_end from vm_stop(); any thread */
};

/* Put the irqchip and vCPU sections, and load exactly those (vm_save.c).
 * 0 or -errno with @err. */
int vm_save_cpus(struct vm *vm, struct state_writer *w, struct error *err);
int vm_load_cpus(
	struct vm *vm, const struct state_writer *w, struct error *err);

/* The first event wins; also closes the gate.  Any thread, and async-signal
 * safe. */
void vm_post(struct vm *vm, enum vm_end end, uint32_t code);

#endif
