/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/tap.c - see tap.h.  One fd a queue, all of them non-blocking.
 *
 * A queue is watched for reading until the front end leaves frames behind; then
 * it is not, until the front end has fetched the last.  The kernel keeps what
 * waits, and drops when its own queue is full.
 */
#include "virtio/backend/tap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "loop/loop.h"
#include "vmm/error.h"
#include "vmm/log.h"

#define TUN_PATH   "/dev/net/tun"
#define RARP_BYTES 60u /* an Ethernet frame has no fewer */

struct tap;

struct tap_queue {
	struct tap *tap;
	unsigned index;
	int fd;		       /* owned */
	struct loop_fd *watch; /* owned; NULL: not watched */
	unsigned events;       /* what it is watched for */
	bool full;	       /* frames were left behind */
	bool blocked;	       /* send() said -EAGAIN */
};

struct tap {
	struct net_backend be; /* first */
	struct loop *loop;     /* borrowed */
	char name[NET_NAME_MAX];
	bool started;
	unsigned in_use; /* queues */
	struct tap_queue queue[NET_QUEUES_MAX];
};

static struct tap *tap_of(struct net_backend *be)
{
	return (struct tap *)be;
}

/* ---- watching ---- */

static bool tap_event(void *opaque, unsigned ready);

/* Watch for what matters now.  0 or -errno. */
static int watch(struct tap_queue *q)
{
	unsigned want =
		(q->full ? 0 : LOOP_READ) | (q->blocked ? LOOP_WRITE : 0);
	int rc;

	if (!q->tap->started || q->index >= q->tap->in_use)
		return 0;
	if (q->watch && q->events == want)
		return 0;
	if (q->watch)
		rc = loop_fd_set(q->watch, want);
	else
		rc = loop_fd_add(q->tap->loop, q->fd, want, LOOP_FD_EXTERNAL,
			tap_event, q, q->tap->name, &q->watch);
	if (rc == 0)
		q->events = want;
	return rc;
}

static void unwatch(struct tap_queue *q)
{
	loop_fd_del(q->watch);
	q->watch = NULL;
	q->full = q->blocked = false;
}

static bool tap_event(void *opaque, unsigned ready)
{
	struct tap_queue *q = opaque;
	const struct net_front *f = &q->tap->be.front;

	if (ready & LOOP_ERROR) { /* the interface was deleted */
		f->gone(f->opaque, -ENODEV);
		return true;
	}
	if (ready & LOOP_WRITE && q->blocked) {
		q->blocked = false;
		f->writable(f->opaque, q->index);
	}
	if (ready & LOOP_READ && !q->full) {
		q->full = true; /* until recv() finds it empty */
		f->readable(f->opaque, q->index);
	}
	watch(q); /* should it fail we are called again, and try again */
	return true;
}

/* ---- net_backend_ops ---- */

static void tap_start(struct net_backend *be)
{
	struct tap *t = tap_of(be);
	unsigned i;
	int rc = 0;

	t->started = true;
	for (i = 0; i < t->in_use && rc == 0; i++)
		rc = watch(&t->queue[i]);
	if (rc < 0)
		log_warn("%s: watch the tap device: %s (no frames come in)",
			t->name, strerror(-rc));
}

static void tap_stop(struct net_backend *be)
{
	struct tap *t = tap_of(be);
	unsigned i;

	t->started = false;
	for (i = 0; i < be->queues; i++)
		unwatch(&t->queue[i]);
}

static ssize_t tap_recv(struct net_backend *be, unsigned queue,
	const struct iovec *iov, unsigned count)
{
	struct tap_queue *q = &tap_of(be)->queue[queue];
	ssize_t n;
	int rc;

	do
		n = readv(q->fd, iov, (int)count);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return n;
	if (n < 0 && errno != EAGAIN)
		return -errno;
	q->full = false;
	rc = watch(q);
	return rc < 0 ? rc : -EAGAIN;
}

static int tap_send(struct net_backend *be, unsigned queue,
	const struct iovec *iov, unsigned count)
{
	struct tap_queue *q = &tap_of(be)->queue[queue];
	ssize_t n;
	int rc;

	do
		n = writev(q->fd, iov, (int)count);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno != EAGAIN)
		return -errno;
	q->blocked = true;
	rc = watch(q);
	return rc < 0 ? rc : -EAGAIN;
}

static int tap_offload(struct net_backend *be, unsigned offloads)
{
	unsigned long flags = 0;

	if (be->header_bytes == 0)
		return 0;
	if (offloads & NET_OFFLOAD_CSUM)
		flags |= TUN_F_CSUM;
	if (offloads & NET_OFFLOAD_TSO4)
		flags |= TUN_F_TSO4;
	if (offloads & NET_OFFLOAD_TSO6)
		flags |= TUN_F_TSO6;
	/* Of the device, so any queue will do. */
	if (ioctl(tap_of(be)->queue[0].fd, TUNSETOFFLOAD, flags) < 0)
		return -errno;
	return 0;
}

/* What is not in use is detached, or the kernel would deal frames to it. */
static int tap_use_queues(struct net_backend *be, unsigned queues)
{
	struct tap *t = tap_of(be);
	struct ifreq ifr = {.ifr_flags = IFF_DETACH_QUEUE};
	int rc = 0;

	assert(queues >= 1 && queues <= be->queues);
	while (t->in_use > queues) {
		unwatch(&t->queue[--t->in_use]);
		if (ioctl(t->queue[t->in_use].fd, TUNSETQUEUE, &ifr) < 0)
			rc = -errno;
	}
	ifr.ifr_flags = IFF_ATTACH_QUEUE;
	while (t->in_use < queues && rc == 0) {
		if (ioctl(t->queue[t->in_use].fd, TUNSETQUEUE, &ifr) < 0)
			return -errno;
		rc = watch(&t->queue[t->in_use++]);
	}
	return rc;
}

/* A reverse ARP request for ourselves: bridges on the way learn the place, and
 * nobody answers.  Source: RFC 903. */
static void tap_announce(struct net_backend *be, const uint8_t mac[6])
{
	static const uint8_t fixed[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
	struct virtio_net_hdr_v1 header = {.flags = 0};
	uint8_t frame[RARP_BYTES] = {0};
	struct iovec iov[2] = {
		{&header, be->header_bytes}, {frame, sizeof(frame)}};

	memset(frame, 0xff, 6);
	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, fixed, sizeof(fixed));
	memcpy(frame + 22, mac, 6); /* sender; its IP address is not known */
	memcpy(frame + 32, mac, 6); /* target */
	if (writev(tap_of(be)->queue[0].fd, iov, 2) < 0)
		log_info("%s: announce: %s", tap_of(be)->name, strerror(errno));
}

static void tap_destroy(struct net_backend *be)
{
	struct tap *t = tap_of(be);
	unsigned i;

	for (i = 0; i < be->queues; i++) {
		assert(!t->queue[i].watch);
		if (t->queue[i].fd >= 0)
			close(t->queue[i].fd);
	}
	free(t);
}

static const struct net_backend_ops tap_ops = {
	.kind = "tap",
	.start = tap_start,
	.stop = tap_stop,
	.recv = tap_recv,
	.send = tap_send,
	.offload = tap_offload,
	.use_queues = tap_use_queues,
	.announce = tap_announce,
	.destroy = tap_destroy,
};

/* ---- set-up ---- */

static int open_failed(struct tap *t, int code, struct error *err)
{
	const char *remedy = "";

	if (code == -ENOENT || code == -ENODEV)
		remedy = " (load the kernel module tun, or use --net user)";
	if (code == -EACCES || code == -EPERM)
		remedy = " (let this user open it, or use --net user)";
	return error_set(err, code, "%s: open " TUN_PATH ": %s%s", t->name,
		strerror(-code), remedy);
}

static int attach_failed(struct tap *t, const char *ifname, unsigned queues,
	int code, struct error *err)
{
	const char *multi = queues > 1 ? " multi_queue" : "";

	switch (-code) {
	case EPERM:
		return error_set(err, code,
			"%s: attach to %s: %s (as root: ip tuntap add dev %s "
			"mode tap%s user NAME; or use --net user)",
			t->name, ifname, strerror(-code), ifname, multi);
	case EBUSY:
		return error_set(err, code,
			"%s: attach to %s: another program has it (give each "
			"machine its own)",
			t->name, ifname);
	case EINVAL:
		return error_set(err, code,
			"%s: attach to %s: no tap device, or made for another "
			"number of queues (make it by: ip tuntap add dev %s "
			"mode tap%s)",
			t->name, ifname, ifname, multi);
	default:
		return error_errno(
			err, code, "%s: attach to %s", t->name, ifname);
	}
}

static int attach(int fd, const char *ifname, bool multi)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

	if (multi)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	return ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

static int open_named(
	struct tap *t, const char *ifname, unsigned queues, struct error *err)
{
	unsigned i;
	int rc;

	if (ifname[0] == '\0' || strlen(ifname) >= IFNAMSIZ)
		return error_set(err, -EINVAL,
			"%s: an interface name has 1 to %d characters", t->name,
			IFNAMSIZ - 1);
	for (i = 0; i < queues; i++) {
		t->queue[i].fd =
			open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (t->queue[i].fd < 0)
			return open_failed(t, -errno, err);
		rc = attach(t->queue[i].fd, ifname, queues > 1);
		/* One queue of a device made for several will do. */
		if (rc == -EINVAL && queues == 1)
			rc = attach(t->queue[i].fd, ifname, true);
		if (rc < 0)
			return attach_failed(t, ifname, queues, rc, err);
	}
	return 0;
}

static int adopt_fds(struct tap *t, struct error *err)
{
	unsigned i;
	int flags;

	for (i = 0; i < t->be.queues; i++) {
		flags = fcntl(t->queue[i].fd, F_GETFL);
		if (flags < 0 ||
			fcntl(t->queue[i].fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return error_errno(err, -errno, "%s: fd %d", t->name,
				t->queue[i].fd);
		fcntl(t->queue[i].fd, F_SETFD, FD_CLOEXEC);
	}
	return 0;
}

/* Find out, and settle, what frames look like on queue @i. */
static int probe(struct tap *t, unsigned i, struct error *err)
{
	struct ifreq ifr = {.ifr_flags = 0};
	int size = NET_HEADER_BYTES, little = 1, fd = t->queue[i].fd;
	unsigned header;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP) ||
		!(ifr.ifr_flags & IFF_NO_PI))
		return error_set(err, -EINVAL,
			"%s: fd %d is no tap device with IFF_NO_PI (attach it "
			"with TUNSETIFF first)",
			t->name, fd);
	header = ifr.ifr_flags & IFF_VNET_HDR ? NET_HEADER_BYTES : 0;
	if (i > 0 && header != t->be.header_bytes)
		return error_set(err, -EINVAL,
			"%s: fd %d is another kind of tap device than fd %d",
			t->name, fd, t->queue[0].fd);
	t->be.header_bytes = header;
	/* x86 is little endian by itself, but the device may have been told
	 * otherwise; kernels without cross-endian support refuse the call. */
	if (header > 0 && ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
		return error_errno(err, -errno, "%s: TUNSETVNETHDRSZ", t->name);
	if (header > 0)
		ioctl(fd, TUNSETVNETLE, &little);
	return 0;
}

/* Frames vanish silently in an interface that is down. */
static void warn_if_down(struct tap *t)
{
	struct ifreq ifr = {.ifr_flags = 0};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		return;
	if (ioctl(t->queue[0].fd, TUNGETIFF, &ifr) == 0 &&
		ioctl(s, SIOCGIFFLAGS, &ifr) == 0 && !(ifr.ifr_flags & IFF_UP))
		log_warn("%s: %s is down (ip link set %s up)", t->name,
			ifr.ifr_name, ifr.ifr_name);
	close(s);
}

static struct tap *alloc_tap(struct loop *loop, const struct tap_options *opt)
{
	struct tap *t = calloc(1, sizeof(*t));
	unsigned i;

	assert(opt->queues >= 1 && opt->queues <= NET_QUEUES_MAX);
	if (!t) {
		for (i = 0; !opt->ifname && i < opt->queues; i++)
			close(opt->fd[i]);
		return NULL;
	}
	t->be.ops = &tap_ops;
	t->be.queues = t->in_use = opt->queues;
	t->loop = loop;
	snprintf(t->name, sizeof(t->name), "%s", opt->name);
	for (i = 0; i < opt->queues; i++)
		t->queue[i] = (struct tap_queue){.tap = t,
			.index = i,
			.fd = opt->ifname ? -1 : opt->fd[i]};
	return t;
}

int tap_open(struct loop *loop, const struct tap_options *opt,
	struct net_backend **ret_backend, struct error *err)
{
	struct tap *t = alloc_tap(loop, opt);
	unsigned i;
	int rc;

	if (!t)
		return error_errno(err, -ENOMEM, "%s", opt->name);
	rc = opt->ifname ? open_named(t, opt->ifname, opt->queues, err)
			 : adopt_fds(t, err);
	for (i = 0; i < opt->queues && rc == 0; i++)
		rc = probe(t, i, err);
	if (rc == 0) {
		rc = tap_offload(&t->be, 0);
		if (rc < 0)
			error_errno(err, rc, "%s: TUNSETOFFLOAD", t->name);
	}
	if (rc < 0) {
		tap_destroy(&t->be);
		return rc;
	}
	if (t->be.header_bytes > 0 && !opt->plain)
		t->be.offloads =
			NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6;
	warn_if_down(t);
	*ret_backend = &t->be;
	return 0;
}
