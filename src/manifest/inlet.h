/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Inlet: a folder into which files from outside come, by checked relative paths. No symbolic link
 * is followed on the way, nothing is written over; a file has another name until it is finished.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hash/digest.h"

struct inlet {
	int fd;        /* borrowed: the folder */
	char *parent;  /* owned: the path of parent_fd; NULL: none */
	int parent_fd; /* owned; -1: none. The folder used last */
};

void inlet_init(struct inlet *inlet, int fd);
void inlet_fini(struct inlet *inlet);

/* Make the folder @path and those above. 1: it was not there. -ENOTDIR: something else is. */
int inlet_folder(struct inlet *inlet, const char *path);

/*
 * Begin the file @path: a descriptor, for inlet_finish() or inlet_drop(). -EEXIST: something is
 * there under its name.
 */
int inlet_begin(struct inlet *inlet, const char *path);

/* All @length bytes at @offset. */
int inlet_write(int fd, const void *bytes, size_t length, uint64_t offset);

/* Close @fd and give the file its name. @mtime_ns: NO_TIME leaves it. -EEXIST: it is taken now. */
int inlet_finish(struct inlet *inlet, const char *path, int fd, mode_t mode, int64_t mtime_ns);

/* Close @fd and remove the file, which has no name of its own yet. */
void inlet_drop(struct inlet *inlet, const char *path, int fd);

/*
 * The digest of the file that is there as @path: what @known says (1), else by reading it. -EISDIR
 * when it is no regular file.
 */
int inlet_digest(struct inlet *inlet, const char *path,
		 int (*known)(void *arg, int fd, struct digest *ret_digest), void *arg,
		 struct digest *ret_digest);

/*
 * Make a link: symbolic to the text @target, or (@hard) to the file of the path @target.
 * 1: made; 0: the very same is there; -EEXIST: something else is.
 */
int inlet_link(struct inlet *inlet, const char *path, const char *target, bool hard);

/* Mode and time of a folder. */
int inlet_attributes(struct inlet *inlet, const char *path, mode_t mode, int64_t mtime_ns);
