/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/source.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_at(int root, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)flags };

	if (root < 0)
		root = AT_FDCWD;
	else
		how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

int source_open(int root, const char *path, struct source *ret_source)
{
	/* Not blocked by a fifo. */
	const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct source source = { .left = SOURCE_MAX_BYTES };
	struct stat st;
	int r = -EINVAL;

	/* Looking must not show; only the owner may ask for that. */
	source.fd = open_at(root, path, flags | O_NOATIME);
	if (source.fd < 0 && errno == EPERM)
		source.fd = open_at(root, path, flags);
	if (source.fd < 0)
		return -errno;
	if (fstat(source.fd, &st) < 0)
		r = -errno;
	else if (S_ISREG(st.st_mode))
		r = residency_read(source.fd, &source.residency);
	if (r >= 0) {
		source.partial = r > 0;
		source.size = (uint64_t)st.st_size;
		source.ctime = st.st_ctim;
		if (source.partial && source.residency.size != source.size)
			r = -EUCLEAN;
	}
	if (r < 0) {
		(void)close(source.fd);
		return r;
	}
	*ret_source = source;
	return 0;
}

void source_close(struct source *source)
{
	if (source->fd >= 0)
		(void)close(source->fd);
	source->fd = -1;
}

/* Of @length bytes at the position, those at the front that are here. */
static size_t here(const struct source *source, size_t length)
{
	size_t count = 0;

	while (source->partial && count < length) {
		uint64_t at = source->position + count;
		uint64_t offset, span;

		if (!residency_has(&source->residency, at / BLOCK_BYTES))
			return count;
		residency_granule(&source->residency, at / BLOCK_BYTES, &offset, &span);
		if (offset + span <= at)
			return count;
		count = offset + span - at < length - count ? count + (size_t)(offset + span - at)
							    : length;
	}
	return length;
}

ssize_t source_read(struct source *source, void *buffer, size_t length)
{
	ssize_t n;

	if (source->position >= source->size || length == 0)
		return 0;
	if (length > source->size - source->position)
		length = (size_t)(source->size - source->position);
	if (source->left == 0)
		return -EFBIG;
	if (length > source->left)
		length = (size_t)source->left;
	length = here(source, length);
	if (length == 0) {
		source->absent = true;
		return -ENODATA;
	}
	n = pread(source->fd, buffer, length, (off_t)source->position);
	if (n < 0) {
		source->failed = true;
		return -errno;
	}
	source->position += (uint64_t)n;
	source->left -= (uint64_t)n;
	return n;
}

bool source_was_whole(const struct source *source)
{
	struct stat st;

	return !source->absent && !source->failed && fstat(source->fd, &st) == 0 &&
	       st.st_ctim.tv_sec == source->ctime.tv_sec &&
	       st.st_ctim.tv_nsec == source->ctime.tv_nsec;
}

int64_t source_seek(struct source *source, int64_t offset, int whence)
{
	int64_t base = whence == SEEK_SET   ? 0
		       : whence == SEEK_CUR ? (int64_t)source->position
		       : whence == SEEK_END ? (int64_t)source->size
					    : -1;
	int64_t position;

	if (base < 0 || __builtin_add_overflow(base, offset, &position) || position < 0)
		return -EINVAL;
	source->position = (uint64_t)position;
	return position;
}
