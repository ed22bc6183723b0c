/* SPDX-License-Identifier: Apache-2.0 */
#include "control/requests.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/contents.h"
#include "catalog/nodes.h"
#include "control/protocol.h"
#include "util/units.h"
#include "volume/manage.h"

/* What a tier has of which there is no other copy: not here, in no other tier. */
struct alone {
	struct catalog *catalog;
	uint32_t tier;
	uint32_t others[SETTINGS_TIERS_MAX];
	size_t other_count;
	uint64_t files, bytes;
	char *path; /* owned; of one of them */
};

static bool is_other(const struct alone *alone, uint32_t tier)
{
	for (size_t i = 0; i < alone->other_count; i++)
		if (alone->others[i] == tier)
			return true;
	return false;
}

/* 1 when the tier has the only good copy of @content. */
static int is_alone(const struct alone *alone, uint64_t content)
{
	struct copy_row *rows = NULL;
	bool here = false, elsewhere = false;
	size_t count = 0;
	int r = catalog_get_copies(alone->catalog, content, &rows, &count);

	for (size_t i = 0; i < count; i++) {
		here |= !rows[i].bad && rows[i].tier == alone->tier;
		elsewhere |= !rows[i].bad && is_other(alone, rows[i].tier);
		copy_row_fini(&rows[i]);
	}
	free(rows);
	return r < 0 ? r : here && !elsewhere;
}

static int count_file(void *arg, const char *name, const struct node_row *row)
{
	struct alone *alone = arg;
	int r = is_alone(alone, row->content);

	(void)name;
	if (r <= 0)
		return r;
	alone->files++;
	alone->bytes += row->size;
	r = alone->path ? 0 : catalog_path_of(alone->catalog, row->id, &alone->path);
	return r < 0 ? r : 0;
}

/* The tier called @name, and those that stay. -ENOENT there is none. */
static int find_tiers(const struct settings *settings, const char *name, struct alone *alone)
{
	bool found = false;

	for (size_t i = 0; i < settings_tier_count(settings); i++) {
		const struct settings_tier *tier = settings_tier(settings, i);
		bool is_it = strcmp(tier->name, name) == 0;
		uint32_t id = 0;
		int r = catalog_find_tier(alone->catalog, tier->name, tier->url, &id);

		if (r < 0)
			return r;
		found |= is_it;
		if (is_it)
			alone->tier = id;
		else if (id)
			alone->others[alone->other_count++] = id;
	}
	return found ? 0 : -ENOENT;
}

/* Nothing may become unreadable by it. */
static int check(struct request *request, const char *name)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_free char *message = NULL;
	struct alone alone = { .catalog = request->source->catalog };
	char bytes[32];
	int r = settings_load(request->source->store->path, &settings, &message);

	if (r < 0 && message)
		return request_fail(request, r, "%s/mediafs.conf: %s", request->source->store->path,
				    message);
	if (r == 0)
		r = find_tiers(settings, name, &alone);
	if (r == -ENOENT)
		return request_fail(request, r,
				    "there is no tier \"%s\": mediafs tier list shows all", name);
	if (r == 0)
		r = catalog_each_file(alone.catalog, 1u << FILE_EVICTED | 1u << FILE_HYDRATING, 0,
				      count_file, &alone);
	if (r == 0 && alone.files > 0)
		r = request_fail(request, -EBUSY,
				 "%" PRIu64
				 " evicted file%s (%s) are only in %s, such as %s: fetch "
				 "what is, or wait until another tier has it; --force removes %s "
				 "all the same",
				 alone.files, alone.files == 1 ? "" : "s",
				 format_bytes(alone.bytes, bytes, sizeof(bytes)), name,
				 alone.path ? alone.path : "?", name);
	free(alone.path);
	return r;
}

static int set_url(struct request *request, const char *name, const char *url)
{
	cleanup_free char *key = NULL;

	if (!name || !url)
		return request_fail(request, -EINVAL, "a name and a place are wanted");
	if (asprintf(&key, "tier.%s.url", name) < 0)
		return -ENOMEM;
	return request_set_setting(request, key, url);
}

/* "tier-remove": name, force. Nothing of what lies there is touched. */
int request_tier_remove(struct request *request)
{
	const char *name = json_string_or(request->json, "name", NULL);
	bool force = json_is_true(json_object_get(request->json, "force"));
	struct volume *volume = request->source->volume;
	int r = 0;

	/* From here on nothing is evicted that relies on it. */
	if (volume && name)
		volume_tier_leaves(volume, name, true);
	if (name && !force)
		r = check(request, name);
	if (r == 0)
		r = set_url(request, name, "");
	if (volume && name)
		volume_tier_leaves(volume, name, false); /* where it stayed */
	return r;
}

/* "tier-add": name, url, uuid (that the place has). What we know of copies there must be of it. */
int request_tier_add(struct request *request)
{
	const char *name = json_string_or(request->json, "name", NULL);
	const char *uuid = json_string_or(request->json, "uuid", "");
	cleanup_free char *url = json_path_value(json_object_get(request->json, "url"));
	cleanup_free char *known = NULL;
	uint32_t id = 0;
	char key[64];
	int r = 0;

	if (name && url)
		r = catalog_find_tier(request->source->catalog, name, url, &id);
	if (r > 0) {
		(void)snprintf(key, sizeof(key), "tier.%" PRIu32 ".uuid", id);
		r = catalog_get_meta(request->source->catalog, key, &known);
	}
	if (r > 0 && strcmp(known, uuid) != 0)
		return request_fail(request, -EBUSY,
				    "what is at %s now is not what was the tier %s there before: "
				    "give it another name",
				    url, name);
	return r < 0 ? r : set_url(request, name, url);
}
