/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_config.c - the command line: what it means, what is refused
 * and in which words, and that no argv whatever can do more than be refused.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config.h"
#include "vmm/config_list.h"
#include "vmm/error.h"
#include "vmm/help.h"

#define TEST_WORDS_MAX 40

/* Split @line at spaces into @argv; "~" stands for a space, "''" for an empty
 * word.  Returns argc. */
static int split(char *line, char **argv)
{
	char *save = NULL, *word, *p;
	int argc = 0;

	for (word = strtok_r(line, " ", &save); word;
		word = strtok_r(NULL, " ", &save)) {
		for (p = word; *p; p++)
			if (*p == '~')
				*p = ' ';
		if (strcmp(word, "''") == 0)
			*word = '\0';
		assert_true(argc < TEST_WORDS_MAX);
		argv[argc++] = word;
	}
	return argc;
}

static int parse(struct config *cfg, const char *line, struct error *err)
{
	char *argv[TEST_WORDS_MAX], *copy = strdup(line);
	int ret;

	assert_non_null(copy);
	config_init(cfg);
	ret = config_parse_run(cfg, split(copy, argv), argv, err);
	free(copy); /* so that a kept pointer into argv shows up */
	return ret;
}

static void parse_ok(struct config *cfg, const char *line)
{
	struct error err = {0};

	if (parse(cfg, line, &err) != 0)
		fail_msg("\"%s\" was refused: %s", line, err.text);
}

static void run_needs_only_a_kernel_and_has_the_documented_defaults(
	void **state)
{
	struct config cfg;

	parse_ok(&cfg, "-k vmlinux");
	assert_string_equal(cfg.kernel, "vmlinux");
	assert_null(cfg.initrd);
	assert_string_equal(cfg.append, "");
	assert_string_equal(cfg.name, "godwit");
	assert_int_equal(cfg.cpus, 1);
	assert_int_equal(cfg.memory.size, 256u << 20);
	assert_int_equal(cfg.memory.backing, GUESTMEM_ANON);
	assert_false(cfg.memory.thp);
	assert_int_equal(cfg.disks, 0);
	assert_int_equal(cfg.machine, BOOT_MACHINE_ACPI);
	assert_int_equal(cfg.protocol, BOOT_AUTO);
	assert_int_equal(cfg.serial.kind, CONFIG_CHAR_STDIO);
	assert_int_equal(cfg.console.kind, CONFIG_CHAR_NONE);
	assert_int_equal(cfg.loop, LOOP_AUTO);
	assert_int_equal(cfg.iothreads, 0);
	assert_false(cfg.rng || cfg.pit || cfg.debug_exit || cfg.no_reboot);
	assert_false(cfg.dry_run || cfg.help);
	assert_null(cfg.dump_dtb);
	assert_int_equal(cfg.verbose, 0);
	config_fini(&cfg);
}

static void long_short_joined_and_equals_forms_mean_the_same(void **state)
{
	static const char *const lines[] = {
		"-k K -i I -a A~B -c 4 -m 1G -d path=D",
		"-kK -iI -aA~B -c4 -m1G -dpath=D",
		"--kernel K --initrd I --append A~B --cpus 4 --memory 1G "
		"--disk path=D",
		"--kernel=K --initrd=I --append=A~B --cpus=4 --memory=1G "
		"--disk=path=D",
	};
	struct config cfg;
	unsigned i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		parse_ok(&cfg, lines[i]);
		assert_string_equal(cfg.kernel, "K");
		assert_string_equal(cfg.initrd, "I");
		assert_string_equal(cfg.append, "A B");
		assert_int_equal(cfg.cpus, 4);
		assert_int_equal(cfg.memory.size, 1ull << 30);
		assert_int_equal(cfg.disks, 1);
		assert_string_equal(cfg.disk[0].path, "D");
		config_fini(&cfg);
	}
}

static void every_flag_and_word_sets_its_own_field(void **state)
{
	struct config cfg;

	parse_ok(&cfg,
		"-k K --rng --pit --debug-exit --no-reboot --dry-run -vv "
		"-v -v --name web-1.a_b");
	assert_true(cfg.rng && cfg.pit && cfg.debug_exit && cfg.no_reboot &&
		    cfg.dry_run);
	assert_string_equal(cfg.name, "web-1.a_b");
	config_fini(&cfg);
}

static void control_is_by_name_by_file_or_not_at_all(void **state)
{
	static const struct {
		const char *words, *control;
		bool none, named;
	} cases[] = {
		{"-k K", NULL, false, false},
		{"-k K --name a", NULL, false, true},
		{"-k K --control c", "c", false, false},
		{"-k K --name a --control c", "c", false, true},
		{"-k K --control none --name a", NULL, true, true},
		{"-k K --control c --control none", NULL, true, false},
		{"-k K --control none --control c", "c", false, false},
	};
	struct config cfg;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		parse_ok(&cfg, cases[i].words);
		if (cases[i].control)
			assert_string_equal(cfg.control, cases[i].control);
		else
			assert_null(cfg.control);
		assert_int_equal(cfg.control_none, cases[i].none);
		assert_int_equal(cfg.named, cases[i].named);
		config_fini(&cfg);
	}
}

static void verbose_counts_up_to_debugging(void **state)
{
	struct config cfg;

	parse_ok(&cfg, "-k K -v");
	assert_int_equal(cfg.verbose, 1);
	config_fini(&cfg);
	parse_ok(&cfg, "-k K -vv");
	assert_int_equal(cfg.verbose, 2);
	config_fini(&cfg);
	parse_ok(&cfg, "-k K -v --verbose -vvv");
	assert_int_equal(cfg.verbose, 2);
	config_fini(&cfg);
}

static void machine_boot_and_loop_know_all_their_words(void **state)
{
	static const struct {
		const char *line;
		int machine, protocol, loop;
	} table[] = {
		{"--machine acpi", BOOT_MACHINE_ACPI, BOOT_AUTO, LOOP_AUTO},
		{"--machine fdt", BOOT_MACHINE_FDT, BOOT_AUTO, LOOP_AUTO},
		{"--machine cmdline", BOOT_MACHINE_CMDLINE, BOOT_AUTO,
			LOOP_AUTO},
		{"--boot auto", BOOT_MACHINE_ACPI, BOOT_AUTO, LOOP_AUTO},
		{"--boot pvh", BOOT_MACHINE_ACPI, BOOT_PVH, LOOP_AUTO},
		{"--boot linux64", BOOT_MACHINE_ACPI, BOOT_LINUX64, LOOP_AUTO},
		{"--boot linux32", BOOT_MACHINE_ACPI, BOOT_LINUX32, LOOP_AUTO},
		{"--loop auto", BOOT_MACHINE_ACPI, BOOT_AUTO, LOOP_AUTO},
		{"--loop poll", BOOT_MACHINE_ACPI, BOOT_AUTO, LOOP_POLL},
		{"--loop epoll", BOOT_MACHINE_ACPI, BOOT_AUTO, LOOP_EPOLL},
		{"--loop uring", BOOT_MACHINE_ACPI, BOOT_AUTO, LOOP_URING},
	};
	struct config cfg;
	char line[64];
	unsigned i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		snprintf(line, sizeof(line), "-k K %s", table[i].line);
		parse_ok(&cfg, line);
		assert_int_equal((int)cfg.machine, table[i].machine);
		assert_int_equal((int)cfg.protocol, table[i].protocol);
		assert_int_equal((int)cfg.loop, table[i].loop);
		config_fini(&cfg);
	}
}

static void memory_takes_size_backing_and_huge_pages(void **state)
{
	static const struct {
		const char *value;
		uint64_t size;
		enum guestmem_backing backing;
		bool thp;
	} table[] = {
		{"4096", 4096, GUESTMEM_ANON, false},
		{"0x200000", 2u << 20, GUESTMEM_ANON, false},
		{"4K", 4096, GUESTMEM_ANON, false},
		{"128m", 128u << 20, GUESTMEM_ANON, false},
		{"3G,backing=memfd", 3ull << 30, GUESTMEM_MEMFD, false},
		{"3G,thp=on,backing=memfd", 3ull << 30, GUESTMEM_MEMFD, true},
		{"2M,backing=hugetlb", 2u << 20, GUESTMEM_HUGETLB, false},
		{"2M,backing=hugetlb,thp=off", 2u << 20, GUESTMEM_HUGETLB,
			false},
		{"2048T", 1ull << 51, GUESTMEM_ANON, false},
		{"1G,backing=anon,thp=on", 1u << 30, GUESTMEM_ANON, true},
	};
	struct config cfg;
	char line[64];
	unsigned i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		snprintf(line, sizeof(line), "-k K -m %s", table[i].value);
		parse_ok(&cfg, line);
		assert_int_equal(cfg.memory.size, table[i].size);
		assert_int_equal(cfg.memory.backing, table[i].backing);
		assert_int_equal(cfg.memory.thp, table[i].thp);
		config_fini(&cfg);
	}
}

static void a_disk_path_may_hold_doubled_commas_and_equals_signs(void **state)
{
	struct config cfg;

	parse_ok(&cfg, "-k K -d path=/a,,b=c.img,ro,direct,serial=S-1 "
		       "-d fd=7 -d fd=8,direct -d path=,,,,x");
	assert_int_equal(cfg.disks, 4);
	assert_string_equal(cfg.disk[0].path, "/a,b=c.img");
	assert_true(cfg.disk[0].readonly && cfg.disk[0].direct);
	assert_string_equal(cfg.disk[0].serial, "S-1");
	assert_int_equal(cfg.disk[0].fd, -1);
	assert_null(cfg.disk[1].path);
	assert_int_equal(cfg.disk[1].fd, 7);
	assert_false(cfg.disk[1].readonly || cfg.disk[1].direct);
	assert_string_equal(cfg.disk[1].serial, "");
	assert_int_equal(cfg.disk[2].fd, 8);
	assert_true(cfg.disk[2].direct);
	assert_string_equal(cfg.disk[3].path, ",,x");
	config_fini(&cfg);
}

static void disks_are_dealt_to_the_io_threads_unless_they_name_one(void **state)
{
	static const struct {
		const char *line;
		int want[5];
	} table[] = {
		{"", {-1, -1, -1, -1, -1}},
		{"--iothread 0", {-1, -1, -1, -1, -1}},
		{"--iothread 1", {0, 0, 0, 0, 0}},
		{"--iothread 2", {0, 1, 0, 1, 0}},
		{"--iothread 3 --iothread 8", {0, 1, 2, 3, 4}},
	};
	struct config cfg;
	char line[128];
	unsigned i, k;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		snprintf(line, sizeof(line),
			"-k K -d fd=3 -d fd=4 %s -d fd=5 -d fd=6 -d fd=7",
			table[i].line);
		parse_ok(&cfg, line);
		for (k = 0; k < 5; k++)
			assert_int_equal(
				cfg.disk[k].iothread, table[i].want[k]);
		config_fini(&cfg);
	}
	/* Who names one takes no turn. */
	parse_ok(&cfg, "-k K -d fd=3 -d fd=4,iothread=7 -d fd=5,iothread=0 "
		       "-d fd=6 --iothread 8");
	assert_int_equal(cfg.iothreads, 8);
	assert_int_equal(cfg.disk[0].iothread, 0);
	assert_int_equal(cfg.disk[1].iothread, 7);
	assert_int_equal(cfg.disk[2].iothread, 0);
	assert_int_equal(cfg.disk[3].iothread, 1);
	config_fini(&cfg);
}

static void a_serial_file_name_is_taken_whole(void **state)
{
	struct config cfg;

	parse_ok(&cfg, "-k K --serial file=a,,b=c --console stdio");
	assert_int_equal(cfg.serial.kind, CONFIG_CHAR_FILE);
	assert_string_equal(cfg.serial.path, "a,,b=c");
	assert_int_equal(cfg.console.kind, CONFIG_CHAR_STDIO);
	config_fini(&cfg);
}

static void an_option_given_again_replaces_the_first(void **state)
{
	struct config cfg;

	parse_ok(&cfg, "-k A -k B -i A -i B -a A -a B -c 2 -c 3 --name A "
		       "--name B -m 1G,thp=on -m 2G --serial file=A "
		       "--serial file=B");
	assert_string_equal(cfg.kernel, "B");
	assert_string_equal(cfg.initrd, "B");
	assert_string_equal(cfg.append, "B");
	assert_string_equal(cfg.name, "B");
	assert_string_equal(cfg.serial.path, "B");
	assert_int_equal(cfg.cpus, 3);
	assert_int_equal(cfg.memory.size, 2ull << 30);
	assert_false(cfg.memory.thp); /* the whole option, not half of it */
	config_fini(&cfg);
}

static void help_among_the_options_stops_every_other_check(void **state)
{
	struct config cfg;

	parse_ok(&cfg, "--help --nonsense");
	assert_true(cfg.help);
	config_fini(&cfg);
	parse_ok(&cfg, "-c 2 -h");
	assert_true(cfg.help);
	config_fini(&cfg);
}

static void dump_dtb_needs_no_kernel(void **state)
{
	struct config cfg;

	parse_ok(&cfg, "--dump-dtb x.dtb -c 2");
	assert_string_equal(cfg.dump_dtb, "x.dtb");
	assert_null(cfg.kernel);
	config_fini(&cfg);
}

static const struct {
	const char *line, *text;
} refusals[] = {
	{"", "--kernel: none is given (give --kernel FILE, a bzImage or an "
	     "ELF kernel)"},
	{"-c 2", "--kernel: none is given (give --kernel FILE, a bzImage or "
		 "an ELF kernel)"},
	{"-k", "--kernel: the value is missing (give --kernel FILE)"},
	{"-k ''", "--kernel '': the file name is empty (give --kernel FILE)"},
	{"-k K --initrd=",
		"--initrd '': the file name is empty (give --initrd FILE)"},
	{"-k K -i", "--initrd: the value is missing (give --initrd FILE)"},
	{"-k K -a", "--append: the value is missing (give --append TEXT)"},
	{"-k K -c", "--cpus: the value is missing (give --cpus N)"},
	{"-k K -m", "--memory: the value is missing (give --memory SIZE)"},
	{"-k K -d", "--disk: the value is missing (give --disk path=FILE)"},
	{"-k K --machine", "--machine: the value is missing (give --machine "
			   "acpi|fdt|cmdline)"},
	{"--dump-dtb ''",
		"--dump-dtb '': the file name is empty (give --dump-dtb "
		"FILE)"},
	{"-k K --dry-run --dump-dtb F",
		"--dry-run and --dump-dtb exclude each other (give one)"},

	{"K", "K: not an option (a kernel is given as --kernel FILE; see "
	      "`godwit help run`)"},
	{"-k K ''", ": not an option (a kernel is given as --kernel FILE; "
		    "see `godwit help run`)"},
	{"-", "-: unknown option (see `godwit help run`)"},
	{"--", "--: unknown option (see `godwit help run`)"},
	{"-x", "-x: unknown option (see `godwit help run`)"},
	{"--kernal K", "--kernal: unknown option (did you mean --kernel? see "
		       "`godwit help run`)"},
	{"--disks=x", "--disks=x: unknown option (did you mean --disk? see "
		      "`godwit help run`)"},
	{"--bridge b", "--bridge: unknown option (see `godwit help run`)"},
	{"-k K --pit=on", "--pit=on: --pit takes no value (give just --pit)"},
	{"-k K --rng=on", "--rng on: 'on' is not understood (give --rng, or "
			 "--rng=bps=BYTES[,bps-burst=BYTES])"},
	{"-k K -vq", "-vq: --verbose takes no value (give just --verbose)"},
	{"-k K --verbose=v", "--verbose=v: --verbose takes no value (give just "
			     "--verbose)"},
	{"-k K --dry-run=", "--dry-run=: --dry-run takes no value (give just "
			    "--dry-run)"},
	{"-k K --r~ng", "--r ng: unknown option (did you mean --rng? see "
			"`godwit help run`)"},

	{"-k K -c 0",
		"--cpus 0: a VM needs at least one vCPU (give 1 or more)"},
	{"-k K -c -1", "--cpus -1: not a number (give 1 or more, in "
		       "digits)"},
	{"-k K -c 2x", "--cpus 2x: not a number (give 1 or more, in "
		       "digits)"},
	{"-k K -c ''", "--cpus '': not a number (give 1 or more, in "
		       "digits)"},
	{"-k K -c 4294967297", "--cpus 4294967297: not a number (give 1 or "
			       "more, in digits)"},
	{"-k K -c 65537", "--cpus 65537: too many vCPUs (give at most 65536; "
			  "`godwit check` shows this KVM's limit)"},

	{"-k K -m 0", "--memory 0: a VM needs memory (give at least 2M, for "
		      "example 512M)"},
	{"-k K -m ''", "--memory '': '' is not a size (give a number and K, "
		       "M, G or T, for example 512M)"},
	{"-k K -m 12X", "--memory 12X: '12X' is not a size (give a number "
			"and K, M, G or T, for example 512M)"},
	{"-k K -m -1", "--memory -1: '-1' is not a size (give a number and "
		       "K, M, G or T, for example 512M)"},
	{"-k K -m 5000", "--memory 5000: the size is not a multiple of 4096 "
			 "bytes (give 8K)"},
	{"-k K -m 3M,backing=hugetlb",
		"--memory 3M,backing=hugetlb: the size is not a multiple of "
		"2097152 bytes (give 4096K)"},
	{"-k K -m 16777216T", "--memory 16777216T: the size is 2^64 bytes or "
			      "more (give less than the host has)"},
	{"-k K -m 18446744073709551615",
		"--memory 18446744073709551615: no x86 machine has that much "
		"(give less than the host has)"},
	{"-k K -m backing=anon",
		"--memory backing=anon: the size is missing (give it first, "
		"for example 512M)"},
	{"-k K -m 1G,2G", "--memory 1G,2G: '2G' is not understood (give "
			  "SIZE[,backing=anon|memfd|hugetlb][,thp=on|off])"},
	{"-k K -m 1G,", "--memory 1G,: '' is not understood (give "
			"SIZE[,backing=anon|memfd|hugetlb][,thp=on|off])"},
	{"-k K -m 1G,backing=file",
		"--memory 1G,backing=file: backing 'file' is unknown (give "
		"anon, memfd or hugetlb)"},
	{"-k K -m 1G,thp=yes", "--memory 1G,thp=yes: thp 'yes' is unknown "
			       "(give on or off)"},
	{"-k K -m 2M,backing=hugetlb,thp=on",
		"--memory 2M,backing=hugetlb,thp=on: hugetlb pages are huge "
		"already (drop thp=on)"},

	{"-k K -d ''", "--disk '': '' is not understood (give "
		       "path=FILE|fd=N[,ro][,direct][,cache=MODE]"
		       "[,serial=ID][,queues=N][,discard=off]"
		       "[,werror=report|stop][,iops=N][,bps=N][,group=NAME]"
		       "[,iothread=K])"},
	{"-k K -d x.img",
		"--disk x.img: 'x.img' is not understood (a file is given as "
		"path=FILE; a comma in it is written twice)"},
	{"-k K -d path=a,b",
		"--disk path=a,b: 'b' is not understood (a file is given as "
		"path=FILE; a comma in it is written twice)"},
	{"-k K -d path=", "--disk path=: the path is empty (give "
			  "path=FILE)"},
	{"-k K -d ro", "--disk ro: it has no file (give path=FILE or "
		       "fd=N)"},
	{"-k K -d path=a,fd=3",
		"--disk path=a,fd=3: path and fd exclude each other (give "
		"one)"},
	{"-k K -d fd=2", "--disk fd=2: fd '2' is not an inherited file "
			 "descriptor (give 3 or more)"},
	{"-k K -d fd=2147483648",
		"--disk fd=2147483648: fd '2147483648' is not an inherited "
		"file descriptor (give 3 or more)"},
	{"-k K -d path=a,format=raw",
		"--disk path=a,format=raw: 'format' is not understood (give "
		"path=FILE|fd=N[,ro][,direct][,cache=MODE][,serial=ID]"
		"[,queues=N][,discard=off][,werror=report|stop][,iops=N]"
		"[,bps=N][,group=NAME][,iothread=K])"},
	{"-k K -d path=a,iothread=",
		"--disk path=a,iothread=: iothread '' is not the number of an "
		"I/O thread (give 0 to 7)"},
	{"-k K -d path=a,iothread=8 --iothread 8",
		"--disk path=a,iothread=8: iothread '8' is not the number of "
		"an I/O thread (give 0 to 7)"},
	{"-k K -d path=a,iothread=-1",
		"--disk path=a,iothread=-1: iothread '-1' is not the number "
		"of an I/O thread (give 0 to 7)"},
	{"-k K -d path=a -d path=b,iothread=0",
		"--disk iothread=0: disk 1 wants an I/O thread that is not "
		"there (give --iothread 1, they count from 0)"},
	{"-k K -d path=a,iothread=4 --iothread 4",
		"--disk iothread=4: disk 0 wants an I/O thread that is not "
		"there (give --iothread 5, they count from 0)"},
	{"-k K -d path=a,serial=",
		"--disk path=a,serial=: the serial has 0 characters (give 1 "
		"to 20)"},
	{"-k K -d path=a,serial=123456789012345678901",
		"--disk path=a,serial=123456789012345678901: the serial has "
		"21 characters (give 1 to 20)"},
	{"-k K -d path=a,serial=a~b",
		"--disk path=a,serial=a b: character 2 of the serial is not "
		"allowed (use printable ASCII without spaces)"},
	{"-k K -d path=a -d path=a",
		"--disk path=a: disk 0 is the same (give each disk once, or "
		"each with path= and ro)"},
	{"-k K -d path=a,ro -d path=a",
		"--disk path=a: disk 0 is the same (give each disk once, or "
		"each with path= and ro)"},
	{"-k K -d path=b -d fd=3,ro -d fd=3,ro",
		"--disk fd=3,ro: disk 1 is the same (give each disk once, or "
		"each with path= and ro)"},
	{"-k K -d fd=3 -d fd=4 -d fd=5 -d fd=6 -d fd=7 -d fd=8 -d fd=9 "
	 "-d fd=10 -d fd=11",
		"--disk fd=11: there are 8 disks already (give at most 8)"},

	{"-k K --machine pc",
		"--machine pc: unknown (give acpi, fdt or cmdline)"},
	{"-k K --boot bios", "--boot bios: unknown (give auto, pvh, linux64 "
			     "or linux32)"},
	{"-k K --loop select",
		"--loop select: unknown (give auto, poll, epoll or uring)"},
	{"-k K --iothread", "--iothread: the value is missing (give "
			    "--iothread N)"},
	{"-k K --iothread two", "--iothread two: not a number (give 0 to 8, "
				"in digits)"},
	{"-k K --iothread 9",
		"--iothread 9: too many I/O threads (give at most 8)"},
	{"-k K --poll-us 1ms", "--poll-us 1ms: not a number of microseconds "
			       "(give 0 to 1000, in digits)"},
	{"-k K --poll-us 1001", "--poll-us 1001: not a number of microseconds "
				"(give 0 to 1000, in digits)"},
	{"-k K --trace all", "--trace all: not a number of events (give 0 to "
			     "1048576, in digits)"},
	{"-k K --trace 1048577", "--trace 1048577: not a number of events "
				 "(give 0 to 1048576, in digits)"},
	{"-k K --serial pty",
		"--serial pty: unknown (give stdio, file=FILE or none)"},
	{"-k K --serial file=",
		"--serial file=: the file name is empty (give file=FILE)"},
	{"-k K --console vc",
		"--console vc: unknown (give stdio, file=FILE or none)"},
	{"-k K --console stdio",
		"--console stdio: --serial uses stdio already (add --serial "
		"none or --serial file=FILE)"},
	{"-k K --console file=x --serial file=x",
		"--console file=x: --serial writes there already (give "
		"another file)"},

	{"-k K --name ''",
		"--name '': the name has 0 characters (give 1 to 63)"},
	{"-k K --name a/b",
		"--name a/b: character 2 is not allowed (use letters, digits, "
		"'.', '_' and '-')"},
	{"-k K --name a\nb",
		"--name a?b: character 2 is not allowed (use letters, digits, "
		"'.', '_' and '-')"},
};

static void every_refusal_names_option_value_reason_and_remedy(void **state)
{
	struct error err;
	struct config cfg;
	unsigned i;

	for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		memset(&err, 0, sizeof(err));
		if (parse(&cfg, refusals[i].line, &err) != -EINVAL)
			fail_msg("\"%s\" was not refused", refusals[i].line);
		assert_string_equal(err.text, refusals[i].text);
		assert_int_equal(err.code, -EINVAL);
		config_fini(&cfg);
	}
}

static void a_long_value_is_cut_and_the_reason_kept(void **state)
{
	static char value[5000];
	char *argv[] = {(char[]){"--name"}, value};
	struct error err = {0};
	struct config cfg;

	memset(value, 'n', sizeof(value) - 1);
	config_init(&cfg);
	assert_int_equal(config_parse_run(&cfg, 2, argv, &err), -EINVAL);
	config_fini(&cfg);
	assert_non_null(strstr(
		err.text, "n...: the name has 4999 characters (give 1 to 63)"));
}

static void read_only_disks_may_share_a_path(void **state)
{
	struct config cfg;

	parse_ok(&cfg, "-k K -d path=a,ro -d path=a,ro");
	assert_int_equal(cfg.disks, 2);
	config_fini(&cfg);
}

static void sizes_are_exact_or_refused(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
	} table[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"1k", 0, 1024},
		{"0x10K", 0, 16384},
		{"0XfF", 0, 255},
		{"16777215T", 0, 16777215ull << 40},
		{"18446744073709551615", 0, UINT64_MAX},
		{"0xffffffffffffffff", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"0x10000000000000000", -ERANGE, 0},
		{"16777216T", -ERANGE, 0},
		{"99999999999999999999999", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"0x", -EINVAL, 0},
		{"K", -EINVAL, 0},
		{"1KB", -EINVAL, 0},
		{"1P", -EINVAL, 0},
		{"1 K", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"12a", -EINVAL, 0},
	};
	uint64_t bytes;
	unsigned i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		bytes = 77;
		assert_int_equal(
			config_parse_size(table[i].text, &bytes), table[i].ret);
		assert_int_equal(bytes, table[i].ret ? 77 : table[i].bytes);
	}
}

static void verbs_are_known_and_others_refused(void **state)
{
	static const struct {
		const char *word;
		enum config_verb verb;
	} known[] = {
		{"run", CONFIG_RUN},
		{"check", CONFIG_CHECK},
		{"version", CONFIG_VERSION},
		{"--version", CONFIG_VERSION},
		{"help", CONFIG_HELP},
		{"--help", CONFIG_HELP},
		{"-h", CONFIG_HELP},
	};
	char *argv[2] = {(char[]){"godwit"}};
	enum config_verb verb;
	struct error err;
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		argv[1] = strdup(known[i].word);
		assert_int_equal(config_parse_verb(2, argv, &verb, &err), 0);
		assert_int_equal(verb, known[i].verb);
		free(argv[1]);
	}
	argv[1] = (char[]){"r\tn"};
	assert_int_equal(config_parse_verb(2, argv, &verb, &err), -EINVAL);
	assert_string_equal(err.text,
		"r?n: unknown verb (see `godwit help`)");
	assert_int_equal(config_parse_verb(1, argv, &verb, &err), -EINVAL);
	assert_string_equal(err.text,
		"no verb is given (see `godwit help`)");
}

/* What config_print_json() wrote; the caller frees it. */
static char *json_of(const struct config *cfg)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(config_print_json(cfg, out), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void dry_run_prints_the_whole_configuration(void **state)
{
	static const char golden[] = "{\n"
				     "  \"name\": \"vm1\",\n"
				     "  \"guest\": {\n"
				     "    \"cpus\": 2,\n"
				     "    \"cpus_max\": 2,\n"
				     "    \"topology\": {\n"
				     "      \"sockets\": 1,\n"
				     "      \"cores\": 2,\n"
				     "      \"threads\": 1\n"
				     "    },\n"
				     "    \"memory_bytes\": 1073741824,\n"
				     "    \"machine\": \"fdt\",\n"
				     "    \"boot\": \"pvh\",\n"
				     "    \"append\": \"quiet console=hvc0\",\n"
				     "    \"serial\": true,\n"
				     "    \"console\": true,\n"
				     "    \"rng\": true,\n"
				     "    \"pit\": true,\n"
				     "    \"debug_exit\": true,\n"
				     "    \"disks\": [\n"
				     "      {\n"
				     "        \"readonly\": true,\n"
				     "        \"serial\": \"S1\",\n"
				     "        \"queues\": 1,\n"
				     "        \"discard\": true\n"
				     "      },\n"
				     "      {\n"
				     "        \"readonly\": false,\n"
				     "        \"serial\": \"\",\n"
				     "        \"queues\": 1,\n"
				     "        \"discard\": true\n"
				     "      }\n"
				     "    ],\n"
				     "    \"nets\": [],\n"
				     "    \"vsock\": null,\n"
				     "    \"balloon\": null\n"
				     "  },\n"
				     "  \"host\": {\n"
				     "    \"kernel\": \"K\",\n"
				     "    \"initrd\": \"I\",\n"
				     "    \"memory\": {\n"
				     "      \"backing\": \"memfd\",\n"
				     "      \"thp\": true\n"
				     "    },\n"
				     "    \"serial\": {\n"
				     "      \"file\": \"ser.log\"\n"
				     "    },\n"
				     "    \"console\": \"stdio\",\n"
				     "    \"loop\": \"epoll\",\n"
				     "    \"iothreads\": 2,\n"
				     "    \"poll_us\": 100,\n"
				     "    \"trace\": 256,\n"
				     "    \"no_reboot\": true,\n"
				     "    \"control\": \"name\",\n"
				     "    \"disks\": [\n"
				     "      {\n"
				     "        \"path\": \"a,b\",\n"
				     "        \"direct\": true,\n"
				     "        \"iothread\": 1,\n"
				     "        \"cache\": \"writeback\",\n"
				     "        \"werror\": \"report\",\n"
				     "        \"limits\": {},\n"
				     "        \"group\": \"\"\n"
				     "      },\n"
				     "      {\n"
				     "        \"fd\": 5,\n"
				     "        \"direct\": false,\n"
				     "        \"iothread\": 0,\n"
				     "        \"cache\": \"writeback\",\n"
				     "        \"werror\": \"report\",\n"
				     "        \"limits\": {},\n"
				     "        \"group\": \"\"\n"
				     "      }\n"
				     "    ],\n"
				     "    \"nets\": [],\n"
				     "    \"vsock\": null,\n"
				     "    \"balloon\": null,\n"
				     "    \"rng\": {\n"
				     "      \"bps\": 0,\n"
				     "      \"bps-burst\": 0\n"
				     "    }\n"
				     "  }\n"
				     "}\n";
	struct config cfg;
	char *text;

	parse_ok(&cfg,
		"-k K -i I -a quiet~console=hvc0 -c 2 -m "
		"1G,backing=memfd,thp=on "
		"-d path=a,,b,ro,direct,serial=S1,iothread=1 -d fd=5 "
		"--iothread 2 --poll-us 100 --trace 256 --machine fdt "
		"--boot pvh --serial file=ser.log --console stdio --rng --pit "
		"--loop epoll --debug-exit --no-reboot --name vm1 --dry-run");
	text = json_of(&cfg);
	assert_string_equal(text, golden);
	free(text);
	config_fini(&cfg);
}

static void names_that_are_not_utf8_still_give_valid_json(void **state)
{
	/* Not UTF-8: a lone byte, a surrogate, beyond U+10FFFF, cut short, two
	 * overlong forms.  One U+FFFD stands for each of their bytes. */
	static const char *const bad[] = {"\xff", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xe2\x82", "\xe0\x80\x80",
		"\xf0\x80\x80\x80", "\xc0\x80"};
	static const char good[] = "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
	char line[64], want[96], *text;
	struct config cfg;
	unsigned i, k;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(line, sizeof(line), "-k %s%s", bad[i], good);
		parse_ok(&cfg, line);
		text = json_of(&cfg);
		strcpy(want, "\"kernel\": \"");
		for (k = 0; k < strlen(bad[i]); k++)
			strcat(want, "\xef\xbf\xbd");
		strcat(want, good);
		strcat(want, "\"");
		assert_non_null(strstr(text, want));
		free(text);
		config_fini(&cfg);
	}
}

static void a_full_output_device_is_reported(void **state)
{
	FILE *full = fopen("/dev/full", "w");
	struct config cfg;

	assert_non_null(full);
	parse_ok(&cfg, "-k K");
	assert_int_equal(config_print_json(&cfg, full), -EIO);
	assert_int_equal(help_print(NULL, full), -EIO);
	fclose(full);
	config_fini(&cfg);
}

static void help_covers_every_verb_and_every_option(void **state)
{
	static const char *const verbs[] = {"run", "check", "version", "help"};
	static const char *const options[] = {"--kernel", "--initrd",
		"--append", "--cpus", "--memory", "--disk", "--machine",
		"--boot", "--serial", "--console", "--rng", "--pit", "--loop",
		"--iothread", "iothread=K", "--debug-exit", "--no-reboot",
		"--name", "--control", "--balloon", "--dry-run", "--dump-dtb",
		"--verbose",
		"Exit status"};
	char *text = NULL, *line;
	size_t len;
	unsigned i;
	FILE *out;

	for (i = 0; i < 4; i++) {
		out = open_memstream(&text, &len);
		assert_int_equal(help_print(verbs[i], out), 0);
		fclose(out);
		assert_true(len > 20);
		for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
			assert_true(strlen(line) < 80);
		free(text);
	}
	out = open_memstream(&text, &len);
	assert_int_equal(help_print("run", out), 0);
	assert_int_equal(help_print("fly", out), -EINVAL);
	fclose(out);
	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (!strstr(text, options[i]))
			fail_msg("help run does not mention %s", options[i]);
	free(text);
}

/* Words that lead far into the parser, and bytes that should not. */
static void random_word(uint64_t *rng, char *buf, size_t size)
{
	static const char *const pieces[] = {"--", "-", "kernel", "k", "=", "m",
		"memory", "disk", "-d", "path=", "fd=", ",", ",,", "ro",
		"direct", "serial=", "backing=", "hugetlb", "memfd", "thp=on",
		"0", "1", "512M", "9999999999999999999", "0x", "stdio",
		"file=", "none", "--serial", "--console", "--machine", "fdt",
		"--boot", "--loop", "--iothread", "iothread=", "--name",
		"--cpus", "-v", "-h", "\n", "\xff", "\x1b", "%s%n", "--dry-run",
		"--dump-dtb", "K", "16T"};
	size_t len = 0, n;
	const char *piece;
	unsigned count = testing_random(rng) % 6;

	while (count-- > 0) {
		piece = pieces[testing_random(rng) %
			       (sizeof(pieces) / sizeof(pieces[0]))];
		n = strlen(piece);
		if (n >= size - len)
			break;
		memcpy(buf + len, piece, n);
		len += n;
	}
	buf[len] = '\0';
}

static void no_command_line_does_more_than_be_refused_in_one_line(void **state)
{
	uint64_t rng = testing_seed(__func__);
	unsigned round, i, accepted = 0, refused = 0;
	char store[12][128], *argv[12], *text;
	struct config cfg;
	struct error err;
	int argc, ret;

	for (round = 0; round < 30000; round++) {
		argc = (int)(testing_random(&rng) % 12);
		for (i = 0; i < (unsigned)argc; i++) {
			random_word(&rng, store[i], sizeof(store[i]));
			argv[i] = store[i];
		}
		if (argc > 1 && round % 2) {
			strcpy(store[0], "-k");
			strcpy(store[1], "K");
		}
		memset(&err, 0, sizeof(err));
		config_init(&cfg);
		ret = config_parse_run(&cfg, argc, argv, &err);
		if (ret == 0) {
			accepted++;
			if (!cfg.help) {
				assert_non_null(cfg.name);
				assert_non_null(cfg.append);
				assert_true(cfg.cpus >= 1);
				assert_true(cfg.memory.size % 4096 == 0);
				text = json_of(&cfg);
				assert_int_equal(text[strlen(text) - 1], '\n');
				free(text);
			}
		} else {
			refused++;
			assert_int_equal(ret, -EINVAL);
			assert_int_equal(err.code, -EINVAL);
			assert_true(strlen(err.text) > 10);
			assert_true(strlen(err.text) < 700);
			assert_null(strpbrk(err.text, "\n\r\t\x1b"));
		}
		config_fini(&cfg);
	}
	/* Both kinds must have been tried, or the words are badly chosen. */
	assert_true(accepted > 100);
	assert_true(refused > 100);
}

static void lists_split_at_single_commas_only(void **state)
{
	static const struct {
		const char *text;
		const char *items[5]; /* "key" or "key|value" */
	} table[] = {
		{"", {""}},
		{"a", {"a"}},
		{"a,b", {"a", "b"}},
		{"a,,b", {"a,b"}},
		{"a,,,b", {"a,", "b"}},
		{",", {"", ""}},
		{",,", {","}},
		{"k=v=w,x=", {"k|v=w", "x|"}},
		{"=v", {"|v"}},
	};
	struct config_item item;
	const char *pos;
	char got[64];
	unsigned i, n;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		pos = table[i].text;
		for (n = 0; config_list_next(&pos, &item) > 0; n++) {
			snprintf(got, sizeof(got), "%s%s%s", item.key,
				item.value ? "|" : "",
				item.value ? item.value : "");
			free(item.key);
			assert_non_null(table[i].items[n]);
			assert_string_equal(got, table[i].items[n]);
		}
		assert_null(table[i].items[n]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			run_needs_only_a_kernel_and_has_the_documented_defaults),
		cmocka_unit_test(
			long_short_joined_and_equals_forms_mean_the_same),
		cmocka_unit_test(every_flag_and_word_sets_its_own_field),
		cmocka_unit_test(control_is_by_name_by_file_or_not_at_all),
		cmocka_unit_test(verbose_counts_up_to_debugging),
		cmocka_unit_test(machine_boot_and_loop_know_all_their_words),
		cmocka_unit_test(memory_takes_size_backing_and_huge_pages),
		cmocka_unit_test(
			a_disk_path_may_hold_doubled_commas_and_equals_signs),
		cmocka_unit_test(
			disks_are_dealt_to_the_io_threads_unless_they_name_one),
		cmocka_unit_test(a_serial_file_name_is_taken_whole),
		cmocka_unit_test(an_option_given_again_replaces_the_first),
		cmocka_unit_test(
			help_among_the_options_stops_every_other_check),
		cmocka_unit_test(dump_dtb_needs_no_kernel),
		cmocka_unit_test(
			every_refusal_names_option_value_reason_and_remedy),
		cmocka_unit_test(a_long_value_is_cut_and_the_reason_kept),
		cmocka_unit_test(read_only_disks_may_share_a_path),
		cmocka_unit_test(sizes_are_exact_or_refused),
		cmocka_unit_test(verbs_are_known_and_others_refused),
		cmocka_unit_test(dry_run_prints_the_whole_configuration),
		cmocka_unit_test(names_that_are_not_utf8_still_give_valid_json),
		cmocka_unit_test(a_full_output_device_is_reported),
		cmocka_unit_test(help_covers_every_verb_and_every_option),
		cmocka_unit_test(
			no_command_line_does_more_than_be_refused_in_one_line),
		cmocka_unit_test(lists_split_at_single_commas_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
