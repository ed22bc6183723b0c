/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fs/loop.h"
#include "util/cleanup.h"

/*
 * A read. Two have to be through with it before it is answered when it has to wait: the worker
 * that took it (until it can be interrupted) and the one that has the bytes.
 */
struct read {
	fuse_req_t req;
	struct file *file; /* borrowed: the kernel keeps it open while a read is on its way */
	char *buffer;      /* owned */
	ssize_t result;
	atomic_int pending;
};

/* The read whose interrupt this thread is handling: the library holds the request's lock. */
static _Thread_local struct read *cancelling;

static void answer(fuse_req_t req, const char *buffer, ssize_t result)
{
	if (result < 0)
		reply_error(req, (int)result);
	else
		(void)fuse_reply_buf(req, buffer, (size_t)result);
}

static void finish_read(struct read *read)
{
	answer(read->req, read->buffer, read->result);
	free(read->buffer);
	free(read);
}

/* One of the two is through. */
static void settle_read(struct read *read)
{
	if (atomic_fetch_sub(&read->pending, 1) != 1)
		return;
	if (cancelling == read) {
		/* Within interrupt_read(), which answers when it is through. */
		atomic_store(&read->pending, -1);
		return;
	}
	/* Waits for an interrupt that is being handled: it must not see freed memory. */
	fuse_req_interrupt_func(read->req, NULL, NULL);
	finish_read(read);
}

static void interrupt_read(fuse_req_t req, void *arg)
{
	struct read *read = arg, *outer = cancelling;

	(void)req;
	cancelling = read;
	volume_read_cancel(read->file, read);
	cancelling = outer;
	if (atomic_load(&read->pending) == -1)
		finish_read(read);
}

static void read_done(void *arg, ssize_t result)
{
	struct read *read = arg;

	read->result = result;
	settle_read(read);
}

/* One buffer a worker, kept: fresh memory for every read costs more than the copy. */
struct spare {
	size_t size;
	char *bytes; /* owned; NULL while in use */
};

static pthread_key_t spare_key;
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;

static void free_spare(void *arg)
{
	struct spare *spare = arg;

	free(spare->bytes);
	free(spare);
}

static void make_spare_key(void)
{
	if (pthread_key_create(&spare_key, free_spare) != 0)
		abort(); /* 1024 keys a process: our bug */
}

/* This worker's; NULL without memory. */
static struct spare *own_spare(void)
{
	struct spare *spare;

	(void)pthread_once(&spare_once, make_spare_key);
	spare = pthread_getspecific(spare_key);
	if (spare)
		return spare;
	spare = calloc(1, sizeof(*spare));
	if (spare && pthread_setspecific(spare_key, spare) != 0) {
		free(spare);
		spare = NULL;
	}
	return spare;
}

static char *take_buffer(size_t size, size_t *ret_size)
{
	struct spare *spare = own_spare();

	if (spare && spare->bytes && spare->size >= size) {
		*ret_size = spare->size;
		return take_ptr(spare->bytes);
	}
	*ret_size = size > 0 ? size : 1;
	return malloc(*ret_size);
}

static void give_buffer(char *bytes, size_t size)
{
	struct spare *spare = own_spare();

	if (!spare) {
		free(bytes);
		return;
	}
	free(spare->bytes); /* too small for this read */
	spare->bytes = bytes;
	spare->size = size;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	struct read *read = malloc(sizeof(*read));
	size_t buffer_size = 0;
	ssize_t result;

	(void)ino;
	if (read)
		*read = (struct read){ .req = req, .file = file_of(fi), .pending = 2 };
	if (read)
		read->buffer = take_buffer(size, &buffer_size);
	if (!read || !read->buffer) {
		free(read);
		reply_error(req, -ENOMEM);
		return;
	}
	result = volume_read(read->file, read->buffer, size, offset, read_done, read);
	if (result == -EINPROGRESS) {
		fuse_req_interrupt_func(req, interrupt_read, read);
		settle_read(read);
		return;
	}
	answer(req, read->buffer, result);
	give_buffer(read->buffer, buffer_size);
	free(read);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	struct caller caller = caller_of(req);
	struct piece **piece = loop_piece();
	ssize_t count;

	(void)ino;
	if (piece)
		count = volume_write_piece(file_of(fi), &caller, piece, size, offset);
	else
		count = volume_write(file_of(fi), &caller, bytes, size, offset);
	if (count < 0)
		reply_error(req, (int)count);
	else
		(void)fuse_reply_write(req, (size_t)count);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	struct caller caller = caller_of(req);

	(void)ino;
	reply_error(req, volume_fallocate(file_of(fi), &caller, mode, offset, length));
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t offset_out,
			       struct fuse_file_info *fi_out, size_t length, int flags)
{
	ssize_t count;

	(void)ino_in;
	(void)ino_out;
	if (flags != 0) {
		reply_error(req, -EINVAL);
		return;
	}
	count = volume_copy_range(file_of(fi_in), offset_in, file_of(fi_out), offset_out, length);
	if (count < 0)
		reply_error(req, (int)count);
	else
		(void)fuse_reply_write(req, (size_t)count);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
		     struct fuse_file_info *fi)
{
	off_t position = volume_seek(file_of(fi), offset, whence);

	(void)ino;
	if (position < 0)
		reply_error(req, (int)position);
	else
		(void)fuse_reply_lseek(req, position);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		     size_t out_size)
{
	(void)ino;
	(void)command;
	(void)arg;
	(void)fi;
	(void)flags;
	(void)in;
	(void)in_size;
	(void)out_size;
	reply_error(req, -ENOTTY);
}

void ops_data(struct fuse_lowlevel_ops *ops)
{
	ops->read = op_read;
	ops->write = op_write;
	ops->fallocate = op_fallocate;
	ops->copy_file_range = op_copy_file_range;
	ops->lseek = op_lseek;
	ops->ioctl = op_ioctl;
}
