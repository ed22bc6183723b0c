/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Source: one file that is looked at, read-only. In a store's tree blocks may be absent
 * (store/residency.h): they are never read, since the hole that is there would pass for zeros, and
 * never asked for.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "store/residency.h"

/* No file's metadata takes more to read; through a mount it also bounds what is fetched. */
#define SOURCE_MAX_BYTES (64ull << 20)

struct source {
	int fd; /* owned */
	uint64_t size, position;
	uint64_t left; /* bytes that may still be read */
	bool partial;  /* residency says what is here; else all is */
	bool absent;   /* something was asked for that is not here */
	bool failed;   /* something could not be read */
	struct timespec ctime;
	struct residency residency;
};

/*
 * Open the regular file @path; with @root (not -1) it lies beneath that folder, and no symbolic
 * link is followed. -errno of opening, -EINVAL no regular file, -EUCLEAN its residency cannot be
 * read.
 */
int source_open(int root, const char *path, struct source *ret_source);
void source_close(struct source *source);

/*
 * At most @length bytes from the position on, which moves; 0 at the end. -ENODATA: they are not
 * here; -EFBIG: too much was read.
 */
ssize_t source_read(struct source *source, void *buffer, size_t length);

/*
 * True when all that was asked for was here and could be read, and nobody has changed the file
 * since it was opened (evicting counts).
 */
bool source_was_whole(const struct source *source);

/* @whence: SEEK_SET, SEEK_CUR, SEEK_END. The new position or -EINVAL. */
int64_t source_seek(struct source *source, int64_t offset, int whence);
