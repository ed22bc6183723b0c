/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/residency.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* fgetxattr() that takes O_PATH descriptors too. */
static ssize_t get_xattr(int fd, void *bytes, size_t size)
{
	ssize_t n = fgetxattr(fd, RESIDENCY_XATTR, bytes, size);
	char path[32];

	if (n >= 0 || errno != EBADF)
		return n;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return getxattr(path, RESIDENCY_XATTR, bytes, size);
}

int residency_read(int fd, struct residency *ret_residency)
{
	uint8_t bytes[RESIDENCY_PACKED_MAX];
	ssize_t n = get_xattr(fd, bytes, sizeof(bytes));
	int r;

	if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
		return 0;
	if (n < 0)
		return errno == ERANGE ? -EUCLEAN : -errno;
	r = residency_unpack(bytes, (size_t)n, ret_residency);
	return r < 0 ? r : 1;
}

/*
 * Run @act with the owner's write permission given, when it was refused without. The file
 * is the owner's or the owner's daemon's: others are refused by fchmod().
 */
static int with_permission(int fd, int (*act)(int fd, void *arg), void *arg)
{
	struct stat st;
	int r, undone;

	r = act(fd, arg);
	if (r != -EACCES && r != -EPERM)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_mode & S_IWUSR)
		return r;
	if (fchmod(fd, (st.st_mode & 07777) | S_IWUSR) < 0)
		return r;
	r = act(fd, arg);
	undone = fchmod(fd, st.st_mode & 07777) < 0 ? -errno : 0;
	return r < 0 ? r : undone;
}

static int set_xattr(int fd, void *arg)
{
	struct residency *residency = arg;
	uint8_t bytes[RESIDENCY_PACKED_MAX];
	size_t length;

	residency->written_ns = realtime_ns();
	length = residency_pack(residency, bytes);
	return fsetxattr(fd, RESIDENCY_XATTR, bytes, length, 0) < 0 ? -errno : 0;
}

int residency_mark(int fd, const struct residency *residency)
{
	struct residency copy = *residency;

	return with_permission(fd, set_xattr, &copy);
}

int residency_write(int fd, const struct residency *residency)
{
	int r = residency_mark(fd, residency);

	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

static int remove_xattr(int fd, void *arg)
{
	(void)arg;
	if (fremovexattr(fd, RESIDENCY_XATTR) == 0 || errno == ENODATA || errno == EOPNOTSUPP)
		return 0;
	return -errno;
}

int residency_remove(int fd)
{
	int r = with_permission(fd, remove_xattr, NULL);

	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

static int open_for_writing(int fd, void *arg)
{
	int opened = store_reopen(fd, O_WRONLY);

	if (opened < 0)
		return opened;
	*(int *)arg = opened;
	return 0;
}

static int punch_range(int fd, uint64_t start, uint64_t end)
{
	/* Whole blocks, beyond the end too: a part of a block would be zeroed, not freed. */
	end = (end + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
			 (off_t)(end - start)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static int punch_absent(int fd, const struct residency *residency)
{
	uint64_t granule = (uint64_t)BLOCK_BYTES << residency->shift;

	for (uint64_t bit = 0; bit < residency->bit_count;) {
		uint64_t from = bit;
		int r;

		if (residency_has(residency, bit << residency->shift)) {
			bit++;
			continue;
		}
		while (bit < residency->bit_count &&
		       !residency_has(residency, bit << residency->shift))
			bit++;
		r = punch_range(fd, from * granule,
				bit * granule < residency->size ? bit * granule : residency->size);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is about to go must be on record as gone. */
static int check_recorded(int fd, const struct residency *residency, const struct stat *st)
{
	struct residency recorded;
	int r = residency_read(fd, &recorded);

	if (r < 0)
		return r;
	if (r == 0 || recorded.size != residency->size || recorded.shift != residency->shift ||
	    memcmp(recorded.bits, residency->bits, sizeof(recorded.bits)) != 0)
		return -EINVAL;
	return (uint64_t)st->st_size == residency->size ? 0 : -ESTALE;
}

int residency_punch(int fd, const struct residency *residency)
{
	struct residency copy = *residency;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	cleanup_close int writable = -1;
	struct stat st;
	int r, restored;

	if (fstat(fd, &st) < 0)
		return -errno;
	r = check_recorded(fd, residency, &st);
	if (r < 0)
		return r;
	r = with_permission(fd, open_for_writing, &writable);
	if (r < 0)
		return r;
	r = punch_absent(writable, residency);
	times[1] = st.st_mtim;
	restored = futimens(writable, times) < 0 ? -errno : 0;
	if (r < 0 || restored < 0)
		return r < 0 ? r : restored;
	/* Once more, so that the ctime of now is known as ours. */
	return with_permission(fd, set_xattr, &copy);
}
