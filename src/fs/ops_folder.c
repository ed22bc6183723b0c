/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "fs/session.h"
#include "util/cleanup.h"

static struct folder *folder_of(const struct fuse_file_info *fi)
{
	return (struct folder *)(uintptr_t)fi->fh;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct folder *folder;
	int r = volume_opendir(fs_of(req)->volume, ino, &folder);

	if (r < 0) {
		reply_error(req, r);
		return;
	}
	fi->fh = (uintptr_t)folder;
	fi->cache_readdir = 1;
	fi->keep_cache = volume_list_is_kept(folder);
	/* Interrupted: no releasedir will come. */
	if (fuse_reply_open(req, fi) == -ENOENT)
		volume_closedir(folder);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	volume_closedir(folder_of(fi));
	(void)fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	(void)ino;
	(void)data_only;
	reply_error(req, volume_fsyncdir(folder_of(fi)));
}

struct listing {
	fuse_req_t req;
	char *bytes;
	size_t size, used;
};

static int add_name(void *arg, const char *name, const struct volume_entry *entry,
		    off_t next_position)
{
	struct listing *listing = arg;
	size_t left = listing->size - listing->used;
	size_t length = fuse_add_direntry(listing->req, listing->bytes + listing->used, left, name,
					  &entry->st, next_position);

	if (length > left)
		return 1;
	listing->used += length;
	return 0;
}

static int add_entry(void *arg, const char *name, const struct volume_entry *entry,
		     off_t next_position)
{
	struct listing *listing = arg;
	size_t left = listing->size - listing->used;
	struct fuse_entry_param param;
	size_t length;

	fill_entry(entry, &param);
	/* For "." and ".." the kernel wants no node. */
	if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
		param.ino = 0;
	length = fuse_add_direntry_plus(listing->req, listing->bytes + listing->used, left, name,
					&param, next_position);
	if (length > left)
		return 1;
	listing->used += length;
	return 0;
}

/*
 * An interrupted answer would leave lookup counts that the kernel never gives back; it
 * reads folders uninterruptibly once the request was taken, so that does not happen.
 */
static void read_folder(fuse_req_t req, size_t size, off_t position, struct folder *folder,
			enum readdir_flags flags, volume_dirent_fn fn)
{
	struct listing listing = { .req = req, .size = size };
	int r;

	listing.bytes = malloc(size);
	if (!listing.bytes) {
		reply_error(req, -ENOMEM);
		return;
	}
	r = volume_readdir(folder, position, flags, fn, &listing);
	/* What was read before an error is given first; the error comes again next time. */
	if (r < 0 && listing.used == 0)
		reply_error(req, r);
	else
		(void)fuse_reply_buf(req, listing.bytes, listing.used);
	free(listing.bytes);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
		       struct fuse_file_info *fi)
{
	(void)ino;
	read_folder(req, size, position, folder_of(fi), 0, add_name);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
			   struct fuse_file_info *fi)
{
	(void)ino;
	read_folder(req, size, position, folder_of(fi), READDIR_ENTRIES, add_entry);
}

void ops_folder(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->releasedir = op_releasedir;
	ops->fsyncdir = op_fsyncdir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
}
