/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of versions and positions (catalog/sync.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"
#include "catalog/sync.h"

#define VERSION_COLUMNS                                                                            \
	"s.site, v.seq, s.name, v.lamport, v.path, v.live, v.shown, v.kind, v.mode, v.mtime_ns, "  \
	"v.size, v.digest, v.map, v.tier, v.key, v.target, v.id"
#define FROM_VERSIONS " FROM versions v JOIN sites s ON s.id = v.site "
#define PAGE 256

STATEMENT(sql_versions, "SELECT " VERSION_COLUMNS FROM_VERSIONS "WHERE v.path = ?1");
STATEMENT(sql_shown, "SELECT " VERSION_COLUMNS FROM_VERSIONS "WHERE v.shown = ?1");
STATEMENT(sql_dead,
	  "SELECT " VERSION_COLUMNS FROM_VERSIONS
	  "WHERE v.live = 0 AND v.digest = ?1 AND v.shown IS NOT NULL AND v.kind = 1 LIMIT 16");
STATEMENT(sql_pending, "SELECT " VERSION_COLUMNS FROM_VERSIONS
		       "WHERE v.live = 1 AND v.kind = 1 AND v.key IS NULL"
		       " AND (v.path, v.id) > (?1, ?2) ORDER BY v.path, v.id LIMIT ?3");
STATEMENT(sql_below, "SELECT 1 FROM versions WHERE path >= ?1 AND path < ?2 AND live = 1"
		     " AND (kind <> 1 OR key IS NOT NULL) LIMIT 1");
STATEMENT(sql_shown_below, "SELECT DISTINCT shown FROM versions"
			   " WHERE shown > ?1 AND shown < ?2 ORDER BY shown LIMIT ?3");
STATEMENT(sql_position, "SELECT site, name, segment, chain, records, lamport FROM sites"
			" WHERE site = ?1");
STATEMENT(sql_positions, "SELECT site, name, segment, chain, records, lamport FROM sites"
			 " WHERE site > ?1 AND segment > 0 ORDER BY site LIMIT 1");
SCAN_STATEMENT(sql_max_lamport, "SELECT max(lamport) FROM sites");
STATEMENT(sql_next_outbox,
	  "SELECT segment, bytes FROM outbox WHERE segment > 0 ORDER BY segment LIMIT 1");
SCAN_STATEMENT(sql_counts,
	       "SELECT (SELECT count(*) FROM unpublished), (SELECT count(*) FROM unshown),"
	       " (SELECT count(*) FROM outbox),"
	       " (SELECT count(*) FROM versions WHERE live = 1 AND kind = 1 AND key IS NULL),"
	       " (SELECT count(*) FROM versions WHERE live = 1 AND shown <> path)");

/* @to has @size bytes; -EUCLEAN when the text is too long. */
static int get_text(struct query *query, int column, char *to, size_t size)
{
	const char *text = query_get_text(query, column);

	if (strlen(text) >= size)
		return -EUCLEAN;
	memcpy(to, text, strlen(text) + 1);
	return 0;
}

/* A string, or NULL for NULL. */
static int get_bytes(struct query *query, int column, char **ret_text)
{
	if (sqlite3_column_type(query->stmt, column) == SQLITE_NULL)
		return 0;
	return query_copy_bytes(query, column, ret_text);
}

static int read_body(struct query *query, struct version_body *body)
{
	int r = 0;

	body->kind = (enum version_kind)query_get_int(query, 7);
	body->mode = (uint32_t)query_get_int(query, 8);
	body->mtime_ns = query_get_int(query, 9);
	body->size = (uint64_t)query_get_int(query, 10);
	if (body->kind == VERSION_FILE) {
		r = query_get_digest(query, 11, &body->digest);
		if (r == 0)
			r = query_get_map(query, 12, body->size, &body->map);
	}
	if (r == 0)
		r = get_text(query, 13, body->tier, sizeof(body->tier));
	if (r == 0)
		r = get_bytes(query, 14, &body->key);
	if (r == 0)
		r = get_bytes(query, 15, &body->target);
	if (r == 0 && ((body->kind == VERSION_LINK) != (body->target != NULL)))
		r = -EUCLEAN;
	return r;
}

static int read_row(struct query *query, struct version_row *row)
{
	int r;

	row->id.seq = (uint64_t)query_get_int(query, 1);
	row->lamport = (uint64_t)query_get_int(query, 3);
	row->live = query_get_int(query, 5) != 0;
	r = get_text(query, 0, row->id.site, sizeof(row->id.site));
	if (r == 0)
		r = get_text(query, 2, row->site_name, sizeof(row->site_name));
	if (r == 0)
		r = query_copy_bytes(query, 4, &row->path);
	if (r == 0)
		r = get_bytes(query, 6, &row->shown);
	if (r == 0)
		r = read_body(query, &row->body);
	if (r < 0)
		version_row_fini(row);
	return r;
}

struct rows {
	struct version_row *list; /* owned */
	size_t count, room;
	int64_t last; /* versions.id of the last one */
};

static int rows_read(struct query *query, struct rows *rows)
{
	int r;

	while ((r = query_row(query)) > 0) {
		if (rows->count == rows->room) {
			size_t room = rows->room ? rows->room * 2 : 4;
			struct version_row *more = realloc(rows->list, room * sizeof(*more));

			if (!more)
				return -ENOMEM;
			rows->list = more;
			rows->room = room;
		}
		rows->list[rows->count] = (struct version_row){ 0 };
		r = read_row(query, &rows->list[rows->count]);
		if (r < 0)
			return r;
		rows->count++;
		rows->last = query_get_int(query, 16);
	}
	return r;
}

/* @key: the path or digest that the statement asks for. */
static int get_rows(struct catalog *catalog, const struct statement *statement, const void *key,
		    size_t key_bytes, struct version_row **ret_rows, size_t *ret_count)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	struct rows rows = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, statement);
	query_blob(&query, key, key_bytes);
	r = rows_read(&query, &rows);
	if (r < 0) {
		version_rows_free(rows.list, rows.count);
		return r;
	}
	*ret_rows = rows.list;
	*ret_count = rows.count;
	return 0;
}

int catalog_get_versions(struct catalog *catalog, const char *path, struct version_row **ret_rows,
			 size_t *ret_count)
{
	return get_rows(catalog, &sql_versions, path, strlen(path), ret_rows, ret_count);
}

int catalog_get_shown(struct catalog *catalog, const char *path, struct version_row **ret_rows,
		      size_t *ret_count)
{
	return get_rows(catalog, &sql_shown, path, strlen(path), ret_rows, ret_count);
}

int catalog_get_dead_shown(struct catalog *catalog, const struct digest *digest,
			   struct version_row **ret_rows, size_t *ret_count)
{
	return get_rows(catalog, &sql_dead, digest->bytes, sizeof(digest->bytes), ret_rows,
			ret_count);
}

static int read_pending(struct catalog *catalog, const char *after, int64_t after_id,
			struct rows *rows)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_pending);
	query_bytes(&query, after);
	query_int(&query, after_id);
	query_int(&query, PAGE);
	return rows_read(&query, rows);
}

int catalog_each_pending(struct catalog *catalog,
			 int (*fn)(void *arg, const struct version_row *row), void *arg)
{
	cleanup_free char *after = strdup("");
	int64_t after_id = 0;
	size_t count = PAGE;
	int r = 0;

	while (r == 0 && count == PAGE) {
		struct rows rows = { 0 };

		if (!after)
			return -ENOMEM;
		r = read_pending(catalog, after, after_id, &rows);
		count = rows.count;
		for (size_t i = 0; r == 0 && i < count; i++)
			r = fn(arg, &rows.list[i]);
		if (count > 0) {
			free(after);
			after = strdup(rows.list[count - 1].path);
			after_id = rows.last;
		}
		version_rows_free(rows.list, rows.count);
	}
	return r;
}

int catalog_has_versions_below(struct catalog *catalog, const char *path)
{
	cleanup_reader struct db *db = NULL;
	cleanup_free char *low = malloc(strlen(path) + 2);
	cleanup_free char *high = malloc(strlen(path) + 2);
	struct query query;
	int r;

	if (!low || !high)
		return -ENOMEM;
	path_range(path, low, high);
	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_below);
	query_bytes(&query, low);
	query_bytes(&query, high);
	return query_found(&query);
}

static int read_shown_page(struct catalog *catalog, const char *low, const char *high,
			   char *paths[PAGE], size_t *count)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_shown_below);
	query_bytes(&query, low);
	query_bytes(&query, high);
	query_int(&query, PAGE);
	while (*count < PAGE && (r = query_row(&query)) > 0) {
		r = query_copy_bytes(&query, 0, &paths[*count]);
		if (r < 0)
			return r;
		(*count)++;
	}
	return r < 0 ? r : 0;
}

int catalog_each_shown_below(struct catalog *catalog, const char *path,
			     int (*fn)(void *arg, const char *path), void *arg)
{
	cleanup_free char *low = malloc(strlen(path) + 2);
	cleanup_free char *high = malloc(strlen(path) + 2);
	size_t count = PAGE;
	int r = 0;

	if (!low || !high)
		return -ENOMEM;
	path_range(path, low, high);
	while (r == 0 && count == PAGE) {
		char *paths[PAGE];

		count = 0;
		r = read_shown_page(catalog, low, high, paths, &count);
		for (size_t i = 0; r == 0 && i < count; i++)
			r = fn(arg, paths[i]);
		if (count == PAGE) {
			free(low);
			low = take_ptr(paths[count - 1]);
		}
		for (size_t i = 0; i < count; i++)
			free(paths[i]);
	}
	return r;
}

/* Positions ---------------------------------------------------------------------------- */

static int read_position(struct query *query, struct sync_position *position)
{
	const void *chain;
	size_t length;
	int r;

	r = get_text(query, 0, position->site, sizeof(position->site));
	if (r == 0)
		r = get_text(query, 1, position->name, sizeof(position->name));
	if (r < 0)
		return r;
	position->segment = (uint64_t)query_get_int(query, 2);
	chain = query_get_blob(query, 3, &length);
	if (length != sizeof(position->chain))
		return -EUCLEAN;
	memcpy(position->chain, chain, length);
	position->records = (uint64_t)query_get_int(query, 4);
	position->lamport = (uint64_t)query_get_int(query, 5);
	return 0;
}

static int get_position(struct catalog *catalog, const struct statement *statement,
			const char *site, struct sync_position *ret_position)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, statement);
	query_text(&query, site);
	r = query_row(&query);
	if (r <= 0)
		return r;
	r = read_position(&query, ret_position);
	return r < 0 ? r : 1;
}

int catalog_get_position(struct catalog *catalog, const char *site,
			 struct sync_position *ret_position)
{
	struct sync_position position = { 0 };
	int r = get_position(catalog, &sql_position, site, &position);

	if (r < 0)
		return r;
	if (r == 0)
		(void)snprintf(position.site, sizeof(position.site), "%s", site);
	*ret_position = position;
	return r;
}

int catalog_each_position(struct catalog *catalog,
			  int (*fn)(void *arg, const struct sync_position *position), void *arg)
{
	struct sync_position position = { .site = "" };
	int r;

	do {
		struct sync_position next = { 0 };

		r = get_position(catalog, &sql_positions, position.site, &next);
		if (r <= 0)
			return r;
		position = next;
		r = fn(arg, &position);
	} while (r == 0);
	return r;
}

int catalog_max_lamport(struct catalog *catalog, uint64_t *ret_lamport)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_max_lamport);
	r = query_row(&query);
	if (r < 0)
		return r;
	*ret_lamport = r > 0 ? (uint64_t)query_get_int(&query, 0) : 0;
	return 0;
}

int catalog_next_outbox(struct catalog *catalog, uint64_t *ret_segment, void **ret_bytes,
			size_t *ret_length)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	const void *bytes;
	void *copy;
	size_t length;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_next_outbox);
	r = query_row(&query);
	if (r <= 0)
		return r;
	bytes = query_get_blob(&query, 1, &length);
	copy = malloc(length + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, length);
	*ret_segment = (uint64_t)query_get_int(&query, 0);
	*ret_bytes = copy;
	*ret_length = length;
	return 1;
}

int catalog_get_sync_counts(struct catalog *catalog, struct sync_counts *ret_counts)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_counts);
	r = query_row(&query);
	if (r <= 0)
		return r < 0 ? r : -EUCLEAN;
	ret_counts->unpublished = (uint64_t)query_get_int(&query, 0);
	ret_counts->unshown = (uint64_t)query_get_int(&query, 1);
	ret_counts->outbox = (uint64_t)query_get_int(&query, 2);
	ret_counts->pending = (uint64_t)query_get_int(&query, 3);
	ret_counts->conflicts = (uint64_t)query_get_int(&query, 4);
	return 0;
}
