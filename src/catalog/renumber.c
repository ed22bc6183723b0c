/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "catalog/check.h"
#include "catalog/private.h"

/*
 * First every number but the root's goes out of the way, below 0: the new ones may be any of the
 * old. What is below 0 already is left of a renumbering that was not levelled.
 */
SCAN_STATEMENT(sql_drop_names, "DELETE FROM names WHERE parent < 0 OR id < 0");
SCAN_STATEMENT(sql_drop_nodes, "DELETE FROM inodes WHERE id < 0");
SCAN_STATEMENT(sql_lift_nodes, "UPDATE inodes SET id = -id, checked_ns = 0 WHERE id > 1");
SCAN_STATEMENT(sql_lift_names, "UPDATE names SET id = -id,"
			       " parent = CASE parent WHEN 1 THEN 1 ELSE -parent END");
SCAN_STATEMENT(sql_lift_received, "UPDATE received SET id = -id WHERE id > 1");
SCAN_STATEMENT(sql_lift_xattrs, "UPDATE xattrs SET id = -id WHERE id > 1");
SCAN_STATEMENT(sql_lift_refusals, "UPDATE refusals SET id = -id WHERE id > 1");
SCAN_STATEMENT(sql_lift_queue, "UPDATE queue SET id = -id WHERE id > 1");
SCAN_STATEMENT(sql_lift_unsettled, "UPDATE unsettled SET folder = -folder WHERE folder > 1");
SCAN_STATEMENT(sql_drop_nameless, "DELETE FROM inodes WHERE id < 0 AND NOT EXISTS("
				  "SELECT 1 FROM names AS n WHERE n.id = inodes.id)");

STATEMENT(sql_set_node, "UPDATE inodes SET id = ?2 WHERE id = ?1");
STATEMENT(sql_set_parent, "UPDATE names SET parent = ?2 WHERE parent = ?1");
STATEMENT(sql_set_names, "UPDATE names SET id = ?2 WHERE id = ?1");
STATEMENT(sql_set_received, "UPDATE received SET id = ?2 WHERE id = ?1");
STATEMENT(sql_set_xattrs, "UPDATE xattrs SET id = ?2 WHERE id = ?1");
STATEMENT(sql_set_refusals, "UPDATE refusals SET id = ?2 WHERE id = ?1");
STATEMENT(sql_set_queue, "UPDATE queue SET id = ?2 WHERE id = ?1");
STATEMENT(sql_set_unsettled, "UPDATE unsettled SET folder = ?2 WHERE folder = ?1");

/* What hangs on the number of a node. */
static const struct part {
	const struct statement *lift, *set, *also; /* @also may be NULL */
} parts[] = {
	{ &sql_lift_nodes, &sql_set_node, NULL },
	{ &sql_lift_names, &sql_set_names, &sql_set_parent },
	{ &sql_lift_queue, &sql_set_queue, NULL },
	{ &sql_lift_xattrs, &sql_set_xattrs, NULL },
	{ &sql_lift_received, &sql_set_received, NULL },
	{ &sql_lift_refusals, &sql_set_refusals, NULL },
	{ &sql_lift_unsettled, &sql_set_unsettled, NULL },
};

/* Borrows from the caller, who waits. */
struct renumber_step {
	struct step step;
	const struct renumber *numbers;
	size_t count;
	const char *tree;
};

static int run(struct db *db, const struct statement *statement)
{
	struct query query = query_start(db, statement);

	return query_run(&query);
}

static int set(struct db *db, const struct statement *statement, const struct renumber *number)
{
	struct query query = query_start(db, statement);

	query_int(&query, -(int64_t)number->from);
	query_int(&query, (int64_t)number->to);
	return query_run(&query);
}

static int renumber_part(struct db *db, const struct part *part, const struct renumber_step *step)
{
	int r = run(db, part->lift);

	/* Most of them are empty, mostly. */
	if (r < 0 || sqlite3_changes(db->sqlite) == 0)
		return r;
	for (size_t i = 0; r == 0 && i < step->count; i++) {
		r = set(db, part->set, &step->numbers[i]);
		if (r == 0 && part->also)
			r = set(db, part->also, &step->numbers[i]);
	}
	return r;
}

static int apply_renumber(struct db *db, struct step *step)
{
	const struct renumber_step *renumber = (const struct renumber_step *)step;
	int r = run(db, &sql_drop_names);

	if (r == 0)
		r = run(db, &sql_drop_nodes);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
		r = renumber_part(db, &parts[i], renumber);
	if (r == 0)
		r = run(db, &sql_drop_nameless);
	if (r == 0)
		r = db_set_meta(db, META_TREE, renumber->tree);
	/* What a copy lacks is no deletion. */
	return r == 0 ? db_set_meta(db, META_BOOT, "another tree") : r;
}

int catalog_renumber(struct catalog *catalog, const struct renumber *numbers, size_t count,
		     const char *tree)
{
	struct renumber_step *renumber;

	for (size_t i = 0; i < count; i++)
		if (numbers[i].from > INT64_MAX || numbers[i].to > INT64_MAX)
			return -EOVERFLOW;
	renumber = step_new(sizeof(*renumber), apply_renumber);
	if (!renumber)
		return -ENOMEM;
	renumber->numbers = numbers;
	renumber->count = count;
	renumber->tree = tree;
	/* It tells of another tree until it is levelled, whether this succeeds or not. */
	catalog->unclean = true;
	catalog->keep_unclean = true;
	return step_submit(catalog, &renumber->step, STEP_DURABLE);
}
