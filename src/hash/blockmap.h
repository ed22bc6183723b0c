/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Block map: the XXH3-64 of every 4 MiB block of a content. The unit of
 * verification and of partial residency. An empty content has no block.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_BYTES (4u << 20)
/* No file is larger: its map (128 MiB then) is kept in memory and is one value in the catalog. */
#define BLOCKMAP_MAX_BYTES (64ull << 40)

struct blockmap {
	uint64_t size;  /* of the content, bytes */
	uint64_t *hash; /* owned, blockmap_count(size) of them; NULL when none */
};

static inline uint64_t blockmap_count(uint64_t size)
{
	return size / BLOCK_BYTES + (size % BLOCK_BYTES != 0);
}

/* Bytes in block @index of a content of @size bytes. */
static inline size_t blockmap_length(uint64_t size, uint64_t index)
{
	uint64_t start = index * BLOCK_BYTES;

	return size - start < BLOCK_BYTES ? (size_t)(size - start) : BLOCK_BYTES;
}

/* All hashes zero. -ENOMEM, -EFBIG. */
int blockmap_init(struct blockmap *map, uint64_t size);
void blockmap_fini(struct blockmap *map); /* a zeroed map is fine */
int blockmap_copy(const struct blockmap *from, struct blockmap *ret_map);
bool blockmap_equal(const struct blockmap *a, const struct blockmap *b);

/* First block that differs, at or after @from; UINT64_MAX when none. Equal sizes only. */
uint64_t blockmap_mismatch(const struct blockmap *a, const struct blockmap *b, uint64_t from);

/* True when the @length (= blockmap_length()) bytes are those of block @index. */
bool blockmap_check(const struct blockmap *map, uint64_t index, const void *bytes, size_t length);

/*
 * Packed form for catalog and journal: hashes as big-endian 64-bit words, nothing else.
 * blockmap_unpack(): -EUCLEAN unless @length fits @size. @ret_map is initialised by it.
 */
size_t blockmap_packed_bytes(const struct blockmap *map);
void blockmap_pack(const struct blockmap *map, void *bytes);
int blockmap_unpack(const void *bytes, size_t length, uint64_t size, struct blockmap *ret_map);
