/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/catalog.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "catalog/private.h"

static struct catalog *catalog_new(const char *path, const char *site, enum catalog_flags flags)
{
	struct catalog *catalog = calloc(1, sizeof(*catalog));
	struct writer *writer;

	if (!catalog)
		return NULL;
	writer = &catalog->writer;
	catalog->flags = flags;
	mutex_init(&writer->lock, 60);
	cond_init(&writer->work);
	cond_init(&writer->space);
	cond_init(&writer->done);
	writer->last = &writer->first;
	readers_init(catalog);
	mutex_init(&catalog->wanted_lock, 62);
	catalog->path = strdup(path);
	catalog->site = strdup(site ? site : "");
	return catalog;
}

static void catalog_free(struct catalog *catalog)
{
	struct writer *writer = &catalog->writer;

	mutex_fini(&catalog->wanted_lock);
	readers_fini(catalog);
	db_close(writer->db);
	cond_fini(&writer->done);
	cond_fini(&writer->space);
	cond_fini(&writer->work);
	mutex_fini(&writer->lock);
	free(catalog->path);
	free(catalog->site);
	free(catalog);
}
DEFINE_CLEANUP(struct catalog *, catalog_free)

/* In its own durable transaction (synchronous=FULL): the tree may change right after. */
static int mark_clean(struct db *db, const char *value)
{
	int r;

	r = db_exec(db, "BEGIN IMMEDIATE");
	if (r < 0)
		return r;
	r = db_set_meta(db, "clean", value);
	if (r == 0)
		r = db_exec(db, "COMMIT");
	if (r < 0)
		(void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int load_publishing(struct catalog *catalog, struct db *db)
{
	cleanup_free char *sync = NULL;
	int r = db_get_meta(db, "sync", &sync);

	if (r < 0)
		return r;
	catalog->publishing = r > 0 && strcmp(sync, "on") == 0;
	return 0;
}

static int load(struct catalog *catalog, struct db *db)
{
	cleanup_free char *clean = NULL;
	int r;

	r = db_get_meta(db, "clean", &clean);
	if (r < 0)
		return r;
	/* No mark at all: just made. */
	catalog->unclean = r > 0 && strcmp(clean, "yes") != 0;
	/* Who opened it may fail before it is level. */
	catalog->keep_unclean = catalog->unclean;
	return load_publishing(catalog, db);
}

static int open_writer(struct catalog *catalog)
{
	enum db_flags flags = DB_WRITE;
	struct db *db;
	int r;

	if (catalog->flags & CATALOG_CREATE)
		flags |= DB_CREATE;
	r = db_open(catalog->path, flags, &catalog->writer.db);
	if (r < 0)
		return r;
	db = catalog->writer.db;
	db->catalog = catalog;
	r = schema_prepare(db, catalog->flags);
	if (r < 0)
		return r;
	r = load(catalog, db);
	if (r < 0)
		return r;
	r = mark_clean(db, "no");
	if (r < 0)
		return r;
	return writer_start(catalog);
}

static bool is_read_only_fs(const char *path)
{
	struct statvfs st;

	return statvfs(path, &st) == 0 && (st.f_flag & ST_RDONLY);
}

static int try_reading(struct catalog *catalog)
{
	struct db *db;
	int r;

	r = db_open(catalog->path, catalog->reader_flags, &db);
	if (r < 0)
		return r;
	db->catalog = catalog;
	r = schema_prepare(db, catalog->flags);
	if (r == 0)
		r = load(catalog, db);
	db_close(db);
	return r;
}

/*
 * A reader of a WAL database shares an index of the WAL with the writer, in a file beside
 * the database. On read-only media it cannot be made, nor is there a writer.
 */
static int open_reading(struct catalog *catalog)
{
	if (is_read_only_fs(catalog->path))
		catalog->reader_flags = DB_STILL;
	return try_reading(catalog);
}

int catalog_open(const char *path, const char *site, enum catalog_flags flags,
		 struct catalog **ret_catalog)
{
	cleanup_with(catalog_free_slot) struct catalog *catalog = NULL;
	uint8_t unused[CHAIN_BYTES];
	struct stat st;
	int r;

	/* libcrypto 3.0 crashes when its first use finds no memory: not in the middle of work. */
	r = chain_hash(NULL, 0, unused);
	if (r < 0)
		return r;
	if (stat(path, &st) < 0) {
		if (errno != ENOENT || !(flags & CATALOG_CREATE) || (flags & CATALOG_READ_ONLY))
			return -errno;
	}
	catalog = catalog_new(path, site, flags);
	if (!catalog || !catalog->path || !catalog->site)
		return -ENOMEM;
	r = flags & CATALOG_READ_ONLY ? open_reading(catalog) : open_writer(catalog);
	if (r < 0)
		return r;
	*ret_catalog = take_ptr(catalog);
	return 0;
}

/* The writer's thread has ended. A catalog that failed stays marked unclean. */
static void close_writer(struct catalog *catalog)
{
	struct db *db = catalog->writer.db;

	if (catalog->writer.error || db_exec(db, "PRAGMA synchronous = FULL") < 0)
		return;
	if (mark_clean(db, catalog->keep_unclean ? "no" : "yes") < 0)
		return;
	/* Should another process read, it does the same when it closes. */
	(void)sqlite3_busy_timeout(db->sqlite, 100);
	(void)sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

void catalog_close(struct catalog *catalog)
{
	if (!catalog)
		return;
	if (!(catalog->flags & CATALOG_READ_ONLY)) {
		writer_stop(catalog);
		close_writer(catalog);
	}
	catalog_free(catalog);
}

bool catalog_was_unclean(const struct catalog *catalog)
{
	return catalog->unclean;
}

uint64_t catalog_told(struct catalog *catalog)
{
	return atomic_load(&catalog->told) + 1;
}

void catalog_keep_unclean(struct catalog *catalog, bool unclean)
{
	catalog->keep_unclean = unclean;
}

static int apply_nothing(struct db *db, struct step *step)
{
	(void)db;
	(void)step;
	return 0;
}

int catalog_barrier(struct catalog *catalog)
{
	return catalog_barrier_until(catalog, INT64_MAX);
}

int catalog_barrier_until(struct catalog *catalog, int64_t deadline_ns)
{
	struct writer *writer = &catalog->writer;
	bool in_time = true;
	uint64_t last;

	scoped_lock(&writer->lock);
	/* Mostly there is nothing to wait for, and an open file asks: let the writer sleep. */
	if (writer->steps == 0 && writer->taken == 0)
		return writer->lost ? writer->error : 0;
	last = writer->applied + writer->taken + writer->steps;
	writer->squeezed++;
	cond_signal(&writer->work);
	while (writer->applied < last && !writer->error && in_time)
		in_time = cond_wait_until(&writer->done, &writer->lock, deadline_ns);
	writer->squeezed--;
	if (writer->applied >= last)
		return 0;
	return writer->error ? writer->error : -ETIMEDOUT;
}

int catalog_flush(struct catalog *catalog)
{
	struct step *step;

	if (catalog->flags & CATALOG_READ_ONLY)
		return 0; /* nothing is ever queued */
	step = step_new(sizeof(*step), apply_nothing);
	return step ? step_submit(catalog, step, STEP_DURABLE) : -ENOMEM;
}

int catalog_error(struct catalog *catalog)
{
	scoped_lock(&catalog->writer.lock);
	return catalog->writer.error;
}

int catalog_refuses(struct catalog *catalog)
{
	struct writer *writer = &catalog->writer;

	scoped_lock(&writer->lock);
	/* Half of what can be kept is left to those who cannot be refused. */
	if (writer->lost || writer->steps >= KEPT_MAX_STEPS / 2 ||
	    writer->bytes >= KEPT_MAX_BYTES / 2)
		return writer->error;
	return 0;
}

void catalog_get_health(struct catalog *catalog, struct catalog_health *ret_health)
{
	struct writer *writer = &catalog->writer;

	scoped_lock(&writer->lock);
	*ret_health = (struct catalog_health){
		.error = writer->error,
		.lost = writer->lost,
		.waiting = writer->steps + writer->taken,
	};
}
