/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Segments of one site's journal, fetched side by side, given out in their order. On a long line
 * each alone takes the time of a request. Inside volume/ only; one thread owns it.
 */
#include "sync/journal.h"

/* So many objects (segments, or bundles of them) at a time; fewer where they are large. */
#define SEGMENTS_OBJECTS 64

struct segments_object {
	uint64_t first, count; /* segments in it; 1: by itself */
	void *bytes;           /* owned */
	size_t length;
	int result;
	bool done;
};

struct segments {
	/* Set by the owner, borrowed; the rest 0. */
	struct tier *tier;
	const char *site;
	int (*stop)(void *arg); /* not 0: nothing more is begun */
	void *arg;

	struct segments_object objects[SEGMENTS_OBJECTS];
	size_t count;
	uint64_t alone; /* segments up to this one are not looked for in bundles */
	_Atomic size_t bytes;

	/* Of the bundle that was given out of last. */
	const struct segments_object *opened;
	struct bundle_part parts[BUNDLE_SEGMENTS];
};

/*
 * The packed bytes of the segment @number (until the next call), which is wanted with those that
 * follow up to @last. Errors as journal_get_packed().
 */
int segments_take(struct segments *segments, uint64_t number, uint64_t last,
		  struct bundle_part *ret_packed);

/* What came as @number is wrong. True: it came in a bundle, it can be taken by itself now. */
bool segments_leave_bundle(struct segments *segments, uint64_t number);

void segments_fini(struct segments *segments);
