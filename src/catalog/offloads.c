/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/offloads.h"

#include <errno.h>
#include <string.h>

#include "catalog/private.h"

const char schema_offloads[] =
	/* format: as hash_name() says. */
	"CREATE TABLE hashes(content INTEGER NOT NULL, format TEXT NOT NULL, value BLOB NOT NULL,"
	" PRIMARY KEY(content, format)) WITHOUT ROWID;"

	"CREATE TABLE unsettled(folder INTEGER PRIMARY KEY, noted_ns INTEGER NOT NULL);"
	/* 0x4000: a folder. Its number may be given to another. */
	"CREATE TRIGGER unsettled_delete AFTER DELETE ON inodes"
	" WHEN old.mode & 61440 = 16384 BEGIN"
	" DELETE FROM unsettled WHERE folder = old.id;"
	"END;";

/* Since version 4. 2: NODE_SEALED. */
const char schema_seals[] = "CREATE INDEX inodes_sealed ON inodes(id) WHERE flags & 2;";

STATEMENT(sql_sealed, "SELECT id FROM inodes WHERE flags & 2 AND id > ?1 ORDER BY id LIMIT ?2");
STATEMENT(sql_parents, "SELECT parent FROM names WHERE id = ?1 LIMIT ?2");
STATEMENT(sql_put_hash, "INSERT INTO hashes(content, format, value)"
			" SELECT id, ?3, ?4 FROM contents WHERE size = ?1 AND digest = ?2"
			" ON CONFLICT(content, format) DO UPDATE SET value = excluded.value");
STATEMENT(sql_get_hashes, "SELECT format, value FROM hashes WHERE content = ?1");
STATEMENT(sql_note, "INSERT INTO unsettled(folder, noted_ns)"
		    " SELECT parent, ?2 FROM names WHERE id = ?1"
		    " ON CONFLICT(folder) DO UPDATE SET noted_ns = excluded.noted_ns");
STATEMENT(sql_note_folder, "INSERT INTO unsettled(folder, noted_ns) VALUES(?1, ?2)"
			   " ON CONFLICT(folder) DO UPDATE SET noted_ns = excluded.noted_ns");
STATEMENT(sql_get_unsettled, "SELECT folder, noted_ns FROM unsettled WHERE folder > ?1"
			     " ORDER BY folder LIMIT ?2");
STATEMENT(sql_clear, "DELETE FROM unsettled WHERE folder = ?1 AND noted_ns = ?2");
SCAN_STATEMENT(sql_forget, "DELETE FROM unsettled");

/* Hashes ------------------------------------------------------------------------------- */

struct hashes_step {
	struct step step;
	uint64_t size;
	struct digest digest;
	size_t count;
	struct content_hash hashes[];
};

static int apply_put_hashes(struct db *db, struct step *step)
{
	const struct hashes_step *put = (const struct hashes_step *)step;
	int r = 0;

	for (size_t i = 0; r == 0 && i < put->count; i++) {
		const struct content_hash *hash = &put->hashes[i];
		struct query query = query_start(db, &sql_put_hash);

		query_int(&query, (int64_t)put->size);
		query_blob(&query, put->digest.bytes, sizeof(put->digest.bytes));
		query_text(&query, hash_name(hash->format));
		query_blob(&query, hash->bytes, hash_bytes(hash->format));
		r = query_run(&query);
	}
	return r;
}

int catalog_put_hashes(struct catalog *catalog, uint64_t size, const struct digest *digest,
		       const struct content_hash *hashes, size_t count)
{
	struct hashes_step *put =
		step_new(sizeof(*put) + count * sizeof(*hashes), apply_put_hashes);

	if (!put)
		return -ENOMEM;
	put->size = size;
	put->digest = *digest;
	put->count = count;
	if (count)
		memcpy(put->hashes, hashes, count * sizeof(*hashes));
	return step_submit(catalog, &put->step, 0);
}

int catalog_get_hashes(struct catalog *catalog, uint64_t content,
		       struct content_hash ret_hashes[HASH_FORMATS], size_t *ret_count)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	size_t count = 0;
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_get_hashes);
	query_int(&query, (int64_t)content);
	while ((r = query_row(&query)) > 0 && count < HASH_FORMATS) {
		struct content_hash *hash = &ret_hashes[count];
		const char *name = query_get_text(&query, 0);
		size_t length;
		const void *bytes = query_get_blob(&query, 1, &length);

		/* Of a newer program, or broken: as if it were not there. */
		if (hash_format_parse(name, strlen(name), &hash->format) < 0 ||
		    length != hash_bytes(hash->format))
			continue;
		memcpy(hash->bytes, bytes, length);
		count++;
	}
	if (r < 0)
		return r;
	*ret_count = count;
	return 0;
}

/* Unsettled folders -------------------------------------------------------------------- */

int db_note_unsettled(struct db *db, uint64_t id, int64_t noted_ns)
{
	struct query query = query_start(db, &sql_note);

	query_int(&query, (int64_t)id);
	query_int(&query, noted_ns);
	return query_run(&query);
}

struct note_step {
	struct step step;
	uint64_t folder;
};

static int apply_note(struct db *db, struct step *step)
{
	struct query query = query_start(db, &sql_note_folder);

	query_int(&query, (int64_t)((const struct note_step *)step)->folder);
	query_int(&query, step->time_ns);
	return query_run(&query);
}

int catalog_note_unsettled(struct catalog *catalog, uint64_t folder)
{
	struct note_step *note = step_new(sizeof(*note), apply_note);

	if (!note)
		return -ENOMEM;
	note->folder = folder;
	return step_submit(catalog, &note->step, 0);
}

int catalog_get_unsettled(struct catalog *catalog, uint64_t after, struct unsettled *ret_rows,
			  size_t max)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	size_t count = 0;
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_get_unsettled);
	query_int(&query, (int64_t)after);
	query_int(&query, (int64_t)max);
	while (count < max && (r = query_row(&query)) > 0) {
		ret_rows[count].folder = (uint64_t)query_get_int(&query, 0);
		ret_rows[count++].noted_ns = query_get_int(&query, 1);
	}
	return r < 0 ? r : (int)count;
}

struct clear_step {
	struct step step;
	struct unsettled row; /* folder 0: all */
};

static int apply_clear(struct db *db, struct step *step)
{
	const struct clear_step *clear = (const struct clear_step *)step;
	struct query query;

	if (!clear->row.folder) {
		query = query_start(db, &sql_forget);
		return query_run(&query);
	}
	query = query_start(db, &sql_clear);
	query_int(&query, (int64_t)clear->row.folder);
	query_int(&query, clear->row.noted_ns);
	return query_run(&query);
}

static int clear(struct catalog *catalog, const struct unsettled *row)
{
	struct clear_step *step = step_new(sizeof(*step), apply_clear);

	if (!step)
		return -ENOMEM;
	step->row = *row;
	return step_submit(catalog, &step->step, 0);
}

int catalog_clear_unsettled(struct catalog *catalog, const struct unsettled *row)
{
	return clear(catalog, row);
}

int catalog_forget_unsettled(struct catalog *catalog)
{
	return clear(catalog, &(struct unsettled){ 0 });
}

/* Seals -------------------------------------------------------------------------------- */

static int get_ids(struct catalog *catalog, const struct statement *statement, uint64_t id,
		   uint64_t *ret_ids, size_t max)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	size_t count = 0;
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, statement);
	query_int(&query, (int64_t)id);
	query_int(&query, (int64_t)max);
	while (count < max && (r = query_row(&query)) > 0)
		ret_ids[count++] = (uint64_t)query_get_int(&query, 0);
	return r < 0 ? r : (int)count;
}

int catalog_get_sealed(struct catalog *catalog, uint64_t after, uint64_t *ret_ids, size_t max)
{
	return get_ids(catalog, &sql_sealed, after, ret_ids, max);
}

int catalog_parents_of(struct catalog *catalog, uint64_t id, uint64_t *ret_parents, size_t max)
{
	return get_ids(catalog, &sql_parents, id, ret_parents, max);
}
