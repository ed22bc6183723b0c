/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"
#include "volume/filling.h"
#include "volume/keeper.h"
#include "volume/tree.h"

/* The content that the residency speaks of. */
static int get_content(struct volume *volume, const struct residency *residency,
		       struct content_row *ret_content)
{
	int r = catalog_find_content(volume->catalog, residency->size, &residency->digest,
				     ret_content);

	return r == 0 ? -ENOENT : r;
}

/*
 * Ours to write whatever its mode says: who is not root cannot open a file that it made
 * read-only, so the owner's write bit is lent to it for a moment.
 */
static int open_to_fill(struct volume *volume, uint64_t id)
{
	cleanup_close int path_fd = -1;
	char link[32];
	struct stat st;
	int fd;

	fd = tree_open(volume, id, O_RDWR | O_CLOEXEC | O_NOATIME);
	if (fd != -EACCES && fd != -EPERM)
		return fd;
	path_fd = tree_open(volume, id, O_PATH | O_CLOEXEC);
	if (path_fd < 0)
		return path_fd;
	if (fstat(path_fd, &st) < 0)
		return -errno;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	if (chmod(link, (st.st_mode & 07777) | S_IRUSR | S_IWUSR) < 0)
		return -errno;
	fd = open(link, O_RDWR | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	if (chmod(link, st.st_mode & 07777) < 0)
		log_warning_errno(-errno, "cannot give inode %" PRIu64 " its mode back", id);
	return fd;
}

/*
 * What is written back must not show: the file keeps its mtime, and its ctime as long as
 * the times are ours (until end_putting_back()).
 */
static int write_quietly_locked(struct live *live, int fd, const void *buffer, size_t length,
				uint64_t offset)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (live->putting_back == 1) /* else the times are ours already */
		live->residency.shown_ctime_ns =
			residency_ctime(&live->residency, timespec_ns(st.st_ctim));
	times[1] = st.st_mtim;
	r = write_at(fd, buffer, length, (off_t)offset);
	if (futimens(fd, times) < 0 && r == 0)
		r = -errno;
	return r;
}

/* The bit, or none when it failed: the record is what says that the ctime is our doing. */
static int end_putting_back_locked(struct live *live, int fd)
{
	struct stat st;
	int r = residency_write(fd, &live->residency);

	live->putting_back--;
	if (r == 0 && fstat(fd, &st) == 0)
		live->residency.written_ns = timespec_ns(st.st_ctim);
	return r;
}

/* 1 still absent, 0 it is here by now; -ESTALE rewritten meanwhile. */
static int is_absent_locked(struct live *live, uint64_t generation, uint64_t offset)
{
	while (live->moving)
		cond_wait(&live->changed, &live->lock);
	if (live->generation != generation || !live->has_residency)
		return -ESTALE;
	return !residency_has(&live->residency, offset / BLOCK_BYTES);
}

static int put_back(struct live *live, uint64_t generation, int fd, uint64_t offset, size_t length,
		    const void *buffer)
{
	uint64_t block = offset / BLOCK_BYTES;
	int r, ended;

	mutex_lock(&live->lock);
	r = is_absent_locked(live, generation, offset);
	if (r <= 0) {
		mutex_unlock(&live->lock);
		return r;
	}
	live->putting_back++;
	r = write_quietly_locked(live, fd, buffer, length, offset);
	mutex_unlock(&live->lock);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;

	scoped_lock(&live->lock);
	if (live->generation != generation || !live->has_residency) {
		live->putting_back--;
		return -ESTALE;
	}
	if (r == 0)
		residency_set(&live->residency, block);
	ended = end_putting_back_locked(live, fd);
	if (r == 0 && ended < 0)
		residency_clear(&live->residency, block);
	return r < 0 ? r : ended;
}

static int fetch_and_put_back(struct live *live, uint64_t generation, uint64_t offset,
			      const struct residency *residency, enum hydrate_flags flags,
			      const struct tier_source *pace)
{
	struct volume *volume = live->volume;
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	cleanup_free uint8_t *buffer = NULL;
	cleanup_close int fd = -1;
	uint64_t start, length;
	int r;

	residency_granule(residency, offset / BLOCK_BYTES, &start, &length);
	r = keeper_admit(volume->keeper, length);
	if (r < 0)
		return r;
	r = get_content(volume, residency, &content);
	if (r < 0)
		return r;
	buffer = malloc(length);
	if (!buffer)
		return -ENOMEM;
	fd = open_to_fill(volume, live->id);
	if (fd < 0)
		return fd;
	r = transfer_fetch(volume->transfer, &content, start, buffer, length,
			   flags & HYDRATE_URGENT ? FETCH_URGENT : 0, pace);
	if (r < 0)
		return r;
	return put_back(live, generation, fd, start, length, buffer);
}

static bool is_worth_a_line(int error)
{
	return error < 0 && error != -ESTALE && error != -ECANCELED && error != -EHOSTDOWN &&
	       error != -ENOSPC && error != -ENOMEDIUM;
}

int hydrate_granule(struct live *live, uint64_t generation, uint64_t offset,
		    enum hydrate_flags flags, const struct tier_source *pace)
{
	cleanup_free struct residency *residency = malloc(sizeof(*residency));
	int r;

	if (!residency)
		return -ENOMEM;
	mutex_lock(&live->lock);
	r = is_absent_locked(live, generation, offset);
	*residency = live->residency;
	mutex_unlock(&live->lock);
	if (r <= 0)
		return r;
	r = fetch_and_put_back(live, generation, offset, residency, flags, pace);
	if (is_worth_a_line(r)) {
		cleanup_free char *path = volume_path_of(live->volume, live->id);

		log_error_errno(r, "%s: the block at %" PRIu64 " cannot be brought back",
				path ? path : "?", offset);
	}
	return r;
}
