/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/news.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/xml.h"
#include "util/cleanup.h"
#include "util/io.h"

/* The latest hash of @format, failed ones too; NULL. */
static const struct list_hash *latest_hash(const struct known *known, enum hash_format format)
{
	for (size_t i = known->count; i-- > 0;) {
		const struct list_record *record = known->records[i];

		for (size_t j = 0; j < record->hash_count; j++) {
			if (record->hashes[j].format == format)
				return &record->hashes[j];
		}
	}
	return NULL;
}

/* Some format tells of it as it is, none otherwise. */
static bool tells_of(const struct history *history, const char *path, const struct node *node)
{
	const struct known *known = history_find(history, path);
	bool told = false;

	for (size_t i = 0; known && i < node->hash_count; i++) {
		const struct list_hash *hash = &node->hashes[i];
		const struct list_hash *latest = latest_hash(known, hash->format);

		if (latest && memcmp(latest->bytes, hash->bytes, hash_bytes(hash->format)) != 0)
			return false;
		told = told || latest;
	}
	return told;
}

bool news_for_history(const struct tree *tree, const char *unasked)
{
	for (size_t i = 0; i < tree->history_count; i++) {
		const struct history *history = tree->histories[i];
		const struct list *newest =
			history->list_count ? &history->lists[history->list_count - 1] : NULL;

		if (!newest || !newest->comment || strcmp(newest->comment, unasked) != 0)
			return true;
	}
	for (size_t i = 0; i < tree->count; i++) {
		const struct node *node = tree->nodes[i];

		if (!node->folder &&
		    !tells_of(node->history, history_relative(node->history, node->path), node))
			return true;
	}
	return false;
}

static bool is_list(const struct node *node)
{
	return !node->folder && !strchr(node->path, '/') && history_is_manifest(node->name);
}

/* 1: the list @name does; 0: not, or it cannot be read. */
static int list_tells(const struct tree *tree, const char *name)
{
	cleanup_with(list_fini) struct list list = { 0 };
	cleanup_free char *bytes = NULL;
	struct history *history;
	unsigned long line;
	const char *why;
	size_t length;
	bool tells = true;
	int r = read_file(tree->fd, name, XML_DOCUMENT_MAX, &bytes, &length);

	if (r == 0)
		r = list_read(bytes, length, &list, &why, &line);
	if (r < 0 || list.kind != LIST_LEGACY)
		return r == -ENOMEM ? r : 0;
	history = history_new("");
	r = history ? history_append(history, &list) : -ENOMEM;
	for (size_t i = 0; r == 0 && tells && i < tree->count; i++) {
		const struct node *node = tree->nodes[i];

		tells = node->folder || is_list(node) || tells_of(history, node->path, node);
	}
	history_free(history);
	return r < 0 ? r : tells;
}

int news_for_list(const struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		int r = is_list(tree->nodes[i]) ? list_tells(tree, tree->nodes[i]->name) : 0;

		if (r != 0)
			return r < 0 ? r : 0;
	}
	return 1;
}
