/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/contents.h"
#include "catalog/sync.h"
#include "control/protocol.h"
#include "control/report.h"
#include "util/error.h"
#include "util/io.h"
#include "util/table.h"

/*
 * A file in the answer to "ls": path, type ("file", "folder", "link", "other"), size, mode,
 * mtime_ns, sealed (it, or a folder that it lies in), pinned; of files also state, verified,
 * stored, resident_bytes, digest (null until verified), copies [{tier, key, confirmed_ns,
 * checked_ns, bad, archived, asked_ns}], and where it is so: error, ignored_by, queue [{tier,
 * class, attempts, error, poison, due_ns}].
 *
 * With "pending" also what other sites announced and no tier has yet: state "announced", site.
 *
 * Folders are read one by one, so that a slow reader holds no transaction of the catalog open.
 */
struct entry {
	char *path; /* owned */
	struct node_row row;
	bool sealed; /* or lies in a folder that is */
};

struct entries {
	struct entry *list; /* owned */
	size_t used, size;
	const struct entry *parent; /* of what is being read, borrowed */
};

struct walk {
	struct request *request;
	struct rules *rules;
	struct table queue; /* id -> struct queued, of all that waits */
	bool pending;       /* only what is not stored */
	bool recursive;
	bool conflicts; /* only what lost its name to another site's file */
};

struct queued {
	struct queue_row row;
	struct queued *next; /* for another tier */
};

static void entries_fini(struct entries *entries)
{
	for (size_t i = 0; i < entries->used; i++)
		free(entries->list[i].path);
	free(entries->list);
	*entries = (struct entries){ 0 };
}

/* Takes @path, also on failure. @sealed: what it lies in. */
static int entries_add(struct entries *entries, char *path, const struct node_row *row, bool sealed)
{
	if (path && entries->used == entries->size) {
		size_t size = entries->size ? entries->size * 2 : 64;
		void *grown = reallocarray(entries->list, size, sizeof(*entries->list));

		if (!grown) {
			free(path);
			return -ENOMEM;
		}
		entries->list = grown;
		entries->size = size;
	}
	if (!path)
		return -ENOMEM;
	entries->list[entries->used++] =
		(struct entry){ path, *row, sealed || row->flags & NODE_SEALED };
	return 0;
}

static int add_child(void *arg, const char *name, const struct node_row *row)
{
	struct entries *entries = arg;

	return entries_add(entries, path_join(entries->parent->path, name), row,
			   entries->parent->sealed);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static int add_queue_row(void *arg, const struct queue_row *row)
{
	struct table *table = arg;
	struct queued *queued = malloc(sizeof(*queued));

	if (!queued)
		return -ENOMEM;
	*queued = (struct queued){ *row, table_get(table, row->id) };
	if (table_put(table, row->id, queued) < 0) {
		free(queued);
		return -ENOMEM;
	}
	return 0;
}

static void queue_fini(struct table *table)
{
	struct queued *queued, *next;
	size_t iterator = 0;
	uint64_t id;
	void *value;

	while (table_next(table, &iterator, &id, &value)) {
		for (queued = value; queued; queued = next) {
			next = queued->next;
			free(queued);
		}
	}
	table_fini(table);
}

static const char *type_name(uint32_t mode)
{
	if (S_ISREG(mode))
		return "file";
	if (S_ISDIR(mode))
		return "folder";
	return S_ISLNK(mode) ? "link" : "other";
}

static int add_copies(struct walk *walk, json_t *file, uint64_t content)
{
	struct catalog *catalog = walk->request->source->catalog;
	cleanup_json json_t *list = json_array();
	struct copy_row *rows = NULL;
	size_t count = 0;
	int r;

	if (!list)
		return -ENOMEM;
	r = catalog_get_copies(catalog, content, &rows, &count);
	for (size_t i = 0; i < count; i++) {
		const struct copy_row *row = &rows[i];

		if (r == 0 &&
		    json_array_append_new(
			    list,
			    json_pack("{s:I,s:o,s:I,s:I,s:b,s:b,s:I}", "tier",
				      (json_int_t)row->tier, "key", json_path(row->key),
				      "confirmed_ns", (json_int_t)row->confirmed_ns, "checked_ns",
				      (json_int_t)row->checked_ns, "bad", row->bad, "archived",
				      row->archived, "asked_ns", (json_int_t)row->asked_ns)) < 0)
			r = -ENOMEM;
		copy_row_fini(&rows[i]);
	}
	free(rows);
	if (r < 0)
		return r;
	return json_object_set(file, "copies", list) < 0 ? -ENOMEM : 0;
}

static int add_content(struct walk *walk, json_t *file, uint64_t content)
{
	char hex[DIGEST_HEX_SIZE];
	struct content_row row;
	int r;

	if (!content)
		return json_object_set_new(file, "digest", json_null()) < 0 ? -ENOMEM : 0;
	r = catalog_get_content(walk->request->source->catalog, content, &row);
	if (r < 0)
		return r;
	if (r == 0)
		return json_object_set_new(file, "digest", json_null()) < 0 ? -ENOMEM : 0;
	digest_hex(&row.digest, hex);
	content_row_fini(&row);
	if (json_object_set_new(file, "digest", json_string(hex)) < 0)
		return -ENOMEM;
	return add_copies(walk, file, content);
}

static int add_queue(struct walk *walk, json_t *file, uint64_t id)
{
	const struct queued *queued = table_get(&walk->queue, id);
	cleanup_json json_t *list = json_array();

	if (!queued)
		return 0;
	for (; list && queued; queued = queued->next) {
		const struct queue_row *row = &queued->row;
		json_t *item = json_pack(
			"{s:I,s:s,s:i,s:o,s:b,s:I}", "tier", (json_int_t)row->tier, "class",
			priority_name(row->class), "attempts", (int)row->attempts, "error",
			row->error ? json_string(error_text(row->error)) : json_null(), "poison",
			row->poison, "due_ns", (json_int_t)row->due_ns);

		if (json_array_append_new(list, item) < 0)
			return -ENOMEM;
	}
	return json_object_set(file, "queue", list) < 0 ? -ENOMEM : 0;
}

static int add_file(struct walk *walk, json_t *file, const struct entry *entry)
{
	const struct node_row *row = &entry->row;
	bool partial = row->state == FILE_EVICTED || row->state == FILE_HYDRATING ||
		       row->state == FILE_ANNOUNCED;
	const char *glob = rules_ignores(walk->rules, entry->path);
	json_t *part = json_pack("{s:s,s:b,s:b,s:I,s:I}", "state",
				 catalog_state_name(walk->request->source->catalog, row),
				 "verified", file_state_is_verified(row->state), "stored",
				 file_state_is_stored(row->state), "resident_bytes",
				 (json_int_t)(partial ? row->resident_bytes : row->size),
				 "generation", (json_int_t)row->generation);
	int r;

	if (!part || json_object_update_new(file, part) < 0)
		return -ENOMEM;
	if (row->error &&
	    json_object_set_new(file, "error", json_string(error_text(row->error))) < 0)
		return -ENOMEM;
	if (glob && json_object_set_new(file, "ignored_by", json_path(glob)) < 0)
		return -ENOMEM;
	r = add_content(walk, file, row->content);
	return r < 0 ? r : add_queue(walk, file, row->id);
}

/* "NAME (conflict SITE DIGEST).EXT", as sync/merge.c makes it. */
static bool is_conflict(const char *path)
{
	const char *name = strrchr(path, '/');

	return glob_matches("* (conflict * ?*)*", name ? name + 1 : path);
}

static bool wanted(const struct walk *walk, const struct entry *entry)
{
	if (walk->conflicts)
		return is_conflict(entry->path);
	if (!walk->pending)
		return true;
	return S_ISREG(entry->row.mode) && !file_state_is_stored(entry->row.state) &&
	       !rules_ignores(walk->rules, entry->path);
}

static int emit(struct walk *walk, const struct entry *entry)
{
	const struct node_row *row = &entry->row;
	cleanup_json json_t *file = NULL;
	int r;

	if (!wanted(walk, entry))
		return 0;
	file = json_pack("{s:o,s:s,s:I,s:I,s:i,s:I,s:b,s:b}", "path", json_path(entry->path),
			 "type", type_name(row->mode), "id", (json_int_t)row->id, "size",
			 (json_int_t)row->size, "mode", (int)(row->mode & 07777), "mtime_ns",
			 (json_int_t)row->mtime_ns, "sealed", entry->sealed, "pinned",
			 (row->flags & NODE_PINNED) != 0);
	if (!file)
		return -ENOMEM;
	if (S_ISREG(row->mode)) {
		r = add_file(walk, file, entry);
		if (r < 0)
			return r;
	}
	return request_emit(walk->request, "file", take_ptr(file));
}

/* @folder's children; those that are folders themselves are put on @todo, last first. */
static int list_folder(struct walk *walk, const struct entry *folder, struct entries *todo)
{
	struct entries children = { .parent = folder };
	int r = catalog_each_child(walk->request->source->catalog, folder->row.id, add_child,
				   &children);

	if (r == 0 && children.used > 1)
		qsort(children.list, children.used, sizeof(*children.list), by_path);
	for (size_t i = 0; r == 0 && i < children.used; i++)
		r = emit(walk, &children.list[i]);
	for (size_t i = children.used; r == 0 && walk->recursive && i-- > 0;) {
		if (S_ISDIR(children.list[i].row.mode)) {
			r = entries_add(todo, children.list[i].path, &children.list[i].row,
					children.list[i].sealed);
			children.list[i].path = NULL;
		}
	}
	entries_fini(&children);
	return r;
}

/* 1: a folder above @path is sealed. */
static int is_sealed_above(struct catalog *catalog, const char *path)
{
	cleanup_free char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;
	int r = folder ? 0 : -ENOMEM;

	for (; r == 0 && slash; slash = strrchr(folder, '/')) {
		struct node_row row = { 0 };

		*slash = '\0';
		r = catalog_lookup_path(catalog, folder, &row);
		if (r > 0)
			r = (row.flags & NODE_SEALED) != 0;
	}
	return r;
}

static int walk_from(struct walk *walk, const char *path, const struct node_row *row)
{
	struct entries todo = { 0 };
	int r = is_sealed_above(walk->request->source->catalog, path);

	if (r >= 0)
		r = entries_add(&todo, strdup(path), row, r > 0);

	if (r == 0 && !S_ISDIR(row->mode))
		r = emit(walk, &todo.list[0]);
	while (r == 0 && S_ISDIR(row->mode) && todo.used > 0) {
		struct entry folder = todo.list[--todo.used];

		r = list_folder(walk, &folder, &todo);
		free(folder.path);
	}
	entries_fini(&todo);
	return r;
}

/* What other sites have and no tier yet, and our tree does not show. */
struct announced {
	const char *top; /* borrowed */
	json_t *list;    /* owned */
};

static int add_announced(void *arg, const struct version_row *row)
{
	struct announced *announced = arg;
	char digest[DIGEST_HEX_SIZE];
	json_t *file;

	if (row->shown || !path_under(row->path, announced->top))
		return 0;
	digest_hex(&row->body.digest, digest);
	file = json_pack("{s:o,s:s,s:I,s:i,s:I,s:s,s:b,s:b,s:i,s:s,s:s}", "path",
			 json_path(row->path), "type", "file", "size", (json_int_t)row->body.size,
			 "mode", (int)(row->body.mode & 07777), "mtime_ns",
			 (json_int_t)row->body.mtime_ns, "state", file_state_name(FILE_ANNOUNCED),
			 "verified", 0, "stored", 0, "resident_bytes", 0, "digest", digest, "site",
			 row->site_name);
	return json_array_append_new(announced->list, file) < 0 ? -ENOMEM : 0;
}

static int emit_announced(struct walk *walk, const char *top)
{
	struct announced announced = { top, json_array() };
	cleanup_json json_t *list = announced.list;
	json_t *file;
	size_t i;
	int r;

	if (!list)
		return -ENOMEM;
	r = catalog_each_pending(walk->request->source->catalog, add_announced, &announced);
	json_array_foreach(list, i, file)
	{
		if (r < 0)
			return r;
		r = request_emit(walk->request, "file", json_incref(file));
	}
	return r;
}

/* The path of an announced file is no node: then only what was announced is listed. */
static int find_start(struct walk *walk, char **ret_path, struct node_row *ret_row)
{
	struct request *request = walk->request;
	int r = request_node(request, ret_path, ret_row);

	if (r != -ENOENT || !walk->pending)
		return r == 0 ? 1 : r;
	request->message[0] = '\0';
	return request_path(request->json, ret_path);
}

static int run(struct request *request, struct walk *walk)
{
	cleanup_free char *path = NULL;
	struct node_row row;
	int found, r;

	found = find_start(walk, &path, &row);
	if (found < 0)
		return found;
	r = report_rules(request, &walk->rules);
	if (r < 0)
		return r;
	table_init(&walk->queue);
	r = catalog_each_queued(request->source->catalog, add_queue_row, &walk->queue);
	if (r == 0 && found)
		r = walk_from(walk, path, &row);
	if (r == 0 && walk->pending)
		r = emit_announced(walk, path);
	queue_fini(&walk->queue);
	rules_free(walk->rules);
	return r;
}

int request_ls(struct request *request)
{
	struct walk walk = {
		.request = request,
		.pending = request_flag(request->json, "pending"),
		.recursive = request_flag(request->json, "recursive"),
	};

	return run(request, &walk);
}

int request_conflicts(struct request *request)
{
	struct walk walk = { .request = request, .recursive = true, .conflicts = true };

	return run(request, &walk);
}
