/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/offloads.h"
#include "control/report.h"
#include "util/clock.h"
#include "util/io.h"
#include "volume/manage.h"
#include "volume/offloads.h"

/*
 * The cards of "status": those that bytes arrived for a moment ago, which are found from the files
 * that are not verified and from the folders that wait for the historian, and those that it was
 * done with. Never all names: what this may cost is bounded, whatever the volume holds.
 */
#define FOLDERS_MAX 64
#define FILES_MAX 64
#define NAMES_MAX 5000 /* looked at, a few milliseconds */
#define SETTLED_FOR_NS (86400 * NS_PER_SEC)

/* Folders in which something arrives. */
struct places {
	uint64_t files[FILES_MAX];
	size_t file_count;
	char *paths[FILES_MAX + FOLDERS_MAX]; /* owned; "" the root */
	size_t count;
};

static void places_fini(struct places *places)
{
	for (size_t i = 0; i < places->count; i++)
		free(places->paths[i]);
}

static int take_file(void *arg, const char *name, const struct node_row *row)
{
	struct places *places = arg;

	(void)name;
	places->files[places->file_count++] = row->id;
	return places->file_count == FILES_MAX;
}

/* The folder @id, or that of the file @id; what has no name is left out. */
static int add_place(struct catalog *catalog, struct places *places, uint64_t id, bool is_file)
{
	char *path = NULL, *slash;
	int r = catalog_path_of(catalog, id, &path);

	if (r <= 0)
		return r;
	slash = strrchr(path, '/');
	if (is_file)
		*(slash ? slash : path) = '\0';
	places->paths[places->count++] = path;
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int find_places(struct catalog *catalog, struct places *places)
{
	const unsigned open = 1u << FILE_RECEIVING | 1u << FILE_RECEIVED;
	struct unsettled rows[FOLDERS_MAX];
	int r = catalog_each_file(catalog, open, 0, take_file, places), count;

	for (size_t i = 0; r >= 0 && i < places->file_count; i++)
		r = add_place(catalog, places, places->files[i], true);
	count = r < 0 ? r : catalog_get_unsettled(catalog, 0, rows, FOLDERS_MAX);
	for (int i = 0; r >= 0 && i < count; i++)
		r = add_place(catalog, places, rows[i].folder, false);
	if (places->count)
		qsort(places->paths, places->count, sizeof(*places->paths), by_text);
	return r < 0 ? r : count < 0 ? count : 0;
}

static bool is_arriving(const struct places *places, const char *offload)
{
	for (size_t i = 0; i < places->count; i++) {
		if (path_under(places->paths[i], offload))
			return true;
	}
	return false;
}

static int append(json_t *list, json_t *item)
{
	return json_array_append_new(list, item) < 0 ? -ENOMEM : 0;
}

static json_t *arriving_json(const struct offload *offload)
{
	const struct card *card = offload->card;

	return json_pack("{s:o,s:o,s:s,s:b,s:I,s:I}", "path", json_path(offload->path), "reel",
			 card->reel_count ? json_path(card->reels[0]) : json_null(), "state",
			 offload_state(offload), "running", offload->unfinished, "files",
			 (json_int_t)offload->files, "verified", (json_int_t)offload->verified);
}

struct search {
	struct catalog *catalog;
	const struct card_rules *rules;
	const struct places *places;
	const char *path; /* what is asked about */
	size_t names;     /* that may still be looked at */
	json_t *list;
};

/* Cards in the folder @top, which something arrives in. */
static int search_in(struct search *search, const char *top)
{
	cleanup_with(offloads_fini) struct offloads offloads = { 0 };
	struct node_row row;
	int r = catalog_lookup_path(search->catalog, top, &row);

	if (r <= 0)
		return r;
	r = offloads_find(search->catalog, search->rules, row.id, top, search->names, &offloads);
	if (r == -E2BIG)
		return append(search->list, json_pack("{s:o,s:s}", "path", json_path(top), "state",
						      "many files"));
	if (r < 0)
		return r;
	search->names -= offloads.name_count;
	for (size_t i = 0; r == 0 && i < offloads.count; i++) {
		const struct offload *offload = &offloads.list[i];

		if (is_arriving(search->places, offload->path) &&
		    path_under(offload->path, search->path))
			r = append(search->list, arriving_json(offload));
	}
	return r;
}

/* Each folder at the root once: the root itself is no offload. */
static int search_all(struct search *search)
{
	cleanup_free char *last = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < search->places->count; i++) {
		const char *path = search->places->paths[i];
		size_t length = strcspn(path, "/");
		char *top;

		if (!length || (last && path_under(path, last)))
			continue;
		top = strndup(path, length);
		if (!top)
			return -ENOMEM;
		free(last);
		last = top;
		if (path_under(top, search->path) || path_under(search->path, top))
			r = search_in(search, top);
	}
	return r;
}

/* Those that the historian was done with in the last day. */
static int add_settled(struct request *request, const char *top, json_t *list)
{
	struct settled_offload rows[SETTLED_OFFLOADS_MAX];
	size_t count = request->source->volume
			       ? volume_settled_offloads(request->source->volume, rows)
			       : 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		cleanup_free char *path = NULL;

		if (rows[i].settled_ns < realtime_ns() - SETTLED_FOR_NS)
			continue;
		r = catalog_path_of(request->source->catalog, rows[i].folder, &path);
		if (r > 0 && path_under(path, top))
			r = append(list, json_pack("{s:o,s:s,s:I}", "path", json_path(path),
						   "state", "settled", "settled_ns",
						   (json_int_t)rows[i].settled_ns));
		r = r < 0 ? r : 0;
	}
	return r;
}

int report_arriving_offloads(struct request *request, const char *path)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = NULL;
	cleanup_with(places_fini) struct places places = { 0 };
	cleanup_json json_t *list = json_array();
	struct search search = {
		.catalog = request->source->catalog,
		.places = &places,
		.path = path,
		.names = NAMES_MAX,
		.list = list,
	};
	int r = list ? find_places(request->source->catalog, &places) : -ENOMEM;

	if (r == 0 && places.count) {
		cleanup_free char *folder = path_join(request->source->store->path, "cards.d");

		r = folder ? card_rules_load(folder, &rules) : -ENOMEM;
		search.rules = rules;
		if (r == 0)
			r = search_all(&search);
	}
	if (r == 0)
		r = add_settled(request, path, list);
	return r < 0 ? r : request_add(request, "offloads", json_incref(list));
}
