/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest_postcopy.c - from LISTEN on: pages that are missing, and the
 * thread that may wait for them.
 *
 * Three threads meet here and none waits for another's work: migrate-in and the
 * pager's fault threads place pages and touch no guest RAM otherwise;
 * migrate-load (ops->load(), ops->run()) touches guest RAM and may wait for any
 * page, because it holds nothing that the other two want.
 *
 * The urgent connection belongs to the fault threads.  When it is lost, what
 * was asked for on it is asked for again on the first one.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/chan.h"
#include "migrate/dest_priv.h"
#include "migrate/pager.h"
#include "vmm/guestmem.h"

#define BOUNCE_BYTES (DEST_CHUNK * (size_t)GUESTMEM_PAGE)

static int bounce_init(uint8_t **ret_bounce)
{
	void *p = mmap(NULL, BOUNCE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret_bounce = p;
	return 0;
}

int dest_advise(struct dest *d, struct error *err)
{
	int code;

	if (!(d->features & WIRE_FEATURE_POSTCOPY))
		return error_set(err, -EOPNOTSUPP,
			"postcopy is switched off here (use precopy only)");
	code = pager_probe(d->guest.gm, err);
	if (code == 0)
		code = pager_no_huge_pages(d->guest.gm, err);
	if (code == 0 && d->any_pages)
		code = dest_ram_forget_rest(d, err);
	if (code < 0)
		return code;
	code = bounce_init(&d->main_bounce);
	if (code == 0)
		code = bounce_init(&d->urgent_bounce);
	if (code < 0)
		return error_errno(err, code, "buffer for pages");
	dest_set_state(d, DEST_ADVISED);
	return dest_send_empty(d, WIRE_ADVISED, err);
}

/* ---- requests: fault threads ---- */

static int send_request(struct dest_conn *conn, const struct wire_request *r)
{
	int code;

	pthread_mutex_lock(&conn->lock);
	wire_begin(&conn->out, WIRE_REQUEST);
	wire_put_request(&conn->out, r);
	code = frame_send(
		conn->chan, &conn->out, &conn->out_seq, NULL, 0, NULL);
	pthread_mutex_unlock(&conn->lock);
	return code;
}

/* The urgent connection is gone: ask again for what it owes. */
static int urgent_lost(struct dest *d)
{
	struct wire_request again[DEST_REQUESTS];
	uint64_t n;
	int code = 0;

	pthread_mutex_lock(&d->urgent.lock);
	if (!atomic_exchange(&d->urgent_up, false)) {
		pthread_mutex_unlock(&d->urgent.lock);
		return 0;
	}
	epoll_ctl(d->urgent_set, EPOLL_CTL_DEL, chan_fd(d->urgent.chan), NULL);
	n = d->requests < DEST_REQUESTS ? d->requests : DEST_REQUESTS;
	memcpy(again, d->request, n * sizeof(again[0]));
	pthread_mutex_unlock(&d->urgent.lock);
	chan_shutdown(d->urgent.chan);
	for (uint64_t i = 0; i < n && code == 0; i++)
		if (!pager_present(d->pager, again[i].page))
			code = send_request(&d->main, &again[i]);
	return code;
}

static int request(void *opaque, uint64_t page, uint32_t pages)
{
	struct dest *d = opaque;
	struct wire_request r = {.page = page, .count = pages};

	if (r.count > WIRE_REQUEST_MAX)
		r.count = WIRE_REQUEST_MAX;
	migrate_count(&d->stats.pages_requested, r.count);
	pthread_mutex_lock(&d->urgent.lock);
	d->request[d->requests++ % DEST_REQUESTS] = r;
	pthread_mutex_unlock(&d->urgent.lock);
	if (atomic_load(&d->urgent_up)) {
		if (send_request(&d->urgent, &r) == 0)
			return 0;
		return urgent_lost(d); /* asks for this one, too */
	}
	return send_request(&d->main, &r);
}

int dest_request_rest(struct dest *d)
{
	uint64_t page = pager_next_missing(d->pager, 0);
	int code = 0;

	while (page != UINT64_MAX && code == 0) {
		struct wire_request r = {.page = page, .count = 1};

		while (r.count < WIRE_REQUEST_MAX &&
			page + r.count < d->pages &&
			!pager_present(d->pager, page + r.count))
			r.count++;
		code = send_request(&d->main, &r);
		page += r.count;
		page = page < d->pages ? pager_next_missing(d->pager, page)
				       : UINT64_MAX;
	}
	return code;
}

/* It waits for the last pages. */
static void wake_in(struct dest *d)
{
	if (atomic_load(&d->completing))
		eventfd_write(d->wake_fd, 1);
}

static int urgent_frame(struct dest *d, struct error *err)
{
	struct dest_conn *c = &d->urgent;
	struct wire_header h;
	int code;

	code = frame_recv_header(c->chan, &h, &c->in, err);
	if (code < 0)
		return code;
	if (h.type != WIRE_PAGES)
		return error_set(err, -EPROTO,
			"%s may not come on the urgent connection",
			wire_type_name(h.type));
	code = frame_recv_meta(c->chan, &h, &c->in, &c->in_seq, err);
	if (code < 0)
		return code;
	migrate_count(
		&d->stats.bytes, WIRE_HEADER_BYTES + h.meta_len + h.data_len);
	return dest_place(d, c, d->urgent_bounce, &h, err);
}

static int ready(void *opaque)
{
	struct dest *d = opaque;
	struct error err = {0};
	int code;

	if (!atomic_load(&d->urgent_up))
		return 0;
	code = urgent_frame(d, &err);
	if (code < 0 && !dest_is_loss(code) && code != -ECANCELED) {
		error_prepend(&err, "urgent connection");
		dest_fail(d, &err);
	}
	if (code < 0)
		code = urgent_lost(d);
	else
		code = chan_has_ahead(d->urgent.chan);
	wake_in(d);
	return code;
}

/* ---- pages that come ---- */

/* Entries [from, to) of @meta, their data side by side at @data. */
static int place_entries(struct dest *d, const uint8_t *meta, uint32_t from,
	uint32_t to, const uint8_t *data)
{
	while (from < to) {
		struct wire_page first = wire_page_at(meta, from);
		uint32_t n = 1;
		int code;

		while (from + n < to) {
			struct wire_page p = wire_page_at(meta, from + n);

			if (p.page != first.page + n || p.kind != first.kind)
				break;
			n++;
		}
		if (first.kind == WIRE_PAGE_ZERO) {
			code = pager_place_zero(d->pager, first.page, n);
		} else {
			code = pager_place(d->pager, first.page, n, data);
			data += n * GUESTMEM_PAGE;
		}
		if (code < 0)
			return code;
		from += n;
	}
	return 0;
}

int dest_place(struct dest *d, struct dest_conn *conn, uint8_t *bounce,
	const struct wire_header *h, struct error *err)
{
	const uint8_t *meta = conn->in.meta;
	uint32_t pages, full = 0;
	int code;

	code = wire_get_pages(h, meta, d->pages, &pages, err);
	if (code < 0)
		return code;
	for (uint32_t from = 0, to = 0; from < pages; from = to) {
		uint32_t n = 0; /* full pages of this chunk */

		while (to < pages && n < DEST_CHUNK)
			if (wire_page_at(meta, to++).kind == WIRE_PAGE_FULL)
				n++;
		code = n ? chan_read(conn->chan, bounce, n * GUESTMEM_PAGE) : 0;
		if (code < 0)
			return error_errno(err, code, "%s: read %u pages",
				chan_name(conn->chan), n);
		code = place_entries(d, meta, from, to, bounce);
		if (code < 0)
			return error_errno(err, -EIO,
				"place guest pages (error %d)", -code);
		full += n;
	}
	migrate_count(&d->stats.pages_full, full);
	migrate_count(&d->stats.pages_zero, pages - full);
	return 0;
}

/* ---- the switch: migrate-in ---- */

int dest_listen(struct dest *d, struct error *err)
{
	struct pager_options opt = {.stats = &d->stats};
	struct pager_source source = {
		.request = request,
		.ready = ready,
		.fd = d->urgent_set,
		.opaque = d,
	};
	int code;

	code = pager_create(d->guest.gm, d->received, &opt, &d->pager, err);
	if (code < 0)
		return code;
	return pager_start(d->pager, &source, err);
}

/* ---- migrate-load ---- */

static void load_failed(
	struct dest *d, struct error *err, int code, const char *what)
{
	if (err->code == 0)
		error_errno(err, code, "%s", what);
	else
		error_prepend(err, "%s", what);
	dest_fail(d, err);
}

static int load(struct dest *d)
{
	struct error err = {0};
	uint64_t start = dest_now_ns();
	bool go;
	int code;

	code = d->guest.ops->load(
		d->guest.opaque, d->package.state, d->package.state_len, &err);
	atomic_store_explicit(
		&d->stats.load_ns, dest_now_ns() - start, memory_order_relaxed);
	frame_in_fini(&d->package_in);
	pthread_mutex_lock(&d->lock);
	d->load_busy = false;
	go = code == 0 && !d->failed;
	if (go)
		d->state = DEST_LOADED; /* before the source can answer */
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (code < 0)
		load_failed(d, &err, code, "load the machine's state");
	else if (go && dest_send_empty(d, WIRE_LOADED, &err) < 0)
		dest_fail(d, &err);
	return go ? 0 : -ECANCELED;
}

/* Did COMMIT come? */
static bool wait_commit(struct dest *d)
{
	bool committed;

	pthread_mutex_lock(&d->lock);
	while (!d->committed && !d->failed)
		pthread_cond_wait(&d->cond, &d->lock);
	committed = d->committed;
	pthread_mutex_unlock(&d->lock);
	return committed;
}

/* Is there a package? */
static bool wait_package(struct dest *d)
{
	bool go;

	pthread_mutex_lock(&d->lock);
	while (!d->load_go && !d->load_over)
		pthread_cond_wait(&d->cond, &d->lock);
	go = d->load_go;
	pthread_mutex_unlock(&d->lock);
	return go;
}

static void *load_main(void *arg)
{
	struct dest *d = arg;
	struct error err = {0};
	int code;

	d->load_tid = gettid();
	prompt_turns(0, true);
	if (!wait_package(d) || load(d) < 0 || !wait_commit(d))
		return NULL;
	code = d->guest.ops->run(d->guest.opaque, d->package.run.paused, &err);
	pthread_mutex_lock(&d->lock);
	d->load_busy = false;
	d->run = code < 0 ? DEST_RUN_FAILED : DEST_RUN_OK;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (code < 0)
		load_failed(d, &err, code, "start the guest");
	else if (dest_send_empty(d, WIRE_RUNNING, &err) < 0)
		/* Pages may still come the other way; migrate-in sees the end.
		 */
		log_info("migration: tell the source that the guest runs: %s",
			err.text);
	return NULL;
}

/* Before it is needed: making a thread takes longer than most of what is to be
 * done while the guest stands still. */
int dest_load_start(struct dest *d, struct error *err)
{
	int code = dest_thread(&d->load_thread, "migrate-load", load_main, d);

	if (code < 0)
		return error_errno(err, code, "start thread migrate-load");
	d->load_started = true;
	return 0;
}

void dest_load_go(struct dest *d)
{
	int cpu = sched_getcpu();

	if (d->in_stay.kept && d->load_tid != 0)
		prompt_stay(&d->load_stay, d->load_tid, cpu);
	pthread_mutex_lock(&d->lock);
	d->load_busy = true;
	d->load_go = true;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
}

void dest_postcopy_fini(struct dest *d)
{
	pager_destroy(d->pager);
	d->pager = NULL;
	if (d->main_bounce)
		munmap(d->main_bounce, BOUNCE_BYTES);
	if (d->urgent_bounce)
		munmap(d->urgent_bounce, BOUNCE_BYTES);
	d->main_bounce = d->urgent_bounce = NULL;
}
