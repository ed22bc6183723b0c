/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Target: which store, and which path in its volume, a person means.
 */
#include <stddef.h>

#include "control/client.h"

struct cli;

struct mount_entry {
	char *mountpoint; /* owned */
	char *store;      /* owned; what the mount says it comes from */
};

struct mounts {
	struct mount_entry *list; /* owned */
	size_t count;
};

/*
 * One line of /proc/self/mountinfo: 1 and the strings (owned by the caller) when it is a mount
 * of mediafs, 0 when not, -ENOMEM. Lines that are none are none of ours.
 */
int mountinfo_line(const char *line, struct mount_entry *ret_entry);

/* All mounts of mediafs, oldest first. Negative errno. */
int mounts_read(struct mounts *ret_mounts);
void mounts_fini(struct mounts *mounts);

struct target {
	char *store;      /* owned, absolute */
	char *path;       /* owned; relative to the volume's root, "" is the root */
	char *mountpoint; /* owned; NULL when it is not mounted */
};
void target_fini(struct target *target);

/*
 * By --store and @path (NULL: the whole volume): a path in a mounted volume, in STORE/tree, or
 * relative to the root of the store that is given (or the only one mounted). 0, or the exit
 * code: complained already.
 */
int target_find(struct cli *cli, const char *path, struct target *ret_target);

/* The store of the mounted volume (or the STORE/tree) that @path (absolute) lies in. Caller frees;
 * NULL: it lies in none. */
char *target_store_of(const char *path);

/* Open the client for @target. 0, or the exit code: complained already. */
int target_open(struct cli *cli, const struct target *target, struct client **ret_client);

/*
 * client_call() with complaints: 0 and the last line without error, or the exit code. @request:
 * reference taken. When the daemon does not answer in @timeout_ms that is an error here.
 */
int target_call(struct cli *cli, struct client *client, json_t *request, int timeout_ms,
		client_line_fn fn, void *arg, json_t **ret_final);

/* {"request": @name, "path": ...}; NULL without memory. */
json_t *target_request(const char *name, const char *path);

/* "MOUNTPOINT/path" as a person would write it (or "STORE:path"). Caller frees; NULL no memory. */
char *target_show(const struct target *target, const char *path);

/*
 * realpath() of as much of @path as can be looked at, and the rest as it is: announced files
 * are in no folder, and a dead mount cannot be looked at. Caller frees; NULL without memory.
 */
char *target_real_path(const char *path);
