/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A rate limit that ends by itself (`mediafs limit RATE --for T`). What to go back to and when
 * is kept in the catalog, so a restart meanwhile does not make the limit last for ever.
 */
#include <stdint.h>

#include "util/thread.h"

struct volume;

struct limit_timer {
	struct volume *volume; /* borrowed, outlives us */

	/*
	 * Rank 5; held over the change of the setting and of what the catalog remembers: both
	 * happen at a person's pace, and must not cross.
	 */
	struct mutex lock;

	_Atomic int64_t until_ns; /* realtime; 0: nothing to end. Written with the lock held */
};

/* Take up what the catalog remembers. */
int limit_init(struct limit_timer *timer, struct volume *volume);
void limit_fini(struct limit_timer *timer);

/* Limit to @rate now; with @for_ns > 0 the limit of before comes back then. As settings_set_text().
 */
int limit_set(struct limit_timer *timer, const char *rate, int64_t for_ns, char **ret_message);

/* The limit was set otherwise: it stays. */
int limit_forget(struct limit_timer *timer);

/* End the limit when its time has come. Call now and then. */
void limit_tick(struct limit_timer *timer);
