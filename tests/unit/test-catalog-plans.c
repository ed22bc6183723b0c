/* SPDX-License-Identifier: Apache-2.0 */
#include <sqlite3.h>

#include "catalog/private.h"
#include "catalog_help.h"

static bool scans(sqlite3 *sqlite, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	char explain[4096];
	bool found = false;

	(void)snprintf(explain, sizeof(explain), "EXPLAIN QUERY PLAN %s", sql);
	if (sqlite3_prepare_v2(sqlite, explain, -1, &stmt, NULL) != SQLITE_OK) {
		fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(sqlite));
		return true;
	}
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *detail = (const char *)sqlite3_column_text(stmt, 3);

		/* "CONSTANT ROW" reads nothing; a temporary B-tree sorts what an index could have.
		 * All rows of a tier are as good as all rows: most volumes have one. */
		if ((strncmp(detail, "SCAN ", 5) == 0 && !strstr(detail, "CONSTANT ROW")) ||
		    strstr(detail, "TEMP B-TREE") || strstr(detail, "(tier=?)")) {
			fprintf(stderr, "%s\n  %s\n", sql, detail);
			found = true;
		}
	}
	(void)sqlite3_finalize(stmt);
	return found;
}

TEST(no_statement_of_a_hot_path_walks_a_table)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_with(db_close_slot) struct db *db = NULL;
	const struct statement *list;
	size_t count, bad = 0;

	check_int(catalog_barrier(catalog), 0);
	check_int(db_open(scratch_file(dir, "catalog.db"), 0, &db), 0);
	list = statement_list(&count);
	check(count > 60);
	for (size_t i = 0; i < count; i++) {
		if (list[i].flags & STATEMENT_SCANS)
			continue;
		bad += scans(db->sqlite, list[i].sql);
	}
	check_int(bad, 0);
}

/* The test above would be worth nothing if it could not see one. */
TEST(a_walk_is_seen)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_with(db_close_slot) struct db *db = NULL;

	check_int(catalog_barrier(catalog), 0);
	check_int(db_open(scratch_file(dir, "catalog.db"), 0, &db), 0);
	check(scans(db->sqlite, "SELECT id FROM inodes WHERE mtime_ns = ?1"));
	check(scans(db->sqlite, "SELECT id FROM inodes WHERE id > ?1 ORDER BY mtime_ns"));
	check(scans(db->sqlite, "SELECT digest FROM copies WHERE tier = ?1 AND key = ?2"));
	check(!scans(db->sqlite, "SELECT mode FROM inodes WHERE id = ?1"));
}

TEST(everything_below_a_path_is_a_range_of_the_index)
{
	char low[16], high[16];

	path_range("a/b", low, high);
	check(strcmp("a/b/x", low) >= 0 && strcmp("a/b/x", high) < 0);
	check(strcmp("a/b/\xff\xff", low) >= 0 && strcmp("a/b/\xff\xff", high) < 0);
	check(strcmp("a/b", low) < 0);
	check(strcmp("a/b.mov", low) < 0);
	check(strcmp("a/b0", high) >= 0);
	path_range("", low, high);
	check(strcmp("a", low) >= 0 && strcmp("a", high) < 0);
}
