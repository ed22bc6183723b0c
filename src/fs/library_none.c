/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/library.h"

bool feature_want(struct fuse_conn_info *conn, uint64_t capability)
{
	if (!(conn->capable & (unsigned)capability))
		return false;
	conn->want |= (unsigned)capability;
	return true;
}

void feature_refuse(struct fuse_conn_info *conn, uint64_t capability)
{
	conn->want &= ~(unsigned)capability;
}

void features_negotiate(struct fs *fs, struct fuse_conn_info *conn)
{
	fs->can_pass = false;
	(void)feature_want(conn, FUSE_CAP_HANDLE_KILLPRIV);
}

void features_ops(struct fuse_lowlevel_ops *ops)
{
	(void)ops;
}

int feature_pass_open(fuse_req_t req, int fd)
{
	(void)req;
	(void)fd;
	return 0;
}

void feature_pass_close(fuse_req_t req, int backing_id)
{
	(void)req;
	(void)backing_id;
}

void feature_pass_set(struct fuse_file_info *fi, int backing_id)
{
	(void)fi;
	(void)backing_id;
}

const char *feature_uring_option(void)
{
	return NULL;
}
