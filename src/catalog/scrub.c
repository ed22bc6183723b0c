/* SPDX-License-Identifier: Apache-2.0 */
/* When files were last read back, for the scrub. */
#include <errno.h>

#include "catalog/contents.h"
#include "catalog/private.h"

STATEMENT(sql_checked, "UPDATE inodes SET checked_ns = ?3 WHERE id = ?1 AND generation = ?2");
/* The terms about state and resident are those of the index inodes_checked, word for word. */
STATEMENT(sql_unchecked, "SELECT id FROM inodes WHERE state BETWEEN 3 AND 8 AND resident > 0"
			 " AND checked_ns < ?1 ORDER BY checked_ns, id LIMIT ?2");

STATEMENT(sql_unread, "SELECT 1 FROM inodes WHERE state BETWEEN 3 AND 8 AND resident > 0"
		      " AND checked_ns = 0 LIMIT ?1");

struct checked_step {
	struct step step;
	uint64_t id, generation;
	int64_t checked_ns;
};

static int apply_checked(struct db *db, struct step *step)
{
	struct checked_step *checked = (struct checked_step *)step;
	struct query query = query_start(db, &sql_checked);

	query_int(&query, (int64_t)checked->id);
	query_int(&query, (int64_t)checked->generation);
	query_int(&query, checked->checked_ns);
	return query_run(&query);
}

int catalog_set_checked(struct catalog *catalog, uint64_t id, uint64_t generation,
			int64_t checked_ns)
{
	struct checked_step *checked = step_new(sizeof(*checked), apply_checked);

	if (!checked)
		return -ENOMEM;
	checked->id = id;
	checked->generation = generation;
	checked->checked_ns = checked_ns;
	return step_submit(catalog, &checked->step, 0);
}

int catalog_unchecked(struct catalog *catalog, int64_t before_ns, uint64_t *ret_ids, size_t max)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	size_t count = 0;
	int r = 0;

	if (max > INT32_MAX)
		max = INT32_MAX;
	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_unchecked);
	query_int(&query, before_ns);
	query_int(&query, (int64_t)max);
	while (count < max && (r = query_row(&query)) > 0)
		ret_ids[count++] = (uint64_t)query_get_int(&query, 0);
	return r < 0 ? r : (int)count;
}

int catalog_count_unread(struct catalog *catalog, uint64_t most, uint64_t *ret_count)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_unread);
	query_int(&query, (int64_t)most);
	*ret_count = 0;
	while ((r = query_row(&query)) > 0)
		++*ret_count;
	return r;
}
