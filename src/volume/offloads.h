/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Offloads: which folders of a volume are cards, and how far their files are. Told anew from the
 * tree each time, so that there is nothing that could be out of date, after a crash, a rebuild, or
 * at a site that only sees the tree.
 */
#include "card/card.h"
#include "catalog/nodes.h"

/* A name below an offload; folders end with '/'. */
struct offload_name {
	char *path; /* owned; relative to the root */
	struct node_row row;
};

struct offload {
	uint64_t id;                               /* of the folder's node */
	char *path;                                /* owned; "" is the volume's root */
	struct card *card;                         /* owned; its families lie in the rules */
	uint64_t files, verified, stored, damaged; /* all files, junk too */
	bool unfinished; /* `mediafs offload` is filling it, or was and did not come to its end */
	const struct offload_name *names; /* all below it, as card->places; borrowed */
	size_t name_count;
	const char *same_reel; /* path of another offload of that reel, borrowed from it; or NULL */
	uint64_t other_bytes;  /* files whose paths are there too, with other verified bytes */
	const char *other_bytes_path; /* the first of them, borrowed; below the offload */
};

struct offloads {
	struct offload *list; /* owned, by path */
	size_t count;
	struct offload_name *names; /* owned; of all that was looked at, by path */
	size_t name_count;
};

/*
 * The offloads at and below the folder @id, whose path is @path. @rules must outlive them. Memory:
 * about 250 bytes a name. -ENOMEM, -EUCLEAN, -E2BIG: there are more than @most names.
 */
int offloads_find(struct catalog *catalog, const struct card_rules *rules, uint64_t id,
		  const char *path, size_t most, struct offloads *ret_offloads);
void offloads_fini(struct offloads *offloads);

struct volume;

/*
 * 1: *ret_path (borrowed from @offload) is a clip that looks as if its copy was broken off, so that
 * neither manifest nor seal is made for now; 0: none does. May block.
 */
int offload_broken_off(struct volume *volume, const struct offload *offload, const char **ret_path);

/* "arriving" (a file is not verified yet), "verified", "stored" (all are), "damaged" (one is),
 * "empty"; static. */
const char *offload_state(const struct offload *offload);
