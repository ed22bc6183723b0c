/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "store/residency.h"
#include "util/cleanup.h"
#include "volume/caller.h"
#include "volume/tree.h"

/* Set once any attribute was ever kept in the catalog: without it nobody looks there. */
#define META_USED "xattrs"

#define ACL_ACCESS "system.posix_acl_access"
#define LABEL "security.selinux"

/* The whole list of names that Linux takes. Source: XATTR_LIST_MAX in linux/limits.h. */
#define LIST_MAX 65536

struct proc_path {
	char text[32];
};

/* Attributes of what an O_PATH descriptor names; links are not followed further. */
static struct proc_path path_of_fd(int fd)
{
	struct proc_path path;

	(void)snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

static bool is_virtual(const char *name)
{
	return strncmp(name, VIRTUAL_PREFIX, strlen(VIRTUAL_PREFIX)) == 0;
}

static bool starts_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* True when some file has attributes in the catalog. */
static int catalog_is_used(struct volume *volume)
{
	struct nodes_xattrs *xattrs = nodes_xattrs(volume->nodes);
	cleanup_free char *value = NULL;
	int r;

	if (xattrs->used != XATTRS_UNKNOWN)
		return xattrs->used == XATTRS_SOME;
	r = catalog_get_meta(volume->catalog, META_USED, &value);
	if (r < 0)
		return r;
	/* Only from unknown: a writer may have been faster. */
	int unknown = XATTRS_UNKNOWN;
	(void)atomic_compare_exchange_strong(&xattrs->used, &unknown,
					     r > 0 ? XATTRS_SOME : XATTRS_NONE);
	return xattrs->used == XATTRS_SOME;
}

/* Make readable what was queued; nothing to wait for when nothing was. */
static int settle(struct volume *volume)
{
	struct nodes_xattrs *xattrs = nodes_xattrs(volume->nodes);
	uint64_t written = xattrs->written;
	int r;

	if (xattrs->settled >= written)
		return 0;
	r = catalog_barrier(volume->catalog);
	if (r < 0)
		return r;
	/* Another's later barrier may have got further; going back only costs a barrier. */
	xattrs->settled = written;
	return 0;
}

/* 1 found (caller frees), 0 not. */
static int catalog_value(struct volume *volume, uint64_t id, const char *name, void **ret_value,
			 size_t *ret_size)
{
	int r = catalog_is_used(volume);

	if (r > 0)
		r = settle(volume) < 0 ? -EIO : 1;
	if (r <= 0)
		return r;
	return catalog_get_xattr(volume->catalog, id, name, ret_value, ret_size);
}

static int in_catalog(struct volume *volume, uint64_t id, const char *name)
{
	cleanup_free void *value = NULL;
	size_t size;

	return catalog_value(volume, id, name, &value, &size);
}

static int put_in_catalog(struct volume *volume, uint64_t id, const char *name, const void *value,
			  size_t size)
{
	struct nodes_xattrs *xattrs = nodes_xattrs(volume->nodes);
	int r = 0;

	if (xattrs->used != XATTRS_SOME)
		r = catalog_set_meta(volume->catalog, META_USED, "1");
	if (r == 0)
		r = catalog_set_xattr(volume->catalog, id, name, value, size);
	xattrs->written++;
	xattrs->used = XATTRS_SOME;
	return r;
}

static int remove_from_catalog(struct volume *volume, uint64_t id, const char *name)
{
	int r = catalog_remove_xattr(volume->catalog, id, name);

	nodes_xattrs(volume->nodes)->written++;
	return r;
}

/* The backing file has no room for it or does not know its kind; the disk itself is not full. */
static bool belongs_in_catalog(struct volume *volume, const char *name, int error)
{
	struct statvfs st;

	if (starts_with(name, "system."))
		return false;
	if (error == -E2BIG || error == -ERANGE)
		return true;
	if (error == -EOPNOTSUPP)
		return starts_with(name, "user.");
	if (error != -ENOSPC)
		return false;
	/* ext4 says ENOSPC to what does not fit the inode's one attribute block. */
	return fstatvfs(volume->store->tree_fd, &st) == 0 && st.f_bavail > 0;
}

ssize_t volume_getxattr(struct volume *volume, uint64_t id, const char *name, void *value,
			size_t size)
{
	cleanup_close int fd = -1;
	cleanup_free void *kept = NULL;
	size_t kept_size;
	ssize_t length;
	int r;

	if (is_virtual(name))
		return virtual_get(volume, id, name, value, size);
	fd = tree_open(volume, id, O_PATH);
	if (fd < 0)
		return fd;
	length = getxattr(path_of_fd(fd).text, name, value, size);
	if (length >= 0)
		return length;
	if (errno != ENODATA && errno != EOPNOTSUPP)
		return -errno;
	length = -errno;
	r = catalog_value(volume, id, name, &kept, &kept_size);
	/* ls asks for it with each file, until it hears that there is no such thing here. */
	if (r == 0 && !nodes_xattrs(volume->nodes)->labels && strcmp(name, LABEL) == 0)
		return -EOPNOTSUPP;
	if (r <= 0)
		return r < 0 ? r : length;
	if (size == 0)
		return (ssize_t)kept_size;
	if (kept_size > size)
		return -ERANGE;
	memcpy(value, kept, kept_size);
	return (ssize_t)kept_size;
}

/* Names of the backing file that @caller may see, moved to the front; their length. */
static size_t filter_list(char *list, size_t length, const struct caller *caller)
{
	size_t kept = 0;

	for (size_t at = 0; at < length;) {
		size_t size = strlen(list + at) + 1;
		bool shown = !is_virtual(list + at) &&
			     (caller->uid == 0 || !starts_with(list + at, "trusted."));

		if (shown) {
			memmove(list + kept, list + at, size);
			kept += size;
		}
		at += size;
	}
	return kept;
}

static int backing_list(struct volume *volume, uint64_t id, const struct caller *caller,
			char *buffer, size_t *ret_length)
{
	cleanup_close int fd = tree_open(volume, id, O_PATH);
	ssize_t length;

	if (fd < 0)
		return fd;
	length = listxattr(path_of_fd(fd).text, buffer, LIST_MAX);
	if (length < 0 && errno != EOPNOTSUPP)
		return -errno;
	*ret_length = length > 0 ? filter_list(buffer, (size_t)length, caller) : 0;
	return 0;
}

ssize_t volume_listxattr(struct volume *volume, const struct caller *caller, uint64_t id,
			 char *list, size_t size)
{
	cleanup_free char *buffer = malloc(LIST_MAX), *kept = NULL;
	size_t length = 0, kept_length = 0;
	int r;

	if (!buffer)
		return -ENOMEM;
	r = backing_list(volume, id, caller, buffer, &length);
	if (r == 0)
		r = catalog_is_used(volume);
	if (r > 0)
		r = settle(volume);
	else if (r == 0)
		goto give; /* nothing is kept in the catalog */
	if (r == 0)
		r = catalog_list_xattr(volume->catalog, id, &kept, &kept_length);
	if (r < 0)
		return r;
	if (kept_length)
		kept_length = filter_list(kept, kept_length, caller);
give:
	if (size == 0)
		return (ssize_t)(length + kept_length);
	if (length + kept_length > size)
		return -ERANGE;
	memcpy(list, buffer, length);
	if (kept_length)
		memcpy(list + length, kept, kept_length);
	return (ssize_t)(length + kept_length);
}

/*
 * An ACL set by somebody outside the file's group takes its set-gid bit. The kernel leaves that
 * to us, and the library does not hand on that it asked.
 */
static int drop_setgid(const struct caller *caller, int fd)
{
	struct stat st;

	if (caller->uid == 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!(st.st_mode & S_ISGID) || caller_in_group(caller, st.st_gid))
		return 0;
	return chmod(path_of_fd(fd).text, st.st_mode & 07777 & ~(mode_t)S_ISGID) < 0 ? -errno : 0;
}

/* Keep in the catalog what the backing file refused; its older value there goes. */
static int set_in_catalog(struct volume *volume, int fd, uint64_t id, const char *name,
			  const void *value, size_t size)
{
	struct stat st;
	int r = put_in_catalog(volume, id, name, value, size);

	if (r < 0)
		return r;
	if (removexattr(path_of_fd(fd).text, name) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
		return -errno;
	/* As any change of attributes does: ctime moves. */
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISLNK(st.st_mode) && chmod(path_of_fd(fd).text, st.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

static int set_value(struct volume *volume, int fd, uint64_t id, const char *name,
		     const void *value, size_t size, int flags)
{
	int kept = starts_with(name, "system.") ? 0 : in_catalog(volume, id, name);
	int r;

	if (kept < 0)
		return kept;
	if (kept && (flags & XATTR_CREATE))
		return -EEXIST;
	/* One that lies in the catalog exists, though the backing file does not know it. */
	r = setxattr(path_of_fd(fd).text, name, value, size, kept ? 0 : flags) < 0 ? -errno : 0;
	if (r == 0)
		return kept ? remove_from_catalog(volume, id, name) : 0;
	if (!belongs_in_catalog(volume, name, r))
		return r;
	if (!kept && (flags & XATTR_REPLACE) && getxattr(path_of_fd(fd).text, name, NULL, 0) < 0)
		return -ENODATA;
	return set_in_catalog(volume, fd, id, name, value, size);
}

static int may_change(struct volume *volume)
{
	return volume->flags & VOLUME_READ_ONLY ? -EROFS : catalog_error(volume->catalog);
}

/* The change moved ctime, an ACL perhaps the mode. */
static int queue_changed(struct volume *volume, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return tree_queue_attributes(volume, &st);
}

int volume_setxattr(struct volume *volume, const struct caller *caller, uint64_t id,
		    const char *name, const void *value, size_t size, int flags)
{
	cleanup_close int fd = -1;
	int r;

	r = may_change(volume);
	if (r < 0)
		return r;
	if (is_virtual(name))
		return virtual_set(volume, id, name, value, size);
	fd = tree_open(volume, id, O_PATH);
	if (fd < 0)
		return fd;
	r = set_value(volume, fd, id, name, value, size, flags);
	if (r == 0 && strcmp(name, ACL_ACCESS) == 0)
		r = drop_setgid(caller, fd);
	return r < 0 ? r : queue_changed(volume, fd);
}

static int remove_value(struct volume *volume, int fd, uint64_t id, const char *name)
{
	int r = 0, kept;

	if (removexattr(path_of_fd(fd).text, name) < 0)
		r = -errno;
	if (r != -ENODATA && r != -EOPNOTSUPP)
		return r;
	kept = in_catalog(volume, id, name);
	if (kept <= 0)
		return kept < 0 ? kept : r;
	return remove_from_catalog(volume, id, name);
}

int volume_removexattr(struct volume *volume, const struct caller *caller, uint64_t id,
		       const char *name)
{
	cleanup_close int fd = -1;
	int r;

	(void)caller;
	r = may_change(volume);
	if (r < 0)
		return r;
	if (is_virtual(name))
		return virtual_set(volume, id, name, NULL, 0);
	fd = tree_open(volume, id, O_PATH);
	if (fd < 0)
		return fd;
	r = remove_value(volume, fd, id, name);
	return r < 0 ? r : queue_changed(volume, fd);
}
