/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema and how older ones become this one.
 *
 * Names and paths are BLOBs: any bytes, compared as bytes. Times are nanoseconds since 1970. Ids
 * and sizes are the 64 bits as SQLite's signed integer. Digests are 16 bytes, maps as
 * blockmap_pack() makes them.
 *
 * Totals are kept by triggers, so that no statement can forget them; catalog_check() recounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "catalog/private.h"
#include "util/io.h"

#define APPLICATION_ID 0x4d464341 /* "MFCA" */
#define STRING2(x) #x
#define STRING(x) STRING2(x)

static const char schema_nodes[] =
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"

	"CREATE TABLE inodes(id INTEGER PRIMARY KEY, mode INTEGER NOT NULL, size INTEGER NOT NULL,"
	" mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, generation INTEGER NOT NULL,"
	" state INTEGER NOT NULL, state_ns INTEGER NOT NULL, content INTEGER NOT NULL,"
	" flags INTEGER NOT NULL, resident INTEGER NOT NULL, error INTEGER NOT NULL,"
	" checked_ns INTEGER NOT NULL DEFAULT 0);"
	/* Non-files have no state: they are not in it. */
	"CREATE INDEX inodes_state ON inodes(state, id) WHERE state > 0;"
	/* For the scrub: what is here, whole or in part, and is said to be right. */
	"CREATE INDEX inodes_checked ON inodes(checked_ns, id)"
	" WHERE state BETWEEN 3 AND 8 AND resident > 0;"
	"CREATE INDEX inodes_content ON inodes(content) WHERE content > 0;"

	/* The tree. A folder's rename changes its row here and nothing else. */
	"CREATE TABLE names(parent INTEGER NOT NULL, name BLOB NOT NULL, id INTEGER NOT NULL,"
	" PRIMARY KEY(parent, name)) WITHOUT ROWID;"
	"CREATE INDEX names_id ON names(id);"

	/* What was received and is not verified yet: kept for a restart. digest: NULL when the
	 * bytes did not come in order. */
	"CREATE TABLE received(id INTEGER PRIMARY KEY, generation INTEGER NOT NULL,"
	" size INTEGER NOT NULL, digest BLOB, map BLOB NOT NULL);"

	"CREATE TABLE xattrs(id INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL,"
	" PRIMARY KEY(id, name)) WITHOUT ROWID;"

	/* state 0: all that is not a regular file. */
	"CREATE TABLE totals(state INTEGER PRIMARY KEY, files INTEGER NOT NULL DEFAULT 0,"
	" bytes INTEGER NOT NULL DEFAULT 0, resident INTEGER NOT NULL DEFAULT 0);"
	"INSERT INTO totals(state) VALUES(0),(1),(2),(3),(4),(5),(6),(7),(8),(9),(10);"

	"CREATE TRIGGER inodes_insert AFTER INSERT ON inodes BEGIN"
	" UPDATE totals SET files = files + 1, bytes = bytes + new.size,"
	"  resident = resident + new.resident WHERE state = new.state;"
	"END;"
	"CREATE TRIGGER inodes_update AFTER UPDATE OF state, size, resident ON inodes"
	" WHEN old.state <> new.state OR old.size <> new.size OR old.resident <> new.resident "
	"BEGIN"
	" UPDATE totals SET files = files - 1, bytes = bytes - old.size,"
	"  resident = resident - old.resident WHERE state = old.state;"
	" UPDATE totals SET files = files + 1, bytes = bytes + new.size,"
	"  resident = resident + new.resident WHERE state = new.state;"
	"END;"
	"CREATE TRIGGER inodes_delete AFTER DELETE ON inodes BEGIN"
	" UPDATE totals SET files = files - 1, bytes = bytes - old.size,"
	"  resident = resident - old.resident WHERE state = old.state;"
	" DELETE FROM received WHERE id = old.id;"
	" DELETE FROM xattrs WHERE id = old.id;"
	" DELETE FROM queue WHERE id = old.id;"
	"END;";

static const char schema_contents[] =
	"CREATE TABLE contents(id INTEGER PRIMARY KEY, size INTEGER NOT NULL,"
	" digest BLOB NOT NULL, map BLOB NOT NULL, UNIQUE(size, digest));"

	"CREATE TABLE tiers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, url TEXT NOT NULL,"
	" UNIQUE(name, url));"

	"CREATE TABLE copies(tier INTEGER NOT NULL, content INTEGER NOT NULL, key BLOB NOT NULL,"
	" digest BLOB NOT NULL, confirmed_ns INTEGER NOT NULL, checked_ns INTEGER NOT NULL,"
	" bad INTEGER NOT NULL, PRIMARY KEY(tier, content)) WITHOUT ROWID;"
	"CREATE INDEX copies_content ON copies(content);"
	"CREATE INDEX copies_key ON copies(tier, key);"

	/* rank: class * QUEUE_AGEING_NS + queued_ns. As all rows age at one speed, their order
	 * does not depend on the time, and an index can keep it. */
	"CREATE TABLE queue(id INTEGER NOT NULL, tier INTEGER NOT NULL,"
	" generation INTEGER NOT NULL, class INTEGER NOT NULL, size INTEGER NOT NULL,"
	" queued_ns INTEGER NOT NULL, due_ns INTEGER NOT NULL, attempts INTEGER NOT NULL,"
	" error INTEGER NOT NULL, poison INTEGER NOT NULL, rank INTEGER NOT NULL,"
	" PRIMARY KEY(id, tier)) WITHOUT ROWID;"
	"CREATE INDEX queue_rank ON queue(tier, poison, rank, id, due_ns);"
	"CREATE INDEX queue_due ON queue(tier, poison, due_ns);"

	"CREATE TABLE queue_totals(tier INTEGER PRIMARY KEY, files INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, poison INTEGER NOT NULL);"
	"CREATE TRIGGER queue_insert AFTER INSERT ON queue BEGIN"
	" INSERT INTO queue_totals(tier, files, bytes, poison)"
	"  VALUES(new.tier, (1 - new.poison), new.size * (1 - new.poison), new.poison)"
	"  ON CONFLICT(tier) DO UPDATE SET files = files + excluded.files,"
	"  bytes = bytes + excluded.bytes, poison = poison + excluded.poison;"
	"END;"
	"CREATE TRIGGER queue_delete AFTER DELETE ON queue BEGIN"
	" UPDATE queue_totals SET files = files - (1 - old.poison),"
	"  bytes = bytes - old.size * (1 - old.poison), poison = poison - old.poison"
	"  WHERE tier = old.tier;"
	"END;"
	"CREATE TRIGGER queue_update AFTER UPDATE OF size, poison ON queue"
	" WHEN old.size <> new.size OR old.poison <> new.poison BEGIN"
	" UPDATE queue_totals SET files = files - (1 - old.poison) + (1 - new.poison),"
	"  bytes = bytes - old.size * (1 - old.poison) + new.size * (1 - new.poison),"
	"  poison = poison - old.poison + new.poison WHERE tier = new.tier;"
	"END;";

/* chain: see events.h. The log only grows. */
static const char schema_events[] =
	"CREATE TABLE events(seq INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL,"
	" site TEXT NOT NULL, actor TEXT NOT NULL, path BLOB NOT NULL, event TEXT NOT NULL,"
	" digest TEXT NOT NULL, detail TEXT NOT NULL, chain BLOB NOT NULL);"
	"CREATE TRIGGER events_keep BEFORE DELETE ON events BEGIN"
	" SELECT RAISE(ABORT, 'the event log only grows');"
	"END;"
	"CREATE TRIGGER events_fixed BEFORE UPDATE ON events BEGIN"
	" SELECT RAISE(ABORT, 'the event log only grows');"
	"END;";

static const char schema_first[] =
	/* The root is there from the start; its attributes come with catalog_put_node(). */
	"INSERT INTO inodes VALUES(1, 16877, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);"
	"PRAGMA application_id = " STRING(APPLICATION_ID) ";"
							  "PRAGMA user_version = " STRING(
								  CATALOG_SCHEMA_VERSION) ";";

static int pragma_int(struct db *db, const char *sql, int64_t *ret_value)
{
	sqlite3_stmt *stmt = NULL;
	int r;

	r = sqlite3_prepare_v2(db->sqlite, sql, -1, &stmt, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_step(stmt);
	if (r == SQLITE_ROW) {
		*ret_value = sqlite3_column_int64(stmt, 0);
		r = SQLITE_OK;
	}
	(void)sqlite3_finalize(stmt); /* the error of step again */
	return r == SQLITE_OK ? 0 : db_errno(r == SQLITE_DONE ? SQLITE_CORRUPT : r);
}

/* PRAGMA journal_mode says what it is after all: on some file systems WAL cannot be. */
static int use_wal(struct db *db)
{
	sqlite3_stmt *stmt = NULL;
	bool is_wal = false;
	int r;

	r = sqlite3_prepare_v2(db->sqlite, "PRAGMA journal_mode = WAL", -1, &stmt, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_step(stmt);
	if (r == SQLITE_ROW)
		is_wal = strcmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
	(void)sqlite3_finalize(stmt);
	if (r != SQLITE_ROW)
		return db_errno(r == SQLITE_DONE ? SQLITE_IOERR : r);
	return is_wal ? 0 : -EOPNOTSUPP;
}

/* Since version 3. */
#define ARCHIVED                                                                                   \
	"TABLE archived(content INTEGER NOT NULL, tier INTEGER NOT NULL,"                          \
	" asked_ns INTEGER NOT NULL, PRIMARY KEY(content, tier)) WITHOUT ROWID;"

/*
 * Since version 5: names of objects beyond the one that a copy has. Without them what a person
 * removed here would come back with an import.
 */
#define OTHER_KEYS                                                                                 \
	"TABLE other_keys(tier INTEGER NOT NULL, key BLOB NOT NULL,"                               \
	" PRIMARY KEY(tier, key)) WITHOUT ROWID;"

/* Since version 7: by contents.id; see said.h. */
#define SAID                                                                                       \
	"TABLE said(content INTEGER PRIMARY KEY, version INTEGER NOT NULL,"                        \
	" text TEXT NOT NULL);"

/* Since version 7: in the tier's words; see catalog_queue_retry(). */
#define REFUSALS                                                                                   \
	"TABLE refusals(id INTEGER NOT NULL, tier INTEGER NOT NULL, text TEXT NOT NULL,"           \
	" PRIMARY KEY(id, tier)) WITHOUT ROWID;"
static const char schema_refusals[] =
	"CREATE " REFUSALS "CREATE TRIGGER refusals_end AFTER DELETE ON queue BEGIN"
	" DELETE FROM refusals WHERE id = old.id AND tier = old.tier;"
	"END;";

#define LEND(table) "PRAGMA query_only = OFF; CREATE TEMP " table "PRAGMA query_only = ON;"

int schema_lend(struct db *db)
{
	int64_t version = 0;
	int r = pragma_int(db, "PRAGMA user_version", &version);

	if (r == 0 && version < 3)
		r = db_exec(db, LEND(ARCHIVED));
	if (r == 0 && version < 7)
		r = db_exec(db, LEND(SAID) LEND(REFUSALS));
	return r;
}

static int create(struct db *db)
{
	static const char *const texts[] = {
		"BEGIN IMMEDIATE",    schema_nodes,    schema_contents,    schema_events,
		schema_sync,          schema_offloads, "CREATE " ARCHIVED, schema_seals,
		"CREATE " OTHER_KEYS, schema_doubts,   "CREATE " SAID,     schema_refusals,
		schema_first,         "COMMIT",
	};
	int r = use_wal(db);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
		r = db_exec(db, texts[i]);
	if (r < 0) {
		(void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
		return r;
	}
	return sync_parent(AT_FDCWD, db->catalog->path);
}

/* From version 1 on, one step after the other. */
static int migrate(struct db *db, int64_t version)
{
	int r;

	if (version == CATALOG_SCHEMA_VERSION)
		return 0;
	r = db_exec(db, "BEGIN IMMEDIATE");
	if (r == 0 && version < 2)
		r = db_exec(db, schema_offloads);
	if (r == 0 && version < 3)
		r = db_exec(db, "CREATE " ARCHIVED);
	if (r == 0 && version < 4)
		r = db_exec(db, schema_seals);
	if (r == 0 && version < 5)
		r = db_exec(db, "CREATE " OTHER_KEYS);
	if (r == 0 && version < 6)
		r = db_exec(db, schema_doubts);
	if (r == 0 && version < 7)
		r = db_exec(db, "CREATE " SAID);
	if (r == 0 && version < 7)
		r = db_exec(db, schema_refusals);
	if (r == 0)
		r = db_exec(db, "PRAGMA user_version = " STRING(CATALOG_SCHEMA_VERSION) ";COMMIT");
	if (r < 0)
		(void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int schema_prepare(struct db *db, enum catalog_flags flags)
{
	int64_t application = 0, version = 0, tables = 0;
	int r;

	r = pragma_int(db, "PRAGMA application_id", &application);
	if (r < 0)
		return r;
	r = pragma_int(db, "PRAGMA user_version", &version);
	if (r < 0)
		return r;
	r = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r < 0)
		return r;
	if (application == 0 && version == 0 && tables == 0 && (flags & CATALOG_CREATE))
		return create(db);
	if (application != APPLICATION_ID || version < 1)
		return -EUCLEAN;
	if (version > CATALOG_SCHEMA_VERSION)
		return -EPROTONOSUPPORT;
	if (flags & CATALOG_READ_ONLY)
		return 0; /* who only reads is lent what is missing: schema_lend() */
	r = use_wal(db);
	return r < 0 ? r : migrate(db, version);
}
