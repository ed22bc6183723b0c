/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Crew: many items, each dealt with by one of a few threads, while the caller's thread tells people
 * of it. Callbacks run without a lock; only tick() and what the caller does afterwards are one
 * thread's.
 */
#include <stdbool.h>
#include <stddef.h>

#define CREW_THREADS_MAX 16u

struct crew {
	const char *name; /* of its threads */
	unsigned threads; /* at most CREW_THREADS_MAX */
	size_t count;     /* of items */

	/* Deal with the item @index in the thread @worker. Not 0: no other is begun. */
	int (*fn)(void *arg, unsigned worker, size_t index);

	/*
	 * May be NULL: none is. Large items go one at a time, in their order, beside the small ones
	 * (each of these mostly waits). The answer for an item never changes.
	 */
	bool (*is_large)(void *arg, size_t index);

	/* In the caller's thread, a few times a second. Not 0: no item is begun any more. */
	int (*tick)(void *arg);

	void *arg;
};

/*
 * Until all items are dealt with, or what was begun is when no more are to be. 0, what fn returned
 * first, or -ECANCELED after tick; an error when no thread can be had.
 */
int crew_run(const struct crew *crew);
