/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of tier/ share. Included only inside tier/. */
#include <stdatomic.h>

#include "hash/readback.h"
#include "tier/tier.h"
#include "util/thread.h"

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

#define TEMP_FOLDER ".mediafs/v1/tmp/"
#define TEMP_PREFIX "part-"

/* The name of a temporary file that is being written: "part-OWNER-UUID", "part-UUID" of nobody. */
struct temp_name {
	struct temp_name *prev, *next;
	char text[sizeof(TEMP_PREFIX) + 36 + 1 + 36];
};

struct dir_tier {
	struct tier tier;
	char *root;        /* owned; absolute path */
	atomic_bool swept; /* what earlier puts left was looked for, and none failed since */

	struct mutex lock;       /* rank 93; guards the rest */
	struct temp_name *temps; /* borrowed from the puts at work */
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

/* Make a new name and note it: dir_temp_end() when nothing has that name any more. */
int dir_temp_begin(struct dir_tier *dir, struct temp_name *temp);
void dir_temp_end(struct dir_tier *dir, struct temp_name *temp);

/*
 * Remove what earlier puts left in the folder of temporary files: of the tier's owner all that is
 * not being written now, of others what is a day old or more at @now_ns.
 */
void dir_sweep(struct dir_tier *dir, int temp_dir_fd, int64_t now_ns);

/* The same, in the place open as @root_fd, unless it was done since the last put that failed. */
void dir_sweep_once(struct dir_tier *dir, int root_fd);
