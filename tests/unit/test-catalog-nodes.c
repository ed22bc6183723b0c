/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_help.h"

TEST(a_node_is_read_back_as_it_was_put)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row = {
		.id = 0xfffffffffffffffe, /* some file systems use the highest bit */
		.mode = S_IFREG | 0640,
		.size = 1ull << 40,
		.mtime_ns = -5,
		.ctime_ns = 1764354062123456789,
		.generation = 7,
		.state = FILE_EVICTED,
		.state_ns = 99,
		.content = 12,
		.flags = NODE_PINNED,
		.resident_bytes = 4096,
		.error = -EIO,
	};
	struct node_row got;

	check_int(catalog_put_node(catalog, &row), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, row.id, &got), 1);
	check_int(got.id, row.id);
	check_int(got.mode, row.mode);
	check_int(got.size, row.size);
	check_int(got.mtime_ns, row.mtime_ns);
	check_int(got.ctime_ns, row.ctime_ns);
	check_int(got.generation, row.generation);
	check_int(got.state, row.state);
	check_int(got.state_ns, row.state_ns);
	check_int(got.content, row.content);
	check_int(got.flags, row.flags);
	check_int(got.resident_bytes, row.resident_bytes);
	check_int(got.error, row.error);
	check_int(catalog_get_node(catalog, 5, &got), 0);
}

TEST(rows_that_cannot_be_are_refused)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row = file_row(0, 1);
	char long_name[257];

	check_int(catalog_put_node(catalog, &row), -EINVAL);
	row = file_row(5, UINT64_MAX);
	check_int(catalog_put_node(catalog, &row), -EINVAL);
	row = file_row(5, 1);
	row.state = (enum file_state)11;
	check_int(catalog_put_node(catalog, &row), -EINVAL);
	row.state = 0;
	check_int(catalog_put_node(catalog, &row), -EINVAL);
	row = folder_row(5);
	row.state = FILE_STORED;
	check_int(catalog_put_node(catalog, &row), -EINVAL);
	check_int(catalog_put_name(catalog, 1, "", 5), -EINVAL);
	check_int(catalog_put_name(catalog, 1, "a/b", 5), -EINVAL);
	check_int(catalog_put_name(catalog, 1, "..", 5), -EINVAL);
	check_int(catalog_put_name(catalog, 1, "root", 1), -EINVAL);
	memset(long_name, 'x', 256);
	long_name[256] = '\0';
	check_int(catalog_put_name(catalog, 1, long_name, 5), -EINVAL);
}

TEST(the_root_is_there_from_the_start)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_free char *path = NULL;
	struct node_row row;

	check_int(catalog_lookup_path(catalog, "", &row), 1);
	check_int(row.id, CATALOG_ROOT);
	check(S_ISDIR(row.mode));
	check_int(catalog_path_of(catalog, CATALOG_ROOT, &path), 1);
	check_str(path, "");
}

TEST(paths_are_found_both_ways)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_free char *path = NULL;
	struct node_row row;

	put_folder(catalog, 1, "A001", 10);
	put_folder(catalog, 10, "CLIPS\xff", 11);
	put_file(catalog, 11, "c1.mov", 12, 5);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_lookup_path(catalog, "A001/CLIPS\xff/c1.mov", &row), 1);
	check_int(row.id, 12);
	check_int(catalog_lookup(catalog, 11, "c1.mov", &row), 1);
	check_int(catalog_lookup_path(catalog, "A001/", &row), 0);
	check_int(catalog_lookup_path(catalog, "/A001", &row), 0);
	check_int(catalog_lookup_path(catalog, "A001/nothing/c1.mov", &row), 0);
	check_int(catalog_path_of(catalog, 12, &path), 1);
	check_str(path, "A001/CLIPS\xff/c1.mov");
	check_int(catalog_path_of(catalog, 99, &path), 0);
}

/* A name of 255 bytes, many levels: longer than PATH_MAX. */
TEST(a_path_may_be_longer_than_path_max)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_free char *path = NULL;
	struct node_row row;
	char name[256];

	memset(name, 'n', 255);
	name[255] = '\0';
	for (uint64_t i = 0; i < 50; i++)
		put_folder(catalog, i ? 100 + i - 1 : 1, name, 100 + i);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_path_of(catalog, 149, &path), 1);
	check_int(strlen(path), 50 * 256 - 1);
	check_int(catalog_lookup_path(catalog, path, &row), 1);
	check_int(row.id, 149);
}

TEST(a_node_lives_as_long_as_it_has_a_name)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_put_name(catalog, 1, "b", 10), 0);
	check_int(catalog_remove_name(catalog, 1, "a"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(catalog_remove_name(catalog, 1, "b"), 0);
	check_int(catalog_remove_name(catalog, 1, "b"), 0); /* gone already */
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, 10, &row), 0);
}

TEST(a_removed_folder_takes_what_is_below)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct catalog_totals totals;
	struct node_row row;

	put_folder(catalog, 1, "d", 10);
	put_folder(catalog, 10, "e", 11);
	put_file(catalog, 11, "f", 12, 5);
	put_file(catalog, 10, "g", 13, 5);
	check_int(catalog_put_name(catalog, 1, "g2", 13), 0); /* a name elsewhere */
	check_int(catalog_remove_name(catalog, 1, "d"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, 11, &row), 0);
	check_int(catalog_get_node(catalog, 12, &row), 0);
	check_int(catalog_get_node(catalog, 13, &row), 1);
	check_int(catalog_get_totals(catalog, &totals), 0);
	check_int(totals.nodes, 2);
}

TEST(a_moved_folder_carries_its_tree)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_free char *path = NULL;
	struct node_row row;

	put_folder(catalog, 1, "a", 10);
	put_folder(catalog, 10, "b", 11);
	put_file(catalog, 11, "f", 12, 5);
	put_folder(catalog, 1, "z", 13);
	check_int(catalog_move_name(catalog, 1, "a", 13, "A", 0), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_lookup_path(catalog, "z/A/b/f", &row), 1);
	check_int(row.id, 12);
	check_int(catalog_lookup_path(catalog, "a", &row), 0);
	check_int(catalog_path_of(catalog, 12, &path), 1);
	check_str(path, "z/A/b/f");
}

TEST(a_folder_is_not_moved_into_itself)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_folder(catalog, 1, "a", 10);
	put_folder(catalog, 10, "b", 11);
	check_int(catalog_move_name(catalog, 1, "a", 11, "a", 0), 0);
	check_int(catalog_move_name(catalog, 1, "a", 10, "b", MOVE_EXCHANGE), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_lookup_path(catalog, "a/b", &row), 1);
	check_int(row.id, 11);
}

TEST(a_move_removes_what_was_at_the_target)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_file(catalog, 1, "new", 10, 5);
	put_file(catalog, 1, "old", 11, 6);
	check_int(catalog_move_name(catalog, 1, "new", 1, "old", 0), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_lookup_path(catalog, "old", &row), 1);
	check_int(row.id, 10);
	check_int(catalog_lookup_path(catalog, "new", &row), 0);
	check_int(catalog_get_node(catalog, 11, &row), 0);
}

TEST(two_names_of_one_inode_stay_when_one_is_moved_on_the_other)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_put_name(catalog, 1, "b", 10), 0);
	check_int(catalog_move_name(catalog, 1, "a", 1, "b", 0), 0);
	check_int(catalog_move_name(catalog, 1, "a", 1, "a", 0), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_lookup_path(catalog, "a", &row), 1);
	check_int(catalog_lookup_path(catalog, "b", &row), 1);
}

TEST(exchange_swaps_two_names)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_folder(catalog, 1, "d", 10);
	put_file(catalog, 10, "x", 11, 5);
	put_file(catalog, 1, "f", 12, 6);
	check_int(catalog_move_name(catalog, 1, "d", 1, "f", MOVE_EXCHANGE), 0);
	check_int(catalog_move_name(catalog, 1, "d", 1, "none", MOVE_EXCHANGE), 0); /* dropped */
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_lookup_path(catalog, "f/x", &row), 1);
	check_int(row.id, 11);
	check_int(catalog_lookup_path(catalog, "d", &row), 1);
	check_int(row.id, 12);
	check_int(catalog_lookup_path(catalog, "none", &row), 0);
}

TEST(a_replaced_name_frees_the_old_node)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_file(catalog, 1, "a", 10, 5);
	put_file(catalog, 1, "a", 11, 6);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_lookup_path(catalog, "a", &row), 1);
	check_int(row.id, 11);
	check_int(catalog_get_node(catalog, 10, &row), 0);
}

TEST(attributes_and_flags_change_alone)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_set_attributes(catalog, 10, S_IFREG | 0400, 9, 77, 88), 0);
	check_int(catalog_set_attributes(catalog, 10, S_IFDIR | 0400, 1, 1, 1), 0); /* no */
	check_int(catalog_set_flags(catalog, 10, NODE_PINNED, 0), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.mode, S_IFREG | 0400);
	check_int(row.size, 9);
	check_int(row.mtime_ns, 77);
	check_int(row.ctime_ns, 88);
	check_int(row.state, FILE_RECEIVING);
	check_int(row.flags, NODE_PINNED);
	check_int(catalog_set_flags(catalog, 10, 0, NODE_PINNED), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.flags, 0);
}

struct seen {
	struct catalog *catalog;
	size_t count;
	uint64_t last;
	char last_name[300];
	bool in_order, by_name;
	size_t stop_at;
};

static int see(void *arg, const char *name, const struct node_row *row)
{
	struct seen *seen = arg;
	struct node_row again;

	/* A walk holds nothing: the catalog may be asked meanwhile. */
	if (seen->count == 0 && catalog_get_node(seen->catalog, row->id, &again) != 1)
		return -ENOENT;
	if (seen->count++ > 0 && !seen->by_name)
		seen->in_order &= row->id > seen->last;
	if (name) {
		if (seen->by_name)
			seen->in_order &= strcmp(name, seen->last_name) > 0;
		(void)snprintf(seen->last_name, sizeof(seen->last_name), "%s", name);
	}
	seen->last = row->id;
	return seen->stop_at && seen->count == seen->stop_at ? 7 : 0;
}

TEST(every_child_is_told_once_by_name)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct seen seen = { .catalog = catalog, .in_order = true, .by_name = true };
	char name[32];

	put_folder(catalog, 1, "d", 5);
	for (uint64_t i = 0; i < 1024; i++) { /* four whole pages */
		(void)snprintf(name, sizeof(name), "f%" PRIu64, i * 7919 % 1024);
		put_file(catalog, 5, name, 100 + i, i);
	}
	put_file(catalog, 1, "elsewhere", 6, 1);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_child(catalog, 5, see, &seen), 0);
	check_int(seen.count, 1024);
	check(seen.in_order);
	seen = (struct seen){ .catalog = catalog, .stop_at = 300, .by_name = true };
	check_int(catalog_each_child(catalog, 5, see, &seen), 7);
	check_int(seen.count, 300);
	seen = (struct seen){ .catalog = catalog };
	check_int(catalog_each_child(catalog, 6, see, &seen), 0);
	check_int(seen.count, 0);
}

struct paths {
	char all[20][64];
	size_t count;
};

static int keep_path(void *arg, const char *name, const struct node_row *row)
{
	struct paths *paths = arg;

	(void)row;
	(void)snprintf(paths->all[paths->count++], 64, "%s", name);
	return 0;
}

static size_t position(const struct paths *paths, const char *path)
{
	for (size_t i = 0; i < paths->count; i++) {
		if (strcmp(paths->all[i], path) == 0)
			return i + 1;
	}
	return 0;
}

TEST(everything_under_a_folder_is_told_parents_first)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct paths paths = { 0 };

	put_folder(catalog, 1, "a", 10);
	put_folder(catalog, 10, "b", 11);
	put_folder(catalog, 10, "c", 12);
	put_file(catalog, 11, "f", 13, 5);
	put_file(catalog, 1, "x", 14, 5);
	check_int(catalog_put_name(catalog, 12, "f2", 13), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_under(catalog, 10, keep_path, &paths), 0);
	check_int(paths.count, 4);
	check(position(&paths, "a/b") && position(&paths, "a/c") && position(&paths, "a/c/f2"));
	check(position(&paths, "a/b/f") > position(&paths, "a/b"));
	paths.count = 0;
	check_int(catalog_each_under(catalog, CATALOG_ROOT, keep_path, &paths), 0);
	check_int(paths.count, 6);
	check_str(paths.all[0], "a");
}

TEST(files_are_told_by_state_in_the_order_of_ids)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct seen seen = { .catalog = catalog, .in_order = true };
	unsigned mask = 1u << FILE_RECEIVING | 1u << FILE_STORED;
	char name[32];

	for (uint64_t i = 0; i < 1500; i++) {
		struct node_row row = file_row(100 + i, 1);

		row.state = i % 3 == 0 ? FILE_STORED : i % 3 == 1 ? FILE_RECEIVING : FILE_DAMAGED;
		check_int(catalog_put_node(catalog, &row), 0);
		(void)snprintf(name, sizeof(name), "f%" PRIu64, i);
		check_int(catalog_put_name(catalog, 1, name, row.id), 0);
	}
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_file(catalog, mask, 0, see, &seen), 0);
	check_int(seen.count, 1000);
	check(seen.in_order);
	seen = (struct seen){ .catalog = catalog };
	check_int(catalog_each_file(catalog, mask, 100 + 1499 - 3, see, &seen), 0);
	check_int(seen.count, 2);
	seen = (struct seen){ .catalog = catalog };
	check_int(catalog_each_file(catalog, 1u << FILE_EVICTED, 0, see, &seen), 0);
	check_int(seen.count, 0);
}

TEST(totals_follow_every_change)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct catalog_totals totals;
	struct node_row row = file_row(11, 100);

	put_folder(catalog, 1, "d", 10);
	put_file(catalog, 10, "a", 20, 50);
	row.state = FILE_EVICTED;
	row.resident_bytes = 30;
	check_int(catalog_put_node(catalog, &row), 0);
	check_int(catalog_put_name(catalog, 10, "b", 11), 0);
	check_int(catalog_put_name(catalog, 1, "b2", 11), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_totals(catalog, &totals), 0);
	check_int(totals.nodes, 4);
	check_int(totals.files[FILE_RECEIVING], 1);
	check_int(totals.bytes[FILE_RECEIVING], 50);
	check_int(totals.files[FILE_EVICTED], 1);
	check_int(totals.bytes[FILE_EVICTED], 100);
	check_int(totals.resident_bytes, 30);

	check_int(catalog_set_resident(catalog, 11, 1, 40), 0);
	check_int(catalog_set_attributes(catalog, 20, S_IFREG | 0644, 70, 1, 1), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_totals(catalog, &totals), 0);
	check_int(totals.bytes[FILE_RECEIVING], 70);
	check_int(totals.resident_bytes, 40);
	check_int(catalog_totals_under(catalog, 10, &totals), 0);
	check_int(totals.nodes, 3);
	check_int(totals.bytes[FILE_EVICTED], 100);

	check_int(catalog_remove_name(catalog, 10, "a"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_totals(catalog, &totals), 0);
	check_int(totals.files[FILE_RECEIVING], 0);
	check_int(totals.bytes[FILE_RECEIVING], 0);
	check_int(totals.nodes, 3);
}

TEST(extended_attributes_go_with_their_node)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_free void *value = NULL;
	cleanup_free char *names = NULL;
	static char large[65537];
	size_t size;

	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_set_xattr(catalog, 10, "user.b", "12\0003", 4), 0);
	check_int(catalog_set_xattr(catalog, 10, "user.a", "", 0), 0);
	check_int(catalog_set_xattr(catalog, 99, "user.a", "x", 1), 0); /* no such node */
	check_int(catalog_set_xattr(catalog, 10, "user.c", large, sizeof(large)), -E2BIG);
	check_int(catalog_set_xattr(catalog, 10, "", "x", 1), -EINVAL);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_xattr(catalog, 10, "user.b", &value, &size), 1);
	check_int(size, 4);
	check(memcmp(value, "12\0003", 4) == 0);
	check_int(catalog_list_xattr(catalog, 10, &names, &size), 0);
	check_int(size, 14);
	check(memcmp(names, "user.a\0user.b", 14) == 0);
	check_int(catalog_remove_xattr(catalog, 10, "user.a"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_xattr(catalog, 10, "user.a", &value, &size), 0);
	check_int(catalog_remove_name(catalog, 1, "a"), 0);
	put_file(catalog, 1, "a", 10, 5); /* the number is used again */
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_xattr(catalog, 10, "user.b", &value, &size), 0);
	check_int(catalog_get_xattr(catalog, 99, "user.a", &value, &size), 0);
}

TEST(a_catalog_that_is_not_level_stays_marked_when_it_closes)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);

	catalog_keep_unclean(catalog, true);
	catalog_close(catalog);
	for (int i = 0; i < 2; i++) { /* also when who opened it failed before he had looked */
		catalog = open_catalog(dir);
		check(catalog_was_unclean(catalog));
		if (i == 1)
			catalog_keep_unclean(catalog, false);
		catalog_close(catalog);
	}
	catalog = open_catalog(dir);
	check(!catalog_was_unclean(catalog));
	catalog_close(catalog);
}
