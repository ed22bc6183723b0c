/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The Nth call fails, or the first one from a place in the program, for LD_PRELOAD. The file that
 * MEDIAFS_NTH names is mapped and shared: who tests writes struct control into it (see nth.py), at
 * any time. The failing call's stack goes to stderr.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum class {
	ALLOC = 1 << 0, /* memory */
	WRITE = 1 << 1, /* bytes to a file */
	SYNC = 1 << 2,
	READ = 1 << 3,
	NAME = 1 << 4, /* what changes names */
	OPEN = 1 << 5,
	ATTR = 1 << 6, /* xattrs, times, size, room */
	NET = 1 << 7,
};

#define PLACES 16384
#define PLACE_ANY 0
#define PLACE_NOTE (-1)

/* Eight bytes each, in the order of nth.py. */
struct control {
	_Atomic int64_t classes;        /* that are counted; 0: none */
	_Atomic int64_t left;           /* calls until the one that fails, itself included */
	_Atomic int64_t error;          /* its errno */
	_Atomic int64_t hits;           /* calls that failed */
	_Atomic int64_t place;          /* of which calls are counted, or one of the above */
	_Atomic int64_t places[PLACES]; /* noted with PLACE_NOTE; 0: free */
};

#define FRAMES 32
#define PROGRAM_BYTES (64u << 20) /* more than it has; libraries lie far away */

static struct control *control;
static uintptr_t program; /* where it was loaded */

/* glibc's own, so that ours can be found before dlsym() works. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static int note_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	program = info->dlpi_addr;
	return 1; /* the first is the program itself */
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("MEDIAFS_NTH");
	void *frames[2], *map;
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	(void)dl_iterate_phdr(note_program, NULL);
	(void)backtrace(frames, 2); /* the first call allocates */
	map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)syscall(SYS_close, fd);
	control = map == MAP_FAILED ? NULL : map;
}

/*
 * A number for the stack, the same in every process: only of what is the program's own. Of what a
 * library does for one of its calls the first is taken: it is the program that has to bear it.
 */
static int64_t place_of(void *const *frames, int count)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (int i = 0; i < count; i++) {
		uintptr_t at = (uintptr_t)frames[i] - program;

		if (at < PROGRAM_BYTES)
			hash = (hash ^ at) * 1099511628211u;
	}
	return (int64_t)(hash >> 1 | 1);
}

static void note_place(int64_t place)
{
	for (size_t i = (size_t)place % PLACES, tries = 0; tries < PLACES; tries++) {
		int64_t seen = 0;

		if (atomic_compare_exchange_strong(&control->places[i], &seen, place) ||
		    seen == place)
			return;
		i = (i + 1) % PLACES;
	}
}

static bool fails(enum class class)
{
	void *frames[FRAMES];
	int count = 0;

	if (!control || !(atomic_load_explicit(&control->classes, memory_order_relaxed) & class))
		return false;
	if (control->place != PLACE_ANY) {
		int64_t place;

		count = backtrace(frames, FRAMES);
		place = place_of(frames, count);
		if (control->place == PLACE_NOTE)
			note_place(place);
		if (control->place != place)
			return false;
	}
	if (atomic_fetch_sub(&control->left, 1) != 1)
		return false;
	atomic_fetch_add(&control->hits, 1);
	if (!count)
		count = backtrace(frames, FRAMES);
	backtrace_symbols_fd(frames, count, 2);
	errno = (int)control->error;
	return true;
}

void *malloc(size_t size)
{
	return fails(ALLOC) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails(ALLOC) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return fails(ALLOC) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
	if (size && count > SIZE_MAX / size) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, count * size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails(ALLOC) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *memory = fails(ALLOC) ? NULL : __libc_memalign(alignment, size);

	if (!memory)
		return ENOMEM;
	*ret = memory;
	return 0;
}

/* Plain calls, each with its class; some have two names, by the size of off_t. */
#define INJECT(class, failed, type, name, parameters, arguments)                                   \
	type name parameters                                                                       \
	{                                                                                          \
		static type(*next) parameters;                                                     \
		if (!next)                                                                         \
			next = (type(*) parameters)dlsym(RTLD_NEXT, #name);                        \
		if (fails(class))                                                                  \
			return failed;                                                             \
		return next arguments;                                                             \
	}
#define INJECT64(class, type, name, parameters, arguments)                                         \
	INJECT(class, -1, type, name, parameters, arguments)                                       \
	INJECT(class, -1, type, name##64, parameters, arguments)

INJECT64(WRITE, ssize_t, pwrite, (int fd, const void *from, size_t length, off_t offset),
	 (fd, from, length, offset))
INJECT64(WRITE, ssize_t, pwritev, (int fd, const struct iovec *from, int count, off_t offset),
	 (fd, from, count, offset))
INJECT(WRITE, -1, ssize_t, write, (int fd, const void *from, size_t length), (fd, from, length))
INJECT(SYNC, -1, int, fsync, (int fd), (fd))
INJECT(SYNC, -1, int, fdatasync, (int fd), (fd))
INJECT(SYNC, -1, int, syncfs, (int fd), (fd))
INJECT64(READ, ssize_t, pread, (int fd, void *to, size_t length, off_t offset),
	 (fd, to, length, offset))
INJECT(READ, -1, ssize_t, getdents64, (int fd, void *to, size_t length), (fd, to, length))
INJECT(READ, -1, int, fstat, (int fd, struct stat *ret), (fd, ret))
INJECT(READ, -1, int, fstat64, (int fd, struct stat64 *ret), (fd, ret))
INJECT(READ, -1, int, fstatat64, (int at, const char *name, struct stat64 *ret, int flags),
       (at, name, ret, flags))
INJECT(NAME, -1, int, renameat, (int old_at, const char *old, int at, const char *name),
       (old_at, old, at, name))
INJECT(NAME, -1, int, renameat2,
       (int old_at, const char *old, int at, const char *name, unsigned flags),
       (old_at, old, at, name, flags))
INJECT(NAME, -1, int, linkat, (int old_at, const char *old, int at, const char *name, int flags),
       (old_at, old, at, name, flags))
INJECT(NAME, -1, int, unlinkat, (int at, const char *name, int flags), (at, name, flags))
INJECT(NAME, -1, int, mkdirat, (int at, const char *name, mode_t mode), (at, name, mode))
INJECT(NAME, -1, int, symlinkat, (const char *target, int at, const char *name), (target, at, name))
INJECT(NAME, -1, int, mknodat, (int at, const char *name, mode_t mode, dev_t device),
       (at, name, mode, device))
INJECT(OPEN, -1, int, open_by_handle_at, (int at, struct file_handle *handle, int flags),
       (at, handle, flags))
INJECT64(ATTR, int, ftruncate, (int fd, off_t size), (fd, size))
INJECT64(ATTR, int, fallocate, (int fd, int mode, off_t offset, off_t length),
	 (fd, mode, offset, length))
INJECT(ATTR, -1, int, futimens, (int fd, const struct timespec times[2]), (fd, times))
INJECT(ATTR, -1, int, fsetxattr,
       (int fd, const char *name, const void *value, size_t size, int flags),
       (fd, name, value, size, flags))
INJECT(ATTR, -1, ssize_t, fgetxattr, (int fd, const char *name, void *value, size_t size),
       (fd, name, value, size))
INJECT(ATTR, -1, int, fremovexattr, (int fd, const char *name), (fd, name))

INJECT(NET, EAI_AGAIN, int, getaddrinfo,
       (const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **ret),
       (host, service, hints, ret))
INJECT(NET, -1, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
INJECT(NET, -1, int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
       (fd, level, name, value, size))
INJECT(NET, -1, int, poll, (struct pollfd * fds, nfds_t count, int timeout_ms),
       (fds, count, timeout_ms))
INJECT(NET, -1, int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
INJECT(NET, -1, ssize_t, send, (int fd, const void *from, size_t length, int flags),
       (fd, from, length, flags))
INJECT(NET, -1, ssize_t, recv, (int fd, void *to, size_t length, int flags),
       (fd, to, length, flags))

/* The mode is passed on whether there is one or not: nobody looks at it without O_CREAT. */
#define INJECT_OPEN(name, parameters, last, arguments)                                             \
	int name parameters                                                                        \
	{                                                                                          \
		static int(*next) parameters;                                                      \
		va_list ap;                                                                        \
		mode_t mode;                                                                       \
		if (!next)                                                                         \
			next = (int(*) parameters)dlsym(RTLD_NEXT, #name);                         \
		va_start(ap, last);                                                                \
		mode = va_arg(ap, mode_t);                                                         \
		va_end(ap);                                                                        \
		if (fails(OPEN))                                                                   \
			return -1;                                                                 \
		return next arguments;                                                             \
	}

INJECT_OPEN(openat, (int at, const char *path, int flags, ...), flags, (at, path, flags, mode))
INJECT_OPEN(openat64, (int at, const char *path, int flags, ...), flags, (at, path, flags, mode))
INJECT_OPEN(open64, (const char *path, int flags, ...), flags, (path, flags, mode))
