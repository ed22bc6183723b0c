/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tree: a folder as it is on disk, with the histories in it, and the hashes of its files.
 *
 * Symbolic links and special files are not followed: they are listed apart.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "manifest/history.h"

struct node {
	char *path;       /* owned; relative to the tree, "" is its root */
	const char *name; /* in path */
	struct node *parent;
	struct node *next; /* the same hash of the path */
	bool folder;
	int64_t size, mtime_ns;
	struct history *history; /* borrowed: whose records tell of it; the root has none above */
	struct history *own;     /* borrowed: a folder that is the scope of this one; NULL */

	struct known *
		*known; /* owned array: what is recorded of it, by the nearest history first */
	size_t known_count;

	unsigned wanted;                      /* formats to hash */
	struct list_hash *hashes, *structure; /* owned; structure: of folders */
	size_t hash_count, structure_count;
	int error;      /* why it could not be read */
	char *previous; /* owned: what it was called, of its history's scope; NULL: not renamed */
};

/*
 * Where hashes come from without reading: 0, and every wanted one is in node->hashes, in the order
 * of the formats; a negative errno when they cannot be had. Called by several threads.
 */
typedef int (*tree_known)(void *arg, struct node *node);

struct tree {
	int fd;              /* owned: the root */
	struct node **nodes; /* owned; folders behind what they hold, the root last */
	size_t count;
	struct table by_path;
	struct history **histories; /* owned; a scope before those in it */
	struct history *only;       /* owned; the one of the options */
	size_t history_count;
	char **odd; /* owned strings: symbolic links and special files */
	size_t odd_count;
	char **unsayable; /* owned strings: names that XML cannot carry */
	size_t unsayable_count;
	tree_known known; /* NULL: files are read */
	void *arg;        /* of @known; borrowed */
};

struct tree_options {
	char *const *ignore; /* patterns besides those of the histories */
	size_t ignore_count;
	struct history *only; /* the tree takes it: all is its scope, no other is read; NULL */
	bool everything;      /* nothing is left out, folders of histories neither */
};

/*
 * Walk the folder @path. CLASS_OK, also without a history (then the top one is empty); what else
 * history_load() says; CLASS_UNREADABLE with *ret_error when that is why.
 * tree_fini() in any case.
 */
enum verdict_class tree_load(struct tree *tree, const char *path,
			     const struct tree_options *options, char **ret_why);
void tree_fini(struct tree *tree);

struct node *tree_find(const struct tree *tree, const char *path);

/* A file that came to be since, in the root. NULL without memory. */
struct node *tree_add_file(struct tree *tree, const char *name, const struct stat *st);

/* A path in the scope of @history, from the root of the tree. Caller frees. */
char *tree_path(const struct history *history, const char *path);

struct tree_progress {
	uint64_t files, bytes, of_files, of_bytes, cached_files;
};

/* Called now and then by the thread that called; not 0 stops. */
typedef int (*tree_tick)(void *arg, const struct tree_progress *progress);

/*
 * Hash every file that is wanted in some format, several at once, past the page cache. What
 * cannot be read has its error in its node. -ECANCELED when @tick said so; -ENOMEM.
 * @ret_progress: the last of them.
 */
int tree_hash(struct tree *tree, tree_tick tick, void *arg, struct tree_progress *ret_progress);

/* The value of @format; NULL. */
const struct list_hash *node_hash(const struct node *node, enum hash_format format);

/*
 * Content and structure of every folder in the formats @formats, as far as all that they hold
 * has them. -ENOMEM, -EIO.
 */
int tree_hash_folders(struct tree *tree, unsigned formats);
