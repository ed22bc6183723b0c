/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Open files: reading, writing, and what a close leads to.
 *
 * Every change of a regular file's bytes goes through here, so that its receipt knows it.
 * Closing the last writer hands the file to the verifier.
 */
#include "volume/volume.h"

struct piece;

/*
 * Create and open. @flags as open(2) (O_EXCL, O_TRUNC, O_APPEND, ...). The name is there already:
 * -EEXIST with O_EXCL, else -ESTALE, upon which the kernel looks it up, checks and opens it.
 */
int volume_create(struct volume *volume, const struct caller *caller, uint64_t parent,
		  const char *name, mode_t mode, int flags, struct volume_entry *ret_entry,
		  struct file **ret_file);
int volume_tmpfile(struct volume *volume, const struct caller *caller, uint64_t parent, mode_t mode,
		   int flags, struct volume_entry *ret_entry, struct file **ret_file);

/* -EAGAIN for an announced file, -EROFS. O_TRUNC cuts it. Permission was checked by the kernel. */
int volume_open_file(struct volume *volume, const struct caller *caller, uint64_t id, int flags,
		     struct file **ret_file);

/*
 * The last close of this handle. Reports nothing: errors went to flush. Starts verification
 * when it was the last writer.
 */
void volume_release(struct file *file);

/*
 * One close(2) of a descriptor. Sticky write errors are reported here (once per handle);
 * with verify=close the read-back is waited for: -EIO when it disagrees.
 */
int volume_flush(struct file *file);
int volume_fsync(struct file *file, bool data_only);

/* A read that has to wait for a tier is answered later. Reply exactly once. */
typedef void (*volume_read_done)(void *arg, ssize_t result);

/*
 * Up to @length bytes at @offset into @buffer (which lives until the answer). Returns the
 * count, or a negative errno, or -EINPROGRESS: then @done is called later from another
 * thread, after hydration, or with an error (-ETIMEDOUT after hydrate_timeout, -EIO, ...).
 */
ssize_t volume_read(struct file *file, void *buffer, size_t length, off_t offset,
		    volume_read_done done, void *arg);

/* Give up a parked read; @done is called with -EINTR soon, unless it was already. */
void volume_read_cancel(struct file *file, void *arg);

/*
 * As pwrite(2): the count is short only when the disk became full in the middle. @caller (may be
 * NULL: the kernel writes back a mapping) for clearing set-id bits. Any error but -ENOSPC, -EDQUOT,
 * -EFBIG and -EROFS makes the file damaged.
 */
ssize_t volume_write(struct file *file, const struct caller *caller, const void *buffer,
		     size_t length, off_t offset);

/* The longest write that is put off; no request should be longer. Also what stat tells as the size
 * to write in (st_blksize): a request costs more than its bytes. */
#define WRITE_MAX_BYTES (1u << 20)

/*
 * The same without a copy: the first @length bytes of *@piece, which is kept, and set to NULL, when
 * the write is put off. NULL when too many are in use: then volume_write(). Takes and gives never
 * wait.
 */
ssize_t volume_write_piece(struct file *file, const struct caller *caller, struct piece **piece,
			   size_t length, off_t offset);
struct piece *volume_take_piece(struct volume *volume);
void volume_give_piece(struct volume *volume, struct piece *piece);
char *piece_bytes(struct piece *piece); /* WRITE_MAX_BYTES, on a page's border */
int volume_fallocate(struct file *file, const struct caller *caller, int mode, off_t offset,
		     off_t length);

/* May be short. -EXDEV: the kernel is to do it by reading and writing (@in is not all here). */
ssize_t volume_copy_range(struct file *in, off_t in_offset, struct file *out, off_t out_offset,
			  size_t length);
off_t volume_seek(struct file *file, off_t offset, int whence); /* SEEK_DATA, SEEK_HOLE */

/*
 * Cut or grow to @size (SETATTR_SIZE). @file may be NULL: opened for it. The same size is no
 * change of the bytes (but mtime follows). Clears set-id bits as a write does. Cutting to
 * nothing needs no block of an evicted file; any other size brings it back first.
 */
int file_truncate(struct volume *volume, const struct caller *caller, uint64_t id,
		  struct file *file, off_t size);

uint64_t file_id(const struct file *file);
int file_fd(const struct file *file); /* the backing descriptor, borrowed */

/*
 * A descriptor for kernel passthrough (borrowed, lives as long as @file), or -1: only for
 * read-only opens of a fully resident, closed (not being written) file. While any such
 * handle is open the file is never evicted.
 */
int file_passthrough_fd(const struct file *file);

/*
 * The kernel may map @file past us, for writing too (it was opened while others pass): when it
 * is released and the bytes may have changed, they are received anew.
 */
void volume_watch_mapping(struct file *file);
