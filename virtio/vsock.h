/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/vsock.h - socket device (virtio 1.2, 5.10): stream sockets between the
 * guest and UNIX sockets of the host.
 *
 *   host to guest   a client connects to PATH, sends "CONNECT <port>\n", and
 *                   reads "OK <host port>\n" when the guest has accepted; from
 *                   then on both sides have a stream.  Refused: it is closed.
 *   guest to host   a connection to CID 2, port P, goes to the socket PATH_P.
 *
 * A guest that moves leaves its connections behind: it is told by a transport
 * reset, and new ones work at once.
 */
#ifndef GODWIT_VIRTIO_VSOCK_H
#define GODWIT_VIRTIO_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct virtio_dev;
struct virtio_env;

#define VIRTIO_VSOCK_CID_MIN	3ull
#define VIRTIO_VSOCK_CID_MAX	0xfffffffeull
#define VIRTIO_VSOCK_CONNS_MAX	16384u
#define VIRTIO_VSOCK_PATH_BYTES 96u /* leaves room for "_4294967295" */

struct virtio_vsock_options {
	const char *path;   /* copied */
	uint64_t cid;	    /* of the guest */
	unsigned max_conns; /* connections at a time */
	/* The guest is not here yet: take the path when it is, see settle. */
	bool incoming;
	/* How long things may take, ms of the VM's running time; 0: as usual.
	 * The line of a client; the guest's answer; the end of a connection. */
	unsigned line_ms, answer_ms, linger_ms;
};

/* Thread: home of env->loop.
 * Return: 0, or -errno with @err: EINVAL (cid, max_conns), ENAMETOOLONG,
 *         EADDRINUSE and what else unix_listen() says, ENOMEM, EMFILE. */
int virtio_vsock_create(const struct virtio_env *env, const char *name,
	const struct virtio_vsock_options *opt, struct virtio_dev **ret_dev,
	struct error *err);

/* The guest is here (@here), or has left: take, or give up, the path.  One that
 * is taken is tried again for a while, then there is a warning.  A resume takes
 * it too.  Connections stay.  Thread: main; waits for the device's loop. */
void virtio_vsock_settle(struct virtio_dev *dev, bool here);

#endif
