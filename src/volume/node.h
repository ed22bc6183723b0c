/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Nodes: the inodes the kernel knows. No descriptor per node: a file handle where we may
 * use them, else parent and name (checked on use by inode number), plus an O_PATH
 * descriptor only for nodes that lost their last name while known.
 */
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

/* A path for logs and events, from the catalog or the names known; "?" when none. Caller frees. */
char *volume_path_of(struct volume *volume, uint64_t id);
