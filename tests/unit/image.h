/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A small file system in a file, mounted by loop device: for tests of full and lying disks.
 * Needs root and mkfs; image_new() gives NULL, with a line of why, where that is missing.
 */
#include "test.h"

struct image {
	char *file;  /* the disk's bytes */
	char *mount; /* where it is mounted */
};

/* @type: "ext4", "xfs", "tmpfs" (no file then); mount options after a comma. Lies in @dir. */
struct image *image_new(const struct scratch *dir, const char *type, unsigned megabytes);
void image_free(struct image *image); /* unmounts */
static inline void image_free_slot(struct image **slot)
{
	image_free(*slot);
}

/* Change one byte of the disk under @path's byte @offset, past every cache of the mount. */
void image_flip(const struct image *image, const char *path, uint64_t offset);
