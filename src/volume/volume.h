/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Volume: what the product can do, without FUSE. fs/ and control/ call it; nothing below
 * knows it. This header is what fs/ needs; volume/manage.h is what control/ and cli/ need.
 *
 * Node ids are backing inode numbers (root 1). A node that lookup handed out stays known
 * until forgotten as often as it was handed out.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

struct volume;

enum volume_flags {
	VOLUME_READ_ONLY = 1 << 0,
	VOLUME_SHOW_PENDING = 1 << 1, /* announced files are in the tree */
	VOLUME_NO_THREADS = 1 << 2,   /* tests: nothing runs in the background */
};

/*
 * Open the store at @path with its catalog, tiers and threads. Threads start here: call it after
 * daemonizing. Errors as store_open(), catalog_open(), settings (-EINVAL, already logged).
 */
int volume_open(const char *path, enum volume_flags flags, struct volume **ret_volume);

/*
 * No request comes any more: every read that is parked is answered, an error if need be, and none
 * is later. Nothing is fetched or sent from here on. Waits for what a tier is doing just now, and
 * 10 s at most until other sites are told what is stored.
 */
void volume_end_reads(struct volume *volume);

/* Drain what was received into the catalog, stop the threads, close. */
void volume_close(struct volume *volume);

/* Who calls: from the FUSE request. */
struct caller {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	mode_t umask; /* applied unless the parent has a default ACL */
};

struct volume_entry {
	uint64_t id;
	uint64_t generation; /* tells a reused id from the old one */
	struct stat st;      /* st_ino = id; size, blocks, times as they are to be shown */
};

struct file; /* an open file: volume/file.h */

/* Namespace ---------------------------------------------------------------------------- */

int volume_lookup(struct volume *volume, uint64_t parent, const char *name,
		  struct volume_entry *ret_entry);
void volume_forget(struct volume *volume, uint64_t id, uint64_t count);

/* @file may be NULL. */
int volume_getattr(struct volume *volume, uint64_t id, struct file *file, struct stat *ret_st);

enum setattr_mask {
	SETATTR_MODE = 1 << 0,
	SETATTR_UID = 1 << 1,
	SETATTR_GID = 1 << 2,
	SETATTR_SIZE = 1 << 3,
	SETATTR_ATIME = 1 << 4,
	SETATTR_MTIME = 1 << 5,
	SETATTR_ATIME_NOW = 1 << 6,
	SETATTR_MTIME_NOW = 1 << 7,
};
int volume_setattr(struct volume *volume, const struct caller *caller, uint64_t id,
		   struct file *file, const struct stat *values, unsigned mask,
		   struct stat *ret_st);

/* Caller frees. */
int volume_readlink(struct volume *volume, uint64_t id, char **ret_target);

/* Files (empty), fifos, sockets, devices, by the type in @mode. */
int volume_mknod(struct volume *volume, const struct caller *caller, uint64_t parent,
		 const char *name, mode_t mode, dev_t device, struct volume_entry *ret_entry);
int volume_mkdir(struct volume *volume, const struct caller *caller, uint64_t parent,
		 const char *name, mode_t mode, struct volume_entry *ret_entry);
int volume_symlink(struct volume *volume, const struct caller *caller, const char *target,
		   uint64_t parent, const char *name, struct volume_entry *ret_entry);
int volume_link(struct volume *volume, uint64_t id, uint64_t new_parent, const char *new_name,
		struct volume_entry *ret_entry);
int volume_unlink(struct volume *volume, uint64_t parent, const char *name);
int volume_rmdir(struct volume *volume, uint64_t parent, const char *name);

/* @flags: RENAME_NOREPLACE, RENAME_EXCHANGE. */
int volume_rename(struct volume *volume, uint64_t parent, const char *name, uint64_t new_parent,
		  const char *new_name, unsigned flags);

struct folder; /* an open folder */
int volume_opendir(struct volume *volume, uint64_t id, struct folder **ret_folder);
void volume_closedir(struct folder *folder);
/* The list of names that the kernel keeps from before is true, and it knows what they name. */
bool volume_list_is_kept(const struct folder *folder);
int volume_fsyncdir(struct folder *folder);

/*
 * From @position on (0 = start; each entry carries the position after it). @fn returns 0 to
 * go on, 1 when its buffer is full (that entry is given again next time). With
 * @want_entries names are looked up (lookup count rises for those that @fn took, except "." and
 * "..").
 * @entry has only id and the type in st_mode otherwise.
 */
typedef int (*volume_dirent_fn)(void *arg, const char *name, const struct volume_entry *entry,
				off_t next_position);
enum readdir_flags { READDIR_ENTRIES = 1 << 0 };
int volume_readdir(struct folder *folder, off_t position, enum readdir_flags flags,
		   volume_dirent_fn fn, void *arg);

int volume_statfs(struct volume *volume, struct statvfs *ret_statfs);

/* As the syscalls: @size 0 asks for the size. Positive = bytes. user.mediafs.* are ours. */
ssize_t volume_getxattr(struct volume *volume, uint64_t id, const char *name, void *value,
			size_t size);
/* Others than root do not see trusted.*. The user.mediafs.* are never listed: copies would carry
 * them. */
ssize_t volume_listxattr(struct volume *volume, const struct caller *caller, uint64_t id,
			 char *list, size_t size);
int volume_setxattr(struct volume *volume, const struct caller *caller, uint64_t id,
		    const char *name, const void *value, size_t size, int flags);
int volume_removexattr(struct volume *volume, const struct caller *caller, uint64_t id,
		       const char *name);

/* Files: volume/file.h ------------------------------------------------------------------ */
