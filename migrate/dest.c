/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest.c - the receiving side: its life, and the handshake up to
 * ACCEPT.  How it ends is dest_end.c's.
 *
 * Threads: the owner's.
 */
#include "migrate/dest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "migrate/chan.h"
#include "migrate/dest_priv.h"
#include "migrate/pager.h"
#include "vmm/guestmem.h"

int dest_thread(
	pthread_t *ret_thread, const char *name, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(ret_thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err == 0)
		pthread_setname_np(*ret_thread, name);
	return -err;
}

uint64_t dest_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void dest_set_state(struct dest *d, enum dest_state state)
{
	pthread_mutex_lock(&d->lock);
	d->state = state;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
}

void dest_set_phase(struct dest *d, enum migrate_phase phase)
{
	atomic_store_explicit(&d->stats.phase, phase, memory_order_relaxed);
}

/* ---- life ---- */

static void destroy(struct dest *d)
{
	if (!d)
		return;
	dest_door_stop(d);
	if (d->started)
		pthread_join(d->in_thread, NULL);
	pthread_mutex_lock(&d->lock);
	dest_urgent_end_locked(d);
	pthread_mutex_unlock(&d->lock);
	if (d->main.chan)
		chan_shutdown(d->main.chan);
	dest_postcopy_fini(d); /* frees a load that waits for a page */
	dest_stop_load(d);
	frame_in_fini(&d->package_in);
	dest_conn_fini(&d->main);
	dest_conn_fini(&d->urgent);
	if (d->urgent_set >= 0)
		close(d->urgent_set);
	if (d->wake_fd >= 0)
		close(d->wake_fd);
	dest_ram_fini(d);
	pthread_cond_destroy(&d->cond);
	pthread_mutex_destroy(&d->lock);
	free(d->description);
	free(d);
}

static struct dest *create(
	struct chan_listener *listener, const struct dest_options *opt)
{
	struct dest *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return NULL;
	d->listener = listener;
	d->opt = *opt;
	if (d->opt.timeout_ms <= 0)
		d->opt.timeout_ms = DEST_TIMEOUT_MS;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->cond, &attr);
	pthread_condattr_destroy(&attr);
	dest_conn_init(&d->main);
	dest_conn_init(&d->urgent);
	d->urgent_set = epoll_create1(EPOLL_CLOEXEC);
	d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->urgent_set < 0 || d->wake_fd < 0) {
		destroy(d);
		return NULL;
	}
	dest_set_phase(d, MIGRATE_CONNECT);
	return d;
}

/* Until a HELLO was taken. */
static int wait_hello(
	struct dest *d, int timeout_ms, uint64_t until_ns, struct error *err)
{
	struct timespec ts = {
		.tv_sec = (time_t)(until_ns / 1000000000u),
		.tv_nsec = (long)(until_ns % 1000000000u),
	};
	int code = 0;

	pthread_mutex_lock(&d->lock);
	while (!d->main_up && code == 0) {
		if (d->door_over && d->peers == 0)
			code = -ECONNRESET;
		else if (timeout_ms < 0)
			pthread_cond_wait(&d->cond, &d->lock);
		else if (pthread_cond_timedwait(&d->cond, &d->lock, &ts) ==
			 ETIMEDOUT)
			code = -ETIMEDOUT;
	}
	if (d->main_up)
		code = 0;
	pthread_mutex_unlock(&d->lock);
	if (code == -ETIMEDOUT)
		return error_set(err, code, "%s: no source came in %d ms",
			chan_listener_address(d->listener), timeout_ms);
	if (code < 0 && err->code == 0)
		return error_set(err, code,
			"%s: no source came, and none can come any more",
			chan_listener_address(d->listener));
	return code;
}

static int send_welcome(struct dest *d, struct error *err)
{
	uint64_t features =
		d->opt.postcopy ? WIRE_FEATURE_POSTCOPY | WIRE_FEATURE_URGENT
				: 0;
	struct dest_conn *c = &d->main;
	struct wire_welcome w;
	int code;

	code = wire_choose(&d->hello, features, &w, err);
	if (code < 0)
		return code;
	pthread_mutex_lock(&d->lock);
	d->features = w.features;
	pthread_mutex_unlock(&d->lock);
	dest_set_state(d, DEST_BUILD);
	pthread_mutex_lock(&c->lock);
	wire_begin(&c->out, WIRE_WELCOME);
	wire_put_welcome(&c->out, &w);
	code = frame_send(c->chan, &c->out, &c->out_seq, NULL, 0, err);
	pthread_mutex_unlock(&c->lock);
	return code;
}

static int read_machine(struct dest *d, struct error *err)
{
	struct dest_conn *c = &d->main;
	struct wire_header h;
	struct wire_error e;
	int code;

	code = frame_recv_header(c->chan, &h, &c->in, err);
	if (code == 0)
		code = dest_check_frame(DEST_BUILD, h.type, err);
	if (code == 0)
		code = frame_recv_meta(c->chan, &h, &c->in, &c->in_seq, err);
	if (code < 0)
		return code;
	if (h.type == WIRE_CANCEL)
		return error_set(err, -ECANCELED, "cancelled by the source");
	if (h.type == WIRE_ERROR) {
		code = wire_get_error(c->in.meta, h.meta_len, &e, err);
		return code < 0 ? code
				: error_set(err, -ECONNABORTED,
					  "the source gave up: %s", e.text);
	}
	return wire_get_text(c->in.meta, h.meta_len, &d->description, err);
}

/* Wait for another source after one that was none. */
static void drop_source(struct dest *d, struct error *err)
{
	if (err->code != -ECANCELED)
		dest_send_error(d, err);
	error_prepend(err, "%s", chan_name(d->main.chan));
	log_limited(&d->warned, LOG_WARN, "migration: %s", err->text);
	pthread_mutex_lock(&d->lock);
	d->state = DEST_HELLO;
	d->features = 0;
	dest_conn_fini(&d->main);
	dest_conn_init(&d->main);
	dest_conn_fini(&d->urgent);
	dest_conn_init(&d->urgent);
	d->urgent_taken = false;
	atomic_store(&d->urgent_up, false);
	d->main_up = false;
	pthread_mutex_unlock(&d->lock);
}

int dest_accept(struct chan_listener *listener, const struct dest_options *opt,
	int timeout_ms, struct dest **ret_dest, struct error *err)
{
	struct dest *d = create(listener, opt);
	struct error why = {0};
	uint64_t until;
	int code;

	if (!d)
		return error_errno(err, -ENOMEM, "receive");
	until = dest_now_ns() + (uint64_t)timeout_ms * 1000000u;
	code = dest_door_start(d, &why);
	while (code == 0) {
		code = wait_hello(d, timeout_ms, until, &why);
		if (code < 0)
			break;
		why.code = 0;
		code = send_welcome(d, &why);
		if (code == 0)
			code = read_machine(d, &why);
		if (code == 0)
			break;
		drop_source(d, &why);
		code = 0;
	}
	if (code < 0) {
		destroy(d);
		return error_set(err, why.code, "%s", why.text);
	}
	d->pages = d->hello.ram_bytes / GUESTMEM_PAGE;
	atomic_store_explicit(
		&d->stats.ram_bytes, d->hello.ram_bytes, memory_order_relaxed);
	atomic_store_explicit(
		&d->stats.start_ns, dest_now_ns(), memory_order_relaxed);
	*ret_dest = d;
	return 0;
}

const char *dest_description(const struct dest *dest)
{
	return dest->description;
}

uint64_t dest_ram_bytes(const struct dest *dest)
{
	return dest->hello.ram_bytes;
}

void dest_refuse(struct dest *dest, const struct error *why)
{
	dest_fail(dest, why);
	dest_set_phase(dest, MIGRATE_FAILED);
	dest_set_state(dest, DEST_END);
}

/* The way to migrate-in's start; ACCEPT comes last. */
static int prepare(struct dest *d, struct error *err)
{
	int code;

	if (d->guest.gm->size != d->hello.ram_bytes)
		return error_set(err, -EPROTO,
			"the source's guest has %llu bytes of RAM, the "
			"machine built for it %llu",
			(unsigned long long)d->hello.ram_bytes,
			(unsigned long long)d->guest.gm->size);
	code = dest_ram_init(d);
	if (code < 0)
		return error_errno(err, code, "map of %llu pages",
			(unsigned long long)d->pages);
	pthread_mutex_lock(&d->lock);
	if (d->failed)
		code = error_set(err, d->error.code, "%s", d->error.text);
	else
		d->state = DEST_RAM;
	pthread_mutex_unlock(&d->lock);
	return code < 0 ? code : dest_send_empty(d, WIRE_ACCEPT, err);
}

int dest_start(struct dest *dest, const struct migrate_guest *guest,
	dest_done_fn *done, void *opaque, struct error *err)
{
	struct error why = {0};
	int code;

	dest->guest = *guest;
	dest->done = done;
	dest->opaque = opaque;
	code = prepare(dest, &why);
	if (code == 0)
		code = dest_load_start(dest, &why);
	if (code == 0) {
		dest->started = true; /* before it can end */
		code = dest_thread(
			&dest->in_thread, "migrate-in", dest_in_main, dest);
		if (code < 0) {
			dest->started = false;
			error_errno(&why, code, "start thread migrate-in");
		}
	}
	if (code == 0)
		return 0;
	dest_refuse(dest, &why);
	return error_set(err, why.code, "%s", why.text);
}

const struct migrate_stats *dest_stats(const struct dest *dest)
{
	return &dest->stats;
}

bool dest_ended(const struct dest *dest)
{
	return !dest->started || atomic_load(&dest->ended);
}

void dest_join(struct dest *dest)
{
	destroy(dest);
}
