/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/folder.h"
#include "util/io.h"

/* One descriptor a level is open while walking. */
#define MAX_DEPTH 200

struct walk {
	struct tree *tree;
	const struct tree_options *options;
	char **ret_why;
	unsigned depth;
};

static int add_string(char ***list, size_t *count, const char *text)
{
	char **grown = reallocarray(*list, *count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*list = grown;
	grown[*count] = strdup(text);
	if (!grown[*count])
		return -ENOMEM;
	++*count;
	return 0;
}

static void node_free(struct node *node)
{
	if (!node)
		return;
	free(node->path);
	free(node->known);
	free(node->hashes);
	free(node->structure);
	free(node->previous);
	free(node);
}

static struct node *node_new(const char *path, const struct stat *st)
{
	struct node *node = calloc(1, sizeof(*node));
	const char *slash;

	if (!node)
		return NULL;
	node->path = strdup(path);
	if (!node->path) {
		node_free(node);
		return NULL;
	}
	slash = strrchr(node->path, '/');
	node->name = slash ? slash + 1 : node->path;
	node->folder = S_ISDIR(st->st_mode);
	node->size = (int64_t)st->st_size;
	node->mtime_ns = timespec_ns(st->st_mtim);
	return node;
}

/* The tree owns @node then, in any case. */
static int insert(struct tree *tree, struct node *node)
{
	uint64_t key = history_key(node->path);
	struct node **grown = tree->nodes;

	if ((tree->count & (tree->count - 1)) == 0)
		grown = reallocarray(tree->nodes, tree->count ? tree->count * 2 : 1,
				     sizeof(struct node *));
	if (grown)
		tree->nodes = grown;
	node->next = table_get(&tree->by_path, key);
	if (!grown || table_put(&tree->by_path, key, node) < 0) {
		node_free(node);
		return -ENOMEM;
	}
	tree->nodes[tree->count++] = node;
	return 0;
}

struct node *tree_find(const struct tree *tree, const char *path)
{
	struct node *node = table_get(&tree->by_path, history_key(path));

	while (node && strcmp(node->path, path) != 0)
		node = node->next;
	return node;
}

char *tree_path(const struct history *history, const char *path)
{
	return *path ? path_join(history->scope, path) : strdup(history->scope);
}

struct node *tree_add_file(struct tree *tree, const char *name, const struct stat *st)
{
	struct node *node = node_new(name, st), *root = tree->nodes[tree->count - 1];

	if (!node)
		return NULL;
	node->parent = root;
	node->history = root->own;
	if (insert(tree, node) < 0)
		return NULL;
	tree->nodes[tree->count - 1] = root; /* stays the last one */
	tree->nodes[tree->count - 2] = node;
	return node;
}

/* Walk ---------------------------------------------------------------------------------- */

static enum verdict_class fail(struct walk *walk, const char *path, int error)
{
	if (asprintf(walk->ret_why, "%s: %s", *path ? path : ".", error_text(error)) < 0)
		*walk->ret_why = NULL;
	return CLASS_UNREADABLE;
}

/* Put @path before *@why. */
static void say_where(char **why, const char *path)
{
	char *longer;

	if (!*path || !*why || asprintf(&longer, "%s: %s", path, *why) < 0)
		return;
	free(*why);
	*why = longer;
}

/*
 * Read the history in the folder @fd, if it has one, or if it is the root; the patterns of those
 * above hold in it too.
 */
static enum verdict_class enter_scope(struct walk *walk, int fd, struct node *folder)
{
	struct tree *tree = walk->tree;
	struct history **grown, *history;
	enum verdict_class class;
	int r = 0;

	if (*folder->path &&
	    (tree->only || faccessat(fd, HISTORY_FOLDER, F_OK, AT_SYMLINK_NOFOLLOW) != 0))
		return CLASS_OK;
	history = tree->only;
	class = history ? CLASS_OK : history_load(fd, folder->path, &history, walk->ret_why);
	if (class != CLASS_OK && class != CLASS_NO_HISTORY) {
		say_where(walk->ret_why, folder->path);
		history_free(history);
		return class;
	}
	free(*walk->ret_why);
	*walk->ret_why = NULL;
	grown = reallocarray(tree->histories, tree->history_count + 1, sizeof(*grown));
	if (!grown) {
		if (!tree->only)
			history_free(history);
		return fail(walk, folder->path, -ENOMEM);
	}
	tree->histories = grown;
	grown[tree->history_count++] = history;
	history->parent = folder->history;
	folder->own = history;
	for (size_t i = 0; r == 0 && !history->parent && i < walk->options->ignore_count; i++)
		r = history_add_pattern(history, walk->options->ignore[i]);
	return r < 0 ? fail(walk, folder->path, r) : CLASS_OK;
}

/* A folder of a history, whole or not. */
static bool is_ours(const char *name)
{
	return strcmp(name, HISTORY_FOLDER) == 0 ||
	       strncmp(name, HALF_MADE, strlen(HALF_MADE)) == 0;
}

static enum verdict_class walk_folder(struct walk *walk, int fd, struct node *folder);

static enum verdict_class walk_into(struct walk *walk, int parent_fd, struct node *folder)
{
	cleanup_close int fd =
		openat(parent_fd, folder->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return fail(walk, folder->path, -errno);
	if (walk->depth == MAX_DEPTH)
		return fail(walk, folder->path, -ELOOP);
	return walk_folder(walk, fd, folder);
}

/* One entry; in the first pass the folders, in the second the files. */
static enum verdict_class walk_entry(struct walk *walk, int fd, struct node *folder,
				     const char *name, bool folders)
{
	struct history *history = folder->own ? folder->own : folder->history;
	cleanup_free char *path = path_join(folder->path, name);
	struct tree *tree = walk->tree;
	enum verdict_class class;
	struct node *node;
	struct stat st;
	int r = 0;

	if (!path)
		return fail(walk, folder->path, -ENOMEM);
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(walk, path, -errno);
	if (S_ISDIR(st.st_mode) != folders)
		return CLASS_OK;
	if (folders && !walk->options->everything && is_ours(name))
		return CLASS_OK;
	if (history_ignores(history, path, folders))
		return CLASS_OK;
	if (!folders && !S_ISREG(st.st_mode)) {
		r = add_string(&tree->odd, &tree->odd_count, path);
		return r < 0 ? fail(walk, path, r) : CLASS_OK;
	}
	if (!xml_can_carry(name))
		r = add_string(&tree->unsayable, &tree->unsayable_count, path);
	node = r < 0 ? NULL : node_new(path, &st);
	if (!node)
		return fail(walk, path, -ENOMEM);
	node->parent = folder;
	node->history = history;
	if (folders) {
		class = walk_into(walk, fd, node);
		if (class != CLASS_OK) {
			node_free(node);
			return class;
		}
	}
	return insert(tree, node) < 0 ? fail(walk, path, -ENOMEM) : CLASS_OK;
}

static enum verdict_class walk_folder(struct walk *walk, int fd, struct node *folder)
{
	cleanup_with(names_fini) struct names names = { 0 };
	enum verdict_class class = enter_scope(walk, fd, folder);
	int copy, r;

	if (class != CLASS_OK)
		return class;
	copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = copy < 0 ? -errno : names_read(copy, SIZE_MAX, &names);
	if (r < 0)
		return fail(walk, folder->path, r);
	walk->depth++;
	for (size_t i = 0; class == CLASS_OK && i < names.count * 2; i++)
		class = walk_entry(walk, fd, folder, names.list[i % names.count], i < names.count);
	walk->depth--;
	return class;
}

/* What the histories know, at the nodes that they mean. */
static int join_known(struct tree *tree, struct history *history)
{
	struct known *known;
	size_t at = 0;
	uint64_t key;

	while (table_next(&history->known, &at, &key, (void **)&known)) {
		for (; known; known = known->next) {
			cleanup_free char *path = tree_path(history, known->path);
			struct node *node = path ? tree_find(tree, path) : NULL;
			struct known **grown;

			if (!path)
				return -ENOMEM;
			if (!node || node->folder != known->folder)
				continue;
			grown = reallocarray(node->known, node->known_count + 1, sizeof(*grown));
			if (!grown)
				return -ENOMEM;
			node->known = grown;
			grown[node->known_count++] = known;
		}
	}
	return 0;
}

enum verdict_class tree_load(struct tree *tree, const char *path,
			     const struct tree_options *options, char **ret_why)
{
	struct walk walk = { .tree = tree, .options = options, .ret_why = ret_why };
	enum verdict_class class;
	struct node *root;
	struct stat st;

	*ret_why = NULL;
	*tree = (struct tree){ .fd = -1, .only = options->only };
	table_init(&tree->by_path);
	tree->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree->fd < 0 || fstat(tree->fd, &st) < 0)
		return fail(&walk, path, -errno);
	root = node_new("", &st);
	if (!root)
		return fail(&walk, path, -ENOMEM);
	class = walk_folder(&walk, tree->fd, root);
	if (class != CLASS_OK) {
		node_free(root);
		return class;
	}
	if (insert(tree, root) < 0)
		return fail(&walk, path, -ENOMEM);
	/* Those further down first: the nearest has the first word. */
	for (size_t i = tree->history_count; i-- > 0;) {
		if (join_known(tree, tree->histories[i]) < 0)
			return fail(&walk, path, -ENOMEM);
	}
	return CLASS_OK;
}

void tree_fini(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++)
		node_free(tree->nodes[i]);
	for (size_t i = 0; i < tree->history_count; i++) {
		if (tree->histories[i] != tree->only)
			history_free(tree->histories[i]);
	}
	history_free(tree->only);
	for (size_t i = 0; i < tree->odd_count; i++)
		free(tree->odd[i]);
	for (size_t i = 0; i < tree->unsayable_count; i++)
		free(tree->unsayable[i]);
	free(tree->nodes);
	free(tree->histories);
	free(tree->odd);
	free(tree->unsayable);
	table_fini(&tree->by_path);
	close_fd_slot(&tree->fd);
	*tree = (struct tree){ .fd = -1 };
}
