/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/pager_fault.c - the threads that answer faults.
 *
 * Each waits in one poll(2) for the userfaultfd, the source's fd (the first
 * thread only) and the order to stop.  Several share the userfaultfd: a message
 * goes to one of them.
 *
 * UFFD_EVENT_REMOVE: somebody gives memory up with madvise(2) and waits until
 * the message has been read; up to then no page can be placed (EAGAIN).  So a
 * fault thread that is refused reads on, in pager_read_on().
 */
#include "migrate/pager_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/error.h"

#define FOLLOW_EVERY 256u /* faults */
#define QUIET_MS     5
#define STAT_CPU     39u /* field of /proc/PID/stat; see proc(5) */

/* ---- where to run ---- */

/* The CPU that thread @tid was on last; -1: not known. */
static int cpu_of(uint32_t tid, bool *ret_vcpu)
{
	char path[48], text[512], *at;
	unsigned field;
	ssize_t n;
	int fd;

	*ret_vcpu = false;
	snprintf(path, sizeof(path), "/proc/self/task/%u/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	*ret_vcpu = strstr(text, "(" PAGER_VCPU_NAME) != NULL;
	at = strrchr(text, ')'); /* the name may hold blanks */
	for (field = 2; at && field < STAT_CPU; field++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at + 1) : -1;
}

/* Let who faulted last go where it likes. */
static void let_go(struct pager_thread *t)
{
	prompt_leave(&t->guest);
	t->follow_in = 0;
}

/*
 * Who faults sleeps until we are through, so its CPU has nothing to do; another
 * one would have to be woken first and then wake it in turn, which costs more
 * than all the rest.  So this thread keeps to the CPU where the last faults
 * came from, and if that is a vCPU (which makes no threads), to its own CPU it,
 * too: the scheduler would wake it on one that is idle.  That ends after
 * QUIET_MS without a fault, and for one fault in FOLLOW_EVERY, so that the
 * scheduler has a say.  One fault thread only: two might keep the same vCPU.
 */
static void follow(struct pager_thread *t, uint32_t tid)
{
	bool vcpu;
	int cpu;

	if (t->follow_in == 1)
		prompt_leave(&t->guest);
	if (t->follow_in > 0) {
		t->follow_in--;
		return;
	}
	t->follow_in = FOLLOW_EVERY;
	cpu = cpu_of(tid, &vcpu);
	if (cpu < 0)
		return;
	if (cpu != t->cpu)
		prompt_stay(&t->self, 0, cpu);
	t->cpu = t->self.kept ? cpu : -1;
	if (vcpu && t->self.kept && t->pager->threads == 1)
		prompt_stay(&t->guest, (pid_t)tid, cpu);
}

/* ---- how much to ask for ---- */

/* Up to @max missing pages from @page on. */
static uint32_t missing_run(const struct pager *p, uint64_t page, uint32_t max)
{
	uint32_t n = 1;

	while (n < max && page + n < p->pages &&
		!pager_bit(p->claimed, page + n))
		n++;
	return n;
}

/* Was every page of [from, to) there, so that going on means to fault at to? */
static bool leads_to(const struct pager *p, uint64_t from, uint64_t to)
{
	return to >= from && to - from <= 4 * PAGER_WINDOW_MAX &&
	       pager_next_missing(p, from) >= to;
}

/* Threads are told apart, or two that walk would look like none. */
static uint32_t window(struct pager *p, uint32_t tid, uint64_t page)
{
	struct pager_trail *t = &p->trail[tid % PAGER_TRAILS];
	uint64_t tag = atomic_load_explicit(&t->tag, memory_order_relaxed);
	uint64_t start = atomic_load_explicit(&t->start, memory_order_relaxed);
	uint64_t end = atomic_load_explicit(&t->end, memory_order_relaxed);
	unsigned run = tag & 0xff;
	uint32_t n;

	if (tag >> 8 != tid)
		run = 0;
	else if (page >= start && page < end)
		return 1; /* asked for with others, and on its way */
	else if (leads_to(p, end, page))
		run = run < 8 ? run + 1 : 8;
	else
		run = 0;
	n = 1u << (2 * run);
	n = missing_run(p, page, n < p->window_max ? n : p->window_max);
	atomic_store_explicit(
		&t->tag, (uint64_t)tid << 8 | run, memory_order_relaxed);
	atomic_store_explicit(&t->start, page, memory_order_relaxed);
	atomic_store_explicit(&t->end, page + n, memory_order_relaxed);
	return n;
}

/* ---- messages ---- */

static bool page_of(const struct pager *p, uint64_t address, uint64_t *ret_page)
{
	uint64_t base = (uintptr_t)p->gm->base;

	if (address < base || address - base >= p->gm->size)
		return false;
	*ret_page = (address - base) / GUESTMEM_PAGE;
	return true;
}

static void wake(struct pager *p, uint64_t page)
{
	uffd_wake(p->uffd, pager_hva(p, page), GUESTMEM_PAGE);
}

/* @ns: when the message was read. */
static void fault_present(struct pager *p, uint64_t page, uint64_t ns)
{
	if (pager_fill_zero(p, page) < 0)
		pager_fail(p);
	if (p->stats)
		migrate_stats_fault(p->stats, pager_now_ns() - ns);
	wake(p, page);
}

static void fault(struct pager *p, const struct uffd_msg *msg, uint64_t ns)
{
	uint64_t page;

	if (!page_of(p, msg->arg.pagefault.address, &page))
		return;
	if (pager_bit(p->present, page)) {
		fault_present(p, page, ns);
		return;
	}
	/* Already asked for by another thread that waits here: it will come. */
	if (!pager_wait_begin(p, page, ns))
		return;
	/* It may have come before the wait began. */
	if (pager_bit(p->present, page)) {
		pager_wait_end(p, page);
		wake(p, page);
		return;
	}
	if (pager_bit(p->claimed, page) || !p->has_source || pager_failed(p))
		return;
	if (p->source.request(p->source.opaque, page,
		    window(p, msg->arg.pagefault.feat.ptid, page)) < 0)
		pager_fail(p);
}

/* Memory was given up: what was missing is zero now, and what comes for it is
 * dropped.  A page that is being placed may still come with its old bytes,
 * which whoever gave it up may not count on either way. */
static void removed(struct pager *p, const struct uffd_msg *msg)
{
	uint64_t start = msg->arg.remove.start, end = msg->arg.remove.end;
	uint64_t base = (uintptr_t)p->gm->base, i, n = 0;

	atomic_fetch_add(&p->removes, 1);
	start = start > base ? start - base : 0;
	end = end > base ? end - base : 0;
	end = end < p->gm->size ? end : p->gm->size;
	for (i = start / GUESTMEM_PAGE; i < end / GUESTMEM_PAGE; i++) {
		uint64_t bit = 1ull << (i % 64);

		if (atomic_fetch_or(&p->claimed[i / 64], bit) & bit)
			continue;
		atomic_fetch_or(&p->present[i / 64], bit);
		pager_wait_end(p, i);
		n++;
	}
	atomic_fetch_sub(&p->missing, n);
	if (n > 0)
		uffd_wake(p->uffd, p->gm->base + start, end - start);
}

static void handle(struct pager *p, const struct uffd_msg *msg, uint64_t ns)
{
	if (msg->event == UFFD_EVENT_PAGEFAULT)
		fault(p, msg, ns);
	else if (msg->event == UFFD_EVENT_REMOVE)
		removed(p, msg);
}

void pager_read_on(struct pager_thread *t)
{
	struct pager *p = t->pager;
	struct uffd_msg msg;
	uint64_t page;

	while (uffd_read(p->uffd, &msg, 1) == 1) {
		if (msg.event == UFFD_EVENT_REMOVE)
			removed(p, &msg);
		else if (msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		else if (t->count < PAGER_MSGS)
			t->msgs[t->count++] = msg;
		else if (page_of(p, msg.arg.pagefault.address, &page))
			wake(p, page); /* no room: it will fault again */
	}
}

/* Read and serve until a read brings less than it could. */
static int serve(struct pager_thread *t)
{
	struct pager *p = t->pager;
	int n;

	do {
		uint64_t ns;

		n = uffd_read(p->uffd, t->msgs, PAGER_MSGS / 2);
		if (n <= 0)
			return n;
		ns = pager_now_ns();
		t->count = (unsigned)n;
		/* pager_read_on() may add to the end meanwhile. */
		for (t->next = 0; t->next < t->count; t->next++)
			handle(p, &t->msgs[t->next], ns);
		if (t->msgs[0].event == UFFD_EVENT_PAGEFAULT)
			follow(t, t->msgs[0].arg.pagefault.feat.ptid);
	} while (n == PAGER_MSGS / 2);
	return 0;
}

/* ---- threads ---- */

static void *thread_main(void *opaque)
{
	struct pager_thread *t = opaque;
	struct pager *p = t->pager;
	struct pollfd fds[3] = {
		{.fd = p->uffd, .events = POLLIN},
		{.fd = p->stop_fd, .events = POLLIN},
		{.fd = -1, .events = POLLIN},
	};
	bool more = false; /* the source has something that its fd hides */
	int code;

	atomic_store(&t->tid, gettid());
	if (t->index == 0 && p->has_source && p->source.ready)
		fds[2].fd = p->source.fd;
	prompt_turns(0, true);
	for (;;) {
		code = poll(fds, 3, more ? 0 : t->guest.kept ? QUIET_MS : -1);
		if (code < 0 && errno != EINTR)
			break;
		if (code == 0 && !more)
			let_go(t);
		if (fds[1].revents)
			break;
		if (fds[0].revents && serve(t) < 0)
			break;
		if (!fds[2].revents && !more)
			continue;
		code = p->source.ready(p->source.opaque);
		more = code > 0;
		if (code < 0) {
			pager_fail(p);
			fds[2].fd = -1;
		}
	}
	let_go(t);
	if (!fds[1].revents)
		pager_fail(p);
	atomic_store(&t->tid, 0);
	return NULL;
}

/* In the new thread all signals are blocked: they are others' business. */
static int start_thread(struct pager *p, unsigned i)
{
	struct pager_thread *t = &p->thread[i];
	sigset_t all, old;
	char name[16];
	int code;

	t->pager = p;
	t->index = i;
	t->next = t->count = 0;
	t->cpu = -1;
	t->follow_in = 0;
	t->self.kept = t->guest.kept = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = pthread_create(&t->thread, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code)
		return -code;
	snprintf(name, sizeof(name), "fault%u", i % PAGER_THREADS_MAX);
	pthread_setname_np(t->thread, name);
	return 0;
}

int pager_threads_start(struct pager *p, unsigned threads, struct error *err)
{
	int code;

	for (; p->running < threads; p->running++) {
		code = start_thread(p, p->running);
		if (code < 0) {
			pager_threads_stop(p);
			return error_errno(
				err, code, "pager: start a fault thread");
		}
	}
	return 0;
}

void pager_threads_stop(struct pager *p)
{
	unsigned i;

	if (p->running == 0)
		return;
	/* Nobody reads it while they end: it wakes all of them. */
	eventfd_write(p->stop_fd, 1);
	for (i = 0; i < p->running; i++)
		pthread_join(p->thread[i].thread, NULL);
	p->running = 0;
	eventfd_read(p->stop_fd, &(eventfd_t){0});
}
