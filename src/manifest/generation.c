/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/generation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "manifest/ignore.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/folder.h"
#include "util/io.h"

/* So that the name with number, date and ending stays below 255 bytes. */
#define FOLDER_NAME_MAX 200

/* What one history gets. */
struct next {
	char *name; /* owned; of the manifest; NULL: it gets none */
	uint8_t c4[HASH_MAX_BYTES];
};

char *generation_folder(const char *path)
{
	cleanup_free char *real = realpath(path, NULL);
	const char *name = real ? strrchr(real, '/') + 1 : NULL;

	if (!name)
		return NULL;
	return strdup(*name ? name : "root");
}

static int copy_hashes(const struct list_hash *hashes, size_t count, unsigned formats,
		       struct list_hash **ret_hashes, size_t *ret_count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		if (formats & HASH_BIT(hashes[i].format))
			r = list_add_hash(ret_hashes, ret_count, &hashes[i]);
	}
	return r;
}

static int copy_folder(const struct node *node, unsigned formats, struct list_record *record)
{
	int r = copy_hashes(node->hashes, node->hash_count, formats, &record->hashes,
			    &record->hash_count);

	return r < 0 ? r
		     : copy_hashes(node->structure, node->structure_count, formats,
				   &record->structure, &record->structure_count);
}

static int add_node(const struct generation *generation, const struct history *history,
		    const struct node *node, struct list *list)
{
	struct list_record *record = list_add(list);
	int r;

	if (!record)
		return -ENOMEM;
	record->path = strdup(history_relative(history, node->path));
	record->previous = node->previous ? strdup(node->previous) : NULL;
	record->mtime_ns = node->mtime_ns;
	record->folder = node->folder;
	if (!record->path || (node->previous && !record->previous))
		return -ENOMEM;
	if (node->folder)
		return copy_folder(node, generation->formats, record);
	record->size = node->size;
	r = copy_hashes(node->hashes, node->hash_count, ~0u, &record->hashes, &record->hash_count);
	return r;
}

/* Patterns of histories above hold here too, if they mean the same here. */
static int add_patterns(const struct history *history, struct list *list)
{
	const struct history *from = history;
	int r = 0;

	for (; from; from = from->parent) {
		for (size_t i = 0; r == 0 && i < from->pattern_count; i++) {
			if (from == history || ignore_is_floating(from->patterns[i]))
				r = list_add_ignore(list, from->patterns[i]);
		}
	}
	return r;
}

static int add_references(const struct tree *tree, const struct history *history,
			  const struct next *next, struct list *list)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->history_count; i++) {
		const struct history *below = tree->histories[i];
		cleanup_free char *path = NULL;

		if (below->parent != history || !next[i].name)
			continue;
		if (asprintf(&path, "%s/" HISTORY_FOLDER "/%s",
			     history_relative(history, below->scope), next[i].name) < 0)
			return -ENOMEM;
		r = list_add_reference(list, path, next[i].c4);
	}
	return r;
}

static int fill_list(const struct generation *generation, const struct tree *tree,
		     const struct history *history, const struct next *next, struct list *list)
{
	int r = add_patterns(history, list);

	for (size_t i = 0; r == 0 && i < tree->count; i++) {
		const struct node *node = tree->nodes[i];

		if (node->history == history)
			r = add_node(generation, history, node, list);
		if (r == 0 && node->own == history)
			r = copy_folder(node, generation->formats, &list->root);
	}
	return r < 0 ? r : add_references(tree, history, next, list);
}

/* Onto the disk ------------------------------------------------------------------------- */

static int put(const struct generation_place *place, const char *name, const void *bytes,
	       size_t length)
{
	cleanup_free char *path = path_join(place->folder, name);

	return path ? place->files->write(place->files->arg, path, bytes, length) : -ENOMEM;
}

int generation_add(const struct generation_place *place, struct chain *chain, const char *name,
		   const struct list *list, uint8_t *ret_c4)
{
	cleanup_free char *bytes = NULL;
	cleanup_free char *table = NULL;
	size_t length;
	int r = list_write(list, &bytes, &length);

	if (r == 0)
		r = history_c4(bytes, length, ret_c4);
	if (r == 0)
		r = chain_add(chain, name, ret_c4);
	if (r == 0)
		r = put(place, name, bytes, length);
	if (r == 0)
		r = chain_write(chain, &table, &length);
	return r < 0 ? r : put(place, place->chain_name, table, length);
}

/* A folder of the tree, to be looked at and changed. */
struct spot {
	const struct manifest_files *files;
	int root; /* borrowed: the tree */
	const char *folder;
};

static int remove_name(const struct spot *spot, const char *name)
{
	cleanup_free char *path = path_join(spot->folder, name);

	return path ? spot->files->remove(spot->files->arg, path) : -ENOMEM;
}

/* What a run left that was killed: temporary files here, never anything with a name. */
static int remove_leftovers(const struct spot *spot, const char *prefix)
{
	cleanup_closedir DIR *dir = NULL;
	int fd = open_beneath(spot->root, spot->folder, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		cleanup_free char *inside = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		if (remove_name(spot, entry->d_name) == 0 || strcmp(prefix, HALF_MADE) != 0)
			continue;
		inside = path_join(spot->folder, entry->d_name);
		if (!inside)
			return -ENOMEM;
		/* What stays shows: the folder cannot be removed. */
		(void)remove_leftovers(&(struct spot){ spot->files, spot->root, inside }, "");
		(void)remove_name(spot, entry->d_name);
	}
	return 0;
}

/* Give @name another one that is free, so that nobody takes it for a manifest. */
static int rename_aside(const struct spot *spot, const char *name, char **ret_aside)
{
	cleanup_free char *path = path_join(spot->folder, name);

	for (unsigned i = 0; path && i < 1000; i++) {
		cleanup_free char *aside = NULL;
		cleanup_free char *new_path = NULL;
		int r;

		if (asprintf(&aside, i ? "%s.unlisted-%u" : "%s.unlisted", name, i) < 0) {
			aside = NULL;
			return -ENOMEM;
		}
		new_path = path_join(spot->folder, aside);
		r = new_path ? spot->files->rename(spot->files->arg, path, new_path) : -ENOMEM;
		if (r == 0)
			*ret_aside = take_ptr(aside);
		if (r != -EEXIST)
			return r;
	}
	return path ? -EEXIST : -ENOMEM;
}

/* 1: the manifest says by its comment that it is one of those made unasked. */
static int says(const struct spot *spot, const char *name, const char *comment)
{
	cleanup_with(list_fini) struct list list = { 0 };
	cleanup_free char *bytes = NULL;
	cleanup_close int fd = open_beneath(spot->root, spot->folder, O_RDONLY | O_DIRECTORY, 0);
	unsigned long line;
	const char *why;
	size_t length = 0;
	int r = fd < 0 ? fd : read_file(fd, name, XML_DOCUMENT_MAX, &bytes, &length);

	if (r < 0)
		return r;
	r = list_read(bytes, length, &list, &why, &line);
	if (r < 0)
		return r == -EPROTO ? 0 : r;
	return list.comment && strcmp(list.comment, comment) == 0;
}

/* A manifest of this number that no chain names, of a run that was killed: out of the way. */
static int set_aside(const struct spot *spot, const struct history *history, const char *unasked,
		     struct verdict *verdict)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < history->unlisted_count; i++) {
		const char *name = history->unlisted[i];
		cleanup_free char *aside = NULL;

		if (strtoull(name, NULL, 10) != history->chain.count + 1)
			continue;
		r = unasked ? says(spot, name, unasked) : 0;
		if (r > 0) {
			r = remove_name(spot, name);
			continue;
		}
		if (r == 0)
			r = rename_aside(spot, name, &aside);
		if (r == 0)
			r = verdict_add(verdict, FINDING_NOTE, name,
					"no chain names it (a run was interrupted): now called %s",
					aside);
	}
	return r;
}

static int continue_history(const struct spot *scope, const char *unasked, struct history *history,
			    const struct list *list, struct next *next, struct verdict *verdict)
{
	cleanup_free char *folder = path_join(scope->folder, HISTORY_FOLDER);
	struct spot spot = { scope->files, scope->root, folder };
	struct generation_place place = { scope->files, folder, CHAIN_NAME };
	int r = folder ? set_aside(&spot, history, unasked, verdict) : -ENOMEM;

	if (r == 0)
		r = remove_leftovers(&spot, ".tmp-");
	return r < 0 ? r : generation_add(&place, &history->chain, next->name, list, next->c4);
}

/* Made beside, then given its name: a history without chain would be taken for a broken one. */
static int begin_history(const struct spot *scope, struct history *history, const struct list *list,
			 struct next *next)
{
	const struct manifest_files *files = scope->files;
	char name[sizeof(HALF_MADE) + 36], uuid[37];
	cleanup_free char *half = NULL;
	cleanup_free char *folder = path_join(scope->folder, HISTORY_FOLDER);
	struct generation_place place = { files, NULL, CHAIN_NAME };
	int r = remove_leftovers(scope, HALF_MADE);

	if (r == 0)
		r = uuid_make(uuid);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), HALF_MADE "%s", uuid);
	place.folder = half = path_join(scope->folder, name);
	if (!half || !folder)
		return -ENOMEM;
	r = files->make_folder(files->arg, half);
	if (r < 0)
		return r;
	r = generation_add(&place, &history->chain, next->name, list, next->c4);
	if (r == 0)
		r = files->rename(files->arg, half, folder);
	if (r < 0)
		(void)remove_leftovers(scope, HALF_MADE); /* the first error says more */
	return r;
}

int generation_name_length(const char *name)
{
	size_t length = strlen(name);

	if (length <= FOLDER_NAME_MAX)
		return (int)length;
	length = FOLDER_NAME_MAX;
	while (length && (name[length] & 0xc0) == 0x80)
		length--;
	return (int)length;
}

static char *manifest_name(const struct generation *generation, const struct history *history)
{
	const char *slash = strrchr(history->scope, '/');
	const char *folder = !*history->scope ? generation->name
			     : slash          ? slash + 1
					      : history->scope;
	char date[DATE_SIZE], *name;

	return asprintf(&name, "%04zu_%.*s_%sZ.mhl", history->chain.count + 1,
			generation_name_length(folder), folder,
			date_format(generation->now_ns, DATE_NAME, date)) < 0
		       ? NULL
		       : name;
}

static int write_one(const struct generation *generation, struct tree *tree, size_t i,
		     struct next *next, struct verdict *verdict)
{
	struct history *history = tree->histories[i];
	cleanup_with(list_fini) struct list list = { .kind = LIST_ASC,
						     .process = generation->process,
						     .created_ns = generation->now_ns,
						     .creator = generation->creator };
	const struct spot scope = { &generation->files, tree->fd, history->scope };
	cleanup_free char *folder = tree_path(history, HISTORY_FOLDER);
	int r = fill_list(generation, tree, history, next, &list);

	if (r < 0 || !folder)
		return r < 0 ? r : -ENOMEM;
	/* The document would be valid, but say nothing. */
	if (list.record_count == 0 && list.reference_count == 0)
		return 0;
	next[i].name = manifest_name(generation, history);
	if (!next[i].name)
		return -ENOMEM;
	if (history->chain.count == 0)
		r = begin_history(&scope, history, &list, &next[i]);
	else
		r = continue_history(&scope, generation->unasked, history, &list, &next[i],
				     verdict);
	return r < 0 ? r : verdict_wrote(verdict, folder, next[i].name);
}

int generation_write(const struct generation *generation, struct tree *tree,
		     struct verdict *verdict)
{
	struct next *next = calloc(tree->history_count, sizeof(*next));
	int r = next ? 0 : -ENOMEM;

	/* Those further down first: what is above refers to them. */
	for (size_t i = tree->history_count; r == 0 && i-- > 0;)
		r = write_one(generation, tree, i, next, verdict);
	for (size_t i = 0; next && i < tree->history_count; i++)
		free(next[i].name);
	free(next);
	return r;
}
