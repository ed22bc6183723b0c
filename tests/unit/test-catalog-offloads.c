/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/offloads.h"

#include "catalog_help.h"

#define DAY 2 /* folders */
#define CARD 3

static void verify(struct catalog *catalog, uint64_t id, uint64_t seed)
{
	struct blockmap map = make_map(10, seed);
	struct digest digest = make_digest(seed);

	check_int(catalog_set_received(catalog, id, 1, 5, 6, &map, &digest, STEP_WAIT), 0);
	check_int(catalog_set_verified(catalog, id, 1, &digest, &map, STEP_WAIT), 0);
	blockmap_fini(&map);
}

TEST(folders_of_verified_files_are_unsettled_until_cleared)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct unsettled rows[4];

	put_folder(catalog, 1, "day", DAY);
	put_folder(catalog, DAY, "card", CARD);
	put_file(catalog, CARD, "a", 10, 0);
	put_file(catalog, CARD, "b", 11, 0);
	put_file(catalog, DAY, "c", 12, 0);
	check_int(catalog_get_unsettled(catalog, 0, rows, 4), 0);
	verify(catalog, 10, 1);
	verify(catalog, 12, 2);
	check_int(catalog_get_unsettled(catalog, 0, rows, 4), 2);
	check_int(rows[0].folder, DAY);
	check_int(rows[1].folder, CARD);
	check_int(catalog_get_unsettled(catalog, DAY, rows, 4), 1);
	check_int(rows[0].folder, CARD);

	/* Another file came since the row was read: it stays. */
	verify(catalog, 11, 3);
	check_int(catalog_clear_unsettled(catalog, &rows[0]), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unsettled(catalog, DAY, rows, 4), 1);
	check_int(catalog_clear_unsettled(catalog, &rows[0]), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unsettled(catalog, 0, rows, 4), 1);

	/* What moved there counts too. */
	check_int(catalog_note_unsettled(catalog, CARD), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unsettled(catalog, 0, rows, 4), 2);

	/* It goes with its folder, whose number may be another's then. */
	check_int(catalog_remove_name(catalog, 1, "day"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unsettled(catalog, 0, rows, 4), 0);
}

TEST(all_can_be_forgotten)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct unsettled row;

	put_folder(catalog, 1, "day", DAY);
	put_file(catalog, DAY, "a", 10, 0);
	verify(catalog, 10, 1);
	check_int(catalog_get_unsettled(catalog, 0, &row, 1), 1);
	check_int(catalog_forget_unsettled(catalog), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unsettled(catalog, 0, &row, 1), 0);
}

TEST(hashes_are_kept_by_content)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct content_hash hashes[2] = { { .format = HASH_MD5, .bytes = "one" },
					  { .format = HASH_C4, .bytes = "two" } };
	struct content_hash found[HASH_FORMATS];
	struct digest digest = make_digest(1), other = make_digest(2);
	struct node_row row;
	size_t count;

	put_file(catalog, 1, "a", 10, 0);
	verify(catalog, 10, 1);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(catalog_put_hashes(catalog, 10, &digest, hashes, 2), 0);
	check_int(catalog_put_hashes(catalog, 10, &other, hashes, 2), 0);  /* no such content */
	check_int(catalog_put_hashes(catalog, 10, &digest, hashes, 1), 0); /* again */
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_hashes(catalog, row.content, found, &count), 0);
	check_int(count, 2);
	check_int(found[0].format, HASH_C4);
	check_int(memcmp(found[0].bytes, hashes[1].bytes, HASH_MAX_BYTES), 0);
	check_int(found[1].format, HASH_MD5);
	check_int(memcmp(found[1].bytes, hashes[0].bytes, 16), 0);
	check_int(catalog_get_hashes(catalog, row.content + 1, found, &count), 0);
	check_int(count, 0);
}
