/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/inlet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest/import_rules.h"
#include "manifest/list.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"

#define CHUNK_BYTES ((size_t)1 << 20)
#define PARTIAL_SIZE (sizeof(IMPORT_PARTIAL_START IMPORT_PARTIAL_END) + 16)

void inlet_init(struct inlet *inlet, int fd)
{
	*inlet = (struct inlet){ .fd = fd, .parent_fd = -1 };
}

void inlet_fini(struct inlet *inlet)
{
	free(inlet->parent);
	inlet->parent = NULL;
	if (inlet->parent_fd >= 0)
		(void)close(inlet->parent_fd); /* a folder, read only */
	inlet->parent_fd = -1;
}

/* Below @fd (taken): the folder @name, made when it is not there. */
static int enter(int fd, const char *name, bool *ret_made)
{
	int inner, r;

	*ret_made = mkdirat(fd, name, 0777) == 0;
	r = *ret_made || errno == EEXIST ? 0 : -errno;
	inner = r < 0 ? -1 : openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r == 0 && inner < 0)
		r = errno == ELOOP ? -ENOTDIR : -errno;
	(void)close(fd);
	return r < 0 ? r : inner;
}

/* Walk to the folder @path of @length bytes, making what is missing. *ret_made: the last one. */
static int walk(struct inlet *inlet, const char *path, size_t length, bool *ret_made)
{
	cleanup_free char *folder = strndup(path, length);
	int fd;

	*ret_made = false;
	if (!folder)
		return -ENOMEM;
	if (inlet->parent && strcmp(inlet->parent, folder) == 0)
		return 0;
	inlet_fini(inlet);
	fd = fcntl(inlet->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	for (char *name = folder; fd >= 0 && *name;) {
		size_t part = strcspn(name, "/");
		char end = name[part];

		name[part] = '\0';
		fd = enter(fd, name, ret_made);
		name[part] = end;
		name += part + (end == '/');
	}
	if (fd < 0)
		return fd;
	inlet->parent_fd = fd;
	inlet->parent = take_ptr(folder);
	return 0;
}

/* The folder that @path lies in is parent_fd then; its name there, or NULL with *ret_r. */
static const char *name_in(struct inlet *inlet, const char *path, int *ret_r)
{
	const char *slash = strrchr(path, '/');
	bool made;

	*ret_r = walk(inlet, path, slash ? (size_t)(slash - path) : 0, &made);
	if (*ret_r < 0)
		return NULL;
	return slash ? slash + 1 : path;
}

/* The same after a kill, so that what is left is used again. */
static void partial_name(const char *name, char ret_name[PARTIAL_SIZE])
{
	(void)snprintf(ret_name, PARTIAL_SIZE, IMPORT_PARTIAL_START "%016llx" IMPORT_PARTIAL_END,
		       (unsigned long long)block_hash(name, strlen(name)));
}

int inlet_folder(struct inlet *inlet, const char *path)
{
	bool made;
	int r = walk(inlet, path, strlen(path), &made);

	return r < 0 ? r : made;
}

int inlet_begin(struct inlet *inlet, const char *path)
{
	char partial[PARTIAL_SIZE];
	int fd, r;
	const char *name = name_in(inlet, path, &r);

	if (!name)
		return r;
	if (faccessat(inlet->parent_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	partial_name(name, partial);
	/* Made anew: what a killed run left may still be on its way to being verified. */
	if (unlinkat(inlet->parent_fd, partial, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(inlet->parent_fd, partial, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	return fd < 0 ? -errno : fd;
}

int inlet_write(int fd, const void *bytes, size_t length, uint64_t offset)
{
	return write_at(fd, bytes, length, (off_t)offset);
}

static int set_attributes(int fd, mode_t mode, int64_t mtime_ns)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (fchmod(fd, mode & 0777) < 0)
		return -errno;
	if (mtime_ns == NO_TIME)
		return 0;
	times[1] = ns_timespec(mtime_ns);
	return futimens(fd, times) < 0 ? -errno : 0;
}

int inlet_finish(struct inlet *inlet, const char *path, int fd, mode_t mode, int64_t mtime_ns)
{
	char partial[PARTIAL_SIZE];
	const char *name;
	int r = set_attributes(fd, mode, mtime_ns);

	if (r < 0) {
		inlet_drop(inlet, path, fd);
		return r;
	}
	if (close(fd) < 0)
		r = -errno;
	name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	partial_name(name, partial);
	if (r == 0 &&
	    renameat2(inlet->parent_fd, partial, inlet->parent_fd, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(inlet->parent_fd, partial, 0); /* the first error is told */
	return r;
}

void inlet_drop(struct inlet *inlet, const char *path, int fd)
{
	char partial[PARTIAL_SIZE];
	const char *slash = strrchr(path, '/');

	(void)close(fd); /* what was written is not wanted */
	partial_name(slash ? slash + 1 : path, partial);
	(void)unlinkat(inlet->parent_fd, partial, 0);
}

static int read_digest(int fd, struct digest *ret_digest)
{
	cleanup_with(digest_free_slot) struct digest_state *state = digest_new();
	cleanup_free char *chunk = malloc(CHUNK_BYTES);
	ssize_t n;

	if (!state || !chunk)
		return -ENOMEM;
	while ((n = read(fd, chunk, CHUNK_BYTES)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			digest_update(state, chunk, (size_t)n);
	}
	digest_final(state, ret_digest);
	return 0;
}

int inlet_digest(struct inlet *inlet, const char *path,
		 int (*known)(void *arg, int fd, struct digest *ret_digest), void *arg,
		 struct digest *ret_digest)
{
	cleanup_close int fd = -1;
	struct stat st;
	int r;
	const char *name = name_in(inlet, path, &r);

	if (!name)
		return r;
	if (fstatat(inlet->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	fd = openat(inlet->parent_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = known ? known(arg, fd, ret_digest) : 0;
	if (r != 0)
		return r < 0 ? r : 0;
	return read_digest(fd, ret_digest);
}

static bool is_same_link(int folder_fd, const char *name, const char *target)
{
	char there[PATH_MAX];
	ssize_t length = readlinkat(folder_fd, name, there, sizeof(there));

	return length >= 0 && (size_t)length == strlen(target) &&
	       memcmp(there, target, (size_t)length) == 0;
}

static int hard_link(struct inlet *inlet, const char *path, const char *target)
{
	cleanup_close int from_fd = -1;
	struct stat from, there;
	char self[64];
	int r;
	const char *name = name_in(inlet, target, &r);

	if (!name)
		return r;
	from_fd = openat(inlet->parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (from_fd < 0 || fstat(from_fd, &from) < 0)
		return -errno;
	if (!S_ISREG(from.st_mode))
		return -EEXIST;
	name = name_in(inlet, path, &r);
	if (!name)
		return r;
	if (fstatat(inlet->parent_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0)
		return there.st_ino == from.st_ino && there.st_dev == from.st_dev ? 0 : -EEXIST;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", from_fd);
	return linkat(AT_FDCWD, self, inlet->parent_fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 1;
}

int inlet_link(struct inlet *inlet, const char *path, const char *target, bool hard)
{
	const char *name;
	int r;

	if (hard)
		return hard_link(inlet, path, target);
	name = name_in(inlet, path, &r);
	if (!name)
		return r;
	if (symlinkat(target, inlet->parent_fd, name) == 0)
		return 1;
	if (errno != EEXIST)
		return -errno;
	return is_same_link(inlet->parent_fd, name, target) ? 0 : -EEXIST;
}

int inlet_attributes(struct inlet *inlet, const char *path, mode_t mode, int64_t mtime_ns)
{
	bool made;
	int r = walk(inlet, path, strlen(path), &made);

	return r < 0 ? r : set_attributes(inlet->parent_fd, mode, mtime_ns);
}
