/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/blockmap.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash/digest.h"

int blockmap_init(struct blockmap *map, uint64_t size)
{
	uint64_t count = blockmap_count(size);

	*map = (struct blockmap){ 0 };
	if (size > BLOCKMAP_MAX_BYTES)
		return -EFBIG;
	map->size = size;
	if (!count)
		return 0;
	map->hash = calloc(count, sizeof(*map->hash));
	if (!map->hash) {
		map->size = 0;
		return -ENOMEM;
	}
	return 0;
}

void blockmap_fini(struct blockmap *map)
{
	free(map->hash);
	*map = (struct blockmap){ 0 };
}

int blockmap_copy(const struct blockmap *from, struct blockmap *ret_map)
{
	struct blockmap map;
	int r = blockmap_init(&map, from->size);

	if (r < 0)
		return r;
	if (map.hash)
		memcpy(map.hash, from->hash, blockmap_packed_bytes(from));
	*ret_map = map;
	return 0;
}

bool blockmap_equal(const struct blockmap *a, const struct blockmap *b)
{
	return a->size == b->size && blockmap_mismatch(a, b, 0) == UINT64_MAX;
}

uint64_t blockmap_mismatch(const struct blockmap *a, const struct blockmap *b, uint64_t from)
{
	uint64_t count = blockmap_count(a->size);

	for (uint64_t i = from; i < count; i++) {
		if (a->hash[i] != b->hash[i])
			return i;
	}
	return UINT64_MAX;
}

bool blockmap_check(const struct blockmap *map, uint64_t index, const void *bytes, size_t length)
{
	return index < blockmap_count(map->size) && length == blockmap_length(map->size, index) &&
	       block_hash(bytes, length) == map->hash[index];
}

size_t blockmap_packed_bytes(const struct blockmap *map)
{
	return blockmap_count(map->size) * sizeof(*map->hash);
}

void blockmap_pack(const struct blockmap *map, void *bytes)
{
	uint8_t *to = bytes;

	for (uint64_t i = 0; i < blockmap_count(map->size); i++, to += 8) {
		uint64_t word = htobe64(map->hash[i]);

		memcpy(to, &word, sizeof(word));
	}
}

int blockmap_unpack(const void *bytes, size_t length, uint64_t size, struct blockmap *ret_map)
{
	const uint8_t *from = bytes;
	struct blockmap map;
	int r;

	/* Before memory is taken for what a stranger says the size is. */
	if (length % sizeof(*map.hash) || length / sizeof(*map.hash) != blockmap_count(size))
		return -EUCLEAN;
	r = blockmap_init(&map, size);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < blockmap_count(size); i++, from += 8) {
		uint64_t word;

		memcpy(&word, from, sizeof(word));
		map.hash[i] = be64toh(word);
	}
	*ret_map = map;
	return 0;
}
