/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_device_state.c - hostile state of each virtio device.
 *
 * Byte 0 selects the device; the rest is the body of its section, and, so that
 * the rings it names hold something, also guest RAM from 0 on.
 */
#include "tests/fuzz/virtio_fuzz.h"

#include "migrate/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int load(struct vbench *b, const struct state_writer *w)
{
	return vbench_load(b, w, NULL);
}

/* What was taken is stable: saved, loaded and saved again it is the same. */
static void check_taken(struct vbench *b)
{
	struct state_writer one, two;
	int rc;

	vbench_save(b, &one);
	rc = load(b, &one);
	assert(rc == 0);
	vbench_save(b, &two);
	assert(one.len == two.len && memcmp(one.buf, two.buf, one.len) == 0);
	state_writer_fini(&one);
	state_writer_fini(&two);
}

/* What was refused changed nothing. */
static void check_refused(struct vbench *b, const struct state_writer *was)
{
	struct state_writer now;

	vbench_save(b, &now);
	assert(now.len == was->len && memcmp(now.buf, was->buf, now.len) == 0);
	state_writer_fini(&now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_writer w, was;
	struct vbench *b;
	unsigned i;

	if (size < 1)
		return 0;
	b = fuzz_bench(data[0]);
	memcpy(b->gm.base, data + 1, size - 1 < FUZZ_RAM ? size - 1 : FUZZ_RAM);
	state_writer_init(&w);
	state_begin(&w, b->dev->name, b->dev->ops->version);
	state_put_bytes(&w, data + 1, size - 1);
	state_end(&w);
	vbench_save(b, &was);
	if (load(b, &w) == 0)
		check_taken(b);
	else
		check_refused(b, &was);
	b->dev->ops->resume(b->dev);
	for (i = 0; i < 4; i++) {
		vd_kick(b, i);
		loop_poll(b->loop, false);
	}
	state_writer_fini(&was);
	state_writer_fini(&w);
	fuzz_bench_clear(b);
	return 0;
}
