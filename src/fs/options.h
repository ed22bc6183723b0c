/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Options of a mount, as in -o of mount(8) and the fourth field of fstab(5). */
#include <stdbool.h>

enum fs_access {
	FS_ACCESS_DEFAULT, /* read-only for a joined site, else read and write */
	FS_ACCESS_READ_ONLY,
	FS_ACCESS_READ_WRITE,
};

enum fs_verify { FS_VERIFY_DEFAULT, FS_VERIFY_ASYNC, FS_VERIFY_CLOSE };
enum fs_allow { FS_ALLOW_DEFAULT, FS_ALLOW_OTHER, FS_ALLOW_OWNER };

struct volume;

/* What runs beside the mount: the control socket. @stop is called only when @start gave 0. */
struct fs_hooks {
	void *arg;
	int (*start)(void *arg, struct volume *volume); /* the volume is open, not yet mounted */
	void (*stop)(void *arg);                        /* before the volume is closed */
};

struct fs_options {
	char *store;                  /* owned */
	char *mountpoint;             /* owned */
	const struct fs_hooks *hooks; /* borrowed; may be NULL */
	bool foreground;
	bool remount; /* change flags of what is mounted already */

	enum fs_access access;
	enum fs_verify verify;
	enum fs_allow allow;
	bool show_pending;
	bool uring;
	char *fsname;  /* owned; NULL: the store's path */
	char *subtype; /* owned; NULL: "mediafs" */

	/* MS_* of mount(2) asked for and asked off; nosuid and nodev hold unless asked off. */
	unsigned long set_flags, clear_flags;
};

/* Everything at its default; @store and @mountpoint are copied. -ENOMEM. */
int fs_options_init(struct fs_options *options, const char *store, const char *mountpoint);
void fs_options_fini(struct fs_options *options);

/*
 * Take over a comma-separated list ("ro,verify=close"); "\," is a comma within a value. Later
 * ones win. What mount(8), fstab(5) and systemd say for themselves is accepted and ignored.
 * -EINVAL with *ret_message (caller frees), -ENOMEM.
 */
int fs_options_parse(struct fs_options *options, const char *list, char **ret_message);

/* One line for each option of ours: name and help. -ENOENT past the end. For --help and a test
 * of the manual. */
int fs_options_describe(unsigned index, const char **ret_name, const char **ret_help);
