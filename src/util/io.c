/* SPDX-License-Identifier: Apache-2.0 */
#include "util/io.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"

#define NAME_BYTES 255
#define PATH_BYTES 4095

/* The kernel moves at most 0x7ffff000 bytes a call; stay below on every architecture. */
#define CALL_BYTES (1u << 30)

/*
 * Not so many either when writing: a write of 1 MiB and more gets page cache in blocks so large
 * that on a virtual machine which gives free memory back they come from the host anew, at thrice
 * to ten times the time.
 */
#define WRITE_BYTES (256u << 10)

int read_at(int fd, void *buffer, size_t length, off_t offset)
{
	size_t done = 0;

	while (done < length) {
		size_t want = length - done < CALL_BYTES ? length - done : CALL_BYTES;
		ssize_t n = pread(fd, (char *)buffer + done, want, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

int write_at(int fd, const void *buffer, size_t length, off_t offset)
{
	size_t done = 0;

	while (done < length) {
		size_t want = length - done < WRITE_BYTES ? length - done : WRITE_BYTES;
		ssize_t n = pwrite(fd, (const char *)buffer + done, want, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* no progress and no reason: never loop on it */
		done += (size_t)n;
	}
	return 0;
}

int write_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		ssize_t done = write(fd, at, length);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			at += done;
			length -= (size_t)done;
		}
	}
	return 0;
}

/* Up to @max_bytes + 1 bytes until the end, so that the caller sees what is too long. */
static int read_to_end(int fd, size_t max_bytes, char **ret_bytes, size_t *ret_length)
{
	cleanup_free char *bytes = NULL;
	size_t room = 0, used = 0;

	for (;;) {
		ssize_t n;

		if (used + 1 >= room) {
			size_t grown = room ? room * 2 : 4096;
			char *moved;

			if (grown > max_bytes + 2)
				grown = max_bytes + 2;
			moved = realloc(bytes, grown);
			if (!moved)
				return -ENOMEM;
			bytes = moved;
			room = grown;
		}
		n = read(fd, bytes + used, room - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max_bytes)
			return -EFBIG;
	}
	bytes[used] = '\0';
	*ret_bytes = take_ptr(bytes);
	*ret_length = used;
	return 0;
}

int read_file(int dir_fd, const char *name, size_t max_bytes, char **ret_bytes, size_t *ret_length)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (max_bytes > SIZE_MAX / 4)
		return -EINVAL;
	/* Not blocked by a fifo that lies where a file should. */
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return read_to_end(fd, max_bytes, ret_bytes, ret_length);
}

/* The part of @name up to and with its last '/': "" when none. Caller frees. */
static char *folder_of(const char *name)
{
	const char *slash = strrchr(name, '/');

	return strndup(name, slash ? (size_t)(slash - name) + 1 : 0);
}

static int random_hex(char ret_hex[33])
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return errno ? -errno : -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(ret_hex + i * 2, 3, "%02x", bytes[i]);
	return 0;
}

static int fill_and_sync(int fd, const void *bytes, size_t length)
{
	int r = write_at(fd, bytes, length, 0);

	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

int write_file(int dir_fd, const char *name, const void *bytes, size_t length, mode_t mode)
{
	cleanup_free char *folder = folder_of(name);
	cleanup_free char *temporary = NULL;
	char hex[33];
	int fd, r;

	if (!folder)
		return -ENOMEM;
	r = random_hex(hex);
	if (r < 0)
		return r;
	if (asprintf(&temporary, "%s.tmp-%s", folder, hex) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = fill_and_sync(fd, bytes, length);
	if (r < 0)
		goto undo_create;
	if (renameat(dir_fd, temporary, dir_fd, name) < 0) {
		r = -errno;
		goto undo_create;
	}
	return sync_parent(dir_fd, name);

undo_create:
	(void)unlinkat(dir_fd, temporary, 0); /* the error that brought us here says more */
	return r;
}

int sync_parent(int dir_fd, const char *name)
{
	cleanup_free char *folder = folder_of(name);
	cleanup_close int fd = -1;

	if (!folder)
		return -ENOMEM;
	fd = openat(dir_fd, folder[0] ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

/* Open the folder @name in @dir_fd, made durably when it is missing. A descriptor. */
static int enter_folder(int dir_fd, const char *name)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
	int fd = openat(dir_fd, name, flags);

	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? -errno : fd;
	if (mkdirat(dir_fd, name, 0777) < 0 && errno != EEXIST)
		return -errno;
	if (fsync(dir_fd) < 0)
		return -errno;
	fd = openat(dir_fd, name, flags);
	return fd < 0 ? -errno : fd;
}

int make_parents(int dir_fd, const char *path)
{
	cleanup_close int fd = -1;

	fd = openat(dir_fd, path[0] == '/' ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (const char *slash = strchr(path, '/'); slash; slash = strchr(path, '/')) {
		cleanup_free char *name = strndup(path, (size_t)(slash - path));
		int next;

		path = slash + 1;
		if (!name)
			return -ENOMEM;
		if (!name[0])
			continue;
		if (!name_ok(name))
			return -EINVAL;
		next = enter_folder(fd, name);
		if (next < 0)
			return next;
		(void)close(fd);
		fd = next;
	}
	return 0;
}

static bool span_ok(const char *name, size_t length)
{
	if (length == 0 || length > NAME_BYTES)
		return false;
	if (name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.')))
		return false;
	return !memchr(name, '/', length);
}

bool name_ok(const char *name)
{
	return span_ok(name, strnlen(name, NAME_BYTES + 1));
}

bool path_ok(const char *path)
{
	size_t length = strnlen(path, PATH_BYTES + 1);

	if (length > PATH_BYTES)
		return false;
	for (;;) {
		size_t span = strcspn(path, "/");

		if (!span_ok(path, span))
			return false;
		if (!path[span])
			return true;
		path += span + 1;
	}
}

char *path_join(const char *parent, const char *name)
{
	char *path;

	if (!parent[0])
		return strdup(name);
	return asprintf(&path, "%s/%s", parent, name) < 0 ? NULL : path;
}

int uuid_make(char ret_uuid[37])
{
	char hex[33];
	int r = random_hex(hex);

	if (r < 0)
		return r;
	hex[12] = '4';
	hex[16] = "89ab"[(hex[16] <= '9' ? hex[16] - '0' : hex[16] - 'a' + 10) & 3];
	(void)snprintf(ret_uuid, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
		       hex + 20);
	return 0;
}

bool uuid_ok(const char *uuid)
{
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (!uuid[i] || (dash ? uuid[i] != '-' : !strchr("0123456789abcdef", uuid[i])))
			return false;
	}
	return !uuid[36];
}

bool glob_matches(const char *glob, const char *text)
{
	return fnmatch(glob, text, FNM_CASEFOLD) == 0;
}
