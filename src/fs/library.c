/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/library.h"

#include <unistd.h>

#include "fs/open.h"

/* Since libfuse 3.18. */
#ifndef FUSE_CAP_OVER_IO_URING
#define FUSE_CAP_OVER_IO_URING 0
#endif

bool feature_want(struct fuse_conn_info *conn, uint64_t capability)
{
	return fuse_set_feature_flag(conn, capability);
}

void feature_refuse(struct fuse_conn_info *conn, uint64_t capability)
{
	fuse_unset_feature_flag(conn, capability);
}

void features_negotiate(struct fs *fs, struct fuse_conn_info *conn)
{
	/* The second spares a question for security.capability before every write. */
	if (!feature_want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2))
		(void)feature_want(conn, FUSE_CAP_HANDLE_KILLPRIV);
	(void)feature_want(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
	feature_refuse(conn, FUSE_CAP_NO_EXPORT_SUPPORT);
	if (FUSE_CAP_OVER_IO_URING != 0 && !fs->options->uring)
		feature_refuse(conn, FUSE_CAP_OVER_IO_URING);
	/* Only root may; files of the backing file system lie directly on a disk (depth 0). */
	fs->can_pass = geteuid() == 0 && feature_want(conn, FUSE_CAP_PASSTHROUGH);
	if (fs->can_pass)
		conn->max_backing_stack_depth = 1;
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct caller caller = caller_of(req);
	struct volume_entry entry;
	struct file *file;
	int r;

	r = volume_tmpfile(fs->volume, &caller, parent, mode, fi->flags, &entry, &file);
	if (r < 0)
		reply_error(req, r);
	else
		reply_create(req, &entry, file, fi);
}

void features_ops(struct fuse_lowlevel_ops *ops)
{
	ops->tmpfile = op_tmpfile;
}

int feature_pass_open(fuse_req_t req, int fd)
{
	return fuse_passthrough_open(req, fd);
}

void feature_pass_close(fuse_req_t req, int backing_id)
{
	(void)fuse_passthrough_close(req, backing_id);
}

void feature_pass_set(struct fuse_file_info *fi, int backing_id)
{
	fi->backing_id = backing_id;
	fi->keep_cache = 0; /* the page cache is the backing file's */
}

const char *feature_uring_option(void)
{
	return FUSE_CAP_OVER_IO_URING != 0 ? "-oio_uring" : NULL;
}
