/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of tier/ share. Included only inside tier/. */
#include <stdatomic.h>

#include "hash/readback.h"
#include "tier/tier.h"

#define TIER_IDENTITY_KEY ".mediafs/v1/tier.json"
#define TIER_IDENTITY_MAX 65536
#define TIER_FORMAT_VERSION 1

/*
 * tier.json: what a place is.
 *   format   number, TIER_FORMAT_VERSION
 *   tier     UUID of this place
 *   volume   UUID of the volume whose files it holds
 */
struct tier_identity {
	char tier_uuid[37];
	char volume_uuid[37];
};

/* -EUCLEAN not one, -EPROTONOSUPPORT made by a newer mediafs. */
int identity_parse(const void *bytes, size_t length, struct tier_identity *ret_identity);

/* Caller frees; NULL without memory. */
char *identity_format(const struct tier_identity *identity);

/* A key of ours, below ".mediafs/". */
bool small_key_ok(const char *key);

extern const struct tier_backend dir_backend;
extern const struct tier_backend s3_backend;

/* Directory tier: dir.c, dir_put.c ----------------------------------------------------- */

struct dir_tier {
	struct tier tier;
	char *root;        /* owned; absolute path */
	atomic_bool swept; /* what crashed puts left was looked for */
};

/*
 * Errors of system calls on the place: -EHOSTDOWN for all the ways in which it can be gone,
 * -EREMOTEIO for failing media, -ENOSPC for quotas too; the others as they are.
 */
int dir_error(int error);

/*
 * What a readback_file() of @fd that gave @r and @source says about the place: -EBADMSG for an
 * object cut or grown meanwhile (a server's own ESTALE is -EHOSTDOWN), -EREMOTEIO when the
 * bytes came from the cache and nothing was proven.
 */
int dir_readback_error(int fd, int r, enum readback_source source);

/*
 * The root folder, opened anew for each call so that the place can be unmounted between them.
 * What is done through the descriptor is done in the place whose identity was checked. A
 * descriptor, or -EHOSTDOWN.
 */
int dir_open_root(const struct dir_tier *dir);

/* Open @path beneath @root_fd without following any symlink. A descriptor or dir_error(). */
int dir_open_beneath(int root_fd, const char *path, int flags);

enum store_object_flags { OBJECT_REPLACE = 1 << 0 };

/* put() and put_small() for a key that was checked. */
int dir_store_object(struct dir_tier *dir, const char *key, const struct tier_object *object,
		     const struct tier_source *source, enum store_object_flags flags);

/* Remove what crashed puts left in the folder of temporary files, a day old or more at @now_ns. */
void dir_sweep(int temp_dir_fd, int64_t now_ns);
