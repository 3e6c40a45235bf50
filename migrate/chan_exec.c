/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan_exec.c - a command as a channel: one end of a socket pair is its
 * stdin and stdout, the other an ordinary socket channel inside this one.
 *
 * The command leads a process group of its own, so that all of a pipeline can
 * be ended.  It is waited for once, under the lock; its pid stays valid until
 * then.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/chan_priv.h"
#include "vmm/error.h"

extern char **environ;

struct chan_exec {
	struct chan chan;
	struct chan *sock; /* owned */
	pid_t pid;
	int pidfd; /* owned; readable when the command has ended */
	int wake;  /* owned eventfd: ends a wait in finish */
	pthread_mutex_t lock;
	bool reaped; /* lock */
	int status;  /* lock; of waitpid(2), once reaped */
};

static struct chan_exec *exec_of(struct chan *chan)
{
	return (struct chan_exec *)chan;
}

static ssize_t exec_readv(struct chan *chan, struct iovec *iov, int iovs)
{
	struct chan *sock = exec_of(chan)->sock;

	return sock->ops->readv(sock, iov, iovs);
}

static ssize_t exec_writev(struct chan *chan, struct iovec *iov, int iovs)
{
	struct chan *sock = exec_of(chan)->sock;

	return sock->ops->writev(sock, iov, iovs);
}

static void exec_shutdown(struct chan *chan)
{
	(void)!eventfd_write(exec_of(chan)->wake, 1);
	chan_shutdown(exec_of(chan)->sock);
}

static void exec_end_write(struct chan *chan)
{
	struct chan *sock = exec_of(chan)->sock;

	sock->ops->end_write(sock);
}

static int exec_fd(const struct chan *chan)
{
	return chan_fd(((const struct chan_exec *)chan)->sock);
}

static void exec_set_deadline(struct chan *chan, int ms)
{
	chan_set_deadline(exec_of(chan)->sock, ms);
}

static void exec_set_buffer(struct chan *chan, size_t bytes)
{
	chan_set_buffer(exec_of(chan)->sock, bytes);
}

/* Collect the command if it has ended, or (@block) wait until it has. */
static int reap(struct chan_exec *e, bool block)
{
	int status;
	pid_t pid;

	pthread_mutex_lock(&e->lock);
	while (!e->reaped) {
		pid = waitpid(e->pid, &status, block ? 0 : WNOHANG);
		if (pid == e->pid) {
			e->reaped = true;
			e->status = status;
		} else if (pid == 0 || errno != EINTR) {
			break;
		}
	}
	status = e->status;
	pthread_mutex_unlock(&e->lock);
	return status;
}

static int exec_exit_status(struct chan *chan)
{
	return reap(exec_of(chan), false);
}

static int exec_finish(struct chan *chan, struct error *err)
{
	struct chan_exec *e = exec_of(chan);
	int rc, status;

	exec_end_write(chan);
	rc = chan_wait(
		e->pidfd, POLLIN, e->wake, chan_end_ns(chan->deadline_ms));
	if (rc < 0)
		return error_errno(
			err, rc, "%s: the command does not end", chan->name);
	status = reap(e, true);
	if (WIFSIGNALED(status))
		return error_set(err, -EPIPE,
			"%s: the command was killed by signal %d", chan->name,
			WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return error_set(err, -EPIPE,
			"%s: the command failed with status %d", chan->name,
			WEXITSTATUS(status));
	return 0;
}

static void exec_destroy(struct chan *chan)
{
	struct chan_exec *e = exec_of(chan);

	chan_close(e->sock);
	if (!e->reaped && chan_wait(e->pidfd, POLLIN, -1,
				  chan_end_ns(CHAN_EXEC_GRACE_MS)) < 0)
		kill(-e->pid, SIGKILL); /* not reaped: still our pid */
	reap(e, true);
	close(e->pidfd);
	close(e->wake);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

static const struct chan_ops exec_ops = {
	.readv = exec_readv,
	.writev = exec_writev,
	.shutdown = exec_shutdown,
	.destroy = exec_destroy,
	.end_write = exec_end_write,
	.finish = exec_finish,
	.fd = exec_fd,
	.set_deadline = exec_set_deadline,
	.set_buffer = exec_set_buffer,
	.exit_status = exec_exit_status,
	.two_way = true,
};

/* Signals as a new program expects them, a group of its own. */
static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t set;
	int rc;

	sigfillset(&set);
	rc = posix_spawnattr_setsigdefault(attr, &set);
	sigemptyset(&set);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attr, &set);
	if (rc == 0)
		rc = posix_spawnattr_setpgroup(attr, 0);
	if (rc == 0)
		rc = posix_spawnattr_setflags(
			attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
				      POSIX_SPAWN_SETPGROUP);
	return rc;
}

/* sh -c @command with @fd as stdin and stdout.  0 or -errno. */
static int spawn(const char *command, int fd, pid_t *ret_pid)
{
	char sh[] = "sh", dash_c[] = "-c", *copy = strdup(command);
	char *argv[] = {sh, dash_c, copy, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int rc = ENOMEM;

	if (!copy)
		return -rc;
	if (posix_spawn_file_actions_init(&actions) != 0)
		goto no_actions;
	if (posix_spawnattr_init(&attr) != 0)
		goto no_attr;
	rc = posix_spawn_file_actions_adddup2(&actions, fd, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, fd, 1);
	if (rc == 0)
		rc = set_attributes(&attr);
	if (rc == 0)
		rc = posix_spawn(
			ret_pid, "/bin/sh", &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
no_attr:
	posix_spawn_file_actions_destroy(&actions);
no_actions:
	free(copy);
	return -rc;
}

/* The command and what watches it.  On failure nothing is left. */
static int start(struct chan_exec *e, const char *command, int fd)
{
	int rc;

	e->wake = eventfd(0, EFD_CLOEXEC);
	if (e->wake < 0)
		return -errno;
	rc = spawn(command, fd, &e->pid);
	if (rc < 0)
		goto fail;
	e->pidfd = pidfd_open(e->pid, 0);
	if (e->pidfd < 0) {
		rc = -errno;
		kill(-e->pid, SIGKILL);
		reap(e, true);
		goto fail;
	}
	return 0;
fail:
	close(e->wake);
	return rc;
}

int chan_exec(
	const struct chan_addr *addr, struct chan **ret_chan, struct error *err)
{
	struct chan_exec *e = calloc(1, sizeof(*e));
	int sv[2], rc;

	if (!e)
		return error_errno(err, -ENOMEM, "%s", addr->text);
	chan_init(&e->chan, &exec_ops, addr->text);
	pthread_mutex_init(&e->lock, NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
		rc = -errno;
		goto fail;
	}
	rc = chan_socket_wrap(sv[0], addr->text, &e->sock);
	if (rc < 0) {
		close(sv[0]);
		close(sv[1]);
		goto fail;
	}
	rc = start(e, addr->path, sv[1]);
	close(sv[1]);
	if (rc < 0) {
		chan_close(e->sock);
		goto fail;
	}
	*ret_chan = &e->chan;
	return 0;
fail:
	pthread_mutex_destroy(&e->lock);
	free(e);
	return error_errno(err, rc, "%s: start the command", addr->text);
}
