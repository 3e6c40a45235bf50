/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_cpu_model.c - CPU models, the comparison of hosts and the
 * topology, on leaves of a made-up host (vmm/x86/cpu_model.c, cpuid_check.c,
 * cpuid.c); --cpu's form. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/config_values.h"
#include "vmm/error.h"
#include "vmm/x86/cpu_features.h"
#include "vmm/x86/cpu_model.h"
#include "vmm/x86/cpuid.h"

#define INDEXED	 KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define ROOM	 64u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* eax, ebx, ecx, edx of a server of 2023, as KVM lists it. */
static const uint32_t host_leaves[][7] = {
	{0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69},
	{1, 0, 0, 0x000806f8, 0x00800800, 0xf7fefbbf, 0x0fabfbff},
	{4, 0, INDEXED, 0xfc004121, 0x02c0003f, 0x3f, 0},
	{4, 3, INDEXED, 0xfc1fc163, 0x0380003f, 0x1bfff, 4},
	{6, 0, 0, 4, 0, 0, 0},
	{7, 0, INDEXED, 2, 0xf1bf07ab, 0x1b415f6e, 0xbd814410},
	{7, 1, INDEXED, 0x00201c30, 0, 0, 0},
	{0xa, 0, 0, 0x08300802, 0, 0, 0x8603},
	{0xb, 0, INDEXED, 1, 2, 0x100, 0},
	{0xb, 1, INDEXED, 7, 112, 0x201, 0},
	{0xd, 0, INDEXED, 0x602e7, 0x2b00, 0x2b00, 0},
	{0xd, 1, INDEXED, 0x1f, 0x2b00, 0x1800, 0},
	{0xd, 2, INDEXED, 0x100, 0x240, 0, 0},
	{0xd, 5, INDEXED, 0x40, 0x440, 0, 0},
	{0xd, 6, INDEXED, 0x200, 0x480, 0, 0},
	{0xd, 7, INDEXED, 0x400, 0x680, 0, 0},
	{0xd, 9, INDEXED, 8, 0xa80, 0, 0},
	{0xd, 11, INDEXED, 0x10, 0, 1, 0},
	{0xd, 17, INDEXED, 0x40, 0xac0, 2, 0},
	{0xd, 18, INDEXED, 0x2000, 0xb00, 6, 0},
	{0x1d, 1, INDEXED, 0x04002000, 0x00080040, 16, 0},
	{0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d},
	{0x40000001, 0, 0, 0x01007efb, 0, 0, 0},
	{0x80000000, 0, 0, 0x80000021, 0, 0, 0},
	{0x80000001, 0, 0, 0, 0, 0x121, 0x2c100800},
	{0x80000007, 0, 0, 0, 0, 0, 0x100},
	{0x80000008, 0, 0, 0x3934, 0x0100d000, 0, 0},
	{0x80000021, 0, 0, 0x44, 0, 0, 0},
};

static struct kvm_cpuid2 *make_host(void)
{
	struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + ROOM * sizeof(c->entries[0]));
	unsigned i;

	assert_non_null(c);
	for (i = 0; i < COUNT(host_leaves); i++) {
		const uint32_t *l = host_leaves[i];

		c->entries[i] = (struct kvm_cpuid_entry2){.function = l[0],
			.index = l[1],
			.flags = l[2],
			.eax = l[3],
			.ebx = l[4],
			.ecx = l[5],
			.edx = l[6]};
	}
	c->nent = COUNT(host_leaves);
	return c;
}

static bool feature(const struct kvm_cpuid2 *c, const char *name)
{
	struct cpu_bit at = {0, 0};

	if (!cpu_feature_find(name, &at))
		fail_msg("no feature %s", name);
	return cpu_word_get(c, at.word) >> at.bit & 1;
}

static void take(struct kvm_cpuid2 *c, const char *name)
{
	struct cpu_bit at = {0, 0};
	const struct cpu_word *w;

	assert_true(cpu_feature_find(name, &at));
	w = &cpu_words[at.word];
	*cpu_leaf_reg(cpu_leaf(c, w->function, w->index), w->reg) &=
		~(1u << at.bit);
}

static struct kvm_cpuid2 *model(const char *text)
{
	struct kvm_cpuid2 *c = make_host();
	struct error err;

	if (cpu_model_apply(text, c, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return c;
}

static void refused(const char *text, int code, const char *why)
{
	struct kvm_cpuid2 *c = make_host();
	struct error err = {.text = ""};

	assert_int_equal(cpu_model_apply(text, c, &err), code);
	if (!strstr(err.text, why))
		fail_msg("%s: \"%s\" says nothing of %s", text, err.text, why);
	free(c);
}

/* ---- names ---- */

static void every_bit_has_one_name_that_finds_it(void **state)
{
	char name[CPU_FEATURE_NAME_MAX + 1];
	struct cpu_bit at, found = {0, 0};
	unsigned i;

	for (i = 0; i < CPU_WORDS_MAX * 32; i++) {
		at = (struct cpu_bit){i / 32, i % 32};
		assert_true(
			cpu_feature_find(cpu_feature_name(at, name), &found));
		assert_int_equal(found.word, at.word);
		assert_int_equal(found.bit, at.bit);
	}
	assert_false(cpu_feature_find("", &found));
	assert_false(cpu_feature_find("cpuid.", &found));
	assert_false(cpu_feature_find("AVX2", &found));
}

/* A few by the manual, not by the table. */
static void names_are_the_manuals_bits(void **state)
{
	static const struct {
		const char *name;
		uint32_t function, index;
		enum cpu_reg reg;
		unsigned bit;
	} all[] = {{"sse4_2", 1, 0, CPU_ECX, 20}, {"xsave", 1, 0, CPU_ECX, 26},
		{"avx", 1, 0, CPU_ECX, 28}, {"sse2", 1, 0, CPU_EDX, 26},
		{"avx2", 7, 0, CPU_EBX, 5}, {"avx512f", 7, 0, CPU_EBX, 16},
		{"pku", 7, 0, CPU_ECX, 3}, {"amx_tile", 7, 0, CPU_EDX, 24},
		{"spec_ctrl", 7, 0, CPU_EDX, 26},
		{"nx", 0x80000001, 0, CPU_EDX, 20},
		{"lm", 0x80000001, 0, CPU_EDX, 29},
		{"svm", 0x80000001, 0, CPU_ECX, 2}, {"vmx", 1, 0, CPU_ECX, 5},
		{"nonstop_tsc", 0x80000007, 0, CPU_EDX, 8},
		{"ibpb", 0x80000008, 0, CPU_EBX, 12},
		{"cpuid.7.0.ecx.23", 7, 0, CPU_ECX, 23}};
	struct cpu_bit at = {0, 0};
	unsigned i;

	for (i = 0; i < COUNT(all); i++) {
		assert_true(cpu_feature_find(all[i].name, &at));
		assert_int_equal(cpu_words[at.word].function, all[i].function);
		assert_int_equal(cpu_words[at.word].index, all[i].index);
		assert_int_equal(cpu_words[at.word].reg, all[i].reg);
		assert_int_equal(at.bit, all[i].bit);
	}
}

/* ---- models ---- */

static void host_is_all_that_kvm_supports(void **state)
{
	struct kvm_cpuid2 *is = model("host"), *was = make_host();

	assert_memory_equal(
		is->entries, was->entries, ROOM * sizeof(was->entries[0]));
	free(is);
	is = model(NULL);
	assert_memory_equal(
		is->entries, was->entries, ROOM * sizeof(was->entries[0]));
	free(is);
	free(was);
}

static void the_baseline_is_x86_64_v2_and_little_else(void **state)
{
	static const char *const in[] = {"lm", "nx", "sse4_2", "popcnt", "cx16",
		"lahf_lm", "x2apic", "tsc_deadline_timer", "hypervisor",
		"kvm_clocksource2", "nonstop_tsc", "arat"};
	static const char *const out[] = {"avx", "xsave", "aes", "avx2",
		"avx512f", "vmx", "spec_ctrl", "fsgsbase", "rdtscp", "pcid",
		"amx_tile", "ibpb", "pku", "rdrand", "la57", "umip",
		"kvm_msi_ext_dest_id", "3dnowprefetch"};
	struct kvm_cpuid2 *c = model("baseline");
	unsigned i;

	for (i = 0; i < COUNT(in); i++)
		if (!feature(c, in[i]))
			fail_msg("no %s", in[i]);
	for (i = 0; i < COUNT(out); i++)
		if (feature(c, out[i]))
			fail_msg("%s is there", out[i]);
	assert_int_equal(cpu_leaf(c, 0xa, 0)->eax, 0);
	assert_int_equal(cpu_leaf(c, 0x1d, 1)->eax, 0);
	assert_int_equal(cpu_leaf(c, 0xd, 0)->eax, 0); /* no XSAVE at all */
	assert_int_equal(cpu_leaf(c, 4, 0)->ebx, 0x02c0003f);
	free(c);
}

static void a_host_below_the_baseline_is_refused_by_name(void **state)
{
	struct kvm_cpuid2 *c = make_host();
	struct error err;

	take(c, "sse4_2");
	take(c, "popcnt");
	assert_int_equal(cpu_model_apply("baseline", c, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "sse4_2, popcnt"));
	assert_int_equal(
		cpu_model_apply("baseline,-sse4_2,-popcnt", c, &err), 0);
	assert_true(feature(c, "sse4_1"));
	free(c);
}

static void features_come_and_go_by_name(void **state)
{
	struct kvm_cpuid2 *c = model("baseline,+aes,+xsave,+avx");

	assert_true(feature(c, "aes") && feature(c, "avx"));
	/* x87, SSE, AVX and no more. */
	assert_int_equal(cpu_leaf(c, 0xd, 0)->eax, 7);
	assert_int_equal(cpu_leaf(c, 0xd, 0)->ecx, 0x340);
	assert_int_equal(cpu_leaf(c, 0xd, 2)->ebx, 0x240);
	assert_int_equal(cpu_leaf(c, 0xd, 5)->eax, 0);
	free(c);
	c = model("host,-pcid,+pcid,-rdrand");
	assert_true(feature(c, "pcid"));
	assert_false(feature(c, "rdrand"));
	free(c);
	refused("host,+sse4a", -ENOTSUP, "sse4a");
	refused("host,+nonsense", -EINVAL, "nonsense");
	refused("host,avx2", -EINVAL, "avx2");
	refused("host,-cpuid.1.0.edx.28", -EINVAL, "machine");
	refused("host,", 0, "");
}

static void what_needs_a_feature_goes_with_it(void **state)
{
	static const char *const gone[] = {"avx", "avx2", "avx512f", "avx512vl",
		"avx512_vnni", "fma", "f16c", "pku", "amx_tile", "amx_int8",
		"xsaves", "vaes", "avx_vnni", "avx512_bf16"};
	struct kvm_cpuid2 *c = model("host,-xsave");
	unsigned i;

	for (i = 0; i < COUNT(gone); i++)
		if (feature(c, gone[i]))
			fail_msg("%s without xsave", gone[i]);
	assert_true(feature(c, "sse4_2") && feature(c, "aes"));
	assert_int_equal(cpu_leaf(c, 0xd, 0)->eax, 0);
	assert_int_equal(cpu_leaf(c, 0xd, 2)->eax, 0);
	free(c);
	refused("host,-xsave,+avx", -EINVAL, "xsave");
	refused("baseline,+avx2", -EINVAL, "avx");
	c = model("host,-avx512f");
	assert_true(feature(c, "avx2"));
	assert_false(feature(c, "avx512bw"));
	assert_int_equal(cpu_leaf(c, 0xd, 0)->eax, 0x60207);
	assert_int_equal(cpu_leaf(c, 0xd, 0)->ecx, 0x2b00);
	free(c);
	c = model("host,-amx_tile");
	assert_int_equal(cpu_leaf(c, 0xd, 0)->eax, 0x2e7);
	assert_int_equal(cpu_leaf(c, 0xd, 0)->ecx, 0xa88);
	assert_int_equal(cpu_leaf(c, 0xd, 18)->eax, 0);
	free(c);
}

static void amds_copies_of_leaf_1_follow_it(void **state)
{
	struct kvm_cpuid2 *c = make_host();
	struct error err;

	cpu_leaf(c, 0x80000001, 0)->edx = 0x2fd3fbff;
	assert_int_equal(cpu_model_apply("host,-vme,-mmx", c, &err), 0);
	assert_int_equal(
		cpu_leaf(c, 0x80000001, 0)->edx, 0x2fd3fbff & ~0x00800002u);
	free(c);
}

/* ---- templates ---- */

static void with_file(const char *json, const char *after, int code,
	const char *why, struct kvm_cpuid2 **ret)
{
	char path[] = "/tmp/godwit-cpu.XXXXXX", text[128];
	struct kvm_cpuid2 *c = make_host();
	struct error err = {.text = ""};
	int fd = mkstemp(path), got;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, json, strlen(json)), strlen(json));
	close(fd);
	snprintf(text, sizeof(text), "%s%s", path, after);
	got = cpu_model_apply(text, c, &err);
	unlink(path);
	if (got != code || !strstr(err.text, why))
		fail_msg("%.60s: %d \"%s\"", json, got, err.text);
	if (ret)
		*ret = c;
	else
		free(c);
}

static void a_template_says_what_is_left(void **state)
{
	struct kvm_cpuid2 *c;

	with_file("{\"base\": \"baseline\", \"features\": [\"+aes\", "
		  "\"-popcnt\"]}",
		",+fsgsbase", 0, "", &c);
	assert_true(feature(c, "aes") && feature(c, "fsgsbase"));
	assert_false(feature(c, "popcnt") || feature(c, "avx"));
	free(c);
	with_file("{\"masks\": [{\"leaf\": 7, \"register\": \"ebx\", \"keep\": "
		  "1}, {\"leaf\": 10, \"register\": \"eax\", \"keep\": 255}]}",
		"", 0, "", &c);
	assert_int_equal(cpu_leaf(c, 7, 0)->ebx, 1);
	assert_int_equal(cpu_leaf(c, 0xa, 0)->eax, 2);
	assert_int_equal(cpu_leaf(c, 0xd, 0)->eax, 0x60207); /* no AVX-512 */
	free(c);
	with_file("{}", "", 0, "", NULL);
}

static void a_bad_template_is_refused(void **state)
{
	char *big = malloc(CPU_MODEL_FILE_MAX + 2);

	with_file("", "", -EINVAL, "line", NULL);
	with_file("[]", "", -EINVAL, "template", NULL);
	with_file("{\"base\": \"host\"", "", -EINVAL, "line", NULL);
	with_file("{\"base\": \"x\"}", "", -EINVAL, "template", NULL);
	with_file("{\"base\": 1}", "", -EINVAL, "template", NULL);
	with_file("{\"bass\": \"host\"}", "", -EINVAL, "template", NULL);
	with_file("{\"base\":\"host\",\"base\":\"host\"}", "", -EINVAL, "line",
		NULL);
	with_file("{\"features\": {}}", "", -EINVAL, "template", NULL);
	with_file("{\"features\": [7]}", "", -EINVAL, "change", NULL);
	with_file("{\"features\": [\"+sse4a\"]}", "", -ENOTSUP, "sse4a", NULL);
	with_file("{\"masks\": [7]}", "", -EINVAL, "mask", NULL);
	with_file("{\"masks\": [{\"leaf\": 7}]}", "", -EINVAL, "mask", NULL);
	with_file("{\"masks\": [{\"leaf\": 4294967296, \"register\": \"eax\", "
		  "\"keep\": 0}]}",
		"", -EINVAL, "2^32", NULL);
	with_file("{\"masks\": [{\"leaf\": 7, \"register\": \"eip\", \"keep\": "
		  "0}]}",
		"", -EINVAL, "eip", NULL);
	with_file("{\"masks\": [{\"leaf\": 7, \"register\": \"eax\", \"keep\": "
		  "-1}]}",
		"", -EINVAL, "mask", NULL);
	refused("/nonexistent/cpu.json", -ENOENT, "/nonexistent");
	refused("/dev/zero", -EINVAL, "longer");
	assert_non_null(big);
	memset(big, ' ', CPU_MODEL_FILE_MAX + 1);
	big[CPU_MODEL_FILE_MAX + 1] = '\0';
	with_file(big, "", -EINVAL, "longer", NULL);
	free(big);
}

/* ---- the option ---- */

static void the_form_of_cpu_is_checked_when_it_is_parsed(void **state)
{
	static const char *const good[] = {"host", "baseline", "./cpu",
		"a.json", "/x/y,+avx2", "host,-avx2,+cpuid.7.0.ecx.23"};
	static const char *const bad[] = {"", "hots", ",+avx", "host,+",
		"host,,", "host,+avx2,x", "baseline,+AVX",
		"host,-cpuid.7.0.ecx.32",
		"host,+"
		"0123456789012345678901234567890123456789012345678901234567890"
		"123456789"};
	char *text = NULL;
	struct error err;
	unsigned i;

	for (i = 0; i < COUNT(good); i++) {
		assert_int_equal(
			config_value_cpu_model(good[i], &text, &err), 0);
		assert_string_equal(text, good[i]);
	}
	for (i = 0; i < COUNT(bad); i++) {
		assert_int_equal(
			config_value_cpu_model(bad[i], &text, &err), -EINVAL);
		assert_non_null(strstr(err.text, "--cpu"));
		assert_string_equal(text, good[COUNT(good) - 1]);
	}
	free(text);
}

/* ---- another host ---- */

static void differs(void (*change)(struct kvm_cpuid2 *host), const char *why)
{
	struct kvm_cpuid2 *wanted = make_host(), *host = make_host();
	struct error err = {.text = ""};
	int code;

	change(host);
	code = cpuid_check(wanted, host, &err);
	assert_int_equal(code, why ? -ENOTSUP : 0);
	if (why && !strstr(err.text, why))
		fail_msg("\"%s\" says nothing of %s", err.text, why);
	free(wanted);
	free(host);
}

static void no_change(struct kvm_cpuid2 *h)
{
}

static void no_avx512(struct kvm_cpuid2 *h)
{
	take(h, "avx512f");
	take(h, "avx512vl");
}

static void no_ibpb(struct kvm_cpuid2 *h)
{
	take(h, "ibpb");
}

static void other_vendor(struct kvm_cpuid2 *h)
{
	cpu_leaf(h, 0, 0)->ebx = 0x68747541;
}

static void no_tiles(struct kvm_cpuid2 *h)
{
	cpu_leaf(h, 0xd, 0)->eax = 0x2e7;
}

static void pkru_elsewhere(struct kvm_cpuid2 *h)
{
	cpu_leaf(h, 0xd, 9)->ebx = 0x980;
}

static void narrow(struct kvm_cpuid2 *h)
{
	cpu_leaf(h, 0x80000008, 0)->eax = 0x302e;
}

static void fewer_counters(struct kvm_cpuid2 *h)
{
	cpu_leaf(h, 0xa, 0)->eax = 0x08300402;
}

static void nothing(struct kvm_cpuid2 *h)
{
	h->nent = 0;
}

static void unlike_but_able(struct kvm_cpuid2 *h)
{
	struct kvm_cpuid_entry2 *one = cpu_leaf(h, 1, 0);

	one->eax = 0x000c06f2;
	one->ebx = 0x05400800;
	one->ecx &= ~(1u << 27 | 1u << 21 | 1u << 31);
	one->edx &= ~(1u << 28);
	cpu_leaf(h, 0, 0)->eax = 0xd;
	cpu_leaf(h, 4, 0)->eax = 0;
	cpu_leaf(h, 0xb, 1)->ebx = 3;
	cpu_leaf(h, 0x80000008, 0)->eax = 0x3939;
	cpu_leaf(h, 0x80000021, 0)->eax |= 1;
}

static void what_a_host_lacks_is_named(void **state)
{
	differs(no_change, NULL);
	differs(no_avx512, "avx512f, avx512vl");
	differs(no_ibpb, "ibpb");
	differs(other_vendor, "vendor");
	differs(no_tiles, "xsave component 17");
	differs(pkru_elsewhere, "xsave component 9 in that place");
	differs(narrow, "physical address bits 52 (here 46)");
	differs(narrow, "linear address bits 57 (here 48)");
	differs(fewer_counters, "performance counters 8 (here 4)");
	differs(nothing, "more (start the guest with --cpu baseline");
	differs(unlike_but_able, NULL);
}

static void a_baseline_guest_runs_on_a_lesser_host(void **state)
{
	struct kvm_cpuid2 *wanted = model("baseline"), *host = make_host();
	struct error err;

	no_avx512(host);
	no_tiles(host);
	take(host, "xsave");
	take(host, "spec_ctrl");
	assert_int_equal(cpuid_check(wanted, host, &err), 0);
	take(host, "ssse3");
	assert_int_equal(cpuid_check(wanted, host, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, ": ssse3 ("));
	free(wanted);
	free(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bit_has_one_name_that_finds_it),
		cmocka_unit_test(names_are_the_manuals_bits),
		cmocka_unit_test(host_is_all_that_kvm_supports),
		cmocka_unit_test(the_baseline_is_x86_64_v2_and_little_else),
		cmocka_unit_test(a_host_below_the_baseline_is_refused_by_name),
		cmocka_unit_test(features_come_and_go_by_name),
		cmocka_unit_test(what_needs_a_feature_goes_with_it),
		cmocka_unit_test(amds_copies_of_leaf_1_follow_it),
		cmocka_unit_test(a_template_says_what_is_left),
		cmocka_unit_test(a_bad_template_is_refused),
		cmocka_unit_test(the_form_of_cpu_is_checked_when_it_is_parsed),
		cmocka_unit_test(what_a_host_lacks_is_named),
		cmocka_unit_test(a_baseline_guest_runs_on_a_lesser_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
