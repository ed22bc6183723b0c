/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "sync/merge.h"
#include "sync/record.h"
#include "transfer/rules.h"
#include "util/clock.h"
#include "util/json.h"
#include "volume/import_object.h"
#include "volume/internal.h"
#include "volume/place.h"
#include "volume/syncer.h"

/* So many are put into the tree with one sync of the disk, or what came within this time. */
#define BATCH_FILES 64
#define BATCH_NS NS_PER_SEC
/* Their maps are held meanwhile. */
#define BATCH_BYTES (64ull << 30)

#define SHOW_NS (250 * NS_PER_MS)

#define DEFAULT_MODE 0644u

struct import {
	struct volume *volume;
	const struct transfer_tier *tier;
	enum import_flags flags;
	const char *actor;
	const struct import_host *host;
	struct rules *rules; /* owned */
	struct import_counts counts;
	int64_t shown_ns;
	int stopped; /* by the host */

	/* Keys of a batch that an earlier run may not have brought to the disk; owned. */
	json_t *unsynced;

	struct adoptee *batch; /* owned, BATCH_FILES of them */
	size_t count;
	uint64_t bytes;
	int64_t since_ns;
};

static void import_fini(struct import *import)
{
	for (size_t i = 0; i < import->count; i++)
		adoptee_fini(&import->batch[i]);
	free(import->batch);
	rules_free(import->rules);
	json_decref(import->unsynced);
}

/* What is told ------------------------------------------------------------------------------- */

static int tell(struct import *import, const struct import_object *object)
{
	int r;

	import->counts.results[object->result]++;
	r = import->host->object(import->host->arg, object);
	import->stopped = r ? r : import->stopped;
	return r;
}

static int show(struct import *import)
{
	int64_t now = monotonic_ns();
	int r;

	if (now - import->shown_ns < SHOW_NS)
		return 0;
	import->shown_ns = now;
	r = import->host->progress(import->host->arg, &import->counts);
	import->stopped = r ? r : import->stopped;
	return r;
}

static int pace(void *arg, uint64_t bytes)
{
	struct import *import = arg;
	int r = transfer_pace(import->volume->transfer, bytes);

	import->counts.done_bytes += bytes;
	return r < 0 ? r : show(import) ? -ECANCELED : 0;
}

/* Which objects ------------------------------------------------------------------------------ */

enum verdict { VERDICT_NONE, VERDICT_KNOWN, VERDICT_IGNORED, VERDICT_REFUSED, VERDICT_NEW };

static bool is_ours(const char *key)
{
	static const char ours[] = ".mediafs";

	return strncasecmp(key, ours, strlen(ours)) == 0 &&
	       (key[strlen(ours)] == '/' || !key[strlen(ours)]);
}

static bool was_not_synced(const struct import *import, const char *key)
{
	const json_t *item;
	size_t i;

	json_array_foreach(import->unsynced, i, item)
	{
		cleanup_free char *other = json_path_value(item);

		if (other && strcmp(other, key) == 0)
			return true;
	}
	return false;
}

/* enum verdict, or an error. */
static int judge(struct import *import, const char *key)
{
	size_t length = strlen(key);
	uint64_t content;
	int r;

	/* Markers of folders, which some clients make. */
	if (is_ours(key) || !length || key[length - 1] == '/')
		return VERDICT_NONE;
	if (!tier_key_ok(key) || !record_path_ok(key))
		return VERDICT_REFUSED;
	r = catalog_find_key(import->volume->catalog, import->tier->id, key, &content);
	if (r < 0)
		return r;
	if (r > 0 && !was_not_synced(import, key))
		return VERDICT_KNOWN;
	return rules_ignores(import->rules, key) ? VERDICT_IGNORED : VERDICT_NEW;
}

/* The first of two passes: how much there is. */
static int count_one(void *arg, const char *key, uint64_t size)
{
	struct import *import = arg;
	int verdict = judge(import, key);

	switch (verdict) {
	case VERDICT_KNOWN:
		import->counts.known++;
		break;
	case VERDICT_IGNORED:
		import->counts.ignored++;
		break;
	case VERDICT_NEW:
		import->counts.files++;
		import->counts.bytes += size;
		break;
	default:
		break;
	}
	return verdict < 0 ? verdict : show(import);
}

/* Into the tree ------------------------------------------------------------------------------ */

/* At @path: 0 nothing, 1 a file of the same bytes, 2 anything else. */
static int look_at(struct import *import, const char *path, const struct adoptee *adoptee)
{
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	struct volume *volume = import->volume;
	struct node_row row;
	int r = place_exists(volume, path);

	if (r <= 0)
		return r;
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = catalog_lookup_path(volume->catalog, path, &row);
	if (r < 0)
		return r;
	if (r == 0 || !S_ISREG(row.mode) || !row.content)
		return 2;
	r = catalog_get_content(volume->catalog, row.content, &content);
	if (r < 0)
		return r;
	return r == 1 && content.size == adoptee->size &&
			       digest_equal(&content.digest, &adoptee->digest)
		       ? 1
		       : 2;
}

/* -EEXIST when it has to have another name. */
static int place_at(struct import *import, const char *path, struct adoptee *adoptee,
		    uint64_t content)
{
	struct volume *volume = import->volume;
	const struct version_body body = {
		.kind = VERSION_FILE,
		.mode = adoptee->mode & RECORD_FILE_MODES ? adoptee->mode & RECORD_FILE_MODES
							  : DEFAULT_MODE,
		.mtime_ns = adoptee->mtime_ns,
		.size = adoptee->size,
		.digest = adoptee->digest,
	};
	const struct place_file file = { .body = &body, .content = content, .state = FILE_EVICTED };
	int r = look_at(import, path, adoptee);

	if (r != 0)
		return r == 2 ? -EEXIST : r;
	return place_file(volume, path, &file, 0);
}

/* 1 the tier has a good one under another name, which stays the one that is read. */
static int has_copy(struct import *import, const struct copy_row *copy)
{
	struct copy_row *rows = NULL;
	size_t count = 0;
	int found = 0, r;

	r = catalog_get_copies(import->volume->catalog, copy->content, &rows, &count);
	for (size_t i = 0; i < count; i++) {
		found |= rows[i].tier == copy->tier && !rows[i].bad;
		copy_row_fini(&rows[i]);
	}
	free(rows);
	return r < 0 ? r : found;
}

/* The copy is known first: who opens the file can read it. */
static int keep_copy(struct import *import, const struct adoptee *adoptee, uint64_t *ret_content)
{
	struct catalog *catalog = import->volume->catalog;
	const int64_t now = realtime_ns();
	struct copy_row copy = {
		.tier = import->tier->id,
		.key = adoptee->key,
		.digest = adoptee->digest,
		.confirmed_ns = now,
		.checked_ns = now,
	};
	int r = catalog_put_content(catalog, adoptee->size, &adoptee->digest, &adoptee->map,
				    ret_content);

	if (r < 0)
		return r;
	copy.content = *ret_content;
	r = has_copy(import, &copy);
	if (r < 0)
		return r;
	return r ? catalog_note_key(catalog, copy.tier, copy.key)
		 : catalog_put_copy(catalog, &copy, STEP_WAIT);
}

/* Where it lost its name to: told as a conflict, as between sites. */
static char *other_path(const struct adoptee *adoptee)
{
	const struct version_row row = {
		.site_name = "bucket", .body = { .kind = VERSION_FILE, .digest = adoptee->digest }
	};

	return conflict_path(adoptee->key, &row);
}

static void note_event(struct import *import, const struct adoptee *adoptee, const char *path)
{
	char hex[DIGEST_HEX_SIZE];

	digest_hex(&adoptee->digest, hex);
	volume_event(import->volume, import->actor, "imported", path, hex, adoptee->key);
}

/* One of the batch. Errors of one file are told; others are returned. */
static int adopt(struct import *import, struct adoptee *adoptee)
{
	struct import_object object = { .key = adoptee->key, .size = adoptee->size };
	cleanup_free char *other = other_path(adoptee);
	uint64_t content;
	int r = other ? place_parents(import->volume, adoptee->key) : -ENOMEM;

	object.path = adoptee->key;
	if (r == 0)
		r = keep_copy(import, adoptee, &content);
	if (r == 0)
		r = place_at(import, object.path, adoptee, content);
	if (r == -EEXIST) {
		object.path = other;
		object.result = IMPORT_CONFLICT;
		r = place_at(import, object.path, adoptee, content);
	}
	if (r == 1)
		object.result = IMPORT_SAME;
	else if (r == -ENOTDIR)
		object = (struct import_object){ .key = adoptee->key,
						 .size = adoptee->size,
						 .result = IMPORT_REFUSED,
						 .why = "a file is where its folder would be" };
	else if (r < 0)
		object = (struct import_object){ .key = adoptee->key,
						 .size = adoptee->size,
						 .result = IMPORT_FAILED,
						 .error = r };
	else
		note_event(import, adoptee, object.path);
	if (r == -ENOMEM || r == -ENOSPC || catalog_error(import->volume->catalog) < 0)
		return r < 0 ? r : catalog_error(import->volume->catalog);
	return tell(import, &object);
}

static void meta_key(const struct import *import, char *key, size_t size)
{
	(void)snprintf(key, size, "import.%" PRIu32, import->tier->id);
}

/* Durable before the first file of a batch is made: what a power cut takes from the tree is not
 * taken for what a person removed. */
static int note_batch(struct import *import)
{
	cleanup_json json_t *keys = json_array();
	cleanup_free char *text = NULL;
	char name[32];
	int r;

	for (size_t i = 0; keys && i < import->count; i++)
		if (json_array_append_new(keys, json_path(import->batch[i].key)) < 0)
			return -ENOMEM;
	text = keys ? json_dumps(keys, JSON_COMPACT) : NULL;
	if (!text)
		return -ENOMEM;
	meta_key(import, name, sizeof(name));
	r = catalog_set_meta(import->volume->catalog, name, text);
	return r < 0 ? r : catalog_flush(import->volume->catalog);
}

static int flush_batch(struct import *import)
{
	struct volume *volume = import->volume;
	char name[32];
	int r;

	if (!import->count)
		return 0;
	r = note_batch(import);
	for (size_t i = 0; i < import->count; i++) {
		if (r == 0)
			r = adopt(import, &import->batch[i]);
		adoptee_fini(&import->batch[i]);
	}
	import->count = 0;
	import->bytes = 0;
	if (r == 0)
		r = place_sync(volume);
	meta_key(import, name, sizeof(name));
	if (r == 0)
		r = catalog_set_meta(volume->catalog, name, "[]");
	if (volume->syncer)
		syncer_wake(volume->syncer);
	return r;
}

/* The second pass ---------------------------------------------------------------------------- */

static int refuse(struct import *import, const char *key, uint64_t size, const char *why)
{
	return tell(import,
		    &(struct import_object){
			    .key = key, .size = size, .result = IMPORT_REFUSED, .why = why });
}

/* Ends the whole import: what follows would fail as well, or nobody listens. */
static bool ends_all(const struct import *import, int error)
{
	return error == -EHOSTDOWN || error == -ECANCELED || error == -ENOMEM || import->stopped;
}

static int take(struct import *import, const char *key, uint64_t size)
{
	const struct tier_source source = { .pace = pace, .arg = import };
	uint64_t before = import->counts.done_bytes;
	struct adoptee *adoptee = &import->batch[import->count];
	const char *why = NULL;
	int r = adoptee_learn(adoptee, import->volume->catalog, import->tier->tier, key, size,
			      &source, &why);

	import->counts.done_files++;
	import->counts.done_bytes = before + size; /* whatever was read for it */
	if (r < 0 && ends_all(import, r))
		return r;
	if (r == -ENOMEDIUM)
		why = "it is in an archive, and has to be restored there first";
	if (why)
		return refuse(import, key, size, why);
	if (r < 0)
		return tell(import, &(struct import_object){ .key = key,
							     .size = size,
							     .result = IMPORT_FAILED,
							     .error = r });
	if (import->count++ == 0)
		import->since_ns = monotonic_ns();
	import->bytes += adoptee->size;
	return 0;
}

static bool is_full(const struct import *import)
{
	return import->count == BATCH_FILES || import->bytes >= BATCH_BYTES ||
	       (import->count && monotonic_ns() - import->since_ns >= BATCH_NS);
}

static int deal_with(void *arg, const char *key, uint64_t size)
{
	struct import *import = arg;
	int verdict = judge(import, key);
	int r = 0;

	if (verdict == VERDICT_REFUSED)
		return refuse(import, key, size, "its name cannot be that of a file here");
	if (verdict != VERDICT_NEW)
		return verdict < 0 ? verdict : 0;
	if (import->flags & IMPORT_DRY_RUN)
		return tell(import, &(struct import_object){ .key = key,
							     .path = key,
							     .size = size,
							     .result = IMPORT_WOULD });
	r = take(import, key, size);
	if (r == 0 && is_full(import))
		r = flush_batch(import);
	return r < 0 ? r : show(import);
}

static const struct transfer_tier *find_tier(struct volume *volume, const char *name)
{
	for (size_t i = 0; i < transfer_tier_count(volume->transfer); i++) {
		const struct transfer_tier *tier = transfer_tier(volume->transfer, i);

		if (name ? strcmp(tier->tier->name, name) == 0 : tier->tier->backend->each != NULL)
			return tier;
	}
	return NULL;
}

static int prepare(struct import *import)
{
	struct volume *volume = import->volume;
	cleanup_free char *text = NULL;
	char name[32];
	int r;

	import->batch = calloc(BATCH_FILES, sizeof(*import->batch));
	import->rules = volume_rules(volume);
	if (!import->batch || !import->rules)
		return -ENOMEM;
	meta_key(import, name, sizeof(name));
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = catalog_get_meta(volume->catalog, name, &text);
	if (r > 0)
		import->unsynced = json_loads(text, 0, NULL); /* what is none names nothing */
	return r < 0 ? r : 0;
}

int volume_import(struct volume *volume, const char *tier, const char *prefix,
		  enum import_flags flags, const char *actor, const struct import_host *host,
		  struct import_counts *ret_counts)
{
	cleanup_with(import_fini) struct import import = {
		.volume = volume,
		.tier = find_tier(volume, tier),
		.flags = flags,
		.actor = actor,
		.host = host,
	};
	const struct tier_backend *backend;
	int r, flushed;

	*ret_counts = import.counts;
	if (!import.tier)
		return tier ? -ENOENT : -ENOTSUP;
	backend = import.tier->tier->backend;
	if (!backend->each)
		return -ENOTSUP;
	if (!(flags & IMPORT_DRY_RUN) && (volume->flags & VOLUME_READ_ONLY))
		return -EROFS;
	r = prepare(&import);
	if (r == 0)
		r = backend->each(import.tier->tier, prefix, count_one, &import);
	if (r == 0)
		r = backend->each(import.tier->tier, prefix, deal_with, &import);
	/* What was read for nothing would be read again. */
	flushed = flush_batch(&import);
	r = r < 0 ? r : flushed;
	*ret_counts = import.counts;
	return import.stopped ? import.stopped : r;
}
