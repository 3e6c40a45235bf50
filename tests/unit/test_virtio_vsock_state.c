/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_virtio_vsock_state.c - a socket device that is paused, reset
 * and moved (Q3), its path on the host, and long streams, on a loop of its own
 * thread too.
 */
#include "tests/unit/device_test.h"

#include "tests/unit/test_vsock_common.h"

#define STREAM (3u << 20) /* bytes each way */

/* The transport's 16 bytes, the core's 23, and 33 for each of 3 queues. */
enum { AT_CID = 16 + 23 + 3 * 33 };

/* ---- streams ---- */

static uint8_t byte_at(uint32_t n, uint8_t seed)
{
	return (uint8_t)(seed + n * 7 + n / 251 + n / 65521);
}

/* Both ends of a stream, each direction, and the guest's own credit. */
struct stream {
	struct peer p;
	uint64_t rnd;
	uint32_t to_host, at_host;   /* bytes sent by the guest, come */
	uint32_t to_guest, at_guest; /* bytes sent by the host, come */
	uint32_t unread;	     /* of at_guest */
	uint32_t host_fwd;	     /* the device's */
};

static uint32_t some(struct stream *s, uint32_t most)
{
	uint32_t n = (uint32_t)(testing_random(&s->rnd) % 20000);

	if (testing_random(&s->rnd) % 8 == 0)
		n *= 8;
	n = n % 60000 + 1;
	return n < most ? n : most;
}

static void guest_sends(struct stream *s)
{
	static uint8_t chunk[65536];
	uint32_t room = VSOCK_BUFFER_BYTES - (s->to_host - s->host_fwd), i, n;

	n = some(s, STREAM - s->to_host);
	if (n > room)
		n = room;
	for (i = 0; i < n; i++)
		chunk[i] = byte_at(s->to_host + i, 1);
	if (n > 0)
		tell(&s->p, RW, 0, chunk, n);
	s->to_host += n;
}

static void guest_receives(struct stream *s)
{
	struct got g;
	uint32_t i;

	while (look(&g)) {
		assert_true(g.h.op == RW || g.h.op == CREDIT_UPDATE ||
			    g.h.op == CREDIT_REQUEST);
		s->host_fwd = g.h.fwd_cnt;
		for (i = 0; i < g.h.len; i++)
			assert_int_equal(
				g.data[i], byte_at(s->at_guest + i, 9));
		s->at_guest += g.h.len;
		s->unread += g.h.len;
		assert_true(s->unread <= s->p.alloc);
	}
	/* It reads some, and tells. */
	if (s->unread > 0 && testing_random(&s->rnd) % 2) {
		i = some(s, s->unread);
		s->unread -= i;
		s->p.fwd += i;
		tell(&s->p, CREDIT_UPDATE, 0, NULL, 0);
	}
}

static void host_sends(struct stream *s)
{
	static uint8_t chunk[65536];
	uint32_t n = some(s, STREAM - s->to_guest), i;
	ssize_t done;

	for (i = 0; i < n; i++)
		chunk[i] = byte_at(s->to_guest + i, 9);
	done = n > 0 ? send(s->p.fd, chunk, n, MSG_DONTWAIT) : 0;
	if (done > 0)
		s->to_guest += (uint32_t)done;
}

static void host_receives(struct stream *s)
{
	static uint8_t chunk[65536];
	ssize_t n = recv(s->p.fd, chunk, some(s, sizeof(chunk)), MSG_DONTWAIT);
	ssize_t i;

	for (i = 0; i < n; i++)
		assert_int_equal(chunk[i], byte_at(s->at_host + i, 1));
	if (n > 0)
		s->at_host += (uint32_t)n;
}

static void stream_both_ways(void)
{
	struct stream s = {.rnd = testing_seed("vsock")};

	s.p = meet(5, 50000);
	while (s.at_host < STREAM || s.at_guest < STREAM) {
		if (s.to_host < STREAM && testing_random(&s.rnd) % 2)
			guest_sends(&s);
		host_sends(&s);
		vd_settle(&b);
		guest_receives(&s);
		if (testing_random(&s.rnd) % 2)
			host_receives(&s);
	}
	assert_int_equal(s.at_host, STREAM);
	assert_int_equal(s.at_guest, STREAM);
	part(&s.p);
}

static void streams_of_both_directions_are_exact(void **state)
{
	start();
	stream_both_ways();
}

/* The same device, made on the loop of a thread. */
static void make(void *opaque)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev **ret_dev = opaque;

	assert_int_equal(
		virtio_vsock_create(&env, "vsock0", &opt, ret_dev, NULL), 0);
}

static void make_threaded(void)
{
	struct virtio_dev *dev = NULL;

	vbench_fini(&b);
	vbench_init_threaded(&b);
	assert_int_equal(loop_run_sync(b.loop, make, &dev, "make"), 0);
	vbench_plug(&b, dev);
}

/* Connections are looked up on the device's loop. */
static void count_conns(void *opaque)
{
	*(unsigned *)opaque = device()->conns;
}

static unsigned conns(void)
{
	unsigned n;

	assert_int_equal(loop_run_sync(b.loop, count_conns, &n, "count"), 0);
	return n;
}

static void on_a_thread_of_its_own_it_does_the_same(void **state)
{
	struct stream s = {.rnd = testing_seed("vsock thread")};

	make_threaded();
	start();
	s.p = meet(5, 50000);
	while (s.at_host < STREAM || s.at_guest < STREAM) {
		if (s.to_host < STREAM)
			guest_sends(&s);
		host_sends(&s);
		guest_receives(&s);
		host_receives(&s);
	}
	close(s.p.fd);
	expect(&s.p, SHUTDOWN);
	tell(&s.p, RST, 0, NULL, 0);
	assert_int_equal(conns(), 0);
}

/* ---- pause and reset ---- */

static void a_pause_reads_nothing_and_loses_nothing(void **state)
{
	struct peer p;
	int fd;

	start();
	p = meet(5, MANY);
	b.dev->ops->quiesce(b.dev);
	loop_disable_external(b.loop);
	put(p.fd, "while paused");
	offer(&p, RW, 0, "too", 3);
	fd = connect_host();
	shout(fd, 9);
	expect_silence();
	expect_open(p.fd);
	assert_int_equal(device()->clients, 0);
	assert_int_equal(b.vdev->inflight, 0);
	loop_enable_external(b.loop);
	b.dev->ops->resume(b.dev);
	assert_int_equal(vd_wait(&b, TX), 0);
	expect_text(p.fd, "too");
	assert_int_equal(next()->h.op + next()->h.op, RW + REQUEST);
	close(fd);
	part(&p);
}

static void set_true(void *opaque)
{
	*(bool *)opaque = true;
}

static void a_deadline_waits_for_the_guest_to_run(void **state)
{
	struct loop_timer timer;
	bool passed = false;
	struct peer p;

	opt.answer_ms = 1;
	plug();
	start();
	/* The clock of the VM stands still. */
	loop_virtual_stop(b.loop);
	p = ask(5, MANY);
	loop_timer_init(&timer, b.loop, LOOP_MONOTONIC, set_true, &passed);
	loop_timer_set(&timer, loop_now_ns(b.loop, LOOP_MONOTONIC) + 5000000);
	while (!passed)
		loop_poll(b.loop, true);
	expect_open(p.fd);
	loop_virtual_start(b.loop);
	expect_end(p.fd);
	close(p.fd);
}

static void a_reset_of_the_device_ends_all_connections(void **state)
{
	struct peer p, q;

	start();
	p = meet(5, MANY);
	q = ask(6, MANY);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	expect_end(p.fd);
	expect_end(q.fd);
	assert_int_equal(device()->conns, 0);
	close(p.fd);
	close(q.fd);
	start();
	p = meet(5, MANY);
	part(&p);
}

/* ---- moves ---- */

/* A driver in the middle of its life. */
static struct peer use(void)
{
	struct peer p;

	start();
	give(EV, EV_BASE, 4);
	give(EV, EV_BASE + 64, 4);
	p = meet(5, MANY);
	say(&p, "before");
	expect_text(p.fd, "before");
	return p;
}

static struct bytes move(void)
{
	struct bytes first;

	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	plug();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &first), 0);
	assert_saves_as(b.dev, &first);
	return first;
}

static void a_move_ends_connections_and_new_ones_work(void **state)
{
	struct peer p = use(), q;
	uint32_t *id = vd_at(&b, EV_BASE);
	struct bytes first;

	*id = 0x55555555;
	first = move();
	expect_end(p.fd); /* the old host is gone */
	assert_int_equal(device()->conns, 0);
	assert_int_equal(vd_used(&b, EV), 0); /* not before it runs */
	b.dev->ops->resume(b.dev);
	assert_int_equal(vd_wait(&b, EV), 4);
	assert_int_equal(*id, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, EV), 0); /* once */
	/* The guest may not have seen it yet. */
	say(&p, "anybody there?");
	expect(&p, RST);
	q = meet(5, MANY);
	part(&q);
	/* A pause is no move. */
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, EV), 0);
	close(p.fd);
	free(first.p);
}

static void the_event_waits_for_a_buffer(void **state)
{
	struct bytes first;

	start();
	first = move();
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, EV), 0);
	free(first.p);
	first = move(); /* and is not forgotten in a second move */
	b.dev->ops->resume(b.dev);
	give(EV, EV_BASE, 3); /* too small */
	assert_int_equal(vd_wait(&b, EV), 0);
	give(EV, EV_BASE, 4);
	assert_int_equal(vd_wait(&b, EV), 4);
	free(first.p);
}

static void without_a_driver_there_is_no_event(void **state)
{
	struct bytes first = move();

	b.dev->ops->resume(b.dev);
	start();
	give(EV, EV_BASE, 4);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, EV), 0);
	free(first.p);
}

static void a_save_alone_ends_nothing(void **state)
{
	struct peer p = use();
	struct bytes first;

	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	b.dev->ops->resume(b.dev);
	say(&p, "after");
	expect_text(p.fd, "after");
	assert_int_equal(vd_used(&b, EV), 0);
	part(&p);
	free(first.p);
}

static void the_golden_stream_is_still_written_and_read(void **state)
{
	struct peer p = use();
	struct bytes now, file;

	b.dev->ops->quiesce(b.dev);
	now = saved(b.dev);
	file = golden("virtio-vsock-v1", &now);
	assert_same_bytes(&now, &file);
	plug();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &file), 0);
	assert_saves_as(b.dev, &file);
	b.dev->ops->resume(b.dev);
	assert_int_equal(vd_wait(&b, EV), 4);
	close(p.fd);
	free(now.p);
	free(file.p);
}

static void wrong_states_are_refused_and_change_nothing(void **state)
{
	struct peer p = use();
	struct bytes good;

	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	assert_refuses_wrong_lengths(b.dev, &good);
	assert_int_equal(
		load_with_byte(b.dev, &good, AT_CID, CID + 1), -EPROTO);
	assert_int_equal(load_with_byte(b.dev, &good, AT_CID + 7, 1), -EPROTO);
	/* Its connection is still there. */
	b.dev->ops->resume(b.dev);
	say(&p, "after");
	expect_text(p.fd, "after");
	part(&p);
	free(good.p);
}

/* ---- the path ---- */

static void expect_refusal(int code, const char *text)
{
	struct error err = {.text = ""};

	vbench_unplug(&b);
	assert_int_equal(plug_error(&err), code);
	if (!strstr(err.text, text))
		fail_msg("no '%s' in: %s", text, err.text);
}

static void a_path_that_cannot_be_is_refused_with_a_reason(void **state)
{
	char at[128] = "/tmp/", file[96];
	int fd;

	memset(at + 5, 'x', 100);
	opt.path = at;
	expect_refusal(-ENAMETOOLONG, "the path has 105 bytes");
	snprintf(file, sizeof(file), "%s/none/v", folder);
	opt.path = file;
	expect_refusal(-ENOENT, "its folder does not exist");
	snprintf(file, sizeof(file), "%s/file", folder);
	fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	expect_refusal(-EEXIST, "something else has this name");
	close(fd);
	assert_int_equal(unlink(file), 0); /* it was left alone */
	opt.path = path;
	opt.cid = 2;
	expect_refusal(-EINVAL, "CID");
	opt.cid = CID;
	opt.max_conns = 0;
	expect_refusal(-EINVAL, "0 connections");
}

static void a_live_socket_is_left_alone_and_a_dead_one_replaced(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	vbench_unplug(&b);
	assert_int_equal(stat(path, &st), -1); /* removed at the end */
	strcpy(a.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 5), 0);
	expect_refusal(-EADDRINUSE, "somebody listens there already");
	close(fd);
	plug();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* Somebody else's by now: not ours to remove. */
	unlink(path);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	vbench_unplug(&b);
	assert_int_equal(stat(path, &st), 0);
	close(fd);
	unlink(path);
}

static void who_waits_for_its_guest_leaves_the_path_alone(void **state)
{
	struct virtio_dev *dev;
	struct virtio_env env;
	struct peer p;

	/* Two devices of one path, as in a move within this host. */
	vbench_unplug(&b);
	opt.incoming = true;
	plug();
	env = vbench_env(&b);
	opt.incoming = false;
	assert_int_equal(
		virtio_vsock_create(&env, "vsock1", &opt, &dev, NULL), 0);
	/* The guest comes before the other has let go. */
	virtio_vsock_settle(b.vdev, true);
	assert_int_equal(device()->listener.fd, -1);
	virtio_vsock_settle(dev, false);
	while (device()->listener.fd < 0)
		loop_poll(b.loop, true);
	start();
	p = meet(5, MANY);
	part(&p);
	virtio_dev_destroy(dev);
	/* The other's end took nothing of ours away. */
	p = meet(5, MANY);
	/* It leaves, and comes back after all: its connections go on. */
	virtio_vsock_settle(b.vdev, false);
	assert_int_equal(access(path, F_OK), -1);
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	say(&p, "back");
	expect_text(p.fd, "back");
	part(&p);
	p = meet(5, MANY);
	part(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(streams_of_both_directions_are_exact),
		T(on_a_thread_of_its_own_it_does_the_same),
		T(a_pause_reads_nothing_and_loses_nothing),
		T(a_deadline_waits_for_the_guest_to_run),
		T(a_reset_of_the_device_ends_all_connections),
		T(a_move_ends_connections_and_new_ones_work),
		T(the_event_waits_for_a_buffer),
		T(without_a_driver_there_is_no_event),
		T(a_save_alone_ends_nothing),
		T(the_golden_stream_is_still_written_and_read),
		T(wrong_states_are_refused_and_change_nothing),
		T(a_path_that_cannot_be_is_refused_with_a_reason),
		T(a_live_socket_is_left_alone_and_a_dead_one_replaced),
		T(who_waits_for_its_guest_leaves_the_path_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
