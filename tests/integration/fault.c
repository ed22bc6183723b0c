/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A disk that fails, for LD_PRELOAD. The file that MEDIAFS_FAULT names is looked at on every call,
 * one fault a line:
 *
 *   CALL ERRNO PATTERN     CALL: write, sync, read; ERRNO: a number; PATTERN: glob of the path
 *   link ERRNO PATTERN     the target of a symlink cannot be read
 *   flip 0 PATTERN         what is read has its first bit turned
 *   stop 1 PATTERN         who reads it is stopped, as by SIGSTOP
 *   hold 1 PATTERN         who reads it waits until the table says so no more; there is a file
 *                          of the table's name and ".held" then
 *   holdsync 1 PATTERN     the same of who calls fsync() or fdatasync()
 *   spoil 0 PATTERN        what is written has its first bit turned
 *   access ERRNO PATTERN   access() of such a path fails
 *   times ERRNO PATTERN    times cannot be set
 *   flip2 0 PATTERN        the same from the second time on that a file's first bytes are read
 *   nosync 1 PATTERN       fsync and fdatasync do nothing, and say that they did
 *   noreplace 22 PATTERN   renameat2() with flags fails so; PATTERN: glob of the new name
 *   clock SECONDS *        the time of day is off by so much (may be negative)
 *
 * No file, no faults. Paths are those of /proc/self/fd.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The whole table, with plain system calls: none of ours is called again. */
static ssize_t load(char *text, size_t size)
{
	const char *path = getenv("MEDIAFS_FAULT");
	ssize_t n;
	long fd;

	fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
	if (fd < 0)
		return 0;
	n = syscall(SYS_read, fd, text, size - 1);
	(void)syscall(SYS_close, fd);
	return n > 0 ? n : 0;
}

static int fault_for_path(const char *call, const char *path)
{
	char text[2048], *rest = text, *line;

	text[load(text, sizeof(text))] = 0;
	while ((line = strsep(&rest, "\n")) != NULL) {
		char name[16], pattern[512];
		int error;

		if (sscanf(line, "%15s %d %511s", name, &error, pattern) == 3 &&
		    strcmp(name, call) == 0 && fnmatch(pattern, path, 0) == 0)
			return error ? error : -1;
	}
	return 0;
}

static int fault(const char *call, int fd)
{
	char link[32], path[4096];
	int saved = errno, found;
	ssize_t n;

	if (!getenv("MEDIAFS_FAULT"))
		return 0;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0) {
		errno = saved;
		return 0;
	}
	path[n] = 0;
	found = fault_for_path(call, path);
	errno = saved;
	return found;
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(call, fd)                                                                             \
	do {                                                                                       \
		int error_ = fault(call, fd);                                                      \
		if (error_ > 0) {                                                                  \
			errno = error_;                                                            \
			return -1;                                                                 \
		}                                                                                  \
	} while (0)

/* Of one file only: it is counted how often its first bytes were read. */
static int is_second(int fd, off64_t offset)
{
	static _Atomic int starts;

	if (!fault("flip2", fd))
		return 0;
	return (offset == 0 ? ++starts : starts) > 1;
}

static ssize_t maybe_flip(int fd, void *buffer, ssize_t n, off64_t offset)
{
	if (n > 0 && (fault("flip", fd) || is_second(fd, offset)))
		*(unsigned char *)buffer ^= 1;
	return n;
}

/* A whole write, so that nobody can tell: the buffer is the caller's, and stays as it is. */
static ssize_t spoil(int fd, const unsigned char *buffer, size_t length, off64_t offset)
{
	unsigned char first = buffer[0] ^ 1;

	if (syscall(SYS_pwrite64, fd, buffer, length, offset) != (long)length ||
	    syscall(SYS_pwrite64, fd, &first, 1, offset) != 1)
		return -1;
	return (ssize_t)length;
}

ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	NEXT(pwrite);
	FAIL("write", fd);
	if (length && fault("spoil", fd))
		return spoil(fd, buffer, length, offset);
	return next(fd, buffer, length, offset);
}

ssize_t pwrite64(int fd, const void *buffer, size_t length, off64_t offset)
{
	NEXT(pwrite64);
	FAIL("write", fd);
	if (length && fault("spoil", fd))
		return spoil(fd, buffer, length, offset);
	return next(fd, buffer, length, offset);
}

int access(const char *path, int mode)
{
	NEXT(access);
	int error = getenv("MEDIAFS_FAULT") ? fault_for_path("access", path) : 0;

	if (error > 0) {
		errno = error;
		return -1;
	}
	return next(path, mode);
}

ssize_t write(int fd, const void *buffer, size_t length)
{
	NEXT(write);
	FAIL("write", fd);
	return next(fd, buffer, length);
}

ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	NEXT(pwritev);
	FAIL("write", fd);
	return next(fd, vector, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *vector, int count, off64_t offset)
{
	NEXT(pwritev64);
	FAIL("write", fd);
	return next(fd, vector, count, offset);
}

ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length,
	       unsigned flags)
{
	NEXT(splice);
	FAIL("write", out);
	return next(in, in_offset, out, out_offset, length, flags);
}

static void hold(const char *call, int fd)
{
	char path[4096];

	while (fault(call, fd)) {
		(void)snprintf(path, sizeof(path), "%s.held", getenv("MEDIAFS_FAULT"));
		(void)syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, path,
						 O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		(void)poll(NULL, 0, 5);
	}
}

int fsync(int fd)
{
	NEXT(fsync);
	hold("holdsync", fd);
	FAIL("sync", fd);
	if (fault("nosync", fd))
		return 0;
	return next(fd);
}

int fdatasync(int fd)
{
	NEXT(fdatasync);
	hold("holdsync", fd);
	FAIL("sync", fd);
	if (fault("nosync", fd))
		return 0;
	return next(fd);
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
	NEXT(pread);
	if (fault("stop", fd))
		(void)raise(SIGSTOP);
	hold("hold", fd);
	FAIL("read", fd);
	return maybe_flip(fd, buffer, next(fd, buffer, length, offset), offset);
}

ssize_t pread64(int fd, void *buffer, size_t length, off64_t offset)
{
	NEXT(pread64);
	if (fault("stop", fd))
		(void)raise(SIGSTOP);
	hold("hold", fd);
	FAIL("read", fd);
	return maybe_flip(fd, buffer, next(fd, buffer, length, offset), offset);
}

/* Only of a link that is open itself, as all links of the tree are when they are read. */
ssize_t readlinkat(int fd, const char *path, char *buffer, size_t size)
{
	NEXT(readlinkat);
	if (*path == '\0')
		FAIL("link", fd);
	return next(fd, path, buffer, size);
}

/* Only of what is open itself, as readlinkat(). */
int utimensat(int fd, const char *path, const struct timespec times[2], int flags)
{
	NEXT(utimensat);
	if (*path == '\0')
		FAIL("times", fd);
	return next(fd, path, times, flags);
}

int renameat2(int old_dir, const char *old, int new_dir, const char *new, unsigned flags)
{
	int error = flags && getenv("MEDIAFS_FAULT") ? fault_for_path("noreplace", new) : 0;

	if (error > 0) {
		errno = error;
		return -1;
	}
	return (int)syscall(SYS_renameat2, old_dir, old, new_dir, new, flags);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int r = (int)syscall(SYS_clock_gettime, clock, time);

	if (r == 0 && clock == CLOCK_REALTIME && getenv("MEDIAFS_FAULT"))
		time->tv_sec += fault_for_path("clock", "");
	return r;
}
