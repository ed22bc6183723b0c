/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "fs/session.h"
#include "util/cleanup.h"

static void reply_bytes(fuse_req_t req, ssize_t length, const char *bytes, size_t size)
{
	if (length < 0)
		reply_error(req, (int)length);
	else if (size == 0)
		(void)fuse_reply_xattr(req, (size_t)length);
	else
		(void)fuse_reply_buf(req, bytes, (size_t)length);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	cleanup_free char *value = malloc(size + 1);

	if (!value)
		reply_error(req, -ENOMEM);
	else
		reply_bytes(req, volume_getxattr(fs_of(req)->volume, ino, name, value, size), value,
			    size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	cleanup_free char *list = malloc(size + 1);
	struct caller caller = caller_of(req);

	if (!list)
		reply_error(req, -ENOMEM);
	else
		reply_bytes(req, volume_listxattr(fs_of(req)->volume, &caller, ino, list, size),
			    list, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	struct caller caller = caller_of(req);

	reply_error(req,
		    volume_setxattr(fs_of(req)->volume, &caller, ino, name, value, size, flags));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct caller caller = caller_of(req);

	reply_error(req, volume_removexattr(fs_of(req)->volume, &caller, ino, name));
}

void ops_xattr(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
}
