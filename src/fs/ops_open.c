/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "fs/open.h"

struct handle *handle_new(struct fs *fs, struct file *file)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle) {
		volume_release(file);
		return NULL;
	}
	handle->file = file;
	handle->id = file_id(file);
	handle->mode = IO_DIRECT;
	mutex_lock(&fs->lock);
	handle->next = fs->handles;
	if (handle->next)
		handle->next->prev = handle;
	fs->handles = handle;
	mutex_unlock(&fs->lock);
	return handle;
}

void handle_free(struct fs *fs, struct handle *handle)
{
	mutex_lock(&fs->lock);
	if (handle->prev)
		handle->prev->next = handle->next;
	else
		fs->handles = handle->next;
	if (handle->next)
		handle->next->prev = handle->prev;
	mutex_unlock(&fs->lock);
	volume_release(handle->file);
	free(handle);
}

void handles_close(struct fs *fs)
{
	/* The session has ended: no other thread is here. */
	while (fs->handles)
		handle_free(fs, fs->handles);
}

static void close_handle(fuse_req_t req, struct handle *handle)
{
	struct fs *fs = fs_of(req);

	io_end(fs, req, handle);
	handle_free(fs, handle);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct caller caller = caller_of(req);
	int noatime = fs->options->set_flags & MS_NOATIME ? O_NOATIME : 0;
	struct handle *handle;
	struct file *file;
	int r;

	r = volume_open_file(fs->volume, &caller, ino, fi->flags | noatime, &file);
	if (r < 0) {
		reply_error(req, r);
		return;
	}
	handle = handle_new(fs, file);
	if (!handle) {
		reply_error(req, -ENOMEM);
		return;
	}
	fi->fh = (uintptr_t)handle;
	io_begin(fs, req, handle, fi->flags, fi);
	/* Not wanted any more: no release will come. io_end() needs no live request by then. */
	if (fuse_reply_open(req, fi) == -ENOENT) {
		io_end(fs, NULL, handle);
		handle_free(fs, handle);
	}
}

void reply_create(fuse_req_t req, const struct volume_entry *entry, struct file *file,
		  struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *handle = handle_new(fs, file);
	struct fuse_entry_param param;

	if (!handle) {
		volume_forget(fs->volume, entry->id, 1);
		reply_error(req, -ENOMEM);
		return;
	}
	fi->fh = (uintptr_t)handle;
	io_begin(fs, req, handle, fi->flags, fi);
	fill_entry(entry, &param);
	if (fuse_reply_create(req, &param, fi) == -ENOENT) {
		io_end(fs, NULL, handle);
		handle_free(fs, handle);
		volume_forget(fs->volume, entry->id, 1);
	}
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct caller caller = caller_of(req);
	struct volume_entry entry;
	struct file *file;
	int r;

	r = volume_create(fs->volume, &caller, parent, name, mode, fi->flags, &entry, &file);
	if (r < 0)
		reply_error(req, r);
	else
		reply_create(req, &entry, file, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	close_handle(req, handle_of(fi));
	(void)fuse_reply_err(req, 0);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	reply_error(req, volume_flush(file_of(fi)));
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	(void)ino;
	reply_error(req, volume_fsync(file_of(fi), data_only != 0));
}

void ops_open(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->create = op_create;
	ops->release = op_release;
	ops->flush = op_flush;
	ops->fsync = op_fsync;
}
