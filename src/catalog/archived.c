/* SPDX-License-Identifier: Apache-2.0 */
/* Copies whose bytes lie in an archive of their tier and must be asked for. */
#include "catalog/contents.h"
#include "catalog/private.h"

STATEMENT(sql_put, "INSERT INTO archived(content, tier, asked_ns) VALUES(?1, ?2, ?3)"
		   " ON CONFLICT(content, tier) DO UPDATE SET asked_ns = excluded.asked_ns");
STATEMENT(sql_remove, "DELETE FROM archived WHERE content = ?1 AND tier = ?2");
STATEMENT(sql_of_content, "SELECT count(*), count(a.content), max(a.asked_ns)"
			  " FROM copies AS c LEFT JOIN archived AS a"
			  " ON a.content = c.content AND a.tier = c.tier"
			  " WHERE c.content = ?1 AND c.bad = 0");
/* States: evicted, hydrating. A content with a copy that can be read is none. */
SCAN_STATEMENT(sql_count,
	       "SELECT count(*), total(size) FROM (SELECT i.id, i.size FROM archived AS a"
	       " CROSS JOIN inodes AS i ON i.content = a.content AND i.state IN (7, 8)"
	       " WHERE NOT EXISTS (SELECT 1 FROM copies AS c LEFT JOIN archived AS b"
	       "  ON b.content = c.content AND b.tier = c.tier"
	       "  WHERE c.content = a.content AND c.bad = 0 AND b.content IS NULL)"
	       " GROUP BY i.id LIMIT ?1)");

struct archived_step {
	struct step step;
	uint64_t content;
	int64_t asked_ns;
	uint32_t tier;
};

static int apply_put(struct db *db, struct step *step)
{
	struct archived_step *archived = (struct archived_step *)step;
	struct query query = query_start(db, &sql_put);

	query_int(&query, (int64_t)archived->content);
	query_int(&query, archived->tier);
	query_int(&query, archived->asked_ns);
	return query_run(&query);
}

static int apply_remove(struct db *db, struct step *step)
{
	struct archived_step *archived = (struct archived_step *)step;
	struct query query = query_start(db, &sql_remove);

	query_int(&query, (int64_t)archived->content);
	query_int(&query, archived->tier);
	return query_run(&query);
}

static int submit(struct catalog *catalog, const struct copy_row *copy, int64_t asked_ns,
		  step_fn apply)
{
	struct archived_step *archived = step_new(sizeof(*archived), apply);

	if (!archived)
		return -ENOMEM;
	archived->content = copy->content;
	archived->tier = copy->tier;
	archived->asked_ns = asked_ns;
	return step_submit(catalog, &archived->step, 0);
}

int catalog_set_archived(struct catalog *catalog, const struct copy_row *copy, int64_t asked_ns)
{
	return submit(catalog, copy, asked_ns, apply_put);
}

int catalog_set_readable(struct catalog *catalog, const struct copy_row *copy)
{
	return submit(catalog, copy, 0, apply_remove);
}

int catalog_is_archived(struct catalog *catalog, uint64_t content)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int64_t copies;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_of_content);
	query_int(&query, (int64_t)content);
	r = query_row(&query);
	if (r <= 0)
		return r;
	copies = query_get_int(&query, 0);
	if (copies == 0 || query_get_int(&query, 1) != copies)
		return 0;
	return query_get_int(&query, 2) > 0 ? 2 : 1;
}

const char *catalog_state_name(struct catalog *catalog, const struct node_row *row)
{
	/* What cannot be read from the catalog leaves the state as it is. */
	if ((row->state == FILE_EVICTED || row->state == FILE_HYDRATING) &&
	    catalog_is_archived(catalog, row->content) > 0)
		return "archived";
	return file_state_name(row->state);
}

int catalog_count_archived(struct catalog *catalog, uint64_t max, uint64_t *ret_files,
			   uint64_t *ret_bytes)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_count);
	query_int(&query, (int64_t)max);
	r = query_row(&query);
	if (r <= 0)
		return r < 0 ? r : -EUCLEAN;
	*ret_files = (uint64_t)query_get_int(&query, 0);
	*ret_bytes = (uint64_t)query_get_int(&query, 1);
	return 0;
}
