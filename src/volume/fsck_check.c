/* SPDX-License-Identifier: Apache-2.0 */

/* One file: read past the page cache and compared, or received and read back. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "hash/readback.h"
#include "hash/receipt.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "volume/fsck_parts.h"

void fsck_file_free(struct fsck_file *file)
{
	if (!file)
		return;
	free(file->path);
	blockmap_fini(&file->content.map);
	blockmap_fini(&file->read_map);
	free(file->blocks);
	free(file);
}
DEFINE_CLEANUP(struct fsck_file *, fsck_file_free)

int fsck_resident_blocks(int fd, uint64_t size, uint8_t **ret_bits, uint64_t *ret_count)
{
	uint64_t count = blockmap_count(size), here = 0;
	struct residency residency;
	uint8_t *bits;
	int r = residency_read(fd, &residency);

	if (r < 0)
		return r;
	*ret_bits = NULL;
	*ret_count = count;
	if (r == 0 || residency_full(&residency))
		return 0;
	if (residency.size != size)
		return -EUCLEAN;
	bits = calloc(1, (size_t)(count / 8 + 1));
	if (!bits)
		return -ENOMEM;
	for (uint64_t i = 0; i < count; i++) {
		if (!residency_has(&residency, i))
			continue;
		bits[i / 8] |= (uint8_t)(1u << (i % 8));
		here++;
	}
	*ret_bits = bits;
	*ret_count = here;
	return 0;
}

static bool is_here(const uint8_t *bits, uint64_t block)
{
	return !bits || (bits[block / 8] & (1u << (block % 8)));
}

static int add_block(struct fsck_file *file, const struct fsck_block *block)
{
	/* Doubled at every power of two. */
	if ((file->block_count & (file->block_count - 1)) == 0) {
		size_t room = file->block_count ? file->block_count * 2 : 1;
		struct fsck_block *moved = reallocarray(file->blocks, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		file->blocks = moved;
	}
	file->blocks[file->block_count++] = *block;
	return 0;
}

/* The medium gave an error somewhere: find out where, block by block. */
static int read_blocks(struct fsck_file *file, int fd, const uint8_t *bits)
{
	const struct blockmap *map = &file->content.map;
	cleanup_free void *buffer = malloc(BLOCK_BYTES);

	if (!buffer)
		return -ENOMEM;
	for (uint64_t i = 0; i < blockmap_count(map->size); i++) {
		struct fsck_block block = { .index = i, .expected = map->hash[i] };
		size_t length = blockmap_length(map->size, i);
		int r;

		if (!is_here(bits, i))
			continue;
		r = read_at(fd, buffer, length, (off_t)(i * BLOCK_BYTES));
		if (r < 0 && r != -EIO)
			return r;
		block.unreadable = r < 0;
		block.actual = r < 0 ? 0 : block_hash(buffer, length);
		if (!block.unreadable && block.actual == block.expected)
			continue;
		r = add_block(file, &block);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_maps(struct fsck_file *file, const struct readback *readback,
			const uint8_t *bits)
{
	const struct blockmap *map = &file->content.map;

	for (uint64_t i = 0; i < blockmap_count(map->size); i++) {
		struct fsck_block block = {
			.index = i,
			.expected = map->hash[i],
			.actual = readback->map.hash[i],
		};
		int r;

		if (!is_here(bits, i) || block.actual == block.expected)
			continue;
		r = add_block(file, &block);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Two witnesses, the map and the whole digest: when only one disagrees, it is the wrong one. */
static int weigh(struct fsck_file *file, struct readback *readback)
{
	bool whole = digest_equal(&readback->digest, &file->content.digest);

	file->read_digest = readback->digest;
	if (file->block_count == 0) {
		file->wrong_digest = !whole;
		return 0;
	}
	file->wrong_map = whole;
	if (!whole)
		return 0;
	return blockmap_copy(&readback->map, &file->read_map);
}

static int read_and_compare(struct fsck_file *file, int fd, const uint8_t *bits,
			    int (*pace)(void *arg, uint64_t bytes), void *arg)
{
	struct readback readback = { .resident = bits, .pace = pace, .arg = arg };
	int r;

	/* Of an earlier look. */
	free(file->blocks);
	file->blocks = NULL;
	file->block_count = 0;
	blockmap_fini(&file->read_map);
	file->wrong_map = file->wrong_digest = false;
	r = readback_file(fd, &readback);
	if (r == -EIO)
		return read_blocks(file, fd, bits);
	if (r < 0)
		return r;
	file->cached = readback.source == READBACK_CACHED;
	if (readback.map.size != file->content.map.size)
		r = -ESTALE;
	else
		r = compare_maps(file, &readback, bits);
	if (r == 0 && !bits && file->has_content)
		r = weigh(file, &readback);
	blockmap_fini(&readback.map);
	return r;
}

/* What the file should be. 1 known, 0 not. */
static int load_expected(struct fsck *fsck, struct fsck_file *file)
{
	bool has_digest;
	int r;

	if (file->row.state == FILE_RECEIVED)
		return catalog_get_received(fsck->catalog, file->row.id, file->row.generation,
					    &file->content.map, &file->content.digest, &has_digest);
	if (!file->row.content)
		return 0;
	r = catalog_get_content(fsck->catalog, file->row.content, &file->content);
	file->has_content = r == 1;
	return r;
}

static int check_known(struct fsck *fsck, struct fsck_file *file, int fd,
		       int (*pace)(void *arg, uint64_t bytes), void *arg)
{
	cleanup_free uint8_t *bits = NULL;
	uint64_t here;
	struct stat st;
	int r = load_expected(fsck, file);

	if (r < 0)
		return r;
	if (r == 0)
		return file->row.state == FILE_DAMAGED ? 1 : 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != file->content.map.size)
		return -ESTALE;
	for (int look = 0; look < 2; look++) {
		free(take_ptr(bits));
		r = fsck_resident_blocks(fd, file->content.map.size, &bits, &here);
		if (r == 0)
			r = read_and_compare(file, fd, bits, pace, arg);
		/* Once more: a fault on the way, or blocks that moved meanwhile. */
		if (r < 0 || (!file->block_count && !file->wrong_digest))
			break;
	}
	return r < 0 ? r : 1;
}

/* Nothing is known: read it through the page cache, then from the medium. */
static int receive(struct fsck_file *file, int fd, int (*pace)(void *arg, uint64_t bytes),
		   void *arg)
{
	struct readback readback = { .pace = pace, .arg = arg };
	struct receipt *receipt;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	receipt = receipt_unknown((uint64_t)st.st_size);
	if (!receipt)
		return -ENOMEM;
	r = receipt_settle(receipt, fd);
	if (r == 0)
		r = readback_file(fd, &readback);
	if (r < 0) {
		receipt_free(receipt);
		return r;
	}
	file->cached = readback.source == READBACK_CACHED;
	file->settled = blockmap_equal(receipt_map(receipt), &readback.map) && !file->cached;
	file->read_digest = readback.digest;
	file->read_map = readback.map;
	receipt_free(receipt);
	return 1;
}

static int check_open(struct fsck *fsck, struct fsck_file *file, enum fsck_read_flags flags,
		      int (*pace)(void *arg, uint64_t bytes), void *arg)
{
	cleanup_close int fd = -1;

	fd = fsck_open_file(fsck, &file->row, file->path, O_RDONLY);
	if (fd < 0)
		return fd;
	return flags & FSCK_READ_RECEIVE ? receive(file, fd, pace, arg)
					 : check_known(fsck, file, fd, pace, arg);
}

/* Something was found beside a running daemon: is the file still the one that was read? */
static bool has_moved_on(struct fsck *fsck, const struct fsck_file *file)
{
	struct node_row row;
	int r;

	if (!fsck->mounted)
		return false;
	r = catalog_get_node(fsck->catalog, file->row.id, &row);
	if (r <= 0)
		return r == 0; /* a catalog that fails does not make it right */
	return row.generation != file->row.generation || row.state == FILE_RECEIVING ||
	       row.size != file->row.size;
}

int fsck_check_file(struct fsck *fsck, uint64_t id, enum fsck_read_flags flags,
		    int (*pace)(void *arg, uint64_t bytes), void *arg, struct fsck_file **ret_file)
{
	cleanup_with(fsck_file_free_slot) struct fsck_file *file = calloc(1, sizeof(*file));
	int r;

	if (!file)
		return -ENOMEM;
	r = catalog_get_node(fsck->catalog, id, &file->row);
	if (r <= 0)
		return r;
	r = catalog_path_of(fsck->catalog, id, &file->path);
	if (r == 0)
		return 0; /* gone since, or told by the check of names */
	if (r > 0)
		r = check_open(fsck, file, flags, pace, arg);
	if (r == 0 || r == -ECANCELED)
		return r;
	if (r == -ESTALE && fsck->mounted)
		return 0;
	if (r < 0)
		file->error = r;
	if ((r < 0 || file->block_count || file->wrong_digest) && has_moved_on(fsck, file))
		return 0;
	*ret_file = take_ptr(file);
	return 1;
}
