/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_help.h"

static bool is_pinned(struct catalog *catalog, uint64_t id)
{
	struct node_row row = { 0 };

	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, id, &row), 1);
	return row.flags & NODE_PINNED;
}

static void put_absent(struct catalog *catalog, uint64_t parent, const char *name, uint64_t id)
{
	struct node_row row = file_row(id, 100);

	row.state = FILE_EVICTED;
	check_int(catalog_put_node(catalog, &row), 0);
	check_int(catalog_put_name(catalog, parent, name, id), 0);
}

static size_t wanted(struct catalog *catalog, uint64_t *ids, size_t max, bool *ret_more)
{
	check_int(catalog_barrier(catalog), 0);
	return catalog_take_wanted(catalog, ids, max, ret_more);
}

TEST(a_pinned_folder_hands_its_mark_down)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);

	put_folder(catalog, CATALOG_ROOT, "pinned", 10);
	put_folder(catalog, CATALOG_ROOT, "free", 11);
	put_file(catalog, 10, "before", 12, 1);
	check_int(catalog_set_pin(catalog, 10, true), 0);
	put_file(catalog, 10, "after", 13, 1);
	put_folder(catalog, 10, "sub", 14);
	put_file(catalog, 14, "below", 15, 1);
	put_file(catalog, 11, "other", 16, 1);
	check(is_pinned(catalog, 12) && is_pinned(catalog, 13) && is_pinned(catalog, 14));
	check(is_pinned(catalog, 15) && !is_pinned(catalog, 16) && !is_pinned(catalog, 11));

	/* By moving, in both directions of an exchange too, with what is below. */
	put_folder(catalog, 11, "full", 20);
	put_file(catalog, 20, "deep", 21, 1);
	check_int(catalog_move_name(catalog, 11, "full", 10, "full", 0), 0);
	check(is_pinned(catalog, 20) && is_pinned(catalog, 21));
	check_int(catalog_move_name(catalog, 11, "other", 10, "after", MOVE_EXCHANGE), 0);
	check(is_pinned(catalog, 16) && is_pinned(catalog, 13));

	/* Not what somebody unpinned and calls something else. */
	check_int(catalog_set_pin(catalog, 12, false), 0);
	check_int(catalog_move_name(catalog, 10, "before", 10, "renamed", 0), 0);
	check_int(catalog_put_name(catalog, 10, "second", 12), 0);
	check(!is_pinned(catalog, 12));
	check_int(catalog_set_pin(catalog, 10, false), 0);
	put_file(catalog, 10, "late", 30, 1);
	check(!is_pinned(catalog, 10) && !is_pinned(catalog, 21) && !is_pinned(catalog, 30));
	check(is_pinned(catalog, 13)); /* it had left */
}

TEST(what_takes_a_name_is_pinned_as_what_had_it)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);

	put_folder(catalog, CATALOG_ROOT, "folder", 10);
	check_int(catalog_set_pin(catalog, 10, true), 0);
	put_file(catalog, 10, "a", 11, 1);
	put_file(catalog, 10, "b", 12, 1);
	check_int(catalog_set_pin(catalog, 12, false), 0);
	put_absent(catalog, 10, "a", 21);
	put_absent(catalog, 10, "b", 22);
	check(is_pinned(catalog, 21) && !is_pinned(catalog, 22));
}

TEST(what_is_pinned_and_not_here_is_wanted_once)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	uint64_t ids[8];
	bool more = true;

	put_folder(catalog, CATALOG_ROOT, "pinned", 10);
	put_folder(catalog, CATALOG_ROOT, "free", 11);
	check_int(catalog_set_pin(catalog, 10, true), 0);
	put_file(catalog, 10, "here", 12, 1);
	put_absent(catalog, 11, "free", 13);
	check_int(wanted(catalog, ids, 8, &more), 0);
	check(!more);
	put_absent(catalog, 10, "one", 14);
	put_absent(catalog, 10, "two", 15);
	check_int(wanted(catalog, ids, 1, &more), 1);
	check_int(ids[0], 14);
	check_int(wanted(catalog, ids, 8, &more), 1);
	check_int(ids[0], 15);
	check_int(wanted(catalog, ids, 8, &more), 0);
	check(!more);

	/* Of a folder that is moved in, and of more than can be remembered, it is said so. */
	check_int(catalog_move_name(catalog, CATALOG_ROOT, "free", 10, "free", 0), 0);
	check_int(wanted(catalog, ids, 8, &more), 0);
	check(more && is_pinned(catalog, 13));
	check_int(wanted(catalog, ids, 8, &more), 0);
	check(!more);
	for (uint64_t i = 0; i < 5000; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%u", (unsigned)i);
		put_absent(catalog, 10, name, 100 + i);
	}
	for (size_t got = 1, all = 0; got > 0; all += got) {
		got = wanted(catalog, ids, 8, &more);
		check(all + got <= 4096);
		check(got > 0 || (all == 4096 && more));
	}
}
