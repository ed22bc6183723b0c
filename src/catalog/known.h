/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Known: for whoever has bytes and asks whether the volume has them. A content is found with
 * catalog_find_content(); this says which files have it now. Without a catalog_barrier() before,
 * what is still queued is not seen.
 */
#include "catalog/nodes.h"

struct known_file {
	struct node_row node;
	int64_t checked_ns; /* when its bytes here were last read back and matched, 0 never */
	char *path;         /* owned; one of its names, relative to the root */
};

/*
 * The files that have @content, by id, at most @max; those without a name are no files. An array
 * that known_files_free() frees, all of one moment.
 */
int catalog_get_files(struct catalog *catalog, uint64_t content, size_t max,
		      struct known_file **ret_files, size_t *ret_count);
void known_files_free(struct known_file *files, size_t count);

/* The file at @path. 1 found (free(ret_file->path)), 0 there is no regular file. */
int catalog_get_file(struct catalog *catalog, const char *path, struct known_file *ret_file);

/* known_file.checked_ns of the file @id. 1 found, 0 not. */
int catalog_get_checked(struct catalog *catalog, uint64_t id, int64_t *ret_checked_ns);

/* 1: a content of @size bytes exists, or did; 0 not. */
int catalog_has_size(struct catalog *catalog, uint64_t size);
