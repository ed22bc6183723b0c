/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/folder.h"
#include "util/io.h"

/* The folder that @path lies in, and its own name there. */
static int open_folder(const int *root, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *folder = strndup(path, slash ? (size_t)(slash - path) : 0);

	*ret_name = slash ? slash + 1 : path;
	return folder ? open_beneath(*root, folder, O_RDONLY | O_DIRECTORY, 0) : -ENOMEM;
}

static int make_folder(void *arg, const char *path)
{
	const char *name;
	cleanup_close int fd = open_folder(arg, path, &name);

	if (fd < 0)
		return fd;
	return mkdirat(fd, name, 0777) < 0 ? -errno : 0;
}

static int write_bytes(void *arg, const char *path, const void *bytes, size_t length)
{
	const char *name;
	cleanup_close int fd = open_folder(arg, path, &name);

	return fd < 0 ? fd : write_file(fd, name, bytes, length, 0666);
}

static int rename_path(void *arg, const char *path, const char *new_path)
{
	const char *name, *slash = strrchr(new_path, '/');
	cleanup_close int fd = open_folder(arg, path, &name);

	if (fd < 0)
		return fd;
	if (renameat2(fd, name, fd, slash ? slash + 1 : new_path, RENAME_NOREPLACE) < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int remove_path(void *arg, const char *path)
{
	const char *name;
	cleanup_close int fd = open_folder(arg, path, &name);

	if (fd < 0)
		return fd;
	if (unlinkat(fd, name, 0) == 0 ||
	    (errno == EISDIR && unlinkat(fd, name, AT_REMOVEDIR) == 0))
		return 0;
	return -errno;
}

/* In a mounted volume a folder says so itself: xattr user.mediafs.sealed (mediafs(1)). */
static int is_sealed(void *arg, const char *path)
{
	cleanup_close int fd = open_beneath(*(const int *)arg, path, O_RDONLY | O_DIRECTORY, 0);
	char text[2];

	if (fd < 0)
		return fd;
	return fgetxattr(fd, "user.mediafs.sealed", text, sizeof(text)) == 1 && text[0] == '1';
}

struct manifest_files manifest_files_of(const int *fd)
{
	return (struct manifest_files){ make_folder, write_bytes, rename_path,
					remove_path, is_sealed,   (void *)fd };
}
