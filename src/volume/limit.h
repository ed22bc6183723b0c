/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How fast the network may be used: an operator's override (`mediafs limit RATE --for T`), else
 * transfer.timetable, else transfer.limit. The override is kept in the catalog, so it holds over a
 * restart, and ends in time when nothing runs meanwhile. Any thread.
 */
#include <stdint.h>

#include "store/settings.h"
#include "util/thread.h"

struct volume;

struct limit {
	struct mutex lock; /* rank 5: changes, which happen at a person's pace, do not cross */

	/* Guarded by volume->settings_lock. */
	uint64_t override_rate;    /* bytes/s, 0 none */
	int64_t override_until_ns; /* realtime; 0: there is no override */

	_Atomic uint64_t shown; /* what the transfers were told last */
};

/* Take up what the catalog remembers. */
int limit_load(struct volume *volume);

/*
 * Limit to @rate now. With @for_ns > 0 as an override that ends by itself; else as transfer.limit,
 * for good, and an override ends. As settings_set_text().
 */
int volume_limit(struct volume *volume, const char *rate, int64_t for_ns, char **ret_message);

/* What rules at @realtime_ns. */
struct limit_now volume_limit_at(struct volume *volume, int64_t realtime_ns);

/* Until when, as things are (realtime); 0: for a week at least. Takes milliseconds. */
int64_t volume_limit_until(struct volume *volume, int64_t realtime_ns);

/* The hour may have changed what rules: tell the transfers. Call about once a second. */
void volume_limit_tick(struct volume *volume);
