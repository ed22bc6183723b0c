/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Spot: a path of our tree whose folder is entered (see tree_begin()). For place*.c only. */
#include "volume/place.h"

#define PLACE_PREFIX TREE_OWN_PREFIX "place-"

struct spot {
	struct tree_change change;
	const char *name, *other_name; /* last parts of the paths given; borrowed */
};

/* @other may be NULL. -ENOENT or -ENOTDIR: no such folder. */
int spot_enter(struct volume *volume, const char *path, const char *other, struct spot *ret_spot);
void spot_leave(struct spot *spot);

/* The folder that @path lies in: O_PATH, its id, and the last part of @path. */
int spot_folder(struct volume *volume, const char *path, int *ret_fd, uint64_t *ret_id,
		const char **ret_name);

/* Mode and mtime of @body to @fd (O_PATH), the owner when it was just made. */
int spot_dress(const struct spot *spot, int fd, const struct version_body *body, bool is_new);

/* O_PATH of what is at @spot if it is @id; -ESTALE. */
int spot_open(const struct spot *spot, uint64_t id, struct stat *ret_st);
