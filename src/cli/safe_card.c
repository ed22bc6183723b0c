/* SPDX-License-Identifier: Apache-2.0 */
/* The card's side of `mediafs safe`: listed, read and compared with its manifests, looked at again.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/safe.h"
#include "store/store.h"
#include "util/clock.h"
#include "util/crew.h"
#include "util/error.h"
#include "util/io.h"

/* A card is read in order; a second file keeps it busy while the first one's end is hashed. */
#define READERS 2

/* A tier that is a directory has this in it: mediafs-store(5). */
#define TIER_IDENTITY ".mediafs/v1/tier.json"

static bool ends_with(const char *path, const char *name)
{
	size_t length = strlen(path), end = strlen(name);

	return length >= end && strcmp(path + length - end, name) == 0 &&
	       (length == end || path[length - end - 1] == '/');
}

/* True for the folder of a store or of a tier that is a directory. */
static bool is_place(const char *folder)
{
	cleanup_free char *identity = path_join(folder, TIER_IDENTITY);

	return !identity || access(identity, F_OK) == 0 || store_is_at(folder);
}

/* True when the card lies in a store or a tier: it is one of the copies itself. */
static bool lies_in_a_place(const char *top)
{
	cleanup_free char *folder = strdup(top);

	while (folder && *folder) {
		if (is_place(folder))
			return true;
		*strrchr(folder, '/') = '\0';
	}
	return !folder;
}

/* True when @entry shows that a store or a tier lies on the card. */
static bool is_part_of_a_place(const struct safe *safe, const struct source_entry *entry)
{
	cleanup_free char *folder = NULL;

	if (ends_with(entry->path, TIER_IDENTITY))
		return true;
	if (!ends_with(entry->path, "store.json"))
		return false;
	folder = path_join(safe->source.top, entry->path);
	if (folder)
		*strrchr(folder, '/') = '\0';
	return !folder || store_is_at(folder);
}

static void judge_entry(struct safe *safe, const struct source_entry *entry)
{
	if (entry->litter) {
		if (!S_ISREG(entry->mode))
			return;
		if (!safe->litter_files++)
			safe->litter = entry->path;
		safe->litter_bytes += entry->size;
		return;
	}
	if (is_part_of_a_place(safe, entry))
		safe_add(safe, SAFE_HOLDS_COPIES, entry->path,
			 "a tier or a store of mediafs lies on it");
	if (entry->error == -EXDEV)
		safe_add(safe, SAFE_UNREADABLE, entry->path,
			 "another file system is mounted there");
	else if (entry->error)
		safe_add(safe, SAFE_UNREADABLE, entry->path, "%s", error_text(entry->error));
	else if (S_ISREG(entry->mode)) {
		safe->files[safe->count++] = (struct safe_file){ .path = entry->path,
								 .entry = entry,
								 .size = entry->size };
		safe->bytes += entry->size;
	} else if (!S_ISDIR(entry->mode))
		safe_add(safe, SAFE_NOT_A_FILE, entry->path,
			 "a link or a device: it cannot be compared");
}

void safe_list_card(struct safe *safe, const char *path)
{
	cleanup_free char *store = NULL;
	const char *name;
	int r = source_open(path, safe->rules, &safe->source);

	safe->has_card = true;
	if (r < 0) {
		safe_add(safe, SAFE_UNCHECKED, path, "the card cannot be read: %s",
			 r == -E2BIG ? "too many names for a card" : error_text(r));
		return;
	}
	source_identify(&safe->source, &safe->identity);
	name = strrchr(safe->source.top, '/') + 1;
	if (safe->identity.is_whole && *safe->identity.label)
		name = safe->identity.label;
	free(safe->name);
	safe->name = strdup(name);
	store = target_store_of(safe->source.top);
	if (store || lies_in_a_place(safe->source.top))
		safe_add(safe, SAFE_HOLDS_COPIES, path,
			 "it lies in a volume, a store or a tier: it is a copy, and no card");
	safe->files = calloc(safe->source.count + 1, sizeof(*safe->files));
	if (!safe->files || !safe->name) {
		safe->is_out_of_memory = true;
		return;
	}
	for (size_t i = 0; i < safe->source.count; i++)
		judge_entry(safe, &safe->source.entries[i]);
}

/* Manifests --------------------------------------------------------------------------- */

static void add_manifest_fault(void *arg, const char *path, const char *what)
{
	struct safe *safe = arg;

	safe->manifests++; /* looked at, though it cannot be used */
	safe_add(safe, SAFE_MANIFEST, path, "%s", what);
}

static void add_manifest_missing(void *arg, const char *path, const char *manifest)
{
	safe_add(arg, SAFE_MANIFEST, path, "missing, though %s lists it", manifest);
}

void safe_read_manifests(struct safe *safe)
{
	const struct source *source = &safe->source;
	int r;

	safe->expected = expected_new();
	r = safe->expected ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < source->count; i++) {
		const struct source_entry *entry = &source->entries[i];

		if (!entry->litter && !entry->error &&
		    (S_ISREG(entry->mode) || S_ISDIR(entry->mode)))
			r = expected_add(safe->expected, source->fd, entry->path,
					 S_ISDIR(entry->mode), add_manifest_fault, safe);
	}
	if (r == 0)
		r = expected_missing(safe->expected, source->fd, add_manifest_missing, safe);
	if (r == 0)
		safe->manifests += expected_count(safe->expected);
	safe->is_out_of_memory |= r < 0;
}

/* Read -------------------------------------------------------------------------------- */

static int keep_on(void *arg, uint64_t bytes)
{
	struct safe *safe = arg;

	atomic_fetch_add(&safe->done_bytes, bytes);
	return interrupted();
}

static int read_one(void *arg, unsigned worker, size_t index)
{
	struct safe *safe = arg;
	struct safe_file *file = &safe->files[index];
	struct source_hash hash = { .formats = expected_formats(safe->expected, file->path),
				    .pace = keep_on,
				    .arg = safe };
	cleanup_free char *why = NULL;
	int r = source_hash(&safe->source, file->entry, &hash);

	(void)worker;
	if (r == -ECANCELED || r == -ENOMEM)
		return r;
	atomic_fetch_add(&safe->done_files, 1);
	if (r == -ESTALE) {
		safe_add(safe, SAFE_CARD_CHANGED, file->path, "while it was read");
	} else if (r < 0) {
		safe_add(safe, SAFE_UNREADABLE, file->path, "%s", error_text(r));
	} else {
		r = expected_check(safe->expected, file->path, file->size, hash.values, &why);
		if (r < 0)
			return r;
		if (r == 0)
			safe_add(safe, SAFE_MANIFEST, file->path, "%s", why);
		file->digest = hash.digest;
		file->passed |= PASSED_READ;
		scoped_lock(&safe->lock);
		safe->cached_files += hash.from == READBACK_CACHED;
	}
	return 0;
}

static int show_reading(void *arg)
{
	struct safe *safe = arg;

	cli_progress_bytes(safe->cli, "read on the card", safe->start_ns, safe->done_files,
			   safe->count, safe->done_bytes, safe->bytes);
	return interrupted();
}

void safe_read_card(struct safe *safe)
{
	const struct crew crew = {
		.name = "safe",
		.threads = READERS,
		.count = safe->count,
		.fn = read_one,
		.tick = show_reading,
		.arg = safe,
	};
	int r;

	safe->start_ns = monotonic_ns();
	safe->done_files = safe->done_bytes = 0;
	r = crew_run(&crew);
	if (r == -ECANCELED)
		safe_add(safe, SAFE_UNCHECKED, "", "interrupted");
	else if (r < 0)
		safe_add(safe, SAFE_UNCHECKED, "", "the card cannot be read: %s", error_text(r));
}

/* Again ------------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What is in @now and was not in the card when it was listed. */
static void add_newcomers(struct safe *safe, const struct source *now)
{
	size_t count = safe->source.count;
	cleanup_free const char **listed = calloc(count + 1, sizeof(*listed));

	safe->is_out_of_memory |= !listed;
	for (size_t i = 0; listed && i < count; i++)
		listed[i] = safe->source.entries[i].path;
	if (listed)
		qsort(listed, count, sizeof(*listed), by_path);
	for (size_t i = 0; listed && i < now->count; i++) {
		const struct source_entry *entry = &now->entries[i];
		const char *path = entry->path;

		if (!entry->litter && !bsearch(&path, listed, count, sizeof(*listed), by_path))
			safe_add(safe, SAFE_CARD_CHANGED, path, "came while it was checked");
	}
}

void safe_look_again(struct safe *safe)
{
	cleanup_with(source_close) struct source now = { .fd = -1 };
	int r = source_open(safe->source.top, safe->rules, &now);

	if (r < 0 || now.device != safe->source.device) {
		safe_add(safe, SAFE_CARD_CHANGED, "", "%s",
			 r < 0 ? error_text(r) : "another card is mounted there");
		return;
	}
	add_newcomers(safe, &now);
	for (size_t i = 0; i < safe->count; i++) {
		struct safe_file *file = &safe->files[i];

		r = source_check(&safe->source, file->entry);
		if (r == 0)
			file->passed |= PASSED_ON_CARD;
		else
			safe_add(safe, SAFE_CARD_CHANGED, file->path, "%s",
				 r == -ESTALE ? "written to meanwhile" : error_text(r));
	}
}
