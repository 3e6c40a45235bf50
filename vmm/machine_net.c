/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/machine_net.c - see machine_net.h: from configuration to device. */
#include "vmm/machine_net.h"

#include <string.h>

#include "loop/loop.h"
#include "virtio/backend/tap.h"
#include "virtio/backend/user_net.h"
#include "virtio/dev.h"
#include "virtio/net.h"
#include "vmm/config.h"
#include "vmm/error.h"

struct new_net {
	const struct virtio_env *env;
	const char *name;
	const struct config_net *cfg;
	bool incoming;
	struct virtio_dev *dev; /* the result */
	int code;
	struct error *err;
};

static int make_user(struct new_net *n, struct net_backend **ret_backend)
{
	struct user_net_forward forward[CONFIG_FORWARDS_MAX];
	struct user_net_options opt = {
		.name = n->name,
		.network = n->cfg->network,
		.prefix = n->cfg->prefix,
		.mtu = n->cfg->mtu,
		.forward = forward,
		.forwards = n->cfg->forwards,
		.incoming = n->incoming,
	};
	unsigned i;

	for (i = 0; i < n->cfg->forwards; i++) {
		const struct config_forward *f = &n->cfg->forward[i];

		forward[i] = (struct user_net_forward){
			.udp = f->udp,
			.host_addr = f->host_addr,
			.guest_addr = f->guest_addr,
			.host_port = f->host_port,
			.guest_port = f->guest_port,
		};
	}
	return user_net_open(n->env->loop, &opt, ret_backend, n->err);
}

static int make_tap(struct new_net *n, struct net_backend **ret_backend)
{
	struct tap_options opt = {
		.name = n->name,
		.ifname = n->cfg->kind == CONFIG_NET_TAP ? n->cfg->tap : NULL,
		.fd = n->cfg->fd,
		.queues = n->cfg->queues,
		.plain = n->cfg->plain,
	};

	return tap_open(n->env->loop, &opt, ret_backend, n->err);
}

static void make(void *opaque)
{
	struct new_net *n = opaque;
	struct virtio_net_options opt = {
		.mtu = n->cfg->mtu,
		.link_down = n->cfg->link_down,
		.rx.bytes.rate = n->cfg->rx_bytes,
		.rx.frames.rate = n->cfg->rx_frames,
		.tx.bytes.rate = n->cfg->tx_bytes,
		.tx.frames.rate = n->cfg->tx_frames,
	};

	memcpy(opt.mac, n->cfg->mac, sizeof(opt.mac));
	n->code = n->cfg->kind == CONFIG_NET_USER ? make_user(n, &opt.backend)
						  : make_tap(n, &opt.backend);
	if (n->code == 0)
		n->code = virtio_net_create(
			n->env, n->name, &opt, &n->dev, n->err);
}

int machine_make_net(const struct virtio_env *env, const char *name,
	const struct config_net *cfg, bool incoming,
	struct virtio_dev **ret_dev, struct error *err)
{
	struct new_net n = {
		.env = env,
		.name = name,
		.cfg = cfg,
		.incoming = incoming,
		.err = err,
	};
	int rc = loop_run_sync(env->loop, make, &n, name);

	if (rc < 0)
		return error_errno(err, rc, "%s", name);
	if (n.code == 0)
		*ret_dev = n.dev;
	return n.code;
}
