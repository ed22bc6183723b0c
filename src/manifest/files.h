/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Files: how manifests get onto the disk: directly, or (in the daemon of a volume) through what
 * keeps account of every file. Paths are relative to the folder that the manifests are about.
 * All return 0 or a negative errno; what they did is durable then.
 */
#include <stddef.h>

struct manifest_files {
	/* Make the folder @path; the one above it is there. -EEXIST. */
	int (*make_folder)(void *arg, const char *path);
	/* Let @path have these bytes, all at once: nobody sees a part of them. */
	int (*write)(void *arg, const char *path, const void *bytes, size_t length);
	/* In the same folder. -EEXIST when something is called @new_path already. */
	int (*rename)(void *arg, const char *path, const char *new_path);
	/* A file or an empty folder. */
	int (*remove)(void *arg, const char *path);
	/* 1: the folder @path is sealed, so nothing can be written there; 0. NULL: that may be. */
	int (*is_sealed)(void *arg, const char *path);
	void *arg;
};

/* Directly: @fd is the folder, borrowed for as long as the result is used. */
struct manifest_files manifest_files_of(const int *fd);
