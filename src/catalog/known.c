/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/private.h"

/* "> 0": the index has only those. */
STATEMENT(sql_files, "SELECT " NODE_COLUMNS ", i.checked_ns FROM inodes AS i"
		     " WHERE i.content = ?1 AND i.content > 0 ORDER BY i.id LIMIT ?2");
STATEMENT(sql_checked, "SELECT checked_ns FROM inodes WHERE id = ?1");
STATEMENT(sql_size, "SELECT 1 FROM contents WHERE size = ?1 LIMIT 1");

void known_files_free(struct known_file *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(files[i].path);
	free(files);
}

/* Without paths. */
static int read_rows(struct db *db, uint64_t content, size_t max, struct known_file *files,
		     size_t *ret_count)
{
	cleanup_query struct query query = query_start(db, &sql_files);
	size_t count = 0;
	int r = 0;

	query_int(&query, (int64_t)content);
	query_int(&query, (int64_t)max);
	while (count < max && (r = query_row(&query)) > 0) {
		r = query_get_node(&query, 0, &files[count].node);
		if (r < 0)
			return r;
		files[count++].checked_ns = query_get_int(&query, NODE_COLUMN_COUNT);
	}
	*ret_count = count;
	return r < 0 ? r : 0;
}

static int read_files(struct db *db, uint64_t content, size_t max, struct known_file *files,
		      size_t *ret_count)
{
	size_t rows = 0, count = 0;
	int r = read_rows(db, content, max, files, &rows);

	for (size_t i = 0; r >= 0 && i < rows; i++) {
		struct known_file file = files[i];

		r = db_path_of(db, file.node.id, &file.path);
		if (r > 0)
			files[count++] = file;
	}
	*ret_count = count;
	return r < 0 ? r : 0;
}

int catalog_get_files(struct catalog *catalog, uint64_t content, size_t max,
		      struct known_file **ret_files, size_t *ret_count)
{
	struct known_file *files = calloc(max ? max : 1, sizeof(*files));
	cleanup_reader struct db *db = NULL;
	size_t count = 0;
	int r = files ? reader_take(catalog, &db) : -ENOMEM;

	if (r == 0)
		r = db_begin_read(db);
	if (r == 0) {
		r = read_files(db, content, max, files, &count);
		db_end_read(db);
	}
	if (r < 0) {
		known_files_free(files, count);
		return r;
	}
	*ret_files = files;
	*ret_count = count;
	return 0;
}

int catalog_get_checked(struct catalog *catalog, uint64_t id, int64_t *ret_checked_ns)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_checked);
	query_int(&query, (int64_t)id);
	r = query_row(&query);
	if (r > 0)
		*ret_checked_ns = query_get_int(&query, 0);
	return r;
}

int catalog_get_file(struct catalog *catalog, const char *path, struct known_file *ret_file)
{
	struct known_file file = { 0 };
	int r = catalog_lookup_path(catalog, path, &file.node);

	if (r > 0 && !S_ISREG(file.node.mode))
		r = 0;
	if (r > 0)
		r = catalog_get_checked(catalog, file.node.id, &file.checked_ns);
	if (r <= 0)
		return r;
	file.path = strdup(path);
	if (!file.path)
		return -ENOMEM;
	*ret_file = file;
	return 1;
}

int catalog_has_size(struct catalog *catalog, uint64_t size)
{
	cleanup_reader struct db *db = NULL;
	struct query query;
	int r = size > INT64_MAX ? 0 : 1;

	if (r == 0)
		return 0;
	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_size);
	query_int(&query, (int64_t)size);
	return query_found(&query);
}
