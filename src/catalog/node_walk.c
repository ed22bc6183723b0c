/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks over nodes. All read a page, give the connection back, then call out: a slow
 * callback holds no snapshot (which would keep the WAL from being reused) and may call
 * the catalog itself. What changes during a walk may be seen or not; nothing that stays
 * where it is, is left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/nodes.h"
#include "catalog/private.h"
#include "util/io.h"

#define PAGE_ROWS 256
/* A literal for the same in SQL. */
#define PAGE_LIMIT " LIMIT 256"

STATEMENT(sql_children,
	  "SELECT n.name, " NODE_COLUMNS " FROM names AS n CROSS JOIN inodes AS i ON i.id = n.id"
	  " WHERE n.parent = ?1 AND n.name > ?2 ORDER BY n.name" PAGE_LIMIT);
STATEMENT(sql_in_state, "SELECT " NODE_COLUMNS " FROM inodes AS i WHERE i.state = ?1 AND"
			" i.state > 0 AND i.id > ?2 ORDER BY i.id" PAGE_LIMIT);

struct child {
	char name[NAME_MAX_BYTES + 1];
	struct node_row row;
};

/* The children of @parent after @after (name) into @page; their number or negative errno. */
static int read_children(struct catalog *catalog, uint64_t parent, const char *after,
			 struct child *page)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int count = 0, r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_children);
	query_int(&query, (int64_t)parent);
	query_bytes(&query, after);
	while ((r = query_row(&query)) > 0 && count < PAGE_ROWS) {
		r = query_get_name(&query, 0, page[count].name);
		if (r == 0)
			r = query_get_node(&query, 1, &page[count].row);
		if (r < 0)
			return r;
		count++;
	}
	return r < 0 ? r : count;
}

int catalog_each_child(struct catalog *catalog, uint64_t parent, catalog_node_fn fn, void *arg)
{
	cleanup_free struct child *page = malloc(PAGE_ROWS * sizeof(*page));
	char after[NAME_MAX_BYTES + 1] = "";
	int count, r;

	if (!page)
		return -ENOMEM;
	do {
		count = read_children(catalog, parent, after, page);
		for (int i = 0; i < count; i++) {
			r = fn(arg, page[i].name, &page[i].row);
			if (r != 0)
				return r;
		}
		if (count > 0)
			(void)stpcpy(after, page[count - 1].name);
	} while (count == PAGE_ROWS);
	return count < 0 ? count : 0;
}

/* A folder whose children are still to come. */
struct folder {
	uint64_t id;
	char *path; /* owned */
};

struct under {
	struct folder *folders; /* owned; a stack */
	size_t count, room;
	const char *path; /* of the folder being read */
	catalog_node_fn fn;
	void *arg;
};

static int push(struct under *under, uint64_t id, char *path)
{
	if (under->count == under->room) {
		size_t room = under->room ? under->room * 2 : 64;
		struct folder *more = reallocarray(under->folders, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		under->folders = more;
		under->room = room;
	}
	under->folders[under->count++] = (struct folder){ .id = id, .path = path };
	return 0;
}

static int under_child(void *arg, const char *name, const struct node_row *row)
{
	struct under *under = arg;
	cleanup_free char *path = path_join(under->path, name);
	int r;

	if (!path)
		return -ENOMEM;
	if (strlen(path) > PATH_LOOP_BYTES)
		return -EUCLEAN;
	r = under->fn(under->arg, path, row);
	if (r != 0 || !S_ISDIR(row->mode))
		return r;
	r = push(under, row->id, path);
	if (r == 0)
		(void)take_ptr(path);
	return r;
}

int catalog_each_under(struct catalog *catalog, uint64_t id, catalog_node_fn fn, void *arg)
{
	struct under under = { .fn = fn, .arg = arg };
	char *path = NULL;
	int r;

	r = catalog_path_of(catalog, id, &path);
	if (r <= 0)
		return r;
	r = push(&under, id, path);
	if (r < 0)
		free(path);
	while (r == 0 && under.count > 0) {
		struct folder folder = under.folders[--under.count];

		under.path = folder.path;
		r = catalog_each_child(catalog, folder.id, under_child, &under);
		free(folder.path);
	}
	while (under.count > 0)
		free(under.folders[--under.count].path);
	free(under.folders);
	return r;
}

/* The next files in one state, by id. */
struct lane {
	struct node_row rows[PAGE_ROWS];
	int count, next;
	int64_t after;
	bool more; /* in the database */
};

static int refill(struct catalog *catalog, enum file_state state, struct lane *lane)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_in_state);
	query_int(&query, state);
	query_int(&query, lane->after);
	lane->count = lane->next = 0;
	while ((r = query_row(&query)) > 0 && lane->count < PAGE_ROWS) {
		r = query_get_node(&query, 0, &lane->rows[lane->count]);
		if (r < 0)
			return r;
		lane->count++;
	}
	if (lane->count > 0)
		lane->after = (int64_t)lane->rows[lane->count - 1].id;
	lane->more = lane->count == PAGE_ROWS;
	return r < 0 ? r : 0;
}

/* The lane with the smallest id next; 1, 0 at the end, negative errno. */
static int best_lane(struct catalog *catalog, struct lane *lanes[FILE_STATE_COUNT],
		     struct lane **ret_lane)
{
	struct lane *best = NULL;

	for (int state = 1; state < FILE_STATE_COUNT; state++) {
		struct lane *lane = lanes[state];

		if (!lane)
			continue;
		if (lane->next == lane->count && lane->more) {
			int r = refill(catalog, (enum file_state)state, lane);

			if (r < 0)
				return r;
		}
		if (lane->next == lane->count)
			continue;
		if (!best ||
		    (int64_t)lane->rows[lane->next].id < (int64_t)best->rows[best->next].id)
			best = lane;
	}
	*ret_lane = best;
	return best != NULL;
}

static int merge(struct catalog *catalog, struct lane *lanes[FILE_STATE_COUNT], int64_t after,
		 catalog_node_fn fn, void *arg)
{
	struct lane *lane;
	int r;

	while ((r = best_lane(catalog, lanes, &lane)) > 0) {
		const struct node_row *row = &lane->rows[lane->next++];

		/* Changed its state during the walk: it was told already. */
		if ((int64_t)row->id <= after)
			continue;
		after = (int64_t)row->id;
		r = fn(arg, NULL, row);
		if (r != 0)
			break;
	}
	return r;
}

int catalog_each_file(struct catalog *catalog, unsigned state_mask, uint64_t after,
		      catalog_node_fn fn, void *arg)
{
	struct lane *lanes[FILE_STATE_COUNT] = { 0 };
	/* Ids are SQLite's signed integers there: those with the highest bit come first. */
	int64_t start = after ? (int64_t)after : INT64_MIN;
	int r = 0;

	for (int state = 1; state < FILE_STATE_COUNT; state++) {
		if (!(state_mask & 1u << state))
			continue;
		lanes[state] = malloc(sizeof(*lanes[state]));
		if (!lanes[state]) {
			r = -ENOMEM;
			break;
		}
		lanes[state]->count = lanes[state]->next = 0;
		lanes[state]->after = start;
		lanes[state]->more = true;
	}
	if (r == 0)
		r = merge(catalog, lanes, start, fn, arg);
	for (int state = 1; state < FILE_STATE_COUNT; state++)
		free(lanes[state]);
	return r;
}
