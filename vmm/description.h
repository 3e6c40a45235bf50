/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/description.h - a machine as text, to build it again elsewhere.
 *
 * JSON: {"format": 1, "godwit": VERSION, "words": [...], "guest": {...},
 * "cpuid": [...]}.  The words build the machine; "guest" is what the guest can
 * see of it as the writer understood them, and a reader that understands them
 * otherwise refuses; "cpuid" is what its vCPUs answer.
 */
#ifndef GODWIT_VMM_DESCRIPTION_H
#define GODWIT_VMM_DESCRIPTION_H

struct config;
struct error;
struct kvm_cpuid2;

#define DESCRIPTION_FORMAT 1

/* Text to be freed with free().  0; -EILSEQ (a file name that is not UTF-8),
 * -ENOMEM; with @err.  Thread: the owner's. */
int description_make(const struct config *cfg, const struct kvm_cpuid2 *cpuid,
	char **ret_text, struct error *err);

/**
 * description_parse - the configuration that @text tells of, ready for
 * vm_create(): incoming, with the writer's CPUID.
 * @overrides: @count texts for words_override(), from the user.
 * @cfg:       initialised; always needs _fini() afterwards.
 * Return: 0; -EPROTO (hostile or foreign text, another machine), -EINVAL (an
 *         override), -ENOMEM; with @err.
 */
int description_parse(const char *text, const char *const *overrides,
	unsigned count, struct config *cfg, struct error *err);

#endif
