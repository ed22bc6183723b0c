/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Nodes: the inodes the kernel knows. No descriptor per node: a file handle where we may
 * use them, else parent and name (checked on use by inode number), plus an O_PATH
 * descriptor only for nodes that lost their last name while known.
 */
#include <stdatomic.h>

#include "volume/internal.h"

struct nodes *nodes_new(struct store *store); /* NULL without memory */
void nodes_free(struct nodes *nodes);

/* The kernel learnt of @fd's inode once more (or for the first time) at (@parent, @name). Fills
 * @ret_entry's generation. */
int nodes_remember(struct nodes *nodes, int path_fd, const struct stat *st, uint64_t parent,
		   const char *name, uint64_t *ret_generation);
void nodes_forget(struct nodes *nodes, uint64_t id, uint64_t count);

/* A descriptor on the node (the caller closes it); @flags O_PATH or as open(2). -ESTALE gone. */
int nodes_open(struct nodes *nodes, uint64_t id, int flags);

/* The name was renamed or removed: keep the node reachable. @path_fd: O_PATH of it, borrowed. */
void nodes_renamed(struct nodes *nodes, uint64_t id, uint64_t parent, const char *name);
void nodes_unnamed(struct nodes *nodes, uint64_t id, int path_fd);

/* The path by the names known, relative; 1 found (caller frees), 0 not. */
int nodes_path(struct nodes *nodes, uint64_t id, char **ret_path);

/*
 * From @id up to the root (which is not given): @fn hears each with its name; what it gives other
 * than 0 ends it. 0 at the root, -ESTALE when the way is not known. @fn runs under our lock.
 */
int nodes_climb(struct nodes *nodes, uint64_t id,
		int (*fn)(void *arg, uint64_t id, const char *name), void *arg);

/* Only one thread at a time is between enter and leave of a folder. @b may be 0. -ENOMEM. */
int nodes_enter(struct nodes *nodes, uint64_t a, uint64_t b);
void nodes_leave(struct nodes *nodes, uint64_t a, uint64_t b);

/*
 * May the kernel go on with the list of names that it keeps of the folder @id? Only while it
 * knows the inodes, too: else reading the folder again is cheaper than a question for each.
 *
 * A reader takes nodes_changes() before the first name and hands it to nodes_listed() after the
 * last, with how many names there were; what nodes_names_changed() told meanwhile undoes it.
 */
bool nodes_list_is_kept(struct nodes *nodes, uint64_t id);
uint32_t nodes_changes(struct nodes *nodes, uint64_t id);
void nodes_listed(struct nodes *nodes, uint64_t id, uint32_t changes, uint32_t names);
void nodes_names_changed(struct nodes *nodes, uint64_t id); /* not through the kernel */

uint64_t nodes_known(struct nodes *nodes); /* how many; for tests and status */

/* Whether attributes are kept in the catalog, and how far what was queued can be read. */
enum { XATTRS_UNKNOWN, XATTRS_NONE, XATTRS_SOME };
struct nodes_xattrs {
	atomic_int used;
	_Atomic uint64_t written, settled;
	bool labels; /* SELinux runs here; constant */
};
struct nodes_xattrs *nodes_xattrs(struct nodes *nodes);

/* A path for logs and events, from the catalog or the names known; "?" when none. Caller frees. */
char *volume_path_of(struct volume *volume, uint64_t id);
