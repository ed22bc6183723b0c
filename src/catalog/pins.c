/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: how a folder's mark comes to what gets a name in it, and what is pinned and not here.
 *
 * The mark is handed down in the very transaction in which the name is given, so a crash leaves
 * neither a name without its pin nor one that has to be looked for. Looked at is one row (the
 * folder's), and more only when that is pinned.
 */
#include <errno.h>

#include "catalog/nodes.h"
#include "catalog/private.h"

/* 1: NODE_PINNED. */
#define BELOW                                                                                      \
	"WITH RECURSIVE below(id) AS (VALUES(?1) UNION"                                            \
	" SELECT n.id FROM below JOIN names AS n ON n.parent = below.id) "
STATEMENT(sql_look, "SELECT flags, state FROM inodes WHERE id = ?1");
STATEMENT(sql_in_folder, "SELECT 1 FROM names WHERE id = ?1 AND parent = ?2 LIMIT 1");
/* They walk what is below one folder. */
SCAN_STATEMENT(sql_pin, BELOW "UPDATE inodes SET flags = flags | 1"
			      " WHERE id IN (SELECT id FROM below) AND flags & 1 = 0");
SCAN_STATEMENT(sql_unpin, BELOW "UPDATE inodes SET flags = flags & ~1"
				" WHERE id IN (SELECT id FROM below) AND flags & 1 = 1");
/* Only for who makes a new catalog from an old one. */
SCAN_STATEMENT(sql_folders, "SELECT id FROM inodes WHERE flags & 1 AND mode & 61440 = 16384"
			    " AND id > ?1 ORDER BY id LIMIT ?2");

/* What is wanted ------------------------------------------------------------------------- */

static void want(struct catalog *catalog, uint64_t id)
{
	scoped_lock(&catalog->wanted_lock);
	if (catalog->wanted_count < WANTED_MAX)
		catalog->wanted[catalog->wanted_count++] = id;
	else
		catalog->wants_more = true;
}

static void want_more(struct catalog *catalog)
{
	scoped_lock(&catalog->wanted_lock);
	catalog->wants_more = true;
}

size_t catalog_take_wanted(struct catalog *catalog, uint64_t *ret_ids, size_t max, bool *ret_more)
{
	size_t count;

	scoped_lock(&catalog->wanted_lock);
	count = catalog->wanted_count < max ? catalog->wanted_count : max;
	catalog->wanted_count -= count;
	for (size_t i = 0; i < count; i++)
		ret_ids[i] = catalog->wanted[i];
	for (size_t i = 0; i < catalog->wanted_count; i++)
		catalog->wanted[i] = catalog->wanted[count + i];
	*ret_more = catalog->wants_more && !count;
	if (*ret_more)
		catalog->wants_more = false;
	return count;
}

void db_want_if_pinned(struct db *db, const struct node_row *row, enum file_state state)
{
	if ((row->flags & NODE_PINNED) && (state == FILE_EVICTED || state == FILE_HYDRATING))
		want(db->catalog, row->id);
}

/* Handing down --------------------------------------------------------------------------- */

/* 1 found, 0 not. */
static int look(struct db *db, uint64_t id, struct node_row *ret_row)
{
	cleanup_query struct query query = query_start(db, &sql_look);
	int r;

	query_int(&query, (int64_t)id);
	r = query_row(&query);
	if (r <= 0)
		return r;
	*ret_row = (struct node_row){
		.id = id,
		.flags = (unsigned)query_get_int(&query, 0),
		.state = (enum file_state)query_get_int(&query, 1),
	};
	return 1;
}

static int mark(struct db *db, const struct statement *statement, uint64_t id)
{
	struct query query = query_start(db, statement);

	query_int(&query, (int64_t)id);
	return query_run(&query);
}

int db_take_pin(struct db *db, uint64_t from, uint64_t id)
{
	struct node_row row;
	int r = look(db, from, &row);

	if (r <= 0 || !(row.flags & NODE_PINNED))
		return r < 0 ? r : 0;
	r = look(db, id, &row);
	if (r <= 0)
		return r;
	if (!(row.flags & NODE_PINNED)) {
		r = mark(db, &sql_pin, id);
		if (r < 0)
			return r;
		row.flags |= NODE_PINNED;
		if (sqlite3_changes(db->sqlite) > 1) /* a folder with what is in it */
			want_more(db->catalog);
	}
	db_want_if_pinned(db, &row, row.state);
	return 0;
}

int db_enter_folder(struct db *db, uint64_t parent, uint64_t id)
{
	struct node_row folder;
	struct query query;
	int r = look(db, parent, &folder);

	if (r <= 0 || !(folder.flags & NODE_PINNED))
		return r < 0 ? r : 0;
	/* What is there already, under another name, is as somebody wanted it. */
	query = query_start(db, &sql_in_folder);
	query_int(&query, (int64_t)id);
	query_int(&query, (int64_t)parent);
	r = query_found(&query);
	return r != 0 ? (r < 0 ? r : 0) : db_take_pin(db, parent, id);
}

/* By hand -------------------------------------------------------------------------------- */

struct pin_step {
	struct step step;
	uint64_t id;
	bool pinned;
};

static int apply_pin(struct db *db, struct step *step)
{
	const struct pin_step *pin = (struct pin_step *)step;

	return mark(db, pin->pinned ? &sql_pin : &sql_unpin, pin->id);
}

int catalog_set_pin(struct catalog *catalog, uint64_t id, bool pinned)
{
	struct pin_step *pin = step_new(sizeof(*pin), apply_pin);

	if (!pin)
		return -ENOMEM;
	pin->id = id;
	pin->pinned = pinned;
	return step_submit(catalog, &pin->step, 0);
}

int catalog_get_pinned_folders(struct catalog *catalog, uint64_t after, uint64_t *ret_ids,
			       size_t max)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	size_t count = 0;
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_folders);
	query_int(&query, (int64_t)after);
	query_int(&query, (int64_t)max);
	while (count < max && (r = query_row(&query)) > 0)
		ret_ids[count++] = (uint64_t)query_get_int(&query, 0);
	return r < 0 ? r : (int)count;
}
