/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_net.c - a VM on a user-mode network (kernels/net): it resolves
 * and pings the gateway and has a program of the host echo its datagrams, with
 * the device on the main loop and on an I/O thread, paused and saved meanwhile.
 *
 * The guest checks every byte that comes back.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/state.h"
#include "vmm/error.h"

#define PAUSES 200u

/* ---- the host's program ---- */

struct echo {
	pthread_t thread;
	int fd;
	uint16_t port;
};

static void *echo_main(void *opaque)
{
	const struct echo *e = opaque;
	struct sockaddr_in from;
	static char data[65536];
	socklen_t len;
	ssize_t n;

	for (;;) {
		len = sizeof(from);
		n = recvfrom(e->fd, data, sizeof(data), 0,
			(struct sockaddr *)&from, &len);
		if (n <= 0) /* nothing: the end; see echo_stop() */
			return NULL;
		sendto(e->fd, data, (size_t)n, 0, (struct sockaddr *)&from,
			len);
	}
}

static void echo_start(struct echo *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	e->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(e->fd >= 0);
	assert_int_equal(bind(e->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(e->fd, (struct sockaddr *)&a, &len), 0);
	e->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&e->thread, NULL, echo_main, e), 0);
}

static void echo_stop(struct echo *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(e->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	assert_int_equal(
		sendto(e->fd, "", 0, 0, (struct sockaddr *)&a, sizeof(a)), 0);
	pthread_join(e->thread, NULL);
	close(e->fd);
}

/* ---- the VM ---- */

static void boot(struct vm_fixture *f, const char *net, const char *threads,
	const char *append)
{
	const char *words[] = {"-k", "kernels/net", "-a", append, "-m", "16M",
		"--machine", "cmdline", "--iothread", threads, "-n", net, NULL};

	vm_fixture_init(f, words);
}

static void expect(struct vm_fixture *f, const char *line)
{
	if (!strstr(vm_fixture_text(f), line))
		fail_msg("no '%s' in:\n%s", line, vm_fixture_text(f));
}

static void talk(const char *threads)
{
	struct vm_fixture f;
	struct echo e;
	char append[64];
	uint32_t code;

	testing_need_kvm();
	echo_start(&e);
	snprintf(append, sizeof(append), "pings=20 echoes=500 port=%u", e.port);
	boot(&f, "user", threads, append);
	assert_int_equal(vm_run(f.vm, &code), VM_END_POWEROFF);
	expect(&f, "net: udp good 500 wrong 0");
	expect(&f, "net: 5 ok, 0 failed");
	vm_fixture_fini(&f);
	echo_stop(&e);
}

static void a_guest_talks_to_the_gateway_and_the_host(void **state)
{
	talk("0");
}

static void it_does_so_on_an_io_thread(void **state)
{
	talk("1");
}

static void pauses_lose_no_answer_for_good(void **state)
{
	struct vm_fixture f;
	struct echo e;
	char append[64];
	uint32_t code;
	unsigned i;

	testing_need_kvm();
	echo_start(&e);
	snprintf(append, sizeof(append), "pings=1 echoes=3000 port=%u", e.port);
	boot(&f, "user,iothread=0", "1", append);
	assert_int_equal(vm_fixture_run_until(&f, "ok ping", 1), VM_END_USER);
	for (i = 0; i < PAUSES; i++) {
		vm_resume(f.vm);
		loop_poll(vm_loop(f.vm), false);
		vm_pause(f.vm);
	}
	assert_int_equal(vm_run(f.vm, &code), VM_END_POWEROFF);
	expect(&f, "net: udp good 3000 wrong 0");
	vm_fixture_fini(&f);
	echo_stop(&e);
}

static void a_saved_guest_goes_on_talking(void **state)
{
	struct state_writer w;
	struct vm_fixture f;
	struct error err;
	struct echo e;
	char append[64];
	uint32_t code;

	testing_need_kvm();
	echo_start(&e);
	snprintf(append, sizeof(append), "pings=1 echoes=1000 port=%u", e.port);
	boot(&f, "user", "0", append);
	assert_int_equal(vm_fixture_run_until(&f, "ok ping", 1), VM_END_USER);
	state_writer_init(&w);
	assert_int_equal(vm_save(f.vm, &w, &err), 0);
	/* Into the same machine: its RAM is as it was. */
	if (vm_load(f.vm, w.buf, w.len, &err) < 0)
		fail_msg("%s", err.text);
	state_writer_fini(&w);
	assert_int_equal(vm_run(f.vm, &code), VM_END_POWEROFF);
	expect(&f, "net: udp good 1000 wrong 0");
	vm_fixture_fini(&f);
	echo_stop(&e);
}

static void a_pulled_cable_is_seen_at_the_start(void **state)
{
	struct vm_fixture f;

	testing_need_kvm();
	boot(&f, "user,link=down,mac=02:00:00:00:00:42", "0", "pings=0");
	assert_int_equal(vm_fixture_run_until(&f, "link down", 1), VM_END_USER);
	expect(&f, "mac 02:00:00:00:00:42 link down");
	vm_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_talks_to_the_gateway_and_the_host),
		cmocka_unit_test(it_does_so_on_an_io_thread),
		cmocka_unit_test(pauses_lose_no_answer_for_good),
		cmocka_unit_test(a_saved_guest_goes_on_talking),
		cmocka_unit_test(a_pulled_cable_is_seen_at_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
