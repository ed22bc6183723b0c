/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "fs/session.h"
#include "util/cleanup.h"

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct volume_entry entry;
	int r = volume_lookup(fs_of(req)->volume, parent, name, &entry);

	if (r == -ENOENT) {
		/* The kernel may remember that there is nothing. */
		const struct fuse_entry_param none = { .entry_timeout = NEGATIVE_TIMEOUT_S };

		(void)fuse_reply_entry(req, &none);
	} else if (r < 0) {
		reply_error(req, r);
	} else {
		reply_entry(req, &entry);
	}
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	volume_forget(fs_of(req)->volume, ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		volume_forget(fs_of(req)->volume, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	/* A folder's handle is no file. Since 2.6 the kernel gives one only for files. */
	int r = volume_getattr(fs_of(req)->volume, ino, file_of(fi), &st);

	if (r < 0)
		reply_error(req, r);
	else
		(void)fuse_reply_attr(req, &st, ATTR_TIMEOUT_S);
}

static const struct {
	int theirs;
	enum setattr_mask ours;
} setattr_bits[] = {
	{ FUSE_SET_ATTR_MODE, SETATTR_MODE },
	{ FUSE_SET_ATTR_UID, SETATTR_UID },
	{ FUSE_SET_ATTR_GID, SETATTR_GID },
	{ FUSE_SET_ATTR_SIZE, SETATTR_SIZE },
	{ FUSE_SET_ATTR_ATIME, SETATTR_ATIME },
	{ FUSE_SET_ATTR_MTIME, SETATTR_MTIME },
	{ FUSE_SET_ATTR_ATIME_NOW, SETATTR_ATIME_NOW },
	{ FUSE_SET_ATTR_MTIME_NOW, SETATTR_MTIME_NOW },
};

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct caller caller = caller_of(req);
	unsigned mask = 0;
	struct stat st;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(setattr_bits); i++)
		if (to_set & setattr_bits[i].theirs)
			mask |= setattr_bits[i].ours;
	r = volume_setattr(fs_of(req)->volume, &caller, ino, file_of(fi), attr, mask, &st);
	if (r < 0)
		reply_error(req, r);
	else
		(void)fuse_reply_attr(req, &st, ATTR_TIMEOUT_S);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	cleanup_free char *target = NULL;
	int r = volume_readlink(fs_of(req)->volume, ino, &target);

	if (r < 0)
		reply_error(req, r);
	else
		(void)fuse_reply_readlink(req, target);
}

static void reply_made(fuse_req_t req, int r, const struct volume_entry *entry)
{
	if (r < 0)
		reply_error(req, r);
	else
		reply_entry(req, entry);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	struct caller caller = caller_of(req);
	struct volume_entry entry;
	int r;

	r = volume_mknod(fs_of(req)->volume, &caller, parent, name, mode, device, &entry);
	reply_made(req, r, &entry);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct caller caller = caller_of(req);
	struct volume_entry entry;
	int r = volume_mkdir(fs_of(req)->volume, &caller, parent, name, mode, &entry);

	reply_made(req, r, &entry);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct caller caller = caller_of(req);
	struct volume_entry entry;
	int r = volume_symlink(fs_of(req)->volume, &caller, target, parent, name, &entry);

	reply_made(req, r, &entry);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct volume_entry entry;
	int r = volume_link(fs_of(req)->volume, ino, new_parent, new_name, &entry);

	reply_made(req, r, &entry);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_error(req, volume_unlink(fs_of(req)->volume, parent, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_error(req, volume_rmdir(fs_of(req)->volume, parent, name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	reply_error(req,
		    volume_rename(fs_of(req)->volume, parent, name, new_parent, new_name, flags));
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	int r = volume_statfs(fs_of(req)->volume, &st);

	(void)ino;
	if (r < 0)
		reply_error(req, r);
	else
		(void)fuse_reply_statfs(req, &st);
}

void ops_tree(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->readlink = op_readlink;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->statfs = op_statfs;
}
