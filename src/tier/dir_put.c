/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An object comes into a directory tier: written below .mediafs/v1/tmp/, synced, read back past
 * the cache, and only then renamed to its key, never over anything (but our own heads). A crash
 * leaves a temporary file, which a later run takes away.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

#include "hash/readback.h"
#include "tier/internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"

/* An object on its way in. */
struct arrival {
	const struct tier_object *object;
	const struct tier_source *source;
	int root_fd, temp_dir_fd, folder_fd; /* owned */
	int fd;                              /* owned; the temporary file */
	const char *name;                    /* last part of the key */
	struct temp_name temp;
};

/* fsync of a folder: some file systems have no such thing, and need none. */
static int sync_folder(int fd)
{
	if (fsync(fd) == 0 || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)
		return 0;
	return dir_error(-errno);
}

/* The folder of @key beneath @root_fd, made when missing; no symlink is followed. */
static int make_folder(int root_fd, const char *key)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	cleanup_close int fd = openat(root_fd, ".", flags);

	if (fd < 0)
		return dir_error(-errno);
	for (const char *slash; (slash = strchr(key, '/')) != NULL; key = slash + 1) {
		char part[256];
		int next, r;

		memcpy(part, key, (size_t)(slash - key)); /* the key was checked: at most 255 */
		part[slash - key] = 0;
		next = openat(fd, part, flags);
		if (next < 0 && errno == ENOENT) {
			if (mkdirat(fd, part, 0777) < 0 && errno != EEXIST)
				return dir_error(-errno);
			r = sync_folder(fd);
			if (r < 0)
				return r;
			next = openat(fd, part, flags);
		}
		if (next < 0)
			return dir_error(-errno);
		(void)close(fd);
		fd = next;
	}
	return take_fd(fd);
}

/* Room for all of it, or a plain no before hours of copying. */
static int reserve(int fd, uint64_t size)
{
	if (!size || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0)
		return 0;
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		return dir_error(-errno);
	return 0; /* cannot be asked here */
}

static int pace(const struct tier_source *source, uint64_t bytes)
{
	int r = source->pace ? source->pace(source->arg, bytes) : 0;

	return r > 0 ? -ECANCELED : r;
}

static int fill_block(const struct arrival *arrival, uint64_t offset, void *buffer, size_t length)
{
	int r = arrival->source->read(arrival->source->arg, offset, buffer, length);

	if (r < 0)
		return r;
	r = write_at(arrival->fd, buffer, length, (off_t)offset);
	if (r < 0)
		return dir_error(r);
	/* On its way now, so that the sync at the end is short. */
	(void)sync_file_range(arrival->fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
	return pace(arrival->source, length);
}

static int fill(const struct arrival *arrival)
{
	cleanup_with(digest_free_slot) struct digest_state *state = digest_new();
	cleanup_free void *buffer = malloc(BLOCK_BYTES);
	uint64_t size = arrival->object->size;
	struct digest digest;

	if (!state || !buffer)
		return -ENOMEM;
	for (uint64_t i = 0; i < blockmap_count(size); i++) {
		size_t length = blockmap_length(size, i);
		int r = fill_block(arrival, i * BLOCK_BYTES, buffer, length);

		if (r < 0)
			return r;
		digest_update(state, buffer, length);
	}
	digest_final(state, &digest);
	return digest_equal(&digest, &arrival->object->digest) ? 0 : -ESTALE;
}

/* Times and mode for those who use the place without us; not every place can keep them. */
static int dress(const struct arrival *arrival)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };

	if (fchmod(arrival->fd, (arrival->object->mode & 0777) | 0400) < 0 && errno != EPERM &&
	    errno != EOPNOTSUPP && errno != ENOSYS)
		return dir_error(-errno);
	if (arrival->object->mtime_ns == INT64_MIN)
		return 0;
	times[1] = ns_timespec(arrival->object->mtime_ns);
	if (futimens(arrival->fd, times) < 0 && errno != EPERM && errno != EOPNOTSUPP &&
	    errno != ENOSYS && errno != EINVAL && errno != ERANGE)
		return dir_error(-errno);
	return 0;
}

static int pace_reading(void *arg, uint64_t bytes)
{
	(void)bytes; /* counted when they were written: only "go on?" is asked */
	return pace(arg, 0);
}

static int prove(const struct arrival *arrival)
{
	struct readback readback = { .pace = pace_reading, .arg = (void *)arrival->source };
	uint64_t size;
	int r;

	if (fsync(arrival->fd) < 0)
		return dir_error(-errno);
	r = readback_file(arrival->fd, &readback);
	size = readback.map.size;
	blockmap_fini(&readback.map);
	r = dir_readback_error(arrival->fd, r, readback.source);
	if (r < 0)
		return r;
	if (size != arrival->object->size ||
	    !digest_equal(&readback.digest, &arrival->object->digest))
		return -EBADMSG;
	return 0;
}

/* For places without links: an empty file takes the name first, then ours replaces it. */
static int publish_over_own(const struct arrival *arrival)
{
	int fd = openat(arrival->folder_fd, arrival->name,
			O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return dir_error(-errno);
	(void)close(fd); /* holds nothing */
	if (renameat(arrival->temp_dir_fd, arrival->temp.text, arrival->folder_fd, arrival->name) ==
	    0)
		return 0;
	r = dir_error(-errno);
	(void)unlinkat(arrival->folder_fd, arrival->name, 0); /* made above */
	return r;
}

/* For places whose rename can only replace (NFS). */
static int publish_by_link(const struct arrival *arrival)
{
	struct stat st;

	if (linkat(arrival->temp_dir_fd, arrival->temp.text, arrival->folder_fd, arrival->name,
		   0) == 0)
		goto linked;
	if (errno == EEXIST) {
		/* NFS says so too when its first answer was lost. */
		if (fstat(arrival->fd, &st) == 0 && st.st_nlink == 2)
			goto linked;
		return -EEXIST;
	}
	if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
		return publish_over_own(arrival);
	return dir_error(-errno);

linked:
	(void)unlinkat(arrival->temp_dir_fd, arrival->temp.text, 0); /* swept later otherwise */
	return 0;
}

static int publish(const struct arrival *arrival, enum store_object_flags flags)
{
	int r;

	r = renameat2(arrival->temp_dir_fd, arrival->temp.text, arrival->folder_fd, arrival->name,
		      flags & OBJECT_REPLACE ? 0 : RENAME_NOREPLACE) < 0
		    ? -errno
		    : 0;
	if (r == -EINVAL || r == -ENOSYS || r == -EOPNOTSUPP)
		r = flags & OBJECT_REPLACE ? r : publish_by_link(arrival);
	if (r < 0)
		return dir_error(r);
	return sync_folder(arrival->folder_fd);
}

static int arrive(struct dir_tier *dir, struct arrival *arrival, const char *key,
		  enum store_object_flags flags)
{
	struct stat st;
	int r;

	arrival->root_fd = dir_open_root(dir);
	if (arrival->root_fd < 0)
		return arrival->root_fd;
	arrival->folder_fd = make_folder(arrival->root_fd, key);
	if (arrival->folder_fd < 0)
		return arrival->folder_fd;
	if (!(flags & OBJECT_REPLACE) &&
	    fstatat(arrival->folder_fd, arrival->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	arrival->temp_dir_fd = make_folder(arrival->root_fd, TEMP_FOLDER);
	if (arrival->temp_dir_fd < 0)
		return arrival->temp_dir_fd;
	dir_sweep_once(dir, arrival->root_fd);

	r = dir_temp_begin(dir, &arrival->temp);
	if (r < 0)
		return r;
	arrival->fd = openat(arrival->temp_dir_fd, arrival->temp.text,
			     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return arrival->fd < 0 ? dir_error(-errno) : 0;
}

static int bring(const struct arrival *arrival, enum store_object_flags flags)
{
	int r;

	r = reserve(arrival->fd, arrival->object->size);
	if (r == 0)
		r = fill(arrival);
	if (r == 0)
		r = dress(arrival);
	if (r == 0)
		r = prove(arrival);
	if (r == 0)
		r = publish(arrival, flags);
	return r;
}

int dir_store_object(struct dir_tier *dir, const char *key, const struct tier_object *object,
		     const struct tier_source *source, enum store_object_flags flags)
{
	const char *slash = strrchr(key, '/');
	struct arrival arrival = { .object = object,
				   .source = source,
				   .root_fd = -1,
				   .temp_dir_fd = -1,
				   .folder_fd = -1,
				   .fd = -1,
				   .name = slash ? slash + 1 : key };
	int r;

	r = arrive(dir, &arrival, key, flags);
	if (r == 0) {
		r = bring(&arrival, flags);
		if (r < 0) {
			/* Gone already when only the last sync failed; there again, it may be, on a
			 * disk that went away. */
			(void)unlinkat(arrival.temp_dir_fd, arrival.temp.text, 0);
			atomic_store(&dir->swept, false);
		}
		/* Read back and proven: the pages would only push others out. */
		(void)posix_fadvise(arrival.fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	dir_temp_end(dir, &arrival.temp);
	close_fd_slot(&arrival.fd);
	close_fd_slot(&arrival.temp_dir_fd);
	close_fd_slot(&arrival.folder_fd);
	close_fd_slot(&arrival.root_fd);
	return r;
}
