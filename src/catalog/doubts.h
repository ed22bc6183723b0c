/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Doubts: objects of which something else was said than that they are what a copy says. Where a
 * tier cannot refuse to overwrite, two sites may have stored different bytes under one key.
 *
 * A doubt is about one content under one key of one tier. It is open as long as the object was not
 * looked at since, and proven once the copy was found bad: then what other sites or we ourselves
 * told of that key is not believed any more. The writer makes them, in the transaction that makes
 * them necessary: when copies of other bytes are under one key, when another site's record
 * names the key of a copy with another digest, when a copy is marked bad; and, to be looked at
 * later, when a copy is recorded of a tier that cannot refuse (catalog_set_stored()).
 */
#include "catalog/contents.h"

struct doubt_row {
	uint32_t tier;
	uint64_t content;
	char *key;      /* owned */
	uint64_t noted; /* how often: more than before is another doubt */
};
void doubt_rows_free(struct doubt_row *rows, size_t count);

/*
 * Open ones of @tier that are due at @now_ns (realtime), the oldest first, at most @max, an array
 * that doubt_rows_free() frees.
 */
int catalog_get_doubts(struct catalog *catalog, uint32_t tier, int64_t now_ns, size_t max,
		       struct doubt_row **ret_rows, size_t *ret_count);

/* Queued. The copy of @content in @tier is to be looked at now. */
int catalog_doubt_copy(struct catalog *catalog, uint64_t content, uint32_t tier);

/* Queued. It was looked at too early to be sure: again at @due_ns, unless it was noted again. */
int catalog_put_off_doubt(struct catalog *catalog, const struct doubt_row *row, int64_t due_ns);

/* Queued. It was looked at: @row goes, unless it was noted again since it was read, or is proven.
 */
int catalog_clear_doubt(struct catalog *catalog, const struct doubt_row *row);

/* 1: the object @key of @tier was found not to be @content; 0 not. */
int catalog_is_lost(struct catalog *catalog, uint32_t tier, const char *key, uint64_t content);
