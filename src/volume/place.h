/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Place: changes of the tree that other sites caused. Works on read-only volumes too; tells the
 * catalog in the order of the disk, and the kernel, whatever came of it. The syncer's thread, and
 * an import's for files with nothing in their place. Nothing is durable until place_sync().
 */
#include "catalog/sync.h"
#include "volume/tree.h"

struct place_file {
	const struct version_body *body;
	uint64_t content;      /* contents.id */
	enum file_state state; /* EVICTED or ANNOUNCED */
	unsigned flags;        /* enum node_flags */
};

/* Every folder of @path above its last part, made when missing. -ENOTDIR: a file is in the way. */
int place_parents(struct volume *volume, const char *path);

/* -EEXIST when something is there. */
int place_folder(struct volume *volume, const char *path, const struct version_body *body);
int place_link(struct volume *volume, const char *path, const struct version_body *body);

/*
 * A file with nothing resident: made beside and renamed into place. @replaces: the inode that must
 * be there now and goes (0: nothing may be there). -EEXIST, -ESTALE when it is otherwise.
 */
int place_file(struct volume *volume, const char *path, const struct place_file *file,
	       uint64_t replaces);

/* -EEXIST when something is at @to. */
int place_move(struct volume *volume, const char *from, const char *to);

/* The inode @id at @path goes; -ESTALE when another is there, -ENOTEMPTY. */
int place_remove(struct volume *volume, const char *path, uint64_t id);

/* Mode and mtime of what is at @path. -ESTALE unless it is @id. */
int place_attributes(struct volume *volume, const char *path, uint64_t id,
		     const struct version_body *body);

/*
 * 1 when at @path lies a placeholder of which nothing is here, and which a crash kept the
 * catalog from knowing: no byte is lost with it. *ret_id is its inode.
 */
int place_leftover(struct volume *volume, const char *path, uint64_t *ret_id);

/* 1 when something is at @path on disk, 0 not. */
int place_exists(struct volume *volume, const char *path);

/*
 * Nobody can open the file from now on until place_release(). -EBUSY while it is written or
 * worked on.
 */
int place_claim(struct volume *volume, uint64_t id, struct live **ret_live);
void place_release(struct live *live);

/* The folder @path had this mtime before: it has it again. For what is placed in it. */
int place_folder_mtime(struct volume *volume, const char *path, int64_t *ret_mtime_ns);
int place_restore_mtime(struct volume *volume, const char *path, int64_t mtime_ns);

/* All that was placed is on disk. */
int place_sync(struct volume *volume);

/* Remove what a crash left half made. */
int place_clean(struct volume *volume);
