/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/start/start.c - how long from exec to the guest's first byte on stdout,
 * and to the end of the process: godwit, the floor, QEMU's microvm, one ELF.
 *
 *   start [-n ROUNDS] [-o JSON] [-g GODWIT] [-f FLOOR] [-k KERNEL] [-q QEMU]
 *
 * Each round runs every candidate once, in turn, so that what disturbs the host
 * disturbs all alike.  The clock is the parent's: from just before
 * posix_spawn() to the read() that returns the first byte, and to waitpid().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/lib/bench.h"

#define WARM_UP	   3
#define ROUNDS_MAX 1000u
#define ARGS_MAX   32
/* The guest writes to the debug-exit port: the quickest way out of each. */
#define CMDLINE "exit=debug"
#define STATUS	1 /* (0 << 1) | 1 */

#define REACH_FLOOR 1.5
#define REACH_QEMU  0.1

enum { SPAWN, FLOOR, FLOOR_IRQ, GODWIT, QEMU, CANDIDATES };

struct candidate {
	const char *name;
	char *argv[ARGS_MAX];
	int status;
	const char *expect; /* in the output */
	int present;
	double first_us[ROUNDS_MAX], exit_us[ROUNDS_MAX];
	struct bench_stats first, exit;
};

struct options {
	unsigned rounds;
	const char *json, *godwit, *floor, *kernel, *qemu;
};

static void set_argv(struct candidate *c, const char *const *words)
{
	unsigned i;

	for (i = 0; words[i]; i++) {
		c->argv[i] = strdup(words[i]);
		if (!c->argv[i])
			bench_die("no memory");
	}
}

static void set_up(struct candidate *all, const struct options *opt)
{
	const char *echo[] = {"/bin/echo", "x", NULL};
	const char *bare[] = {opt->floor, opt->kernel, CMDLINE, NULL};
	const char *irq[] = {opt->floor, "-i", opt->kernel, CMDLINE, NULL};
	const char *godwit[] = {opt->godwit, "run", "-k", opt->kernel, "-a",
		CMDLINE, "--debug-exit", NULL};
	const char *qemu[] = {opt->qemu, "-M",
		"microvm,pit=off,pic=off,rtc=off,acpi=off,x-option-roms=off",
		"-accel", "kvm", "-cpu", "host", "-m", "256M", "-nodefaults",
		"-no-user-config", "-display", "none", "-serial", "stdio",
		"-no-reboot", "-device", "isa-debug-exit,iobase=0xf4",
		"-kernel", opt->kernel, "-append", CMDLINE, NULL};

	all[SPAWN] =
		(struct candidate){.name = "echo (spawn alone)", .expect = "x"};
	set_argv(&all[SPAWN], echo);
	all[FLOOR] = (struct candidate){
		.name = "floor", .status = STATUS, .expect = "hello"};
	set_argv(&all[FLOOR], bare);
	all[FLOOR_IRQ] = (struct candidate){
		.name = "floor, irqchip", .status = STATUS, .expect = "hello"};
	set_argv(&all[FLOOR_IRQ], irq);
	all[GODWIT] = (struct candidate){
		.name = "godwit", .status = STATUS, .expect = "hello"};
	set_argv(&all[GODWIT], godwit);
	all[QEMU] = (struct candidate){
		.name = "QEMU microvm", .status = STATUS, .expect = "hello"};
	set_argv(&all[QEMU], qemu);
}

/* Run once; @ret may be NULL.  False: it did not do what it should. */
static int run_once(const struct candidate *c, double *ret_first_us,
	double *ret_exit_us, struct bench_child *child)
{
	int64_t first_ns, exit_ns;
	int status;

	bench_spawn(c->argv, child);
	first_ns = bench_read_until(child, c->expect);
	status = bench_wait(child, &exit_ns);
	if (first_ns < 0 || !strstr(child->output, c->expect) ||
		!WIFEXITED(status) || WEXITSTATUS(status) != c->status)
		return 0;
	*ret_first_us = (double)(first_ns - child->start_ns) / 1000.0;
	*ret_exit_us = (double)(exit_ns - child->start_ns) / 1000.0;
	return 1;
}

static void measure(struct candidate *all, unsigned rounds)
{
	struct bench_child child;
	double first, gone;
	unsigned i, round;

	for (i = 0; i < CANDIDATES; i++) {
		all[i].present = access(all[i].argv[0], X_OK) == 0;
		if (!all[i].present)
			fprintf(stderr, "bench: %s is left out: no %s\n",
				all[i].name, all[i].argv[0]);
	}
	for (round = 0; round < rounds + WARM_UP; round++) {
		for (i = 0; i < CANDIDATES; i++) {
			if (!all[i].present)
				continue;
			if (!run_once(&all[i], &first, &gone, &child))
				bench_die("%s failed; it printed: %s",
					all[i].name, child.output);
			if (round < WARM_UP)
				continue;
			all[i].first_us[round - WARM_UP] = first;
			all[i].exit_us[round - WARM_UP] = gone;
		}
	}
	for (i = 0; i < CANDIDATES; i++) {
		if (!all[i].present)
			continue;
		all[i].first = bench_stats(all[i].first_us, rounds);
		all[i].exit = bench_stats(all[i].exit_us, rounds);
	}
}

static void print_table(const struct candidate *all, unsigned rounds)
{
	const struct candidate *c, *floor = &all[FLOOR_IRQ];
	unsigned i;

	printf("exec to the guest's first byte, and to exit; us, %u rounds\n"
	       "%-20s %8s %8s %8s %7s %8s %8s %8s %7s\n",
		rounds, "", "first", "p10", "p90", "x floor", "exit", "p10",
		"p90", "x floor");
	for (i = 0; i < CANDIDATES; i++) {
		c = &all[i];
		if (c->present)
			printf("%-20s %8.0f %8.0f %8.0f %7.2f %8.0f %8.0f "
			       "%8.0f %7.2f\n",
				c->name, c->first.median, c->first.p10,
				c->first.p90,
				c->first.median / floor->first.median,
				c->exit.median, c->exit.p10, c->exit.p90,
				c->exit.median / floor->exit.median);
	}
}

static json_t *command_json(const struct candidate *c)
{
	json_t *words = json_array();
	unsigned i;

	for (i = 0; c->argv[i]; i++)
		json_array_append_new(words, json_string(c->argv[i]));
	return words;
}

/* One claim: {"what", "ratio", "reach", "met"}; printed too. */
static json_t *claim(const char *what, double ratio, double reach)
{
	printf("%-48s %6.3f  (reach %.2f: %s)\n", what, ratio, reach,
		ratio <= reach ? "met" : "NOT met");
	return json_pack("{s:s, s:f, s:f, s:b}", "what", what, "ratio", ratio,
		"reach", reach, "met", ratio <= reach);
}

static json_t *claims_json(const struct candidate *all)
{
	const struct candidate *g = &all[GODWIT], *f = &all[FLOOR_IRQ];
	json_t *claims = json_array();

	if (g->present && f->present) {
		json_array_append_new(
			claims, claim("first byte, godwit / floor with irqchip",
					g->first.median / f->first.median,
					REACH_FLOOR));
		json_array_append_new(claims,
			claim("exit, godwit / floor with irqchip",
				g->exit.median / f->exit.median, REACH_FLOOR));
	}
	if (g->present && all[QEMU].present) {
		json_array_append_new(claims,
			claim("first byte, godwit / QEMU microvm",
				g->first.median / all[QEMU].first.median,
				REACH_QEMU));
		json_array_append_new(
			claims, claim("exit, godwit / QEMU microvm",
					g->exit.median / all[QEMU].exit.median,
					REACH_QEMU));
	}
	return claims;
}

static json_t *report_json(const struct candidate *all, unsigned rounds)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < CANDIDATES; i++)
		if (all[i].present)
			json_array_append_new(list,
				json_pack("{s:s, s:o, s:o, s:o}", "name",
					all[i].name, "command",
					command_json(&all[i]), "first_byte_us",
					bench_stats_json(&all[i].first),
					"exit_us",
					bench_stats_json(&all[i].exit)));
	return json_pack("{s:s, s:o, s:i, s:o, s:o}", "bench", "start", "host",
		bench_host_json(), "rounds", (int)rounds, "candidates", list,
		"claims", claims_json(all));
}

int main(int argc, char **argv)
{
	static struct candidate all[CANDIDATES];
	struct options opt = {.rounds = 41,
		.godwit = "./godwit",
		.floor = "build/bench/floor",
		.kernel = "kernels/hello",
		.qemu = "/usr/bin/qemu-system-x86_64"};
	int letter;

	while ((letter = getopt(argc, argv, "n:o:g:f:k:q:")) != -1) {
		switch (letter) {
		case 'n':
			opt.rounds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'o':
			opt.json = optarg;
			break;
		case 'g':
			opt.godwit = optarg;
			break;
		case 'f':
			opt.floor = optarg;
			break;
		case 'k':
			opt.kernel = optarg;
			break;
		case 'q':
			opt.qemu = optarg;
			break;
		default:
			return 2;
		}
	}
	if (opt.rounds == 0 || opt.rounds > ROUNDS_MAX)
		bench_die("-n: give 1 to %u", ROUNDS_MAX);
	if (access(opt.kernel, R_OK) < 0)
		bench_die("%s: not there (make kernels)", opt.kernel);
	set_up(all, &opt);
	bench_warn_if_busy();
	measure(all, opt.rounds);
	print_table(all, opt.rounds);
	bench_write_json(report_json(all, opt.rounds), opt.json);
	return 0;
}
