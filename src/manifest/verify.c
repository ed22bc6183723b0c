/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/xml.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"

/* One file against all that is recorded of it. */
static int judge_file(struct verdict *verdict, const struct node *node, bool *ret_turned,
		      bool extras)
{
	bool any = !extras;
	int r = 0;

	for (size_t i = 0; i < node->known_count; i++) {
		for (size_t j = 0; r == 0 && j < node->hash_count; j++) {
			const struct list_hash *actual = &node->hashes[j];
			const struct list_hash *recorded =
				known_hash(node->known[i], actual->format);

			any = any || recorded;
			if (recorded && !list_hash_agrees(recorded, actual->bytes, ret_turned))
				r = verdict_add_hash(verdict, FINDING_DAMAGED, node->path, recorded,
						     actual);
		}
	}
	if (r == 0 && !any && !node->error)
		r = verdict_add(verdict, FINDING_NEW, node->path, NULL);
	return r;
}

static void want_recorded(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		struct node *node = tree->nodes[i];

		for (size_t j = 0; j < node->known_count; j++)
			node->wanted |= known_formats(node->known[j]);
	}
}

static const struct list *newest(const struct history *history)
{
	return history->list_count ? &history->lists[history->list_count - 1] : NULL;
}

static struct history *history_at(const struct tree *tree, const char *scope)
{
	for (size_t i = 0; i < tree->history_count; i++) {
		if (strcmp(tree->histories[i]->scope, scope) == 0)
			return tree->histories[i];
	}
	return NULL;
}

/* "A/ascmhl/0002_….mhl" as the scope "A" (caller frees) and the name of the file (in @path). */
static char *split_reference(const char *path, const char **ret_name)
{
	static const char middle[] = "/" HISTORY_FOLDER "/";
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) + 1 : 0;

	if (length <= strlen(middle) ||
	    memcmp(path + length - strlen(middle), middle, strlen(middle)) != 0)
		return NULL;
	*ret_name = slash + 1;
	return strndup(path, length - strlen(middle));
}

/*
 * A manifest says which manifests of histories below it belong to it: they have to be there,
 * unaltered.
 */
static int judge_reference(struct verdict *verdict, const struct tree *tree,
			   const struct history *history, const struct list_reference *reference)
{
	const char *name = NULL;
	cleanup_free char *scope = split_reference(reference->path, &name);
	cleanup_free char *path = scope ? tree_path(history, scope) : NULL;
	const struct history *below = path ? history_at(tree, path) : NULL;

	if (!below)
		return verdict_add(verdict, FINDING_HISTORY, reference->path,
				   "the history that this manifest belonged to is gone");
	for (size_t i = 0; i < below->chain.count; i++) {
		const struct chain_entry *entry = &below->chain.entries[i];

		if (strcmp(entry->path, name) != 0)
			continue;
		if (!entry->has_c4 || memcmp(entry->c4, reference->c4, HASH_MAX_BYTES) == 0)
			return 0;
		verdict->class = CLASS_ALTERED;
		free(verdict->why);
		return asprintf(&verdict->why,
				"%s: it is not the manifest that the history above it refers to",
				reference->path) < 0
			       ? -ENOMEM
			       : 0;
	}
	return verdict_add(verdict, FINDING_NOTE, reference->path,
			   "a manifest that the history above refers to is gone");
}

int verdict_histories(struct verdict *verdict, const struct tree *tree)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->history_count; i++) {
		const struct history *history = tree->histories[i];

		for (size_t j = 0; r == 0 && j < history->unlisted_count; j++) {
			cleanup_free char *folder = tree_path(history, HISTORY_FOLDER);
			cleanup_free char *path =
				folder ? path_join(folder, history->unlisted[j]) : NULL;

			r = path ? verdict_add(verdict, FINDING_NOTE, path,
					       "the chain does not name it: not looked at")
				 : -ENOMEM;
		}
		for (size_t j = 0; r == 0 && j < history->chain.count; j++) {
			const struct list *list = &history->lists[j];

			if (!history->chain.entries[j].has_c4)
				r = verdict_add(verdict, FINDING_NOTE,
						history->chain.entries[j].path,
						"the chain has no C4 of it: it cannot be checked");
			for (size_t k = 0; r == 0 && k < list->reference_count; k++)
				r = judge_reference(verdict, tree, history, &list->references[k]);
		}
	}
	return r;
}

/* Folders -------------------------------------------------------------------------------- */

/* Is the newest generation of @history about the tree as it is, histories below included? */
static bool is_current(const struct tree *tree, const struct history *history)
{
	const struct list *list = newest(history);

	for (size_t i = 0; i < tree->history_count; i++) {
		const struct history *below = tree->histories[i];
		bool found = false;

		if (below->parent != history)
			continue;
		for (size_t j = 0; below->chain.count && j < list->reference_count; j++)
			found = found || memcmp(list->references[j].c4,
						below->chain.entries[below->chain.count - 1].c4,
						HASH_MAX_BYTES) == 0;
		if (!found)
			return false;
	}
	return true;
}

static int judge_folder(struct verdict *verdict, const struct node *node,
			const struct list_hash *recorded, size_t count,
			const struct list_hash *actual, size_t actual_count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < actual_count; j++) {
			if (actual[j].format != recorded[i].format ||
			    memcmp(actual[j].bytes, recorded[i].bytes,
				   hash_bytes(recorded[i].format)) == 0)
				continue;
			return verdict_add_hash(verdict, FINDING_FOLDER,
						*node->path ? node->path : ".", &recorded[i],
						&actual[j]);
		}
	}
	return 0;
}

/* One record of a folder: a difference of either hash is one finding. */
static int judge_record(struct verdict *verdict, const struct node *node,
			const struct list_record *record)
{
	size_t before = verdict->count;
	int r = judge_folder(verdict, node, record->hashes, record->hash_count, node->hashes,
			     node->hash_count);

	if (r == 0 && verdict->count == before)
		r = judge_folder(verdict, node, record->structure, record->structure_count,
				 node->structure, node->structure_count);
	return r;
}

/* Folders that nobody recorded change the hashes of those above: 1 when there are some. */
static int new_folders(struct verdict *verdict, const struct tree *tree)
{
	int r = 0, found = 0;

	for (size_t i = 0; r == 0 && i < tree->count; i++) {
		const struct node *node = tree->nodes[i];

		if (!node->folder || !*node->path || node->known_count)
			continue;
		found = 1;
		r = verdict_add(verdict, FINDING_NOTE, node->path, "a new folder");
	}
	return r < 0 ? r : found;
}

/*
 * The hashes of folders that the newest generation has. Only where every file is as recorded:
 * otherwise they have to differ, and that is told by file.
 */
static int judge_folders(struct verdict *verdict, struct tree *tree)
{
	unsigned formats = 0;
	int r;

	if (verdict_judge(verdict) != CLASS_OK)
		return 0;
	for (size_t i = 0; i < tree->history_count; i++) {
		const struct list *list = newest(tree->histories[i]);

		for (size_t j = 0; list && j < list->root.hash_count; j++)
			formats |= HASH_BIT(list->root.hashes[j].format);
	}
	r = formats ? new_folders(verdict, tree) : 1;
	if (r != 0)
		return r < 0 ? r : 0;
	r = tree_hash_folders(tree, formats);
	for (size_t i = 0; r == 0 && i < tree->history_count; i++) {
		const struct history *history = tree->histories[i];
		const struct list *list = newest(history);

		if (!list || !list->root.hash_count || !is_current(tree, history))
			continue;
		r = judge_record(verdict, tree_find(tree, history->scope), &list->root);
		for (size_t j = 0; r == 0 && j < list->record_count; j++) {
			const struct list_record *record = &list->records[j];
			cleanup_free char *path = tree_path(history, record->path);
			const struct node *node = path ? tree_find(tree, path) : NULL;

			if (!path)
				r = -ENOMEM;
			else if (record->folder && node && node->folder)
				r = judge_record(verdict, node, record);
		}
	}
	return r;
}

/* The whole ------------------------------------------------------------------------------ */

static int run(struct tree *tree, const struct manifest_watch *watch, struct verdict *verdict,
	       bool extras)
{
	struct tree_progress progress;
	bool turned = false;
	int r;

	want_recorded(tree);
	r = tree_hash(tree, watch->tick, watch->arg, &progress);
	verdict->files = progress.files;
	verdict->bytes = progress.bytes;
	verdict->cached_files = progress.cached_files;
	for (size_t i = 0; r == 0 && i < tree->count; i++) {
		const struct node *node = tree->nodes[i];

		if (!node->folder)
			r = judge_file(verdict, node, &turned, extras);
	}
	if (r == 0)
		r = verdict_unreadable(verdict, tree);
	if (r == 0)
		r = verdict_missing(verdict, tree);
	if (r == 0 && extras)
		r = verdict_odd(verdict, tree);
	if (r == 0 && turned)
		r = verdict_add(verdict, FINDING_NOTE, "xxhash64",
				"these values are in the other order of bytes than their name "
				"says");
	return r;
}

/* Of one list: the folder that its paths are relative to. Caller frees. */
static char *root_of(const char *file, enum list_kind kind)
{
	static const char history[] = HISTORY_FOLDER "/";
	cleanup_free char *real = realpath(file, NULL);
	size_t length = real ? (size_t)(strrchr(real, '/') - real) : 0;

	if (!real)
		return NULL;
	/* ".../SCOPE/ascmhl/0001_....mhl" */
	if (kind == LIST_ASC && length >= strlen(history) &&
	    memcmp(real + length - strlen(history) + 1, history, strlen(history)) == 0 &&
	    real[length - strlen(history)] == '/')
		length -= strlen(history);
	return length ? strndup(real, length) : strdup("/");
}

/* Old readers drop white space around names, so writers may have put some there. */
static int trim_names(struct list *list, const char *root)
{
	cleanup_close int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	static const char space[] = " \t\r\n";
	struct stat st;

	for (size_t i = 0; fd >= 0 && i < list->record_count; i++) {
		const char *path = list->records[i].path, *start = path + strspn(path, space);
		size_t length = strlen(start);
		cleanup_free char *trimmed = NULL;

		while (length && strchr(space, start[length - 1]))
			length--;
		if (length == strlen(path) || fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		trimmed = strndup(start, length);
		if (!trimmed)
			return -ENOMEM;
		if (!path_ok(trimmed))
			continue;
		free(list->records[i].path);
		list->records[i].path = take_ptr(trimmed);
	}
	return 0;
}

/* What is said of sizes comes first: a file of another size is not read at all. */
static int judge_sizes(struct verdict *verdict, struct tree *tree)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->count; i++) {
		struct node *node = tree->nodes[i];
		int64_t size = node->known_count ? node->known[0]->records[0]->size : -1;

		if (node->folder || size < 0 || size == node->size)
			continue;
		r = verdict_add(verdict, FINDING_SIZE, node->path,
				"%lld bytes recorded, %lld are there", (long long)size,
				(long long)node->size);
		node->known_count = 0;
	}
	return r;
}

static int set_why(struct verdict *verdict, enum verdict_class class, const char *file,
		   unsigned long line, const char *why)
{
	int r = line ? asprintf(&verdict->why, "%s: line %lu: %s", file, line, why)
		     : asprintf(&verdict->why, "%s: %s", file, why);

	verdict->class = class;
	if (r >= 0)
		return 0;
	verdict->why = NULL;
	return -ENOMEM;
}

/* The chain or collection beside @file, where there is one that names it, has its C4. */
static int judge_c4(struct verdict *verdict, const char *file, const void *bytes, size_t length)
{
	static const char *const names[] = { CHAIN_NAME, COLLECTION_NAME };
	const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
	uint8_t c4[HASH_MAX_BYTES];
	int r = history_c4(bytes, length, c4);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++) {
		cleanup_free char *path = NULL;
		cleanup_free char *text = NULL;
		struct chain chain = { 0 };
		unsigned long line;
		const char *why;
		size_t size;

		if (asprintf(&path, "%.*s%s", (int)(name - file), file, names[i]) < 0)
			return -ENOMEM;
		if (read_file(AT_FDCWD, path, XML_DOCUMENT_MAX, &text, &size) < 0 ||
		    chain_read(text, size, &chain, &why, &line) < 0) {
			chain_fini(&chain);
			continue;
		}
		for (size_t j = 0; j < chain.count; j++) {
			if (strcmp(chain.entries[j].path, name) == 0 && chain.entries[j].has_c4 &&
			    memcmp(chain.entries[j].c4, c4, sizeof(c4)) != 0)
				r = set_why(verdict, CLASS_ALTERED, file, 0,
					    "it was altered: its C4 is not that of the chain");
		}
		chain_fini(&chain);
		if (verdict->class != CLASS_OK)
			break;
	}
	return r;
}

/* Read @file; when it is no list, that is the verdict. */
static int load_list(struct verdict *verdict, const char *file, struct list *ret_list)
{
	cleanup_free char *bytes = NULL;
	unsigned long line = 0;
	const char *why;
	size_t length;
	int r = read_file(AT_FDCWD, file, XML_DOCUMENT_MAX, &bytes, &length);

	if (r < 0)
		return set_why(verdict, CLASS_UNREADABLE, file, 0, error_text(r));
	r = list_read(bytes, length, ret_list, &why, &line);
	if (r == -EPROTO)
		return set_why(verdict, CLASS_UNREADABLE, file, line, why);
	return r < 0 ? r : judge_c4(verdict, file, bytes, length);
}

static int verify_tree(const char *root, struct tree_options *options, enum list_kind kind,
		       bool extras, const struct manifest_watch *watch, struct verdict *verdict)
{
	cleanup_with(tree_fini) struct tree tree = { .fd = -1 };
	int r = 0;

	verdict->class = tree_load(&tree, root, options, &verdict->why);
	if (verdict->class != CLASS_OK)
		return verdict->why ? 0 : -ENOMEM;
	if (kind == LIST_LEGACY)
		r = judge_sizes(verdict, &tree);
	if (r == 0)
		r = run(&tree, watch, verdict, extras);
	verdict->class = verdict_judge(verdict);
	return r;
}

int manifest_verify_list(const char *file, const char *root, const struct manifest_watch *watch,
			 struct verdict *ret_verdict)
{
	cleanup_with(list_fini) struct list list = { 0 };
	cleanup_free char *place = NULL;
	struct tree_options options = { 0 };
	enum list_kind kind;
	bool extras;
	int r;

	*ret_verdict = (struct verdict){ 0 };
	r = load_list(ret_verdict, file, &list);
	if (r < 0 || ret_verdict->class != CLASS_OK)
		return r;
	kind = list.kind;
	/* Only a packing list tells of all that there is. */
	extras = kind == LIST_ASC && list.process == PROCESS_FLATTEN;
	options.everything = kind == LIST_LEGACY;
	place = root ? strdup(root) : root_of(file, kind);
	options.only = place ? history_new("") : NULL;
	r = options.only ? 0 : -ENOMEM;
	if (r == 0 && kind == LIST_LEGACY)
		r = trim_names(&list, place);
	for (size_t i = 0; r == 0 && i < list.ignore_count; i++)
		r = history_add_pattern(options.only, list.ignore[i]);
	if (r == 0)
		r = history_append(options.only, &list);
	if (r < 0) {
		history_free(options.only);
		return r;
	}
	return verify_tree(place, &options, kind, extras, watch, ret_verdict);
}

int manifest_load(const char *path, const struct tree_options *options, struct tree *tree,
		  struct verdict *verdict)
{
	verdict->class = tree_load(tree, path, options, &verdict->why);
	if (verdict->class == CLASS_OK && tree->histories[0]->chain.count == 0) {
		verdict->class = CLASS_NO_HISTORY;
		verdict->why = strdup("there is no history (folder " HISTORY_FOLDER ")");
	}
	if (verdict->class != CLASS_OK)
		return verdict->why ? 0 : -ENOMEM;
	return verdict_histories(verdict, tree);
}

int manifest_verify(const char *path, const struct manifest_watch *watch,
		    struct verdict *ret_verdict)
{
	const struct tree_options options = { 0 };
	cleanup_with(tree_fini) struct tree tree = { .fd = -1 };
	int r;

	*ret_verdict = (struct verdict){ 0 };
	r = manifest_load(path, &options, &tree, ret_verdict);
	if (r < 0 || ret_verdict->class != CLASS_OK)
		return r;
	r = run(&tree, watch, ret_verdict, true);
	if (r == 0)
		r = judge_folders(ret_verdict, &tree);
	ret_verdict->class = verdict_judge(ret_verdict);
	return r;
}
