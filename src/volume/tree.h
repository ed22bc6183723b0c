/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tree: changes of names on disk, and the catalog told in the same order. Inside volume/ only.
 *
 * A change of a folder's names happens between tree_begin() and tree_end(): only one at a time
 * per folder, so what the catalog's queue hears of a name has the order that the disk saw.
 * (The kernel serialises per folder too, but the syncer does not come through the kernel.)
 */
#include "volume/file.h"
#include "volume/live.h"
#include "volume/node.h"

/* Names that are ours within the tree: not shown, not to be made. */
#define TREE_OWN_PREFIX ".mediafs-"
bool tree_name_is_ours(const char *name);

/* 0, -ENOENT for a name of ours, -ENAMETOOLONG, -EINVAL. To make it: -EPERM for ours. */
int tree_check_name(const char *name);
int tree_check_new_name(const char *name);

/*
 * A descriptor on the inode @id, known to the kernel or not (then found through the
 * catalog): the caller closes it. @flags: O_PATH or as open(2). -ESTALE: no such inode. Opening
 * other than O_PATH is for regular files and folders only (-ENXIO: a fifo would block).
 */
int tree_open(struct volume *volume, uint64_t id, int flags);

/* st_ino, st_blocks and ctime as they are to be shown (HACKING, Residency). @fd: O_PATH is fine. */
int volume_show_stat(struct volume *volume, int fd, struct stat *st);

struct tree_change {
	struct volume *volume;
	uint64_t parent, other; /* folders entered; @other 0 when it is one */
	int fd, other_fd;       /* O_PATH of them, owned */
};

/* -EROFS; the catalog's sticky error (nothing changes on disk that it could not hear of). @other
 * may be 0. */
int tree_begin(struct volume *volume, uint64_t parent, uint64_t other,
	       struct tree_change *ret_change);

/* The same to remove a name: also while the catalog cannot be written, so that room can be made. */
int tree_begin_removal(struct volume *volume, uint64_t parent, struct tree_change *ret_change);
void tree_end(struct tree_change *change); /* a zeroed change is fine */

/* Of both: the folders of @change are ours, and what is done there can be told to the catalog. */
int tree_enter(const struct tree_change *change);

/*
 * (parent, @name) of @change was just made on disk and is @path_fd: remember the node for
 * the kernel and queue node and name for the catalog. A regular file takes state and
 * generation from @live (held; NULL for others).
 */
int tree_made(struct tree_change *change, const char *name, int path_fd, struct live *live,
	      struct volume_entry *ret_entry);

/* The inode row of @st, with state and generation of @live (NULL for what is no file). */
int tree_queue_node(struct volume *volume, const struct stat *st, struct live *live);

/* Mode, size and times of @st (as the backing file system gives it) changed. */
int tree_queue_attributes(struct volume *volume, const struct stat *st);

/*
 * A name of the inode @path_fd went. The descriptor was opened before and stays open until
 * the catalog has been told: until then the number cannot be given to another inode, whose
 * rows the catalog would confuse with these.
 */
void tree_lost_name(struct volume *volume, int path_fd);

/* Hand @fd's inode (@st: its stat as the backing file system gives it) to the kernel. -EXDEV. */
int tree_entry(struct volume *volume, int fd, const struct stat *st, uint64_t parent,
	       const char *name, struct volume_entry *ret_entry);

/*
 * Make the regular file @name exclusively (-EEXIST) as @caller and open it. Everything is done:
 * names, catalog, nodes, *ret_live (counted, as live_create() gives it), *ret_fd open with
 * @flags (access mode and O_NOATIME and the like; O_APPEND and O_DIRECT are dropped).
 */
int tree_create_file(struct volume *volume, const struct caller *caller, uint64_t parent,
		     const char *name, mode_t mode, int flags, struct volume_entry *ret_entry,
		     struct live **ret_live, int *ret_fd);

/* The same without a name: live->unlinked until volume_link() gives it one. No catalog row yet. */
int tree_create_tmpfile(struct volume *volume, const struct caller *caller, uint64_t parent,
			mode_t mode, int flags, struct volume_entry *ret_entry,
			struct live **ret_live, int *ret_fd);
