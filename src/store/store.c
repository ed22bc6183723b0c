/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "store/identity.h"
#include "util/cleanup.h"
#include "util/io.h"

#define LOCK_NAME "run/lock"

/* Bytes of run/lock that are locked: the store, and "the pid in here is that of the holder". */
enum lock_byte { LOCK_STORE = 0, LOCK_PID = 1 };

static struct flock lock_of(enum lock_byte byte)
{
	return (struct flock){
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1
	};
}

static int take_lock(int fd, enum lock_byte byte)
{
	struct flock lock = lock_of(byte);

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

static bool is_locked(int fd, enum lock_byte byte)
{
	struct flock lock = lock_of(byte);

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int lock_store(struct store *store)
{
	cleanup_close int fd = -1;
	char text[16];
	int length, r;

	/* The folder itself too: somebody may empty run/ while we are mounted. */
	if (flock(store->root_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (mkdirat(store->root_fd, "run", 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(store->root_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	r = take_lock(fd, LOCK_STORE);
	if (r < 0)
		return r;
	length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0)
		return -errno;
	r = write_at(fd, text, (size_t)length, 0);
	if (r < 0)
		return r;
	r = take_lock(fd, LOCK_PID);
	if (r < 0)
		return r;
	store->lock_fd = take_fd(fd);
	return 0;
}

pid_t store_locked_by(const char *path)
{
	cleanup_free char *name = path_join(path, LOCK_NAME);
	cleanup_close int fd = name ? open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	char text[16] = "";

	/* Between its two locks the holder only writes its pid. */
	while (fd >= 0 && is_locked(fd, LOCK_STORE)) {
		if (is_locked(fd, LOCK_PID) && pread(fd, text, sizeof(text) - 1, 0) > 0) {
			int pid = atoi(text);

			return pid > 1 ? pid : 0;
		}
		(void)usleep(1000);
	}
	return 0;
}

/* A file handle with room for the longest one we keep. */
union kernel_handle {
	struct file_handle handle;
	unsigned char space[sizeof(struct file_handle) + sizeof(((struct store_handle *)0)->bytes)];
};
#define KERNEL_HANDLE                                                                              \
	{                                                                                          \
		.handle.handle_bytes = sizeof(((struct store_handle *)0)->bytes)                   \
	}

static void probe_handles(struct store *store)
{
	union kernel_handle probe = KERNEL_HANDLE;
	cleanup_close int fd = -1;

	if (name_to_handle_at(store->tree_fd, "", &probe.handle, &store->mount_id, AT_EMPTY_PATH) <
	    0)
		return;
	fd = open_by_handle_at(store->mount_fd, &probe.handle, O_PATH | O_CLOEXEC);
	store->by_handle = fd >= 0;
}

static int open_tree(struct store *store)
{
	struct stat st;

	store->tree_fd =
		openat(store->root_fd, "tree", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (store->tree_fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? -EUCLEAN : -errno;
	if (fstat(store->tree_fd, &st) < 0)
		return -errno;
	store->tree_device = st.st_dev;
	store->tree_ino = st.st_ino;
	store->mount_fd = openat(store->tree_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->mount_fd < 0)
		return -errno;
	probe_handles(store);
	return 0;
}

int store_open(const char *path, enum store_flags flags, struct store **ret_store)
{
	cleanup_with(store_close_slot) struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	store->root_fd = store->tree_fd = store->mount_fd = store->lock_fd = -1;
	store->path = realpath(path, NULL);
	if (!store->path)
		return -errno;
	store->root_fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->root_fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	r = identity_read(store);
	if (r < 0)
		return r;
	if (flags & STORE_LOCK) {
		r = lock_store(store);
		if (r < 0)
			return r;
	}
	r = open_tree(store);
	if (r < 0)
		return r;
	*ret_store = take_ptr(store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	close_fd_slot(&store->mount_fd);
	close_fd_slot(&store->tree_fd);
	close_fd_slot(&store->lock_fd); /* and with it the locks */
	close_fd_slot(&store->root_fd);
	free(store->path);
	free(store);
}

char *store_file(const struct store *store, const char *name)
{
	return path_join(store->path, name);
}

int store_open_path(const struct store *store, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? mode & 07777 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	do {
		fd = syscall(SYS_openat2, store->tree_fd, *path ? path : ".", &how, sizeof(how));
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : (int)fd;
}

uint64_t store_node_id(const struct store *store, const struct stat *st)
{
	if (st->st_ino == store->tree_ino && st->st_dev == store->tree_device)
		return 1;
	return st->st_ino;
}

int store_make_handle(const struct store *store, int fd, struct store_handle *ret_handle)
{
	union kernel_handle made = KERNEL_HANDLE;
	int mount_id;

	memset(ret_handle, 0, sizeof(*ret_handle));
	if (!store->by_handle)
		return 0;
	if (name_to_handle_at(fd, "", &made.handle, &mount_id, AT_EMPTY_PATH) < 0)
		return errno == EOVERFLOW || errno == EOPNOTSUPP ? 0 : -errno;
	if (mount_id != store->mount_id || made.handle.handle_bytes > sizeof(ret_handle->bytes))
		return 0;
	ret_handle->type = (uint32_t)made.handle.handle_type;
	ret_handle->length = (uint8_t)made.handle.handle_bytes;
	memcpy(ret_handle->bytes, made.handle.f_handle, made.handle.handle_bytes);
	return 0;
}

int store_open_handle(const struct store *store, const struct store_handle *handle, int flags)
{
	union kernel_handle kernel = KERNEL_HANDLE;
	int fd;

	if (!handle->length || handle->length > sizeof(handle->bytes))
		return -EINVAL;
	kernel.handle.handle_bytes = handle->length;
	kernel.handle.handle_type = (int)handle->type;
	memcpy(kernel.handle.f_handle, handle->bytes, handle->length);
	fd = open_by_handle_at(store->mount_fd, &kernel.handle, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Holds the inode's generation: a number that was used again has another. */
static void name_handle(int dir_fd, const char *name, FILE *out)
{
	union kernel_handle handle = KERNEL_HANDLE;
	struct statfs fs;
	int mount_id;

	/* Those of a FUSE file system are the ones of this mount. */
	if (fstatfs(dir_fd, &fs) < 0 || fs.f_type == FUSE_SUPER_MAGIC ||
	    name_to_handle_at(dir_fd, name, &handle.handle, &mount_id, AT_EMPTY_PATH) < 0)
		return;
	(void)fputc(':', out);
	for (unsigned i = 0; i < handle.handle.handle_bytes; i++)
		(void)fprintf(out, "%02x", handle.handle.f_handle[i]);
}

/* Appends to @out; nothing for what is not there. */
static int name_inode(int dir_fd, const char *name, FILE *out)
{
	struct statx st;

	if (statx(dir_fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &st) <
	    0)
		return errno == ENOENT ? 0 : -errno;
	(void)fprintf(out, "%s%llu", *name ? "," : "", (unsigned long long)st.stx_ino);
	if (st.stx_mask & STATX_BTIME)
		(void)fprintf(out, "@%lld.%09u", (long long)st.stx_btime.tv_sec,
			      st.stx_btime.tv_nsec);
	name_handle(dir_fd, name, out);
	return 0;
}

int store_tree_name(const struct store *store, char **ret_name)
{
	char *name = NULL;
	size_t length;
	FILE *out = open_memstream(&name, &length);
	int r = out ? name_inode(store->tree_fd, "", out) : -ENOMEM;

	if (r == 0)
		r = name_inode(store->root_fd, "catalog.db", out);
	if (out && fclose(out) != 0 && r == 0)
		r = -ENOMEM;
	if (r == 0)
		*ret_name = name;
	else
		free(name);
	return r;
}

int store_reopen(int path_fd, int flags)
{
	char path[32];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = open(path, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
