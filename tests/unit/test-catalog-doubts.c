/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that two contents claim (catalog/doubts.h). */
#include "catalog/doubts.h"

#include <errno.h>
#include <stdlib.h>

#include "catalog/sync.h"
#include "catalog_help.h"

#define OTHER "22222222-2222-4222-8222-222222222222"
#define TIER 1
#define LATER_NS 1000 /* when a copy is looked at once more */

/* A verified file of @size bytes in the root; its content. */
static uint64_t verified(struct catalog *catalog, uint64_t id, const char *name, uint64_t size,
			 struct digest *ret_digest)
{
	cleanup_with(blockmap_fini) struct blockmap map = { 0 };
	struct node_row row;

	put_file(catalog, CATALOG_ROOT, name, id, size);
	check_int(blockmap_init(&map, size), 0);
	digest_of(name, strlen(name), ret_digest);
	check_int(catalog_set_received(catalog, id, 1, 1, 1, &map, ret_digest, STEP_WAIT), 0);
	check_int(catalog_set_verified(catalog, id, 1, ret_digest, &map, STEP_WAIT), 0);
	check_int(catalog_get_node(catalog, id, &row), 1);
	return row.content;
}

static int store(struct catalog *catalog, uint64_t id, uint64_t content, char *key,
		 const struct digest *digest, uint64_t told)
{
	struct copy_row copy = {
		.content = content, .tier = TIER, .key = key, .digest = *digest, .checked_ns = 1
	};

	return catalog_set_stored(catalog, id, 1, &copy, told, told ? LATER_NS : 0);
}

/* Due ones; the first is *ret_first, if not NULL. */
static size_t doubts(struct catalog *catalog, struct doubt_row *ret_first)
{
	struct doubt_row *rows = NULL;
	size_t count = 0;

	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_doubts(catalog, TIER, LATER_NS - 1, 16, &rows, &count), 0);
	if (count && ret_first) {
		*ret_first = rows[0];
		rows[0].key = NULL;
	}
	doubt_rows_free(rows, count);
	return count;
}

/* Another site's record says that @key has other bytes. */
static void tell(struct catalog *catalog, uint64_t number, const char *key, const char *bytes)
{
	static const uint32_t tiers[] = { TIER };
	struct sync_record record = { .verb = RECORD_PUT, .path = strdup(key) };
	struct sync_segment segment = {
		.position = { .site = OTHER,
			      .segment = number,
			      .records = number,
			      .lamport = number },
		.first = number,
		.records = &record,
		.count = 1,
		.tiers = tiers,
	};

	record.body.kind = VERSION_FILE;
	record.body.size = 3;
	digest_of(bytes, strlen(bytes), &record.body.digest);
	check_int(blockmap_init(&record.body.map, 3), 0);
	strcpy(record.body.tier, OTHER);
	record.body.key = strdup(key);
	check_int(catalog_apply_segment(catalog, &segment), 0);
	sync_record_fini(&record);
}

TEST(a_record_that_names_the_key_of_a_copy_makes_it_doubtful)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct doubt_row first = { 0 };
	struct digest digest;
	uint64_t content = verified(catalog, 10, "a", 3, &digest);

	check_int(store(catalog, 10, content, "a", &digest, catalog_told(catalog)), 0);
	tell(catalog, 1, "b", "other");
	tell(catalog, 2, "a", "a"); /* the same bytes */
	check_int(doubts(catalog, NULL), 0);
	tell(catalog, 3, "a", "other");
	check_int(doubts(catalog, &first), 1);
	check_int(first.content, content);
	check_int(first.tier, TIER);
	check_str(first.key, "a");
	/* Noted again while the tier was asked: what it said may be of the time before. */
	tell(catalog, 4, "a", "another");
	check_int(catalog_clear_doubt(catalog, &first), 0);
	free(first.key);
	check_int(doubts(catalog, &first), 1);
	check_int(catalog_clear_doubt(catalog, &first), 0);
	check_int(doubts(catalog, NULL), 0);
	check_int(catalog_is_lost(catalog, TIER, "a", content), 0);
	free(first.key);
}

TEST(a_copy_is_not_recorded_by_what_was_seen_before_others_told_of_objects)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct digest digest;
	uint64_t content = verified(catalog, 10, "a", 3, &digest);
	uint64_t told = catalog_told(catalog);

	tell(catalog, 1, "a", "other");
	check_int(store(catalog, 10, content, "a", &digest, told), -EAGAIN);
	check_int(state_of(catalog, 10), FILE_VERIFIED);
	check_int(store(catalog, 10, content, "a", &digest, 0), -EAGAIN); /* it is not recorded */
	check_int(store(catalog, 10, content, "a", &digest, catalog_told(catalog)), 0);
	check_int(store(catalog, 10, content, "a", &digest, 0), 0);
	check_int(state_of(catalog, 10), FILE_STORED);
}

TEST(a_copy_is_looked_at_once_more_later_or_when_there_is_a_reason)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct doubt_row *rows = NULL, first = { 0 };
	struct digest digest;
	uint64_t content = verified(catalog, 10, "a", 3, &digest);
	size_t count = 0;

	check_int(store(catalog, 10, content, "a", &digest, catalog_told(catalog)), 0);
	check_int(doubts(catalog, NULL), 0);
	check_int(catalog_get_doubts(catalog, TIER, LATER_NS, 16, &rows, &count), 0);
	check_int(count, 1);
	doubt_rows_free(rows, count);
	check_int(catalog_doubt_copy(catalog, content, TIER), 0);
	check_int(doubts(catalog, &first), 1);
	/* That look came early: the later one is still to be had, and then it goes. */
	check_int(catalog_put_off_doubt(catalog, &first, LATER_NS), 0);
	check_int(doubts(catalog, NULL), 0);
	check_int(catalog_get_doubts(catalog, TIER, LATER_NS, 16, &rows, &count), 0);
	check_int(count, 1);
	check_int(catalog_clear_doubt(catalog, &rows[0]), 0);
	doubt_rows_free(rows, count);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_doubts(catalog, TIER, LATER_NS, 16, &rows, &count), 0);
	check_int(count, 0);
	doubt_rows_free(rows, count);
	free(first.key);
}

TEST(two_contents_under_one_key_are_both_doubtful)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct digest a, b;
	uint64_t first = verified(catalog, 10, "a", 3, &a);
	uint64_t second = verified(catalog, 11, "b", 3, &b);

	check_int(store(catalog, 10, first, "key", &a, catalog_told(catalog)), 0);
	check_int(doubts(catalog, NULL), 0);
	check_int(store(catalog, 11, second, "key", &b, catalog_told(catalog)), 0);
	check_int(doubts(catalog, NULL), 2);
}

TEST(a_lost_copy_takes_its_files_out_of_stored_and_its_key_is_not_believed)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct digest digest, other;
	uint64_t content = verified(catalog, 10, "a", 3, &digest);
	uint64_t kept = verified(catalog, 11, "b", 3, &other);

	check_int(store(catalog, 10, content, "a", &digest, catalog_told(catalog)), 0);
	check_int(store(catalog, 11, kept, "b", &other, catalog_told(catalog)), 0);
	check_int(catalog_lose_copy(catalog, content, TIER, 5), 0);
	check_int(state_of(catalog, 10), FILE_VERIFIED);
	check_int(state_of(catalog, 11), FILE_STORED);
	check_int(catalog_is_lost(catalog, TIER, "a", content), 1);
	check_int(catalog_is_lost(catalog, TIER, "b", kept), 0);
	check_int(store(catalog, 10, content, "a", &digest, 0), -EAGAIN); /* found bad meanwhile */
	/* Elsewhere: what was lost stays so. There again: it is believed. */
	check_int(store(catalog, 10, content, "a2", &digest, catalog_told(catalog)), 0);
	check_int(state_of(catalog, 10), FILE_STORED);
	check_int(catalog_is_lost(catalog, TIER, "a", content), 1);
	check_int(store(catalog, 10, content, "a", &digest, catalog_told(catalog)), 0);
	check_int(catalog_is_lost(catalog, TIER, "a", content), 0);
}
