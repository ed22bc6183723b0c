/* SPDX-License-Identifier: Apache-2.0 */
/* Writing of inode rows. Names: names.c. Steps of a file's life: steps.c. */
#include "catalog/nodes.h"

#include <errno.h>
#include <sys/stat.h>

#include "catalog/private.h"

STATEMENT(sql_put, "INSERT INTO inodes(id, mode, size, mtime_ns, ctime_ns, generation, state,"
		   " state_ns, content, flags, resident, error)"
		   " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
		   " ON CONFLICT(id) DO UPDATE SET mode = excluded.mode, size = excluded.size,"
		   " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,"
		   " generation = excluded.generation, state = excluded.state,"
		   " state_ns = excluded.state_ns, content = excluded.content,"
		   " flags = excluded.flags, resident = excluded.resident, error = excluded.error,"
		   " checked_ns = checked_ns * (generation = excluded.generation)");
STATEMENT(sql_forget_received, "DELETE FROM received WHERE id = ?1");
STATEMENT(sql_forget_queued, "DELETE FROM queue WHERE id = ?1 AND generation <> ?2");
STATEMENT(sql_set_attributes, "UPDATE inodes SET mode = ?2, size = ?3, mtime_ns = ?4,"
			      " ctime_ns = ?5 WHERE id = ?1");
STATEMENT(sql_set_flags, "UPDATE inodes SET flags = (flags | ?2) & ~?3 WHERE id = ?1");

struct node_step {
	struct step step;
	struct node_row row;
};

static int put_row(struct db *db, const struct node_row *row, int64_t state_ns)
{
	struct query query = query_start(db, &sql_put);

	query_int(&query, (int64_t)row->id);
	query_int(&query, row->mode);
	query_int(&query, (int64_t)row->size);
	query_int(&query, row->mtime_ns);
	query_int(&query, row->ctime_ns);
	query_int(&query, (int64_t)row->generation);
	query_int(&query, row->state);
	query_int(&query, state_ns);
	query_int(&query, (int64_t)row->content);
	query_int(&query, row->flags);
	query_int(&query, (int64_t)row->resident_bytes);
	query_int(&query, row->error);
	return query_run(&query);
}

/* What was kept for the row as it was and is wrong for it as it is now. */
static int forget_old(struct db *db, const struct node_row *old, const struct node_row *row)
{
	bool same = old->generation == row->generation;
	struct query query;
	int r = 0;

	if (!same || row->state != FILE_RECEIVED) {
		query = query_start(db, &sql_forget_received);
		query_int(&query, (int64_t)row->id);
		r = query_run(&query);
	}
	if (r < 0 || same)
		return r;
	query = query_start(db, &sql_forget_queued);
	query_int(&query, (int64_t)row->id);
	query_int(&query, (int64_t)row->generation);
	return query_run(&query);
}

static bool looks_different(const struct node_row *a, const struct node_row *b)
{
	return a->mode != b->mode || a->mtime_ns != b->mtime_ns || a->size != b->size ||
	       a->state != b->state || a->content != b->content || a->generation != b->generation;
}

static int apply_put_node(struct db *db, struct step *step)
{
	const struct node_row *row = &((struct node_step *)step)->row;
	struct node_row old;
	int found, r;

	found = db_get_node(db, row->id, &old);
	if (found < 0)
		return found;
	r = put_row(db, row, row->state_ns ? row->state_ns : step->time_ns);
	if (r < 0 || !found)
		return r;
	r = forget_old(db, &old, row);
	if (r < 0 || !looks_different(&old, row))
		return r;
	return note_node(db, row->id);
}

static bool is_node_row(const struct node_row *row)
{
	bool is_file = S_ISREG(row->mode);

	return row->id != 0 && row->error <= 0 && row->size <= INT64_MAX &&
	       row->resident_bytes <= INT64_MAX && (int)row->state >= 0 &&
	       (int)row->state < FILE_STATE_COUNT && (row->state != 0) == is_file;
}

int catalog_put_node(struct catalog *catalog, const struct node_row *row)
{
	struct node_step *put;

	if (!is_node_row(row))
		return -EINVAL;
	put = step_new_reserved(sizeof(*put), apply_put_node);
	if (!put)
		return -ENOMEM;
	put->row = *row;
	return step_submit(catalog, &put->step, 0);
}

static int apply_set_attributes(struct db *db, struct step *step)
{
	const struct node_row *row = &((struct node_step *)step)->row;
	struct node_row old;
	struct query query;
	int r;

	r = db_get_node(db, row->id, &old);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	/* The kind of an inode never changes: another file has its number now. */
	if ((old.mode & S_IFMT) != (row->mode & S_IFMT))
		return -ESTALE;
	query = query_start(db, &sql_set_attributes);
	query_int(&query, (int64_t)row->id);
	query_int(&query, row->mode);
	query_int(&query, (int64_t)row->size);
	query_int(&query, row->mtime_ns);
	query_int(&query, row->ctime_ns);
	r = query_run(&query);
	if (r < 0 || (old.mode == row->mode && old.mtime_ns == row->mtime_ns))
		return r;
	return note_node(db, row->id);
}

int catalog_set_attributes(struct catalog *catalog, uint64_t id, uint32_t mode, uint64_t size,
			   int64_t mtime_ns, int64_t ctime_ns)
{
	struct node_step *set;

	if (size > INT64_MAX)
		return -EINVAL;
	set = step_new(sizeof(*set), apply_set_attributes);
	if (!set)
		return -ENOMEM;
	set->row.id = id;
	set->row.mode = mode;
	set->row.size = size;
	set->row.mtime_ns = mtime_ns;
	set->row.ctime_ns = ctime_ns;
	return step_submit(catalog, &set->step, 0);
}

struct flags_step {
	struct step step;
	uint64_t id;
	unsigned set, clear;
};

static int apply_set_flags(struct db *db, struct step *step)
{
	struct flags_step *flags = (struct flags_step *)step;
	struct query query = query_start(db, &sql_set_flags);

	query_int(&query, (int64_t)flags->id);
	query_int(&query, flags->set);
	query_int(&query, flags->clear);
	return query_run(&query);
}

int catalog_set_flags(struct catalog *catalog, uint64_t id, unsigned set, unsigned clear)
{
	struct flags_step *flags = step_new(sizeof(*flags), apply_set_flags);

	if (!flags)
		return -ENOMEM;
	flags->id = id;
	flags->set = set;
	flags->clear = clear;
	return step_submit(catalog, &flags->step, 0);
}
