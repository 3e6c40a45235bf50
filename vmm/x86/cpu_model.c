/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/cpu_model.c - see cpu_model.h. */
#include "vmm/x86/cpu_model.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/x86/cpu_features.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define TEXT_MAX 4096u /* of --cpu */

#define LEAF_XSAVE   0xdu
#define XSAVE_LEGACY 576u

/* x86-64-v2, and what every 64-bit kernel takes for granted. */
static const char *const baseline[] = {"fpu", "de", "pse", "tsc", "msr", "pae",
	"cx8", "apic", "pge", "cmov", "pat", "clflush", "mmx", "fxsr", "sse",
	"sse2", "syscall", "nx", "lm", "sse3", "ssse3", "cx16", "sse4_1",
	"sse4_2", "popcnt", "lahf_lm", "kvm_clocksource", "kvm_clocksource2"};

/* Kept where they are; guests do without, and old or emulated hosts may. */
static const char *const baseline_also[] = {"vme", "mce", "sep", "mtrr", "mca",
	"pse36", "x2apic", "tsc_deadline_timer", "hypervisor", "arat",
	"nonstop_tsc", "kvm_nop_io_delay", "kvm_async_pf", "kvm_steal_time",
	"kvm_pv_eoi", "kvm_pv_unhalt", "kvm_pv_tlb_flush",
	"kvm_async_pf_vmexit", "kvm_pv_ipi", "kvm_poll_control",
	"kvm_pv_sched_yield", "kvm_async_pf_int", "kvm_clocksource_stable"};

/* Leaves of counters, enclaves, traces, tiles, vector versions, nested guests
 * and encryption: not in the baseline, whatever they say. */
static const uint32_t baseline_without[] = {
	0xa, 0x12, 0x14, 0x1d, 0x1e, 0x24, 0x8000000a, 0x8000001f, 0x80000022};

/* Which feature stands behind a component of XCR0 or IA32_XSS. */
static const struct {
	unsigned component;
	const char *name;
} components[] = {{2, "avx"}, {3, "mpx"}, {4, "mpx"}, {5, "avx512f"},
	{6, "avx512f"}, {7, "avx512f"}, {9, "pku"}, {11, "shstk"},
	{12, "shstk"}, {17, "amx_tile"}, {18, "amx_tile"}};

struct words {
	uint32_t w[CPU_WORDS_MAX];
};

struct model {
	struct kvm_cpuid2 *cpuid; /* borrowed */
	struct words host, want;
	struct words plus, minus; /* asked for by name */
	bool is_baseline;
};

static bool has(const struct words *words, struct cpu_bit at)
{
	return words->w[at.word] >> at.bit & 1;
}

static void set(struct words *words, struct cpu_bit at, bool on)
{
	words->w[at.word] &= ~(1u << at.bit);
	if (on)
		words->w[at.word] |= 1u << at.bit;
}

static bool has_name(const struct words *words, const char *name)
{
	struct cpu_bit at = {0, 0};

	return cpu_feature_find(name, &at) && has(words, at);
}

static void add_names(
	struct words *words, const char *const *names, unsigned count)
{
	struct cpu_bit at = {0, 0};
	unsigned i;

	for (i = 0; i < count; i++)
		if (cpu_feature_find(names[i], &at))
			set(words, at, true);
}

/* ---- text ---- */

/* The next word up to a comma, into @buf.  False: no more, or too long. */
static bool next_word(const char **text, char *buf, size_t size)
{
	size_t len = strcspn(*text, ",");

	if (len >= size)
		return false;
	memcpy(buf, *text, len);
	buf[len] = '\0';
	*text += len;
	if (**text == ',')
		++*text;
	return true;
}

/* "+name" or "-name", known and not the machine's own. */
static int parse_change(const char *word, bool *ret_on, struct cpu_bit *ret_bit,
	struct error *err)
{
	if (word[0] != '+' && word[0] != '-')
		return error_set(err, -EINVAL,
			"\"%.40s\" is no change of a feature (give +NAME or "
			"-NAME)",
			word);
	if (!cpu_feature_find(word + 1, ret_bit))
		return error_set(err, -EINVAL,
			"no feature \"%.40s\" (names are those of "
			"/proc/cpuinfo, or cpuid.LEAF.INDEX.REGISTER.BIT)",
			word + 1);
	if (cpu_words[ret_bit->word].ours >> ret_bit->bit & 1)
		return error_set(err, -EINVAL,
			"feature \"%.40s\" follows from the machine and "
			"cannot be chosen",
			word + 1);
	*ret_on = word[0] == '+';
	return 0;
}

static bool is_word(const char *word)
{
	return strcmp(word, "host") == 0 || strcmp(word, "baseline") == 0;
}

static int change_all(const char *text,
	int (*fn)(
		struct model *m, bool on, struct cpu_bit at, struct error *err),
	struct model *m, struct error *err)
{
	char word[64];
	struct cpu_bit at = {0, 0};
	bool on;
	int code = 0;

	while (code == 0 && *text != '\0') {
		if (!next_word(&text, word, sizeof(word)))
			return error_set(
				err, -EINVAL, "a feature name is too long");
		code = parse_change(word, &on, &at, err);
		if (code == 0 && fn)
			code = fn(m, on, at, err);
	}
	return code;
}

int cpu_model_check_form(const char *text, struct error *err)
{
	char model[TEXT_MAX];

	if (strlen(text) >= TEXT_MAX || !next_word(&text, model, sizeof(model)))
		return error_set(err, -EINVAL, "too long (at most %u bytes)",
			TEXT_MAX - 1);
	if (model[0] == '\0')
		return error_set(err, -EINVAL,
			"no model (give host, baseline or a file)");
	if (!is_word(model) && !strchr(model, '/') && !strchr(model, '.'))
		return error_set(err, -EINVAL,
			"no model \"%.40s\" (give host, baseline or a file, "
			"with a slash or a dot in its name)",
			model);
	return change_all(text, NULL, NULL, err);
}

/* ---- changes ---- */

static int change(
	struct model *m, bool on, struct cpu_bit at, struct error *err)
{
	char name[CPU_FEATURE_NAME_MAX + 1];

	if (on && !has(&m->host, at))
		return error_set(err, -ENOTSUP,
			"+%s: this host's KVM does not support it (leave it "
			"out)",
			cpu_feature_name(at, name));
	set(&m->want, at, on);
	set(&m->plus, at, on);
	set(&m->minus, at, !on);
	return 0;
}

static void make_baseline(struct model *m)
{
	struct words keep;
	unsigned i;

	memset(&keep, 0, sizeof(keep));
	add_names(&keep, baseline, COUNT(baseline));
	add_names(&keep, baseline_also, COUNT(baseline_also));
	for (i = 0; i < CPU_WORDS_MAX; i++)
		m->want.w[i] &= keep.w[i] | cpu_words[i].ours;
	m->is_baseline = true;
}

/* Text of the bits of @missing, at most a few, into @buf. */
static void name_bits(const struct words *missing, char *buf, size_t size)
{
	char name[CPU_FEATURE_NAME_MAX + 1];
	unsigned word, bit, more = 0;
	size_t len = 0;

	buf[0] = '\0';
	for (word = 0; word < CPU_WORDS_MAX; word++)
		for (bit = 0; bit < 32; bit++) {
			struct cpu_bit at = {word, bit};

			if (!has(missing, at))
				continue;
			if (len + sizeof(name) + 24 > size) {
				more++;
				continue;
			}
			len += (size_t)snprintf(buf + len, size - len, "%s%s",
				len ? ", " : "", cpu_feature_name(at, name));
		}
	if (more > 0)
		snprintf(buf + len, size - len, " and %u more", more);
}

static bool any(const struct words *words)
{
	uint32_t sum = 0;
	unsigned i;

	for (i = 0; i < CPU_WORDS_MAX; i++)
		sum |= words->w[i];
	return sum != 0;
}

static int check_baseline(const struct model *m, struct error *err)
{
	struct words need;
	char names[ERROR_TEXT_MAX / 2];
	unsigned i;

	if (!m->is_baseline)
		return 0;
	memset(&need, 0, sizeof(need));
	add_names(&need, baseline, COUNT(baseline));
	for (i = 0; i < CPU_WORDS_MAX; i++)
		need.w[i] &= ~m->minus.w[i] & ~m->host.w[i];
	if (!any(&need))
		return 0;
	name_bits(&need, names, sizeof(names));
	return error_set(err, -ENOTSUP,
		"baseline: this host's KVM lacks %s (take them away by name, "
		"or use host)",
		names);
}

/* What lost its base goes too.  Ends: each turn clears a bit or is the last. */
static int follow_needs(struct model *m, struct error *err)
{
	char name[CPU_FEATURE_NAME_MAX + 1], base[CPU_FEATURE_NAME_MAX + 1];
	struct cpu_bit at, needs = {0, 0};
	bool again = true;
	unsigned i;

	while (again) {
		again = false;
		for (i = 0; i < CPU_WORDS_MAX * 32; i++) {
			at = (struct cpu_bit){i / 32, i % 32};
			if (!has(&m->want, at) ||
				!cpu_feature_needs(at, &needs) ||
				has(&m->want, needs) || !has(&m->host, needs))
				continue;
			if (has(&m->plus, at))
				return error_set(err, -EINVAL,
					"+%s needs %s (add it too)",
					cpu_feature_name(at, name),
					cpu_feature_name(needs, base));
			set(&m->want, at, false);
			again = true;
		}
	}
	return 0;
}

/* ---- the result ---- */

static void clear_leaf(struct kvm_cpuid_entry2 *e)
{
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

/* Components that KVM offers and that the model took the feature from. */
static uint64_t lost_components(const struct model *m)
{
	uint64_t lost = 0;
	unsigned i;

	for (i = 0; i < COUNT(components); i++)
		if (has_name(&m->host, components[i].name) &&
			!has_name(&m->want, components[i].name))
			lost |= 1ull << components[i].component;
	return lost;
}

static void set_xsave(struct model *m)
{
	bool gone = has_name(&m->host, "xsave") && !has_name(&m->want, "xsave");
	bool no_xss = !has_name(&m->want, "xsaves");
	struct kvm_cpuid_entry2 *top = cpu_leaf(m->cpuid, LEAF_XSAVE, 0);
	uint64_t lost = lost_components(m);
	uint32_t size = XSAVE_LEGACY, i;

	for (i = 0; i < m->cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &m->cpuid->entries[i];

		if (e->function != LEAF_XSAVE)
			continue;
		if (gone || (e->index >= 2 && e->index < 64 &&
				    lost >> e->index & 1)) {
			clear_leaf(e);
		} else if (e->index == 0) {
			e->eax &= ~(uint32_t)lost;
			e->edx &= ~(uint32_t)(lost >> 32);
		} else if (e->index == 1) {
			e->ecx &= no_xss ? 0 : ~(uint32_t)lost;
			e->edx &= no_xss ? 0 : ~(uint32_t)(lost >> 32);
		}
	}
	if (!top || gone)
		return;
	for (i = 0; i < m->cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &m->cpuid->entries[i];

		/* Supervisor components (bit 0 of ecx) are not in it. */
		if (e->function == LEAF_XSAVE && e->index >= 2 &&
			e->index < 64 && !(e->ecx & 1) &&
			e->ebx + e->eax > size)
			size = e->ebx + e->eax;
	}
	top->ebx = top->ecx = size; /* KVM adjusts ebx to XCR0 */
}

/* Bits of 0x80000001 edx that repeat leaf 1 on AMD. */
#define AMD_COPIES 0x0183f3ffu

static void store(struct model *m)
{
	struct kvm_cpuid_entry2 *e, *one = cpu_leaf(m->cpuid, 1, 0);
	unsigned i;

	for (i = 0; i < CPU_WORDS_MAX; i++) {
		e = cpu_leaf(
			m->cpuid, cpu_words[i].function, cpu_words[i].index);
		if (e)
			*cpu_leaf_reg(e, cpu_words[i].reg) = m->want.w[i];
	}
	e = cpu_leaf(m->cpuid, 0x80000001, 0);
	if (e && one)
		e->edx &= ~AMD_COPIES | one->edx;
	set_xsave(m);
	if (!m->is_baseline)
		return;
	for (i = 0; i < m->cpuid->nent; i++) {
		unsigned k;

		for (k = 0; k < COUNT(baseline_without); k++)
			if (m->cpuid->entries[i].function ==
				baseline_without[k])
				clear_leaf(&m->cpuid->entries[i]);
	}
}

/* ---- templates ---- */

/* "keep" of one register of one leaf.  Words of features go by the model, other
 * registers are masked at once. */
static int apply_mask(struct model *m, json_t *mask, struct error *err)
{
	static const char *const regs[] = {"eax", "ebx", "ecx", "edx"};
	json_int_t leaf = -1, index = 0, keep = -1;
	const char *reg = "";
	struct kvm_cpuid_entry2 *e;
	unsigned r, i;

	if (json_unpack(mask, "{s:I, s?I, s:s, s:I !}", "leaf", &leaf, "index",
		    &index, "register", &reg, "keep", &keep) < 0 ||
		leaf < 0 || leaf > UINT32_MAX || index < 0 ||
		index > UINT32_MAX || keep < 0 || keep > UINT32_MAX)
		return error_set(err, -EINVAL,
			"a mask is {\"leaf\": N, \"index\": N, \"register\": "
			"\"eax\", \"keep\": N}, with numbers below 2^32");
	for (r = 0; r < 4; r++)
		if (strcmp(reg, regs[r]) == 0)
			break;
	if (r == 4)
		return error_set(err, -EINVAL,
			"a mask of register \"%.20s\" (give eax, ebx, ecx or "
			"edx)",
			reg);
	for (i = 0; i < CPU_WORDS_MAX; i++)
		if (cpu_words[i].function == (uint32_t)leaf &&
			cpu_words[i].index == (uint32_t)index &&
			cpu_words[i].reg == (enum cpu_reg)r) {
			m->want.w[i] &= (uint32_t)keep | cpu_words[i].ours;
			return 0;
		}
	e = cpu_leaf(m->cpuid, (uint32_t)leaf, (uint32_t)index);
	if (e)
		*cpu_leaf_reg(e, (enum cpu_reg)r) &= (uint32_t)keep;
	return 0;
}

static int apply_template(struct model *m, json_t *root, struct error *err)
{
	json_t *features = NULL, *masks = NULL, *item;
	const char *base = "host", *word;
	struct cpu_bit at = {0, 0};
	bool on;
	size_t i;
	int code = 0;

	if (json_unpack(root, "{s?s, s?o, s?o !}", "base", &base, "features",
		    &features, "masks", &masks) < 0 ||
		(features && !json_is_array(features)) ||
		(masks && !json_is_array(masks)) || !is_word(base))
		return error_set(err, -EINVAL,
			"a template is {\"base\": \"host\" or \"baseline\", "
			"\"features\": [..], \"masks\": [..]}");
	if (json_array_size(features) > CPU_MODEL_CHANGES_MAX ||
		json_array_size(masks) > CPU_MODEL_CHANGES_MAX)
		return error_set(err, -EINVAL, "too many changes (at most %u)",
			CPU_MODEL_CHANGES_MAX);
	if (strcmp(base, "baseline") == 0)
		make_baseline(m);
	json_array_foreach(masks, i, item)
	{
		code = apply_mask(m, item, err);
		if (code < 0)
			return code;
	}
	json_array_foreach(features, i, item)
	{
		word = json_string_value(item);
		code = parse_change(word ? word : "", &on, &at, err);
		if (code == 0)
			code = change(m, on, at, err);
		if (code < 0)
			return code;
	}
	return 0;
}

static int read_file(
	const char *path, char *buf, size_t size, struct error *err)
{
	size_t len = 0;
	ssize_t n = 0;
	int fd, code;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_errno(err, -errno, "%s: open", path);
	while (len < size) {
		n = read(fd, buf + len, size - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	code = n < 0 ? -errno : (int)len;
	close(fd);
	if (code < 0)
		return error_errno(err, code, "%s: read", path);
	if (len == size)
		return error_set(err, -EINVAL,
			"%s: longer than a CPU template may be (%u bytes)",
			path, CPU_MODEL_FILE_MAX);
	return code;
}

static int apply_file(struct model *m, const char *path, struct error *err)
{
	json_error_t why;
	json_t *root;
	char *buf;
	int len, code;

	buf = malloc(CPU_MODEL_FILE_MAX + 1);
	if (!buf)
		return error_errno(err, -ENOMEM, "%s", path);
	len = read_file(path, buf, CPU_MODEL_FILE_MAX + 1, err);
	if (len < 0) {
		free(buf);
		return len;
	}
	root = json_loadb(buf, (size_t)len, JSON_REJECT_DUPLICATES, &why);
	free(buf);
	if (!root)
		return error_set(err, -EINVAL, "%s: line %d: %s", path,
			why.line, why.text);
	code = apply_template(m, root, err);
	json_decref(root);
	return code < 0 ? error_prepend(err, "%s", path) : 0;
}

int cpu_model_apply(
	const char *text, struct kvm_cpuid2 *cpuid, struct error *err)
{
	struct model m = {.cpuid = cpuid};
	char word[TEXT_MAX];
	unsigned i;
	int code;

	if (!text || strcmp(text, "host") == 0)
		return 0;
	code = cpu_model_check_form(text, err);
	if (code < 0)
		return error_prepend(err, "--cpu");
	for (i = 0; i < CPU_WORDS_MAX; i++)
		m.host.w[i] = m.want.w[i] = cpu_word_get(cpuid, i);
	next_word(&text, word, sizeof(word));
	if (strcmp(word, "baseline") == 0)
		make_baseline(&m);
	else if (strcmp(word, "host") != 0)
		code = apply_file(&m, word, err);
	if (code == 0)
		code = change_all(text, change, &m, err);
	if (code == 0)
		code = check_baseline(&m, err);
	if (code == 0)
		code = follow_needs(&m, err);
	if (code < 0)
		return error_prepend(err, "--cpu");
	store(&m);
	return 0;
}
