/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/said.h"

#include <errno.h>
#include <string.h>

#include "catalog/private.h"

STATEMENT(sql_put, "INSERT INTO said(content, version, text) VALUES(?1, ?2, ?3)"
		   " ON CONFLICT(content) DO UPDATE SET version = excluded.version,"
		   " text = excluded.text");
STATEMENT(sql_get, "SELECT version, text FROM said WHERE content = ?1");

struct said_step {
	struct step step;
	uint64_t content;
	int64_t version;
	char text[];
};

static int apply_put(struct db *db, struct step *step)
{
	const struct said_step *put = (const struct said_step *)step;
	struct query query = query_start(db, &sql_put);

	query_int(&query, (int64_t)put->content);
	query_int(&query, put->version);
	query_text(&query, put->text);
	return query_run(&query);
}

int catalog_put_said(struct catalog *catalog, uint64_t content, int64_t version, const char *text)
{
	size_t bytes = strlen(text) + 1;
	struct said_step *put = step_new(sizeof(*put) + bytes, apply_put);

	if (!put)
		return -ENOMEM;
	put->content = content;
	put->version = version;
	memcpy(put->text, text, bytes);
	return step_submit(catalog, &put->step, 0);
}

int catalog_get_said(struct catalog *catalog, uint64_t content, int64_t *ret_version,
		     char **ret_text)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	char *text;
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_get);
	query_int(&query, (int64_t)content);
	r = query_row(&query);
	if (r <= 0)
		return r;
	text = strdup(query_get_text(&query, 1));
	if (!text)
		return -ENOMEM;
	*ret_version = query_get_int(&query, 0);
	*ret_text = text;
	return 1;
}
