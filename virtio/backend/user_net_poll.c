/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/user_net_poll.c - libslirp's sockets and timers on our loop.
 *
 * libslirp wants to be asked before each wait what to wait for, and told after
 * it what came.  Our loop keeps what it watches from one wait to the next, so a
 * *turn* (a bottom half: many sockets and frames make one) tells what is ready,
 * asks anew, and changes only what is different.  Nothing can change between
 * two turns but by calls that schedule one.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/backend/user_net_private.h"
#include "vmm/error.h"

#define ROOM_FIRST 64u
#define FD_MAX	   (1 << 20)
#define MS	   1000000ll /* ns */

/* ---- watched fds ---- */

/* What the loop reports may be over when it is heard; libslirp's sockets block,
 * so it must not be told anything that is not true.  See look(). */
static bool fd_ready(void *opaque, unsigned ready)
{
	struct user_fd *f = opaque;

	f->maybe = true;
	user_poll_soon(f->net);
	return true;
}

static struct user_fd *find(const struct user_poll *p, int fd)
{
	return fd >= 0 && (unsigned)fd < p->room ? p->by_fd[fd] : NULL;
}

void user_poll_forget(struct user_net *u, int fd)
{
	struct user_poll *p = &u->poll;
	struct user_fd *f = find(p, fd);
	unsigned i;

	if (!f)
		return;
	loop_fd_del(f->watch);
	free(f);
	p->by_fd[fd] = NULL;
	for (i = 0; p->active[i] != fd; i++)
		;
	p->active[i] = p->active[--p->count];
}

static int make_room(struct user_poll *p, int fd)
{
	unsigned room = p->room ? p->room : ROOM_FIRST;
	void *by_fd, *active, *look;

	if (fd >= FD_MAX)
		return -EMFILE;
	while (room <= (unsigned)fd)
		room *= 2;
	if (room == p->room)
		return 0;
	by_fd = realloc(p->by_fd, room * sizeof(p->by_fd[0]));
	if (!by_fd)
		return -ENOMEM;
	p->by_fd = by_fd;
	memset(p->by_fd + p->room, 0, (room - p->room) * sizeof(p->by_fd[0]));
	active = realloc(p->active, room * sizeof(p->active[0]));
	if (!active)
		return -ENOMEM;
	p->active = active;
	look = realloc(p->look, room * sizeof(p->look[0]));
	if (!look)
		return -ENOMEM;
	p->look = look;
	p->room = room;
	return 0;
}

static struct user_fd *find_or_add(struct user_net *u, int fd)
{
	struct user_poll *p = &u->poll;
	struct user_fd *f = find(p, fd);

	if (f || make_room(p, fd) < 0)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->net = u;
	f->fd = fd;
	p->by_fd[fd] = f;
	p->active[p->count++] = fd;
	return f;
}

static void watch(struct user_fd *f)
{
	unsigned events = 0;
	int rc;

	if (f->wanted & (SLIRP_POLL_IN | SLIRP_POLL_PRI))
		events |= LOOP_READ;
	if (f->wanted & SLIRP_POLL_OUT)
		events |= LOOP_WRITE;
	if (f->watch && events == f->events)
		return;
	rc = f->watch ? loop_fd_set(f->watch, events)
		      : loop_fd_add(f->net->loop, f->fd, events,
				LOOP_FD_EXTERNAL, fd_ready, f, f->net->name,
				&f->watch);
	if (rc < 0)
		log_limited(&f->net->limit, LOG_WARN, "%s: watch a socket: %s",
			f->net->name, strerror(-rc));
	else
		f->events = events;
}

/* ---- the turn ---- */

/* poll(2) and libslirp have the same bits under different names. */
static const struct {
	short host;
	int slirp;
} bits[] = {
	{POLLIN, SLIRP_POLL_IN},
	{POLLOUT, SLIRP_POLL_OUT},
	{POLLPRI, SLIRP_POLL_PRI},
	{POLLERR, SLIRP_POLL_ERR},
	{POLLHUP, SLIRP_POLL_HUP},
};

#define BITS (sizeof(bits) / sizeof(bits[0]))

/* What is true of the fds that the loop spoke of. */
static void look(struct user_poll *p)
{
	struct user_fd *f;
	unsigned i, k, n = 0;

	for (i = 0; i < p->count; i++) {
		f = p->by_fd[p->active[i]];
		if (!f->maybe)
			continue;
		f->maybe = false;
		p->look[n] = (struct pollfd){.fd = f->fd};
		for (k = 0; k < BITS; k++)
			if (f->wanted & bits[k].slirp)
				p->look[n].events |= bits[k].host;
		n++;
	}
	if (n == 0 || poll(p->look, n, 0) <= 0)
		return;
	while (n-- > 0)
		for (k = 0; k < BITS; k++)
			if (p->look[n].revents & bits[k].host)
				p->by_fd[p->look[n].fd]->ready |= bits[k].slirp;
}

/* Called by libslirp for each socket; the index is the fd itself. */
static int add_poll(int fd, int events, void *opaque)
{
	struct user_fd *f = find_or_add(opaque, fd);

	if (!f)
		return -1; /* without memory it waits for the timer */
	f->wanted |= events;
	return fd;
}

static int get_revents(int index, void *opaque)
{
	struct user_net *u = opaque;
	const struct user_fd *f = find(&u->poll, index);

	return f ? f->ready : 0;
}

static void watch_nothing(struct user_net *u)
{
	while (u->poll.count > 0)
		user_poll_forget(u, u->poll.active[0]);
}

/* Ask what to wait for, and wait for just that. */
static void ask(struct user_net *u)
{
	struct user_poll *p = &u->poll;
	uint32_t timeout_ms = UINT32_MAX;
	int64_t now;
	unsigned i;

	for (i = 0; i < p->count; i++) {
		p->by_fd[p->active[i]]->wanted = 0;
		p->by_fd[p->active[i]]->ready = 0;
	}
	u->lib.fill(u->slirp, &timeout_ms, add_poll, u);
	for (i = p->count; i-- > 0;) {
		struct user_fd *f = p->by_fd[p->active[i]];

		if (f->wanted == 0)
			user_poll_forget(u, f->fd);
		else
			watch(f);
	}
	u->sockets = p->count;
	now = loop_now_ns(u->loop, LOOP_VIRTUAL);
	if (timeout_ms == UINT32_MAX)
		loop_timer_cancel(&p->timer);
	else if (loop_timer_set(&p->timer, now + timeout_ms * MS) < 0)
		user_poll_soon(u);
}

static void turn(void *opaque)
{
	struct user_net *u = opaque;

	if (!u->slirp || !u->started)
		return;
	if (user_fifo_bytes(&u->fifo) <= USER_FIFO_HIGH) {
		look(&u->poll);
		slirp_lib_lock();
		u->lib.poll(u->slirp, 0, get_revents, u);
		ask(u);
		slirp_lib_unlock();
	}
	if (user_fifo_bytes(&u->fifo) > USER_FIFO_HIGH) {
		u->poll.choked = true;
		watch_nothing(u);
	}
	if (user_fifo_bytes(&u->fifo) > 0)
		u->be.front.readable(u->be.front.opaque, 0);
}

void user_poll_soon(struct user_net *u)
{
	loop_bh_schedule(u->poll.turn);
}

/* ---- libslirp's timers ---- */

struct user_timer {
	struct loop_timer timer;
	SlirpTimerCb fn;
	void *opaque;
	struct user_net *net;
};

static void timer_due(void *opaque)
{
	struct user_timer *t = opaque;
	struct user_net *u = t->net;

	slirp_lib_lock();
	t->fn(t->opaque);
	slirp_lib_unlock();
	user_poll_soon(u);
}

void *user_timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct user_net *u = opaque;
	struct user_timer *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	t->fn = fn;
	t->opaque = fn_opaque;
	t->net = u;
	loop_timer_init(&t->timer, u->loop, LOOP_VIRTUAL, timer_due, t);
	return t;
}

void user_timer_free(void *timer, void *opaque)
{
	struct user_timer *t = timer;

	if (!t)
		return;
	loop_timer_cancel(&t->timer);
	free(t);
}

void user_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *t = timer;

	if (t && expire_ms <= INT64_MAX / MS)
		loop_timer_set(&t->timer, expire_ms * MS);
}

/* ---- set-up ---- */

static void time_is_up(void *opaque)
{
	user_poll_soon(opaque);
}

int user_poll_init(struct user_net *u, struct error *err)
{
	int rc;

	loop_timer_init(&u->poll.timer, u->loop, LOOP_VIRTUAL, time_is_up, u);
	rc = loop_bh_create(u->loop, turn, u, u->name, NULL, &u->poll.turn);
	return rc < 0 ? error_errno(err, rc, "%s: bottom half", u->name) : 0;
}

void user_poll_clear(struct user_net *u)
{
	loop_timer_cancel(&u->poll.timer);
	if (u->poll.turn)
		loop_bh_cancel(u->poll.turn);
	watch_nothing(u);
	u->poll.choked = false;
}

void user_poll_fini(struct user_net *u)
{
	user_poll_clear(u);
	loop_bh_delete(u->poll.turn);
	free(u->poll.by_fd);
	free(u->poll.active);
	free(u->poll.look);
}
