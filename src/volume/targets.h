/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Targets: the files and folders below a path that a person named. */
#include "catalog/nodes.h"
#include "volume/volume.h"

struct target {
	uint64_t id, size;
	bool is_file;
	char *path; /* owned */
};

/* Collected before anything is done: the catalog is not called back from its own walk. */
struct targets {
	struct target *list; /* owned */
	size_t count, room;
};
void targets_fini(struct targets *targets);

/* @path ("" the root) and all below, added to @targets. -ENOENT. */
int targets_find(struct volume *volume, const char *path, struct targets *targets);

/* What is at @path. -ENOENT. */
int target_node(struct volume *volume, const char *path, struct node_row *ret_row);

/*
 * Files below TARGET_LARGE are fetched so many at a time, as senders send small ones: what costs is
 * waiting for the answer. Of larger ones one is: its blocks keep the hydrator busy, and it is here
 * soon.
 */
#define TARGETS_SIDE_BY_SIDE 8u
#define TARGET_LARGE (64ull << 20)

/* All of the file @id is here when it returns 0: hydrate_all(). */
int target_fetch(struct volume *volume, uint64_t id);
