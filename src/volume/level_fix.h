/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the leveller writes for what level_walk() finds. Inside volume/ only.
 *
 * A file that differs is received again: a new generation from what is on disk. One of which only
 * mode or ctime differ keeps its state and is the first to be scrubbed: a person who touched
 * nothing but its attributes loses nothing, and changed bytes are found out.
 */
#include "volume/level_walk.h"

/* A descriptor for reading on the regular file that @find is about; -ESTALE when it is another. */
int level_open(struct store *store, const struct level_find *find);

/*
 * The row that @find's inode should have (not for LEVEL_MISSING). Reads the catalog and the
 * file's residency xattr; a file that was evicted and lost its xattr gets it back (no block
 * counts as resident then). -ESTALE: it is another inode by now.
 */
int level_make_row(struct store *store, struct catalog *catalog, const struct level_find *find,
		   struct node_row *ret_row);

/* Queue it: the inode, and the name (of LEVEL_ADDED). What it replaces is kept: it may have moved.
 */
int level_put_row(struct catalog *catalog, const struct level_find *find,
		  const struct node_row *row);

/* The name is gone. Told as an event "missing" for each verified file that goes with it, unless
 * @moved says that the inode has another name. */
int level_remove(struct catalog *catalog, const struct level_find *find,
		 bool (*moved)(void *arg, uint64_t id), void *arg);
