/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/memory/memory.c - what an idle VM costs beyond guest RAM, and how large
 * the program is: godwit and QEMU's microvm, the same guest.
 *
 *   memory [-n ROUNDS] [-o JSON] [-g GODWIT] [-k KERNEL] [-q QEMU]
 *
 * The guest prints its line and halts for good.  Then PSS is summed over
 * /proc/PID/smaps without the mapping that is guest RAM: the one that is at
 * least as large as it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/lib/bench.h"

#define ROUNDS_MAX 100u
#define ARGS_MAX   32
#define RAM_KIB	   (256u << 10)
#define CMDLINE	   "exit=halt"
#define SETTLE_NS  20000000L
#define SETTLE_MAX 100

#define REACH_PSS_KIB	 2048.0
#define REACH_BINARY_KIB 1024.0

enum { GODWIT, QEMU, CANDIDATES };

struct candidate {
	const char *name;
	const char *argv[ARGS_MAX];
	int present;
	double pss_kib[ROUNDS_MAX], rss_kib[ROUNDS_MAX],
		private_kib[ROUNDS_MAX];
	struct bench_stats pss, rss, private;
	double binary_kib; /* stripped */
};

struct memory {
	double pss_kib, rss_kib, private_kib; /* beyond guest RAM */
};

/* Sum up smaps.  False if the RAM mapping was not found. */
static int read_smaps(pid_t pid, struct memory *ret_memory)
{
	struct memory sum = {0};
	int found = 0, skip = 0;
	char path[64], line[512];
	uint64_t start, end, kib;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	in = fopen(path, "re");
	if (!in)
		bench_die("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2) {
			skip = (end - start) >> 10 >= RAM_KIB &&
			       strstr(line, " rw") != NULL;
			found += skip;
			continue;
		}
		if (skip)
			continue;
		if (sscanf(line, "Pss: %" SCNu64 " kB", &kib) == 1)
			sum.pss_kib += (double)kib;
		else if (sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1)
			sum.rss_kib += (double)kib;
		else if (sscanf(line, "Private_Clean: %" SCNu64, &kib) == 1 ||
			 sscanf(line, "Private_Dirty: %" SCNu64, &kib) == 1)
			sum.private_kib += (double)kib;
	}
	fclose(in);
	*ret_memory = sum;
	return found == 1;
}

/* Until two readings in a row are the same. */
static struct memory settle(const struct candidate *c, pid_t pid)
{
	struct timespec pause = {.tv_nsec = SETTLE_NS};
	struct memory now, before = {0};
	int i;

	for (i = 0; i < SETTLE_MAX; i++) {
		nanosleep(&pause, NULL);
		if (!read_smaps(pid, &now))
			bench_die("%s: guest RAM is not one mapping", c->name);
		if (now.rss_kib == before.rss_kib &&
			now.private_kib == before.private_kib)
			break;
		before = now;
	}
	return now;
}

static void measure_once(struct candidate *c, unsigned round)
{
	struct bench_child child;
	struct memory memory;

	bench_spawn((char *const *)(uintptr_t)c->argv, &child);
	bench_read_until(&child, ")\n");
	if (!strstr(child.output, "hello"))
		bench_die("%s failed; it printed: %s", c->name, child.output);
	memory = settle(c, child.pid);
	bench_kill(&child);
	c->pss_kib[round] = memory.pss_kib;
	c->rss_kib[round] = memory.rss_kib;
	c->private_kib[round] = memory.private_kib;
}

/* Size after strip(1), KiB. */
static double stripped_kib(const char *path)
{
	char copy[] = "/tmp/godwit-bench-XXXXXX";
	const char *argv[] = {"strip", "-o", copy, path, NULL};
	struct bench_child child;
	struct stat st;
	int64_t exit_ns;
	int fd = mkstemp(copy);

	if (fd < 0)
		bench_die("%s: %s", copy, strerror(errno));
	close(fd);
	bench_spawn((char *const *)(uintptr_t)argv, &child);
	if (bench_wait(&child, &exit_ns) != 0 || stat(copy, &st) < 0) {
		unlink(copy);
		bench_die("strip %s failed", path);
	}
	unlink(copy);
	return (double)st.st_size / 1024.0;
}

static void measure(struct candidate *all, unsigned rounds)
{
	struct candidate *c;
	unsigned i, round;

	for (i = 0; i < CANDIDATES; i++) {
		all[i].present = access(all[i].argv[0], X_OK) == 0;
		if (!all[i].present)
			fprintf(stderr, "bench: %s is left out: no %s\n",
				all[i].name, all[i].argv[0]);
	}
	for (round = 0; round < rounds; round++)
		for (i = 0; i < CANDIDATES; i++)
			if (all[i].present)
				measure_once(&all[i], round);
	for (i = 0; i < CANDIDATES; i++) {
		c = &all[i];
		if (!c->present)
			continue;
		c->pss = bench_stats(c->pss_kib, rounds);
		c->rss = bench_stats(c->rss_kib, rounds);
		c->private = bench_stats(c->private_kib, rounds);
		c->binary_kib = stripped_kib(c->argv[0]);
	}
}

static void print_table(const struct candidate *all, unsigned rounds)
{
	unsigned i;

	printf("idle VM beyond guest RAM, medians; KiB, %u rounds\n"
	       "%-14s %8s %8s %8s %14s\n",
		rounds, "", "PSS", "RSS", "private", "stripped file");
	for (i = 0; i < CANDIDATES; i++)
		if (all[i].present)
			printf("%-14s %8.0f %8.0f %8.0f %14.0f\n", all[i].name,
				all[i].pss.median, all[i].rss.median,
				all[i].private.median, all[i].binary_kib);
}

static json_t *claim(const char *what, double kib, double reach)
{
	printf("%-30s %8.0f KiB  (reach %.0f: %s)\n", what, kib, reach,
		kib <= reach ? "met" : "NOT met");
	return json_pack("{s:s, s:f, s:f, s:b}", "what", what, "kib", kib,
		"reach_kib", reach, "met", kib <= reach);
}

static json_t *report_json(const struct candidate *all, unsigned rounds)
{
	json_t *list = json_array(), *claims = json_array();
	const struct candidate *c;
	unsigned i;

	for (i = 0; i < CANDIDATES; i++) {
		c = &all[i];
		if (c->present)
			json_array_append_new(list,
				json_pack("{s:s, s:o, s:o, s:o, s:f}", "name",
					c->name, "pss_kib",
					bench_stats_json(&c->pss), "rss_kib",
					bench_stats_json(&c->rss),
					"private_kib",
					bench_stats_json(&c->private),
					"stripped_kib", c->binary_kib));
	}
	c = &all[GODWIT];
	if (c->present) {
		json_array_append_new(
			claims, claim("godwit: PSS beyond guest RAM",
					c->pss.median, REACH_PSS_KIB));
		json_array_append_new(
			claims, claim("godwit: stripped binary", c->binary_kib,
					REACH_BINARY_KIB));
	}
	return json_pack("{s:s, s:o, s:i, s:o, s:o}", "bench", "memory", "host",
		bench_host_json(), "rounds", (int)rounds, "candidates", list,
		"claims", claims);
}

int main(int argc, char **argv)
{
	const char *godwit = "./godwit", *kernel = "kernels/hello",
		   *qemu = "/usr/bin/qemu-system-x86_64", *json = NULL;
	static struct candidate all[CANDIDATES];
	unsigned rounds = 5;
	int letter;

	while ((letter = getopt(argc, argv, "n:o:g:k:q:")) != -1) {
		switch (letter) {
		case 'n':
			rounds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'o':
			json = optarg;
			break;
		case 'g':
			godwit = optarg;
			break;
		case 'k':
			kernel = optarg;
			break;
		case 'q':
			qemu = optarg;
			break;
		default:
			return 2;
		}
	}
	if (rounds == 0 || rounds > ROUNDS_MAX)
		bench_die("-n: give 1 to %u", ROUNDS_MAX);
	if (access(kernel, R_OK) < 0)
		bench_die("%s: not there (make kernels)", kernel);
	all[GODWIT] = (struct candidate){.name = "godwit",
		.argv = {godwit, "run", "-k", kernel, "-a", CMDLINE}};
	all[QEMU] = (struct candidate){.name = "QEMU microvm",
		.argv = {qemu, "-M",
			"microvm,pit=off,pic=off,rtc=off,acpi=off,"
			"x-option-roms=off",
			"-accel", "kvm", "-cpu", "host", "-m", "256M",
			"-nodefaults", "-no-user-config", "-display", "none",
			"-serial", "stdio", "-no-reboot", "-kernel", kernel,
			"-append", CMDLINE}};
	bench_warn_if_busy();
	measure(all, rounds);
	print_table(all, rounds);
	bench_write_json(report_json(all, rounds), json);
	return 0;
}
