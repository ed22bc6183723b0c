/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Directory tier: a folder on a NAS, a shuttle drive, a mounted tape. Objects lie under their
 * own names, what is ours below .mediafs/. Nothing outside the folder is ever touched: no
 * symlink in it is followed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "hash/readback.h"
#include "tier/internal.h"
#include "util/cleanup.h"
#include "util/folder.h"
#include "util/io.h"

int dir_error(int error)
{
	switch (-error) {
	case EIO:
	case EUCLEAN: /* a damaged file system there is not our data here */
		return -EREMOTEIO;
	case EDQUOT:
		return -ENOSPC;
	case ESTALE:
	case ENOTCONN:
	case ENODEV:
	case ENXIO:
	case ENOMEDIUM:
	case ESHUTDOWN:
	case ETIMEDOUT:
	case ECONNABORTED:
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENETDOWN:
	case ENETUNREACH:
		return -EHOSTDOWN;
	default:
		return error;
	}
}

int dir_readback_error(int fd, int r, enum readback_source source)
{
	struct stat st;

	if (r == -ESTALE && fstat(fd, &st) == 0)
		return -EBADMSG;
	if (r == 0 && source == READBACK_CACHED)
		return -EREMOTEIO;
	return dir_error(r);
}

int dir_open_beneath(int root_fd, const char *path, int flags)
{
	int fd = open_beneath(root_fd, path, flags, 0);

	return fd < 0 ? dir_error(fd) : fd;
}

/* The identity file, open: -EHOSTDOWN unless it is there and the expected one. */
static int check_identity(int root_fd, const char *expected)
{
	struct tier_identity identity;
	cleanup_close int fd = -1;
	char bytes[4096];
	ssize_t n;
	int r;

	fd = dir_open_beneath(root_fd, TIER_IDENTITY_KEY, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -EREMOTEIO ? -EHOSTDOWN : fd;
	n = pread(fd, bytes, sizeof(bytes), 0);
	if (n < 0)
		return -EHOSTDOWN;
	r = identity_parse(bytes, (size_t)n, &identity);
	if (r == -EPROTONOSUPPORT)
		return r;
	if (r < 0 || strcmp(identity.tier_uuid, expected) != 0)
		return -EHOSTDOWN;
	return take_fd(fd);
}

int dir_open_root(const struct dir_tier *dir)
{
	cleanup_close int fd = open(dir->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *expected = atomic_load(&dir->tier.expected);
	int identity_fd;

	if (fd < 0)
		return errno == EACCES || errno == EMFILE || errno == ENFILE || errno == ENOMEM
			       ? -errno
			       : -EHOSTDOWN;
	if (expected) {
		identity_fd = check_identity(fd, expected);
		if (identity_fd < 0)
			return identity_fd;
		(void)close(identity_fd); /* was only read */
	}
	return take_fd(fd);
}

/* 0 and the decoded path. Caller frees. */
static int decode_path(const char *url, char **ret_path)
{
	static const char hex[] = "0123456789abcdef0123456789ABCDEF";
	bool is_url = *url != '/';
	char *path = strdup(is_url ? url + strlen("file://") : url);
	char *to = path;

	if (!path)
		return -ENOMEM;
	for (const char *from = path; *from; from++) {
		const char *high, *low;

		*to++ = *from;
		if (!is_url || *from != '%')
			continue;
		high = from[1] ? strchr(hex, from[1]) : NULL;
		low = high && from[2] ? strchr(hex, from[2]) : NULL;
		if (!low || ((high - hex) % 16 == 0 && (low - hex) % 16 == 0)) {
			free(path);
			return -EINVAL;
		}
		to[-1] = (char)((high - hex) % 16 * 16 + (low - hex) % 16);
		from += 2;
	}
	*to = 0;
	if (path[0] != '/') { /* "file://HOST/..." is no folder here */
		free(path);
		return -EINVAL;
	}
	*ret_path = path;
	return 0;
}

static int dir_open(const char *url, struct tier **ret_tier)
{
	struct dir_tier *dir;
	char *root;
	int r;

	r = decode_path(url, &root);
	if (r < 0)
		return r;
	dir = calloc(1, sizeof(*dir));
	if (!dir) {
		free(root);
		return -ENOMEM;
	}
	dir->root = root;
	mutex_init(&dir->lock, 93);
	*ret_tier = &dir->tier;
	return 0;
}

static struct dir_tier *dir_of(struct tier *tier)
{
	return (struct dir_tier *)tier; /* its first member */
}

static void dir_close(struct tier *tier)
{
	struct dir_tier *dir = dir_of(tier);

	mutex_fini(&dir->lock);
	free(dir->root);
	free(dir);
}

/* A disk that was pulled out still answers from the cache: ask the medium. */
static int ask_medium(int root_fd, const char *expected)
{
	cleanup_close int fd = check_identity(root_fd, expected);
	struct readback readback = { 0 };
	int r;

	if (fd < 0)
		return fd;
	r = readback_file(fd, &readback);
	blockmap_fini(&readback.map);
	/* fdatasync() of a file system mounted read-only may say so. */
	return r < 0 && r != -EROFS ? -EHOSTDOWN : 0;
}

static int dir_probe(struct tier *tier)
{
	cleanup_close int root_fd = dir_open_root(dir_of(tier));
	const char *expected = atomic_load(&tier->expected);
	struct statvfs fs;
	int r;

	if (root_fd < 0)
		return root_fd;
	r = expected ? ask_medium(root_fd, expected) : 0;
	if (r < 0)
		return r;
	if (fstatvfs(root_fd, &fs) < 0)
		return -EHOSTDOWN;
	if (fs.f_flag & ST_RDONLY)
		return -EROFS;
	if (expected)
		dir_sweep_once(dir_of(tier), root_fd);
	return 0;
}

static int dir_put(struct tier *tier, const char *key, const struct tier_object *object,
		   const struct tier_source *source)
{
	if (!tier_key_ok(key))
		return -EINVAL;
	return dir_store_object(dir_of(tier), key, object, source, 0);
}

/* An object, open for reading. A descriptor; *ret_size its size. */
static int open_object(struct tier *tier, const char *key, uint64_t *ret_size)
{
	cleanup_close int root_fd = -1, fd = -1;
	struct stat st;

	if (!tier_key_ok(key) && !small_key_ok(key))
		return -EINVAL;
	root_fd = dir_open_root(dir_of(tier));
	if (root_fd < 0)
		return root_fd;
	fd = dir_open_beneath(root_fd, key, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return dir_error(-errno);
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EREMOTEIO;
	*ret_size = (uint64_t)st.st_size;
	return take_fd(fd);
}

static int dir_stat(struct tier *tier, const char *key, uint64_t *ret_size)
{
	cleanup_close int fd = open_object(tier, key, ret_size);

	return fd < 0 ? fd : 0;
}

/* The end came too early: the object is not what it was. */
static int read_error(int r)
{
	return r == -ENODATA ? -EBADMSG : dir_error(r);
}

static int dir_get(struct tier *tier, const char *key, uint64_t offset, void *buffer, size_t length,
		   const struct tier_source *pace)
{
	uint64_t size;
	cleanup_close int fd = open_object(tier, key, &size);

	(void)pace;
	if (fd < 0)
		return fd;
	if (offset > size || length > size - offset)
		return -EBADMSG;
	return read_error(read_at(fd, buffer, length, (off_t)offset));
}

static int dir_check(struct tier *tier, const char *key, const struct tier_source *pace,
		     struct digest *ret_digest, uint64_t *ret_size)
{
	struct readback readback = { .pace = pace ? pace->pace : NULL,
				     .arg = pace ? pace->arg : NULL };
	uint64_t size;
	cleanup_close int fd = open_object(tier, key, &size);
	int r;

	if (fd < 0)
		return fd;
	r = readback_file(fd, &readback);
	size = readback.map.size;
	blockmap_fini(&readback.map);
	r = dir_readback_error(fd, r, readback.source);
	if (r < 0)
		return r;
	*ret_digest = readback.digest;
	*ret_size = size;
	return 0;
}

struct memory {
	const uint8_t *bytes;
};

static int read_memory(void *arg, uint64_t offset, void *buffer, size_t length)
{
	const struct memory *memory = arg;

	memcpy(buffer, memory->bytes + offset, length);
	return 0;
}

static int dir_put_small(struct tier *tier, const char *key, const void *bytes, size_t length,
			 enum put_flags flags)
{
	struct memory memory = { bytes };
	struct tier_source source = { .read = read_memory, .arg = &memory };
	struct tier_object object = { .size = length, .mode = 0644, .mtime_ns = INT64_MIN };

	if (!small_key_ok(key))
		return -EINVAL;
	digest_of(bytes, length, &object.digest);
	return dir_store_object(dir_of(tier), key, &object, &source,
				flags & PUT_REPLACE ? OBJECT_REPLACE : 0);
}

static int dir_get_small(struct tier *tier, const char *key, size_t max_bytes, void **ret_bytes,
			 size_t *ret_length)
{
	uint64_t size;
	cleanup_close int fd = open_object(tier, key, &size);
	cleanup_free char *bytes = NULL;
	int r;

	if (fd < 0)
		return fd;
	if (size > max_bytes)
		return -EFBIG;
	bytes = malloc(size + 1);
	if (!bytes)
		return -ENOMEM;
	r = read_error(read_at(fd, bytes, size, 0));
	if (r < 0)
		return r;
	bytes[size] = 0;
	*ret_bytes = take_ptr(bytes);
	*ret_length = size;
	return 0;
}

static bool is_folder(int dir_fd, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int dir_list(struct tier *tier, const char *prefix,
		    int (*fn)(void *arg, const char *name, bool is_folder), void *arg)
{
	cleanup_close int root_fd = -1, fd = -1;
	cleanup_closedir DIR *stream = NULL;
	const struct dirent *entry;
	int r;

	if (*prefix && !tier_key_ok(prefix) && !small_key_ok(prefix))
		return -EINVAL;
	root_fd = dir_open_root(dir_of(tier));
	if (root_fd < 0)
		return root_fd;
	fd = dir_open_beneath(root_fd, prefix, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	stream = fdopendir(fd);
	if (!stream)
		return -errno;
	(void)take_fd(fd); /* the stream's now */
	while (errno = 0, (entry = readdir(stream)) != NULL) {
		if (!name_ok(entry->d_name))
			continue;
		r = fn(arg, entry->d_name, is_folder(dirfd(stream), entry));
		if (r != 0)
			return r;
	}
	return dir_error(-errno);
}

static int dir_space(struct tier *tier, uint64_t *ret_free, uint64_t *ret_total)
{
	cleanup_close int root_fd = dir_open_root(dir_of(tier));
	struct statvfs fs;

	if (root_fd < 0)
		return root_fd;
	if (fstatvfs(root_fd, &fs) < 0)
		return dir_error(-errno);
	if (!fs.f_blocks)
		return -ENOTSUP; /* some network file systems do not know */
	*ret_free = (uint64_t)fs.f_bavail * fs.f_frsize;
	*ret_total = (uint64_t)fs.f_blocks * fs.f_frsize;
	return 0;
}

static int dir_device(struct tier *tier, dev_t *ret_device)
{
	cleanup_close int root_fd = dir_open_root(dir_of(tier));
	struct stat st;

	if (root_fd < 0)
		return root_fd;
	if (fstat(root_fd, &st) < 0)
		return dir_error(-errno);
	*ret_device = st.st_dev;
	return 0;
}

/* Source: statfs(2) and linux/magic.h. */
static bool is_network(const struct statfs *fs, dev_t device)
{
	static const uint32_t magics[] = {
		0x6969,     /* NFS */
		0x517b,     /* SMB */
		0xff534d42, /* CIFS */
		0xfe534d42, /* SMB2 */
		0x01021997, /* 9P */
		0x00c36400, /* Ceph */
		0x5346414f, /* AFS */
		0x6b414653, /* kAFS */
		0x73757245, /* Coda */
		0x0bd00bd0, /* Lustre */
		0x47504653, /* GPFS */
		0x19830326, /* BeeGFS */
	};

	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if ((uint32_t)fs->f_type == magics[i])
			return true;
	/* FUSE: one that has a disk of its own (ntfs-3g) is mounted from a block device. */
	return (uint32_t)fs->f_type == 0x65735546 && major(device) == 0;
}

static bool dir_is_remote(struct tier *tier)
{
	cleanup_close int root_fd = dir_open_root(dir_of(tier));
	struct statfs fs;
	struct stat st;

	return root_fd >= 0 && fstatfs(root_fd, &fs) == 0 && fstat(root_fd, &st) == 0 &&
	       is_network(&fs, st.st_dev);
}

const struct tier_backend dir_backend = {
	.scheme = "file",
	.small_bytes = BLOCK_BYTES,
	.open = dir_open,
	.close = dir_close,
	.probe = dir_probe,
	.put = dir_put,
	.stat = dir_stat,
	.get = dir_get,
	.check = dir_check,
	.put_small = dir_put_small,
	.get_small = dir_get_small,
	.list = dir_list,
	.space = dir_space,
	.device = dir_device,
	.is_remote = dir_is_remote,
};
