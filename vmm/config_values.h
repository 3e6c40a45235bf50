/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_values.h - what stands after an option: sizes, words, disks,
 * memory, character devices.  For config.c only.
 *
 * Each config_value_ function returns 0 and fills its result, or leaves the
 * result alone and returns -EINVAL with @err, or -ENOMEM.
 */
#ifndef GODWIT_VMM_CONFIG_VALUES_H
#define GODWIT_VMM_CONFIG_VALUES_H

#include "vmm/config.h"

/* Set @err to "--option value: text", with a long value cut.
 * Return: -EINVAL. */
int config_refuse(struct error *err, const char *option, const char *value,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Replace the owned string *slot by a copy of @value.  0 or -ENOMEM. */
int config_set_text(char **slot, const char *value);

/* Decimal digits only, no sign, no space, no suffix.  0 or -EINVAL. */
int config_parse_u32(const char *text, uint32_t *ret_value);

/* Shape: @words is count strings; *ret_index says which one @value is. */
int config_value_word(const char *option, const char *value,
	const char *const *words, unsigned count, int *ret_index,
	struct error *err);

/* N[,max=M][,precreate][,sockets=S][,cores=C][,threads=T]; missing topology is
 * filled in so that sockets * cores * threads == max.  (config_cpus.c) */
int config_value_cpus(const char *value, unsigned *ret_cpus,
	struct config_cpus *ret_smp, struct error *err);

/* host, baseline or a file name, then [,+FEATURE][,-FEATURE]...; the form only.
 * What *text held is freed.  (config_cpu.c) */
int config_value_cpu_model(const char *value, char **text, struct error *err);

/* SIZE[,backing=...][,thp=...] */
int config_value_memory(const char *value, struct guestmem_options *ret_memory,
	struct error *err);

/* path=FILE|fd=N and more; see config_disk.c.  The caller owns ret_disk->path.
 * @cfg: its disks must not be given again. */
int config_value_disk(const struct config *cfg, const char *value,
	struct config_disk *ret_disk, struct error *err);

/* user, tap=NAME or fd=N and more; see config_net.c.  No side effects.
 * @cfg: its networks' interfaces, fds and MACs must not be given again. */
int config_value_net(const struct config *cfg, const char *value,
	struct config_net *ret_net, struct error *err);

/* That of network @index of the machine @name, if none is given. */
void config_net_default_mac(
	const char *name, unsigned index, uint8_t ret_mac[6]);

/* path=FILE and more; the caller owns ret_vsock->path.  (config_vsock.c) */
int config_value_vsock(
	const char *value, struct config_vsock *ret_vsock, struct error *err);

/* [SIZE] and more, or nothing at all.  (config_balloon.c) */
int config_value_balloon(const char *value, struct config_balloon *ret_balloon,
	struct error *err);

/* bps=BYTES and more, or nothing at all: rate 0.  (config_rng.c) */
int config_value_rng(
	const char *value, struct bucket_limit *ret_limit, struct error *err);

/* stdio, none or file=FILE (the rest, commas and all).  What @chr held is
 * freed. */
int config_value_char(const char *option, const char *value,
	struct config_char *chr, struct error *err);

#endif
