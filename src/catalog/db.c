/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to the database and the statements it has prepared. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "catalog/private.h"

/* Another process (fsck) may write, too. The writer gives up for good, so it is patient. */
#define READ_TIMEOUT_MS 10000

/* Made by the linker from all STATEMENT()s. */
extern const struct statement __start_catalog_sql[];
extern const struct statement __stop_catalog_sql[];

const struct statement *statement_list(size_t *ret_count)
{
	*ret_count = (size_t)(__stop_catalog_sql - __start_catalog_sql);
	return __start_catalog_sql;
}

int db_errno(int code)
{
	if (code == SQLITE_IOERR_NOMEM)
		return -ENOMEM;
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		return -EUCLEAN;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_TOOBIG:
		return -EFBIG;
	default:
		return -EIO;
	}
}

int db_fail(struct db *db, int error)
{
	if (db->error == 0)
		db->error = error;
	return error;
}

static int fail_code(struct db *db, int code)
{
	return db_fail(db, db_errno(code));
}

/* "file:" URI of @path, so that options can follow; caller frees. */
static char *make_uri(const char *path, const char *options)
{
	char *uri = malloc(strlen(path) * 3 + strlen(options) + sizeof("file:"));
	char *to;

	if (!uri)
		return NULL;
	to = stpcpy(uri, "file:");
	for (; *path; path++) {
		if (strchr("%?#", *path))
			to += sprintf(to, "%%%02x", (unsigned char)*path);
		else
			*to++ = *path;
	}
	(void)stpcpy(to, options);
	return uri;
}

/*
 * On a file system that nobody can write to. With a WAL: no locks, so that (with the exclusive
 * mode that configure() sets) its index is made on the heap. SQLite cannot open one that is
 * not there, unless told that nothing ever changes.
 */
static const char *still_options(const char *path)
{
	char wal[PATH_MAX];
	int length = snprintf(wal, sizeof(wal), "%s-wal", path);

	if (length > 0 && (size_t)length < sizeof(wal) && access(wal, F_OK) < 0 && errno == ENOENT)
		return "?immutable=1";
	return "?vfs=unix-none";
}

static int configure(struct db *db, enum db_flags flags)
{
	/* Nothing is trusted from the file: no functions in the schema, cells are checked.
	 * Checkpoints are the writer's own business. */
	static const char common[] = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
				     "PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;"
				     "PRAGMA recursive_triggers = OFF;";
	static const char writing[] = "PRAGMA cache_size = -16384; PRAGMA synchronous = FULL;"
				      "PRAGMA wal_autocheckpoint = 0;"
				      "PRAGMA journal_size_limit = 67108864;";
	static const char reading[] = "PRAGMA cache_size = -4096; PRAGMA query_only = ON;";
	/* With no locks to take and no shared memory to make, the index of the WAL is on the heap.
	 */
	static const char still[] = "PRAGMA locking_mode = EXCLUSIVE;";
	int r;

	(void)sqlite3_extended_result_codes(db->sqlite, 1);
	r = sqlite3_busy_timeout(db->sqlite, flags & DB_WRITE ? WRITE_TIMEOUT_MS : READ_TIMEOUT_MS);
	if (r != SQLITE_OK)
		return db_errno(r);
	if (flags & DB_STILL) {
		r = db_exec(db, still);
		if (r < 0)
			return r;
	}
	r = db_exec(db, common);
	if (r < 0)
		return r;
	return db_exec(db, flags & DB_WRITE ? writing : reading);
}

int db_open(const char *path, enum db_flags flags, struct db **ret_db)
{
	cleanup_with(db_close_slot) struct db *db = calloc(1, sizeof(*db));
	cleanup_free char *uri = NULL;
	int how = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI | SQLITE_OPEN_PRIVATECACHE;
	size_t count;
	int r;

	(void)statement_list(&count);
	uri = make_uri(path, flags & DB_STILL ? still_options(path) : "");
	if (!db || !uri)
		return -ENOMEM;
	db->cache = calloc(count + 1, sizeof(*db->cache));
	if (!db->cache)
		return -ENOMEM;
	how |= flags & DB_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
	if (flags & DB_CREATE)
		how |= SQLITE_OPEN_CREATE;
	r = sqlite3_open_v2(uri, &db->sqlite, how, NULL);
	if (r != SQLITE_OK) {
		int error = db->sqlite ? sqlite3_system_errno(db->sqlite) : 0;

		/* What the kernel said is more exact than "cannot open". */
		return (r & 0xff) == SQLITE_CANTOPEN && error > 0 ? -error : db_errno(r);
	}
	/* SQLite opens for reading what it may not write. */
	if ((flags & DB_WRITE) && sqlite3_db_readonly(db->sqlite, "main") == 1)
		return access(path, W_OK) < 0 ? -errno : -EROFS;
	r = configure(db, flags);
	if (r < 0)
		return r;
	*ret_db = take_ptr(db);
	return 0;
}

void db_close(struct db *db)
{
	size_t count;

	if (!db)
		return;
	(void)statement_list(&count);
	for (size_t i = 0; db->cache && i < count; i++)
		(void)sqlite3_finalize(db->cache[i]);
	free(db->cache);
	(void)sqlite3_close_v2(db->sqlite); /* what matters was committed before */
	free(db);
}

void db_reset(struct db *db)
{
	size_t count;

	(void)statement_list(&count);
	for (size_t i = 0; i < count; i++) {
		if (!db->cache[i])
			continue;
		(void)sqlite3_reset(db->cache[i]); /* repeats an error that was told */
		(void)sqlite3_clear_bindings(db->cache[i]);
	}
	/* Taking it back may have failed itself. */
	if (!sqlite3_get_autocommit(db->sqlite))
		(void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
	db->error = 0;
}

int db_exec(struct db *db, const char *sql)
{
	int r = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);

	return r == SQLITE_OK ? 0 : fail_code(db, r);
}

int db_begin_read(struct db *db)
{
	return db_exec(db, "BEGIN");
}

void db_end_read(struct db *db)
{
	(void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL); /* nothing was written */
}

static void fail(struct query *query, int code)
{
	if (query->error == 0)
		query->error = fail_code(query->db, code);
}

struct query query_start(struct db *db, const struct statement *statement)
{
	struct query query = { .db = db };
	sqlite3_stmt **slot = &db->cache[statement - __start_catalog_sql];
	int r;

	if (!*slot) {
		r = sqlite3_prepare_v3(db->sqlite, statement->sql, -1, SQLITE_PREPARE_PERSISTENT,
				       slot, NULL);
		if (r != SQLITE_OK)
			fail(&query, r);
	}
	query.stmt = *slot;
	assert(!query.stmt || !sqlite3_stmt_busy(query.stmt));
	return query;
}

void query_int(struct query *query, int64_t value)
{
	int r;

	if (query->error)
		return;
	r = sqlite3_bind_int64(query->stmt, ++query->parameters, value);
	if (r != SQLITE_OK)
		fail(query, r);
}

void query_text(struct query *query, const char *text)
{
	int r;

	if (query->error)
		return;
	r = sqlite3_bind_text(query->stmt, ++query->parameters, text, -1, SQLITE_STATIC);
	if (r != SQLITE_OK)
		fail(query, r);
}

void query_blob(struct query *query, const void *bytes, size_t length)
{
	int r;

	if (query->error)
		return;
	/* A null pointer would bind NULL; an empty blob is meant. */
	r = sqlite3_bind_blob64(query->stmt, ++query->parameters, bytes ? bytes : "", length,
				SQLITE_STATIC);
	if (r != SQLITE_OK)
		fail(query, r);
}

void query_bytes(struct query *query, const char *text)
{
	query_blob(query, text, strlen(text));
}

int query_row(struct query *query)
{
	int r;

	if (query->error)
		return query->error;
	r = sqlite3_step(query->stmt);
	if (r == SQLITE_ROW)
		return 1;
	if (r != SQLITE_DONE)
		fail(query, r);
	return query->error;
}

int query_run(struct query *query)
{
	int r;

	do
		r = query_row(query);
	while (r > 0);
	query_end(query);
	return r;
}

int query_found(struct query *query)
{
	int r = query_row(query);

	query_end(query);
	return r;
}

void query_end(struct query *query)
{
	if (!query->stmt)
		return;
	(void)sqlite3_reset(query->stmt); /* repeats the error that step gave */
	(void)sqlite3_clear_bindings(query->stmt);
	query->stmt = NULL;
}

int64_t query_get_int(struct query *query, int column)
{
	return sqlite3_column_int64(query->stmt, column);
}

bool query_is_null(struct query *query, int column)
{
	return sqlite3_column_type(query->stmt, column) == SQLITE_NULL;
}

const char *query_get_text(struct query *query, int column)
{
	const char *text = (const char *)sqlite3_column_text(query->stmt, column);

	return text ? text : "";
}

const void *query_get_blob(struct query *query, int column, size_t *ret_length)
{
	const void *bytes = sqlite3_column_blob(query->stmt, column);

	*ret_length = bytes ? (size_t)sqlite3_column_bytes(query->stmt, column) : 0;
	return bytes ? bytes : "";
}

int query_copy_bytes(struct query *query, int column, char **ret_text)
{
	size_t length;
	const void *bytes = query_get_blob(query, column, &length);
	char *text;

	if (memchr(bytes, '\0', length))
		return -EUCLEAN;
	text = malloc(length + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, bytes, length);
	text[length] = '\0';
	*ret_text = text;
	return 0;
}

int query_get_digest(struct query *query, int column, struct digest *ret_digest)
{
	size_t length;
	const void *bytes = query_get_blob(query, column, &length);

	if (length != sizeof(ret_digest->bytes))
		return -EUCLEAN;
	memcpy(ret_digest->bytes, bytes, length);
	return 0;
}

int query_get_map(struct query *query, int column, uint64_t size, struct blockmap *ret_map)
{
	size_t length;
	const void *bytes = query_get_blob(query, column, &length);

	return blockmap_unpack(bytes, length, size, ret_map);
}
