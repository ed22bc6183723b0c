/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "fs/session.h"

/* Our own meanings (util/error.h) in words that programs know; everything else as it is. */
static const struct {
	int ours, theirs;
} errors[] = {
	{ EBADMSG, EIO },     { EHOSTDOWN, EIO },       { EREMOTEIO, EIO },   { EUCLEAN, EIO },
	{ ENODATA, ENODATA }, { ENOTRECOVERABLE, EIO }, { EINPROGRESS, EIO },
};

int errno_for_kernel(int error)
{
	int positive = error < 0 ? -error : error;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].ours == positive)
			return errors[i].theirs;
	/* The kernel takes nothing beyond. Source: fuse_dev_do_write() in fs/fuse/dev.c. */
	return positive < 512 ? positive : EIO;
}

void reply_error(fuse_req_t req, int error)
{
	(void)fuse_reply_err(req, errno_for_kernel(error));
}

struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct caller){
		.uid = ctx->uid, .gid = ctx->gid, .pid = ctx->pid, .umask = ctx->umask
	};
}

void fill_entry(const struct volume_entry *entry, struct fuse_entry_param *ret_param)
{
	*ret_param = (struct fuse_entry_param){
		.ino = entry->id,
		.generation = entry->generation,
		.attr = entry->st,
		.attr_timeout = ATTR_TIMEOUT_S,
		.entry_timeout = ENTRY_TIMEOUT_S,
	};
}

void reply_entry(fuse_req_t req, const struct volume_entry *entry)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param param;

	fill_entry(entry, &param);
	/* The request is gone after this, also when its answer was not wanted any more. */
	if (fuse_reply_entry(req, &param) == -ENOENT)
		volume_forget(fs->volume, entry->id, 1);
}
