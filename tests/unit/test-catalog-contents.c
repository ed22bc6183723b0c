/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/known.h"
#include "catalog/said.h"
#include "catalog_help.h"

#define MIB (1ull << 20)

static struct copy_row make_copy(uint64_t content, uint32_t tier, const char *key, uint64_t seed)
{
	return (struct copy_row){
		.content = content,
		.tier = tier,
		.key = (char *)key,
		.digest = make_digest(seed),
		.confirmed_ns = 111,
		.checked_ns = 222,
	};
}

TEST(what_was_received_is_kept_until_verified)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(9 * MIB, 1), got = { 0 };
	struct digest digest = make_digest(1), got_digest;
	struct node_row row;
	bool has_digest;

	put_file(catalog, 1, "a", 10, 0);
	check_int(catalog_set_received(catalog, 10, 1, 5, 6, &map, &digest, STEP_WAIT), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.state, FILE_RECEIVED);
	check_int(row.size, 9 * MIB);
	check_int(row.resident_bytes, 9 * MIB);
	check_int(row.mtime_ns, 5);
	check_int(row.ctime_ns, 6);
	check_int(row.content, 0);
	check_int(catalog_get_received(catalog, 10, 2, &got, &got_digest, &has_digest), 0);
	check_int(catalog_get_received(catalog, 10, 1, &got, &got_digest, &has_digest), 1);
	check(has_digest && digest_equal(&digest, &got_digest));
	check(blockmap_equal(&map, &got));
	blockmap_fini(&got);

	check_int(catalog_set_received(catalog, 10, 1, 5, 6, &map, NULL, STEP_WAIT), 0);
	check_int(catalog_get_received(catalog, 10, 1, &got, &got_digest, &has_digest), 1);
	check(!has_digest);
	blockmap_fini(&got);

	check_int(catalog_set_verified(catalog, 10, 1, &digest, &map, STEP_DURABLE), 0);
	check_int(catalog_get_received(catalog, 10, 1, &got, &got_digest, &has_digest), 0);
	blockmap_fini(&map);
}

TEST(verified_files_with_equal_bytes_share_a_content)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct content_row content;
	struct blockmap map = make_map(5 * MIB, 1);
	struct digest digest = make_digest(1);
	uint64_t a, b, c;

	put_file(catalog, 1, "a", 10, 0);
	put_file(catalog, 1, "b", 11, 0);
	put_file(catalog, 1, "empty", 12, 0);
	a = verify_file(catalog, 10, 1, 5 * MIB, 1);
	b = verify_file(catalog, 11, 1, 5 * MIB, 1);
	c = verify_file(catalog, 12, 1, 0, 2);
	check_int(a, b);
	check(a != c && a != 0 && c != 0);
	check_int(catalog_get_content(catalog, a, &content), 1);
	check_int(content.id, a);
	check_int(content.size, 5 * MIB);
	check(digest_equal(&content.digest, &digest));
	check(blockmap_equal(&content.map, &map));
	content_row_fini(&content);
	check_int(catalog_find_content(catalog, 5 * MIB, &digest, &content), 1);
	check_int(content.id, a);
	content_row_fini(&content);
	check_int(catalog_find_content(catalog, 5 * MIB + 1, &digest, &content), 0);
	check_int(catalog_get_content(catalog, 99, &content), 0);
	check_int(catalog_put_content(catalog, 5 * MIB, &digest, &map, &b), 0);
	check_int(a, b);
	blockmap_fini(&map);
}

TEST(one_digest_with_two_maps_is_refused)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(5 * MIB, 1), other = make_map(5 * MIB, 2);
	struct digest digest = make_digest(1);
	uint64_t content;

	check_int(catalog_put_content(catalog, 5 * MIB, &digest, &map, &content), 0);
	check_int(catalog_put_content(catalog, 5 * MIB, &digest, &other, &content), -EUCLEAN);
	check_int(catalog_put_content(catalog, 4 * MIB, &digest, &other, &content), -EINVAL);
	put_file(catalog, 1, "a", 10, 5 * MIB);
	check_int(catalog_set_received(catalog, 10, 1, 1, 1, &other, &digest, 0), 0);
	check_int(catalog_set_verified(catalog, 10, 1, &digest, &other, STEP_WAIT), -EUCLEAN);
	check_int(state_of(catalog, 10), FILE_RECEIVED);
	check_int(catalog_error(catalog), 0);
	blockmap_fini(&map);
	blockmap_fini(&other);
}

TEST(a_step_about_another_generation_is_dropped)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(100, 1);
	struct digest digest = make_digest(1);
	struct node_row row;

	put_file(catalog, 1, "a", 10, 100);
	check_int(catalog_begin_generation(catalog, 10, 3), 0);
	check_int(catalog_set_received(catalog, 10, 1, 1, 1, &map, &digest, STEP_WAIT), -ESTALE);
	check_int(catalog_set_received(catalog, 10, 3, 1, 1, &map, &digest, STEP_WAIT), 0);
	check_int(catalog_set_verified(catalog, 10, 2, &digest, &map, STEP_WAIT), -ESTALE);
	check_int(catalog_set_damaged(catalog, 10, 4, -EIO, STEP_WAIT), -ESTALE);
	check_int(catalog_set_state(catalog, 10, 1, FILE_RECEIVING, STEP_WAIT), -ESTALE);
	check_int(catalog_set_resident(catalog, 10, 1, 7), 0);
	check_int(catalog_begin_generation(catalog, 10, 2), 0); /* they only rise */
	check_int(catalog_set_state(catalog, 99, 1, FILE_RECEIVING, STEP_WAIT), -ESTALE);
	check_int(state_of(catalog, 10), FILE_RECEIVED);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.resident_bytes, 100);
	check_int(row.generation, 3);
	blockmap_fini(&map);
}

TEST(a_step_that_the_table_forbids_is_dropped)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(100, 1);
	struct digest digest = make_digest(1);

	put_file(catalog, 1, "a", 10, 100);
	check_int(catalog_set_verified(catalog, 10, 1, &digest, &map, STEP_WAIT), -ESTALE);
	check_int(catalog_set_state(catalog, 10, 1, FILE_STORED, STEP_WAIT), -ESTALE);
	check_int(state_of(catalog, 10), FILE_RECEIVING);
	blockmap_fini(&map);
}

TEST(a_verified_file_of_another_size_than_its_row_is_dropped)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(100, 1), longer = make_map(101, 1);
	struct digest digest = make_digest(1);

	put_file(catalog, 1, "a", 10, 100);
	check_int(catalog_set_received(catalog, 10, 1, 1, 1, &map, &digest, STEP_WAIT), 0);
	check_int(catalog_set_verified(catalog, 10, 1, &digest, &longer, STEP_WAIT), -ESTALE);
	blockmap_fini(&map);
	blockmap_fini(&longer);
}

TEST(a_generation_never_changes_its_content)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(100, 2);
	struct digest digest = make_digest(2);
	struct node_row row;
	uint64_t content;

	put_file(catalog, 1, "a", 10, 100);
	content = verify_file(catalog, 10, 1, 100, 1);
	check_int(catalog_set_verified(catalog, 10, 1, &digest, &map, STEP_WAIT), -EBADMSG);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.content, content);
	check_int(catalog_begin_generation(catalog, 10, 2), 0);
	check_int(state_of(catalog, 10), FILE_RECEIVING);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.content, 0);
	check(verify_file(catalog, 10, 2, 100, 2) != content);
	blockmap_fini(&map);
}

TEST(an_error_sticks_to_its_generation)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(100, 1);
	struct digest digest = make_digest(1);
	struct node_row row = file_row(10, 100);

	row.error = -EIO;
	check_int(catalog_put_node(catalog, &row), 0);
	check_int(catalog_put_name(catalog, 1, "a", 10), 0);
	check_int(catalog_set_received(catalog, 10, 1, 1, 1, &map, &digest, STEP_WAIT), 0);
	check_int(catalog_set_verified(catalog, 10, 1, &digest, &map, STEP_WAIT), -ESTALE);
	check_int(catalog_set_damaged(catalog, 10, 1, -EBADMSG, STEP_WAIT), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.state, FILE_DAMAGED);
	check_int(row.error, -EIO); /* the first tells the cause */
	check_int(catalog_begin_generation(catalog, 10, 2), 0);
	check_int(state_of(catalog, 10), FILE_RECEIVING);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.error, 0);
	blockmap_fini(&map);
}

TEST(a_repair_ends_the_error)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;
	uint32_t tier;
	uint64_t content;
	struct copy_row copy;

	put_file(catalog, 1, "a", 10, 100);
	content = verify_file(catalog, 10, 1, 100, 1);
	check_int(catalog_set_damaged(catalog, 10, 1, 0, STEP_WAIT), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.error, -EIO);
	/* Stored is only what has a good copy. */
	check_int(catalog_set_state(catalog, 10, 1, FILE_STORED, STEP_WAIT), -ESTALE);
	check_int(catalog_put_tier(catalog, "nas", "file:///nas", &tier), 0);
	copy = make_copy(content, tier, "a", 1);
	check_int(catalog_put_copy(catalog, &copy, STEP_WAIT), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_STORED, STEP_WAIT), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.state, FILE_STORED);
	check_int(row.error, 0);
	check_int(row.content, content);
}

TEST(stored_is_refused_without_a_good_copy)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct copy_row copy;
	uint32_t tier;

	put_file(catalog, 1, "a", 10, 100);
	copy = make_copy(verify_file(catalog, 10, 1, 100, 1), 0, "a", 1);
	check_int(catalog_put_tier(catalog, "nas", "file:///nas", &tier), 0);
	copy.tier = tier;
	copy.bad = true;
	check_int(catalog_put_copy(catalog, &copy, 0), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_STORED, STEP_WAIT), -ESTALE);
	copy.bad = false;
	check_int(catalog_put_copy(catalog, &copy, 0), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_STORED, STEP_WAIT), 0);
	check_int(catalog_mark_copy(catalog, copy.content, tier, 5, true), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_EVICTED, STEP_WAIT), -ESTALE);
	check_int(catalog_mark_copy(catalog, copy.content, tier, 6, false), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_EVICTED, STEP_WAIT), 0);
	check_int(catalog_mark_copy(catalog, copy.content, tier, 7, true), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_HYDRATING, STEP_WAIT), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_STORED, STEP_WAIT), 0);
}

TEST(a_placeholder_never_replaces_bytes)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct blockmap map = make_map(100, 1);
	struct digest digest = make_digest(1);
	struct node_row row;
	uint64_t content;

	check_int(catalog_put_content(catalog, 100, &digest, &map, &content), 0);
	put_file(catalog, 1, "new", 10, 100);
	put_file(catalog, 1, "short", 11, 99);
	put_file(catalog, 1, "mine", 12, 100);
	(void)verify_file(catalog, 12, 1, 100, 2);
	check_int(catalog_set_placeholder(catalog, 10, 1, content, FILE_ANNOUNCED), 0);
	check_int(catalog_set_placeholder(catalog, 11, 1, content, FILE_EVICTED), 0);
	check_int(catalog_set_placeholder(catalog, 12, 1, content, FILE_EVICTED), 0);
	check_int(catalog_set_placeholder(catalog, 12, 1, content, FILE_STORED), -EINVAL);
	check_int(state_of(catalog, 10), FILE_ANNOUNCED);
	check_int(state_of(catalog, 11), FILE_RECEIVING);
	check_int(state_of(catalog, 12), FILE_VERIFIED);
	check_int(catalog_set_placeholder(catalog, 10, 1, content, FILE_EVICTED), 0);
	check_int(state_of(catalog, 10), FILE_EVICTED);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(row.content, content);
	blockmap_fini(&map);
}

TEST(the_scrub_gets_what_was_not_checked_for_long)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	uint64_t ids[4];

	put_file(catalog, 1, "a", 10, 100);
	put_file(catalog, 1, "b", 11, 100);
	put_file(catalog, 1, "c", 12, 100);
	put_file(catalog, 1, "empty", 13, 0);
	(void)verify_file(catalog, 10, 1, 100, 1);
	(void)verify_file(catalog, 11, 1, 100, 2);
	(void)verify_file(catalog, 13, 1, 0, 3);
	check_int(catalog_unchecked(catalog, 1000, ids, 4), 0); /* just verified */
	check_int(catalog_set_checked(catalog, 10, 1, 500), 0);
	check_int(catalog_set_checked(catalog, 11, 1, 400), 0);
	check_int(catalog_set_checked(catalog, 11, 2, 900), 0); /* another generation */
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_unchecked(catalog, 1000, ids, 4), 2);
	check_int(ids[0], 11);
	check_int(ids[1], 10);
	check_int(catalog_unchecked(catalog, 1000, ids, 1), 1);
	check_int(catalog_unchecked(catalog, 450, ids, 4), 1);
}

static int count_copy(void *arg, const struct copy_row *row)
{
	uint64_t *last = arg;

	if (row->content <= last[1])
		return -EUCLEAN;
	last[0]++;
	last[1] = row->content;
	return 0;
}

TEST(copies_are_found_by_content_tier_and_key)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct copy_row *rows = NULL;
	struct copy_row copy;
	uint64_t content = 0, last[2] = { 0 };
	uint32_t nas, shuttle, again;
	char key[32];
	size_t count;

	check_int(catalog_put_tier(catalog, "nas", "file:///nas", &nas), 0);
	check_int(catalog_put_tier(catalog, "shuttle", "file:///s", &shuttle), 0);
	check_int(catalog_put_tier(catalog, "nas", "file:///nas", &again), 0);
	check(nas == again && nas != shuttle);
	for (uint64_t i = 0; i < 300; i++) {
		struct blockmap map = make_map(100, i);
		struct digest digest = make_digest(i);

		check_int(catalog_put_content(catalog, 100, &digest, &map, &content), 0);
		blockmap_fini(&map);
		(void)snprintf(key, sizeof(key), "k%" PRIu64, i);
		copy = make_copy(content, nas, key, i);
		check_int(catalog_put_copy(catalog, &copy, 0), 0);
	}
	copy.tier = shuttle;
	check_int(catalog_put_copy(catalog, &copy, STEP_WAIT), 0);
	check_int(catalog_each_copy(catalog, nas, 0, count_copy, last), 0);
	check_int(last[0], 300);
	last[0] = 0;
	check_int(catalog_each_copy(catalog, nas, content - 1, count_copy, last), -EUCLEAN);
	check_int(catalog_find_key(catalog, nas, "k299", &last[0]), 1);
	check_int(last[0], content);
	check_int(catalog_find_key(catalog, shuttle, "k1", &last[0]), 0);
	check_int(catalog_mark_copy(catalog, content, shuttle, 333, true), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_copies(catalog, content, &rows, &count), 0);
	check_int(count, 2);
	check_str(rows[1].key, "k299");
	check_int(rows[0].bad, 0);
	check_int(rows[1].bad, 1);
	check_int(rows[1].checked_ns, 333);
	check_int(rows[1].confirmed_ns, 111);
	check_int(rows[1].tier, shuttle);
	check(digest_equal(&rows[0].digest, &copy.digest));
	for (size_t i = 0; i < count; i++)
		copy_row_fini(&rows[i]);
	free(rows);
}

TEST(a_copy_with_another_digest_is_refused)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct copy_row copy;

	put_file(catalog, 1, "a", 10, 100);
	copy = make_copy(verify_file(catalog, 10, 1, 100, 1), 1, "a", 2);
	check_int(catalog_put_copy(catalog, &copy, STEP_WAIT), -EBADMSG);
	check_int(catalog_set_stored(catalog, 10, 1, &copy, catalog_told(catalog), 0), -EBADMSG);
	copy.content = 99;
	check_int(catalog_put_copy(catalog, &copy, STEP_WAIT), -ENOENT);
	check_int(state_of(catalog, 10), FILE_VERIFIED);
}

TEST(a_tier_is_found_by_name_and_url_and_not_made)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	uint32_t tier, found;

	check_int(catalog_find_tier(catalog, "nas", "file:///nas", &found), 0);
	check_int(catalog_put_tier(catalog, "nas", "file:///nas", &tier), 0);
	check_int(catalog_find_tier(catalog, "nas", "file:///nas", &found), 1);
	check_int(found, tier);
	check_int(catalog_find_tier(catalog, "nas", "file:///other", &found), 0);
}

TEST(the_files_that_have_a_content_are_found_by_it)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct known_file *files = NULL, file = { 0 };
	uint64_t content;
	size_t count;

	put_folder(catalog, 1, "day1", 5);
	put_file(catalog, 5, "a.mov", 10, 0);
	put_file(catalog, 1, "b.mov", 11, 0);
	put_file(catalog, 1, "other.mov", 12, 0);
	content = verify_file(catalog, 10, 1, 5 * MIB, 1);
	check_int(verify_file(catalog, 11, 1, 5 * MIB, 1), content);
	check(verify_file(catalog, 12, 1, 5 * MIB, 2) != content);

	check_int(catalog_get_files(catalog, content, 8, &files, &count), 0);
	check_int(count, 2);
	check_str(files[0].path, "day1/a.mov");
	check_int(files[0].node.id, 10);
	check_int(files[0].node.state, FILE_VERIFIED);
	check(files[0].checked_ns > 0);
	check_str(files[1].path, "b.mov");
	known_files_free(files, count);
	check_int(catalog_get_files(catalog, content, 1, &files, &count), 0);
	check_int(count, 1);
	known_files_free(files, count);

	check_int(catalog_get_file(catalog, "day1/a.mov", &file), 1);
	check_int(file.node.content, content);
	check(file.checked_ns > 0);
	free(file.path);
	check_int(catalog_get_file(catalog, "day1", &file), 0);
	check_int(catalog_get_file(catalog, "day1/none", &file), 0);

	check_int(catalog_has_size(catalog, 5 * MIB), 1);
	check_int(catalog_has_size(catalog, 5 * MIB + 1), 0);
	check_int(catalog_has_size(catalog, UINT64_MAX), 0);

	/* Damaged is still a file that should have it; removed and written anew are not. */
	check_int(catalog_set_damaged(catalog, 10, 1, -EBADMSG, STEP_WAIT), 0);
	check_int(catalog_begin_generation(catalog, 11, 2), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_files(catalog, content, 8, &files, &count), 0);
	check_int(count, 1);
	check_int(files[0].node.state, FILE_DAMAGED);
	known_files_free(files, count);
	check_int(catalog_remove_name(catalog, 5, "a.mov"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_files(catalog, content, 8, &files, &count), 0);
	check_int(count, 0);
	known_files_free(files, count);
	check_int(catalog_has_size(catalog, 5 * MIB), 1);
}

TEST(a_content_is_archived_when_all_its_good_copies_are)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct copy_row first, second;
	uint64_t files, bytes;
	struct node_row row;
	uint32_t tier;

	put_file(catalog, 1, "a", 10, 100);
	check_int(catalog_put_tier(catalog, "cloud", "s3://a", &tier), 0);
	first = make_copy(verify_file(catalog, 10, 1, 100, 1), tier, "a", 1);
	check_int(catalog_put_copy(catalog, &first, 0), 0);
	check_int(catalog_put_tier(catalog, "nas", "file:///nas", &tier), 0);
	second = first;
	second.tier = tier;
	check_int(catalog_put_copy(catalog, &second, 0), 0);
	check_int(catalog_set_archived(catalog, &first, 0), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_STORED, 0), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_EVICTED, STEP_WAIT), 0);
	check_int(catalog_is_archived(catalog, first.content), 0);
	check_int(catalog_mark_copy(catalog, second.content, tier, 1, true), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_is_archived(catalog, first.content), 1);
	check_int(catalog_set_archived(catalog, &first, 5), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_is_archived(catalog, first.content), 2);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_str(catalog_state_name(catalog, &row), "archived");
	check_int(catalog_count_archived(catalog, 10, &files, &bytes), 0);
	check(files == 1 && bytes == 100);
	check_int(catalog_set_readable(catalog, &first), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_is_archived(catalog, first.content), 0);
	check_str(catalog_state_name(catalog, &row), "evicted");
	check_int(catalog_count_archived(catalog, 10, &files, &bytes), 0);
	check(files == 0 && bytes == 0);
	check_int(catalog_is_archived(catalog, 4711), 0);
}

TEST(every_object_of_the_volume_is_known_by_its_key)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct copy_row copy;
	uint64_t content;
	uint32_t tier;

	put_file(catalog, 1, "a", 10, 100);
	check_int(catalog_put_tier(catalog, "cloud", "s3://a", &tier), 0);
	copy = make_copy(verify_file(catalog, 10, 1, 100, 1), tier, "first", 1);
	check_int(catalog_put_copy(catalog, &copy, 0), 0);
	copy.key = (char[]){ "second" };
	check_int(catalog_put_copy(catalog, &copy, 0), 0);
	check_int(catalog_note_key(catalog, tier, "third"), 0);
	check_int(catalog_note_key(catalog, tier, "third"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_find_key(catalog, tier, "second", &content), 1);
	check_int(content, copy.content);
	check_int(catalog_find_key(catalog, tier, "first", &content), 1);
	check_int(content, 0);
	check_int(catalog_find_key(catalog, tier, "third", &content), 1);
	check_int(catalog_find_key(catalog, tier, "fourth", &content), 0);
	check_int(catalog_find_key(catalog, tier + 1, "third", &content), 0);
}

TEST(what_media_say_is_kept_by_content_and_replaced)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	int64_t version = 0;
	char *text = NULL;

	check_int(catalog_get_said(catalog, 3, &version, &text), 0);
	check_int(catalog_put_said(catalog, 3, 1, "{\"reel\":\"old\"}"), 0);
	check_int(catalog_put_said(catalog, 4, 1, "{}"), 0);
	check_int(catalog_put_said(catalog, 3, 2, "{\"reel\":\"A\u00e4\"}"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_said(catalog, 3, &version, &text), 1);
	check_int(version, 2);
	check_str(text, "{\"reel\":\"A\u00e4\"}");
	free(text);
}
