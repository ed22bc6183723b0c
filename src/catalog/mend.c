/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "catalog/check.h"
#include "catalog/private.h"

/* Ids of folders as in check.c. A folder in a loop hangs on no root: its names go, and with
 * them, round by round, all below. */
SCAN_STATEMENT(sql_cut_loops,
	       "WITH RECURSIVE reached(id) AS (VALUES(1) UNION"
	       " SELECT n.id FROM reached AS r CROSS JOIN names AS n ON n.parent = r.id"
	       " CROSS JOIN inodes AS i ON i.id = n.id WHERE (i.mode & 61440) = 16384)"
	       " DELETE FROM names WHERE parent NOT IN (SELECT id FROM reached)");
SCAN_STATEMENT(sql_cut_names, "DELETE FROM names WHERE NOT EXISTS("
			      "SELECT 1 FROM inodes AS i WHERE i.id = names.id)");
SCAN_STATEMENT(sql_cut_nodes, "DELETE FROM inodes WHERE id <> 1 AND NOT EXISTS("
			      "SELECT 1 FROM names AS n WHERE n.id = inodes.id)");
SCAN_STATEMENT(sql_clear_totals, "UPDATE totals SET files = 0, bytes = 0, resident = 0");
SCAN_STATEMENT(sql_count, "INSERT INTO totals(state, files, bytes, resident)"
			  " SELECT state, count(*), sum(size), sum(resident) FROM inodes"
			  " WHERE true GROUP BY state"
			  " ON CONFLICT(state) DO UPDATE SET files = excluded.files,"
			  " bytes = excluded.bytes, resident = excluded.resident");
SCAN_STATEMENT(sql_clear_queue, "DELETE FROM queue_totals");
SCAN_STATEMENT(sql_count_queue, "INSERT INTO queue_totals(tier, files, bytes, poison)"
				" SELECT tier, sum(1 - poison), sum(size * (1 - poison)),"
				" sum(poison) FROM queue GROUP BY tier");

static int apply_mend(struct db *db, struct step *step)
{
	/* In this order: each may leave work for the next. */
	static const struct statement *const order[] = {
		&sql_cut_loops, &sql_cut_names,   &sql_cut_nodes,   &sql_clear_totals,
		&sql_count,     &sql_clear_queue, &sql_count_queue,
	};
	int r = 0;

	(void)step;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(order); i++) {
		struct query query = query_start(db, order[i]);

		r = query_run(&query);
	}
	return r;
}

int catalog_mend(struct catalog *catalog)
{
	struct step *step = step_new(sizeof(*step), apply_mend);

	return step ? step_submit(catalog, step, STEP_DURABLE) : -ENOMEM;
}
