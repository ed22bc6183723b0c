/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/fsck_manifests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hash/readback.h"
#include "manifest/history.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"
#include "volume/level_walk.h"

/* Histories in memory at a time; files come in no order, but mostly with their neighbours. */
#define LOADED_MAX 16

struct source {
	char *scope;             /* owned: the folder that its paths are relative to */
	char *list;              /* owned: a legacy list in it; NULL: the history */
	struct history *history; /* owned; NULL: not loaded */
	bool bad;                /* it cannot be read, which was told */
	uint64_t used;           /* when, by the count of uses */
};

struct fsck_manifests {
	struct source *list; /* owned; by scope once @sorted */
	size_t count, room;
	size_t loaded;
	uint64_t uses;
	bool sorted;
};

struct fsck_manifests *fsck_manifests_new(void)
{
	return calloc(1, sizeof(struct fsck_manifests));
}

void fsck_manifests_free(struct fsck_manifests *manifests)
{
	if (!manifests)
		return;
	for (size_t i = 0; i < manifests->count; i++) {
		free(manifests->list[i].scope);
		free(manifests->list[i].list);
		history_free(manifests->list[i].history);
	}
	free(manifests->list);
	free(manifests);
}

static int add(struct fsck_manifests *manifests, const char *path, size_t scope_length,
	       const char *list)
{
	struct source *source;

	if (manifests->count == manifests->room) {
		size_t room = manifests->room ? manifests->room * 2 : 64;
		struct source *grown = reallocarray(manifests->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		manifests->list = grown;
		manifests->room = room;
	}
	source = &manifests->list[manifests->count];
	*source = (struct source){ .scope = strndup(path, scope_length),
				   .list = list ? strdup(list) : NULL };
	if (!source->scope || (list && !source->list)) {
		free(source->scope);
		free(source->list);
		return -ENOMEM;
	}
	manifests->count++;
	return 0;
}

int fsck_manifests_see(struct fsck_manifests *manifests, const char *path, mode_t mode)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (S_ISDIR(mode))
		return strcmp(name, HISTORY_FOLDER) == 0 ? add(manifests, path, length, NULL) : 0;
	if (!S_ISREG(mode) || !history_is_manifest(name))
		return 0;
	/* Those of a history are read through its chain. */
	if (length >= strlen(HISTORY_FOLDER) &&
	    strncmp(slash - strlen(HISTORY_FOLDER), HISTORY_FOLDER, strlen(HISTORY_FOLDER)) == 0)
		return 0;
	return add(manifests, path, length, name);
}

/* Loading ------------------------------------------------------------------------------- */

static int by_scope(const void *a, const void *b)
{
	return strcmp(((const struct source *)a)->scope, ((const struct source *)b)->scope);
}

/* In one folder the history before the lists. */
static int by_weight(const void *a, const void *b)
{
	int r = by_scope(a, b);

	return r ? r
		 : (((const struct source *)a)->list != NULL) -
			       (((const struct source *)b)->list != NULL);
}

static void make_room(struct fsck_manifests *manifests)
{
	struct source *oldest = NULL;

	if (manifests->loaded < LOADED_MAX)
		return;
	for (size_t i = 0; i < manifests->count; i++) {
		struct source *source = &manifests->list[i];

		if (source->history && (!oldest || source->used < oldest->used))
			oldest = source;
	}
	history_free(take_ptr(oldest->history));
	manifests->loaded--;
}

static int load_list(int fd, struct source *source, char **ret_why)
{
	cleanup_with(list_fini) struct list list = { 0 };
	cleanup_free char *bytes = NULL;
	unsigned long line;
	const char *why = NULL;
	size_t length;
	int r = read_file(fd, source->list, XML_DOCUMENT_MAX, &bytes, &length);

	if (r == 0)
		r = list_read(bytes, length, &list, &why, &line);
	if (r == -EPROTO && asprintf(ret_why, "%s: %s", source->list, why) < 0)
		*ret_why = NULL;
	if (r < 0)
		return r;
	source->history = history_new("");
	return source->history ? history_append(source->history, &list) : -ENOMEM;
}

static int load_history(int fd, struct source *source, char **ret_why)
{
	if (history_load(fd, "", &source->history, ret_why) == CLASS_OK)
		return 0;
	return *ret_why ? -EPROTO : -ENOMEM;
}

/* 1: source->history can be used. */
static int load(struct fsck *fsck, struct fsck_manifests *manifests, struct source *source)
{
	cleanup_close int fd = -1;
	cleanup_free char *why = NULL;
	int r;

	source->used = ++manifests->uses;
	if (source->history || source->bad)
		return !source->bad;
	make_room(manifests);
	fd = level_open_path(fsck->store, source->scope, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		r = fd;
	else
		r = source->list ? load_list(fd, source, &why) : load_history(fd, source, &why);
	if (r == 0) {
		manifests->loaded++;
		return 1;
	}
	history_free(take_ptr(source->history));
	if (r == -ENOMEM)
		return r;
	source->bad = true;
	fsck_tell(fsck, FSCK_NOTE, "manifest", source->scope, "not used: %s",
		  why ? why : error_text(r));
	return 0;
}

/* Judging ------------------------------------------------------------------------------- */

/* What is asked of one file. */
struct question {
	struct fsck *fsck;
	const struct fsck_file *file;
	unsigned formats; /* of them */
	uint8_t values[HASH_FORMATS][HASH_MAX_BYTES];
};

static int take_bytes(void *arg, const void *bytes, size_t length)
{
	return hashes_update(arg, bytes, length);
}

/* Other formats than XXH3-128: once more from the medium. */
static int read_values(struct question *question, unsigned formats)
{
	cleanup_with(hashes_free_slot) struct hashes *hashes = hashes_new(formats);
	struct readback readback = { .tap = take_bytes, .arg = hashes };
	cleanup_close int fd = -1;
	int r;

	if (!hashes)
		return -ENOMEM;
	fd = fsck_open_file(question->fsck, &question->file->row, question->file->path, O_RDONLY);
	r = fd < 0 ? fd : readback_file(fd, &readback);
	if (r < 0)
		return r;
	blockmap_fini(&readback.map);
	if (!digest_equal(&readback.digest, &question->file->read_digest))
		return -ESTALE;
	for (size_t i = 0; r == 0 && i < HASH_FORMATS; i++) {
		if (formats & HASH_BIT(i))
			r = hashes_final(hashes, (enum hash_format)i, question->values[i]);
	}
	if (r == 0)
		question->formats |= formats;
	return r;
}

static bool is_value(const struct list_hash *hash, const uint8_t *value)
{
	size_t length = hash_bytes(hash->format);
	bool turned = hash->swapped;

	if (memcmp(hash->bytes, value, length) == 0)
		return true;
	/* Old lists have XXH64 in either order of bytes. */
	for (size_t i = 0; turned && i < length; i++)
		turned = hash->bytes[i] == value[length - 1 - i];
	return turned;
}

/* A record of it has these bytes: failed ones too, since then it was known to be changed. */
static bool is_recorded(const struct known *known, enum hash_format format, const uint8_t *value)
{
	for (size_t i = 0; i < known->count; i++) {
		const struct list_record *record = known->records[i];

		for (size_t j = 0; j < record->hash_count; j++) {
			if (record->hashes[j].format == format &&
			    is_value(&record->hashes[j], value))
				return true;
		}
	}
	return false;
}

/* As fsck_manifests_judge(), by one manifest. */
static int judge(struct question *question, const struct source *source, const char *path,
		 char *detail, size_t size)
{
	const struct known *known = history_find(source->history, path);
	unsigned formats = known ? known_formats(known) : 0, missing;
	char was[HASH_TEXT_SIZE], is[HASH_TEXT_SIZE];
	int r;

	/* The strongest one that costs nothing says enough. */
	if (formats & HASH_BIT(HASH_XXH128))
		formats = HASH_BIT(HASH_XXH128);
	missing = formats & ~question->formats;
	r = missing ? read_values(question, missing) : 0;
	if (r < 0)
		return r;
	for (size_t i = 0; i < HASH_FORMATS; i++) {
		enum hash_format format = (enum hash_format)i;

		if (!(formats & HASH_BIT(i)) || is_recorded(known, format, question->values[i]))
			continue;
		hash_text(format, known_hash(known, format)->bytes, was);
		hash_text(format, question->values[i], is);
		(void)snprintf(detail, size,
			       "not what the manifest in %s tells of: %s %s, it is %s",
			       *source->scope ? source->scope : ".", hash_name(format), was, is);
		return 1;
	}
	return 0;
}

/* The sources of the folder @scope: the first, and how many. */
static struct source *sources_of(const struct fsck_manifests *manifests, const char *scope,
				 size_t *ret_count)
{
	struct source key = { .scope = (char *)scope };
	struct source *found = manifests->count ? bsearch(&key, manifests->list, manifests->count,
							  sizeof(key), by_scope)
						: NULL;
	struct source *end = manifests->list + manifests->count;

	*ret_count = 0;
	while (found && found > manifests->list && strcmp(found[-1].scope, scope) == 0)
		found--;
	while (found && found + *ret_count < end && strcmp(found[*ret_count].scope, scope) == 0)
		++*ret_count;
	return found;
}

int fsck_manifests_judge(struct fsck *fsck, struct fsck_manifests *manifests,
			 const struct fsck_file *file, char *detail, size_t size)
{
	struct question question = { .fsck = fsck, .file = file, .formats = HASH_BIT(HASH_XXH128) };
	cleanup_free char *scope = strdup(file->path);
	int r = scope ? 0 : -ENOMEM;

	if (!manifests->sorted && manifests->count)
		qsort(manifests->list, manifests->count, sizeof(*manifests->list), by_weight);
	manifests->sorted = true;
	memcpy(question.values[HASH_XXH128], file->read_digest.bytes,
	       sizeof(file->read_digest.bytes));
	/* Each folder above it, the nearest first. */
	while (r == 0 && *scope) {
		char *slash = strrchr(scope, '/');
		struct source *sources;
		size_t count, strip;

		*(slash ? slash : scope) = '\0';
		strip = *scope ? strlen(scope) + 1 : 0;
		sources = sources_of(manifests, scope, &count);
		for (size_t i = 0; r == 0 && i < count; i++) {
			const char *path = file->path + strip;

			r = load(fsck, manifests, &sources[i]);
			if (r == 1)
				r = judge(&question, &sources[i], path, detail, size);
			/* It tells of changes; lists beside and above it do not. */
			if (r == 0 && sources[i].history && !sources[i].list &&
			    history_find(sources[i].history, path))
				return 0;
		}
	}
	return r;
}
