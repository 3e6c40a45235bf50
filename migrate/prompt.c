/* SPDX-License-Identifier: Apache-2.0 */
/* migrate/prompt.c - see prompt.h.  Keeps no state; any thread. */
#include "migrate/prompt.h"

#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORT_NS 100000u /* the least that the kernel takes */

/* struct sched_attr, of which not every C library knows. */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
};

void prompt_turns(pid_t tid, bool short_turns)
{
	struct attr attr = {.size = sizeof(attr)};

	if (syscall(SYS_sched_getattr, tid, &attr, sizeof(attr), 0) < 0 ||
		attr.policy != SCHED_OTHER)
		return;
	attr.size = sizeof(attr);
	attr.runtime_ns = short_turns ? SHORT_NS : 0;
	(void)syscall(SYS_sched_setattr, tid, &attr, 0);
}

int prompt_packet_cpu(int fd)
{
	socklen_t len = sizeof(int);
	int cpu = -1;

	if (fd < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &len) < 0)
		return -1;
	return cpu;
}

void prompt_stay(struct prompt_stay *stay, pid_t tid, int cpu)
{
	cpu_set_t one;

	prompt_leave(stay);
	if (cpu < 0 || cpu >= CPU_SETSIZE ||
		sched_getaffinity(tid, sizeof(stay->was), &stay->was) < 0 ||
		!CPU_ISSET(cpu, &stay->was))
		return;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	stay->tid = tid ? tid : gettid();
	stay->kept = sched_setaffinity(tid, sizeof(one), &one) == 0;
}

void prompt_leave(struct prompt_stay *stay)
{
	if (!stay->kept)
		return;
	stay->kept = false;
	(void)sched_setaffinity(stay->tid, sizeof(stay->was), &stay->was);
}
