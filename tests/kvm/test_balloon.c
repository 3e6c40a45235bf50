/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_balloon.c - a guest (kernels/balloon) gives half its memory
 * away and takes it back, and the process shrinks and grows with it.  What
 * counts is the Rss of guest RAM in /proc/self/smaps.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <linux/virtio_balloon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/phase.h"
#include "migrate/state.h"
#include "virtio/balloon.h"
#include "vmm/arrival.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/mover.h"

#define POOL	   2048u /* pages: half of 16 MiB */
#define POOL_BYTES (POOL * 4096ull)
#define SLACK	   0x40000ull /* what the guest touches beside its pool */

/* ---- the host's view ---- */

/* Bytes of guest RAM that have memory. */
static uint64_t rss(struct vm *vm)
{
	const struct guestmem *gm = vm_guestmem(vm);
	uintptr_t base = (uintptr_t)gm->base, from, to;
	unsigned long long kib = 0, n;
	bool ours = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = from >= base && to <= base + gm->size;
		else if (ours && sscanf(line, "Rss: %llu kB", &n) == 1)
			kib += n;
	}
	fclose(f);
	return kib << 10;
}

/* ---- the VM ---- */

static void boot(struct vm_fixture *f, const char *memory, const char *balloon,
	const char *append)
{
	char option[128];
	const char *words[] = {"-k", "kernels/balloon", "-a", append, "-m",
		memory, "--machine", "cmdline", option, NULL};

	snprintf(option, sizeof(option), "--balloon%s", balloon);
	vm_fixture_init(f, words);
}

static void until(struct vm_fixture *f, const char *line)
{
	assert_int_equal(vm_fixture_run_until(f, line, 1), VM_END_USER);
}

static void set(struct vm_fixture *f, uint64_t bytes)
{
	struct error err;

	if (virtio_balloon_set(vm_balloon(f->vm), bytes, &err) < 0)
		fail_msg("%s", err.text);
}

static void finish(struct vm_fixture *f)
{
	uint32_t code;

	assert_int_equal(vm_run(f->vm, &code), VM_END_POWEROFF);
	if (!strstr(vm_fixture_text(f), " 0 failed"))
		fail_msg("%s", vm_fixture_text(f));
	vm_fixture_fini(f);
}

static struct balloon_info info(struct vm_fixture *f)
{
	struct balloon_info i;

	virtio_balloon_info(vm_balloon(f->vm), &i);
	return i;
}

static void half_and_back(const char *memory)
{
	uint64_t full, half, again;
	struct vm_fixture f;

	testing_need_kvm();
	boot(&f, memory, "", "pages=2048");
	until(&f, "balloon: ready");
	full = rss(f.vm);
	assert_true(full >= POOL_BYTES);
	set(&f, POOL_BYTES);
	until(&f, "balloon: inflated to 2048");
	half = rss(f.vm);
	assert_true(half + POOL_BYTES <= full + SLACK);
	assert_int_equal(info(&f).actual_bytes, POOL_BYTES);
	assert_int_equal(info(&f).returned_bytes, POOL_BYTES);
	set(&f, POOL_BYTES / 2);
	until(&f, "balloon: deflated to 1024 zeroed 1024 kept 0 wrong 0");
	again = rss(f.vm);
	assert_true(again >= half + POOL_BYTES / 2);
	assert_true(again <= half + POOL_BYTES / 2 + SLACK);
	set(&f, 0);
	finish(&f);
}

static void half_of_memory_goes_to_the_host_and_comes_back_zeroed(void **state)
{
	half_and_back("16M");
}

static void it_does_so_with_shared_memory(void **state)
{
	half_and_back("16M,backing=memfd");
}

static void a_balloon_may_be_asked_for_from_the_start(void **state)
{
	struct vm_fixture f;

	testing_need_kvm();
	boot(&f, "16M", "=4M", "pages=2048");
	until(&f, "balloon: inflated to 1024");
	set(&f, 0);
	finish(&f);
}

/* Once the loop had time, with the guest running. */
static void let_go_on(struct vm_fixture *f)
{
	vm_resume(f->vm);
	while (info(f).held_bytes > 0)
		loop_poll(vm_loop(f->vm), true);
	vm_pause(f->vm);
}

static void while_inhibited_nothing_goes_and_all_of_it_goes_later(void **state)
{
	struct vm_fixture f;
	uint64_t full;

	testing_need_kvm();
	boot(&f, "16M", "", "pages=2048");
	until(&f, "balloon: ready");
	full = rss(f.vm);
	guestmem_inhibit_discard(vm_guestmem(f.vm));
	set(&f, POOL_BYTES);
	until(&f, "balloon: inflated to 2048");
	assert_true(rss(f.vm) >= full);
	assert_int_equal(info(&f).held_bytes, POOL_BYTES);
	guestmem_allow_discard(vm_guestmem(f.vm));
	let_go_on(&f);
	assert_true(rss(f.vm) + POOL_BYTES <= full + SLACK);
	set(&f, 0);
	finish(&f);
}

static void a_saved_balloon_goes_on(void **state)
{
	struct state_writer w;
	struct vm_fixture f;
	struct error err;

	testing_need_kvm();
	boot(&f, "16M", "=,stats=0,hinting=on,reporting=on", "pages=2048");
	until(&f, "balloon: ready");
	set(&f, POOL_BYTES);
	until(&f, "balloon: inflated to 2048");
	set(&f, POOL_BYTES / 2);
	state_writer_init(&w);
	assert_int_equal(vm_save(f.vm, &w, &err), 0);
	set(&f, 0);
	/* Into the same machine: its RAM is as it was. */
	if (vm_load(f.vm, w.buf, w.len, &err) < 0)
		fail_msg("%s", err.text);
	state_writer_fini(&w);
	assert_int_equal(info(&f).target_bytes, POOL_BYTES / 2);
	assert_int_equal(info(&f).actual_bytes, POOL_BYTES);
	until(&f, "balloon: deflated to 1024");
	set(&f, 0);
	finish(&f);
}

static void reported_memory_goes_to_the_host(void **state)
{
	struct vm_fixture f;

	testing_need_kvm();
	boot(&f, "16M", "=reporting=on", "pages=2048 report=1000");
	until(&f, "ok report");
	assert_non_null(strstr(vm_fixture_text(&f), "zeroed 1000 kept 0"));
	assert_int_equal(info(&f).reported_bytes, 1000 * 4096);
	set(&f, 4096);
	until(&f, "inflated to 1 ");
	set(&f, 0);
	finish(&f);
}

static void the_guest_tells_how_much_memory_it_has(void **state)
{
	struct balloon_stats s;
	struct vm_fixture f;

	testing_need_kvm();
	boot(&f, "16M", "=stats=0", "pages=2048");
	until(&f, "balloon: ready");
	set(&f, 1024 * 4096);
	until(&f, "inflated to 1024");
	virtio_balloon_stats(vm_balloon(f.vm), &s);
	assert_int_equal(s.updates, 1);
	assert_int_equal(s.value[VIRTIO_BALLOON_S_MEMFREE], POOL_BYTES);
	assert_int_equal(s.value[VIRTIO_BALLOON_S_MEMTOT], POOL_BYTES);
	vm_resume(f.vm);
	while (s.updates == 1) {
		assert_int_equal(virtio_balloon_ask_stats(vm_balloon(f.vm)), 0);
		loop_poll(vm_loop(f.vm), true);
		virtio_balloon_stats(vm_balloon(f.vm), &s);
	}
	vm_pause(f.vm);
	assert_int_equal(s.value[VIRTIO_BALLOON_S_MEMFREE], POOL_BYTES / 2);
	set(&f, 0);
	finish(&f);
}

static uint64_t hinted_pages;

static void note_unused(void *opaque, uint64_t gpa, uint64_t len)
{
	hinted_pages += len / 4096;
}

static void a_guest_that_is_asked_hints_its_free_pages(void **state)
{
	static const struct migrate_hints hints = {note_unused, NULL};
	struct vm_fixture f;

	testing_need_kvm();
	boot(&f, "16M", "=hinting=on", "pages=2048");
	until(&f, "balloon: ready");
	hinted_pages = 0;
	vm_resume(f.vm);
	assert_int_equal(balloon_hint_start(vm_balloon(f.vm), &hints), 0);
	vm_pause(f.vm);
	until(&f, "balloon: hinted 512");
	assert_int_equal(hinted_pages, 512);
	vm_resume(f.vm);
	balloon_hint_stop(vm_balloon(f.vm));
	balloon_hint_done(vm_balloon(f.vm));
	vm_pause(f.vm);
	until(&f, "balloon: hints done");
	set(&f, 4096);
	until(&f, "inflated to 1 ");
	set(&f, 0);
	finish(&f);
}

/* ---- moved ---- */

/* End @f's VM with a snapshot at @path. */
static void save_to(struct vm_fixture *f, const char *path)
{
	struct mover *mover;
	struct error err;
	uint32_t code;

	assert_int_equal(mover_create(f->vm, &mover, &err), 0);
	if (mover_snapshot(mover, path, MOVER_THEN_STOP, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(vm_serve(f->vm, &code), VM_END_USER);
	mover_destroy(mover);
	vm_destroy(f->vm);
	f->vm = NULL;
	config_fini(&f->cfg);
}

/* @f's VM out of the file; its mover. */
static struct mover *restore_lazily(struct vm_fixture *f, const char *path)
{
	struct arrival a = {.from = path, .file = true, .lazy = true};
	struct mover *mover = NULL;
	struct error err;
	bool run = false;

	config_init(&f->cfg);
	if (arrival_meet(&a, &f->cfg, &err) < 0 ||
		vm_create(&f->cfg, NULL, &f->vm, &err) < 0 ||
		mover_create(f->vm, &mover, &err) < 0 ||
		arrival_begin(&a, mover, f->vm, &run, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(run);
	arrival_fini(&a);
	return mover;
}

static void a_lazy_restore_holds_the_balloon_until_all_pages_came(void **state)
{
	char path[] = "/tmp/godwit-balloon-XXXXXX";
	struct vm_fixture f;
	struct mover *mover;
	uint32_t code;
	int fd;

	testing_need_kvm();
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	boot(&f, "16M", "=4M", "pages=2048");
	until(&f, "balloon: inflated to 1024");
	save_to(&f, path);
	mover = restore_lazily(&f, path);
	assert_true(info(&f).inhibited);
	assert_int_equal(info(&f).actual_bytes, 4 << 20);
	set(&f, POOL_BYTES);
	vm_resume(f.vm);
	/* The rest of the pages comes, whatever the guest does. */
	while (info(&f).inhibited || info(&f).actual_bytes < POOL_BYTES ||
		info(&f).held_bytes > 0)
		loop_poll(vm_loop(f.vm), true);
	vm_pause(f.vm);
	assert_int_equal(info(&f).returned_bytes, POOL_BYTES / 2);
	set(&f, 0);
	assert_int_equal(vm_run(f.vm, &code), VM_END_POWEROFF);
	if (!strstr(vm_fixture_text(&f),
		    "kept 0 wrong 0\nok balloon\nok memory"))
		fail_msg("%s", vm_fixture_text(&f));
	mover_destroy(mover);
	vm_fixture_fini(&f);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			half_of_memory_goes_to_the_host_and_comes_back_zeroed),
		cmocka_unit_test(it_does_so_with_shared_memory),
		cmocka_unit_test(a_balloon_may_be_asked_for_from_the_start),
		cmocka_unit_test(
			while_inhibited_nothing_goes_and_all_of_it_goes_later),
		cmocka_unit_test(a_saved_balloon_goes_on),
		cmocka_unit_test(reported_memory_goes_to_the_host),
		cmocka_unit_test(the_guest_tells_how_much_memory_it_has),
		cmocka_unit_test(a_guest_that_is_asked_hints_its_free_pages),
		cmocka_unit_test(
			a_lazy_restore_holds_the_balloon_until_all_pages_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
