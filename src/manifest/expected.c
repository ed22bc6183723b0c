/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/expected.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest/history.h"
#include "manifest/sums.h"
#include "manifest/verdict.h"
#include "util/xml.h"
#include "util/error.h"
#include "util/io.h"

/* One manifest: its scope is where its paths begin. */
struct source {
	struct history *history; /* owned */
	char *path;              /* owned; the manifest */
	bool legacy;             /* sizes count too */
};

struct expected {
	struct source *sources; /* owned */
	size_t count;
};

struct expected *expected_new(void)
{
	return calloc(1, sizeof(struct expected));
}

void expected_free(struct expected *expected)
{
	for (size_t i = 0; i < expected->count; i++) {
		history_free(expected->sources[i].history);
		free(expected->sources[i].path);
	}
	free(expected->sources);
	free(expected);
}

size_t expected_count(const struct expected *expected)
{
	return expected->count;
}

/* Takes @history, also on failure. */
static int add_source(struct expected *expected, struct history *history, const char *path,
		      bool legacy)
{
	struct source *grown = reallocarray(expected->sources, expected->count + 1, sizeof(*grown));
	char *copy = strdup(path);

	if (grown)
		expected->sources = grown;
	if (!grown || !copy) {
		history_free(history);
		free(copy);
		return -ENOMEM;
	}
	grown[expected->count++] = (struct source){ history, copy, legacy };
	return 0;
}

/* The folder that @path lies in, "" at the top. Caller frees. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path)) : strdup("");
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int add_history(struct expected *expected, int root_fd, const char *path,
		       expected_fn problem, void *arg)
{
	cleanup_free char *scope = folder_of(path), *why = NULL;
	cleanup_close int fd = -1;
	struct history *history = NULL;
	enum verdict_class class;

	if (!scope)
		return -ENOMEM;
	fd = openat(root_fd, *scope ? scope : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		problem(arg, path, error_text(-errno));
		return 0;
	}
	class = history_load(fd, scope, &history, &why);
	if (class == CLASS_OK)
		return add_source(expected, history, path, false);
	problem(arg, path, why ? why : verdict_name(class));
	history_free(history);
	return 0;
}

/* A document or a list of checksums as a list. -EPROTO was told. */
static int read_list(int root_fd, const char *path, bool sums, struct list *list,
		     expected_fn problem, void *arg)
{
	cleanup_free char *bytes = NULL;
	cleanup_free char *text = NULL;
	unsigned long line = 0;
	const char *why = NULL;
	size_t length;
	int r = read_file(root_fd, path, sums ? SUMS_MAX_BYTES : XML_DOCUMENT_MAX, &bytes, &length);

	if (r < 0 && r != -ENOMEM) {
		problem(arg, path, error_text(r));
		return -EPROTO;
	}
	if (r == 0)
		r = sums ? sums_read(name_of(path), bytes, length, list, &why, &line)
			 : list_read(bytes, length, list, &why, &line);
	if (r != -EPROTO)
		return r;
	if (asprintf(&text, "line %lu: %s", line, why) < 0)
		return -ENOMEM;
	problem(arg, path, text);
	return r;
}

static int add_list(struct expected *expected, int root_fd, const char *path, bool sums,
		    expected_fn problem, void *arg)
{
	cleanup_with(list_fini) struct list list = { 0 };
	cleanup_free char *scope = folder_of(path);
	struct history *history;
	bool legacy;
	int r = scope ? read_list(root_fd, path, sums, &list, problem, arg) : -ENOMEM;

	if (r < 0)
		return r == -EPROTO ? 0 : r;
	legacy = list.kind == LIST_LEGACY;
	history = history_new(scope);
	r = history ? history_append(history, &list) : -ENOMEM;
	if (r < 0) {
		history_free(history);
		return r;
	}
	return add_source(expected, history, path, legacy);
}

int expected_add(struct expected *expected, int root_fd, const char *path, bool folder,
		 expected_fn problem, void *arg)
{
	cleanup_free char *above = folder_of(path);
	enum hash_format format;

	if (!above)
		return -ENOMEM;
	if (folder)
		return strcmp(name_of(path), HISTORY_FOLDER) == 0
			       ? add_history(expected, root_fd, path, problem, arg)
			       : 0;
	/* Those of a history are read with it. */
	if (strcmp(name_of(above), HISTORY_FOLDER) == 0)
		return 0;
	if (history_is_manifest(name_of(path)))
		return add_list(expected, root_fd, path, false, problem, arg);
	return sums_format(name_of(path), &format)
		       ? add_list(expected, root_fd, path, true, problem, arg)
		       : 0;
}

/* What @source says of @path; NULL. */
static const struct known *find(const struct source *source, const char *path)
{
	const char *scope = source->history->scope;
	size_t length = strlen(scope);
	const struct known *known;

	if (length && (strncmp(path, scope, length) != 0 || path[length] != '/'))
		return NULL;
	known = history_find(source->history, length ? path + length + 1 : path);
	return known && !known->folder ? known : NULL;
}

unsigned expected_formats(const struct expected *expected, const char *path)
{
	unsigned formats = 0;

	for (size_t i = 0; i < expected->count; i++) {
		const struct known *known = find(&expected->sources[i], path);

		if (known)
			formats |= known_formats(known);
	}
	return formats;
}

static int check_source(const struct source *source, const struct known *known, uint64_t size,
			uint8_t values[HASH_FORMATS][HASH_MAX_BYTES], char **ret_why)
{
	int64_t said = known->records[0]->size;
	bool turned = false;

	if (source->legacy && said >= 0 && (uint64_t)said != size)
		return asprintf(ret_why, "%s has %lld bytes for it, it has %llu", source->path,
				(long long)said, (unsigned long long)size) < 0
			       ? -ENOMEM
			       : 0;
	for (size_t format = 0; format < HASH_FORMATS; format++) {
		const struct list_hash *hash = known_hash(known, (enum hash_format)format);
		char recorded[HASH_TEXT_SIZE], actual[HASH_TEXT_SIZE];

		if (!hash || list_hash_agrees(hash, values[format], &turned))
			continue;
		hash_text((enum hash_format)format, hash->bytes, recorded);
		hash_text((enum hash_format)format, values[format], actual);
		return asprintf(ret_why, "%s has %s %s for it, it has %s", source->path,
				hash_name((enum hash_format)format), recorded, actual) < 0
			       ? -ENOMEM
			       : 0;
	}
	return 1;
}

int expected_check(const struct expected *expected, const char *path, uint64_t size,
		   uint8_t values[HASH_FORMATS][HASH_MAX_BYTES], char **ret_why)
{
	int r = 1;

	for (size_t i = 0; r == 1 && i < expected->count; i++) {
		const struct known *known = find(&expected->sources[i], path);

		if (known)
			r = check_source(&expected->sources[i], known, size, values, ret_why);
	}
	return r;
}

int expected_missing(const struct expected *expected, int root_fd, expected_fn fn, void *arg)
{
	for (size_t i = 0; i < expected->count; i++) {
		const struct source *source = &expected->sources[i];
		const struct known *known;
		size_t at = 0;
		uint64_t key;

		while (table_next(&source->history->known, &at, &key, (void **)&known)) {
			for (; known; known = known->next) {
				cleanup_free char *path =
					path_join(source->history->scope, known->path);
				struct stat st;

				if (!path)
					return -ENOMEM;
				if (!known->folder &&
				    !history_ignores(source->history, path, false) &&
				    fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
				    errno == ENOENT)
					fn(arg, path, source->path);
			}
		}
	}
	return 0;
}
