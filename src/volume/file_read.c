/* SPDX-License-Identifier: Apache-2.0 */

/* Reading: resident bytes now, absent ones when a tier gave them (volume/file.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "volume/file_internal.h"
#include "volume/hydrate.h"

#define COPY_BYTES (1u << 20)
#define COPY_MAX_BYTES (64u << 20) /* for one call: the worker is needed by others too */

/* A read that waits for the hydrator. */
struct parked {
	struct file *file; /* one ref */
	struct parked *next;
	void *buffer; /* borrowed until the answer */
	size_t length;
	off_t offset;
	volume_read_done done;
	void *arg;
	unsigned tries;
	unsigned holders; /* guarded by live->lock: the hydrator's answer, and a canceller */
};

/* True when all of the range (as far as the file goes) is here. */
static bool is_here_locked(const struct live *live, off_t offset, size_t *length)
{
	uint64_t size = live->residency.size;

	if (!live->has_residency)
		return true;
	if ((uint64_t)offset >= size)
		return true;
	if (*length > size - (uint64_t)offset)
		*length = (size_t)(size - (uint64_t)offset);
	return residency_has_range(&live->residency, (uint64_t)offset, *length);
}

/*
 * The range is here and stays: no file with an open handle is evicted, so it may be read
 * without the lock. Moving ends before a handle is made.
 */
static bool is_here(struct live *live, off_t offset, size_t *length)
{
	scoped_lock(&live->lock);
	live_drain_locked(live);
	return is_here_locked(live, offset, length);
}

/* Parked reads -------------------------------------------------------------------------- */

static void unlink_parked_locked(struct parked *parked)
{
	struct parked **slot = &parked->file->parked;

	while (*slot && *slot != parked)
		slot = &(*slot)->next;
	if (*slot)
		*slot = parked->next;
}

static void parked_drop(struct parked *parked)
{
	struct live *live = parked->file->live;
	bool last;

	mutex_lock(&live->lock);
	last = --parked->holders == 0;
	mutex_unlock(&live->lock);
	if (!last)
		return;
	file_unref(parked->file);
	free(parked);
}

static void parked_answer(struct parked *parked, ssize_t result)
{
	volume_read_done done = parked->done;
	void *arg = parked->arg;

	mutex_lock(&parked->file->live->lock);
	unlink_parked_locked(parked);
	mutex_unlock(&parked->file->live->lock);
	parked_drop(parked);
	done(arg, result);
}

/* From a hydrator thread. */
static void parked_hydrated(void *arg, int result)
{
	struct parked *parked = arg;
	struct file *file = parked->file;

	if (result < 0) {
		parked_answer(parked, result);
		return;
	}
	if (is_here(file->live, parked->offset, &parked->length)) {
		parked_answer(parked, file_read_resident(file, parked->buffer, parked->length,
							 parked->offset));
		return;
	}
	/* Cannot happen while handles keep blocks here; never loop on it. */
	result = parked->tries++ < 2 ? hydrate_async(file->live, file, (uint64_t)parked->offset,
						     parked->length, parked_hydrated, parked)
				     : -EIO;
	if (result < 0)
		parked_answer(parked, result);
}

static int park(struct file *file, const struct parked *values)
{
	struct parked *parked = malloc(sizeof(*parked));
	struct live *live = file->live;
	int r;

	if (!parked)
		return -ENOMEM;
	*parked = *values;
	atomic_fetch_add(&file->refs, 1);
	mutex_lock(&live->lock);
	parked->next = file->parked;
	file->parked = parked;
	mutex_unlock(&live->lock);

	r = hydrate_async(live, file, (uint64_t)parked->offset, parked->length, parked_hydrated,
			  parked);
	if (r >= 0)
		return -EINPROGRESS;
	mutex_lock(&live->lock);
	unlink_parked_locked(parked);
	mutex_unlock(&live->lock);
	parked_drop(parked);
	return r;
}

/* As is_here(); when some of the rest is not, what comes next may be fetched ahead. */
static bool is_here_for_reader(struct file *file, off_t offset, size_t *length)
{
	struct live *live = file->live;
	bool here, whole;

	mutex_lock(&live->lock);
	live_drain_locked(live);
	here = is_here_locked(live, offset, length);
	whole = live_is_whole(live);
	mutex_unlock(&live->lock);
	if (here && !whole)
		hydrate_hint(live, file, (uint64_t)offset, *length);
	return here;
}

ssize_t volume_read(struct file *file, void *buffer, size_t length, off_t offset,
		    volume_read_done done, void *arg)
{
	if (!file->can_read)
		return -EBADF;
	if (offset < 0)
		return -EINVAL;
	if (is_here_for_reader(file, offset, &length))
		return file_read_resident(file, buffer, length, offset);
	return park(file, &(struct parked){ .file = file,
					    .buffer = buffer,
					    .length = length,
					    .offset = offset,
					    .done = done,
					    .arg = arg,
					    .holders = 1 });
}

void volume_read_cancel(struct file *file, void *arg)
{
	struct live *live = file->live;
	struct parked *parked;

	mutex_lock(&live->lock);
	for (parked = file->parked; parked && parked->arg != arg; parked = parked->next)
		;
	if (parked)
		parked->holders++; /* its address is not used again while the hydrator looks for it
				    */
	mutex_unlock(&live->lock);
	if (!parked)
		return;
	hydrate_cancel(file->volume->hydrator, parked);
	parked_drop(parked);
}

/* Seeking and copying ------------------------------------------------------------------- */

/* A file with blocks elsewhere has no hole: `tar --sparse` would archive zeros. */
static off_t seek_full(uint64_t size, off_t offset, int whence)
{
	if (offset < 0 || (uint64_t)offset >= size)
		return -ENXIO;
	return whence == SEEK_DATA ? offset : (off_t)size;
}

off_t volume_seek(struct file *file, off_t offset, int whence)
{
	struct live *live = file->live;
	off_t position;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	{
		scoped_lock(&live->lock);
		live_drain_locked(live);
		if (live->has_residency)
			return seek_full(live->residency.size, offset, whence);
	}
	position = lseek(file->fd, offset, whence);
	return position < 0 ? -errno : position;
}

/* Bytes are read and written here, not cloned: the receipt has to see them. */
ssize_t volume_copy_range(struct file *in, off_t in_offset, struct file *out, off_t out_offset,
			  size_t length)
{
	cleanup_free char *buffer = NULL;
	size_t done = 0;

	if (!in->can_read || !out->can_write)
		return -EBADF;
	if (in_offset < 0 || out_offset < 0)
		return -EINVAL;
	if (length > COPY_MAX_BYTES)
		length = COPY_MAX_BYTES;
	if (!is_here(in->live, in_offset, &length))
		return -EXDEV;
	buffer = malloc(COPY_BYTES);
	if (!buffer)
		return -ENOMEM;
	while (done < length) {
		size_t want = length - done < COPY_BYTES ? length - done : COPY_BYTES;
		ssize_t n = file_read_resident(in, buffer, want, in_offset + (off_t)done);

		if (n > 0)
			n = volume_write(out, NULL, buffer, (size_t)n, out_offset + (off_t)done);
		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}
