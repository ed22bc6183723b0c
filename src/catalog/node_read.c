/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of nodes one at a time. Walks: node_walk.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/nodes.h"
#include "catalog/private.h"
#include "util/io.h"

STATEMENT(sql_node, "SELECT " NODE_COLUMNS " FROM inodes AS i WHERE i.id = ?1");
STATEMENT(sql_lookup, "SELECT " NODE_COLUMNS " FROM names AS n JOIN inodes AS i ON i.id = n.id"
		      " WHERE n.parent = ?1 AND n.name = ?2");
STATEMENT(sql_name_of, "SELECT parent, name FROM names WHERE id = ?1"
		       " ORDER BY parent, name LIMIT 1");

int query_get_node(struct query *query, int first_column, struct node_row *ret_row)
{
	int c = first_column;
	struct node_row row = {
		.id = (uint64_t)query_get_int(query, c),
		.mode = (uint32_t)query_get_int(query, c + 1),
		.size = (uint64_t)query_get_int(query, c + 2),
		.mtime_ns = query_get_int(query, c + 3),
		.ctime_ns = query_get_int(query, c + 4),
		.generation = (uint64_t)query_get_int(query, c + 5),
		.state_ns = query_get_int(query, c + 7),
		.content = (uint64_t)query_get_int(query, c + 8),
		.flags = (unsigned)query_get_int(query, c + 9),
		.resident_bytes = (uint64_t)query_get_int(query, c + 10),
		.error = (int)query_get_int(query, c + 11),
	};
	int64_t state = query_get_int(query, c + 6);

	if (state < 0 || state >= FILE_STATE_COUNT || row.id == 0 || row.size > INT64_MAX ||
	    row.resident_bytes > INT64_MAX || row.error > 0)
		return -EUCLEAN;
	row.state = (enum file_state)state;
	*ret_row = row;
	return 0;
}

int query_get_name(struct query *query, int column, char ret_name[NAME_MAX_BYTES + 1])
{
	size_t length;
	const char *bytes = query_get_blob(query, column, &length);

	if (length == 0 || length > NAME_MAX_BYTES || memchr(bytes, '\0', length))
		return -EUCLEAN;
	memcpy(ret_name, bytes, length);
	ret_name[length] = '\0';
	return name_ok(ret_name) ? 0 : -EUCLEAN;
}

int db_get_node(struct db *db, uint64_t id, struct node_row *ret_row)
{
	cleanup_query struct query query = query_start(db, &sql_node);
	int r;

	query_int(&query, (int64_t)id);
	r = query_row(&query);
	if (r <= 0)
		return r;
	r = query_get_node(&query, 0, ret_row);
	return r < 0 ? r : 1;
}

int catalog_get_node(struct catalog *catalog, uint64_t id, struct node_row *ret_row)
{
	cleanup_reader struct db *db = NULL;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	return db_get_node(db, id, ret_row);
}

static int lookup(struct db *db, uint64_t parent, const char *name, size_t length,
		  struct node_row *ret_row)
{
	cleanup_query struct query query = query_start(db, &sql_lookup);
	int r;

	query_int(&query, (int64_t)parent);
	query_blob(&query, name, length);
	r = query_row(&query);
	if (r <= 0)
		return r;
	r = query_get_node(&query, 0, ret_row);
	return r < 0 ? r : 1;
}

int catalog_lookup(struct catalog *catalog, uint64_t parent, const char *name,
		   struct node_row *ret_row)
{
	cleanup_reader struct db *db = NULL;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	return lookup(db, parent, name, strlen(name), ret_row);
}

static int lookup_path(struct db *db, const char *path, struct node_row *ret_row)
{
	struct node_row row;
	int r;

	r = db_get_node(db, CATALOG_ROOT, &row);
	while (r > 0 && *path) {
		size_t length = strcspn(path, "/");

		r = lookup(db, row.id, path, length, &row);
		path += length;
		/* One slash between two names, none at the end: "a/" and "a//b" are no paths. */
		if (*path == '/' && *++path == '\0')
			return 0;
	}
	if (r > 0)
		*ret_row = row;
	return r;
}

int catalog_lookup_path(struct catalog *catalog, const char *path, struct node_row *ret_row)
{
	cleanup_reader struct db *db = NULL;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	r = db_begin_read(db);
	if (r < 0)
		return r;
	r = lookup_path(db, path, ret_row);
	db_end_read(db);
	return r;
}

/* A path grows from its end. */
struct backwards {
	char *bytes; /* owned; the path is [start, size), with its NUL */
	size_t start, size;
};

static int prepend(struct backwards *path, const void *bytes, size_t length)
{
	while (path->start < length + 1) {
		size_t used = path->size - path->start, size = path->size * 2;
		char *more;

		if (used > PATH_LOOP_BYTES)
			return -EUCLEAN;
		more = malloc(size);
		if (!more)
			return -ENOMEM;
		memcpy(more + size - used, path->bytes + path->start, used);
		free(path->bytes);
		*path = (struct backwards){ .bytes = more, .start = size - used, .size = size };
	}
	if (path->bytes[path->start] != '\0')
		path->bytes[--path->start] = '/';
	path->start -= length;
	memcpy(path->bytes + path->start, bytes, length);
	return 0;
}

/* Prepend a name of @id; 1 with *ret_parent, 0 when it has none. */
static int prepend_name(struct db *db, uint64_t id, struct backwards *path, uint64_t *ret_parent)
{
	cleanup_query struct query query = query_start(db, &sql_name_of);
	const void *name;
	size_t length;
	int r;

	query_int(&query, (int64_t)id);
	r = query_row(&query);
	if (r <= 0)
		return r;
	name = query_get_blob(&query, 1, &length);
	if (length == 0 || length > NAME_MAX_BYTES || memchr(name, '\0', length))
		return -EUCLEAN;
	r = prepend(path, name, length);
	*ret_parent = (uint64_t)query_get_int(&query, 0);
	return r < 0 ? r : 1;
}

int db_path_of(struct db *db, uint64_t id, char **ret_path)
{
	struct backwards path = { .bytes = malloc(512), .start = 511, .size = 512 };
	int r = 1;

	if (!path.bytes)
		return -ENOMEM;
	path.bytes[path.start] = '\0';
	while (r > 0 && id != CATALOG_ROOT)
		r = prepend_name(db, id, &path, &id);
	if (r > 0) {
		memmove(path.bytes, path.bytes + path.start, path.size - path.start);
		*ret_path = take_ptr(path.bytes);
	}
	free(path.bytes);
	return r;
}

int catalog_path_of(struct catalog *catalog, uint64_t id, char **ret_path)
{
	cleanup_reader struct db *db = NULL;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	r = db_begin_read(db);
	if (r < 0)
		return r;
	r = db_path_of(db, id, ret_path);
	db_end_read(db);
	return r;
}
