/* SPDX-License-Identifier: Apache-2.0 */
#include "control/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/error.h"

bool path_under(const char *path, const char *top)
{
	size_t length = strlen(top);

	if (length == 0)
		return true;
	return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

int report_totals(struct request *request, const char *path, const struct node_row *node,
		  struct catalog_totals *ret_totals)
{
	if (!*path)
		return catalog_get_totals(request->source->catalog, ret_totals);
	if (S_ISDIR(node->mode))
		return catalog_totals_under(request->source->catalog, node->id, ret_totals);
	*ret_totals = (struct catalog_totals){ .nodes = 1 };
	if (node->state > 0 && node->state < FILE_STATE_COUNT) {
		ret_totals->files[node->state] = 1;
		ret_totals->bytes[node->state] = node->size;
	}
	if (node->state == FILE_EVICTED || node->state == FILE_HYDRATING)
		ret_totals->resident_bytes = node->resident_bytes;
	return 0;
}

static int add_queued(void *arg, const struct queue_row *row)
{
	struct queue_totals *totals = arg;

	totals->files++;
	totals->bytes += row->size;
	totals->poison += row->poison;
	return 0;
}

int report_queue_totals(struct catalog *catalog, struct queue_totals *ret_totals)
{
	*ret_totals = (struct queue_totals){ 0 };
	return catalog_each_queued(catalog, add_queued, ret_totals);
}

/* Ids first, their paths after: no reading of the catalog from within a reading of it. */
struct found {
	struct {
		uint64_t id;
		int error;
		uint32_t tier, attempts; /* of poison */
		int64_t due_ns;
	} * rows; /* owned */
	size_t used, size;
};

static int found_add(struct found *found, uint64_t id, int error)
{
	if (found->used == found->size) {
		size_t size = found->size ? found->size * 2 : 32;
		void *grown = reallocarray(found->rows, size, sizeof(*found->rows));

		if (!grown)
			return -ENOMEM;
		found->rows = grown;
		found->size = size;
	}
	memset(&found->rows[found->used], 0, sizeof(*found->rows));
	found->rows[found->used].id = id;
	found->rows[found->used++].error = error;
	return 0;
}

static int add_damaged(void *arg, const char *name, const struct node_row *row)
{
	(void)name;
	return found_add(arg, row->id, row->error ? row->error : -EBADMSG);
}

static int add_poison(void *arg, const struct queue_row *row)
{
	struct found *found = arg;
	int r = row->poison ? found_add(found, row->id, row->error) : 0;

	if (row->poison && r == 0) {
		found->rows[found->used - 1].tier = row->tier;
		found->rows[found->used - 1].attempts = row->attempts;
		found->rows[found->used - 1].due_ns = row->due_ns;
	}
	return r;
}

/* What is wrong with it, and what the tier said of that. */
static json_t *error_json(struct catalog *catalog, uint64_t id, uint32_t tier, int error)
{
	cleanup_free char *why = NULL;
	int r = tier ? catalog_queue_why(catalog, id, tier, &why) : 0;

	return r > 0 ? json_sprintf("%s: %s", error_text(error), why)
		     : json_string(error_text(error));
}

static json_t *found_json(struct catalog *catalog, const struct found *found, size_t i,
			  const char *path)
{
	json_t *item = json_pack(
		"{s:o,s:o}", "path", json_path(path), "error",
		error_json(catalog, found->rows[i].id, found->rows[i].tier, found->rows[i].error));

	if (!item || !found->rows[i].attempts)
		return item;
	(void)json_object_set_new(item, "attempts", json_integer(found->rows[i].attempts));
	(void)json_object_set_new(item, "next_try_ns", json_integer(found->rows[i].due_ns));
	return item;
}

static int report_found(struct request *request, const char *key, const struct found *found,
			const char *top, size_t max, uint64_t *ret_count)
{
	cleanup_json json_t *list = json_array();
	uint64_t count = 0;

	for (size_t i = 0; list && i < found->used; i++) {
		cleanup_free char *path = NULL;
		int r = catalog_path_of(request->source->catalog, found->rows[i].id, &path);

		if (r < 0)
			return r;
		if (r == 0 || !path_under(path, top) || count++ >= max)
			continue;
		if (json_array_append_new(list,
					  found_json(request->source->catalog, found, i, path)) < 0)
			return -ENOMEM;
	}
	if (ret_count)
		*ret_count = count;
	return request_add(request, key, take_ptr(list));
}

int report_damaged(struct request *request, const char *top, size_t max)
{
	struct found found = { 0 };
	int r = catalog_each_file(request->source->catalog, 1u << FILE_DAMAGED, 0, add_damaged,
				  &found);

	if (r == 0)
		r = report_found(request, "damaged", &found, top, max, NULL);
	free(found.rows);
	return r;
}

int report_poison(struct request *request, const char *top, size_t max, uint64_t *ret_count)
{
	struct found found = { 0 };
	struct queue_totals totals;
	int r = catalog_queue_totals(request->source->catalog, 0, &totals);

	/* Where there is none, the whole queue need not be read to see that. */
	if (r == 0 && totals.poison > 0)
		r = catalog_each_queued(request->source->catalog, add_poison, &found);
	if (r == 0)
		r = report_found(request, "poison", &found, top, max, ret_count);
	free(found.rows);
	return r;
}

int report_rules(struct request *request, struct rules **ret_rules)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	const char *classes[PRIORITY_COUNT] = { 0 };
	cleanup_free char *message = NULL;
	const char *ignore = NULL;
	int r;

	r = settings_load(request->source->store->path, &settings, &message);
	if (r < 0 && r != -EINVAL)
		return r;
	/* A file that is wrong now is not what the running volume uses: the built-in rules do. */
	if (r == 0) {
		ignore = settings_rule(settings, "ignore");
		for (int class = 0; class < PRIORITY_COUNT; class ++) {
			char name[64];

			(void)snprintf(name, sizeof(name), "priority.%s", priority_name(class));
			classes[class] = settings_rule(settings, name);
		}
	}
	*ret_rules = rules_new(ignore, classes);
	return *ret_rules ? 0 : -ENOMEM;
}
