/* SPDX-License-Identifier: Apache-2.0 */
/* The card's side of `mediafs safe`: listed, read, compared with its manifests, looked at again. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/safe.h"
#include "manifest/verdict.h"
#include "store/store.h"
#include "util/clock.h"
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

/* Read -------------------------------------------------------------------------------- */

static int keep_on(void *arg, uint64_t bytes)
{
	struct safe *safe = arg;

	atomic_fetch_add(&safe->done_bytes, bytes);
	return cli_interrupted();
}

static int read_one(void *arg, unsigned worker, size_t index)
{
	struct safe *safe = arg;
	struct safe_file *file = &safe->files[index];
	struct source_hash hash = { .pace = keep_on, .arg = safe };
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
	return cli_interrupted();
}

void safe_read_card(struct safe *safe)
{
	int r;

	safe->start_ns = monotonic_ns();
	safe->done_files = safe->done_bytes = 0;
	r = crew_run(safe->count, READERS, read_one, show_reading, safe);
	if (r == -ECANCELED)
		safe_add(safe, SAFE_UNCHECKED, "", "interrupted");
	else if (r < 0)
		safe_add(safe, SAFE_UNCHECKED, "", "the card cannot be read: %s", error_text(r));
}

/* Manifests --------------------------------------------------------------------------- */

static int show_manifest(void *arg, const struct tree_progress *progress)
{
	struct safe *safe = arg;

	cli_progress_bytes(safe->cli, "compared with its manifest", safe->start_ns, progress->files,
			   progress->of_files, progress->bytes, progress->of_bytes);
	return cli_interrupted();
}

/* What a manifest does not record the catalog does: new files, folders' hashes are no mismatch. */
static bool is_mismatch(enum finding_kind kind)
{
	return kind == FINDING_DAMAGED || kind == FINDING_SIZE || kind == FINDING_MISSING ||
	       kind == FINDING_UNREADABLE || kind == FINDING_HISTORY;
}

static void take_verdict(struct safe *safe, const char *manifest, const struct verdict *verdict,
			 int r)
{
	bool is_known = verdict->class != CLASS_OK && verdict->why;

	safe->manifests++;
	if (r == -ECANCELED) {
		safe_add(safe, SAFE_UNCHECKED, manifest, "interrupted");
		return;
	}
	if (r < 0 || is_known)
		safe_add(safe, SAFE_MANIFEST, manifest, "%s", r < 0 ? error_text(r) : verdict->why);
	for (size_t i = 0; i < verdict->count; i++) {
		const struct finding *finding = &verdict->findings[i];

		if (is_mismatch(finding->kind))
			safe_add(safe, SAFE_MANIFEST, finding->path, "%s in %s",
				 finding_name(finding->kind), manifest);
	}
}

/* True when a folder above that of the history @path has one itself, which tells of it too. */
static bool is_nested(const struct safe *safe, const char *path)
{
	for (size_t i = 0; i < safe->source.count; i++) {
		const char *other = safe->source.entries[i].path;
		size_t scope = strlen(other) - strlen(HISTORY_FOLDER);

		if (S_ISDIR(safe->source.entries[i].mode) && ends_with(other, HISTORY_FOLDER) &&
		    strlen(other) < strlen(path) && strncmp(other, path, scope) == 0)
			return true;
	}
	return false;
}

static void check_manifest(struct safe *safe, const struct source_entry *entry)
{
	const struct manifest_watch watch = { show_manifest, safe };
	const char *slash = strrchr(entry->path, '/');
	const char *name = slash ? slash + 1 : entry->path;
	cleanup_free char *path = path_join(safe->source.top, entry->path);
	struct verdict verdict = { 0 };
	int r;

	if (!path) {
		safe->is_out_of_memory = true;
		return;
	}
	if (S_ISDIR(entry->mode) && strcmp(name, HISTORY_FOLDER) == 0 &&
	    !is_nested(safe, entry->path)) {
		path[strlen(path) - strlen(HISTORY_FOLDER) - 1] = '\0';
		r = manifest_verify(path, &watch, &verdict);
	} else if (S_ISREG(entry->mode) && history_is_manifest(name) &&
		   !strstr(path, "/" HISTORY_FOLDER "/")) {
		r = manifest_verify_list(path, NULL, &watch, &verdict);
	} else {
		return;
	}
	take_verdict(safe, entry->path, &verdict, r);
	verdict_fini(&verdict);
}

void safe_check_manifests(struct safe *safe)
{
	safe->start_ns = monotonic_ns();
	for (size_t i = 0; i < safe->source.count; i++) {
		if (!safe->source.entries[i].litter)
			check_manifest(safe, &safe->source.entries[i]);
	}
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
