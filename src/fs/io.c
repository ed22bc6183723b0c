/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How the kernel does the I/O of open files.
 *
 * Write-only handles are direct: one copy less, and writes arrive in order and whole. Reads of
 * files that are all here pass through to the backing file where the kernel offers it, other
 * handles use the page cache. Cached and passing opens of one inode do not mix (EIO otherwise):
 * while one kind is open, the next opens follow it. A writer that comes while readers pass
 * is direct (its writes still come to us) and passing at once, as the kernel demands; what it
 * maps for writing is watched (volume/file_mapped.c).
 * Source: fuse_file_io_open() in fs/fuse/iomode.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/library.h"
#include "util/log.h"

struct io {
	unsigned cached, passing; /* opens of each kind */
	int backing_id;           /* 0: none; lives as long as one passes */
};

/* The record of @id, made when @make. NULL: none, or no memory. */
static struct io *io_of_locked(struct fs *fs, uint64_t id, bool make)
{
	struct io *io = table_get(&fs->modes, id);

	if (io || !make)
		return io;
	io = calloc(1, sizeof(*io));
	if (io && table_put(&fs->modes, id, io) < 0) {
		free(io);
		io = NULL;
	}
	return io;
}

static void drop_unused_locked(struct fs *fs, uint64_t id, struct io *io)
{
	if (io && io->cached == 0 && io->passing == 0)
		free(table_remove(&fs->modes, id));
}

/* The kernel's number for the backing file. The lock is held over one short ioctl: two opens
 * of one inode must end up with one number. */
static bool pass_locked(struct fs *fs, fuse_req_t req, struct io *io, int fd)
{
	if (io->backing_id)
		return true;
	if (fd < 0 || fs->pass_failed)
		return false;
	io->backing_id = feature_pass_open(req, fd);
	if (io->backing_id > 0)
		return true;
	io->backing_id = 0;
	fs->pass_failed = true;
	log_info("the kernel refuses passthrough for this store: reads go through mediafs");
	return false;
}

static void choose(struct fs *fs, fuse_req_t req, struct handle *handle, int flags,
		   struct fuse_file_info *fi, bool *ret_watch)
{
	int fd = fs->can_pass ? file_passthrough_fd(handle->file) : -1;
	bool direct = (flags & O_ACCMODE) == O_WRONLY;
	struct io *io;

	scoped_lock(&fs->lock);
	io = io_of_locked(fs, handle->id, !direct);
	if (io && (io->passing > 0 || (fd >= 0 && io->cached == 0)) &&
	    pass_locked(fs, req, io, fd)) {
		io->passing++;
		handle->mode = IO_PASSING;
		feature_pass_set(fi, io->backing_id);
		fi->direct_io = (flags & O_ACCMODE) != O_RDONLY;
		if ((flags & O_ACCMODE) == O_RDWR)
			*ret_watch = true;
		return;
	}
	/* Without memory for a record the open must take no part in the agreement. */
	if (direct || !io) {
		fi->direct_io = 1;
		return;
	}
	io->cached++;
	handle->mode = IO_CACHED;
	fi->keep_cache = fs->keep_cache;
}

void io_begin(struct fs *fs, fuse_req_t req, struct handle *handle, int flags,
	      struct fuse_file_info *fi)
{
	bool watch = false;

	choose(fs, req, handle, flags, fi, &watch);
	if (watch)
		volume_watch_mapping(handle->file);
}

void io_end(struct fs *fs, fuse_req_t req, struct handle *handle)
{
	struct io *io;

	if (handle->mode == IO_DIRECT)
		return;
	scoped_lock(&fs->lock);
	io = io_of_locked(fs, handle->id, false);
	if (!io)
		return;
	if (handle->mode == IO_CACHED)
		io->cached--;
	else if (--io->passing == 0) {
		/* Without a request the session is ending, and the kernel's numbers with it. */
		if (req)
			feature_pass_close(req, io->backing_id);
		io->backing_id = 0;
	}
	drop_unused_locked(fs, handle->id, io);
}

void io_fini(struct fs *fs)
{
	size_t i = 0;
	uint64_t id;
	void *io;

	while (table_next(&fs->modes, &i, &id, &io))
		free(io);
	table_fini(&fs->modes);
}
