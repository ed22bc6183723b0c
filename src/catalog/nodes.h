/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Names and inodes. A node's id is the inode number of its backing file: stable across
 * remounts, one number everywhere. A hard-linked file has one row here and several names.
 * The root's id is CATALOG_ROOT whatever the backing folder's inode number is.
 */
#include "catalog/catalog.h"
#include "catalog/state.h"

#define CATALOG_ROOT 1ull
#define NAME_MAX_BYTES 255

enum node_flags {
	NODE_PINNED = 1 << 0, /* never evicted, fetched when absent; of a folder: handed down */
	NODE_SEALED = 1 << 1, /* a folder, by itself: volume/seals.h */
};

struct node_row {
	uint64_t id;
	uint32_t mode; /* type and permissions, as st_mode */
	uint64_t size; /* bytes */
	int64_t mtime_ns;
	int64_t ctime_ns;      /* of the backing inode when last looked at */
	uint64_t generation;   /* rises when a closed file is written again; 0 for non-files */
	enum file_state state; /* 0 for non-files */
	int64_t state_ns;      /* since when */
	uint64_t content;      /* contents.id, 0 until verified */
	unsigned flags;        /* enum node_flags */
	uint64_t resident_bytes;
	int error; /* negative errno that sticks to this generation, 0 if none */
};

/* Writing (queued; see catalog.h) ------------------------------------------------- */

/*
 * Insert or replace the inode row: of a new node, or of one found to differ from the tree.
 * For files the state is as given, with generation, and the content reference as given.
 */
int catalog_put_node(struct catalog *catalog, const struct node_row *row);

/* Attributes only; content and state stay. */
int catalog_set_attributes(struct catalog *catalog, uint64_t id, uint32_t mode, uint64_t size,
			   int64_t mtime_ns, int64_t ctime_ns);
int catalog_set_flags(struct catalog *catalog, uint64_t id, unsigned set, unsigned clear);

/* After catalog_put_node(). (@parent, @name) is @id now, whatever it was. @name: any bytes but '/'
 * and NUL, 1 to 255. It is pinned when what was called so is, else when @parent is and has no
 * other name for it. */
int catalog_put_name(struct catalog *catalog, uint64_t parent, const char *name, uint64_t id);

/* The same, but what was called so stays, if without a name: it may get another one. Ended by
 * catalog_drop_node(). */
int catalog_replace_name(struct catalog *catalog, uint64_t parent, const char *name, uint64_t id);

/* The name is gone; a node without names is deleted with it (its content row stays), and all
 * below it. */
int catalog_remove_name(struct catalog *catalog, uint64_t parent, const char *name);

/* @id is deleted, if it has no name: catalog_put_node() was for nothing, or it lost it. */
int catalog_drop_node(struct catalog *catalog, uint64_t id);

enum move_flags { MOVE_EXCHANGE = 1 << 0 };

/*
 * One row changes, however large the folder; what was at the target is removed. What comes into a
 * pinned folder that it was not in, or in the place of what is pinned, is pinned with all below
 * (then each of these rows changes); what leaves one keeps its mark.
 */
int catalog_move_name(struct catalog *catalog, uint64_t parent, const char *name,
		      uint64_t new_parent, const char *new_name, enum move_flags flags);

/* NODE_PINNED of @id and of all below it, in one transaction: what comes later is either found
 * there or gets the folder's mark. */
int catalog_set_pin(struct catalog *catalog, uint64_t id, bool pinned);

/*
 * Files that were pinned by where they came, and are not here; each is told once. Returns how many,
 * at most @max; 0 with *ret_more: others could not be remembered, all are to be looked through.
 * Call catalog_barrier() before their rows are read.
 */
size_t catalog_take_wanted(struct catalog *catalog, uint64_t *ret_ids, size_t max, bool *ret_more);

/* Reading ----------------------------------------------------------------------------- */

/* 1 found, 0 not. */
int catalog_get_node(struct catalog *catalog, uint64_t id, struct node_row *ret_row);
int catalog_lookup(struct catalog *catalog, uint64_t parent, const char *name,
		   struct node_row *ret_row);

/* @path relative to the root ("" is the root; no leading slash). 1 found, 0 not. */
int catalog_lookup_path(struct catalog *catalog, const char *path, struct node_row *ret_row);

/* A path of @id (the first of a hard-linked file's), relative. 1 found (caller frees), 0 not. */
int catalog_path_of(struct catalog *catalog, uint64_t id, char **ret_path);

/* The parents of all names of @id, at most @max. Returns the count. */
int catalog_parents_of(struct catalog *catalog, uint64_t id, uint64_t *ret_parents, size_t max);

/* Called for each; a value other than 0 stops the walk and is returned. Do not call back into
 * writing-and-waiting from it. */
typedef int (*catalog_node_fn)(void *arg, const char *name, const struct node_row *row);

int catalog_each_child(struct catalog *catalog, uint64_t parent, catalog_node_fn fn, void *arg);

/* Every name under @id, parents first; @name is the path relative to the root. */
int catalog_each_under(struct catalog *catalog, uint64_t id, catalog_node_fn fn, void *arg);

/* Every file whose state is in @state_mask (1u << state), by id from @after on. @name is NULL. */
int catalog_each_file(struct catalog *catalog, unsigned state_mask, uint64_t after,
		      catalog_node_fn fn, void *arg);

/* Pinned folders with an id above @after, ascending, at most @max; how many. Walks all rows. */
int catalog_get_pinned_folders(struct catalog *catalog, uint64_t after, uint64_t *ret_ids,
			       size_t max);

/* Totals for status, by state: kept up to date by the database, never counted. */
struct catalog_totals {
	uint64_t files[FILE_STATE_COUNT];
	uint64_t bytes[FILE_STATE_COUNT];
	uint64_t resident_bytes; /* of evicted and hydrating files */
	uint64_t nodes;
};
int catalog_get_totals(struct catalog *catalog, struct catalog_totals *ret_totals);

/* Totals under one folder (counted). */
int catalog_totals_under(struct catalog *catalog, uint64_t id, struct catalog_totals *ret_totals);

/* Extended attributes that the backing file system refused (DESIGN D1). */
int catalog_set_xattr(struct catalog *catalog, uint64_t id, const char *name, const void *value,
		      size_t size);
int catalog_remove_xattr(struct catalog *catalog, uint64_t id, const char *name);
/* 1 found (caller frees), 0 not. */
int catalog_get_xattr(struct catalog *catalog, uint64_t id, const char *name, void **ret_value,
		      size_t *ret_size);
/* NUL-separated names; caller frees; *ret_size 0 when none. */
int catalog_list_xattr(struct catalog *catalog, uint64_t id, char **ret_names, size_t *ret_size);
