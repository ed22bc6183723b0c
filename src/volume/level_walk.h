/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where tree and catalog differ: found here, judged by nobody. The leveller and fsck decide
 * what to do. Inside volume/ only. No live files, no kernel: works on a store that is not mounted.
 */
#include "catalog/nodes.h"
#include "store/residency.h"
#include "store/store.h"

enum level_kind {
	LEVEL_SAME,
	LEVEL_ADDED,   /* the tree has the name, the catalog has not, or with another inode */
	LEVEL_CHANGED, /* another type, size or mtime */
	LEVEL_TOUCHED, /* only mode or ctime differ */
	LEVEL_MARKED,  /* the residency xattr says other than the catalog's state */
	LEVEL_MISSING, /* the catalog has the name, the tree has not */
};

struct level_find {
	enum level_kind kind;
	uint64_t parent;
	const char *name; /* borrowed, as is @path (relative to the tree) */
	const char *path;
	uint64_t id;    /* of what is there; LEVEL_MISSING: of what was */
	struct stat st; /* not with LEVEL_MISSING */
	bool has_row;
	struct node_row row; /* the catalog's of @id, when @has_row */
	uint64_t replaces;   /* LEVEL_ADDED: what the catalog has under this name, 0 nothing */
};

/* "added", "changed", ... Static. */
const char *level_kind_name(enum level_kind kind);

/* A value other than 0 stops the walk and is returned. */
typedef int (*level_find_fn)(void *arg, const struct level_find *find);

/*
 * Every name, parents first. @fn hears of the differences only. *ret_nodes: names seen. Folders
 * that cannot be read are an error; other file systems mounted inside are left out. -ECANCELED soon
 * after *@stop became true (NULL: never).
 */
int level_walk(struct store *store, struct catalog *catalog, const _Atomic bool *stop,
	       level_find_fn fn, void *arg, uint64_t *ret_nodes);

/*
 * Every name that both have, with nodes of one type: @known in the catalog, @id in the tree. As
 * level_walk(), which takes a number for the same node in both.
 */
typedef int (*level_name_fn)(void *arg, uint64_t known, uint64_t id);
int level_walk_names(struct store *store, struct catalog *catalog, const _Atomic bool *stop,
		     level_name_fn fn, void *arg);

/* As store_open_path() without O_CREAT, for paths of any length: the kernel's limit is no limit of
 * a tree. */
int level_open_path(struct store *store, const char *path, int flags);

/*
 * Look at one name again, now. LEVEL_SAME also when its folder is no longer at that path. Strings
 * in *ret_find are those of @path.
 */
int level_look(struct store *store, struct catalog *catalog, uint64_t parent, const char *path,
	       struct level_find *ret_find);
