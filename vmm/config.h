/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config.h - what the user asked for, parsed and validated.
 *
 * Parsing has no side effects: nothing is opened, created or resolved here, so
 * --dry-run, a unit test and a fuzzer may call it freely.  Guest-visible facts
 * and host resources (paths, fds) are kept apart in the JSON form, because a
 * restore may re-point the latter only.
 */
#ifndef GODWIT_VMM_CONFIG_H
#define GODWIT_VMM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "loop/loop.h"
#include "virtio/backend/bucket.h"
#include "virtio/backend/disk.h"
#include "vmm/guestmem.h"
#include "vmm/words.h"
#include "vmm/x86/boot.h"

struct kvm_cpuid2;

#define CONFIG_DISKS_MAX       8u
#define CONFIG_DISK_QUEUES_MAX 16u
#define CONFIG_GROUP_MAX       31u /* bytes of a group's name */
#define CONFIG_NETS_MAX	       4u
#define CONFIG_NET_QUEUES_MAX  4u
#define CONFIG_FORWARDS_MAX    16u
#define CONFIG_IOTHREADS_MAX   8u
#define CONFIG_POLL_US	       32u
#define CONFIG_POLL_US_MAX     1000u
#define CONFIG_TRACE_MAX       (1u << 20)
#define CONFIG_SERIAL_MAX      20u    /* virtio-blk serial id, bytes */
#define CONFIG_NAME_MAX	       63u    /* bytes */
#define CONFIG_CPUS_MAX	       65536u /* KVM's own limit is lower */
#define CONFIG_MEMORY_DEFAULT  (256ull << 20)

struct config_disk {
	char *path; /* owned; or NULL with fd */
	int fd;	    /* inherited, -1 if path is used */
	bool readonly;
	bool direct; /* O_DIRECT */
	bool no_discard;
	bool stop_when_full; /* werror=stop */
	unsigned queues;
	enum disk_cache cache;
	/* All zero: none, or those of the first disk of the group. */
	struct bucket_limits limits;
	char group[CONFIG_GROUP_MAX + 1]; /* "": it is alone */
	/* Which I/O thread serves it; -1: the main loop.  A parse replaces -1
	 * in turn when there are I/O threads. */
	int iothread;
	char serial[CONFIG_SERIAL_MAX + 1];
};

enum config_net_kind { CONFIG_NET_USER, CONFIG_NET_TAP, CONFIG_NET_FD };

/* A port of the host that leads to one of the guest; host endian. */
struct config_forward {
	bool udp;
	uint32_t host_addr, guest_addr; /* guest 0: the one DHCP gives it */
	uint16_t host_port, guest_port;
};

struct config_net {
	enum config_net_kind kind;
	/* What the guest sees. */
	uint8_t mac[6];
	bool have_mac;	 /* else a parse makes one of name and index */
	uint16_t mtu;	 /* 0: it is told nothing */
	unsigned queues; /* pairs */
	bool plain;	 /* no offloads */
	/* What it does not. */
	char tap[16];		       /* interface; CONFIG_NET_TAP */
	int fd[CONFIG_NET_QUEUES_MAX]; /* inherited; CONFIG_NET_FD */
	unsigned fds;
	uint32_t network; /* host endian; CONFIG_NET_USER */
	unsigned prefix;  /* bits; a parse makes 0 the default */
	struct config_forward forward[CONFIG_FORWARDS_MAX];
	unsigned forwards;
	bool link_down;
	int iothread;		       /* as of config_disk */
	uint64_t rx_bytes, tx_bytes;   /* a second, to and from the guest; */
	uint64_t rx_frames, tx_frames; /* 0: no limit */
};

struct config_vsock {
	char *path;   /* owned; where host clients connect.  NULL: no device */
	uint32_t cid; /* the guest's */
	unsigned max_conns;
	int iothread; /* as of config_disk */
};

struct config_balloon {
	bool present;
	/* What the guest sees. */
	bool deflate_on_oom, stats, hinting, reporting;
	/* What it does not. */
	uint64_t bytes;	  /* to ask for from the start; <= RAM */
	unsigned stats_s; /* between two statistics; 0: when asked for */
};

/* What -c says beside the count; config_init() leaves 0 for "not given". */
struct config_cpus {
	unsigned max;	/* possible vCPUs; a parse makes it >= cpus */
	bool precreate; /* park the fds of absent vCPUs from the start */
	unsigned sockets, cores,
		threads; /* a parse fills in what was left out */
};

enum config_chardev { CONFIG_CHAR_NONE, CONFIG_CHAR_STDIO, CONFIG_CHAR_FILE };

struct config_char {
	enum config_chardev kind;
	char *path; /* owned; CONFIG_CHAR_FILE only */
};

struct config {
	char *name;    /* owned; never NULL after a parse */
	char *kernel;  /* owned */
	char *initrd;  /* owned; NULL: none */
	char *append;  /* owned; "" if not given */
	unsigned cpus; /* present at the start, >= 1 */
	struct config_cpus smp;
	char *cpu; /* owned; --cpu as given; NULL: host */
	struct guestmem_options memory;
	struct config_disk disk[CONFIG_DISKS_MAX];
	unsigned disks;
	struct config_net net[CONFIG_NETS_MAX];
	unsigned nets;
	struct config_vsock vsock;
	struct config_balloon balloon;
	enum boot_machine machine;
	enum boot_protocol protocol;
	struct config_char serial;     /* COM1; default stdio */
	struct config_char console;    /* virtio console; default none */
	bool rng;		       /* virtio entropy source */
	struct bucket_limit rng_limit; /* of its bytes; rate 0: none */
	bool pit;		       /* in-kernel i8254; slower to close */
	enum loop_backend loop;	       /* of every loop */
	unsigned iothreads;	       /* loops with threads of their own */
	uint32_t trace;		       /* loop events to keep; 0: none */
	uint32_t poll_us;	  /* a loop looks so long before it sleeps */
	struct words words;	  /* the options as given, to be given again */
	struct kvm_cpuid2 *cpuid; /* owned; NULL: made from cpu and the host */
	/* Owned path of the control socket.  NULL: with a name of its own the
	 * VM has one where runtime_dir.h says, unless control_none. */
	char *control;
	bool control_none; /* --control none */
	bool named;	   /* --name was given */
	/* Built to be loaded: RAM stays empty, images unlocked, no kernel is
	 * read.  Set by restore and receive, never by a parse. */
	bool incoming;
	bool debug_exit;
	bool no_reboot;
	bool dry_run;
	char *dump_dtb;	  /* owned path; NULL: do not */
	unsigned verbose; /* 0: warnings, 1: informative, 2: debugging */
	bool help;	  /* --help was given; nothing else was checked */
};

enum config_verb {
	CONFIG_RUN,
	CONFIG_RECEIVE,
	CONFIG_RESTORE,
	CONFIG_CHECK,
	CONFIG_VERSION,
	CONFIG_HELP,
};

/* The defaults: 1 vCPU, 256 MiB anonymous memory, ACPI, serial on stdio. */
void config_init(struct config *cfg);
/* Free what @cfg owns; it may be initialised again. */
void config_fini(struct config *cfg);

/**
 * config_parse_verb - which verb argv[1] is; --help, -h and --version count.
 * @argv: argc words, the program's name first.
 * Return: 0, or -EINVAL with @err.
 */
int config_parse_verb(int argc, char *const *argv, enum config_verb *ret_verb,
	struct error *err);

/**
 * config_parse_run - options of `godwit run` after the verb.
 * @cfg:  initialised; always needs _fini() afterwards.
 * @argv: argc words; not modified, copied where kept.  An option given again
 *        replaces what it said before, but for --disk, which adds a disk.
 * Return: 0, or -EINVAL with @err naming the option, the value, why it is
 *         refused and what is expected, in one line.  -ENOMEM.
 */
int config_parse_run(
	struct config *cfg, int argc, char *const *argv, struct error *err);

/* "512M", "1G", "0x1000": bytes with K, M, G or T (powers of 1024).
 * Return: 0, -EINVAL (not a size) or -ERANGE (2^64 or more). */
int config_parse_size(const char *text, uint64_t *ret_bytes);

/* The words of an option, as they are written on the command line. */
const char *config_machine_name(enum boot_machine machine);
const char *config_protocol_name(enum boot_protocol protocol);
const char *config_backing_name(enum guestmem_backing backing);
const char *config_loop_name(enum loop_backend backend);
const char *config_cache_name(enum disk_cache cache);

/* Where in @limits the value of @key belongs: "iops" or "bps", then "-rd" or
 * "-wr" or nothing, then "-burst" or nothing.  False: no such key. */
bool config_limit_slot(
	struct bucket_limits *limits, const char *key, uint64_t **ret_slot);
/* What is wrong with them, or NULL. */
const char *config_limits_wrong(const struct bucket_limits *limits);
bool config_limited(const struct bucket_limits *limits); /* any at all? */

/* What the guest can see of @cfg, and so what has to be equal wherever it runs:
 * a new object, NULL without memory. */
struct json_t *config_guest_json(const struct config *cfg);

/* The merged configuration as JSON, two-space indent, final newline.  Bytes
 * that are not UTF-8 appear as U+FFFD.
 * Return: 0 or -ENOMEM / -EIO. */
int config_print_json(const struct config *cfg, FILE *out);

#endif
