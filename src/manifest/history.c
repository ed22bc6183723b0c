/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash/digest.h"
#include "manifest/ignore.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"

/* What is known --------------------------------------------------------------------------- */

uint64_t history_key(const char *path)
{
	uint64_t key = block_hash(path, strlen(path));

	return key ? key : 1;
}

static void known_free(struct known *known)
{
	while (known) {
		struct known *next = known->next;

		free(known->path);
		free(known->records);
		free(known);
		known = next;
	}
}

struct known *history_find(const struct history *history, const char *path)
{
	struct known *known = table_get(&history->known, history_key(path));

	while (known && strcmp(known->path, path) != 0)
		known = known->next;
	return known;
}

static int insert(struct history *history, struct known *known)
{
	uint64_t key = history_key(known->path);

	known->next = table_get(&history->known, key);
	return table_put(&history->known, key, known);
}

/* Out of the table; the caller owns it. */
static void detach(struct history *history, struct known *known)
{
	uint64_t key = history_key(known->path);
	struct known *first = table_get(&history->known, key);

	if (first == known && !known->next) {
		(void)table_remove(&history->known, key);
	} else if (first == known) {
		(void)table_put(&history->known, key, known->next); /* the slot is there */
	} else {
		while (first->next != known)
			first = first->next;
		first->next = known->next;
	}
	known->next = NULL;
}

static struct known *find_or_add(struct history *history, const char *path, bool folder)
{
	struct known *known = history_find(history, path);

	if (known)
		return known;
	known = calloc(1, sizeof(*known));
	if (!known)
		return NULL;
	known->path = strdup(path);
	known->folder = folder;
	if (!known->path || insert(history, known) < 0) {
		known->next = NULL;
		known_free(known);
		return NULL;
	}
	return known;
}

/*
 * All that a generation renames moves at once (a and b may have swapped names): taken out first,
 * then put under the new names.
 */
static int rename_all(struct history *history, const struct list *list)
{
	struct known *replaced;
	cleanup_free struct known **moved = calloc(list->record_count + 1, sizeof(struct known *));
	int r = 0;

	if (!moved)
		return -ENOMEM;
	for (size_t i = 0; i < list->record_count; i++) {
		if (!list->records[i].previous)
			continue;
		moved[i] = history_find(history, list->records[i].previous);
		if (moved[i])
			detach(history, moved[i]);
	}
	for (size_t i = 0; i < list->record_count; i++) {
		char *path = moved[i] ? strdup(list->records[i].path) : NULL;

		if (!moved[i])
			continue;
		replaced = path ? history_find(history, path) : NULL;
		if (replaced) { /* what had that name before is gone */
			detach(history, replaced);
			known_free(replaced);
		}
		if (path && r == 0) {
			free(moved[i]->path);
			moved[i]->path = path;
			r = insert(history, moved[i]);
		} else {
			free(path);
			r = -ENOMEM;
		}
		if (r < 0) {
			moved[i]->next = NULL;
			known_free(moved[i]);
		}
	}
	return r;
}

static int add_record(struct history *history, const struct list_record *record)
{
	struct known *known = find_or_add(history, record->path, record->folder);
	const struct list_record **grown;

	if (!known)
		return -ENOMEM;
	grown = reallocarray(known->records, known->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	known->records = grown;
	known->records[known->count++] = record;
	known->folder = record->folder;
	if (record->previous)
		known->previous = record->previous;
	return 0;
}

int history_append(struct history *history, struct list *list)
{
	struct list *grown = reallocarray(history->lists, history->list_count + 1, sizeof(*grown));
	int r;

	if (!grown)
		return -ENOMEM;
	history->lists = grown;
	r = chain_add(&history->chain, "", NULL);
	if (r < 0)
		return r;
	grown[history->list_count] = *list;
	*list = (struct list){ 0 };
	list = &grown[history->list_count++];
	r = rename_all(history, list);
	for (size_t i = 0; r == 0 && i < list->record_count; i++)
		r = add_record(history, &list->records[i]);
	return r;
}

const struct list_hash *known_hash(const struct known *known, enum hash_format format)
{
	for (size_t i = 0; i < known->count; i++) {
		const struct list_hash *hash = list_good_hash(known->records[i], format);

		if (hash)
			return hash;
	}
	return NULL;
}

unsigned known_formats(const struct known *known)
{
	unsigned formats = 0;

	for (size_t format = 0; !known->folder && format < HASH_FORMATS; format++) {
		if (known_hash(known, (enum hash_format)format))
			formats |= HASH_BIT(format);
	}
	return formats;
}

bool known_first_format(const struct known *known, enum hash_format *ret_format)
{
	for (size_t i = 0; i < known->count; i++) {
		for (size_t j = 0; j < known->records[i]->hash_count; j++) {
			if (known->records[i]->hashes[j].action == ACTION_FAILED)
				continue;
			*ret_format = known->records[i]->hashes[j].format;
			return true;
		}
	}
	return false;
}

/* Patterns ------------------------------------------------------------------------------ */

int history_add_pattern(struct history *history, const char *pattern)
{
	char **grown;

	for (size_t i = 0; i < history->pattern_count; i++) {
		if (strcmp(history->patterns[i], pattern) == 0)
			return 0;
	}
	grown = reallocarray(history->patterns, history->pattern_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	history->patterns = grown;
	grown[history->pattern_count] = strdup(pattern);
	if (!grown[history->pattern_count])
		return -ENOMEM;
	history->pattern_count++;
	return 0;
}

const char *history_relative(const struct history *history, const char *path)
{
	return *history->scope ? path + strlen(history->scope) + 1 : path;
}

bool history_ignores(const struct history *history, const char *path, bool folder)
{
	for (; history; history = history->parent) {
		enum ignore_result result = ignore_match(history->patterns, history->pattern_count,
							 history_relative(history, path), folder);

		if (result != IGNORE_UNDECIDED)
			return result == IGNORE_YES;
	}
	return false;
}

/* The newest generation's list counts: lists only grow. Without one, the defaults do. */
static int take_patterns(struct history *history)
{
	/* Source: ASC MHL Specification v1.0, 6.4.6; the third line is what the reference adds. */
	static const char *const defaults[] = { ".DS_Store", "ascmhl", "ascmhl/" };
	const struct list *list =
		history->list_count ? &history->lists[history->list_count - 1] : NULL;
	bool said = list && list->ignore_count;
	size_t count = said ? list->ignore_count : ARRAY_SIZE(defaults);
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = history_add_pattern(history, said ? list->ignore[i] : defaults[i]);
	return r;
}

/* Load ---------------------------------------------------------------------------------- */

struct history *history_new(const char *scope)
{
	struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return NULL;
	table_init(&history->known);
	history->scope = strdup(scope);
	if (!history->scope) {
		history_free(history);
		return NULL;
	}
	return history;
}

void history_free(struct history *history)
{
	size_t at = 0;
	uint64_t key;
	void *known;

	if (!history)
		return;
	while (table_next(&history->known, &at, &key, &known))
		known_free(known);
	table_fini(&history->known);
	for (size_t i = 0; i < history->list_count; i++)
		list_fini(&history->lists[i]);
	for (size_t i = 0; i < history->unlisted_count; i++)
		free(history->unlisted[i]);
	for (size_t i = 0; i < history->pattern_count; i++)
		free(history->patterns[i]);
	chain_fini(&history->chain);
	free(history->lists);
	free(history->unlisted);
	free(history->patterns);
	free(history->scope);
	free(history);
}

static enum verdict_class say(char **ret_why, enum verdict_class class, const char *name,
			      const char *text)
{
	if (asprintf(ret_why, "%s: %s", name, text) < 0)
		*ret_why = NULL;
	return class;
}

static enum verdict_class say_bad(char **ret_why, int error, const char *name, const char *why,
				  unsigned long line)
{
	char text[256];

	if (error != -EPROTO)
		return say(ret_why, CLASS_UNREADABLE, name, error_text(error));
	if (line)
		(void)snprintf(text, sizeof(text), "line %lu: %s", line, why);
	else
		(void)snprintf(text, sizeof(text), "%s", why);
	return say(ret_why, CLASS_UNREADABLE, name, text);
}

int history_c4(const void *bytes, size_t length, uint8_t *ret_c4)
{
	cleanup_with(hashes_free_slot) struct hashes *hashes = hashes_new(HASH_BIT(HASH_C4));
	int r;

	if (!hashes)
		return -ENOMEM;
	r = hashes_update(hashes, bytes, length);
	return r < 0 ? r : hashes_final(hashes, HASH_C4, ret_c4);
}

static enum verdict_class load_list(struct history *history, int folder_fd,
				    const struct chain_entry *entry, char **ret_why)
{
	cleanup_free char *bytes = NULL;
	struct list list = { 0 };
	uint8_t c4[HASH_MAX_BYTES];
	const char *why = NULL;
	unsigned long line = 0;
	size_t length;
	int r;

	r = read_file(folder_fd, entry->path, XML_DOCUMENT_MAX, &bytes, &length);
	if (r == -ENOENT)
		return say(ret_why, CLASS_INCOMPLETE, entry->path,
			   "the chain names it, but it is not there");
	if (r == 0)
		r = history_c4(bytes, length, c4);
	if (r < 0)
		return say_bad(ret_why, r, entry->path, NULL, 0);
	if (entry->has_c4 && memcmp(c4, entry->c4, sizeof(c4)) != 0)
		return say(ret_why, CLASS_ALTERED, entry->path,
			   "it was altered: its C4 is not that of the chain");
	r = list_read(bytes, length, &list, &why, &line);
	if (r == 0 && list.kind != LIST_ASC) {
		r = -EPROTO;
		why = "it is no manifest of ASC MHL";
	}
	if (r == 0)
		r = history_append(history, &list);
	list_fini(&list);
	return r < 0 ? say_bad(ret_why, r, entry->path, why, line) : CLASS_OK;
}

bool history_is_manifest(const char *name)
{
	size_t length = strlen(name);

	return length > 4 && strcmp(name + length - 4, ".mhl") == 0 && strncmp(name, "._", 2) != 0;
}

/* Manifests that no chain vouches for. */
static int find_unlisted(struct history *history, int folder_fd)
{
	cleanup_closedir DIR *dir = NULL;
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		bool listed = !history_is_manifest(entry->d_name);
		char **grown;

		for (size_t i = 0; i < history->chain.count && !listed; i++)
			listed = strcmp(history->chain.entries[i].path, entry->d_name) == 0;
		if (listed)
			continue;
		grown = reallocarray(history->unlisted, history->unlisted_count + 1,
				     sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		history->unlisted = grown;
		grown[history->unlisted_count] = strdup(entry->d_name);
		if (!grown[history->unlisted_count])
			return -ENOMEM;
		history->unlisted_count++;
	}
	return 0;
}

static enum verdict_class load_folder(struct history *history, int folder_fd, char **ret_why)
{
	cleanup_free char *bytes = NULL;
	enum verdict_class class = CLASS_OK;
	struct chain chain = { 0 };
	const char *why = NULL;
	unsigned long line = 0;
	size_t length;
	int r;

	r = read_file(folder_fd, CHAIN_NAME, XML_DOCUMENT_MAX, &bytes, &length);
	if (r == -ENOENT)
		return say(ret_why, CLASS_NO_CHAIN, CHAIN_NAME, "the history has no chain");
	if (r == 0)
		r = chain_read(bytes, length, &chain, &why, &line);
	if (r < 0)
		class = say_bad(ret_why, r, CHAIN_NAME, why, line);
	for (size_t i = 0; class == CLASS_OK && i < chain.count; i++) {
		class = load_list(history, folder_fd, &chain.entries[i], ret_why);
		if (class != CLASS_OK)
			break;
		/* history_append() made an entry without a name. */
		free(history->chain.entries[i].path);
		history->chain.entries[i] = chain.entries[i];
		chain.entries[i].path = NULL;
	}
	chain_fini(&chain);
	if (class == CLASS_OK) {
		r = find_unlisted(history, folder_fd);
		if (r < 0)
			class = say_bad(ret_why, r, HISTORY_FOLDER, NULL, 0);
	}
	return class;
}

enum verdict_class history_load(int scope_fd, const char *scope, struct history **ret_history,
				char **ret_why)
{
	struct history *history = history_new(scope);
	enum verdict_class class = CLASS_NO_HISTORY;
	cleanup_close int fd = -1;

	*ret_history = history;
	*ret_why = NULL;
	if (!history)
		return say(ret_why, CLASS_UNREADABLE, scope, error_text(-ENOMEM));
	fd = openat(scope_fd, HISTORY_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		class = load_folder(history, fd, ret_why);
	else if (errno != ENOENT)
		class = say(ret_why, CLASS_UNREADABLE, HISTORY_FOLDER, error_text(-errno));
	else
		(void)say(ret_why, class, *scope ? scope : ".",
			  "there is no history (" HISTORY_FOLDER ")");
	if ((class == CLASS_OK || class == CLASS_NO_HISTORY) && take_patterns(history) < 0)
		class = say(ret_why, CLASS_UNREADABLE, scope, error_text(-ENOMEM));
	return class;
}
