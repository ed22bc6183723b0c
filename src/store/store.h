/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Store: the directory a site owns.
 *
 *   mediafs.conf   settings (store/settings.h)
 *   store.json     format version, site UUID and name, volume UUID
 *   catalog.db     catalog/
 *   tree/          the files under their own names
 *   run/           lock, control socket, log; may be emptied while nothing is mounted
 *
 * Knows nothing of the catalog. Safe from any thread after store_open().
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "store/settings.h"
#include "util/cleanup.h"

#define STORE_FORMAT_VERSION 1

struct store {
	char *path;           /* absolute, owned */
	int root_fd;          /* the store's directory */
	int tree_fd;          /* O_PATH | O_DIRECTORY of tree/ */
	int mount_fd;         /* tree/ opened for reading, for open_by_handle_at() */
	int mount_id;         /* of tree/: what lies on another mount has no handle here */
	int lock_fd;          /* run/lock, -1 when opened without lock */
	uint64_t tree_device; /* st_dev of tree/ */
	uint64_t tree_ino;    /* backing inode number of tree/ itself */
	char site_uuid[37];
	char volume_uuid[37];
	char site_name[64];
	bool joined;    /* made by init --join: read-only mounts by default */
	bool by_handle; /* open_by_handle_at() works here */
};

struct store_identity {
	const char *site_name;
	const char *volume_uuid; /* NULL: a new volume */
	bool joined;
};

/*
 * Make a store in @path (made when missing; must be empty, "lost+found" does not count). Writes
 * @settings_text (may be NULL) as mediafs.conf. -EEXIST if it already is a store,
 * -ENOTEMPTY, -EINVAL for a site name that is empty, longer than 63 bytes or has other than
 * letters, digits, '-', '_' and '.', or settings that cannot be read. Nothing half made is left on
 * failure.
 */
int store_create(const char *path, const struct store_identity *identity,
		 const char *settings_text);

enum store_flags {
	STORE_LOCK = 1 << 0, /* exclusive: -EBUSY while another process has it */
};

/* -ENOENT not a store, -EUCLEAN unknown layout, -EPROTONOSUPPORT newer format, -EBUSY. */
int store_open(const char *path, enum store_flags flags, struct store **ret_store);
void store_close(struct store *store);
DEFINE_CLEANUP(struct store *, store_close)

/* Whether the folder @path is a store, of whatever version. */
bool store_is_at(const char *path);

/* The process that holds the lock, 0 when nobody does. */
pid_t store_locked_by(const char *path);

/* Absolute path of a file in the store: "catalog.db", "run/control". Caller frees. */
char *store_file(const struct store *store, const char *name);

/*
 * Open @path (relative, "" = tree itself) beneath tree/ with openat2 RESOLVE_BENEATH |
 * RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS. A descriptor or a negative errno.
 */
int store_open_path(const struct store *store, const char *path, int flags, mode_t mode);

/* Backing inode number of @st as a node id: the tree's own folder is 1 (CATALOG_ROOT). */
uint64_t store_node_id(const struct store *store, const struct stat *st);

/*
 * Handle: finds a backing inode again without a descriptor. @bytes come from
 * name_to_handle_at(); where that is not allowed @length is 0 and the caller keeps names.
 */
struct store_handle {
	uint32_t type;
	uint8_t length;
	uint8_t bytes[40];
};
int store_make_handle(const struct store *store, int fd, struct store_handle *ret_handle);
int store_open_handle(const struct store *store, const struct store_handle *handle, int flags);

/*
 * Which tree/ and which catalog.db (if there is one) these are, as text: their inode numbers, times
 * of birth and handles. The same for as long as both live, on whatever machine; another one after a
 * copy. Caller frees.
 */
int store_tree_name(const struct store *store, char **ret_name);

/* Open again what @path_fd (O_PATH) names, by /proc/self/fd. */
int store_reopen(int path_fd, int flags);
