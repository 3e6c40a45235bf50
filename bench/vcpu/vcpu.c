/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/vcpu/vcpu.c - vCPUs that come, stop, and are moved.
 *
 *   vcpu [-n ROUNDS] [-c CYCLES] [-o JSON]
 *
 * plug     machine_add_vcpu() and _start_vcpu(), what a plug costs the host,
 *          until the vCPU's first instruction has stored into guest memory:
 *          with a parked fd, and with one that KVM has to make.
 * unplug   machine_remove_vcpu(): thread ended, fd reset and parked.
 * pause    vm_pause() of a guest that spins in user mode and never exits.
 * state    save and load of one vCPU through sections, beside the same ioctls
 *          in a straight line, and those with KVM_CAP_SYNC_REGS.
 * cycles   fds and threads left after many plugs and unplugs.
 *
 * Each round measures every row in turn, so that what disturbs the host
 * disturbs all alike.  The guest's part of a plug (ACPI, udev) is not in it.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench/lib/bench.h"
#include "vmm/error.h"
#include "vmm/machine.h"
#include "vmm/vm_priv.h"

#define ROUNDS_MAX 240u /* each makes a vCPU that stays: APIC ids below 255 */
#define WARM_UP	   3u
#define PAUSES	   20u /* a round */
#define FLAG_GPA   0x9000u
#define CODE_GPA   0x8000u
#define CODE_PAGE  8u /* what a SIPI says: CODE_GPA / 4096 */
#define WAIT_NS	   2000000000ll
#define REACH_PLUG 0.5
#define REACH_MOVE 1.3

enum {
	PLUG_PARKED,
	PLUG_NEW,
	UNPLUG,
	SAVE_FLOOR,
	SAVE_SYNC,
	SAVE,
	LOAD_FLOOR,
	LOAD_SYNC,
	LOAD,
	ROWS
};

static const char *const names[ROWS] = {"plug, parked fd", "plug, new fd",
	"unplug", "save, ioctls", "save, ioctls and SYNC_REGS", "save, godwit",
	"load, ioctls", "load, ioctls and SYNC_REGS", "load, godwit"};

struct figures {
	double us[ROWS][ROUNDS_MAX];
	double pause_us[ROUNDS_MAX * PAUSES];
};

struct guest {
	struct config cfg;
	struct vm *vm;
};

static double us_since(int64_t start_ns)
{
	return (double)(bench_now_ns() - start_ns) / 1000.0;
}

static void guest_init(struct guest *g, const char *const *words, int count)
{
	struct error err = {.text = ""};

	config_init(&g->cfg);
	if (config_parse_run(&g->cfg, count, (char *const *)(uintptr_t)words,
		    &err) < 0 ||
		vm_create(&g->cfg, NULL, &g->vm, &err) < 0)
		bench_die("%s", err.text);
}

static void guest_fini(struct guest *g)
{
	vm_destroy(g->vm);
	config_fini(&g->cfg);
}

/* ---- plug ---- */

/* mov byte [FLAG_GPA], 1; hlt; jmp back to the hlt */
static const uint8_t code[] = {
	0xc6, 0x06, FLAG_GPA & 0xff, FLAG_GPA >> 8, 1, 0xf4, 0xeb, 0xfd};

static void send_ipi(struct vm *vm, unsigned id, unsigned mode, unsigned vector)
{
	struct kvm_msi msi = {
		.address_lo = 0xfee00000u | id << 12,
		.data = mode << 8 | vector,
	};

	if (kvm_ioctl(vm->fd, KVM_SIGNAL_MSI, &msi) <= 0)
		bench_die("vcpu%u takes no IPI", id);
}

/* From nothing to its first instruction. */
static double plug(struct vm *vm, unsigned id)
{
	volatile uint8_t *flag = vm->gm.base + FLAG_GPA;
	int64_t start = bench_now_ns();
	struct error err;
	double us;

	*flag = 0;
	if (machine_add_vcpu(vm, id, &err) < 0 ||
		machine_start_vcpu(vm, id, &err) < 0)
		bench_die("%s", err.text);
	send_ipi(vm, id, 5, 0);		/* INIT */
	send_ipi(vm, id, 6, CODE_PAGE); /* SIPI */
	while (!*flag)
		if (bench_now_ns() - start > WAIT_NS)
			bench_die("vcpu%u has not started", id);
	us = us_since(start);
	return us;
}

static double unplug(struct vm *vm, unsigned id)
{
	int64_t start = bench_now_ns();

	machine_remove_vcpu(vm, id);
	return us_since(start);
}

static void boot_plug_guest(struct guest *g, unsigned rounds)
{
	char cpus[32];
	const char *words[] = {"-k", "kernels/hello", "-a", "exit=halt", "-c",
		cpus, "-m", "16M", "--serial", "none"};

	snprintf(cpus, sizeof(cpus), "1,max=%u", rounds + WARM_UP + 2);
	guest_init(g, words, 10);
	vm_resume(g->vm);
	usleep(200000); /* the boot CPU has printed and halted: out of the way
			 */
	memcpy(g->vm->gm.base + CODE_GPA, code, sizeof(code));
}

/* Id 1 is parked and taken again; each of the others is new once. */
static void measure_plug(struct guest *g, unsigned round, double us[3])
{
	us[PLUG_PARKED] = plug(g->vm, 1);
	us[UNPLUG] = unplug(g->vm, 1);
	us[PLUG_NEW] = plug(g->vm, round + 2);
	unplug(g->vm, round + 2);
}

static unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* ---- state ---- */

struct raw {
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	struct kvm_lapic_state lapic;
	struct kvm_msrs *msrs;
	uint8_t xsave[65536];
};

static void must(int fd, unsigned long request, void *arg, const char *what)
{
	if (ioctl(fd, request, arg) < 0)
		bench_die("%s: %s", what, strerror(errno));
}

#define MUST(fd, request, arg) must(fd, request, arg, #request)

static void by_page(int fd, struct kvm_run *run, uint64_t valid, uint64_t dirty)
{
	run->immediate_exit = 1;
	run->kvm_valid_regs = valid;
	run->kvm_dirty_regs = dirty;
	if (ioctl(fd, KVM_RUN, 0) == 0 || errno != EINTR)
		bench_die("KVM_RUN: %s", strerror(errno));
	run->kvm_valid_regs = run->kvm_dirty_regs = 0;
}

static double raw_save(struct raw *r, int fd, struct kvm_run *run)
{
	int64_t start = bench_now_ns();

	MUST(fd, KVM_GET_MP_STATE, &r->mp);
	MUST(fd, KVM_GET_XCRS, &r->xcrs);
	MUST(fd, KVM_GET_DEBUGREGS, &r->debug);
	MUST(fd, KVM_GET_LAPIC, &r->lapic);
	MUST(fd, KVM_GET_XSAVE2, r->xsave);
	MUST(fd, KVM_GET_MSRS, r->msrs);
	if (run) {
		by_page(fd, run, 7, 0);
		r->regs = run->s.regs.regs;
		r->sregs = run->s.regs.sregs;
		r->events = run->s.regs.events;
	} else {
		MUST(fd, KVM_GET_REGS, &r->regs);
		MUST(fd, KVM_GET_SREGS, &r->sregs);
		MUST(fd, KVM_GET_VCPU_EVENTS, &r->events);
	}
	return us_since(start);
}

static double raw_load(struct raw *r, int fd, struct kvm_run *run)
{
	int64_t start = bench_now_ns();

	if (run) {
		run->s.regs.regs = r->regs;
		run->s.regs.sregs = r->sregs;
		run->s.regs.events = r->events;
		by_page(fd, run, 0, 7);
	} else {
		MUST(fd, KVM_SET_REGS, &r->regs);
		MUST(fd, KVM_SET_SREGS, &r->sregs);
	}
	MUST(fd, KVM_SET_XCRS, &r->xcrs);
	MUST(fd, KVM_SET_XSAVE, r->xsave);
	MUST(fd, KVM_SET_DEBUGREGS, &r->debug);
	MUST(fd, KVM_SET_LAPIC, &r->lapic);
	MUST(fd, KVM_SET_MSRS, r->msrs);
	if (!run)
		MUST(fd, KVM_SET_VCPU_EVENTS, &r->events);
	MUST(fd, KVM_SET_MP_STATE, &r->mp);
	return us_since(start);
}

/* @w: its buffer is used again; a move has one for all vCPUs. */
static void measure_state(
	struct guest *g, struct raw *r, struct state_writer *w, double us[ROWS])
{
	int fd = vcpu_fd(g->vm->vcpu[0]);
	struct kvm_run *run = vcpu_run_page(g->vm->vcpu[0]);
	struct vcpu_scratch *s = &g->vm->scratch;
	size_t msrs =
		sizeof(*r->msrs) + s->msr_count * sizeof(r->msrs->entries[0]);
	struct state_reader reader;
	const uint8_t *pos;
	struct error err;
	int64_t start;

	w->len = 0;
	memcpy(r->msrs, s->msrs, msrs);
	if (r->msrs->nmsrs > 0)
		raw_save(r, fd, run); /* the first after a sleep is cold */
	vcpu_state_begin(s);
	start = bench_now_ns();
	state_begin(w, "vcpu0", VCPU_STATE_VERSION);
	if (vcpu_state_save(fd, run, s, w, &err) < 0)
		bench_die("%s", err.text);
	state_end(w);
	us[SAVE] = us_since(start);
	memcpy(r->msrs, s->msrs, msrs);
	us[SAVE_FLOOR] = raw_save(r, fd, NULL);
	us[SAVE_SYNC] = raw_save(r, fd, run);
	us[LOAD_FLOOR] = raw_load(r, fd, NULL);
	us[LOAD_SYNC] = raw_load(r, fd, run);
	vcpu_state_begin(s);
	start = bench_now_ns();
	pos = w->buf;
	if (state_next(&pos, w->buf + w->len, &reader, &err) != 1 ||
		vcpu_state_load(fd, run, s, &reader, &err) < 0)
		bench_die("%s", err.text);
	us[LOAD] = us_since(start);
}

/* ---- all of it ---- */

static void measure(struct figures *f, unsigned rounds, struct guest *plugged)
{
	const char *words[] = {"-k", "kernels/exits", "-a", "case=loop:user",
		"-m", "16M", "--serial", "none"};
	struct raw *r = calloc(1, sizeof(*r));
	struct guest spinning;
	struct state_writer w;
	double us[ROWS];
	unsigned round, i;
	struct error err;

	state_writer_init(&w);
	guest_init(&spinning, words, 8);
	if (!r || vm_need_scratch(spinning.vm, &err) < 0)
		bench_die("no memory");
	r->msrs = calloc(
		1, sizeof(*r->msrs) +
			   VCPU_STATE_MSRS_MAX * sizeof(struct kvm_msr_entry));
	for (round = 0; round < rounds + WARM_UP; round++) {
		measure_plug(plugged, round, us);
		vm_resume(spinning.vm);
		for (i = 0; i < PAUSES; i++) {
			int64_t start;
			double took;

			usleep(1000); /* it is in the guest by now */
			start = bench_now_ns();
			vm_pause(spinning.vm);
			took = us_since(start);
			if (round >= WARM_UP)
				f->pause_us[(round - WARM_UP) * PAUSES + i] =
					took;
			if (i + 1 < PAUSES)
				vm_resume(spinning.vm);
		}
		measure_state(&spinning, r, &w, us);
		for (i = 0; round >= WARM_UP && i < ROWS; i++)
			f->us[i][round - WARM_UP] = us[i];
	}
	guest_fini(&spinning);
	state_writer_fini(&w);
	free(r->msrs);
	free(r);
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static json_t *report(struct figures *f, unsigned rounds, unsigned cycles,
	int fds, int threads)
{
	struct bench_stats s[ROWS];
	unsigned pauses = rounds * PAUSES, i;
	json_t *rows = json_object();
	double p50, p99;

	printf("%-28s %10s %10s %10s  us, %u rounds\n", "", "p10", "median",
		"p90", rounds);
	for (i = 0; i < ROWS; i++) {
		s[i] = bench_stats(f->us[i], rounds);
		printf("%-28s %10.1f %10.1f %10.1f\n", names[i], s[i].p10,
			s[i].median, s[i].p90);
		json_object_set_new(rows, names[i], bench_stats_json(&s[i]));
	}
	qsort(f->pause_us, pauses, sizeof(double), by_size);
	p50 = f->pause_us[pauses / 2];
	p99 = f->pause_us[pauses * 99 / 100];
	printf("%-28s p50 %.1f us, p99 %.1f us of %u\n",
		"pause of a spinning guest", p50, p99, pauses);
	printf("%-28s %+d fds, %+d threads\n", "left after all cycles", fds,
		threads);
	printf("plug: parked / new %.2f (reach: at most %.1f)\n",
		s[PLUG_PARKED].median / s[PLUG_NEW].median, REACH_PLUG);
	printf("save: godwit / floor %.2f, load %.2f (reach: at most %.1f; "
	       "floor: SYNC_REGS)\n",
		s[SAVE].median / s[SAVE_SYNC].median,
		s[LOAD].median / s[LOAD_SYNC].median, REACH_MOVE);
	return json_pack(
		"{s:o, s:o, s:i, s:{s:f, s:f, s:i}, s:{s:i, s:i, s:i}}", "host",
		bench_host_json(), "us", rows, "rounds", (int)rounds,
		"pause_us", "p50", p50, "p99", p99, "count", (int)pauses,
		"cycles", "count", (int)cycles, "fds_left", fds, "threads_left",
		threads);
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end != '\0' || n == 0 || n > 1000000)
		bench_die("%s: no number from 1 to 1000000", text);
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	unsigned rounds = 41, cycles = 10000, i, fds, threads;
	static struct figures figures;
	const char *json = NULL;
	struct guest plugged;
	json_t *root;
	int c;

	while ((c = getopt(argc, argv, "n:c:o:")) != -1) {
		if (c == 'n')
			rounds = number(optarg);
		else if (c == 'c')
			cycles = number(optarg);
		else if (c == 'o')
			json = optarg;
		else
			bench_die("usage: vcpu [-n ROUNDS] [-c CYCLES] "
				  "[-o JSON]");
	}
	if (rounds > ROUNDS_MAX)
		bench_die("at most %u rounds", ROUNDS_MAX);
	bench_warn_if_busy();
	boot_plug_guest(&plugged, rounds);
	plug(plugged.vm, 1); /* so that it can be parked */
	unplug(plugged.vm, 1);
	measure(&figures, rounds, &plugged);
	usleep(100000); /* a thread that was joined is seen a little longer */
	fds = count_entries("/proc/self/fd");
	threads = count_entries("/proc/self/task");
	for (i = 0; i < cycles; i++) {
		plug(plugged.vm, 1);
		unplug(plugged.vm, 1);
	}
	usleep(100000);
	root = report(&figures, rounds, cycles,
		(int)count_entries("/proc/self/fd") - (int)fds,
		(int)count_entries("/proc/self/task") - (int)threads);
	bench_write_json(root, json);
	guest_fini(&plugged);
	return 0;
}
