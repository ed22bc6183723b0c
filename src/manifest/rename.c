/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/rename.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash/digest.h"
#include "util/cleanup.h"

/* Of a history: what is recorded and not there. */
struct lost {
	struct history *history;
	struct known *known;
	enum hash_format format; /* of its first good hash */
	int64_t size;            /* -1: not recorded */
};

struct losses {
	struct lost *list; /* owned */
	size_t count;
};

static void losses_fini(struct losses *losses)
{
	free(losses->list);
}

static bool is_lost(const struct tree *tree, const struct history *history,
		    const struct known *known, int *ret_error)
{
	cleanup_free char *path = tree_path(history, known->path);
	const struct node *node = path ? tree_find(tree, path) : NULL;

	if (!path)
		*ret_error = -ENOMEM;
	return path && !known->moved && !node && !history_ignores(history, path, known->folder);
}

static int add_lost(struct losses *losses, struct history *history, struct known *known)
{
	struct lost *grown = reallocarray(losses->list, losses->count + 1, sizeof(*grown));
	struct lost lost = { .history = history, .known = known };

	if (!grown)
		return -ENOMEM;
	losses->list = grown;
	lost.size = known->records[known->count - 1]->size;
	if (known_first_format(known, &lost.format))
		grown[losses->count++] = lost;
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct lost *)a)->known->path, ((const struct lost *)b)->known->path);
}

/* Files only, sorted by path: so that equal ones are paired the same way each time. */
static int find_losses(const struct tree *tree, struct losses *losses)
{
	int r = 0;

	for (size_t i = 0; i < tree->history_count; i++) {
		struct history *history = tree->histories[i];
		struct known *known;
		size_t at = 0;
		uint64_t key;

		while (table_next(&history->known, &at, &key, (void **)&known)) {
			for (; known && r == 0; known = known->next) {
				if (!known->folder && known->count &&
				    is_lost(tree, history, known, &r))
					r = add_lost(losses, history, known);
			}
		}
	}
	if (losses->count)
		qsort(losses->list, losses->count, sizeof(*losses->list), by_path);
	return r;
}

static bool is_new(const struct node *node)
{
	return !node->folder && !node->previous &&
	       !history_find(node->history, history_relative(node->history, node->path));
}

int rename_want(struct tree *tree)
{
	cleanup_with(losses_fini) struct losses losses = { 0 };
	int r = find_losses(tree, &losses);
	struct table sizes; /* size + 2 -> formats, as a number */

	table_init(&sizes);
	for (size_t i = 0; r == 0 && i < losses.count; i++) {
		uint64_t key = (uint64_t)losses.list[i].size + 2;
		uintptr_t formats = (uintptr_t)table_get(&sizes, key);

		formats |= HASH_BIT(losses.list[i].format);
		r = table_put(&sizes, key, (void *)formats);
	}
	for (size_t i = 0; r == 0 && losses.count && i < tree->count; i++) {
		struct node *node = tree->nodes[i];

		if (node->folder || !is_new(node))
			continue;
		node->wanted |= (unsigned)(uintptr_t)table_get(&sizes, (uint64_t)node->size + 2);
		node->wanted |= (unsigned)(uintptr_t)table_get(&sizes, 1); /* of no known size */
	}
	table_fini(&sizes);
	return r;
}

/* Pairs --------------------------------------------------------------------------------- */

/* One hash of a new file, findable by its value. */
struct entry {
	struct node *node;
	const struct list_hash *hash;
	struct entry *next;
};

static uint64_t key_of(const struct list_hash *hash)
{
	uint64_t key = block_hash(hash->bytes, hash_bytes(hash->format)) + (uint64_t)hash->format;

	return key ? key : 1;
}

static int index_new(const struct tree *tree, struct table *table, struct entry **ret_entries)
{
	size_t count = 0, used = 0;
	struct entry *entries;

	for (size_t i = 0; i < tree->count; i++)
		count += tree->nodes[i]->hash_count;
	entries = calloc(count + 1, sizeof(*entries));
	*ret_entries = entries;
	if (!entries)
		return -ENOMEM;
	/* Backwards, so that the first of equal ones is found first. */
	for (size_t i = tree->count; i-- > 0;) {
		struct node *node = tree->nodes[i];

		for (size_t j = 0; !node->folder && is_new(node) && j < node->hash_count; j++) {
			struct entry *entry = &entries[used++];
			uint64_t key = key_of(&node->hashes[j]);

			*entry = (struct entry){ node, &node->hashes[j], table_get(table, key) };
			if (table_put(table, key, entry) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The new file that @lost is now: one of the same name before others. NULL. */
static struct node *match(const struct table *table, const struct lost *lost)
{
	const struct list_hash *hash = known_hash(lost->known, lost->format);
	struct node *found = NULL;

	for (const struct entry *entry = table_get(table, key_of(hash)); entry;
	     entry = entry->next) {
		if (entry->node->previous || entry->node->history != lost->history ||
		    entry->hash->format != hash->format ||
		    memcmp(entry->hash->bytes, hash->bytes, hash_bytes(hash->format)) != 0)
			continue;
		if (strcmp(entry->node->name, last_name(lost->known->path)) == 0)
			return entry->node;
		if (!found)
			found = entry->node;
	}
	return found;
}

/*
 * The folders above @node and above what it was called: the same move, as long as the names below
 * agree, the old folder is gone and the new one is not known.
 */
static int rename_folders(struct tree *tree, struct node *node)
{
	cleanup_free char *old = strdup(node->previous);
	struct history *history = node->history;
	int r = 0;

	if (!old)
		return -ENOMEM;
	while (strcmp(last_name(old), node->name) == 0 && strchr(old, '/') && node->parent &&
	       *node->parent->path && node->parent->history == history) {
		struct known *known;

		*strrchr(old, '/') = '\0';
		node = node->parent;
		known = history_find(history, old);
		if (node->previous || !known || !known->folder || node->known_count ||
		    !is_lost(tree, history, known, &r))
			return r;
		node->previous = strdup(old);
		if (!node->previous)
			return -ENOMEM;
		known->moved = true;
	}
	return 0;
}

int rename_find(struct tree *tree)
{
	cleanup_with(losses_fini) struct losses losses = { 0 };
	cleanup_free struct entry *entries = NULL;
	int r = find_losses(tree, &losses);
	struct table table;

	if (r < 0 || losses.count == 0)
		return r;
	table_init(&table);
	r = index_new(tree, &table, &entries);
	for (size_t i = 0; r == 0 && i < losses.count; i++) {
		struct node *node = match(&table, &losses.list[i]);

		if (!node)
			continue;
		node->previous = strdup(losses.list[i].known->path);
		losses.list[i].known->moved = true;
		r = node->previous ? rename_folders(tree, node) : -ENOMEM;
	}
	table_fini(&table);
	return r;
}
