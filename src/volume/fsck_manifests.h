/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the manifests in the tree say of files, for a catalog that is made anew: without it nobody
 * else remembers what was received. One thread.
 */
#include "volume/fsck_parts.h"

struct fsck_manifests *fsck_manifests_new(void);
void fsck_manifests_free(struct fsck_manifests *manifests);
DEFINE_CLEANUP(struct fsck_manifests *, fsck_manifests_free)

/* A name of the tree: kept if it is a history or a list. -ENOMEM. */
int fsck_manifests_see(struct fsck_manifests *manifests, const char *path, mode_t mode);

/*
 * Is @file, which was read back, what they say? 0, also when none tells of it; 1 with @detail for a
 * person. Reads the file once more when none has its XXH3-128. Manifests that cannot be read are
 * told once and left out.
 */
int fsck_manifests_judge(struct fsck *fsck, struct fsck_manifests *manifests,
			 const struct fsck_file *file, char *detail, size_t size);
