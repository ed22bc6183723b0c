/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/events.h"
#include "catalog/private.h"

SCAN_STATEMENT(sql_pages, "SELECT integrity_check FROM pragma_integrity_check(100)"
			  " WHERE integrity_check <> 'ok'");

/* Each gives (id, text) for what is wrong. */
SCAN_STATEMENT(sql_no_node, "SELECT n.id, CAST(n.name AS TEXT) FROM names AS n"
			    " WHERE NOT EXISTS(SELECT 1 FROM inodes AS i WHERE i.id = n.id)");
/* 16384 is S_IFDIR, 61440 S_IFMT, 32768 S_IFREG. */
SCAN_STATEMENT(sql_no_folder, "SELECT n.id, CAST(n.name AS TEXT) FROM names AS n"
			      " WHERE NOT EXISTS(SELECT 1 FROM inodes AS i WHERE i.id = n.parent"
			      " AND (i.mode & 61440) = 16384)");
SCAN_STATEMENT(sql_no_name, "SELECT i.id, printf('mode %o, %d bytes', i.mode, i.size)"
			    " FROM inodes AS i WHERE i.id <> 1"
			    " AND NOT EXISTS(SELECT 1 FROM names AS n WHERE n.id = i.id)");
/* Only folders: what is in a folder that is reached is reached. */
SCAN_STATEMENT(sql_unreachable,
	       "WITH RECURSIVE reached(id) AS (VALUES(1) UNION"
	       " SELECT n.id FROM reached AS r CROSS JOIN names AS n ON n.parent = r.id"
	       " CROSS JOIN inodes AS i ON i.id = n.id WHERE (i.mode & 61440) = 16384)"
	       " SELECT i.id, 'folder not below the root' FROM inodes AS i"
	       " WHERE (i.mode & 61440) = 16384 AND i.id NOT IN (SELECT id FROM reached)"
	       " AND EXISTS(SELECT 1 FROM names AS n WHERE n.id = i.id)");
SCAN_STATEMENT(sql_totals,
	       "SELECT t.state, printf('state %d: kept %d files %d bytes %d resident,"
	       " counted %d, %d, %d', t.state, t.files, t.bytes, t.resident,"
	       " coalesce(c.files, 0), coalesce(c.bytes, 0), coalesce(c.resident, 0))"
	       " FROM totals AS t LEFT JOIN (SELECT state, count(*) AS files,"
	       " sum(size) AS bytes, sum(resident) AS resident FROM inodes GROUP BY state) AS c"
	       " ON c.state = t.state WHERE t.files <> coalesce(c.files, 0)"
	       " OR t.bytes <> coalesce(c.bytes, 0) OR t.resident <> coalesce(c.resident, 0)");
SCAN_STATEMENT(sql_queue_totals,
	       "SELECT t.tier, printf('tier %d: kept %d files %d bytes %d set aside,"
	       " counted %d, %d, %d', t.tier, t.files, t.bytes, t.poison,"
	       " coalesce(c.files, 0), coalesce(c.bytes, 0), coalesce(c.poison, 0))"
	       " FROM queue_totals AS t LEFT JOIN (SELECT tier, sum(1 - poison) AS files,"
	       " sum(size * (1 - poison)) AS bytes, sum(poison) AS poison FROM queue"
	       " GROUP BY tier) AS c ON c.tier = t.tier WHERE t.files <> coalesce(c.files, 0)"
	       " OR t.bytes <> coalesce(c.bytes, 0) OR t.poison <> coalesce(c.poison, 0)");
/* One hash of 8 bytes for each block of 4 MiB begun. */
SCAN_STATEMENT(sql_contents, "SELECT id, printf('%d bytes, digest of %d, map of %d', size,"
			     " length(digest), length(map)) FROM contents WHERE size < 0"
			     " OR length(digest) <> 16"
			     " OR length(map) <> 8 * ((size + 4194303) / 4194304)");
SCAN_STATEMENT(sql_no_content,
	       "SELECT i.id, printf('state %d, %d bytes, content %d of %d bytes', i.state, i.size,"
	       " i.content, coalesce(c.size, -1)) FROM inodes AS i"
	       " LEFT JOIN contents AS c ON c.id = i.content"
	       " WHERE (i.state BETWEEN 3 AND 8 OR i.content <> 0) AND (c.id IS NULL"
	       " OR (c.size <> i.size AND i.state BETWEEN 3 AND 8))");
SCAN_STATEMENT(sql_no_copy, "SELECT i.id, printf('state %d, content %d', i.state, i.content)"
			    " FROM inodes AS i WHERE i.state BETWEEN 6 AND 8 AND NOT EXISTS("
			    "SELECT 1 FROM copies AS c WHERE c.content = i.content AND c.bad = 0)");
SCAN_STATEMENT(sql_not_queued, "SELECT i.id, printf('state %d', i.state) FROM inodes AS i"
			       " WHERE i.state IN (4, 5) AND NOT EXISTS("
			       "SELECT 1 FROM queue AS q WHERE q.id = i.id)");

static const struct {
	const char *what;
	const struct statement *statement;
} checks[] = {
	{ "name without node", &sql_no_node },
	{ "name without folder", &sql_no_folder },
	{ "node without name", &sql_no_name },
	{ "unreachable", &sql_unreachable },
	{ "totals", &sql_totals },
	{ "queue totals", &sql_queue_totals },
	{ "content", &sql_contents },
	{ "file without content", &sql_no_content },
	{ "file without good copy", &sql_no_copy },
	{ "file not queued", &sql_not_queued },
};

struct check {
	catalog_finding_fn fn;
	void *arg;
	int count;
};

static int tell(struct check *check, const char *what, uint64_t id, const char *text)
{
	struct catalog_finding finding = { .what = what, .id = id, .text = text };

	if (check->count < INT32_MAX)
		check->count++;
	return check->fn ? check->fn(check->arg, &finding) : 0;
}

static int run_check(struct db *db, const char *what, const struct statement *statement,
		     struct check *check)
{
	cleanup_query struct query query = query_start(db, statement);
	int r;

	while ((r = query_row(&query)) > 0) {
		r = tell(check, what, (uint64_t)query_get_int(&query, 0),
			 query_get_text(&query, 1));
		if (r != 0)
			return r;
	}
	return r;
}

/*
 * A page so broken that a query cannot pass it is a finding, not a failure: the other
 * checks may still tell something.
 */
static int run_checks(struct db *db, struct check *check)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(checks); i++) {
		r = run_check(db, checks[i].what, checks[i].statement, check);
		if (r == -EUCLEAN && db->error == -EUCLEAN)
			r = tell(check, "page", 0, checks[i].what);
	}
	return r;
}

/*
 * SQLite's own check of its pages and indexes, most of the work: beside the others, in a thread.
 * An index of digests is asked for a million values in no order: with the cache that other readers
 * have, nearly each one is read from the file again.
 */
#define PAGES_MAX 100 /* findings, as the statement has it */
#define PAGES_CACHE "PRAGMA cache_size = -131072"
#define AHEAD_BYTES 1048576
#define PAGES_CACHE_END "PRAGMA cache_size = -4096; PRAGMA shrink_memory"

struct pages {
	struct catalog *catalog; /* borrowed */
	struct thread thread;
	char *texts[PAGES_MAX]; /* owned */
	size_t count;
	int result;
};

static int find_pages(struct db *db, struct pages *pages)
{
	cleanup_query struct query query = query_start(db, &sql_pages);
	int r;

	while ((r = query_row(&query)) > 0 && pages->count < PAGES_MAX) {
		pages->texts[pages->count] = strdup(query_get_text(&query, 0));
		if (!pages->texts[pages->count])
			return -ENOMEM;
		pages->count++;
	}
	return r < 0 ? r : 0;
}

/*
 * The file once from front to end, so that it is in the kernel's cache when it is read page by
 * page in no order. Through SQLite's own handle: closing another one of the same file would drop
 * the locks. Failures come again, to who can tell them.
 */
static void read_ahead(struct db *db)
{
	cleanup_free char *bytes = malloc(AHEAD_BYTES);
	sqlite3_file *file = NULL;
	sqlite3_int64 size = 0;

	if (!bytes ||
	    sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &file) !=
		    SQLITE_OK ||
	    !file || !file->pMethods || file->pMethods->xFileSize(file, &size) != SQLITE_OK)
		return;
	for (sqlite3_int64 at = 0; at + AHEAD_BYTES <= size; at += AHEAD_BYTES)
		if (file->pMethods->xRead(file, bytes, AHEAD_BYTES, at) != SQLITE_OK)
			return;
}

static void *check_pages(void *arg)
{
	cleanup_reader struct db *db = NULL;
	struct pages *pages = arg;

	pages->result = reader_take(pages->catalog, &db);
	if (pages->result == 0)
		read_ahead(db);
	if (pages->result == 0)
		pages->result = db_exec(db, PAGES_CACHE);
	if (pages->result == 0) {
		pages->result = find_pages(db, pages);
		(void)db_exec(db, PAGES_CACHE_END); /* only memory: it goes when it closes */
	}
	return NULL;
}

static void pages_fini(struct pages *pages)
{
	for (size_t i = 0; i < pages->count; i++)
		free(pages->texts[i]);
}

static int tell_pages(const struct pages *pages, struct check *check)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < pages->count; i++)
		r = tell(check, "page", 0, pages->texts[i]);
	if (r == 0 && pages->result == -EUCLEAN)
		return tell(check, "page", 0, "page");
	return r != 0 ? r : pages->result;
}

/* A snapshot for all checks, so that a daemon's commits in between are no findings. */
static int check_tables(struct catalog *catalog, struct check *check)
{
	cleanup_reader struct db *db = NULL;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	r = db_begin_read(db);
	if (r < 0)
		return r;
	r = run_checks(db, check);
	db_end_read(db);
	return r;
}

static int check_chain(struct catalog *catalog, struct check *check)
{
	uint64_t seq = 0;
	int r = catalog_check_events(catalog, &seq);

	if (r != -EUCLEAN)
		return r;
	return tell(check, "event chain", seq, "the first event that does not follow");
}

int catalog_check(struct catalog *catalog, catalog_finding_fn fn, void *arg)
{
	struct check check = { .fn = fn, .arg = arg };
	cleanup_with(pages_fini) struct pages pages = { .catalog = catalog };
	bool beside = thread_start(&pages.thread, "check-pages", check_pages, &pages) == 0;
	int r = check_tables(catalog, &check);

	if (r == 0)
		r = check_chain(catalog, &check);
	if (beside)
		thread_join(&pages.thread);
	else if (r == 0)
		(void)check_pages(&pages);
	if (r == 0)
		r = tell_pages(&pages, &check);
	return r != 0 ? r : check.count;
}
