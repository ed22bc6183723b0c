/* SPDX-License-Identifier: Apache-2.0 */

/* Changes of bytes: write, truncate, fallocate (volume/file.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "volume/behind.h"
#include "volume/caller.h"
#include "volume/file_internal.h"
#include "volume/keeper.h"
#include "volume/tree.h"

/* Errors that leave what was acknowledged as it is. Any other may have lost bytes. */
static bool is_refusal(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -EFBIG || error == -EROFS ||
	       error == -EOPNOTSUPP || error == -EINVAL || error == -EPERM;
}

static int check_writable(const struct file *file)
{
	if (!file->can_write)
		return -EBADF;
	return file->volume->flags & VOLUME_READ_ONLY ? -EROFS : 0;
}

/* What changed no byte begins no generation, at whose end the catalog would hear of it. */
static void tell_attributes(struct file *file)
{
	struct stat st;

	if (fstat(file->fd, &st) == 0)
		(void)tree_queue_attributes(file->volume, &st); /* its error sticks there */
}

/*
 * Set-id bits go with the bytes they vouched for; nothing of the data depends on it. After a write
 * or a cut at open the kernel asks for size and times again, not for the mode.
 */
static void drop_setid(const struct caller *caller, struct file *file)
{
	if (!caller || caller_drop_setid(caller, file->fd) != 1)
		return;
	volume_notify_attributes(file->volume, file_id(file));
	tell_attributes(file);
}

/* With what was acknowledged and is not in the file yet. */
static uint64_t size_locked(const struct live *live)
{
	if (live->behind > 0)
		return live->behind_size;
	return live->receipt ? receipt_size(live->receipt) : 0;
}

/*
 * The disk may not fill up to where the catalog could suffer. A hole before @offset is free, and so
 * is what is there already; but a file that was given its size first is filled later.
 */
static int admit_locked(struct live *live, int fd, uint64_t offset, uint64_t length)
{
	uint64_t size = size_locked(live), end = offset + length;
	struct stat st;

	if (end > size && offset < size)
		length = end - size;
	else if (end <= size && fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= size)
		return 0;
	return keeper_admit(live->volume->keeper, length);
}

/* Writing ------------------------------------------------------------------------------- */

/* Bytes written, short when an error came after some; the error when there were none. */
static ssize_t put_bytes(int fd, const char *bytes, size_t length, off_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pwrite(fd, bytes + done, length - done, offset + (off_t)done);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (done > 0)
			break;
		return n < 0 ? -errno : -EIO;
	}
	return (ssize_t)done;
}

/* The order of pwrite and receipt is the order of both: one lock over the two. */
static ssize_t write_locked(struct file *file, const void *buffer, size_t length, off_t offset)
{
	struct live *live = file->live;
	ssize_t n;
	int r;

	r = admit_locked(live, file->fd, (uint64_t)offset, length);
	if (r < 0)
		return r;
	n = put_bytes(file->fd, buffer, length, offset);
	if (n <= 0)
		return n;
	behind_written_locked(file->volume->behind, file, offset, (size_t)n);
	r = receipt_write(live->receipt, (uint64_t)offset, buffer, (size_t)n);
	return r < 0 ? r : n;
}

/* 1: *piece is queued and no longer the caller's. 0: others look at the file, it is to be written
 * at once. */
static int queue_piece(struct file *file, struct piece **piece, size_t length, off_t offset,
		       uint64_t *ret_generation, ssize_t *ret_written)
{
	struct live *live = file->live;
	int r = live_lock_for_change(live, file->fd, CHANGE_QUEUED);

	if (r < 0)
		return r;
	*ret_generation = live->generation;
	/* Nobody else has it open, to see the bytes late. */
	if (live->writers == 1 && live->readers == 0) {
		r = admit_locked(live, file->fd, (uint64_t)offset, length);
		if (r == 0)
			behind_queue_locked(file->volume->behind, file, take_ptr(*piece), length,
					    offset);
		*ret_written = r < 0 ? r : (ssize_t)length;
		r = 1;
	}
	mutex_unlock(&live->lock);
	return r;
}

/* The same with bytes that have to be copied first. */
static int queue_copy(struct file *file, const void *buffer, size_t length, off_t offset,
		      uint64_t *ret_generation, ssize_t *ret_written)
{
	struct pieces *pieces = behind_pieces(file->volume->behind);
	struct piece *piece = piece_take(pieces);
	int r;

	if (!piece)
		return 0;
	memcpy(piece->bytes, buffer, length);
	r = queue_piece(file, &piece, length, offset, ret_generation, ret_written);
	if (piece)
		piece_give(pieces, piece);
	return r;
}

/* After a failed change: what the writer is told now, and at flush. */
static void change_failed(struct live *live, uint64_t generation, int error)
{
	if (!is_refusal(error)) {
		live_lose(live, generation, error);
		return;
	}
	live_refused(live, error);
}

/* By this thread: whatever was put off goes before. */
static int write_now(struct file *file, const void *buffer, size_t length, off_t offset,
		     uint64_t *ret_generation, ssize_t *ret_written)
{
	struct live *live = file->live;
	int r = live_lock_for_change(live, file->fd, CHANGE_AFTER_WRITES);

	if (r < 0)
		return r;
	*ret_generation = live->generation;
	*ret_written = write_locked(file, buffer, length, offset);
	mutex_unlock(&live->lock);
	return 1;
}

/* @piece: NULL, or where @buffer is. 1: done, as *ret_written says. */
static int write_any(struct file *file, struct piece **piece, const void *buffer, size_t length,
		     off_t offset, uint64_t *ret_generation, ssize_t *ret_written)
{
	int r = 0;

	if (behind_wants(file->volume->behind, file, length, offset))
		r = piece ? queue_piece(file, piece, length, offset, ret_generation, ret_written)
			  : queue_copy(file, buffer, length, offset, ret_generation, ret_written);
	if (r == 0)
		r = write_now(file, buffer, length, offset, ret_generation, ret_written);
	return r;
}

static ssize_t write_checked(struct file *file, const struct caller *caller, struct piece **piece,
			     const void *buffer, size_t length, off_t offset)
{
	struct volume *volume = file->volume;
	uint64_t generation;
	ssize_t n;
	int r;

	r = check_writable(file);
	if (r < 0)
		return r;
	if (offset < 0 || length > SSIZE_MAX || (uint64_t)offset + length > BLOCKMAP_MAX_BYTES)
		return -EFBIG;
	if (length == 0)
		return 0;
	r = write_any(file, piece, buffer, length, offset, &generation, &n);
	if (r < 0)
		return r;
	if (n < 0) {
		change_failed(file->live, generation, (int)n);
		return n;
	}
	drop_setid(caller, file);
	volume->received_bytes += (uint64_t)n;
	volume->last_write_ns = monotonic_ns();
	return n;
}

ssize_t volume_write(struct file *file, const struct caller *caller, const void *buffer,
		     size_t length, off_t offset)
{
	return write_checked(file, caller, NULL, buffer, length, offset);
}

ssize_t volume_write_piece(struct file *file, const struct caller *caller, struct piece **piece,
			   size_t length, off_t offset)
{
	return write_checked(file, caller, piece, (*piece)->bytes, length, offset);
}

struct piece *volume_take_piece(struct volume *volume)
{
	return piece_take(behind_pieces(volume->behind));
}

void volume_give_piece(struct volume *volume, struct piece *piece)
{
	piece_give(behind_pieces(volume->behind), piece);
}

char *piece_bytes(struct piece *piece)
{
	return piece->bytes;
}

/* Truncating ---------------------------------------------------------------------------- */

/* The size is what it was: no byte changes, but the times do. */
static int touch_times(int fd, off_t size)
{
	return ftruncate(fd, size) < 0 ? -errno : 0;
}

static int resize_locked(struct live *live, int fd, off_t size)
{
	/* Growing makes a hole, which takes no room: admitted when it is written. */
	if (ftruncate(fd, size) < 0)
		return -errno;
	return receipt_truncate(live->receipt, (uint64_t)size);
}

/* 1: only times moved. */
static int truncate_live(struct live *live, int fd, off_t size)
{
	uint64_t generation;
	struct stat st;
	int r;

	mutex_lock(&live->lock);
	while (live->moving || live->behind > 0)
		cond_wait(&live->changed, &live->lock);
	r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && st.st_size == size && (size > 0 || live->state != FILE_DAMAGED)) {
		r = touch_times(fd, size);
		mutex_unlock(&live->lock);
		return r < 0 ? r : 1;
	}
	if (r == 0 && size == 0)
		r = live_cut_locked(live, fd);
	mutex_unlock(&live->lock);
	if (r < 0 || size == 0)
		return r;

	r = live_lock_for_change(live, fd, CHANGE_AFTER_WRITES);
	if (r < 0)
		return r;
	generation = live->generation;
	r = resize_locked(live, fd, size);
	mutex_unlock(&live->lock);
	if (r < 0)
		change_failed(live, generation, r);
	return r;
}

/* truncate(2): a handle for the moment, whose release starts the verification. */
static int truncate_closed(struct volume *volume, const struct caller *caller, uint64_t id,
			   off_t size)
{
	struct file *file;
	int r;

	r = volume_open_file(volume, caller, id, size == 0 ? O_WRONLY | O_TRUNC : O_WRONLY, &file);
	if (r < 0)
		return r;
	if (size > 0)
		r = file_truncate(volume, caller, id, file, size);
	volume_release(file);
	return r;
}

int file_truncate(struct volume *volume, const struct caller *caller, uint64_t id,
		  struct file *file, off_t size)
{
	int r;

	if (size < 0)
		return -EINVAL;
	if ((uint64_t)size > BLOCKMAP_MAX_BYTES)
		return -EFBIG;
	if (!file || !file->can_write)
		return truncate_closed(volume, caller, id, size);
	r = check_writable(file);
	if (r < 0)
		return r;
	r = truncate_live(file->live, file->fd, size);
	if (r < 0)
		return r;
	if (r == 1)
		tell_attributes(file);
	drop_setid(caller, file);
	return 0;
}

/* Allocating ---------------------------------------------------------------------------- */

/* No byte and no size changes: room is kept for them. */
static bool only_reserves(int mode, off_t end, off_t size)
{
	return (mode & ~FALLOC_FL_UNSHARE_RANGE) == FALLOC_FL_KEEP_SIZE ||
	       ((mode & ~FALLOC_FL_UNSHARE_RANGE) == 0 && end <= size);
}

/* The receipt after fallocate @mode, successful or not: what may have changed is dirty. */
static int account_locked(struct live *live, int fd, int mode, off_t offset, off_t length)
{
	uint64_t before = receipt_size(live->receipt), size, end;
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	size = (uint64_t)st.st_size;
	if (size != before)
		r = receipt_truncate(live->receipt, size);
	if (r < 0)
		return r;
	if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
		end = size;
	else if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		end = (uint64_t)(offset + length);
	else
		return 0;
	if (end > size)
		end = size;
	if ((uint64_t)offset >= end)
		return 0;
	return receipt_touch(live->receipt, (uint64_t)offset, end - (uint64_t)offset);
}

static int allocate_locked(struct live *live, int fd, int mode, off_t offset, off_t length)
{
	int r, accounted;

	r = mode & FALLOC_FL_PUNCH_HOLE ? 0 : keeper_admit(live->volume->keeper, (uint64_t)length);
	if (r < 0)
		return r;
	r = fallocate(fd, mode, offset, length) < 0 ? -errno : 0;
	accounted = account_locked(live, fd, mode, offset, length);
	return accounted < 0 ? accounted : r;
}

/* 1: done, no byte changed. 0: it has to begin a generation. */
static int reserve_only(struct live *live, int fd, int mode, off_t offset, off_t length)
{
	struct stat st;
	int r;

	scoped_lock(&live->lock);
	live_drain_locked(live);
	if (live->has_residency)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!only_reserves(mode, offset + length, st.st_size))
		return 0;
	r = keeper_admit(live->volume->keeper, (uint64_t)length);
	if (r < 0)
		return r;
	return fallocate(fd, mode, offset, length) < 0 ? -errno : 1;
}

int volume_fallocate(struct file *file, const struct caller *caller, int mode, off_t offset,
		     off_t length)
{
	struct live *live = file->live;
	uint64_t generation;
	int r;

	r = check_writable(file);
	if (r < 0)
		return r;
	if (offset < 0 || length <= 0)
		return -EINVAL;
	if (offset > INT64_MAX - length || (uint64_t)(offset + length) > BLOCKMAP_MAX_BYTES)
		return -EFBIG;
	r = reserve_only(live, file->fd, mode, offset, length);
	if (r == 1) {
		drop_setid(caller, file);
		tell_attributes(file);
	}
	if (r != 0)
		return r < 0 ? r : 0;
	r = live_lock_for_change(live, file->fd, CHANGE_AFTER_WRITES);
	if (r < 0)
		return r;
	generation = live->generation;
	r = allocate_locked(live, file->fd, mode, offset, length);
	mutex_unlock(&live->lock);
	if (r == 0)
		drop_setid(caller, file);
	else if (r != -EOPNOTSUPP && r != -EINVAL)
		change_failed(live, generation, r);
	return r;
}
