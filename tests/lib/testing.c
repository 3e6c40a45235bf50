/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/testing.c - see testing.h. */
#include "tests/lib/testing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int testing_fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *ent;
	int count = 0;

	assert_non_null(dir);
	while ((ent = readdir(dir)) != NULL)
		if (ent->d_name[0] != '.' && atoi(ent->d_name) != dirfd(dir))
			count++;
	closedir(dir);
	return count;
}

uint64_t testing_seed(const char *test)
{
	const char *given = getenv("GODWIT_SEED");
	struct timespec ts;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &ts);
	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)ts.tv_sec * 1000000007u + (uint64_t)ts.tv_nsec;
	if (seed == 0)
		seed = 1;
	printf("# %s: GODWIT_SEED=%" PRIu64 "\n", test, seed);
	return seed;
}

uint64_t testing_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

bool testing_nap(unsigned *naps)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	nanosleep(&nap, NULL);
	return ++*naps < 60000;
}

int testing_end_at_failure(void **state)
{
	(void)state;
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

void testing_need_kvm(void)
{
	const char *need = getenv("KVM");
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return;
	}
	if (need && strcmp(need, "required") == 0)
		fail_msg("/dev/kvm: %s (KVM=required)", strerror(errno));
	print_message("# skip: /dev/kvm: %s\n", strerror(errno));
	skip();
}
