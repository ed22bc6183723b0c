/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Mount points: what is there, what may be mounted over, and the end of a mount. */
#include <stdbool.h>

/*
 * Check that the store at @store may be mounted on @mountpoint; a stale mount of ours there (its
 * daemon died) is removed first. The absolute path is *ret_path (caller frees). Errors were
 * logged: -ENOENT, -ENOTDIR, -EBUSY in use, -EINVAL in the store, -ENOTCONN stale but not ours, ...
 */
int mountpoint_check(const char *mountpoint, const char *store, char **ret_path);

/* Type of the topmost mount on @path ("fuse.mediafs"; caller frees): 1 found, 0 not mounted. */
int mountpoint_type(const char *path, char **ret_type);

/*
 * Whether a mount of @type from @source is one of mediafs: by its type, or, of another subtype,
 * when a store is its source. Looks at the disk then.
 */
bool mountpoint_is_ours(const char *type, const char *source);

/* The kernel's number of the connection behind the topmost mount on @path: 1 found, 0 not ours. */
int mountpoint_connection(const char *path, unsigned *ret_connection);

/* 1 when a mount of ours shows @source as its source, 0 not. */
int mountpoint_of_source(const char *source);
