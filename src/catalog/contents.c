/* SPDX-License-Identifier: Apache-2.0 */
/* Contents: the bytes of files, by size and digest. Never deleted, never changed. */
#include "catalog/contents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"

STATEMENT(sql_find, "SELECT id, map = ?3 FROM contents WHERE size = ?1 AND digest = ?2");
STATEMENT(sql_insert, "INSERT INTO contents(size, digest, map) VALUES(?1, ?2, ?3)");
STATEMENT(sql_is_content, "SELECT 1 FROM contents WHERE id = ?1 AND size = ?2 AND digest = ?3");
STATEMENT(sql_replace_map, "UPDATE contents SET map = ?2 WHERE id = ?1");
STATEMENT(sql_by_id, "SELECT id, size, digest, map FROM contents WHERE id = ?1");
STATEMENT(sql_by_digest, "SELECT id, size, digest, map FROM contents"
			 " WHERE size = ?1 AND digest = ?2");

void content_row_fini(struct content_row *row)
{
	blockmap_fini(&row->map);
}

static void bind_content(struct query *query, uint64_t size, const struct digest *digest)
{
	query_int(query, (int64_t)size);
	query_blob(query, digest->bytes, sizeof(digest->bytes));
}

int db_put_content(struct db *db, uint64_t size, const struct digest *digest, const void *map,
		   size_t map_bytes, uint64_t *ret_content)
{
	struct query query = query_start(db, &sql_find);
	int r;

	bind_content(&query, size, digest);
	query_blob(&query, map, map_bytes);
	r = query_row(&query);
	if (r > 0) {
		bool same_map = query_get_int(&query, 1) != 0;

		*ret_content = (uint64_t)query_get_int(&query, 0);
		query_end(&query);
		/* Equal digests, other blocks: one of the two is not what was shot. */
		return same_map ? 0 : -EUCLEAN;
	}
	query_end(&query);
	if (r < 0)
		return r;
	query = query_start(db, &sql_insert);
	bind_content(&query, size, digest);
	query_blob(&query, map, map_bytes);
	r = query_run(&query);
	if (r == 0)
		*ret_content = (uint64_t)sqlite3_last_insert_rowid(db->sqlite);
	return r;
}

struct content_step {
	struct step step;
	uint64_t size;
	struct digest digest;
	uint64_t *ret_content; /* borrowed from the caller, who waits */
	size_t map_bytes;
	uint8_t map[];
};

static int apply_put_content(struct db *db, struct step *step)
{
	struct content_step *put = (struct content_step *)step;

	return db_put_content(db, put->size, &put->digest, put->map, put->map_bytes,
			      put->ret_content);
}

int catalog_put_content(struct catalog *catalog, uint64_t size, const struct digest *digest,
			const struct blockmap *map, uint64_t *ret_content)
{
	struct content_step *put;
	uint64_t content;
	size_t bytes;
	int r;

	if (size > INT64_MAX || map->size != size)
		return -EINVAL;
	bytes = blockmap_packed_bytes(map);
	put = step_new(sizeof(*put) + bytes, apply_put_content);
	if (!put)
		return -ENOMEM;
	put->size = size;
	put->digest = *digest;
	put->ret_content = &content;
	put->map_bytes = bytes;
	blockmap_pack(map, put->map);
	r = step_submit(catalog, &put->step, STEP_WAIT);
	if (r == 0)
		*ret_content = content;
	return r;
}

struct map_step {
	struct step step;
	uint64_t content, size;
	struct digest digest;
	size_t map_bytes;
	uint8_t map[];
};

static int apply_replace_map(struct db *db, struct step *step)
{
	struct map_step *put = (struct map_step *)step;
	struct query query = query_start(db, &sql_is_content);
	int r;

	query_int(&query, (int64_t)put->content);
	bind_content(&query, put->size, &put->digest);
	r = query_found(&query);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	query = query_start(db, &sql_replace_map);
	query_int(&query, (int64_t)put->content);
	query_blob(&query, put->map, put->map_bytes);
	return query_run(&query);
}

int catalog_replace_map(struct catalog *catalog, uint64_t content, const struct digest *digest,
			const struct blockmap *map, enum step_flags flags)
{
	size_t bytes = blockmap_packed_bytes(map);
	struct map_step *put = step_new(sizeof(*put) + bytes, apply_replace_map);

	if (!put)
		return -ENOMEM;
	put->content = content;
	put->size = map->size;
	put->digest = *digest;
	put->map_bytes = bytes;
	blockmap_pack(map, put->map);
	return step_submit(catalog, &put->step, flags);
}

static int read_content(struct query *query, struct content_row *ret_row)
{
	struct content_row row = { 0 };
	int r;

	r = query_row(query);
	if (r <= 0)
		return r;
	row.id = (uint64_t)query_get_int(query, 0);
	row.size = (uint64_t)query_get_int(query, 1);
	r = query_get_digest(query, 2, &row.digest);
	if (r == 0)
		r = query_get_map(query, 3, row.size, &row.map);
	if (r < 0)
		return r;
	*ret_row = row;
	return 1;
}

int catalog_get_content(struct catalog *catalog, uint64_t content, struct content_row *ret_row)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_by_id);
	query_int(&query, (int64_t)content);
	return read_content(&query, ret_row);
}

int catalog_find_content(struct catalog *catalog, uint64_t size, const struct digest *digest,
			 struct content_row *ret_row)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_by_digest);
	bind_content(&query, size, digest);
	return read_content(&query, ret_row);
}
