/* SPDX-License-Identifier: Apache-2.0 */

/* Handles: create, open, flush, fsync, release (volume/file.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "volume/file_internal.h"
#include "volume/seals.h"
#include "volume/tree.h"
#include "volume/verifier.h"

static bool wants_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

/* Handles ------------------------------------------------------------------------------- */

/* Consumes @fd and the reference @live on success. Waits while the file is moved. */
static int file_new(struct live *live, int fd, int flags, struct file **ret_file)
{
	struct file *file = calloc(1, sizeof(*file));

	if (!file)
		return -ENOMEM;
	file->volume = live->volume;
	file->live = live;
	file->fd = fd;
	file->refs = 1;
	file->can_write = wants_write(flags);
	file->can_read = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY;

	scoped_lock(&live->lock);
	while (live->moving || live->behind > 0)
		cond_wait(&live->changed, &live->lock);
	if (live->state == FILE_ANNOUNCED && !(file->can_write && (flags & O_TRUNC))) {
		free(file);
		return -EAGAIN;
	}
	file->errors_told = live->error_count;
	file->passes = !file->can_write && file->can_read && live->writers == 0 &&
		       live_is_whole(live) && live->state != FILE_DAMAGED;
	if (file->can_write)
		live->writers++;
	else
		live->readers++;
	*ret_file = file;
	return 0;
}

/*
 * The backing file as a handle needs it: readable although opened for writing only, because
 * blocks written out of order are hashed from it. O_APPEND and O_DIRECT stay out: offsets come
 * from the kernel, and a mapping is written back with an unaligned tail.
 */
static int open_backing(struct volume *volume, uint64_t id, int flags)
{
	int fd;

	if (!wants_write(flags))
		return tree_open(volume, id, O_RDONLY | (flags & O_NOATIME));
	fd = tree_open(volume, id, O_RDWR);
	if (fd == -EACCES && (flags & O_ACCMODE) == O_WRONLY)
		fd = tree_open(volume, id, O_WRONLY);
	return fd;
}

static int cut(struct file *file, const struct caller *caller)
{
	return file_truncate(file->volume, caller, file_id(file), file, 0);
}

int volume_open_file(struct volume *volume, const struct caller *caller, uint64_t id, int flags,
		     struct file **ret_file)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	cleanup_close int fd = -1;
	struct file *file;
	int r;

	if (wants_write(flags) && (volume->flags & VOLUME_READ_ONLY))
		return -EROFS;
	/* Linux cuts what is opened for reading, too; the handle itself writes nothing. */
	if (!wants_write(flags) && (flags & O_TRUNC)) {
		r = file_truncate(volume, caller, id, NULL, 0);
		if (r < 0)
			return r;
	}
	fd = open_backing(volume, id, flags);
	if (fd < 0)
		return fd;
	r = live_get(volume, id, fd, &live);
	if (r < 0)
		return r;
	r = file_new(live, fd, flags, &file);
	if (r < 0)
		return r;
	live = NULL;
	fd = -1;
	/* Now that it counts as a writer: who seals the folder looks for those (seals_try()). */
	if (file->can_write)
		r = seals_check_change(volume->seals, id, file->fd);
	if (r == 0 && file->can_write && (flags & O_TRUNC))
		r = cut(file, caller);
	if (r < 0) {
		volume_release(file);
		return r;
	}
	*ret_file = file;
	return 0;
}

int volume_create(struct volume *volume, const struct caller *caller, uint64_t parent,
		  const char *name, mode_t mode, int flags, struct volume_entry *ret_entry,
		  struct file **ret_file)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	cleanup_close int fd = -1;
	struct volume_entry entry;
	int r;

	r = tree_create_file(volume, caller, parent, name, mode, O_RDWR, &entry, &live, &fd);
	if (r == -EEXIST && !(flags & O_EXCL))
		return -ESTALE; /* made by another meanwhile: the kernel looks again and checks it
				 */
	if (r < 0)
		return r;
	r = file_new(live, fd, flags, ret_file);
	if (r < 0) {
		volume_forget(volume, entry.id, 1); /* the empty file stays, as it may on ext4 */
		return r;
	}
	live = NULL;
	fd = -1;
	*ret_entry = entry;
	return 0;
}

int volume_tmpfile(struct volume *volume, const struct caller *caller, uint64_t parent, mode_t mode,
		   int flags, struct volume_entry *ret_entry, struct file **ret_file)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	cleanup_close int fd = -1;
	struct volume_entry entry;
	int r;

	r = tree_create_tmpfile(volume, caller, parent, mode, O_RDWR | (flags & O_EXCL), &entry,
				&live, &fd);
	if (r < 0)
		return r;
	r = file_new(live, fd, flags, ret_file);
	if (r < 0) {
		volume_forget(volume, entry.id, 1);
		return r;
	}
	live = NULL;
	fd = -1;
	*ret_entry = entry;
	return 0;
}

/* Errors and durability ----------------------------------------------------------------- */

/* What this handle was not told yet. */
static int take_error(struct file *file)
{
	struct live *live = file->live;

	scoped_lock(&live->lock);
	if (file->errors_told == live->error_count)
		return 0;
	file->errors_told = live->error_count;
	return live->error;
}

/* verify=close: @file is the only one that writes, and something was written. */
static bool must_verify(struct file *file)
{
	struct live *live = file->live;

	if (!file->can_write || volume_setting(file->volume, SETTING_VERIFY) == 0)
		return false;
	scoped_lock(&live->lock);
	return live->writers == 1 && !live->unlinked &&
	       (live->state == FILE_RECEIVING || live->state == FILE_RECEIVED);
}

int volume_flush(struct file *file)
{
	int r;

	live_drain(file->live);
	r = take_error(file);
	if (r < 0)
		return r;
	if (!must_verify(file))
		return 0;
	r = verifier_run(file->volume->verifier, file_id(file));
	if (r >= 0 || r == -ESTALE)
		return 0;       /* written meanwhile: another close will see to it */
	(void)take_error(file); /* told by the result */
	return r == -EBADMSG || r == -ENOTSUP ? -EIO : r;
}

int volume_fsync(struct file *file, bool data_only)
{
	struct live *live = file->live;
	enum file_state state;
	uint64_t generation;
	int r;

	live_drain(live);
	mutex_lock(&live->lock);
	generation = live->generation;
	state = live->state;
	mutex_unlock(&live->lock);

	r = data_only ? fdatasync(file->fd) : fsync(file->fd);
	if (r < 0) {
		r = -errno;
		/* The kernel forgets the pages that it could not write: they are lost. */
		if (state == FILE_RECEIVING || state == FILE_RECEIVED)
			live_lose(live, generation, r);
		(void)take_error(file); /* told by the result */
		return r;
	}
	r = take_error(file);
	return r == 0 && state == FILE_DAMAGED ? -EIO : r;
}

/* Release ------------------------------------------------------------------------------- */

/*
 * The last writer has closed. What was received is kept in the catalog at once when it
 * needs no reading: a restart verifies against it. True: the verifier has work.
 */
static bool closed_locked(struct file *file)
{
	struct live *live = file->live;
	struct digest digest;
	bool has_digest;
	struct stat st;

	if (live->unlinked || (live->state != FILE_RECEIVING && live->state != FILE_RECEIVED))
		return false;
	if (live->state == FILE_RECEIVED || !live->receipt || receipt_is_dirty(live->receipt))
		return true;
	if (receipt_settle(live->receipt, file->fd) < 0 || fstat(file->fd, &st) < 0)
		return true; /* the verifier tells what is wrong */
	has_digest = receipt_digest(live->receipt, &digest);
	if (catalog_set_received(live->volume->catalog, live->id, live->generation,
				 timespec_ns(st.st_mtim), timespec_ns(st.st_ctim),
				 receipt_map(live->receipt), has_digest ? &digest : NULL, 0) == 0)
		live->state = FILE_RECEIVED;
	return true;
}

void file_unref(struct file *file)
{
	struct live *live = file->live;
	bool verify = false;

	if (atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	mutex_lock(&live->lock);
	if (file->can_write) {
		if (--live->writers == 0)
			verify = closed_locked(file);
	} else {
		live->readers--;
	}
	cond_broadcast(&live->changed);
	mutex_unlock(&live->lock);

	if (verify)
		verifier_add(file->volume->verifier, live->id);
	(void)close(file->fd); /* errors of writing were told by flush */
	live_put(live);
	free(file);
}

void volume_release(struct file *file)
{
	if (!file)
		return;
	file_check_mapping(file);
	file_unref(file);
}

uint64_t file_id(const struct file *file)
{
	return file->live->id;
}

int file_fd(const struct file *file)
{
	return file->fd;
}

int file_passthrough_fd(const struct file *file)
{
	return file->passes ? file->fd : -1;
}
