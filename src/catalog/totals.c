/* SPDX-License-Identifier: Apache-2.0 */
/* Totals for status. */
#include <errno.h>

#include "catalog/nodes.h"
#include "catalog/private.h"

SCAN_STATEMENT(sql_totals, "SELECT state, files, bytes, resident FROM totals");
/* UNION, not UNION ALL: a hard-linked file counts once, and a loop ends. */
SCAN_STATEMENT(sql_under,
	       "WITH RECURSIVE under(id) AS (VALUES(?1) UNION"
	       " SELECT n.id FROM under AS u CROSS JOIN names AS n ON n.parent = u.id)"
	       " SELECT i.state, count(*), sum(i.size), sum(i.resident)"
	       " FROM under AS u CROSS JOIN inodes AS i ON i.id = u.id GROUP BY i.state");

static int add_row(struct query *query, struct catalog_totals *totals)
{
	int64_t state = query_get_int(query, 0);
	uint64_t files = (uint64_t)query_get_int(query, 1);

	if (state < 0 || state >= FILE_STATE_COUNT)
		return -EUCLEAN;
	totals->nodes += files;
	if (state == 0)
		return 0;
	totals->files[state] = files;
	totals->bytes[state] = (uint64_t)query_get_int(query, 2);
	if (state == FILE_EVICTED || state == FILE_HYDRATING)
		totals->resident_bytes += (uint64_t)query_get_int(query, 3);
	return 0;
}

static int read_totals(struct catalog *catalog, const struct statement *statement,
		       const uint64_t *id, struct catalog_totals *ret_totals)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	struct catalog_totals totals = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, statement);
	if (id)
		query_int(&query, (int64_t)*id);
	while ((r = query_row(&query)) > 0) {
		r = add_row(&query, &totals);
		if (r < 0)
			return r;
	}
	if (r == 0)
		*ret_totals = totals;
	return r;
}

int catalog_get_totals(struct catalog *catalog, struct catalog_totals *ret_totals)
{
	return read_totals(catalog, &sql_totals, NULL, ret_totals);
}

int catalog_totals_under(struct catalog *catalog, uint64_t id, struct catalog_totals *ret_totals)
{
	return read_totals(catalog, &sql_under, &id, ret_totals);
}
