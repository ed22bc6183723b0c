/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Media: what the clips of an offload say of themselves. mediafs-probe(1), a program beside this
 * one, looks at files that are here; what another look would say again is kept in the catalog by
 * content, and told from there when the bytes are here no more. Nothing is fetched. Any thread; may
 * block for seconds, so never one that somebody waits for.
 */
#include "util/json.h"
#include "volume/offloads.h"

struct catalog;
struct store;

enum media_kind {
	MEDIA_FIRST,   /* of a clip's files of picture or sound, by path */
	MEDIA_SEGMENT, /* a further one, which makes the clip longer */
	MEDIA_SIDECAR, /* XML */
	MEDIA_OTHER,   /* only for whether it is whole: other tracks, the last frame */
};

struct media_file {
	const struct offload_name *name; /* borrowed from the offload */
	uint32_t clip;                   /* index in its card */
	enum media_kind kind;
	json_t *said; /* owned; see probe/fields.h; "error" says why there is nothing. NULL: it was
		       * not looked at */
};

struct media {
	struct media_file *files; /* owned; by path */
	size_t count;
	const char *error; /* static: why nobody could look; NULL: somebody did */
};

/*
 * 1: *ret_path (borrowed from @offload), and *ret_files in all, are files that by what is kept of
 * them are shorter than the lengths in them say. 0: none. -ENOMEM, or what the catalog says.
 */
int media_cut_off(struct catalog *catalog, const struct offload *offload, const char **ret_path,
		  uint64_t *ret_files);

/* By what is kept of the content: the bytes it would have if it were whole; 0: it seems to be. */
int media_whole_bytes(struct catalog *catalog, uint64_t content, uint64_t *ret_bytes);

/* Which files of @offload tell of its clips; none is looked at yet. -ENOMEM. */
int media_of(const struct offload *offload, struct media *ret_media);
void media_fini(struct media *media);

struct media_look {
	struct catalog *catalog;
	const struct store *store;
	/* Several times a second; other than 0 ends the look and is returned. Or NULL. */
	int (*tick)(void *arg, size_t done, size_t count);
	void *arg;
};

/*
 * Have each of @media's files say what it can. -ENOMEM, or what tick says, or the catalog when it
 * is read. What cannot be kept (it is read-only, its disk is full) is looked at again.
 */
int media_look(const struct media_look *look, struct media *media);
