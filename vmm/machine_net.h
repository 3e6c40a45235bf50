/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/machine_net.h - networks of a machine, for machine_devices.c only. */
#ifndef GODWIT_VMM_MACHINE_NET_H
#define GODWIT_VMM_MACHINE_NET_H

#include <stdbool.h>

struct config_net;
struct error;
struct virtio_dev;
struct virtio_env;

/**
 * machine_make_net - the device of @cfg with its back end.
 * @incoming: its guest is not here yet: leave forwarded ports alone.
 * Thread: any; it is made on env->loop.
 * Return: 0, or -errno with @err.
 */
int machine_make_net(const struct virtio_env *env, const char *name,
	const struct config_net *cfg, bool incoming,
	struct virtio_dev **ret_dev, struct error *err);

#endif
