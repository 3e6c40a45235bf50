/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/cpu_hotplug.c - every sequence of three register writes and a
 * read, of every width, value and offset within the window.
 * promise: the vCPU hotplug registers touch no slot that there is not
 * break: devices/cpu_hotplug.c s/if \(c->select >= c->opt.max\)/if (0)/
 * options: -eva-slevel 500
 */
#include "tests/proof/proof.h"

#include "devices/cpu_hotplug.c"

void log_limited(
	struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
}

static void changed(void *opaque)
{
}

int main(void)
{
	static union {
		struct cpu_hotplug c;
		uint8_t room[sizeof(struct cpu_hotplug) +
			     4 * sizeof(struct slot)];
	} u;
	uint64_t value;
	int i;

	u.c.opt = (struct cpu_hotplug_options){
		.max = 4, .count = 1, .irq_fd = -1, .changed = changed};
	for (i = 0; i < 3; i++)
		port_write(&u.c, any_u64(0, 15), (unsigned)any_u64(1, 8),
			any_u64(0, UINT64_MAX));
	value = port_read(&u.c, any_u64(0, 15), (unsigned)any_u64(1, 8));
	/*@ assert value <= 0xffffffff; */
	return 0;
}
