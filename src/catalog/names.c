/* SPDX-License-Identifier: Apache-2.0 */
/* Writing of names. A node lives as long as it has a name; the root has none and lives on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/nodes.h"
#include "catalog/private.h"
#include "util/io.h"

/* More folders above a folder than that are a loop. */
#define DEPTH_MAX 65536

STATEMENT(sql_find, "SELECT id FROM names WHERE parent = ?1 AND name = ?2");
STATEMENT(sql_put, "INSERT INTO names(parent, name, id) VALUES(?1, ?2, ?3)"
		   " ON CONFLICT(parent, name) DO UPDATE SET id = excluded.id");
STATEMENT(sql_remove, "DELETE FROM names WHERE parent = ?1 AND name = ?2");
STATEMENT(sql_move, "UPDATE names SET parent = ?3, name = ?4 WHERE parent = ?1 AND name = ?2");
STATEMENT(sql_has_name, "SELECT 1 FROM names WHERE id = ?1 LIMIT 1");
STATEMENT(sql_has_child, "SELECT 1 FROM names WHERE parent = ?1 LIMIT 1");
STATEMENT(sql_parent, "SELECT parent FROM names WHERE id = ?1 LIMIT 1");
STATEMENT(sql_children, "SELECT id FROM names WHERE parent = ?1");
STATEMENT(sql_remove_children, "DELETE FROM names WHERE parent = ?1");
STATEMENT(sql_remove_node, "DELETE FROM inodes WHERE id = ?1");

struct name {
	uint64_t parent;
	char name[NAME_MAX_BYTES + 1];
};

/* 1 found, 0 not. */
static int find(struct db *db, const struct name *name, uint64_t *ret_id)
{
	cleanup_query struct query query = query_start(db, &sql_find);
	int r;

	query_int(&query, (int64_t)name->parent);
	query_bytes(&query, name->name);
	r = query_row(&query);
	if (r > 0)
		*ret_id = (uint64_t)query_get_int(&query, 0);
	return r;
}

static int put(struct db *db, const struct name *name, uint64_t id)
{
	struct query query = query_start(db, &sql_put);

	query_int(&query, (int64_t)name->parent);
	query_bytes(&query, name->name);
	query_int(&query, (int64_t)id);
	return query_run(&query);
}

static int remove_row(struct db *db, const struct name *name)
{
	struct query query = query_start(db, &sql_remove);

	query_int(&query, (int64_t)name->parent);
	query_bytes(&query, name->name);
	return query_run(&query);
}

static int about_id(struct db *db, const struct statement *statement, uint64_t id)
{
	struct query query = query_start(db, statement);

	query_int(&query, (int64_t)id);
	return query_found(&query);
}

/* Ids still to look at: a folder that goes takes with it what the catalog thinks is below. */
struct ids {
	uint64_t *ids; /* owned */
	size_t count, room;
};

static int ids_add(struct ids *ids, uint64_t id)
{
	if (ids->count == ids->room) {
		size_t room = ids->room ? ids->room * 2 : 16;
		uint64_t *more = realloc(ids->ids, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		ids->ids = more;
		ids->room = room;
	}
	ids->ids[ids->count++] = id;
	return 0;
}

static int add_children(struct db *db, uint64_t id, struct ids *ids)
{
	cleanup_query struct query query = query_start(db, &sql_children);
	int r;

	query_int(&query, (int64_t)id);
	while ((r = query_row(&query)) > 0) {
		r = ids_add(ids, (uint64_t)query_get_int(&query, 0));
		if (r < 0)
			return db_fail(db, r);
	}
	return r;
}

/* Delete @id if it has no name any more; its children's names go and are added to @ids. */
static int release_one(struct db *db, uint64_t id, struct ids *ids)
{
	size_t before = ids->count;
	int r;

	if (id == CATALOG_ROOT)
		return 0;
	r = about_id(db, &sql_has_name, id);
	if (r != 0)
		return r < 0 ? r : 0;
	r = add_children(db, id, ids);
	if (r == 0 && ids->count > before)
		r = about_id(db, &sql_remove_children, id);
	if (r == 0)
		r = about_id(db, &sql_remove_node, id);
	return r;
}

static int release(struct db *db, uint64_t id)
{
	struct ids ids = { 0 };
	int r;

	r = release_one(db, id, &ids);
	while (r == 0 && ids.count > 0)
		r = release_one(db, ids.ids[--ids.count], &ids);
	free(ids.ids);
	return r;
}

/* A folder, or not known: 1; anything else: 0. */
static int is_folder(struct db *db, uint64_t id)
{
	struct node_row row;
	int r = db_get_node(db, id, &row);

	return r <= 0 ? (r < 0 ? r : 1) : S_ISDIR(row.mode);
}

/* 1 when @folder lies in (or is) @id. */
static int is_within(struct db *db, uint64_t folder, uint64_t id)
{
	for (int depth = 0; folder != CATALOG_ROOT && depth < DEPTH_MAX; depth++) {
		cleanup_query struct query query = { 0 };
		int r;

		if (folder == id)
			return 1;
		query = query_start(db, &sql_parent);
		query_int(&query, (int64_t)folder);
		r = query_row(&query);
		if (r <= 0)
			return r;
		folder = (uint64_t)query_get_int(&query, 0);
	}
	return folder == id;
}

/* What to note for a name that is now, or was, that of @ids: with all below if one is a folder. */
static int note_both(struct db *db, const struct name *name, int any_folder)
{
	return note_name(db, name->parent, name->name, any_folder ? NOTE_SUBTREE : 0);
}

struct name_step {
	struct step step;
	struct name at;
	uint64_t id;
	bool keeps_old;
};

static int apply_put_name(struct db *db, struct step *step)
{
	struct name_step *name = (struct name_step *)step;
	int found, old_folder = 0, folder, r;
	uint64_t old = 0;

	found = find(db, &name->at, &old);
	if (found < 0 || (found && old == name->id))
		return found < 0 ? found : 0;
	if (found) {
		old_folder = is_folder(db, old);
		if (old_folder < 0)
			return old_folder;
	}
	/* A new version of a file is pinned as the one before, whatever its folder is. */
	r = found ? db_take_pin(db, old, name->id) : db_enter_folder(db, name->at.parent, name->id);
	if (r == 0)
		r = put(db, &name->at, name->id);
	if (r == 0 && found && !name->keeps_old)
		r = release(db, old);
	if (r < 0 || !db->catalog->publishing)
		return r;
	/* A new folder is empty. One that has children was found elsewhere. */
	folder = about_id(db, &sql_has_child, name->id);
	return folder < 0 ? folder : note_both(db, &name->at, folder || old_folder);
}

static int put_name(struct catalog *catalog, uint64_t parent, const char *name, uint64_t id,
		    bool keeps_old)
{
	struct name_step *put;

	if (!name_ok(name) || parent == 0 || id == 0 || id == CATALOG_ROOT)
		return -EINVAL;
	put = step_new_reserved(sizeof(*put), apply_put_name);
	if (!put)
		return -ENOMEM;
	put->at.parent = parent;
	(void)stpcpy(put->at.name, name);
	put->id = id;
	put->keeps_old = keeps_old;
	return step_submit(catalog, &put->step, 0);
}

int catalog_put_name(struct catalog *catalog, uint64_t parent, const char *name, uint64_t id)
{
	return put_name(catalog, parent, name, id, false);
}

int catalog_replace_name(struct catalog *catalog, uint64_t parent, const char *name, uint64_t id)
{
	return put_name(catalog, parent, name, id, true);
}

static int apply_remove_name(struct db *db, struct step *step)
{
	struct name_step *name = (struct name_step *)step;
	int folder, r;
	uint64_t id;

	r = find(db, &name->at, &id);
	if (r <= 0)
		return r;
	folder = is_folder(db, id);
	if (folder < 0)
		return folder;
	r = remove_row(db, &name->at);
	if (r == 0)
		r = release(db, id);
	return r < 0 ? r : note_both(db, &name->at, folder);
}

int catalog_remove_name(struct catalog *catalog, uint64_t parent, const char *name)
{
	struct name_step *gone;

	if (!name_ok(name))
		return -EINVAL;
	gone = step_new_reserved(sizeof(*gone), apply_remove_name);
	if (!gone)
		return -ENOMEM;
	gone->at.parent = parent;
	(void)stpcpy(gone->at.name, name);
	return step_submit(catalog, &gone->step, 0);
}

static int apply_drop_node(struct db *db, struct step *step)
{
	return release(db, ((struct name_step *)step)->id);
}

int catalog_drop_node(struct catalog *catalog, uint64_t id)
{
	struct name_step *drop = step_new_reserved(sizeof(*drop), apply_drop_node);

	if (!drop)
		return -ENOMEM;
	drop->id = id;
	return step_submit(catalog, &drop->step, 0);
}

struct move_step {
	struct step step;
	struct name from, to;
	enum move_flags flags;
};

static int move_row(struct db *db, const struct name *from, const struct name *to)
{
	struct query query = query_start(db, &sql_move);

	query_int(&query, (int64_t)from->parent);
	query_bytes(&query, from->name);
	query_int(&query, (int64_t)to->parent);
	query_bytes(&query, to->name);
	return query_run(&query);
}

/* The target's name goes, if there is one, and its node if that was the last. */
static int replace(struct db *db, const struct move_step *move, const uint64_t *old)
{
	int r = 0;

	if (old)
		r = remove_row(db, &move->to);
	if (r == 0)
		r = move_row(db, &move->from, &move->to);
	if (r == 0 && old)
		r = release(db, *old);
	return r;
}

/* Refuse what would cut a folder off the tree. */
static int refuse_loop(struct db *db, uint64_t id, uint64_t new_parent)
{
	int r = is_folder(db, id);

	if (r > 0)
		r = is_within(db, new_parent, id);
	return r > 0 ? -EINVAL : r;
}

/* Before anything moves: from @from to @to, where @old is (0: nothing). */
static int move_pins(struct db *db, const struct move_step *move, uint64_t id, uint64_t old)
{
	int r = db_enter_folder(db, move->to.parent, id);

	if (r < 0 || !old)
		return r;
	return move->flags & MOVE_EXCHANGE ? db_enter_folder(db, move->from.parent, old)
					   : db_take_pin(db, old, id);
}

static int apply_move_name(struct db *db, struct step *step)
{
	struct move_step *move = (struct move_step *)step;
	bool exchange = move->flags & MOVE_EXCHANGE;
	int found, folder, old_folder = 0, r;
	uint64_t id, old = 0;

	r = find(db, &move->from, &id);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	found = find(db, &move->to, &old);
	if (found < 0 || (exchange && !found))
		return found < 0 ? found : -ENOENT;
	if (found && old == id)
		return 0; /* two names of one inode, or one name: rename(2) does nothing */
	r = refuse_loop(db, id, move->to.parent);
	if (r == 0 && exchange)
		r = refuse_loop(db, old, move->from.parent);
	if (r < 0)
		return r;
	folder = is_folder(db, id);
	if (found && folder >= 0)
		old_folder = is_folder(db, old);
	if (folder < 0 || old_folder < 0)
		return folder < 0 ? folder : old_folder;
	r = move_pins(db, move, id, found ? old : 0);
	if (r < 0)
		return r;
	if (exchange) {
		r = put(db, &move->from, old);
		if (r == 0)
			r = put(db, &move->to, id);
	} else {
		r = replace(db, move, found ? &old : NULL);
	}
	if (r == 0)
		r = note_both(db, &move->from, folder || (exchange && old_folder));
	return r < 0 ? r : note_both(db, &move->to, folder || old_folder);
}

int catalog_move_name(struct catalog *catalog, uint64_t parent, const char *name,
		      uint64_t new_parent, const char *new_name, enum move_flags flags)
{
	struct move_step *move;

	if (!name_ok(name) || !name_ok(new_name) || new_parent == 0)
		return -EINVAL;
	move = step_new_reserved(sizeof(*move), apply_move_name);
	if (!move)
		return -ENOMEM;
	move->from.parent = parent;
	(void)stpcpy(move->from.name, name);
	move->to.parent = new_parent;
	(void)stpcpy(move->to.name, new_name);
	move->flags = flags;
	return step_submit(catalog, &move->step, 0);
}
