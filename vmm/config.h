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
#include "vmm/guestmem.h"
#include "vmm/x86/boot.h"

#define CONFIG_DISKS_MAX      8u
#define CONFIG_IOTHREADS_MAX  8u
#define CONFIG_TRACE_MAX      (1u << 20)
#define CONFIG_SERIAL_MAX     20u    /* virtio-blk serial id, bytes */
#define CONFIG_NAME_MAX	      63u    /* bytes */
#define CONFIG_CPUS_MAX	      65536u /* KVM's own limit is lower */
#define CONFIG_MEMORY_DEFAULT (256ull << 20)

struct config_disk {
	char *path; /* owned; or NULL with fd */
	int fd;	    /* inherited, -1 if path is used */
	bool readonly;
	bool direct; /* O_DIRECT */
	/* Which I/O thread serves it; -1: the main loop.  A parse replaces -1
	 * in turn when there are I/O threads. */
	int iothread;
	char serial[CONFIG_SERIAL_MAX + 1];
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
	unsigned cpus; /* >= 1 */
	struct guestmem_options memory;
	struct config_disk disk[CONFIG_DISKS_MAX];
	unsigned disks;
	enum boot_machine machine;
	enum boot_protocol protocol;
	struct config_char serial;  /* COM1; default stdio */
	struct config_char console; /* virtio console; default none */
	bool rng;		    /* virtio entropy source */
	bool pit;		    /* in-kernel i8254; slower to close */
	enum loop_backend loop;	    /* of every loop */
	unsigned iothreads;	    /* loops with threads of their own */
	uint32_t trace;		    /* loop events to keep; 0: none */
	bool debug_exit;
	bool no_reboot;
	bool dry_run;
	char *dump_dtb;	  /* owned path; NULL: do not */
	unsigned verbose; /* 0: warnings, 1: informative, 2: debugging */
	bool help;	  /* --help was given; nothing else was checked */
};

enum config_verb {
	CONFIG_RUN,
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

/* The merged configuration as JSON, two-space indent, final newline.  Bytes
 * that are not UTF-8 appear as U+FFFD.
 * Return: 0 or -ENOMEM / -EIO. */
int config_print_json(const struct config *cfg, FILE *out);

#endif
