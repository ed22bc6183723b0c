/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/doubts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"

/* Since version 6. */
const char schema_doubts[] =
	"CREATE TABLE doubts(tier INTEGER NOT NULL, key BLOB NOT NULL, content INTEGER NOT NULL,"
	" proven INTEGER NOT NULL, due_ns INTEGER NOT NULL, noted INTEGER NOT NULL,"
	" PRIMARY KEY(tier, key, content)) WITHOUT ROWID;"
	"CREATE INDEX doubts_open ON doubts(tier, due_ns) WHERE proven = 0;";

#define DOUBT(proven, due_ns, of)                                                                  \
	"INSERT INTO doubts(tier, key, content, proven, due_ns, noted)"                            \
	" SELECT tier, key, content, " proven ", " due_ns ", 1 FROM copies AS c " of               \
	" ON CONFLICT(tier, key, content) DO UPDATE SET proven = excluded.proven,"                 \
	" due_ns = min(due_ns, excluded.due_ns), noted = noted + 1"

/* By itself SQLite takes the primary key, and so walks all copies in a tier. */
#define BY_KEY " INDEXED BY copies_key WHERE "

/* All copies of one key, if not all are of the same bytes. */
STATEMENT(sql_doubt_shared,
	  DOUBT("0", "0",
		BY_KEY "tier = ?1 AND key = ?2 AND bad = 0"
		       " AND EXISTS(SELECT 1 FROM copies AS o" BY_KEY "o.tier = ?1"
		       " AND o.key = ?2 AND o.bad = 0 AND o.digest <> c.digest)"));
STATEMENT(sql_doubt_others,
	  DOUBT("0", "0", BY_KEY "tier = ?1 AND key = ?2 AND bad = 0 AND digest <> ?3"));
STATEMENT(sql_doubt_copy, DOUBT("0", "?3", "WHERE tier = ?1 AND content = ?2 AND bad = 0"));
STATEMENT(sql_prove, DOUBT("1", "?3", "WHERE tier = ?1 AND content = ?2"));
STATEMENT(sql_believe, "DELETE FROM doubts WHERE tier = ?1 AND key = ?2 AND content = ?3"
		       " AND proven = 1");
STATEMENT(sql_clear, "DELETE FROM doubts WHERE tier = ?1 AND key = ?2 AND content = ?3"
		     " AND proven = 0 AND noted = ?4");
STATEMENT(sql_put_off, "UPDATE doubts SET due_ns = ?5 WHERE tier = ?1 AND key = ?2"
		       " AND content = ?3 AND proven = 0 AND noted = ?4");
STATEMENT(sql_open, "SELECT tier, content, key, noted FROM doubts WHERE proven = 0"
		    " AND tier = ?1 AND due_ns <= ?2 ORDER BY due_ns LIMIT ?3");
STATEMENT(sql_is_lost, "SELECT 1 FROM doubts WHERE tier = ?1 AND key = ?2 AND content = ?3"
		       " AND proven = 1");

static int run_about_copy(struct db *db, const struct statement *statement, uint64_t content,
			  uint32_t tier, int64_t due_ns)
{
	struct query query = query_start(db, statement);

	query_int(&query, tier);
	query_int(&query, (int64_t)content);
	query_int(&query, due_ns);
	return query_run(&query);
}

int db_believe_copy(struct db *db, const struct copy_row *row, const char *key)
{
	struct query query = query_about_key(db, &sql_believe, row->tier, key);
	int r;

	query_int(&query, (int64_t)row->content);
	r = query_run(&query);
	if (r < 0)
		return r;
	query = query_about_key(db, &sql_doubt_shared, row->tier, key);
	return query_run(&query);
}

int db_doubt_others(struct db *db, uint32_t tier, const char *key, const struct digest *digest)
{
	struct query query = query_about_key(db, &sql_doubt_others, tier, key);

	query_blob(&query, digest->bytes, sizeof(digest->bytes));
	return query_run(&query);
}

int db_doubt_copy(struct db *db, uint64_t content, uint32_t tier, int64_t due_ns)
{
	return run_about_copy(db, &sql_doubt_copy, content, tier, due_ns);
}

int db_prove_bad(struct db *db, uint64_t content, uint32_t tier)
{
	return run_about_copy(db, &sql_prove, content, tier, 0);
}

struct doubt_step {
	struct step step;
	struct doubt_row row; /* without key */
	int64_t due_ns;       /* 0: it goes */
	char key[];
};

static int apply_doubt(struct db *db, struct step *step)
{
	const struct doubt_row *row = &((struct doubt_step *)step)->row;

	return db_doubt_copy(db, row->content, row->tier, 0);
}

int catalog_doubt_copy(struct catalog *catalog, uint64_t content, uint32_t tier)
{
	struct doubt_step *doubt = step_new(sizeof(*doubt), apply_doubt);

	if (!doubt)
		return -ENOMEM;
	doubt->row.content = content;
	doubt->row.tier = tier;
	return step_submit(catalog, &doubt->step, 0);
}

static int apply_looked(struct db *db, struct step *step)
{
	const struct doubt_step *doubt = (const struct doubt_step *)step;
	struct query query = query_about_key(db, doubt->due_ns ? &sql_put_off : &sql_clear,
					     doubt->row.tier, doubt->key);

	query_int(&query, (int64_t)doubt->row.content);
	query_int(&query, (int64_t)doubt->row.noted);
	if (doubt->due_ns)
		query_int(&query, doubt->due_ns);
	return query_run(&query);
}

int catalog_put_off_doubt(struct catalog *catalog, const struct doubt_row *row, int64_t due_ns)
{
	size_t key_bytes = strlen(row->key) + 1;
	struct doubt_step *doubt = step_new(sizeof(*doubt) + key_bytes, apply_looked);

	if (!doubt)
		return -ENOMEM;
	doubt->row = *row;
	doubt->row.key = NULL;
	doubt->due_ns = due_ns;
	memcpy(doubt->key, row->key, key_bytes);
	return step_submit(catalog, &doubt->step, 0);
}

int catalog_clear_doubt(struct catalog *catalog, const struct doubt_row *row)
{
	return catalog_put_off_doubt(catalog, row, 0);
}

void doubt_rows_free(struct doubt_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(rows[i].key);
	free(rows);
}

static int read_rows(struct query *query, size_t max, struct doubt_row *rows, size_t *ret_count)
{
	int r = 0;

	while (*ret_count < max && (r = query_row(query)) > 0) {
		struct doubt_row *row = &rows[*ret_count];

		row->tier = (uint32_t)query_get_int(query, 0);
		row->content = (uint64_t)query_get_int(query, 1);
		row->noted = (uint64_t)query_get_int(query, 3);
		r = query_copy_bytes(query, 2, &row->key);
		if (r < 0)
			return r;
		(*ret_count)++;
	}
	return r < 0 ? r : 0;
}

int catalog_get_doubts(struct catalog *catalog, uint32_t tier, int64_t now_ns, size_t max,
		       struct doubt_row **ret_rows, size_t *ret_count)
{
	struct doubt_row *rows = calloc(max, sizeof(*rows));
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	size_t count = 0;
	int r = rows ? reader_take(catalog, &db) : -ENOMEM;

	if (r == 0) {
		query = query_start(db, &sql_open);
		query_int(&query, tier);
		query_int(&query, now_ns);
		query_int(&query, (int64_t)max);
		r = read_rows(&query, max, rows, &count);
	}
	if (r < 0) {
		doubt_rows_free(rows, count);
		return r;
	}
	*ret_rows = rows;
	*ret_count = count;
	return 0;
}

int catalog_is_lost(struct catalog *catalog, uint32_t tier, const char *key, uint64_t content)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_about_key(db, &sql_is_lost, tier, key);
	query_int(&query, (int64_t)content);
	return query_found(&query);
}
