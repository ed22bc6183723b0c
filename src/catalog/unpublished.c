/* SPDX-License-Identifier: Apache-2.0 */
/* Notes for the syncer: see private.h. All in the writer's thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"
#include "util/clock.h"
#include "util/io.h"

STATEMENT(sql_note, "INSERT INTO unpublished(path, subtree, noted_ns) VALUES(?1, ?2, ?3)"
		    " ON CONFLICT(path) DO UPDATE SET subtree = subtree | excluded.subtree,"
		    " noted_ns = excluded.noted_ns");
STATEMENT(sql_last_note, "SELECT noted_ns FROM unpublished WHERE noted_ns > 0"
			 " ORDER BY noted_ns DESC LIMIT 1");
STATEMENT(sql_names, "SELECT parent, name FROM names WHERE id = ?1");

void path_range(const char *path, char *ret_low, char *ret_high)
{
	if (*path == '\0') {
		(void)stpcpy(ret_low, "");
		(void)stpcpy(ret_high, "\xff");
		return;
	}
	(void)stpcpy(stpcpy(ret_low, path), "/");
	(void)stpcpy(stpcpy(ret_high, path), "0"); /* the byte after '/' */
}

/* Rises even when the clock was set back, and across restarts. */
static int next_time(struct db *db, int64_t *ret_ns)
{
	struct catalog *catalog = db->catalog;
	int64_t now = realtime_ns();

	if (catalog->noted_ns == 0) {
		cleanup_query struct query query = query_start(db, &sql_last_note);
		int r = query_row(&query);

		if (r < 0)
			return r;
		if (r > 0)
			catalog->noted_ns = query_get_int(&query, 0);
	}
	catalog->noted_ns = now > catalog->noted_ns ? now : catalog->noted_ns + 1;
	*ret_ns = catalog->noted_ns;
	return 0;
}

int note_path(struct db *db, const char *path, enum note_flags flags)
{
	struct query query;
	int64_t now;
	int r;

	if (!db->catalog->publishing)
		return 0;
	r = next_time(db, &now);
	if (r < 0)
		return r;
	query = query_start(db, &sql_note);
	query_bytes(&query, path);
	query_int(&query, flags & NOTE_SUBTREE ? 1 : 0);
	query_int(&query, now);
	return query_run(&query);
}

/* The path of a folder, as far as there is one; a folder cut off the tree is not shown to anyone.
 */
static int folder_path(struct db *db, uint64_t id, char **ret_path)
{
	int r = db_path_of(db, id, ret_path);

	if (r == -EUCLEAN && !db->error)
		return 0;
	return r < 0 ? db_fail(db, r) : r;
}

int note_name(struct db *db, uint64_t parent, const char *name, enum note_flags flags)
{
	cleanup_free char *folder = NULL;
	cleanup_free char *path = NULL;
	int r;

	if (!db->catalog->publishing)
		return 0;
	r = folder_path(db, parent, &folder);
	if (r <= 0)
		return r;
	path = path_join(folder, name);
	return path ? note_path(db, path, flags) : db_fail(db, -ENOMEM);
}

int note_node(struct db *db, uint64_t id)
{
	cleanup_query struct query query = { 0 };
	char name[NAME_MAX_BYTES + 1];
	int r;

	if (!db->catalog->publishing)
		return 0;
	query = query_start(db, &sql_names);
	query_int(&query, (int64_t)id);
	while ((r = query_row(&query)) > 0) {
		if (query_get_name(&query, 1, name) < 0)
			continue; /* catalog_check() tells */
		r = note_name(db, (uint64_t)query_get_int(&query, 0), name, 0);
		if (r < 0)
			return r;
	}
	return r;
}
