/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes that the backing file system refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/nodes.h"
#include "catalog/private.h"

/* The kernel's own limits. Source: linux/limits.h, XATTR_NAME_MAX, XATTR_SIZE_MAX. */
#define XATTR_NAME_BYTES 255
#define XATTR_VALUE_BYTES 65536

STATEMENT(sql_set, "INSERT INTO xattrs(id, name, value) SELECT ?1, ?2, ?3"
		   " WHERE EXISTS(SELECT 1 FROM inodes WHERE id = ?1)"
		   " ON CONFLICT(id, name) DO UPDATE SET value = excluded.value");
STATEMENT(sql_remove, "DELETE FROM xattrs WHERE id = ?1 AND name = ?2");
STATEMENT(sql_get, "SELECT value FROM xattrs WHERE id = ?1 AND name = ?2");
STATEMENT(sql_list, "SELECT name FROM xattrs WHERE id = ?1 ORDER BY name");

struct xattr_step {
	struct step step;
	uint64_t id;
	char name[XATTR_NAME_BYTES + 1];
	size_t size;
	char value[];
};

static bool is_xattr_name(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= XATTR_NAME_BYTES;
}

static int apply_set(struct db *db, struct step *step)
{
	struct xattr_step *xattr = (struct xattr_step *)step;
	struct query query = query_start(db, &sql_set);

	query_int(&query, (int64_t)xattr->id);
	query_bytes(&query, xattr->name);
	query_blob(&query, xattr->value, xattr->size);
	return query_run(&query);
}

int catalog_set_xattr(struct catalog *catalog, uint64_t id, const char *name, const void *value,
		      size_t size)
{
	struct xattr_step *xattr;

	if (!is_xattr_name(name))
		return -EINVAL;
	if (size > XATTR_VALUE_BYTES)
		return -E2BIG;
	xattr = step_new(sizeof(*xattr) + size, apply_set);
	if (!xattr)
		return -ENOMEM;
	xattr->id = id;
	(void)stpcpy(xattr->name, name);
	xattr->size = size;
	if (size > 0)
		memcpy(xattr->value, value, size);
	return step_submit(catalog, &xattr->step, 0);
}

static int apply_remove(struct db *db, struct step *step)
{
	struct xattr_step *xattr = (struct xattr_step *)step;
	struct query query = query_start(db, &sql_remove);

	query_int(&query, (int64_t)xattr->id);
	query_bytes(&query, xattr->name);
	return query_run(&query);
}

int catalog_remove_xattr(struct catalog *catalog, uint64_t id, const char *name)
{
	struct xattr_step *xattr;

	if (!is_xattr_name(name))
		return -EINVAL;
	xattr = step_new(sizeof(*xattr), apply_remove);
	if (!xattr)
		return -ENOMEM;
	xattr->id = id;
	(void)stpcpy(xattr->name, name);
	return step_submit(catalog, &xattr->step, 0);
}

int catalog_get_xattr(struct catalog *catalog, uint64_t id, const char *name, void **ret_value,
		      size_t *ret_size)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	const void *bytes;
	size_t size;
	void *value;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_get);
	query_int(&query, (int64_t)id);
	query_bytes(&query, name);
	r = query_row(&query);
	if (r <= 0)
		return r;
	bytes = query_get_blob(&query, 0, &size);
	value = malloc(size + 1);
	if (!value)
		return -ENOMEM;
	memcpy(value, bytes, size);
	*ret_value = value;
	*ret_size = size;
	return 1;
}

/* @names grows by one name and its NUL. */
static int append(char **names, size_t *size, const void *name, size_t length)
{
	char *more = realloc(*names, *size + length + 1);

	if (!more)
		return -ENOMEM;
	memcpy(more + *size, name, length);
	more[*size + length] = '\0';
	*names = more;
	*size += length + 1;
	return 0;
}

int catalog_list_xattr(struct catalog *catalog, uint64_t id, char **ret_names, size_t *ret_size)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	cleanup_free char *names = NULL;
	size_t size = 0;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_list);
	query_int(&query, (int64_t)id);
	while ((r = query_row(&query)) > 0) {
		size_t length;
		const void *name = query_get_blob(&query, 0, &length);

		r = append(&names, &size, name, length);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret_names = take_ptr(names);
	*ret_size = size;
	return 0;
}
