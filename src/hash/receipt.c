/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/receipt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash/xxh.h"
#include "util/cleanup.h"
#include "util/io.h"

/* Bytes are hashed twice, for the whole and for the block: in pieces that stay in L1/L2. */
#define PIECE_BYTES (32u << 10)

/* Read this much at a time to settle. */
#define SETTLE_BYTES (256u << 10)

/* A shorter write at the start of a block is a header being mended, not a new stream. */
#define STREAM_MIN_BYTES (64u << 10)

struct receipt {
	/*
	 * The stream: bytes [start of its block, stream_at) are hashed in `block` and are in
	 * the file exactly so, while stream_ok. Its block counts as dirty until it is full.
	 */
	XXH3_state_t block;
	uint64_t stream_at;
	bool stream_ok;

	/* Bytes [0, stream_at) came once, in order, and are hashed in `whole`; implies stream_ok.
	 */
	bool whole_ok;
	struct digest_state *whole; /* owned */

	struct blockmap map; /* owned */
	uint8_t *dirty;      /* owned; a bit a block, those beyond the size are 0 */
	uint64_t room;       /* blocks that map.hash and dirty have room for */
	uint64_t dirty_count;
};

static bool is_dirty_block(const struct receipt *receipt, uint64_t index)
{
	return receipt->dirty[index / 8] & (1u << (index % 8));
}

static void set_dirty(struct receipt *receipt, uint64_t index)
{
	if (is_dirty_block(receipt, index))
		return;
	receipt->dirty[index / 8] |= (uint8_t)(1u << (index % 8));
	receipt->dirty_count++;
}

static void set_clean(struct receipt *receipt, uint64_t index, uint64_t hash)
{
	receipt->map.hash[index] = hash;
	if (!is_dirty_block(receipt, index))
		return;
	receipt->dirty[index / 8] &= (uint8_t) ~(1u << (index % 8));
	receipt->dirty_count--;
}

static void set_dirty_range(struct receipt *receipt, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	for (uint64_t i = start / BLOCK_BYTES; i <= (end - 1) / BLOCK_BYTES; i++)
		set_dirty(receipt, i);
}

/* Room for a file of @size bytes; nothing else changes. */
static int reserve(struct receipt *receipt, uint64_t size)
{
	uint64_t count = blockmap_count(size), room = receipt->room;
	uint64_t *hash;
	uint8_t *dirty;

	if (size > BLOCKMAP_MAX_BYTES)
		return -EFBIG;
	if (count <= room)
		return 0;
	room = room * 2 > count ? room * 2 : count;
	room = (room + 7) / 8 * 8;
	hash = realloc(receipt->map.hash, room * sizeof(*hash));
	if (!hash)
		return -ENOMEM;
	receipt->map.hash = hash;
	dirty = realloc(receipt->dirty, room / 8);
	if (!dirty)
		return -ENOMEM;
	receipt->dirty = dirty;
	memset(dirty + receipt->room / 8, 0, (room - receipt->room) / 8);
	memset(hash + receipt->room, 0, (room - receipt->room) * sizeof(*hash));
	receipt->room = room;
	return 0;
}

static void begin_stream(struct receipt *receipt, uint64_t offset)
{
	xxh_best()->reset64(&receipt->block);
	receipt->stream_at = offset;
	receipt->stream_ok = true;
}

/* The bytes in [start, end) are no longer those that were hashed. */
static void break_streams(struct receipt *receipt, uint64_t start, uint64_t end)
{
	uint64_t block_start = receipt->stream_at - receipt->stream_at % BLOCK_BYTES;

	if (start >= receipt->stream_at || start >= end)
		return;
	receipt->whole_ok = false;
	if (end > block_start)
		receipt->stream_ok = false;
}

/* The next bytes of the stream. Their blocks are marked dirty already. */
static void feed(struct receipt *receipt, const uint8_t *bytes, size_t length)
{
	while (length) {
		uint64_t piece = BLOCK_BYTES - receipt->stream_at % BLOCK_BYTES;

		if (piece > PIECE_BYTES)
			piece = PIECE_BYTES;
		if (piece > length)
			piece = length;
		if (receipt->whole_ok)
			digest_update(receipt->whole, bytes, piece);
		xxh_best()->update64(&receipt->block, bytes, piece);
		receipt->stream_at += piece;
		bytes += piece;
		length -= piece;
		if (receipt->stream_at % BLOCK_BYTES == 0) {
			set_clean(receipt, receipt->stream_at / BLOCK_BYTES - 1,
				  xxh_best()->final64(&receipt->block));
			xxh_best()->reset64(&receipt->block);
		}
	}
}

static struct receipt *make(uint64_t size)
{
	struct receipt *receipt = aligned_alloc(_Alignof(struct receipt), sizeof(*receipt));

	if (!receipt)
		return NULL;
	memset(receipt, 0, sizeof(*receipt));
	XXH3_INITSTATE(&receipt->block);
	receipt->whole = digest_new();
	if (!receipt->whole || reserve(receipt, size) < 0) {
		receipt_free(receipt);
		return NULL;
	}
	begin_stream(receipt, 0);
	receipt->map.size = size;
	receipt->whole_ok = size == 0;
	receipt->stream_ok = size == 0;
	return receipt;
}

struct receipt *receipt_new(void)
{
	return make(0);
}

struct receipt *receipt_resume(const struct blockmap *map)
{
	struct receipt *receipt = make(map->size);

	if (receipt && map->size)
		memcpy(receipt->map.hash, map->hash, blockmap_packed_bytes(map));
	return receipt;
}

struct receipt *receipt_unknown(uint64_t size)
{
	struct receipt *receipt = make(size);

	if (receipt)
		set_dirty_range(receipt, 0, size);
	return receipt;
}

void receipt_free(struct receipt *receipt)
{
	if (!receipt)
		return;
	digest_free(receipt->whole);
	free(receipt->map.hash);
	free(receipt->dirty);
	free(receipt);
}

uint64_t receipt_size(const struct receipt *receipt)
{
	return receipt->map.size;
}

/* [start, end) changes: room and size for it, zeros before it, blocks dirty. */
static int extend(struct receipt *receipt, uint64_t start, uint64_t end)
{
	uint64_t size = receipt->map.size;
	int r = reserve(receipt, end);

	if (r < 0)
		return r;
	set_dirty_range(receipt, start < size ? start : size, end);
	if (end > size)
		receipt->map.size = end;
	return 0;
}

static void cut(struct receipt *receipt, uint64_t size)
{
	uint64_t kept = blockmap_count(size);

	for (uint64_t i = kept; i < blockmap_count(receipt->map.size); i++)
		set_clean(receipt, i, 0);
	receipt->map.size = size;
	if (size % BLOCK_BYTES)
		set_dirty(receipt, kept - 1);
	if (size < receipt->stream_at)
		receipt->stream_ok = receipt->whole_ok = false;
}

int receipt_truncate(struct receipt *receipt, uint64_t size)
{
	if (size > receipt->map.size)
		return extend(receipt, receipt->map.size, size);
	if (size == receipt->map.size)
		return 0;
	cut(receipt, size);
	if (size == 0) {
		/* Nothing is left of what came before: as new. */
		digest_reset(receipt->whole);
		begin_stream(receipt, 0);
		receipt->whole_ok = true;
	}
	return 0;
}

int receipt_touch(struct receipt *receipt, uint64_t offset, uint64_t length)
{
	uint64_t end;
	int r;

	if (!length)
		return 0;
	if (__builtin_add_overflow(offset, length, &end))
		return -EFBIG;
	r = extend(receipt, offset, end);
	if (r == 0)
		break_streams(receipt, offset, end);
	return r;
}

int receipt_write(struct receipt *receipt, uint64_t offset, const void *bytes, size_t length)
{
	int r = receipt_touch(receipt, offset, length);

	if (r < 0 || !bytes || !length)
		return r;
	if (offset != receipt->stream_at)
		receipt->whole_ok = false;
	if (offset % BLOCK_BYTES == 0 &&
	    (!receipt->stream_ok || (offset != receipt->stream_at && length >= STREAM_MIN_BYTES)))
		begin_stream(receipt, offset);
	if (receipt->stream_ok && offset == receipt->stream_at)
		feed(receipt, bytes, length);
	return 0;
}

/* The last block came in order up to the end of the file: its hash needs no reading. */
static bool tail_is_streamed(const struct receipt *receipt)
{
	return receipt->stream_ok && receipt->stream_at == receipt->map.size &&
	       receipt->map.size % BLOCK_BYTES != 0;
}

bool receipt_is_dirty(const struct receipt *receipt)
{
	uint64_t count = receipt->dirty_count;

	if (tail_is_streamed(receipt) && is_dirty_block(receipt, receipt->map.size / BLOCK_BYTES))
		count--;
	return count != 0;
}

/*
 * A hole is zeros: reading it would only fill the page cache with them. Where a file system
 * tells it wrongly the read-back does not agree, and nothing is verified.
 */
static bool is_hole(int fd, uint64_t offset, size_t length)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + length;
}

static int hash_block(uint64_t size, int fd, uint64_t index, void *buffer, uint64_t *ret_hash)
{
	size_t length = blockmap_length(size, index);
	uint64_t offset = index * BLOCK_BYTES;
	bool hole = is_hole(fd, offset, length);
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	xxh_best()->reset64(&state);
	if (hole)
		memset(buffer, 0, SETTLE_BYTES);
	while (length) {
		size_t piece = length < SETTLE_BYTES ? length : SETTLE_BYTES;
		int r = hole ? 0 : read_at(fd, buffer, piece, (off_t)offset);

		if (r < 0)
			return r == -ENODATA ? -ESTALE : r; /* cut since the size was seen */
		xxh_best()->update64(&state, buffer, piece);
		offset += piece;
		length -= piece;
	}
	*ret_hash = xxh_best()->final64(&state);
	return 0;
}

/* What needs no reading; 1 when there are dirty blocks left. */
static int settle_stream(struct receipt *receipt, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != receipt->map.size)
		return -ESTALE;
	if (tail_is_streamed(receipt))
		set_clean(receipt, receipt->map.size / BLOCK_BYTES,
			  xxh_best()->final64(&receipt->block));
	return receipt->dirty_count > 0;
}

/* There is one. */
static uint64_t first_dirty(const struct receipt *receipt)
{
	uint64_t index = 0;

	while (!receipt->dirty[index / 8])
		index += 8;
	while (!is_dirty_block(receipt, index))
		index++;
	return index;
}

int receipt_next_dirty(struct receipt *receipt, int fd, uint64_t *ret_index)
{
	int r = settle_stream(receipt, fd);

	if (r > 0)
		*ret_index = first_dirty(receipt);
	return r;
}

int receipt_read_block(uint64_t size, int fd, uint64_t index, uint64_t *ret_hash)
{
	cleanup_free void *buffer = malloc(SETTLE_BYTES);

	return buffer ? hash_block(size, fd, index, buffer, ret_hash) : -ENOMEM;
}

void receipt_settle_block(struct receipt *receipt, uint64_t index, uint64_t hash)
{
	set_clean(receipt, index, hash);
}

int receipt_settle(struct receipt *receipt, int fd)
{
	uint64_t index, hash;
	int r;

	while ((r = receipt_next_dirty(receipt, fd, &index)) > 0) {
		r = receipt_read_block(receipt->map.size, fd, index, &hash);
		if (r < 0)
			return r;
		receipt_settle_block(receipt, index, hash);
	}
	return r;
}

const struct blockmap *receipt_map(const struct receipt *receipt)
{
	return &receipt->map;
}

bool receipt_digest(const struct receipt *receipt, struct digest *ret_digest)
{
	if (!receipt->whole_ok || receipt->stream_at != receipt->map.size)
		return false;
	digest_final(receipt->whole, ret_digest);
	return true;
}
