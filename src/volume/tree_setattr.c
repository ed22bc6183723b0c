/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "volume/caller.h"
#include "volume/seals.h"
#include "volume/tree.h"

#define OWNER_MASK (SETATTR_UID | SETATTR_GID)
/* What manifests tell of a file. */
#define FILED_MASK (SETATTR_SIZE | SETATTR_MTIME | SETATTR_MTIME_NOW)
#define TIMES_MASK (SETATTR_ATIME | SETATTR_MTIME | SETATTR_ATIME_NOW | SETATTR_MTIME_NOW)

static int set_owner(int fd, const struct stat *values, unsigned mask)
{
	uid_t uid = mask & SETATTR_UID ? values->st_uid : (uid_t)-1;
	gid_t gid = mask & SETATTR_GID ? values->st_gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* fchmod() refuses O_PATH descriptors. */
static int set_mode(int fd, mode_t mode)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, mode & 07777) < 0 ? -errno : 0;
}

static struct timespec time_to_set(struct timespec value, bool set, bool now)
{
	if (now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return set ? value : (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_times(int fd, const struct stat *values, unsigned mask)
{
	const struct timespec times[2] = {
		time_to_set(values->st_atim, mask & SETATTR_ATIME, mask & SETATTR_ATIME_NOW),
		time_to_set(values->st_mtim, mask & SETATTR_MTIME, mask & SETATTR_MTIME_NOW),
	};

	return utimensat(fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int tree_queue_attributes(struct volume *volume, const struct stat *st)
{
	return catalog_set_attributes(volume->catalog, store_node_id(volume->store, st),
				      st->st_mode, (uint64_t)st->st_size, timespec_ns(st->st_mtim),
				      timespec_ns(st->st_ctim));
}

/* Owner before mode (it clears set-id bits), times last (the others change ctime only). */
static int set_on_disk(struct volume *volume, const struct caller *caller, uint64_t id,
		       struct file *file, int fd, const struct stat *values, unsigned mask)
{
	int r = 0;

	if (mask & SETATTR_SIZE)
		r = file_truncate(volume, caller, id, file, values->st_size);
	if (r == 0 && (mask & OWNER_MASK))
		r = set_owner(fd, values, mask);
	if (r == 0 && (mask & SETATTR_MODE))
		r = set_mode(fd, values->st_mode);
	/* Both: the kernel's own idea of the set-id bits a cut takes, older than caller.c's. */
	if (r == 0 && (mask & SETATTR_MODE) && (mask & SETATTR_SIZE))
		r = caller_drop_setid(caller, fd);
	if (r >= 0 && (mask & TIMES_MASK))
		r = set_times(fd, values, mask);
	return r;
}

int volume_setattr(struct volume *volume, const struct caller *caller, uint64_t id,
		   struct file *file, const struct stat *values, unsigned mask, struct stat *ret_st)
{
	cleanup_close int own = -1;
	struct stat st;
	int fd, r;

	if (mask && (volume->flags & VOLUME_READ_ONLY))
		return -EROFS;
	if (mask) {
		r = catalog_error(volume->catalog);
		if (r < 0)
			return r;
	}
	fd = file ? file_fd(file) : (own = tree_open(volume, id, O_PATH));
	if (fd < 0)
		return fd;
	if (mask & FILED_MASK) {
		r = seals_check_change(volume->seals, id, fd);
		if (r < 0)
			return r;
	}
	(void)live_drain_id(volume, id); /* a write put off would change the times again */
	r = set_on_disk(volume, caller, id, file, fd, values, mask);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (mask & ~(unsigned)(SETATTR_ATIME | SETATTR_ATIME_NOW)) {
		r = tree_queue_attributes(volume, &st);
		if (r < 0)
			return r;
	}
	r = volume_show_stat(volume, fd, &st);
	if (r == 0)
		*ret_st = st;
	return r;
}
