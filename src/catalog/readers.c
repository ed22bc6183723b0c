/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of reading connections: opened when needed, never more than READERS_MAX. */
#include <errno.h>

#include "catalog/private.h"

void readers_init(struct catalog *catalog)
{
	mutex_init(&catalog->readers_lock, 61);
	cond_init(&catalog->readers_free);
}

void readers_fini(struct catalog *catalog)
{
	for (unsigned i = 0; i < catalog->idle_readers; i++)
		db_close(catalog->readers[i]);
	cond_fini(&catalog->readers_free);
	mutex_fini(&catalog->readers_lock);
}

/* An idle one, or NULL: there is room to open one more. */
static struct db *take_idle(struct catalog *catalog)
{
	scoped_lock(&catalog->readers_lock);
	while (catalog->idle_readers == 0 && catalog->open_readers == READERS_MAX)
		cond_wait(&catalog->readers_free, &catalog->readers_lock);
	if (catalog->idle_readers > 0)
		return catalog->readers[--catalog->idle_readers];
	catalog->open_readers++;
	return NULL;
}

int reader_take(struct catalog *catalog, struct db **ret_db)
{
	struct db *db = take_idle(catalog);
	int r;

	if (!db) {
		r = db_open(catalog->path, catalog->reader_flags, &db);
		if (r == 0 && (catalog->flags & CATALOG_READ_ONLY))
			r = schema_lend(db);
		if (r < 0) {
			db_close(db);
			scoped_lock(&catalog->readers_lock);
			catalog->open_readers--;
			cond_signal(&catalog->readers_free);
			return r;
		}
		db->catalog = catalog;
	}
	*ret_db = db;
	return 0;
}

void reader_give(struct db *db)
{
	struct catalog *catalog = db->catalog;

	db->error = 0;
	/* Its transaction could not be ended (no memory): all it would ever read is what was there
	 * then, and the WAL would grow for ever. */
	if (!sqlite3_get_autocommit(db->sqlite)) {
		db_close(db);
		db = NULL;
	}
	scoped_lock(&catalog->readers_lock);
	if (db)
		catalog->readers[catalog->idle_readers++] = db;
	else
		catalog->open_readers--;
	cond_signal(&catalog->readers_free);
}
