/* SPDX-License-Identifier: Apache-2.0 */
/* The copies of a card's files for `mediafs safe`: asked for now, counted by the policy. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cli/safe.h"
#include "util/clock.h"
#include "util/crew.h"
#include "util/disk.h"
#include "util/error.h"

#define ASKERS 8 /* a tier far away answers slowly, and many at a time */

/* What mediafs does with a file in the store just now is over soon. */
#define BUSY_TRIES 100
#define BUSY_PAUSE_NS (100 * NS_PER_MS)

/* Of small files many are asked for at once; few enough that all connections have some. */
#define BATCH_FILES 128
#define BATCH_BYTES (8u << 20)

struct asking {
	struct safe *safe;
	struct client *clients[ASKERS]; /* owned */
	size_t *starts;                 /* owned; of each request among the files, and the end */
	size_t count;
};

/* One place that has the file, now. */
struct copy {
	const char *name; /* borrowed */
	bool offsite;
	int64_t device; /* st_dev; -1: not on this machine */
};

struct copies {
	struct copy list[SAFE_PLACES_MAX];
	size_t count;
	bool on_card; /* one was left out, since it lies on the card's own disk */
};

/* disk_same(), which looks into /sys, asked once for each pair. */
static bool is_one_disk(struct safe *safe, dev_t first, dev_t second)
{
	scoped_lock(&safe->lock);
	for (size_t i = 0; i < safe->disk_count; i++) {
		const struct safe_disks *disks = &safe->disks[i];

		if (disks->first == first && disks->second == second)
			return disks->same;
	}
	if (safe->disk_count == SAFE_DISKS_MAX)
		return disk_same(first, second);
	safe->disks[safe->disk_count] =
		(struct safe_disks){ first, second, disk_same(first, second) };
	return safe->disks[safe->disk_count++].same;
}

static void add_copy(struct safe *safe, struct copies *copies, const char *name, bool offsite,
		     const json_t *from)
{
	int64_t device = json_int_or(from, "device", -1);

	if (safe->has_card && safe->identity.is_whole && device >= 0 &&
	    is_one_disk(safe, (dev_t)device, safe->source.device))
		copies->on_card = true;
	else if (copies->count < SAFE_PLACES_MAX)
		copies->list[copies->count++] = (struct copy){ name, offsite, device };
}

/* On the disk of one of those before it? */
static bool is_repeated(struct safe *safe, const struct copies *copies, size_t index)
{
	const struct copy *copy = &copies->list[index];

	for (size_t i = 0; i < index; i++) {
		int64_t device = copies->list[i].device;

		if (device >= 0 && copy->device >= 0 &&
		    is_one_disk(safe, (dev_t)device, (dev_t)copy->device))
			return true;
	}
	return false;
}

/* What counts by the policy: copies, and those of them off-site. */
static void count_copies(struct safe *safe, const struct copies *copies, int64_t *ret_count,
			 int64_t *ret_offsite)
{
	*ret_count = *ret_offsite = 0;
	for (size_t i = 0; i < copies->count; i++) {
		if (safe->want_distinct && is_repeated(safe, copies, i))
			continue;
		++*ret_count;
		*ret_offsite += copies->list[i].offsite;
	}
}

/* A tally of who has what, for the person. */
static void count_places(struct safe *safe, const struct copies *copies)
{
	scoped_lock(&safe->lock);
	for (size_t i = 0; i < copies->count; i++) {
		struct safe_place *place = safe->places;

		while (place < safe->places + safe->place_count &&
		       strcmp(place->name, copies->list[i].name) != 0)
			place++;
		if (place == safe->places + SAFE_PLACES_MAX)
			continue;
		if (place == safe->places + safe->place_count) {
			safe->place_count++;
			(void)snprintf(place->name, sizeof(place->name), "%s",
				       copies->list[i].name);
			place->offsite = copies->list[i].offsite;
		}
		place->files++;
	}
}

/* False when the copies do not say why the policy is not met. */
static bool tell_bad_copies(struct safe *safe, const struct safe_file *file, const json_t *list)
{
	const json_t *one;
	bool told = false;
	size_t i;

	json_array_foreach(list, i, one)
	{
		const char *result = json_string_or(one, "result", "");
		const char *tier = json_string_or(one, "tier", "?");
		enum safe_reason reason = strcmp(result, "damaged") == 0   ? SAFE_COPY_DAMAGED
					  : strcmp(result, "missing") == 0 ? SAFE_COPY_MISSING
					  : strcmp(result, "unsettled") == 0
						  ? SAFE_COPY_UNSETTLED
						  : SAFE_COPY_UNREACHABLE;

		if (strcmp(result, "good") == 0 || strcmp(result, "unconfigured") == 0)
			continue;
		safe_add(safe, reason, file->path, "tier %s: %s", tier,
			 json_string_or(one, "error", "?"));
		told = true;
	}
	return told;
}

static void judge_policy(struct safe *safe, struct safe_file *file, const struct copies *copies,
			 const json_t *list)
{
	int64_t count, offsite;
	size_t bad = 0, i;
	const json_t *one;

	count_copies(safe, copies, &count, &offsite);
	if (count >= safe->want_copies && offsite >= safe->want_offsite) {
		json_array_foreach(list, i, one) bad +=
			strcmp(json_string_or(one, "result", ""), "good") != 0;
		file->passed |= PASSED_COPIES;
		scoped_lock(&safe->lock);
		safe->spare += bad;
		return;
	}
	if (!tell_bad_copies(safe, file, list))
		safe_add(safe, SAFE_POLICY, file->path,
			 "%lld of %lld copies%s, %lld of %lld off-site%s", (long long)count,
			 (long long)safe->want_copies,
			 safe->want_distinct ? " on disks of their own" : "", (long long)offsite,
			 (long long)safe->want_offsite,
			 copies->on_card ? "; one lies on the card itself" : "");
}

/* What is here of the file, as it was read just now. */
static void judge_store(struct safe *safe, struct safe_file *file, const json_t *store)
{
	const char *name = json_string_or(store, "errno", NULL);

	if (!name && (json_is_true(json_object_get(store, "good")) ||
		      json_is_false(json_object_get(store, "whole"))))
		file->passed |= PASSED_STORE;
	else if (name && (strcmp(name, "EBADMSG") == 0 || strcmp(name, "EIO") == 0))
		safe_add(safe, SAFE_DAMAGED, file->path, "%s", file->at);
	else
		safe_add(safe, SAFE_STORE, file->path, "%s: %s", file->at,
			 json_string_or(store, "error", "?"));
}

static void judge_answer(struct safe *safe, struct safe_file *file, const json_t *answer)
{
	const json_t *store = json_object_get(answer, "store"), *one;
	const json_t *list = json_object_get(answer, "copies");
	struct copies copies = { 0 };
	size_t i;

	judge_store(safe, file, store);
	if (json_is_true(json_object_get(store, "good")))
		add_copy(safe, &copies, "store", false, store);
	json_array_foreach(list, i, one)
	{
		if (strcmp(json_string_or(one, "result", ""), "good") == 0)
			add_copy(safe, &copies, json_string_or(one, "tier", "?"),
				 json_is_true(json_object_get(one, "offsite")), one);
	}
	count_places(safe, &copies);
	judge_policy(safe, file, &copies, list);
}

static int note_progress(struct safe *safe, const json_t *progress)
{
	atomic_fetch_add(&safe->done_bytes, (uint64_t)json_int_or(progress, "bytes", 0));
	return interrupted() ? -ECANCELED : 0;
}

static json_t *item_of(const struct safe_file *file)
{
	char hex[DIGEST_HEX_SIZE];

	digest_hex(&file->digest, hex);
	return json_pack("{s:I,s:I,s:I,s:s}", "id", (json_int_t)file->id, "generation",
			 (json_int_t)file->generation, "size", (json_int_t)file->size, "digest",
			 hex);
}

/* Files that are asked for at once, and how far they are answered. */
struct batch {
	struct safe *safe;
	struct safe_file *files[BATCH_FILES];
	size_t count, answered;
	size_t busy; /* of those that were answered: kept at the front of @files */
};

static int take_line(void *arg, const json_t *line)
{
	struct batch *batch = arg;
	struct safe *safe = batch->safe;
	const json_t *progress = json_object_get(line, "progress");
	const json_t *answer = json_object_get(line, "checked");
	struct safe_file *file;

	if (progress)
		return note_progress(safe, progress);
	if (!answer || batch->answered == batch->count)
		return -EPROTO;
	file = batch->files[batch->answered++];
	if (strcmp(json_string_or(json_object_get(answer, "store"), "errno", ""), "EBUSY") == 0) {
		batch->files[batch->busy++] = file;
		return 0;
	}
	atomic_fetch_add(&safe->done_files, 1);
	if (strcmp(json_string_or(answer, "errno", ""), "ESTALE") == 0)
		safe_add(safe, SAFE_VOLUME_CHANGED, file->path, "%s", file->at);
	else if (json_object_get(answer, "error"))
		safe_add(safe, SAFE_UNCHECKED, file->path, "the mount daemon: %s",
			 json_string_or(answer, "error", ""));
	else
		judge_answer(safe, file, answer);
	return 0;
}

static int ask_batch(struct batch *batch, struct client *client)
{
	cleanup_json json_t *final = NULL;
	json_t *items = json_array();
	int r;

	for (size_t i = 0; i < batch->count; i++)
		(void)json_array_append_new(items, item_of(batch->files[i]));
	batch->answered = batch->busy = 0;
	r = client_call(client, json_pack("{s:s,s:o}", "request", "recheck", "items", items), 0,
			take_line, batch, &final);
	if (r == 0 && json_object_get(final, "error")) {
		safe_add(batch->safe, SAFE_UNCHECKED, "", "the mount daemon: %s",
			 json_string_or(final, "error", ""));
		r = 1;
	}
	return r == 0 && batch->answered != batch->count ? -EPROTO : r;
}

/* All of those small files, or one that is not. */
static int check_range(void *arg, unsigned worker, size_t index)
{
	struct asking *asking = arg;
	struct safe *safe = asking->safe;
	struct batch batch = { .safe = safe };
	int r = 0;

	for (size_t i = asking->starts[index]; i < asking->starts[index + 1]; i++) {
		if (safe->files[i].passed & PASSED_FOUND)
			batch.files[batch.count++] = &safe->files[i];
	}
	for (unsigned tries = 0; r == 0 && batch.count && tries < BUSY_TRIES; tries++) {
		if (tries)
			cli_pause(BUSY_PAUSE_NS);
		r = ask_batch(&batch, asking->clients[worker]);
		batch.count = batch.busy;
	}
	for (size_t i = 0; r == 0 && i < batch.count; i++)
		safe_add(safe, SAFE_STORE, batch.files[i]->path, "%s: %s", batch.files[i]->at,
			 error_text(-EBUSY));
	return r < 0 ? r : 0;
}

/* Where each request begins. */
static int split(struct safe *safe, struct asking *asking)
{
	uint64_t bytes = 0;
	size_t files = 0;

	asking->starts = calloc(safe->count + 2, sizeof(*asking->starts));
	if (!asking->starts)
		return -ENOMEM;
	for (size_t i = 0; i < safe->count; i++) {
		if (i && (files == BATCH_FILES || bytes + safe->files[i].size > BATCH_BYTES)) {
			asking->starts[++asking->count] = i;
			files = bytes = 0;
		}
		files++;
		bytes += safe->files[i].size;
	}
	asking->starts[++asking->count] = safe->count;
	return 0;
}

static int show_checking(void *arg)
{
	struct safe *safe = ((struct asking *)arg)->safe;

	cli_progress_bytes(safe->cli, "checked in the volume and its tiers", safe->start_ns,
			   safe->done_files, safe->count, safe->done_bytes, safe->bytes);
	return interrupted();
}

void safe_check_copies(struct safe *safe)
{
	struct asking asking = { .safe = safe };
	struct crew crew = {
		.name = "safe",
		.threads = ASKERS,
		.fn = check_range,
		.tick = show_checking,
		.arg = &asking,
	};
	int r = 0;

	safe->start_ns = monotonic_ns();
	safe->done_files = safe->done_bytes = 0;
	for (size_t i = 0; r == 0 && i < ASKERS; i++) {
		r = client_open(safe->target.store, &asking.clients[i]);
		if (r == 0 && !client_is_live(asking.clients[i]))
			r = -ECONNRESET;
	}
	if (r == 0)
		r = split(safe, &asking);
	crew.count = asking.count;
	if (r == 0)
		r = crew_run(&crew);
	for (size_t i = 0; i < ASKERS; i++)
		client_close(asking.clients[i]);
	free(asking.starts);
	if (r == -ECANCELED)
		safe_add(safe, SAFE_UNCHECKED, "", "interrupted");
	else if (r < 0)
		safe_add(safe, SAFE_UNCHECKED, "", "the mount daemon: %s", error_text(r));
}
