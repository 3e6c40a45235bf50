/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm_priv.h - the insides of struct vm, for vm.c (running), vm_save.c
 * (state), hotplug.c, throttle.c and machine*.c (building) only.
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
#include "migrate/phase.h"
#include "migrate/state.h"
#include "vmm/bus.h"
#include "vmm/config.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/vcpu.h"
#include "vmm/vcpu_park.h"
#include "vmm/vm.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/vcpu_state.h"

#define VM_DEVICES_MAX (LAYOUT_VIRTIO_MAX + 8u)

#define VM_HOST_FDS_MAX 4u

struct disk;
struct kvm_cpuid2;
struct loop_thread;
struct hotplug;
struct pool;
struct serial_front;
struct virtio_dev;
struct vcpu_fresh;

struct bucket_group;

/* For callbacks of a disk. */
struct vm_disk_ref {
	struct vm *vm;
	unsigned index;
};

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

	struct vcpu **vcpu; /* owned array of vcpus_max, by id; NULL: absent */
	unsigned vcpus_max; /* possible */
	unsigned vcpus;	    /* of them, how many are present */
	unsigned vcpus_running; /* of these, how many have a thread */
	struct vcpu_gate gate;
	bool cpus_come_and_go;	   /* the guest has the registers for it */
	struct vcpu_park park;	   /* owned */
	struct vcpu_fresh **fresh; /* owned, by id; NULL: never needed */
	struct hotplug *hotplug;   /* owned; vmm/hotplug.c */
	uint32_t tsc_khz; /* of its vCPUs since a load; 0: as KVM has it */
	unsigned throttle_percent; /* vmm/throttle.c */
	struct loop_timer throttle_timer;

	struct device *device[VM_DEVICES_MAX]; /* owned, creation order */
	unsigned devices;
	struct virtio_dev *net[CONFIG_NETS_MAX]; /* borrowed */
	struct virtio_dev *vsock;		 /* borrowed, or NULL */
	struct virtio_dev *balloon; /* borrowed, or NULL */
	void (*balloon_changed)(void *opaque);
	void *balloon_opaque;	      /* borrowed */
	struct migrate_phases phases; /* of its migration away */
	struct pool *pool; /* owned; disk I/O; NULL without disks */
	/* Owned; run before the devices come and until they are gone. */
	struct loop_thread *iothread[CONFIG_IOTHREADS_MAX];
	unsigned iothreads;
	struct disk *disk[CONFIG_DISKS_MAX]; /* borrowed from their devices */
	struct virtio_dev *blk[CONFIG_DISKS_MAX]; /* borrowed */
	struct vm_disk_ref disk_ref[CONFIG_DISKS_MAX];
	/* Owned; by the first disk of a group, or the only one; or NULL. */
	struct bucket_group *limits[CONFIG_DISKS_MAX];
	_Atomic uint32_t disks_full;   /* bits; any thread sets them */
	uint32_t paused_for_disks; /* bits: user_paused because of them */
	struct loop_bh *disks_full_bh; /* owned; NULL without disks */
	void (*on_disk_full)(void *opaque, unsigned disk);
	void *on_disk_full_opaque; /* borrowed */
	struct device *serial, *console;   /* borrowed from device[], or NULL */
	unsigned virtio_devices;	   /* slots used from 0 on */
	struct vm_irq irq[VM_DEVICES_MAX]; /* owned */
	unsigned irqs;
	int host_fd[VM_HOST_FDS_MAX]; /* owned: files devices write to */
	unsigned host_fds;

	unsigned pauses;  /* vm_pause() count; 1 after vm_create() */
	bool user_paused; /* one of them is vm_set_paused()'s */
	bool away; /* stopped to be moved: its events are the other side's */
	bool changing; /* inside vm_pause(), vm_resume() or vm_reset() */
	struct loop_guard guard;      /* busy meanwhile */
	uint64_t clock_ns;	      /* kvmclock while paused; 0: never read */
	struct state_writer pristine; /* power-on irqchip section */

	/* What the guest did: enum vm_end | code << 32; 0 while it goes on.
	 * Set once by any thread, cleared by the owner after a reset. */
	_Atomic uint64_t event;
	_Atomic uint32_t stop; /* enum vm_end from vm_stop(); any thread */
	void (*ending)(void *opaque, enum vm_end end, uint32_t code); /* NULL */
	void *ending_opaque; /* borrowed */
};

/* ---- vm_save.c ---- */

/* Put the irqchip section, and load exactly that.  0 or -errno with @err. */
int vm_save_irqchip(struct vm *vm, struct state_writer *w, struct error *err);
int vm_load_irqchip(
	struct vm *vm, const struct state_writer *w, struct error *err);
/* vm->scratch, made when first needed.  0 or -errno with @err. */
int vm_need_scratch(struct vm *vm, struct error *err);

/* ---- vm.c ---- */

/* A change begins: bottom halves with the guard wait for its end.  What is
 * returned goes to vm_end_change(). */
bool vm_begin_change(struct vm *vm);
void vm_end_change(struct vm *vm, bool outer);
void vm_kick_vcpus(struct vm *vm);

/* ---- hotplug.c ---- */

struct cpu_hotplug_options;

int hotplug_create(struct vm *vm, struct error *err);
/* Tells whoever waits for vCPUs that nothing comes of it. */
void hotplug_destroy(struct vm *vm);
void hotplug_options(struct vm *vm, struct cpu_hotplug_options *ret_opt);
void hotplug_set_registers(struct vm *vm, struct device *regs);
/* End the operation under way, if any, with -ECANCELED. */
void hotplug_cancel(struct vm *vm, const char *why);
/* Park now what the guest has ejected. */
void hotplug_settle(struct vm *vm);
/* The maps of present and parked vCPUs; a load plugs and parks to match. */
int hotplug_save(struct vm *vm, struct state_writer *w, struct error *err);
int hotplug_load(struct vm *vm, struct state_reader *r, struct error *err);
/* After the devices: their registers and the maps agree.  0 or -EPROTO. */
int hotplug_check(struct vm *vm, struct error *err);

/* The first event wins; also closes the gate.  Any thread, and async-signal
 * safe. */
void vm_post(struct vm *vm, enum vm_end end, uint32_t code);

#endif
