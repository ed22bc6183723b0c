/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of fs/ share: a session, its open handles, how replies are made.
 */
#include "fs/fuse.h"
#include "fs/options.h"
#include "util/table.h"
#include "util/thread.h"
#include "volume/file.h"
#include "volume/volume.h"

/*
 * How long the kernel may keep names and attributes: until we tell it otherwise (notify.h).
 * Names that are not there are kept shorter: every program's guesses would fill its memory.
 */
#define ENTRY_TIMEOUT_S 86400.0
#define ATTR_TIMEOUT_S 86400.0
#define NEGATIVE_TIMEOUT_S 60.0

struct notifier;

/* How the kernel does the I/O of an open file. All opens of one inode must agree. */
enum io_mode {
	IO_DIRECT, /* past the page cache, to us: takes no part in the agreement */
	IO_CACHED,
	IO_PASSING, /* passthrough: the kernel reads the backing file itself */
};

struct handle {
	struct handle *prev, *next; /* of fs->handles; guarded by fs->lock */
	struct file *file;          /* owned */
	uint64_t id;
	enum io_mode mode;
};

struct fs {
	/* Constant after the kernel's first request. */
	const struct fs_options *options; /* borrowed, outlives us */
	struct volume *volume;            /* borrowed, outlives us */
	struct fuse_session *session;     /* owned */
	struct notifier *notifier;        /* owned */
	void (*ready)(void *arg);         /* the mount answers; called once */
	void *ready_arg;
	_Atomic bool greeted; /* the kernel's first request was answered */
	bool keep_cache;      /* pages stay true from open to open */
	bool can_pass;        /* passthrough was negotiated */

	struct mutex lock;      /* rank 45; guards the rest */
	struct handle *handles; /* open files */
	struct table modes;     /* by inode: struct io of io.c, owned */
	bool pass_failed;       /* the kernel refused: not tried again */
};

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

struct caller caller_of(fuse_req_t req);

/* 0 or an error; each error as programs know it (see errno.c). */
void reply_error(fuse_req_t req, int error);
int errno_for_kernel(int error); /* negative in, positive out */

/* Hands the lookup count of @entry to the kernel, or takes it back when nobody waits any more. */
void reply_entry(fuse_req_t req, const struct volume_entry *entry);
void fill_entry(const struct volume_entry *entry, struct fuse_entry_param *ret_param);

/* The operations, by file. */
void ops_tree(struct fuse_lowlevel_ops *ops);
void ops_folder(struct fuse_lowlevel_ops *ops);
void ops_open(struct fuse_lowlevel_ops *ops);
void ops_data(struct fuse_lowlevel_ops *ops);
void ops_xattr(struct fuse_lowlevel_ops *ops);

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

static inline struct file *file_of(const struct fuse_file_info *fi)
{
	return fi ? handle_of(fi)->file : NULL;
}

/* Consumes @file; NULL without memory (then @file was released). */
struct handle *handle_new(struct fs *fs, struct file *file);
void handle_free(struct fs *fs, struct handle *handle);

/* At the end: what programs left open. */
void handles_close(struct fs *fs);

/* Settle how the kernel does the I/O of @handle, opened with @flags: fills @fi. */
void io_begin(struct fs *fs, fuse_req_t req, struct handle *handle, int flags,
	      struct fuse_file_info *fi);
void io_end(struct fs *fs, fuse_req_t req, struct handle *handle);
void io_fini(struct fs *fs);
