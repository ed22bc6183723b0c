/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sync/record.h"
#include "transfer/rules.h"
#include "util/clock.h"
#include "util/crew.h"
#include "util/json.h"
#include "volume/import_object.h"
#include "volume/internal.h"
#include "volume/place.h"
#include "volume/syncer.h"

/*
 * So many are listed, read side by side, and put into the tree, with one sync of the disk for all,
 * or for those that were read in this time.
 */
#define BATCH_FILES 64
#define BATCH_NS NS_PER_SEC
/* Their maps are held meanwhile. */
#define BATCH_BYTES (64ull << 30)

/* As many as senders send small files: what costs is waiting for the answer. */
#define READERS 8

/*
 * Of larger ones one is read at a time: eight would all end late, and what a kill breaks off is
 * read again from its start.
 */
#define LARGE_BYTES (256ull << 20)

#define SHOW_NS (250 * NS_PER_MS)

/* An object of the batch. */
struct slot {
	char *key;     /* owned */
	uint64_t size; /* as listed */

	/* Its reader's, until it is done. */
	struct adoptee adoptee; /* owned; unless there is a reason or an error */
	const char *why;        /* it is refused; static */
	int error;
	atomic_bool is_done;
};

struct import {
	/* Constant. */
	struct volume *volume;
	const struct transfer_tier *tier;
	enum import_flags flags;
	const char *actor;
	const struct import_host *host;
	struct rules *rules; /* owned */
	json_t *unsynced;    /* owned; keys that an earlier run may not have brought to the disk */

	/* Of all readers. */
	_Atomic uint64_t done_files, done_bytes;
	_Atomic int ended; /* not 0: all is to end, and why */

	/* The thread's that asked. */
	struct import_counts counts;
	int64_t shown_ns;
	bool is_stopped; /* nobody listens, or nothing more can be put into the tree */

	/* So are these, but for the slots that readers have. */
	struct slot *batch; /* owned, BATCH_FILES of them */
	size_t count;
	size_t settled; /* of these what became is told */
	uint64_t bytes;
	int64_t settled_ns;
};

static void slot_fini(struct slot *slot)
{
	free(slot->key);
	adoptee_fini(&slot->adoptee);
	*slot = (struct slot){ 0 };
}

static void import_fini(struct import *import)
{
	for (size_t i = 0; i < import->count; i++)
		slot_fini(&import->batch[i]);
	free(import->batch);
	rules_free(import->rules);
	json_decref(import->unsynced);
}

/* The first reason is the one that is given. */
static void end_all(struct import *import, int error)
{
	int goes_on = 0;

	(void)atomic_compare_exchange_strong(&import->ended, &goes_on, error);
}

/* What is told ------------------------------------------------------------------------------- */

/* @result, which ends all when it is not 0. */
static int stop_on(struct import *import, int result)
{
	if (result == 0)
		return 0;
	import->is_stopped = true;
	end_all(import, result);
	return result;
}

static int tell(struct import *import, const struct import_object *object)
{
	import->counts.results[object->result]++;
	return stop_on(import, import->host->object(import->host->arg, object));
}

static void count_done(struct import *import)
{
	import->counts.done_files = atomic_load(&import->done_files);
	import->counts.done_bytes = atomic_load(&import->done_bytes);
}

static int show(struct import *import)
{
	int64_t now = monotonic_ns();

	if (now - import->shown_ns < SHOW_NS)
		return 0;
	import->shown_ns = now;
	count_done(import);
	return stop_on(import, import->host->progress(import->host->arg, &import->counts));
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

static void meta_key(const struct import *import, char *key, size_t size)
{
	(void)snprintf(key, size, "import.%" PRIu32, import->tier->id);
}

static bool is_learnt(const struct slot *slot)
{
	return slot->is_done && !slot->why && !slot->error;
}

/* Durable before the first file of a batch is made: what a power cut takes from the tree is not
 * taken for what a person removed. 0: there is none. */
static int note_batch(struct import *import, size_t end)
{
	cleanup_json json_t *keys = json_array();
	cleanup_free char *text = NULL;
	char name[32];
	int r;

	for (size_t i = import->settled; keys && i < end; i++)
		if (is_learnt(&import->batch[i]) &&
		    json_array_append_new(keys, json_path(import->batch[i].key)) < 0)
			return -ENOMEM;
	text = keys ? json_dumps(keys, JSON_COMPACT) : NULL;
	if (!text)
		return -ENOMEM;
	if (json_array_size(keys) == 0)
		return 0;
	meta_key(import, name, sizeof(name));
	r = catalog_set_meta(import->volume->catalog, name, text);
	if (r == 0)
		r = catalog_flush(import->volume->catalog);
	return r < 0 ? r : 1;
}

static int sync_batch(struct import *import)
{
	struct volume *volume = import->volume;
	char name[32];
	int r = place_sync(volume);

	meta_key(import, name, sizeof(name));
	if (r == 0)
		r = catalog_set_meta(volume->catalog, name, "[]");
	if (volume->syncer)
		syncer_wake(volume->syncer);
	return r;
}

static int settle_one(struct import *import, struct slot *slot)
{
	struct import_object object = {
		.key = slot->key,
		.size = slot->size,
		.result = slot->why ? IMPORT_REFUSED : IMPORT_FAILED,
		.why = slot->why,
		.error = slot->error,
	};
	int r = 0;

	if (!slot->is_done)
		return 0; /* its reader was stopped */
	if (is_learnt(slot))
		r = adoptee_place(&slot->adoptee, import->volume, import->tier->id, import->actor,
				  &object);
	return r < 0 ? r : tell(import, &object);
}

/* Those before @end that are done: in the order of the list, so who gets a name is no chance. */
static int settle(struct import *import, size_t end)
{
	int noted = note_batch(import, end), r = noted < 0 ? noted : 0;

	for (; r == 0 && import->settled < end; import->settled++) {
		r = settle_one(import, &import->batch[import->settled]);
		adoptee_fini(&import->batch[import->settled].adoptee);
	}
	if (r == 0 && noted)
		r = sync_batch(import);
	import->settled_ns = monotonic_ns();
	return stop_on(import, r);
}

/* The second pass ---------------------------------------------------------------------------- */

/* An object on its way to the hashes. */
struct reading {
	struct import *import;
	uint64_t bytes;
};

static int pace(void *arg, uint64_t bytes)
{
	struct reading *reading = arg;
	struct import *import = reading->import;
	int r = transfer_pace(import->volume->transfer, bytes);

	reading->bytes += bytes;
	(void)atomic_fetch_add(&import->done_bytes, bytes);
	return r < 0 ? r : atomic_load(&import->ended) ? -ECANCELED : 0;
}

/* Ends the whole import: what follows would fail as well. */
static bool ends_all(int error)
{
	return error == -EHOSTDOWN || error == -ECANCELED || error == -ENOMEM;
}

static int learn(void *arg, unsigned worker, size_t index)
{
	struct import *import = arg;
	struct slot *slot = &import->batch[index];
	struct reading reading = { .import = import };
	const struct tier_source source = { .pace = pace, .arg = &reading };
	int r;

	(void)worker;
	if (slot->is_done)
		return 0; /* refused by its name */
	r = adoptee_learn(&slot->adoptee, import->volume->catalog, import->tier->tier, slot->key,
			  slot->size, &source, &slot->why);
	(void)atomic_fetch_add(&import->done_files, 1);
	/* Whatever was read for it. */
	(void)atomic_fetch_add(&import->done_bytes, slot->size - reading.bytes);
	if (r < 0 && ends_all(r)) {
		end_all(import, r);
		return r;
	}
	if (r == -ENOMEDIUM)
		slot->why = "it is in an archive, and has to be restored there first";
	slot->error = r;
	atomic_store(&slot->is_done, true);
	return 0;
}

static bool is_large(void *arg, size_t index)
{
	return ((struct import *)arg)->batch[index].size >= LARGE_BYTES;
}

static int tick(void *arg)
{
	struct import *import = arg;
	size_t end = import->settled;
	int r = show(import);

	while (end < import->count && atomic_load(&import->batch[end].is_done))
		end++;
	if (r == 0 && end > import->settled && monotonic_ns() - import->settled_ns >= BATCH_NS)
		r = settle(import, end);
	return r;
}

static int run_batch(struct import *import)
{
	const struct crew crew = {
		.name = "import",
		.threads = READERS,
		.count = import->count,
		.fn = learn,
		.is_large = is_large,
		.tick = tick,
		.arg = import,
	};
	int r;

	import->settled = 0;
	import->settled_ns = monotonic_ns();
	r = crew_run(&crew);
	if (r < 0)
		end_all(import, r);
	/* What was read for nothing would be read again. */
	if (!import->is_stopped)
		(void)settle(import, import->count);
	for (size_t i = 0; i < import->count; i++)
		slot_fini(&import->batch[i]);
	import->count = 0;
	import->bytes = 0;
	return atomic_load(&import->ended);
}

static int add(struct import *import, const char *key, uint64_t size, const char *why)
{
	struct slot *slot = &import->batch[import->count];

	slot->key = strdup(key);
	if (!slot->key)
		return -ENOMEM;
	slot->size = size;
	slot->why = why;
	atomic_store(&slot->is_done, why != NULL);
	import->count++;
	import->bytes += size;
	if (import->count == BATCH_FILES || import->bytes >= BATCH_BYTES)
		return run_batch(import);
	return 0;
}

static int deal_with(void *arg, const char *key, uint64_t size)
{
	struct import_object object = {
		.key = key, .path = key, .size = size, .result = IMPORT_WOULD
	};
	struct import *import = arg;
	int verdict = judge(import, key);
	int r;

	if (verdict == VERDICT_REFUSED)
		object = (struct import_object){
			.key = key,
			.size = size,
			.result = IMPORT_REFUSED,
			.why = "its name cannot be that of a file here",
		};
	else if (verdict != VERDICT_NEW)
		return verdict < 0 ? verdict : 0;
	r = import->flags & IMPORT_DRY_RUN ? tell(import, &object)
					   : add(import, key, size, object.why);
	return r ? r : show(import);
}

static const struct transfer_tier *find_tier(struct volume *volume, const char *name)
{
	const struct transfer_tier *tier;

	for (size_t i = 0; (tier = transfer_tier(volume->transfer, i)) != NULL; i++) {
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
	int r;

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
	if (r == 0)
		r = run_batch(&import);
	count_done(&import);
	*ret_counts = import.counts;
	return r;
}
