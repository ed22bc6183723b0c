/* SPDX-License-Identifier: Apache-2.0 */

/* Reading what is here, also of files that are damaged (volume/file_internal.h). */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/error.h"
#include "volume/file_internal.h"

ssize_t file_get_bytes(int fd, void *buffer, size_t length, off_t offset)
{
	char *bytes = buffer;
	size_t done = 0;

	while (done < length) {
		ssize_t n = pread(fd, bytes + done, length - done, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done > 0 ? (ssize_t)done : -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

struct expected {
	bool known; /* there is a map, and the block is in it */
	bool good;  /* seen to be good a moment ago */
	uint64_t hash;
	size_t length;
	uint64_t generation;
};

static void expect(struct file *file, uint64_t block, struct expected *ret_expected)
{
	struct live *live = file->live;

	scoped_lock(&live->lock);
	*ret_expected = (struct expected){ .generation = live->generation };
	if (!live->has_map || block >= blockmap_count(live->map.size))
		return;
	ret_expected->known = true;
	ret_expected->good = file->good_block == block + 1;
	ret_expected->hash = live->map.hash[block];
	ret_expected->length = blockmap_length(live->map.size, block);
}

/* 0: block @block is as it was received, or nobody knows. */
static int check_block(struct file *file, uint64_t block)
{
	cleanup_free void *bytes = NULL;
	struct expected expected;
	ssize_t n;

	expect(file, block, &expected);
	if (!expected.known || expected.good)
		return 0;
	bytes = malloc(expected.length);
	if (!bytes)
		return -ENOMEM;
	n = file_get_bytes(file->fd, bytes, expected.length, (off_t)(block * BLOCK_BYTES));
	if (n < 0)
		return (int)n;
	if ((size_t)n != expected.length || block_hash(bytes, expected.length) != expected.hash)
		return -EIO;
	scoped_lock(&file->live->lock);
	if (file->live->generation == expected.generation)
		file->good_block = block + 1;
	return 0;
}

static ssize_t read_damaged(struct file *file, char *buffer, size_t length, off_t offset)
{
	size_t done = 0;
	int r = live_load_map(file->live);

	if (r < 0)
		return r;
	while (done < length) {
		uint64_t at = (uint64_t)offset + done, block = at / BLOCK_BYTES;
		size_t want = BLOCK_BYTES - at % BLOCK_BYTES;
		ssize_t n;

		if (want > length - done)
			want = length - done;
		n = check_block(file, block);
		if (n == 0)
			n = file_get_bytes(file->fd, buffer + done, want, (off_t)at);
		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	return (ssize_t)done;
}

ssize_t file_read_resident(struct file *file, void *buffer, size_t length, off_t offset)
{
	struct live *live = file->live;
	bool damaged;

	mutex_lock(&live->lock);
	damaged = live->state == FILE_DAMAGED;
	if (!damaged)
		file->good_block = 0;
	mutex_unlock(&live->lock);
	if (damaged)
		return read_damaged(file, buffer, length, offset);
	return file_get_bytes(file->fd, buffer, length, offset);
}
