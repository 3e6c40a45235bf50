# SPDX-License-Identifier: Apache-2.0
# godwit - build, test and demonstrate.  `make help` lists the targets.
#
# No configure step.  A variant V has its own object tree: build/$(V)/.
#   V=rel    optimised, asserts on (the product)
#   V=san    AddressSanitizer + UndefinedBehaviorSanitizer
#   V=tsan   ThreadSanitizer
#   V=fuzz   libFuzzer + ASan + UBSan (clang)

# VERBOSE=1 shows whole commands.
V ?= rel
Q := $(if $(VERBOSE),,@)
say = $(if $(VERBOSE),,@printf '  %-3s %s\n' $(1) $(2))
B := build/$(V)
CC_rel ?= gcc
CC_san ?= gcc
CC_tsan ?= gcc
CC_fuzz ?= clang
ifeq ($(origin CC),default)
CC := $(CC_$(V))
endif

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla -Wundef \
	-Wwrite-strings -Wno-unused-parameter
OPT_rel  := -O2 -g
OPT_san  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=undefined
OPT_tsan := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
OPT_fuzz := -O1 -g -fno-omit-frame-pointer \
	-fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=undefined
VERSION := 0.1.0
CPPFLAGS += -I. -D_GNU_SOURCE -DGODWIT_VERSION='"$(VERSION)"'
CFLAGS += -std=gnu11 $(WARN) $(OPT_$(V)) -fno-common -pthread \
	-fstack-protector-strong
LDFLAGS += $(OPT_$(V)) -pthread -Wl,-z,relro,-z,now
# Small libraries go in statically: that many fewer files to open at start.
LDLIBS += -Wl,-Bstatic -lfdt -ljansson -luring -Wl,-Bdynamic

# ---- the product, one list a folder -------------------------------------

LOOP := loop/loop.o loop/bh.o loop/notify.o loop/timer.o loop/handlers.o \
	loop/fdmon_poll.o loop/fdmon_epoll.o loop/fdmon_uring.o \
	loop/uring.o loop/polling.o loop/trace.o loop/replay.o loop/pool.o \
	loop/thread.o
VMM := vmm/error.o vmm/log.o vmm/config.o vmm/config_json.o \
	vmm/config_list.o vmm/config_whole.o vmm/config_values.o vmm/config_net.o vmm/config_disk.o vmm/config_balloon.o vmm/config_rng.o vmm/config_vsock.o vmm/config_cpus.o vmm/config_cpu.o vmm/check_native.o vmm/check_host.o \
	vmm/help.o vmm/dump_dtb.o \
	vmm/check.o vmm/kvm.o vmm/vm.o vmm/loops.o vmm/vm_save.o vmm/machine.o vmm/machine_cpus.o vmm/machine_devices.o vmm/machine_net.o vmm/machine_disk.o vmm/guestmem.o vmm/bus.o \
	vmm/irq.o vmm/vcpu.o vmm/vcpu_park.o vmm/hotplug.o \
	vmm/words.o vmm/description.o \
	vmm/mover.o vmm/mover_in.o vmm/vm_migrate.o vmm/arrival.o \
	vmm/commands_move.o vmm/commands_disk.o vmm/commands_balloon.o vmm/throttle.o vmm/image.o vmm/terminal.o \
	vmm/control.o vmm/control_line.o vmm/control_event.o \
	vmm/control_socket.o vmm/commands.o vmm/runtime_dir.o \
	vmm/client.o vmm/verbs.o vmm/verbs_run.o vmm/progress.o
X86 := vmm/x86/boot.o vmm/x86/bzimage.o vmm/x86/elf.o vmm/x86/zeropage.o \
	vmm/x86/pvh.o vmm/x86/lowmem.o vmm/x86/acpi.o vmm/x86/acpi_cpus.o vmm/x86/aml.o \
	vmm/x86/loader.o vmm/x86/fdt.o \
	vmm/x86/mptable.o vmm/x86/cpuid.o vmm/x86/cpuid_json.o vmm/x86/cpuid_check.o vmm/x86/cpu_features.o vmm/x86/cpu_model.o \
	vmm/x86/vcpu_state.o vmm/x86/vcpu_tsc.o vmm/x86/vcpu_fields.o vmm/x86/vcpu_msrs.o \
	vmm/x86/vcpu_fresh.o \
	vmm/x86/regs.o vmm/x86/msr.o vmm/x86/vm_state.o vmm/x86/crash.o
DEVICES := devices/device.o devices/serial.o devices/rtc.o devices/i8042.o \
	devices/power.o devices/debug_exit.o devices/pvpanic.o \
	devices/uart.o devices/charfd.o devices/cpu_hotplug.o
VIRTIO := virtio/iov.o virtio/queue.o virtio/dev.o virtio/dev_state.o \
	virtio/mmio.o virtio/rng.o virtio/blk.o virtio/blk_merge.o virtio/blk_trim.o \
	virtio/blk_throttle.o virtio/blk_state.o virtio/console.o \
	virtio/vsock.o virtio/vsock_conn.o virtio/vsock_host.o \
	virtio/backend/unix_socket.o \
	virtio/balloon.o virtio/balloon_pages.o virtio/balloon_stats.o \
	virtio/balloon_hint.o virtio/balloon_report.o \
	virtio/net.o virtio/net_data.o virtio/net_ctrl.o virtio/net_state.o \
	virtio/backend/bucket.o virtio/backend/tap.o \
	virtio/backend/user_net.o virtio/backend/user_net_poll.o \
	virtio/backend/slirp_lib.o \
	virtio/backend/disk.o virtio/backend/disk_open.o \
	virtio/backend/disk_pool.o virtio/backend/disk_uring.o \
	virtio/backend/disk_change.o virtio/backend/disk_trim.o
MIGRATE := migrate/phase.o migrate/dirty.o migrate/source.o migrate/source_greet.o \
	migrate/source_precopy.o migrate/source_hints.o migrate/source_switch.o migrate/source_postcopy.o \
	migrate/source_send.o migrate/source_return.o migrate/source_timeline.o \
	migrate/state.o migrate/stats.o migrate/crc32c.o migrate/wire.o migrate/wire_put.o \
	migrate/wire_get.o migrate/frame.o migrate/chan.o migrate/chan_addr.o \
	migrate/chan_socket.o migrate/chan_listen.o migrate/chan_exec.o migrate/chan_file.o \
	migrate/chan_mem.o \
	migrate/dest.o migrate/dest_end.o migrate/dest_states.o migrate/dest_in.o \
	migrate/dest_ram.o migrate/dest_postcopy.o migrate/dest_door.o \
	migrate/zero.o migrate/prompt.o migrate/uffd.o migrate/pager.o migrate/pager_fault.o \
	migrate/touched.o migrate/fileio.o migrate/snapshot_format.o \
	migrate/snapshot_write.o migrate/snapshot_read.o migrate/lazy.o

OBJS := $(LOOP) $(VMM) $(X86) $(DEVICES) $(VIRTIO) $(MIGRATE)
MAIN := vmm/main.o

# ---- tests ---------------------------------------------------------------

# tests/unit: cmocka, no privileges.  tests/kvm: /dev/kvm and kernels/.
UNIT := error_log config kvm check dump_dtb bus guestmem state crc32c wire \
	chan loop_poll loop_bh loop_fd loop_timer loop_pool loop_trace loop_stress \
	loop_uring loop_polling loop_thread loop_events loop_interleave image \
	boot_bzimage boot_elf boot_tables reset_vector cpuid cpu_model cpuid_json \
	acpi fdt iov virtio_queue virtio_mmio virtio_poll virtio_rng virtio_blk \
	virtio_console bucket config_vsock virtio_vsock virtio_vsock_state \
	virtio_net virtio_net_ctrl virtio_net_state tap user_net config_net \
	config_balloon config_rng virtio_balloon virtio_balloon_queues \
	virtio_balloon_hint virtio_balloon_stats virtio_balloon_state virtio_state \
	virtio_thread disk disk_faults disk_ends disk_trim disk_block \
	virtio_blk_trim virtio_blk_flow config_disk uart charfd serial rtc i8042 \
	cpu_hotplug config_cpus power debug_exit pvpanic terminal pager snapshot \
	snapshot_crash lazy control verbs migrate_stats words source source_hints \
	source_ends dest dest_ends migrate
KVM_TESTS := balloon net check vm load hotplug vcpu_state run memory faults \
	crash dirty
FUZZ := console blk vsock balloon net bzimage elf state cpuid device_state \
	wire virtqueue virtio_mmio control snapshot

UNIT_BINS := $(UNIT:%=$(B)/tests/unit/test_%)
KVM_BINS := $(KVM_TESTS:%=$(B)/tests/kvm/test_%)
FUZZ_BINS := $(FUZZ:%=build/fuzz/tests/fuzz/fuzz_%)
TEST_LIB := tests/lib/testing.o tests/lib/fake_net.o tests/lib/vm_fixture.o \
	tests/lib/chan_cut.o tests/lib/cut_proxy.o tests/lib/wire_frames.o \
	tests/lib/fake_guest.o tests/lib/migrate_peer.o \
	tests/lib/vdriver.o tests/lib/vtoy.o
FUZZ_LIB := tests/lib/fake_net.o tests/lib/vdriver.o tests/lib/vtoy.o tests/lib/wire_frames.o

.DEFAULT_GOAL := all
.PHONY: all godwit-v kernels unit-bins kvm-bins fuzz-bins help

all: godwit kernels ## build godwit and the bundled guests

godwit: $(B)/godwit
	@if [ "$(V)" = rel ]; then cp $< $@; fi

$(B)/godwit: $(MAIN:%=$(B)/%) $(B)/libgodwit.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/libgodwit.a: $(OBJS:%=$(B)/%)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/tests/unit/test_%: $(B)/tests/unit/test_%.o $(TEST_LIB:%=$(B)/%) \
		$(B)/libgodwit.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

$(B)/tests/kvm/test_%: $(B)/tests/kvm/test_%.o $(TEST_LIB:%=$(B)/%) \
		$(B)/libgodwit.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

# Calls that test_faults makes fail.
FAULTS := malloc calloc realloc aligned_alloc strdup mmap eventfd memfd_create \
	ftruncate fstat pread open ioctl epoll_create1 epoll_ctl \
	pthread_create io_uring_queue_init_params
$(B)/tests/kvm/test_faults: LDFLAGS += $(FAULTS:%=-Wl,--wrap=%)

unit-bins: $(UNIT_BINS)
kvm-bins: $(KVM_BINS)

include kernels/Makefile.inc

# ---- what people type ----------------------------------------------------

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
FUZZ_TEST_SECONDS ?= 5
PREFIX ?= /usr/local

# A recipe's own make, parallel unless the caller has chosen.
SUBMAKE = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))
RUN := tests/lib/run.sh

# Scripts that print TAP, beside the programs of UNIT and KVM_TESTS.
UNIT_SCRIPTS := runner.sh
KVM_SCRIPTS := cli.sh control.sh disk.sh disk_errors.py hints.py refusals.py \
	terminal.py vsock.py hostile.sh qemu_guests.sh migrate.py migrate_faults.py \
	soak.py phases.py postcopy_dma.py
GUEST_SCRIPTS := stock.sh hotplug.sh migrate.sh devices.sh device_moves.sh \
	kvm.sh

export ASAN_OPTIONS ?= detect_leaks=1:handle_segv=1:strict_string_checks=1
export UBSAN_OPTIONS ?= print_stacktrace=1
export TSAN_OPTIONS ?= halt_on_error=1:second_deadlock_stack=1:suppressions=$(CURDIR)/tests/lib/tsan.supp

# suites(prefix, limit in seconds, command before the file, files).  The limits
# only end what hangs; machines are noisy.
suites = $(foreach f,$(4),'$(1)$(patsubst test_%,%,$(notdir $f))@$(2): $(3) $f')
unit_bins = $(UNIT:%=build/$(1)/tests/unit/test_%)
kvm_bins = $(KVM_TESTS:%=build/$(1)/tests/kvm/test_%)

UNIT_SUITES = $(call suites,unit/,1200,,$(call unit_bins,rel)) \
	$(call suites,unit/,600,,$(UNIT_SCRIPTS:%=tests/unit/%))
KVM_SUITES = $(call suites,kvm/,1800,,$(call kvm_bins,rel)) \
	$(call suites,kvm/,3600,,$(KVM_SCRIPTS:%=tests/kvm/%))
GUEST_SUITES = $(call suites,guest/,3600,,$(GUEST_SCRIPTS:%=tests/guest/%))
SAN_UNIT = $(call suites,san/unit/,1200,,$(call unit_bins,san))
SAN_KVM = $(call suites,san/kvm/,3600,,$(call kvm_bins,san)) \
	$(call suites,san/kvm/,3600,GODWIT=build/san/godwit,$(KVM_SCRIPTS:%=tests/kvm/%))
TSAN_UNIT = $(call suites,tsan/unit/,1200,$(TSAN),$(call unit_bins,tsan))
# Fewer pauses for test_load: each takes ten times as long.
TSAN_KVM = $(call suites,tsan/kvm/,3600,GODWIT_PAUSES=1000 $(TSAN),$(call kvm_bins,tsan))
FUZZ_SUITES = $(foreach f,$(FUZZ),'fuzz/$f@86400: tests/lib/fuzz.sh $f $(1)')
MODEL_SUITES = $(if $(wildcard tests/model/run.sh),'model@3600: tests/model/run.sh')
PROOF_SUITES = 'proof@3600: tests/proof/run.sh'
# gcc's ThreadSanitizer cannot live with much address randomisation.
TSAN = $(if $(shell setarch -R true 2>/dev/null && echo y),setarch -R)

.PHONY: deps demo test check check-kvm check-guest check-san check-tsan fuzz proof \
	lint fmt install clean

deps: ## install (as root) or name the Debian packages for build and test
	@tests/lib/deps.sh build test

demo: ## build, explain this host, boot a guest and move it live
	@tests/lib/deps.sh build
	@+$(SUBMAKE) all
	./godwit check
	./godwit run -k kernels/hello
	tests/lib/demo.sh

test: ## everything: unit, kvm, guest, sanitizers, fuzz seeds, models
	@tests/lib/deps.sh test
	@+$(SUBMAKE) all unit-bins kvm-bins
	@+$(SUBMAKE) V=san unit-bins kvm-bins build/san/godwit
	@+$(SUBMAKE) V=tsan unit-bins
	@+$(SUBMAKE) V=fuzz fuzz-bins
	-@tests/lib/fetch_kernels.sh >/dev/null
	@RUN_JOBS=$(JOBS) $(RUN) $(GUEST_SUITES) $(UNIT_SUITES) $(KVM_SUITES) $(SAN_UNIT) \
		$(SAN_KVM) $(TSAN_UNIT) \
		$(call FUZZ_SUITES,$(FUZZ_TEST_SECONDS)) $(MODEL_SUITES) \
		$(PROOF_SUITES)

check: ## unit tests only, no privileges
	@+$(SUBMAKE) unit-bins
	@$(RUN) $(UNIT_SUITES)

check-kvm: ## tests on this host's /dev/kvm
	@+$(SUBMAKE) all kvm-bins
	@$(RUN) $(KVM_SUITES)

check-guest: ## stock Debian guests on the nested bed, no /dev/kvm needed
	@tests/lib/deps.sh test
	@+$(SUBMAKE) all kvm-bins
	@$(RUN) $(GUEST_SUITES)

check-san: ## unit and kvm tests under AddressSanitizer and UBSan
	@+$(SUBMAKE) kernels
	@+$(SUBMAKE) V=san unit-bins kvm-bins build/san/godwit
	@$(RUN) $(SAN_UNIT) $(SAN_KVM)

check-tsan: ## unit and kvm tests under ThreadSanitizer
	@+$(SUBMAKE) kernels
	@+$(SUBMAKE) V=tsan unit-bins kvm-bins
	@$(RUN) $(TSAN_UNIT) $(TSAN_KVM)

proof: ## proofs by Frama-C's Eva and WP (tests/proof/README)
	@$(RUN) $(PROOF_SUITES)

fuzz: ## every fuzzer for FUZZ_SECONDS (60)
	@+$(SUBMAKE) V=fuzz fuzz-bins
	@$(RUN) $(call FUZZ_SUITES,$(FUZZ_SECONDS))

# Objects that only a pattern names would be removed after each run.
.PRECIOUS: $(B)/%.o

fuzz-bins: $(FUZZ_BINS)

build/fuzz/tests/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o \
		$(FUZZ_LIB:%=build/fuzz/%) build/fuzz/libgodwit.a
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# ---- benches: figures, not tests ------------------------------------------

BENCH_ROUNDS ?= 41
BENCH_LIBS := -ljansson
BENCHES := start memory
BENCH_BINS := $(BENCHES:%=build/bench/%) build/bench/floor

.PHONY: bench bench-bins

bench-bins: $(BENCH_BINS)

bench: ## start-up time and memory against a floor and QEMU
	@tests/lib/deps.sh build
	@+$(SUBMAKE) all bench-bins
	build/bench/start -n $(BENCH_ROUNDS) -o build/bench/start.json
	build/bench/memory -o build/bench/memory.json

# The floor is static: the dynamic linker is none of its work.
build/bench/floor: bench/start/floor.c
	@mkdir -p $(@D)
	gcc -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -static -o $@ $<

$(BENCHES:%=build/bench/%): build/bench/%: bench/lib/bench.c bench/lib/bench.h
	@mkdir -p $(@D)
	gcc -std=gnu11 -D_GNU_SOURCE -I. $(WARN) -O2 -g -o $@ \
		bench/$*/$*.c bench/lib/bench.c $(BENCH_LIBS)

# Its peers: libuv1-dev, libev-dev, fio.  Not part of `make bench`'s two, which
# need no peer libraries.
bench-loop: build/bench/loop ## the event loop beside libuv, libev, fio and a floor
	build/bench/loop -n $(LOOP_ROUNDS) -o build/bench/loop.json

LOOP_ROUNDS ?= 11
LOOP_BENCH := $(wildcard bench/loop/*.c) bench/lib/bench.c
.PHONY: bench-loop

build/bench/loop: $(LOOP_BENCH) bench/loop/peer.h bench/loop/disk.h \
		bench/lib/bench.h build/rel/libgodwit.a
	@mkdir -p $(@D)
	gcc -std=gnu11 -D_GNU_SOURCE -I. $(WARN) -O2 -g -pthread -o $@ \
		$(LOOP_BENCH) build/rel/libgodwit.a $(LDLIBS) -luv -lev

# Its peer: fio.  A file of 1 GiB, in build/bench.
bench-disk: build/bench/disk ## random reads through disk_submit() beside fio
	build/bench/disk -n $(DISK_ROUNDS) -o build/bench/disk.json

DISK_ROUNDS ?= 11
.PHONY: bench-disk

build/bench/disk: bench/disk/disk.c bench/lib/bench.c bench/lib/bench.h \
		build/rel/libgodwit.a
	@mkdir -p $(@D)
	gcc -std=gnu11 -D_GNU_SOURCE -I. $(WARN) -O2 -g -pthread -o $@ \
		$(filter %.c %.a,$^) $(LDLIBS)

# No peer: nobody else parks vCPUs.  Needs /dev/kvm and kernels/.
bench-vcpu: kernels build/bench/vcpu ## vCPU plug, pause, save and load beside raw ioctls
	build/bench/vcpu -n $(VCPU_ROUNDS) -o build/bench/vcpu.json

VCPU_ROUNDS ?= 101
.PHONY: bench-vcpu

build/bench/vcpu: bench/vcpu/vcpu.c bench/lib/bench.c bench/lib/bench.h \
		build/rel/libgodwit.a
	@mkdir -p $(@D)
	gcc -std=gnu11 -D_GNU_SOURCE -I. $(WARN) -O2 -g -pthread -o $@ \
		$(filter %.c %.a,$^) $(LDLIBS)

# Its peer: QEMU's microvm.  gnuplot draws the plots.  Needs /dev/kvm.
bench-migrate: all build/bench/migrate_floor build/bench/migrate_first ## moves, faults and restores beside QEMU and beside floors
	@tests/lib/deps.sh bench
	bench/migrate/migrate.py -n $(MIGRATE_ROUNDS) -o build/bench/migrate.json
	bench/plot/plot.py cdf build/bench/migrate.json
	for f in build/bench/migrate/*.jsonl; do \
		bench/plot/plot.py timeline $$f || exit 1; done

MIGRATE_ROUNDS ?= 5
.PHONY: bench-migrate

# Its peers: QEMU's microvm, fio.  perf, if there is one, counts exits.  Needs
# /dev/kvm, and root for taps.  Images of 1.25 GiB in build/bench meanwhile.
bench-devices: all build/bench/migrate_floor ## disks, networks and other devices beside QEMU and floors
	@tests/lib/deps.sh bench
	bench/devices/devices.py -n $(DEVICES_ROUNDS) \
		-o build/bench/devices.json

DEVICES_ROUNDS ?= 5
.PHONY: bench-devices

build/bench/migrate_floor: bench/migrate/floor.c
	@mkdir -p $(@D)
	gcc -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -pthread -o $@ $<

build/bench/migrate_first: bench/migrate/first.c bench/lib/bench.c \
		bench/lib/bench.h
	@mkdir -p $(@D)
	gcc -std=gnu11 -D_GNU_SOURCE -I. $(WARN) -O2 -g -o $@ \
		$(filter %.c,$^) $(BENCH_LIBS)

build/bench/start: bench/start/start.c
build/bench/memory: bench/memory/memory.c

lint: ## formatting, cppcheck, shellcheck
	@tests/lib/deps.sh lint
	@tests/lib/lint.sh

fmt: ## let clang-format have its way
	@tests/lib/deps.sh lint
	git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

install: godwit ## into $(DESTDIR)$(PREFIX)
	install -D -m 755 -s godwit $(DESTDIR)$(PREFIX)/bin/godwit
	@if [ -e docs/godwit.1 ]; then install -D -m 644 docs/godwit.1 \
		$(DESTDIR)$(PREFIX)/share/man/man1/godwit.1; fi

clean: ## remove what was built; .cache/ (downloads) stays
	rm -rf build godwit $(K_RESULTS)

help: ## this list
	@awk -F':.*## ' '/^[a-z_-]+:.*## /{printf "  %-12s %s\n",$$1,$$2}' \
		$(MAKEFILE_LIST)

-include $(shell find build -name '*.d' 2>/dev/null)
