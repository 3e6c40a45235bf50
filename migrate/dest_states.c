/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest_states.c - which frame of the source may come in which state.
 *
 * The table is the whole rule; who obeys the frames need not ask again.  What
 * depends on more than the state (a DISCARD without LISTEN later, PAGES after a
 * PACKAGE without LISTEN) is checked where it is known.
 */
#include <errno.h>

#include "migrate/dest_priv.h"

#define IN(state)      (1u << DEST_##state)
#define BEFORE_PACKAGE (IN(RAM) | IN(ADVISED))
#define AFTER_PACKAGE  (IN(LISTEN) | IN(LOADED) | IN(RUNNING))

static const struct {
	uint16_t type;
	uint16_t states;
} legal[] = {
	{WIRE_HELLO, IN(HELLO)},
	{WIRE_MACHINE, IN(BUILD)},
	{WIRE_ADVISE, IN(RAM)},
	{WIRE_PAGES, BEFORE_PACKAGE | AFTER_PACKAGE},
	{WIRE_ROUND, BEFORE_PACKAGE},
	{WIRE_DISCARD, IN(ADVISED) | IN(DISCARD)},
	{WIRE_PACKAGE, BEFORE_PACKAGE | IN(DISCARD)},
	{WIRE_COMMIT, IN(LOADED)},
	{WIRE_COMPLETE, IN(RUNNING)},
	{WIRE_CANCEL, IN(BUILD) | BEFORE_PACKAGE | IN(DISCARD) | IN(LISTEN) |
			      IN(LOADED)},
	{WIRE_ERROR, IN(BUILD) | BEFORE_PACKAGE | IN(DISCARD) | AFTER_PACKAGE},
	{WIRE_SYNC, BEFORE_PACKAGE | IN(DISCARD) | AFTER_PACKAGE},
};

const char *dest_state_name(enum dest_state state)
{
	static const char *const name[DEST_STATES] = {
		[DEST_HELLO] = "HELLO",
		[DEST_BUILD] = "BUILD",
		[DEST_RAM] = "RAM",
		[DEST_ADVISED] = "ADVISED",
		[DEST_DISCARD] = "DISCARD",
		[DEST_LISTEN] = "LISTEN",
		[DEST_LOADED] = "LOADED",
		[DEST_RUNNING] = "RUNNING",
		[DEST_END] = "END",
	};

	return state < DEST_STATES ? name[state] : "?";
}

int dest_check_frame(enum dest_state state, uint16_t type, struct error *err)
{
	for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
		if (legal[i].type == type && (legal[i].states & 1u << state))
			return 0;
	return error_set(err, -EPROTO, "%s may not come in state %s",
		wire_type_name(type), dest_state_name(state));
}
