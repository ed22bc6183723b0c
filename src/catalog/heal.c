/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a failure of the database. A transaction that failed left nothing behind: its frames in
 * the WAL come after the last commit and will be written over. But a failed fsync says that any
 * frame since the one before may be missing on the disk, though it can still be read: a later
 * commit would not be durable behind such a gap. So first everything is moved into the database
 * itself and that is synced; after it the WAL begins anew (which also frees its room, should the
 * disk be full). After an error of the disk, or what may be one (a read that fails with EIO becomes
 * SQLITE_CORRUPT inside a statement), the database is read through.
 */
#include <errno.h>
#include <string.h>

#include "catalog/private.h"

#define CHECKPOINT_WAIT_MS 1000

SCAN_STATEMENT(sql_quick_check, "SELECT * FROM pragma_quick_check(1)");

bool heal_can(int error)
{
	switch (-error) {
	case ENOSPC:
	case EIO:
	case EROFS:
	case EACCES:
	case EBUSY:
	case ENOMEM:
		return true;
	default:
		return false;
	}
}

static int move_wal(struct db *db)
{
	int r;

	(void)sqlite3_busy_timeout(db->sqlite, CHECKPOINT_WAIT_MS);
	r = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
	(void)sqlite3_busy_timeout(db->sqlite, WRITE_TIMEOUT_MS);
	return db_errno(r);
}

static int check(struct db *db)
{
	cleanup_query struct query query = query_start(db, &sql_quick_check);
	int r = query_row(&query);

	if (r < 0)
		return r;
	return r > 0 && strcmp(query_get_text(&query, 0), "ok") == 0 ? 0 : -EUCLEAN;
}

int heal(struct db *db, int error)
{
	int r;

	db_reset(db);
	r = move_wal(db);
	if (r == 0 && (error == -EIO || error == -EUCLEAN))
		r = check(db);
	if (r == 0)
		r = load_publishing(db->catalog, db);
	return r;
}
