/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Aside: does the read-back step aside for bytes that arrive?
 *
 * They arrive in memory. As long as the disk brings them to the medium as fast as they come, nobody
 * who writes waits for it, and reading beside costs them nothing. When it falls behind, by more
 * than what came in the last second or by a good part of what the kernel lets gather before it
 * holds up who writes, its time belongs to them. A disk that reading and writing in turns makes
 * slow (a rotating one) falls behind at once.
 */
#include <stdbool.h>

#include "util/writeback.h"

/* Guarded by its owner's lock; all 0 at first. */
struct aside {
	int64_t looked_ns; /* monotonic */
	int64_t mark_ns;   /* when the newer mark was set */
	uint64_t marks[2]; /* bytes received by then, the older one first */
	bool steps;
};

/* Is it time to look again? Who does calls aside_judge(). */
bool aside_is_due(const struct aside *aside, int64_t now_ns);

/* @received_bytes: since the start. @writeback: NULL when nobody knows: it steps aside. */
void aside_judge(struct aside *aside, int64_t now_ns, uint64_t received_bytes,
		 const struct writeback *writeback);
