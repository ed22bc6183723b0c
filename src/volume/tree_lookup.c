/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "volume/keeper.h"
#include "volume/tree.h"

/* "." and "..": asked for by who exports the file system, for inodes that we may have forgotten. */
static int lookup_dots(struct volume *volume, uint64_t id, const char *name,
		       struct volume_entry *ret_entry)
{
	cleanup_close int self = tree_open(volume, id, O_PATH);
	cleanup_close int up = -1;
	struct stat st;

	if (self < 0)
		return self;
	if (strcmp(name, "..") == 0 && id != CATALOG_ROOT) {
		up = openat(self, "..", O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
		if (up < 0)
			return -errno;
	}
	if (fstat(up >= 0 ? up : self, &st) < 0)
		return -errno;
	return tree_entry(volume, up >= 0 ? up : self, &st, 0, NULL, ret_entry);
}

int volume_lookup(struct volume *volume, uint64_t parent, const char *name,
		  struct volume_entry *ret_entry)
{
	cleanup_close int folder = -1, fd = -1;
	struct stat st;
	int r;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return lookup_dots(volume, parent, name, ret_entry);
	r = tree_check_name(name);
	if (r < 0)
		return r;
	folder = nodes_open(volume->nodes, parent, O_PATH | O_DIRECTORY);
	if (folder < 0)
		return folder;
	fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	return tree_entry(volume, fd, &st, parent, name, ret_entry);
}

void volume_forget(struct volume *volume, uint64_t id, uint64_t count)
{
	nodes_forget(volume->nodes, id, count);
}

int volume_getattr(struct volume *volume, uint64_t id, struct file *file, struct stat *ret_st)
{
	cleanup_close int own = -1;
	struct stat st;
	int fd, r;

	fd = file ? file_fd(file) : (own = tree_open(volume, id, O_PATH));
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	r = volume_show_stat(volume, fd, &st);
	if (r == 0)
		*ret_st = st;
	return r;
}

int volume_readlink(struct volume *volume, uint64_t id, char **ret_target)
{
	cleanup_close int fd = tree_open(volume, id, O_PATH);
	cleanup_free char *target = NULL;
	ssize_t length;

	if (fd < 0)
		return fd;
	/* Linux links are at most PATH_MAX - 1 bytes. */
	target = malloc(PATH_MAX + 1);
	if (!target)
		return -ENOMEM;
	length = readlinkat(fd, "", target, PATH_MAX);
	if (length < 0)
		return errno == ENOENT ? -EINVAL : -errno;
	target[length] = '\0';
	*ret_target = take_ptr(target);
	return 0;
}

int volume_statfs(struct volume *volume, struct statvfs *ret_statfs)
{
	struct statvfs st;
	fsblkcnt_t reserve;

	if (fstatvfs(volume->store->tree_fd, &st) < 0)
		return -errno;
	/* What the reserve keeps from writers is not available: copy tools compare with this. */
	reserve = st.f_frsize ? keeper_reserve(volume, (uint64_t)st.f_blocks * st.f_frsize) /
					st.f_frsize
			      : 0;
	st.f_bavail = st.f_bavail > reserve ? st.f_bavail - reserve : 0;
	st.f_bfree = st.f_bfree > reserve ? st.f_bfree - reserve : 0;
	st.f_namemax = NAME_MAX_BYTES;
	*ret_statfs = st;
	return 0;
}
