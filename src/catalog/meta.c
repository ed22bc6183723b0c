/* SPDX-License-Identifier: Apache-2.0 */
/* Small settings and counters, by key. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"

STATEMENT(sql_set, "INSERT INTO meta(key, value) VALUES(?1, ?2) "
		   "ON CONFLICT(key) DO UPDATE SET value = excluded.value");
STATEMENT(sql_get, "SELECT value FROM meta WHERE key = ?1");

int db_set_meta(struct db *db, const char *key, const char *value)
{
	struct query query = query_start(db, &sql_set);

	query_text(&query, key);
	query_text(&query, value);
	return query_run(&query);
}

int db_get_meta(struct db *db, const char *key, char **ret_value)
{
	cleanup_query struct query query = query_start(db, &sql_get);
	int r;

	query_text(&query, key);
	r = query_row(&query);
	if (r <= 0)
		return r;
	r = query_copy_bytes(&query, 0, ret_value);
	return r < 0 ? r : 1;
}

STATEMENT(sql_drop, "DELETE FROM meta WHERE key = ?1");

struct drop_step {
	struct step step;
	char key[];
};

static int apply_drop_meta(struct db *db, struct step *step)
{
	struct query query = query_start(db, &sql_drop);

	query_text(&query, ((struct drop_step *)step)->key);
	return query_run(&query);
}

int catalog_drop_meta(struct catalog *catalog, const char *key)
{
	size_t bytes = strlen(key) + 1;
	struct drop_step *drop = step_new(sizeof(*drop) + bytes, apply_drop_meta);

	if (!drop)
		return -ENOMEM;
	memcpy(drop->key, key, bytes);
	return step_submit(catalog, &drop->step, 0);
}

struct meta_step {
	struct step step;
	size_t value; /* offset in text */
	char text[];  /* key NUL value NUL */
};

static int apply_set_meta(struct db *db, struct step *step)
{
	struct meta_step *meta = (struct meta_step *)step;
	const char *value = meta->text + meta->value;
	struct catalog *catalog = db->catalog;
	int r;

	r = db_set_meta(db, meta->text, value);
	if (r < 0 || strcmp(meta->text, "sync") != 0)
		return r;
	if (strcmp(value, "on") != 0) {
		catalog->publishing = false;
		return 0;
	}
	if (catalog->publishing)
		return 0;
	/* What changed until now was not noted: all is to be looked at. */
	catalog->publishing = true;
	return note_path(db, "", NOTE_SUBTREE);
}

int catalog_set_meta(struct catalog *catalog, const char *key, const char *value)
{
	size_t key_bytes = strlen(key) + 1, value_bytes = strlen(value) + 1;
	struct meta_step *meta = step_new(sizeof(*meta) + key_bytes + value_bytes, apply_set_meta);

	if (!meta)
		return -ENOMEM;
	meta->value = key_bytes;
	memcpy(meta->text, key, key_bytes);
	memcpy(meta->text + key_bytes, value, value_bytes);
	return step_submit(catalog, &meta->step, 0);
}

int catalog_get_meta(struct catalog *catalog, const char *key, char **ret_value)
{
	cleanup_reader struct db *db = NULL;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	return db_get_meta(db, key, ret_value);
}
