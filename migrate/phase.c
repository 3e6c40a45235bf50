/* SPDX-License-Identifier: Apache-2.0 */
/* migrate/phase.c - see phase.h. */
#include "migrate/phase.h"

#include <stddef.h>

void migrate_watch_add(
	struct migrate_phases *phases, struct migrate_watch *watch)
{
	struct migrate_watch **at = &phases->first;

	while (*at)
		at = &(*at)->next;
	watch->next = NULL;
	*at = watch;
}

void migrate_watch_remove(
	struct migrate_phases *phases, struct migrate_watch *watch)
{
	struct migrate_watch **at;

	for (at = &phases->first; *at; at = &(*at)->next) {
		if (*at == watch) {
			*at = watch->next;
			return;
		}
	}
}

void migrate_publish(const struct migrate_phases *phases,
	const struct migrate_phase_info *info)
{
	struct migrate_watch *watch, *next;

	for (watch = phases->first; watch; watch = next) {
		next = watch->next;
		watch->fn(watch->opaque, info);
	}
}
