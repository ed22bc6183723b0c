/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Folder: what a folder holds, and paths below it that do not lead out of it.
 */
#include <stddef.h>
#include <sys/types.h>

/*
 * Open @path below the folder @root: never through a symbolic link, nor out of it. @flags as
 * open(2), O_CLOEXEC and O_NOFOLLOW are added; @mode of what O_CREAT makes, else 0. "" is the
 * folder itself. A descriptor or a negative errno.
 */
int open_beneath(int root, const char *path, int flags, mode_t mode);

struct names {
	char **list; /* owned strings */
	size_t count, room;
};

/*
 * The names in the folder @fd (taken), sorted by bytes; @ret_names is empty before, names_fini() in
 * any case. An error in the middle of a folder is one (fts(3) would take it for the end), with the
 * names that came before it. -E2BIG: more than @most. -ENOMEM.
 */
int names_read(int fd, size_t most, struct names *ret_names);
void names_fini(struct names *names);
