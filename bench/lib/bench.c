/* SPDX-License-Identifier: Apache-2.0 */
/* bench/lib/bench.c - see bench.h. */
#include "bench/lib/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

void bench_die(const char *fmt, ...)
{
	va_list ap;

	fputs("bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void bench_spawn(char *const *argv, struct bench_child *ret_child)
{
	posix_spawn_file_actions_t actions;
	int fds[2], ret;

	if (pipe2(fds, O_CLOEXEC) < 0)
		bench_die("pipe: %s", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	ret_child->output_len = 0;
	ret_child->output[0] = '\0';
	ret_child->out_fd = fds[0];
	ret_child->start_ns = bench_now_ns();
	ret = posix_spawnp(
		&ret_child->pid, argv[0], &actions, NULL, argv, environ);
	if (ret != 0)
		bench_die("%s: %s", argv[0], strerror(ret));
	close(fds[1]);
	posix_spawn_file_actions_destroy(&actions);
}

/* Append what comes; false at the end. */
static int read_some(struct bench_child *child)
{
	char chunk[4096];
	ssize_t len;
	size_t room;

	do
		len = read(child->out_fd, chunk, sizeof(chunk));
	while (len < 0 && errno == EINTR);
	if (len <= 0)
		return 0;
	room = BENCH_OUTPUT_MAX - child->output_len;
	if ((size_t)len < room)
		room = (size_t)len;
	memcpy(child->output + child->output_len, chunk, room);
	child->output_len += (unsigned)room;
	child->output[child->output_len] = '\0';
	return 1;
}

int64_t bench_read_until(struct bench_child *child, const char *text)
{
	int64_t first_ns = -1;

	while (read_some(child)) {
		if (first_ns < 0)
			first_ns = bench_now_ns();
		if (strstr(child->output, text))
			break;
	}
	return first_ns;
}

int bench_wait(struct bench_child *child, int64_t *ret_exit_ns)
{
	int status;

	while (read_some(child))
		;
	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR)
			bench_die("waitpid: %s", strerror(errno));
	*ret_exit_ns = bench_now_ns();
	close(child->out_fd);
	return status;
}

void bench_kill(struct bench_child *child)
{
	int64_t exit_ns;

	kill(child->pid, SIGKILL);
	bench_wait(child, &exit_ns);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct bench_stats bench_stats(double *samples, unsigned count)
{
	struct bench_stats stats = {0};

	if (count == 0)
		return stats;
	qsort(samples, count, sizeof(*samples), by_value);
	stats.p10 = samples[(count - 1) / 10];
	stats.median = samples[(count - 1) / 2];
	stats.p90 = samples[(count - 1) * 9 / 10];
	return stats;
}

json_t *bench_stats_json(const struct bench_stats *stats)
{
	return json_pack("{s:f, s:f, s:f}", "p10", stats->p10, "median",
		stats->median, "p90", stats->p90);
}

/* The value of the first "key : value" line of a /proc file. */
static void proc_line(const char *path, const char *key, char *buf, size_t size)
{
	char line[256], *value;
	FILE *in = fopen(path, "re");

	snprintf(buf, size, "unknown");
	while (in && fgets(line, sizeof(line), in)) {
		value = strchr(line, ':');
		if (!value || strncmp(line, key, strlen(key)) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(buf, size, "%s", value + 1 + strspn(value + 1, " "));
		break;
	}
	if (in)
		fclose(in);
}

/* Over the last minute; 0 if it is not known. */
static double load_average(void)
{
	double load;

	return getloadavg(&load, 1) == 1 ? load : 0;
}

void bench_warn_if_busy(void)
{
	double load = load_average();

	if (load > (double)sysconf(_SC_NPROCESSORS_ONLN) * 0.75)
		fprintf(stderr,
			"bench: the load average is %.1f: these figures are "
			"disturbed, look at p10\n",
			load);
}

json_t *bench_host_json(void)
{
	char cpu[128], date[64];
	time_t now = time(NULL);
	struct utsname name;
	struct tm tm;

	uname(&name);
	proc_line("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_pack("{s:s, s:i, s:s, s:f, s:s}", "cpu", cpu, "cpus",
		(int)sysconf(_SC_NPROCESSORS_ONLN), "linux", name.release,
		"load_average", load_average(), "date", date);
}

void bench_write_json(json_t *root, const char *path)
{
	if (!root)
		bench_die("no memory for the JSON");
	if (path && json_dump_file(root, path,
			    JSON_INDENT(2) | JSON_REAL_PRECISION(6)) < 0)
		bench_die("%s: cannot write", path);
	json_decref(root);
}
