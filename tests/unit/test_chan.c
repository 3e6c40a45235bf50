/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_chan.c - channels: every kind carries every byte, every wait
 * can be ended, and what cannot work says why.
 */
#include "migrate/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/testing.h"
#include "vmm/error.h"

#define BIG   (3u << 20)
#define LONG  20000 /* ms: longer than any of this takes */
#define SHORT 30    /* ms: a deadline that is meant to pass */

enum kind { MEM, UNIX, TCP, TCP6, FD, KINDS };

struct dir {
	char path[64];
	char addr[100]; /* unix:PATH/s */
};

static void make_dir(struct dir *d)
{
	strcpy(d->path, "/tmp/godwit-chan-XXXXXX");
	assert_non_null(mkdtemp(d->path));
	snprintf(d->addr, sizeof(d->addr), "unix:%s/s", d->path);
}

static void remove_dir(struct dir *d)
{
	assert_int_equal(rmdir(d->path), 0);
}

static bool have_ipv6(void)
{
	struct chan_listener *l;

	if (chan_listen("tcp:[::1]:0", &l, NULL) < 0)
		return false;
	chan_listener_close(l);
	return true;
}

/* A connection through a listener at @addr. */
static void join(const char *addr, struct chan **a, struct chan **b)
{
	struct chan_listener *l;
	struct error err = {0};

	if (chan_listen(addr, &l, &err) < 0 ||
		chan_connect(chan_listener_address(l), 0, LONG, a, &err) < 0 ||
		chan_accept(l, LONG, b, &err) < 0)
		fail_msg("%s", err.text);
	chan_listener_close(l);
}

static void join_fds(struct chan **a, struct chan **b)
{
	char addr[2][32];
	int sv[2], i;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	for (i = 0; i < 2; i++)
		snprintf(addr[i], sizeof(addr[i]), "fd:%d", sv[i]);
	assert_int_equal(chan_connect(addr[0], 0, LONG, a, NULL), 0);
	assert_int_equal(chan_connect(addr[1], 0, LONG, b, NULL), 0);
}

/* Two ends of a channel of @kind; false if this host has no such thing. */
static bool open_pair(enum kind kind, struct chan **a, struct chan **b)
{
	struct dir d;

	switch (kind) {
	case MEM:
		assert_int_equal(chan_pair(5000, a, b), 0);
		break;
	case UNIX:
		make_dir(&d);
		join(d.addr, a, b);
		remove_dir(&d);
		break;
	case TCP:
		join("tcp:127.0.0.1:0", a, b);
		break;
	case TCP6:
		if (!have_ipv6())
			return false;
		join("tcp:[::1]:0", a, b);
		break;
	default:
		join_fds(a, b);
	}
	return true;
}

/* ---- a thread that does one thing and keeps the answer ---- */

struct job {
	pthread_t thread;
	struct chan *chan;
	struct chan_listener *listener;
	const char *addr;
	uint8_t *buf;
	size_t len;
	int cancel_fd;
	_Atomic pid_t tid;
	int rc;
};

static void *do_read(void *opaque)
{
	struct job *j = opaque;

	j->tid = gettid();
	j->rc = chan_read(j->chan, j->buf, j->len);
	return NULL;
}

static void *do_write(void *opaque)
{
	struct job *j = opaque;

	j->tid = gettid();
	j->rc = chan_write(j->chan, j->buf, j->len);
	return NULL;
}

static void *do_accept(void *opaque)
{
	struct job *j = opaque;

	j->tid = gettid();
	j->rc = chan_accept(j->listener, -1, &j->chan, NULL);
	return NULL;
}

static void *do_finish(void *opaque)
{
	struct job *j = opaque;

	j->tid = gettid();
	j->rc = chan_finish(j->chan, NULL);
	return NULL;
}

static void begin(struct job *j, void *(*fn)(void *))
{
	assert_int_equal(pthread_create(&j->thread, NULL, fn, j), 0);
}

static int end(struct job *j)
{
	assert_int_equal(pthread_join(j->thread, NULL), 0);
	return j->rc;
}

/* Until @j's thread sleeps in the kernel: so that what is ended is a wait. (The
 * promise holds before and after it sleeps, too.) */
static void until_asleep(struct job *j)
{
	char path[64], line[256], *after, state = 0;
	FILE *f;

	while (j->tid == 0)
		sched_yield();
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)j->tid);
	while (state != 'S') {
		f = fopen(path, "r");
		assert_non_null(f);
		assert_non_null(fgets(line, sizeof(line), f));
		fclose(f);
		after = strrchr(line, ')');
		assert_non_null(after);
		state = after[2];
		sched_yield();
	}
}

/* ---- every kind ---- */

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)testing_random(&seed);
}

static void every_byte_arrives_both_ways_in_pieces_of_any_size(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	uint8_t *in = malloc(BIG), *out = malloc(BIG);
	enum kind kind;

	fill(out, BIG, 7);
	for (kind = 0; kind < KINDS; kind++) {
		struct chan *end_of[2];
		unsigned way;

		if (!open_pair(kind, &end_of[0], &end_of[1]))
			continue;
		assert_true(chan_is_two_way(end_of[0]));
		assert_int_equal(chan_fd(end_of[0]) >= 0, kind != MEM);
		for (way = 0; way < 2; way++) {
			struct job w = {
				.chan = end_of[way], .buf = out, .len = BIG};
			size_t have = 0, n;

			memset(in, 0, BIG);
			begin(&w, do_write);
			for (; have < BIG; have += n) {
				n = testing_random(&rnd) % 100000 + 1;
				n = n > BIG - have ? BIG - have : n;
				assert_int_equal(chan_read(end_of[1 - way],
							 in + have, n),
					0);
			}
			assert_int_equal(end(&w), 0);
			assert_memory_equal(in, out, BIG);
		}
		chan_close(end_of[0]);
		chan_close(end_of[1]);
	}
	free(in);
	free(out);
}

#define PIECES 3000 /* more than IOV_MAX; many empty */

static void vectors_longer_than_the_kernel_takes_arrive_whole(void **state)
{
	static uint8_t out[PIECES * 16], in[PIECES * 16];
	static struct iovec wv[PIECES], rv[PIECES];
	enum kind kind;

	fill(out, sizeof(out), 3);
	for (kind = 0; kind < KINDS; kind++) {
		struct job w = {.buf = out, .len = sizeof(out)};
		struct chan *a, *b;
		size_t at = 0, i;

		if (!open_pair(kind, &a, &b))
			continue;
		for (i = 0; i < PIECES; i++) {
			size_t n = i % 3 == 0 ? 0 : i % 16;

			rv[i] = wv[i] = (struct iovec){out + at, n};
			rv[i].iov_base = in + at;
			at += n;
		}
		memset(in, 0, sizeof(in));
		w.chan = b;
		w.len = at;
		begin(&w, do_write);
		assert_int_equal(chan_readv(a, rv, PIECES), 0);
		assert_int_equal(end(&w), 0);
		assert_memory_equal(in, out, at);
		w = (struct job){.chan = b, .buf = in, .len = at};
		memset(in, 0, sizeof(in));
		begin(&w, do_read);
		assert_int_equal(chan_writev(a, wv, PIECES), 0);
		assert_int_equal(end(&w), 0);
		assert_memory_equal(in, out, at);
		chan_close(a);
		chan_close(b);
	}
}

static void the_end_is_clean_between_reads_and_a_reset_within_one(void **state)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct chan *a, *b;
		char buf[8];

		if (!open_pair(kind, &a, &b))
			continue;
		assert_int_equal(chan_write(a, "12345678abc", 11), 0);
		chan_close(a);
		assert_int_equal(chan_read(b, buf, 8), 0);
		assert_int_equal(chan_read(b, buf, 8), -ECONNRESET);
		assert_int_equal(chan_read(b, buf, 8), -ENODATA);
		chan_close(b);
	}
}

static void writing_to_a_peer_that_is_gone_is_an_error_not_a_signal(
	void **state)
{
	static uint8_t buf[BIG];
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct chan *a, *b;
		int rc = 0, i;

		if (!open_pair(kind, &a, &b))
			continue;
		chan_close(a);
		for (i = 0; i < 100 && rc == 0; i++)
			rc = chan_write(b, buf, sizeof(buf));
		assert_true(rc == -EPIPE || rc == -ECONNRESET);
		chan_close(b);
	}
}

static void a_deadline_passes_only_without_progress(void **state)
{
	static uint8_t buf[BIG];
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct chan *a, *b;
		int rc = 0, i;

		if (!open_pair(kind, &a, &b))
			continue;
		chan_set_deadline(a, SHORT);
		assert_int_equal(chan_read(a, buf, 1), -ETIMEDOUT);
		/* A byte that is there is read, however late. */
		assert_int_equal(chan_write(b, "x", 1), 0);
		assert_int_equal(chan_read(a, buf, 1), 0);
		/* Nobody reads: sooner or later no byte moves any more. */
		for (i = 0; i < 1000 && rc == 0; i++)
			rc = chan_write(a, buf, sizeof(buf));
		assert_int_equal(rc, -ETIMEDOUT);
		chan_close(a);
		chan_close(b);
	}
}

/* One byte at a time, each after the reader had to wait for it. */
static void *do_trickle(void *opaque)
{
	struct job *j = opaque;
	size_t i;

	j->tid = gettid();
	for (i = 0; i < j->len && j->rc == 0; i++) {
		sched_yield();
		j->rc = chan_write(j->chan, "z", 1);
	}
	return NULL;
}

static void a_peer_that_sends_single_bytes_is_read_to_the_end(void **state)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct job t = {.len = 500};
		struct chan *a, *b;
		char buf[500];

		if (!open_pair(kind, &a, &b))
			continue;
		t.chan = b;
		chan_set_deadline(a, LONG);
		begin(&t, do_trickle);
		assert_int_equal(chan_read(a, buf, sizeof(buf)), 0);
		assert_int_equal(end(&t), 0);
		chan_close(a);
		chan_close(b);
	}
}

static void shutdown_ends_reader_and_writer_at_once_and_for_good(void **state)
{
	static uint8_t buf[2][16u << 20];
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct job r = {.buf = buf[0], .len = 1};
		struct job w = {.buf = buf[1], .len = sizeof(buf[1])};
		struct chan *a, *b;

		if (!open_pair(kind, &a, &b))
			continue;
		r.chan = w.chan = a;
		begin(&r, do_read);
		begin(&w, do_write);
		until_asleep(&r);
		until_asleep(&w);
		chan_shutdown(a);
		chan_shutdown(a);
		assert_int_equal(end(&r), -ECANCELED);
		assert_int_equal(end(&w), -ECANCELED);
		assert_int_equal(chan_read(a, buf[0], 1), -ECANCELED);
		assert_int_equal(chan_write(a, buf[0], 1), -ECANCELED);
		assert_int_equal(chan_finish(a, NULL), -ECANCELED);
		/* The other end sees what was on its way, then the end. */
		while (chan_read(b, buf[0], 1) == 0)
			;
		assert_int_not_equal(chan_read(b, buf[0], 1), -ECANCELED);
		chan_close(a);
		chan_close(b);
	}
}

static void *do_linger(void *opaque)
{
	struct job *j = opaque;

	j->tid = gettid();
	chan_linger(j->chan, LONG);
	chan_close(j->chan);
	return NULL;
}

static void last_words_reach_a_peer_that_is_still_writing(void **state)
{
	static uint8_t buf[BIG];
	enum kind kind;

	for (kind = UNIX; kind < KINDS; kind++) {
		struct job l = {0};
		struct chan *a, *b;
		char words[6] = "";

		if (!open_pair(kind, &a, &b))
			continue;
		l.chan = a;
		assert_int_equal(chan_write(b, buf, 1000), 0);
		assert_int_equal(chan_write(a, "sorry", 5), 0);
		begin(&l, do_linger);
		/* More than the buffers hold: it is drained, not reset. */
		assert_int_equal(chan_write(b, buf, sizeof(buf)), 0);
		assert_int_equal(chan_write(b, buf, sizeof(buf)), 0);
		assert_int_equal(chan_read(b, words, 5), 0);
		assert_string_equal(words, "sorry");
		assert_int_equal(chan_read(b, words, 1), -ENODATA);
		chan_close(b);
		end(&l);
	}
}

static void no_fd_is_left_over(void **state)
{
	int before = testing_fd_count();
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct chan *a, *b;

		if (!open_pair(kind, &a, &b))
			continue;
		chan_close(a);
		chan_close(b);
	}
	chan_close(NULL);
	chan_listener_close(NULL);
	assert_int_equal(testing_fd_count(), before);
}

/* ---- listeners and connecting ---- */

static void a_wait_for_a_connection_ends_by_time_or_by_shutdown(void **state)
{
	static const char *const addr[] = {"tcp:127.0.0.1:0", NULL};
	unsigned i;

	for (i = 0; i < 2; i++) {
		struct chan_listener *l;
		struct chan *chan;
		struct job j = {0};
		struct dir d;

		make_dir(&d);
		assert_int_equal(
			chan_listen(addr[i] ? addr[i] : d.addr, &l, NULL), 0);
		assert_int_equal(chan_accept(l, 0, &chan, NULL), -ETIMEDOUT);
		assert_int_equal(
			chan_accept(l, SHORT, &chan, NULL), -ETIMEDOUT);
		j.listener = l;
		begin(&j, do_accept);
		until_asleep(&j);
		chan_listener_shutdown(l);
		assert_int_equal(end(&j), -ECANCELED);
		assert_int_equal(chan_accept(l, -1, &chan, NULL), -ECANCELED);
		chan_listener_close(l);
		remove_dir(&d);
	}
}

static void one_listener_hands_out_many_connections(void **state)
{
	struct chan *a[4], *b[4];
	struct chan_listener *l;
	unsigned i;
	char c;

	assert_int_equal(chan_listen("tcp:localhost:0", &l, NULL), 0);
	for (i = 0; i < 4; i++) {
		assert_int_equal(chan_connect(chan_listener_address(l), i, LONG,
					 &a[i], NULL),
			0);
		assert_int_equal(chan_accept(l, LONG, &b[i], NULL), 0);
		c = (char)('a' + i);
		assert_int_equal(chan_write(a[i], &c, 1), 0);
	}
	for (i = 0; i < 4; i++) {
		assert_int_equal(chan_read(b[i], &c, 1), 0);
		assert_int_equal(c, 'a' + i);
		chan_close(a[i]);
		chan_close(b[i]);
	}
	chan_listener_close(l);
}

static void a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
	struct chan_listener *l, *second;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct error err = {0};
	struct stat st;
	struct dir d;
	int fd;

	make_dir(&d);
	strcpy(un.sun_path, d.addr + strlen("unix:"));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd); /* the file stays: stale */
	assert_int_equal(chan_listen(d.addr, &l, NULL), 0);
	assert_int_equal(stat(un.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chan_listen(d.addr, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, d.addr));
	assert_non_null(strstr(err.text, "another path"));
	chan_listener_close(l);
	assert_int_equal(stat(un.sun_path, &st), -1);
	/* Something that is no socket is not touched. */
	fd = open(un.sun_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(chan_listen(d.addr, &l, NULL), -EEXIST);
	assert_int_equal(unlink(un.sun_path), 0);
	remove_dir(&d);
}

static void a_listener_removes_only_its_own_socket_file(void **state)
{
	struct chan_listener *l;
	const char *path;
	struct dir d;
	int fd;

	make_dir(&d);
	path = d.addr + strlen("unix:");
	assert_int_equal(chan_listen(d.addr, &l, NULL), 0);
	assert_int_equal(unlink(path), 0);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	chan_listener_close(l);
	assert_int_equal(unlink(path), 0);
	remove_dir(&d);
}

static void nobody_there_is_said_with_the_remedy(void **state)
{
	struct chan_listener *l;
	struct error err = {0};
	char addr[100];
	struct chan *c;
	struct dir d;

	make_dir(&d);
	assert_int_equal(chan_connect(d.addr, 0, LONG, &c, &err), -ENOENT);
	assert_non_null(strstr(err.text, "godwit receive"));
	assert_non_null(strstr(err.text, d.addr));
	remove_dir(&d);
	/* A port that was free a moment ago. */
	assert_int_equal(chan_listen("tcp:127.0.0.1:0", &l, NULL), 0);
	snprintf(addr, sizeof(addr), "%s", chan_listener_address(l));
	chan_listener_close(l);
	assert_int_equal(chan_connect(addr, 0, LONG, &c, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, "godwit receive"));
	assert_int_equal(
		chan_connect("tcp:no.such.host.invalid:1", 0, LONG, &c, &err),
		-ENOENT);
	assert_int_equal(
		chan_connect("tcp:127.0.0.1:0", 0, LONG, &c, &err), -EINVAL);
}

/* A UNIX listener that accepts nothing and whose queue is full. */
static int full_listener(const struct dir *d, int *ret_queued)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), i;

	strcpy(un.sun_path, d->addr + strlen("unix:"));
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 0), 0);
	for (i = 0; i < 8; i++) {
		ret_queued[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(
			ret_queued[i], (struct sockaddr *)&un, sizeof(un));
	}
	return fd;
}

static void *do_connect(void *opaque)
{
	struct job *j = opaque;

	j->tid = gettid();
	j->rc = chan_connect_cancel(
		j->addr, 0, -1, j->cancel_fd, &j->chan, NULL);
	return NULL;
}

static void connecting_ends_by_time_or_when_cancelled(void **state)
{
	int queued[8], fd, i;
	struct chan *c;
	struct job j = {0};
	struct dir d;

	make_dir(&d);
	fd = full_listener(&d, queued);
	assert_int_equal(chan_connect(d.addr, 0, SHORT, &c, NULL), -ETIMEDOUT);
	j.addr = d.addr;
	j.cancel_fd = eventfd(0, EFD_CLOEXEC);
	begin(&j, do_connect);
	until_asleep(&j);
	assert_int_equal(eventfd_write(j.cancel_fd, 1), 0);
	assert_int_equal(end(&j), -ECANCELED);
	close(j.cancel_fd);
	close(fd);
	for (i = 0; i < 8; i++)
		close(queued[i]);
	unlink(d.addr + strlen("unix:"));
	remove_dir(&d);
}

static void addresses_are_checked_before_anything_happens(void **state)
{
	static const char *const good[] = {"unix:/a", "unix:a", "tcp:h:1",
		"tcp:[::1]:65535", "tcp:1.2.3.4:0", "fd:3", "fd:3,4",
		"exec:cat", "file:/x"};
	static const char *const bad[] = {"", "a", "unix",
		"unix:", "tcp:", "tcp:h", "tcp:h:", "tcp::1", "tcp:[]:1",
		"tcp:h:65536", "tcp:h:-1", "tcp:h:1x", "tcp:h:000000001",
		"tcp:::1:1", "fd:", "fd:x", "fd:1,", "fd:1,2,", "fd:1,2,3",
		"fd:1,1", "fd:-1", "fd:99999999999999999999", "fd:1 ",
		"exec:", "file:", "udp:h:1", "UNIX:/a"};
	char longest[200] = "unix:";
	struct chan_listener *l;
	struct error err;
	struct chan *c;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(chan_check_address(good[i], NULL), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.text[0] = 0;
		assert_int_equal(chan_check_address(bad[i], &err), -EINVAL);
		assert_int_equal(strncmp(err.text, bad[i], strlen(bad[i])), 0);
		assert_int_equal(chan_connect(bad[i], 0, 0, &c, NULL), -EINVAL);
		assert_int_equal(chan_listen(bad[i], &l, NULL), -EINVAL);
	}
	memset(longest + 5, 'p', 107);
	assert_int_equal(chan_check_address(longest, NULL), 0);
	longest[5 + 107] = 'p';
	assert_int_equal(chan_check_address(longest, &err), -EINVAL);
	assert_non_null(strstr(err.text, "at most 107"));
}

/* ---- fd: ---- */

static int connect_fd(int fd, struct error *err)
{
	struct chan *c;
	char addr[32];
	int rc;

	snprintf(addr, sizeof(addr), "fd:%d", fd);
	rc = chan_connect(addr, 0, 0, &c, err);
	if (rc == 0)
		chan_close(c);
	return rc;
}

static void an_inherited_fd_must_be_a_connected_stream_socket(void **state)
{
	struct error err = {0};
	int fd[2];

	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect_fd(fd[0], &err), -ENOTCONN);
	assert_non_null(strstr(err.text, "not connected"));
	close(fd[0]);
	assert_int_equal(connect_fd(fd[0], &err), -EBADF);
	assert_non_null(strstr(err.text, "not open"));
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
	assert_int_equal(connect_fd(fd[0], &err), -EPROTOTYPE);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(connect_fd(fd[0], &err), -ENOTSOCK);
	assert_non_null(strstr(err.text, "exec:"));
	close(fd[0]);
	close(fd[1]);
}

static void an_inherited_socket_that_does_not_block_works_all_the_same(
	void **state)
{
	struct chan *a, *b;
	struct job j = {.len = 1};
	char addr[2][32];
	uint8_t c;
	int sv[2], i;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	for (i = 0; i < 2; i++)
		snprintf(addr[i], sizeof(addr[i]), "fd:%d", sv[i]);
	assert_int_equal(chan_connect(addr[0], 0, 0, &a, NULL), 0);
	assert_int_equal(chan_connect(addr[1], 0, 0, &b, NULL), 0);
	assert_true(fcntl(sv[0], F_GETFD) & FD_CLOEXEC);
	j.chan = a;
	j.buf = &c;
	begin(&j, do_read);
	until_asleep(&j);
	assert_int_equal(chan_write(b, "!", 1), 0);
	assert_int_equal(end(&j), 0);
	chan_close(a);
	chan_close(b);
}

static void two_inherited_fds_are_two_connections_and_no_more(void **state)
{
	int sv[2][2], before = testing_fd_count(), i;
	struct chan *near[2], *far[2], *none;
	struct chan_listener *l;
	char addr[2][32], c;

	for (i = 0; i < 2; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv[i]), 0);
	snprintf(addr[0], sizeof(addr[0]), "fd:%d,%d", sv[0][0], sv[1][0]);
	snprintf(addr[1], sizeof(addr[1]), "fd:%d,%d", sv[0][1], sv[1][1]);
	assert_int_equal(chan_listen(addr[1], &l, NULL), 0);
	assert_string_equal(chan_listener_address(l), addr[1]);
	for (i = 0; i < 2; i++) {
		assert_int_equal(
			chan_connect(addr[0], (unsigned)i, 0, &near[i], NULL),
			0);
		assert_int_equal(chan_accept(l, 0, &far[i], NULL), 0);
		assert_int_equal(chan_write(near[i], i ? "1" : "0", 1), 0);
		assert_int_equal(chan_read(far[i], &c, 1), 0);
		assert_int_equal(c, '0' + i);
	}
	assert_int_equal(chan_connect(addr[0], 2, 0, &none, NULL), -ENOTSUP);
	assert_int_equal(chan_accept(l, 0, &none, NULL), -ENOTSUP);
	for (i = 0; i < 2; i++) {
		chan_close(near[i]);
		chan_close(far[i]);
	}
	chan_listener_close(l);
	assert_int_equal(testing_fd_count(), before);
}

/* ---- exec: ---- */

static void a_command_is_a_channel_and_its_status_is_told(void **state)
{
	static uint8_t out[BIG], in[BIG];
	struct error err = {0};
	struct chan *c, *none;
	struct job w = {.buf = out, .len = BIG};

	fill(out, BIG, 5);
	assert_int_equal(chan_connect("exec:cat", 0, 0, &c, NULL), 0);
	assert_int_equal(chan_connect("exec:cat", 1, 0, &none, NULL), -ENOTSUP);
	w.chan = c;
	begin(&w, do_write);
	assert_int_equal(chan_read(c, in, BIG), 0);
	assert_int_equal(end(&w), 0);
	assert_memory_equal(in, out, BIG);
	assert_int_equal(chan_finish(c, &err), 0);
	assert_int_equal(chan_exit_status(c), 0);
	chan_close(c);

	assert_int_equal(chan_connect("exec:exit 3", 0, 0, &c, NULL), 0);
	assert_int_equal(chan_read(c, in, 1), -ENODATA);
	assert_int_equal(chan_finish(c, &err), -EPIPE);
	assert_non_null(strstr(err.text, "status 3"));
	assert_int_equal(WEXITSTATUS(chan_exit_status(c)), 3);
	chan_close(c);

	assert_int_equal(chan_connect("exec:kill -TERM $$", 0, 0, &c, NULL), 0);
	assert_int_equal(chan_finish(c, &err), -EPIPE);
	assert_non_null(strstr(err.text, "signal 15"));
	chan_close(c);
}

static void a_command_that_does_not_end_is_killed_with_its_children(
	void **state)
{
	struct job j = {0};
	struct chan *c;
	char line[32] = "";
	unsigned n = 0;
	pid_t child;

	/* The child holds the pipe's reading end by inheritance, ignores the
	 * end of its input and tells its pid. */
	assert_int_equal(
		chan_connect("exec:sleep 1000 & echo $!; wait", 0, 0, &c, NULL),
		0);
	while (n < sizeof(line) - 1 && chan_read(c, line + n, 1) == 0 &&
		line[n] != '\n')
		n++;
	child = atoi(line);
	assert_true(child > 1);
	chan_set_deadline(c, SHORT);
	assert_int_equal(chan_finish(c, NULL), -ETIMEDOUT);
	chan_set_deadline(c, -1);
	j.chan = c;
	begin(&j, do_finish);
	until_asleep(&j);
	chan_shutdown(c);
	assert_int_equal(end(&j), -ECANCELED);
	chan_close(c);
	/* The child was not ours to wait for: init or a reaper does it. */
	while (kill(child, 0) == 0) {
		char path[64], text[256] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
		f = fopen(path, "r");
		if (!f)
			break;
		(void)!fgets(text, sizeof(text), f);
		fclose(f);
		if (strstr(text, ") Z "))
			break;
		sched_yield();
	}
}

/* ---- file: ---- */

static void a_file_keeps_what_was_written_and_reads_to_its_end(void **state)
{
	char addr[100], buf[16] = "";
	struct chan_listener *l;
	struct chan *c, *none;
	struct stat st;
	struct dir d;

	make_dir(&d);
	snprintf(addr, sizeof(addr), "file:%s/f", d.path);
	assert_int_equal(chan_listen(addr, &l, NULL), -ENOENT);
	assert_int_equal(chan_connect(addr, 0, 0, &c, NULL), 0);
	assert_int_equal(chan_write(c, "to be overwritten", 17), 0);
	chan_close(c);
	assert_int_equal(chan_connect(addr, 0, 0, &c, NULL), 0);
	assert_false(chan_is_two_way(c));
	assert_int_equal(chan_connect(addr, 1, 0, &none, NULL), -ENOTSUP);
	assert_int_equal(chan_write(c, "0123456789", 10), 0);
	assert_int_equal(chan_read(c, buf, 1), -EBADF);
	assert_int_equal(chan_finish(c, NULL), 0);
	chan_close(c);
	assert_int_equal(stat(addr + 5, &st), 0);
	assert_int_equal(st.st_size, 10);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chan_listen(addr, &l, NULL), 0);
	assert_int_equal(chan_accept(l, 0, &c, NULL), 0);
	assert_int_equal(chan_accept(l, 0, &none, NULL), -ENOTSUP);
	assert_int_equal(chan_write(c, "x", 1), -EBADF);
	assert_int_equal(chan_read(c, buf, 10), 0);
	assert_string_equal(buf, "0123456789");
	assert_int_equal(chan_read(c, buf, 1), -ENODATA);
	chan_shutdown(c);
	assert_int_equal(chan_read(c, buf, 1), -ECANCELED);
	chan_close(c);
	chan_listener_close(l);
	assert_int_equal(unlink(addr + 5), 0);
	remove_dir(&d);
}

static void a_full_disk_is_reported(void **state)
{
	struct chan *c;

	assert_int_equal(chan_connect("file:/dev/full", 0, 0, &c, NULL), 0);
	assert_int_equal(chan_write(c, "x", 1), -ENOSPC);
	chan_close(c);
}

static void what_is_no_file_is_refused_without_blocking(void **state)
{
	struct error err = {0};
	struct chan_listener *l;
	char addr[100];
	struct chan *c;
	struct dir d;

	make_dir(&d);
	snprintf(addr, sizeof(addr), "file:%s", d.path);
	assert_int_equal(chan_connect(addr, 0, 0, &c, &err), -EISDIR);
	assert_int_equal(chan_listen(addr, &l, &err), -EINVAL);
	snprintf(addr, sizeof(addr), "file:%s/fifo", d.path);
	assert_int_equal(mkfifo(addr + 5, 0600), 0);
	assert_int_equal(chan_listen(addr, &l, &err), -EINVAL);
	assert_non_null(strstr(err.text, "exec:"));
	assert_int_equal(unlink(addr + 5), 0);
	remove_dir(&d);
}

/* ---- reading ahead ---- */

/* By every way of reading, in pieces from 1 byte to more than is read ahead. */
static void read_in_pieces(struct chan *c, uint8_t *buf, size_t len)
{
	size_t at = 0, n, size = 1;

	while (at < len) {
		struct iovec iov[2];

		n = size < len - at ? size : len - at;
		size = size * 7 % 331;
		if (n % 3 == 0)
			assert_int_equal(chan_fill(c), 0);
		iov[0] = (struct iovec){buf + at, n / 2};
		iov[1] = (struct iovec){buf + at + n / 2, n - n / 2};
		assert_int_equal(chan_readv(c, iov, 2), 0);
		at += n;
	}
}

static void reading_ahead_loses_no_byte_and_keeps_the_order(void **state)
{
	enum { LEN = 50000, AHEAD = 100 };
	uint8_t *out = malloc(LEN), *in = calloc(1, LEN);
	enum kind kind;
	size_t i;

	for (i = 0; i < LEN; i++)
		out[i] = (uint8_t)(i * 167 >> 3);
	for (kind = 0; kind < KINDS; kind++) {
		struct job j = {.buf = out, .len = LEN};
		struct chan *a, *b;

		if (!open_pair(kind, &a, &b))
			continue;
		assert_int_equal(chan_read_ahead(b, AHEAD), 0);
		j.chan = a;
		begin(&j, do_write);
		memset(in, 0, LEN);
		read_in_pieces(b, in, LEN);
		assert_int_equal(end(&j), 0);
		assert_memory_equal(in, out, LEN);
		assert_false(chan_has_ahead(b));
		chan_close(a);
		assert_int_equal(chan_fill(b), -ENODATA);
		assert_int_equal(chan_read(b, in, 1), -ENODATA);
		chan_close(b);
	}
	free(in);
	free(out);
}

static void what_was_read_ahead_outlives_the_peer_but_no_shutdown(void **state)
{
	struct chan *a, *b;
	uint8_t buf[4];

	assert_true(open_pair(TCP, &a, &b));
	assert_int_equal(chan_read_ahead(b, 100), 0);
	chan_set_deadline(b, SHORT);
	assert_int_equal(chan_fill(b), -ETIMEDOUT);
	assert_int_equal(chan_write(a, "abcdefgh", 8), 0);
	assert_int_equal(chan_fill(b), 0);
	assert_true(chan_has_ahead(b));
	chan_close(a);
	assert_int_equal(chan_read(b, buf, 4), 0);
	assert_memory_equal(buf, "abcd", 4);
	assert_true(chan_has_ahead(b));
	chan_shutdown(b);
	assert_int_equal(chan_fill(b), -ECANCELED);
	assert_int_equal(chan_read(b, buf, 4), -ECANCELED);
	chan_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_byte_arrives_both_ways_in_pieces_of_any_size),
		cmocka_unit_test(
			vectors_longer_than_the_kernel_takes_arrive_whole),
		cmocka_unit_test(
			the_end_is_clean_between_reads_and_a_reset_within_one),
		cmocka_unit_test(
			writing_to_a_peer_that_is_gone_is_an_error_not_a_signal),
		cmocka_unit_test(a_deadline_passes_only_without_progress),
		cmocka_unit_test(
			a_peer_that_sends_single_bytes_is_read_to_the_end),
		cmocka_unit_test(
			shutdown_ends_reader_and_writer_at_once_and_for_good),
		cmocka_unit_test(
			reading_ahead_loses_no_byte_and_keeps_the_order),
		cmocka_unit_test(
			what_was_read_ahead_outlives_the_peer_but_no_shutdown),
		cmocka_unit_test(last_words_reach_a_peer_that_is_still_writing),
		cmocka_unit_test(no_fd_is_left_over),
		cmocka_unit_test(
			a_wait_for_a_connection_ends_by_time_or_by_shutdown),
		cmocka_unit_test(one_listener_hands_out_many_connections),
		cmocka_unit_test(
			a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
		cmocka_unit_test(a_listener_removes_only_its_own_socket_file),
		cmocka_unit_test(nobody_there_is_said_with_the_remedy),
		cmocka_unit_test(connecting_ends_by_time_or_when_cancelled),
		cmocka_unit_test(addresses_are_checked_before_anything_happens),
		cmocka_unit_test(
			an_inherited_fd_must_be_a_connected_stream_socket),
		cmocka_unit_test(
			an_inherited_socket_that_does_not_block_works_all_the_same),
		cmocka_unit_test(
			two_inherited_fds_are_two_connections_and_no_more),
		cmocka_unit_test(a_command_is_a_channel_and_its_status_is_told),
		cmocka_unit_test(
			a_command_that_does_not_end_is_killed_with_its_children),
		cmocka_unit_test(
			a_file_keeps_what_was_written_and_reads_to_its_end),
		cmocka_unit_test(a_full_disk_is_reported),
		cmocka_unit_test(what_is_no_file_is_refused_without_blocking),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
