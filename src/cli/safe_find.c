/* SPDX-License-Identifier: Apache-2.0 */
/* The volume's side of `mediafs safe`: which of its files have the bytes. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/safe.h"
#include "control/protocol.h"
#include "manifest/history.h"
#include "transfer/rules.h"
#include "util/error.h"
#include "util/io.h"

#define KNOWN_BATCH 200 /* control/request_known.c takes 256, in 64 KiB */

/* Where @path would lie in the folder. Caller frees; NULL without memory. */
static char *path_in_folder(const struct safe *safe, const char *path)
{
	return path_join(safe->folder, path);
}

/* @path below the folder @folder, or NULL. Borrowed. */
static const char *below(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	if (!length)
		return path;
	return strncmp(path, folder, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

static bool is_litter(const struct safe *safe, const char *path)
{
	return card_path_is_junk(safe->rules, path);
}

/* A file of the volume in state @state that is not verified: why not. */
static void add_state(struct safe *safe, const char *path, const char *state)
{
	if (strcmp(state, "damaged") == 0)
		safe_add(safe, SAFE_DAMAGED, path, "%s", "");
	else
		safe_add(safe, SAFE_UNVERIFIED, path, "it is %s", state);
}

/* Room for one more file without a card. */
static struct safe_file *new_file(struct safe *safe, char *path)
{
	struct safe_file *files = safe->files;
	char **paths = safe->paths;

	if ((safe->count & (safe->count - 1)) == 0) {
		size_t room = safe->count ? safe->count * 2 : 1;

		files = reallocarray(files, room, sizeof(*files));
		safe->files = files ? files : safe->files;
		paths = reallocarray(paths, room, sizeof(*paths));
		safe->paths = paths ? paths : safe->paths;
	}
	if (!files || !paths) {
		free(path);
		return NULL;
	}
	paths[safe->count] = path;
	files[safe->count] = (struct safe_file){ .path = path };
	return &files[safe->count++];
}

static int take_listed(void *arg, const json_t *line)
{
	struct safe *safe = arg;
	const json_t *file = json_object_get(line, "file");
	char *at = json_path_value(json_object_get(file, "path"));
	const char *path = at ? below(at, safe->folder) : NULL;
	const char *digest = json_string_or(file, "digest", NULL);
	struct safe_file *listed;

	if (strcmp(json_string_or(file, "type", ""), "file") != 0) {
		free(at);
		return 0;
	}
	path = path ? path : at; /* the folder is a file itself */
	if (path && rules_is_unfinished(path)) {
		safe_add(safe, SAFE_UNFINISHED, "", "%s", at);
		free(at);
		return 0;
	}
	if (path && is_litter(safe, path)) {
		safe->litter_files++;
		safe->litter_bytes += (uint64_t)json_int_or(file, "size", 0);
		free(at);
		return 0;
	}
	listed = path ? new_file(safe, strdup(path)) : NULL;
	if (!listed || !listed->path) {
		free(at);
		return -ENOMEM;
	}
	listed->at = at;
	listed->size = (uint64_t)json_int_or(file, "size", 0);
	listed->id = (uint64_t)json_int_or(file, "id", 0);
	listed->generation = (uint64_t)json_int_or(file, "generation", 0);
	listed->passed = PASSED_ON_CARD;
	safe->bytes += listed->size;
	if (!json_is_true(json_object_get(file, "verified")) || !digest ||
	    digest_parse(digest, &listed->digest) < 0)
		add_state(safe, listed->path, json_string_or(file, "state", "?"));
	else
		listed->passed |= PASSED_READ | PASSED_FOUND;
	return 0;
}

static int take_marker(void *arg, const json_t *line)
{
	const json_t *files = json_object_get(json_object_get(line, "known"), "files");

	*(bool *)arg |= json_array_size(files) > 0;
	return 0;
}

/* A card's own folder may lie within the one that is filled: the marker stands there. */
static void look_for_marker(struct safe *safe)
{
	cleanup_free char *folder = strdup(safe->folder);
	char *end;

	safe->is_out_of_memory |= !folder;
	while (folder && (end = strrchr(folder, '/'))) {
		cleanup_free char *marker = NULL;
		bool found = false;

		*end = '\0';
		marker = path_join(folder, UNFINISHED_MARKER);
		safe->is_out_of_memory |= !marker;
		json_decref(safe_ask(safe, safe->client,
				     marker ? json_pack("{s:s,s:[{s:o}]}", "request", "known",
							"items", "path", json_path(marker))
					    : NULL,
				     take_marker, &found));
		if (found)
			safe_add(safe, SAFE_UNFINISHED, "", "%s", marker);
	}
}

void safe_list_folder(struct safe *safe)
{
	const char *slash = strrchr(safe->folder, '/');

	look_for_marker(safe);
	json_decref(safe_ask(safe, safe->client,
			     json_pack("{s:s,s:o,s:b}", "request", "ls", "path",
				       json_path(safe->folder), "recursive", 1),
			     take_listed, safe));
	free(safe->name);
	safe->name = strdup(slash ? slash + 1 : safe->folder);
}

/* By bytes ---------------------------------------------------------------------------- */

struct batch {
	struct safe *safe;
	struct safe_file *files[KNOWN_BATCH];
	size_t count, answered;
};

/* Is @at the place of @path in some folder (or in the one that is meant)? */
static bool is_its_place(const char *at, const char *path)
{
	size_t length = strlen(at), end = strlen(path);

	return length >= end && strcmp(at + length - end, path) == 0 &&
	       (length == end || at[length - end - 1] == '/');
}

/* The table of contents of a history grows where that is continued: it is no media, and what it
 * names is compared like all else. */
static bool is_chain(const char *path)
{
	return is_its_place(path, HISTORY_FOLDER "/" CHAIN_NAME);
}

/* @known, of the place of @file, has a newer state of it: that is what is to be kept. False: no. */
static bool take_newer_chain(struct safe_file *file, const json_t *known, int64_t size)
{
	const char *digest = json_string_or(known, "digest", NULL);

	if (!is_chain(file->path) || !digest || digest_parse(digest, &file->digest) < 0)
		return false;
	file->size = (uint64_t)size;
	return true;
}

static void take_file(struct safe_file *file, char **at, const json_t *known)
{
	free(file->at);
	file->at = take_ptr(*at);
	file->id = (uint64_t)json_int_or(known, "id", 0);
	file->generation = (uint64_t)json_int_or(known, "generation", 0);
	file->passed |= PASSED_FOUND;
}

/* One of the files that have the bytes. A damaged one is told, whatever others there are. */
static void judge_known(struct safe *safe, struct safe_file *file, const json_t *known)
{
	cleanup_free char *at = json_path_value(json_object_get(known, "path"));

	if (!at) {
		safe->is_out_of_memory = true;
		return;
	}
	/* What lies in a trash may be gone tomorrow. */
	if (is_litter(safe, at))
		return;
	if (json_is_true(json_object_get(known, "damaged"))) {
		safe_add(safe, SAFE_DAMAGED, file->path, "%s", at);
		file->at = file->at ? file->at : take_ptr(at);
	} else if (json_is_true(json_object_get(known, "verified")) &&
		   (!(file->passed & PASSED_FOUND) || is_its_place(at, file->path))) {
		take_file(file, &at, known);
	}
}

static int take_by_bytes(void *arg, const json_t *line)
{
	struct batch *batch = arg;
	const json_t *known = json_object_get(line, "known"), *one;
	size_t i;

	if (batch->answered == batch->count)
		return -EPROTO;
	json_array_foreach(json_object_get(known, "files"), i, one)
		judge_known(batch->safe, batch->files[batch->answered], one);
	batch->answered++;
	return 0;
}

static int take_by_path(void *arg, const json_t *line)
{
	struct batch *batch = arg;
	const json_t *known = json_object_get(line, "known");
	const json_t *one = json_array_get(json_object_get(known, "files"), 0);
	struct safe_file *file;
	char hex[DIGEST_HEX_SIZE];

	if (batch->answered == batch->count)
		return -EPROTO;
	file = batch->files[batch->answered++];
	digest_hex(&file->digest, hex);
	if (!one)
		safe_add(batch->safe, SAFE_MISSING, file->path, "not in %s", batch->safe->folder);
	else if (!json_is_true(json_object_get(one, "verified")))
		add_state(batch->safe, file->path, json_string_or(one, "state", "?"));
	else if (strcmp(json_string_or(known, "digest", ""), hex) != 0 &&
		 !take_newer_chain(file, known, json_int_or(one, "size", 0)))
		safe_add(batch->safe, SAFE_DIFFERENT, file->path, "%s", batch->safe->folder);
	else
		judge_known(batch->safe, file, one);
	return 0;
}

static json_t *by_bytes(const struct safe_file *file)
{
	char hex[DIGEST_HEX_SIZE];

	digest_hex(&file->digest, hex);
	return json_pack("{s:I,s:s}", "size", (json_int_t)file->size, "digest", hex);
}

static bool ask_batch(struct batch *batch, json_t *items, client_line_fn fn)
{
	struct safe *safe = batch->safe;
	cleanup_json json_t *final =
		safe_ask(safe, safe->client,
			 json_pack("{s:s,s:o}", "request", "known", "items", items), fn, batch);

	if (final && batch->answered != batch->count)
		safe_add(safe, SAFE_UNCHECKED, "", "the mount daemon did not answer all");
	return final && batch->answered == batch->count;
}

/* "known" for all files that passed @passed, a batch at a time. */
static void ask_known(struct safe *safe, unsigned passed,
		      json_t *(*item)(const struct safe *safe, const struct safe_file *),
		      client_line_fn fn)
{
	size_t next = 0;

	while (next < safe->count && !interrupted()) {
		struct batch batch = { .safe = safe };
		json_t *items = json_array();
		size_t bytes = 0;

		/* Long paths fill a request before their number does. */
		for (; next < safe->count && batch.count < KNOWN_BATCH &&
		       bytes < REQUEST_MAX_BYTES / 4;
		     next++) {
			struct safe_file *file = &safe->files[next];

			if ((file->passed & passed) != passed)
				continue;
			bytes += strlen(file->path) + (safe->folder ? strlen(safe->folder) : 0) +
				 (file->at ? strlen(file->at) : 0);
			batch.files[batch.count++] = file;
			(void)json_array_append_new(items, item(safe, file));
		}
		if (!ask_batch(&batch, items, fn))
			return;
	}
	if (interrupted())
		safe_add(safe, SAFE_UNCHECKED, "", "interrupted");
}

/* By name ----------------------------------------------------------------------------- */

/* What was found nowhere by its bytes: its name may be there, with others or not verified. */
struct names {
	struct safe *safe;
	struct safe_file **files; /* owned; sorted by path */
	size_t count;
};

static int by_path(const void *a, const void *b)
{
	return strcmp((*(struct safe_file *const *)a)->path, (*(struct safe_file *const *)b)->path);
}

static int compare_path(const void *key, const void *file)
{
	return strcmp(key, (*(struct safe_file *const *)file)->path);
}

/* The volume has a file of the name of @file. */
static void judge_named(struct safe *safe, struct safe_file *file, const json_t *named)
{
	cleanup_free char *at = json_path_value(json_object_get(named, "path"));

	if (file->at || !at)
		return; /* another one of that name */
	if (!json_is_true(json_object_get(named, "verified"))) {
		add_state(safe, file->path, json_string_or(named, "state", "?"));
	} else if (take_newer_chain(file, named, json_int_or(named, "size", 0))) {
		take_file(file, &at, named);
		return;
	} else {
		safe_add(safe, SAFE_DIFFERENT, file->path, "%s", at);
	}
	file->at = take_ptr(at);
}

static int take_named(void *arg, const json_t *line)
{
	struct names *names = arg;
	const json_t *named = json_object_get(line, "file");
	cleanup_free char *at = json_path_value(json_object_get(named, "path"));

	if (!at)
		return -ENOMEM;
	if (strcmp(json_string_or(named, "type", ""), "file") != 0 || is_litter(names->safe, at))
		return 0;
	for (const char *end = at; end; end = strchr(end, '/')) {
		struct safe_file **found;

		end += *end == '/';
		found = bsearch(end, names->files, names->count, sizeof(*names->files),
				compare_path);
		if (found)
			judge_named(names->safe, *found, named);
	}
	return 0;
}

static void add_missing(struct safe *safe, const struct names *names, bool any)
{
	for (size_t i = 0; i < names->count; i++) {
		if (!names->files[i]->at)
			safe_add(safe, any ? SAFE_MISSING : SAFE_NEVER, names->files[i]->path, "%s",
				 "");
	}
}

/* Of all that has no file with its bytes. */
static void find_by_name(struct safe *safe)
{
	struct names names = { .safe = safe, .files = calloc(safe->count + 1, sizeof(void *)) };
	cleanup_json json_t *final = NULL;
	bool any = false;

	for (size_t i = 0; names.files && i < safe->count; i++) {
		struct safe_file *file = &safe->files[i];

		if (file->passed & PASSED_FOUND)
			any = true;
		else if (file->passed & PASSED_READ)
			names.files[names.count++] = file;
	}
	if (names.count) {
		qsort(names.files, names.count, sizeof(*names.files), by_path);
		final = safe_ask(safe, safe->client,
				 json_pack("{s:s,s:o,s:b}", "request", "ls", "path",
					   json_path(safe->folder ? safe->folder : ""), "recursive",
					   1),
				 take_named, &names);
		for (size_t i = 0; i < names.count; i++)
			any = any || names.files[i]->at;
		if (final)
			add_missing(safe, &names, any);
	}
	safe->is_out_of_memory |= !names.files;
	free(names.files);
}

/* The folder in which the card lies in the volume: of the largest file that lies in its place. */
static void guess_folder(struct safe *safe)
{
	const struct safe_file *best = NULL;
	size_t length;

	for (size_t i = 0; i < safe->count; i++) {
		const struct safe_file *file = &safe->files[i];

		if ((file->passed & PASSED_FOUND) && is_its_place(file->at, file->path) &&
		    (!best || file->size > best->size))
			best = file;
	}
	if (!best)
		return;
	length = strlen(best->at) - strlen(best->path);
	safe->folder = strndup(best->at, length ? length - 1 : 0);
	safe->is_out_of_memory |= !safe->folder;
}

static json_t *item_by_bytes(const struct safe *safe, const struct safe_file *file)
{
	(void)safe;
	return by_bytes(file);
}

static json_t *item_in_folder(const struct safe *safe, const struct safe_file *file)
{
	cleanup_free char *path = path_in_folder(safe, file->path);

	return path ? json_pack("{s:o}", "path", json_path(path)) : NULL;
}

static json_t *item_at(const struct safe *safe, const struct safe_file *file)
{
	(void)safe;
	return json_pack("{s:o}", "path", json_path(file->at));
}

void safe_find_files(struct safe *safe)
{
	if (safe->is_folder_given) {
		ask_known(safe, PASSED_READ, item_in_folder, take_by_path);
		return;
	}
	ask_known(safe, PASSED_READ, item_by_bytes, take_by_bytes);
	guess_folder(safe);
	find_by_name(safe);
}

/* Equal to the card's it is no fault of the copy; without the card nobody can say so. */
static void add_cut_off(struct safe *safe, const struct safe_file *file, int64_t whole_bytes)
{
	if (safe->has_card)
		safe->cut_off++;
	else
		safe_add(safe, SAFE_CUT_OFF, file->path, "%" PRIu64 " of %" PRId64 " bytes",
			 file->size, whole_bytes);
}

static int take_again(void *arg, const json_t *line)
{
	struct batch *batch = arg;
	const json_t *known = json_object_get(line, "known");
	const json_t *one = json_array_get(json_object_get(known, "files"), 0);
	struct safe_file *file;
	char hex[DIGEST_HEX_SIZE];

	if (batch->answered == batch->count)
		return -EPROTO;
	file = batch->files[batch->answered++];
	digest_hex(&file->digest, hex);
	if (one && json_is_true(json_object_get(one, "verified")) &&
	    (uint64_t)json_int_or(one, "id", 0) == file->id &&
	    (uint64_t)json_int_or(one, "generation", 0) == file->generation &&
	    strcmp(json_string_or(known, "digest", ""), hex) == 0)
		file->passed |= PASSED_STILL;
	else
		safe_add(batch->safe, SAFE_VOLUME_CHANGED, file->path, "%s", file->at);
	if (json_int_or(known, "whole_bytes", 0) > 0)
		add_cut_off(batch->safe, file, json_int_or(known, "whole_bytes", 0));
	return 0;
}

void safe_ask_again(struct safe *safe)
{
	ask_known(safe, PASSED_FOUND | PASSED_STORE, item_at, take_again);
}
