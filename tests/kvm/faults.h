/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/faults.h - calls that fail when their turn has come, for
 * test_faults.c alone: the linker gives that program's calls of some functions
 * to the __wrap_ ones here (--wrap, see FAULTS in the Makefile).
 */
#ifndef GODWIT_TESTS_KVM_FAULTS_H
#define GODWIT_TESTS_KVM_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/vm_priv.h"

/* This thread's @left-th wrapped call fails with @error. */
static _Thread_local struct {
	unsigned left; /* 0: none */
	int error;
	const char *hit; /* the call that failed */
} plan;

/* Every ioctl with this number fails, on any thread; 0: none. */
static _Atomic unsigned long bad_request;
static _Atomic int bad_error;

/* A VM whose next KVM_RUN is to lose a race; NULL: none. */
static struct vm *_Atomic late;
static sem_t at_the_door;

static void arm(unsigned nth, int error)
{
	plan.left = nth;
	plan.error = error;
	plan.hit = NULL;
}

/* Return: the call that failed, or NULL if there were fewer calls. */
static const char *disarm(void)
{
	plan.left = 0;
	return plan.hit;
}

static bool fails(const char *name)
{
	if (plan.left == 0 || --plan.left > 0)
		return false;
	plan.hit = name;
	errno = plan.error;
	return true;
}

#define WRAP(type, name, params, args, failure)                                \
	type __real_##name params;                                             \
	type __wrap_##name params;                                             \
	type __wrap_##name params                                              \
	{                                                                      \
		return fails(#name) ? (failure) : __real_##name args;          \
	}

WRAP(void *, malloc, (size_t size), (size), NULL)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP(void *, realloc, (void *p, size_t size), (p, size), NULL)
WRAP(void *, aligned_alloc, (size_t align, size_t size), (align, size), NULL)
WRAP(char *, strdup, (const char *s), (s), NULL)
WRAP(void *, mmap,
	(void *at, size_t size, int prot, int flags, int fd, off_t off),
	(at, size, prot, flags, fd, off), MAP_FAILED)
WRAP(int, eventfd, (unsigned value, int flags), (value, flags), -1)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), -1)
WRAP(int, fstat, (int fd, struct stat *st), (fd, st), -1)
WRAP(ssize_t, pread, (int fd, void *buf, size_t n, off_t off),
	(fd, buf, n, off), -1)
WRAP(int, epoll_create1, (int flags), (flags), -1)
WRAP(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *ev),
	(epfd, op, fd, ev), -1)
/* These return an error, they do not set errno. */
WRAP(int, pthread_create,
	(pthread_t * thread, const pthread_attr_t *attr, void *(*fn)(void *),
		void *arg),
	(thread, attr, fn, arg), plan.error)
WRAP(int, io_uring_queue_init_params,
	(unsigned entries, struct io_uring *ring, struct io_uring_params *p),
	(entries, ring, p), -plan.error)

/* Between the last look at the gate and KVM_RUN: wait until the gate is closed
 * and the kick's signal has come and gone. */
static void be_late(struct vm *vm)
{
	sigset_t kick;
	int sig;

	sigemptyset(&kick);
	sigaddset(&kick, VCPU_KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, NULL);
	sem_post(&at_the_door);
	while (atomic_load(&vm->gate.hold) == 0)
		sched_yield();
	sigwait(&kick, &sig);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct vm *vm;

	if (request == KVM_RUN && (vm = atomic_exchange(&late, NULL)))
		be_late(vm);
	if (request == atomic_load(&bad_request)) {
		errno = atomic_load(&bad_error);
		return -1;
	}
	return fails("ioctl") ? -1 : __real_ioctl(fd, request, arg);
}

int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & O_CREAT) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return fails("open") ? -1 : __real_open(path, flags, mode);
}

static void every_ioctl_fails(unsigned long request, int error)
{
	atomic_store(&bad_error, error);
	atomic_store(&bad_request, request);
}

#endif
