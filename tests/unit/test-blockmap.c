/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/blockmap.h"

#include <errno.h>
#include <stdlib.h>

#include "hash/digest.h"
#include "test.h"

TEST(blocks_cover_the_content_and_no_more)
{
	static const uint64_t sizes[] = {
		0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5ull * BLOCK_BYTES + 17
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t sum = 0;

		for (uint64_t b = 0; b < blockmap_count(sizes[i]); b++) {
			check(blockmap_length(sizes[i], b) > 0);
			sum += blockmap_length(sizes[i], b);
		}
		check_int(sum, sizes[i]);
	}
}

TEST(a_packed_map_is_big_endian_and_comes_back)
{
	struct blockmap map, back;
	uint8_t bytes[24];

	check_int(blockmap_init(&map, 2ull * BLOCK_BYTES + 1), 0);
	check_int(blockmap_packed_bytes(&map), sizeof(bytes));
	map.hash[0] = 0x0102030405060708;
	map.hash[2] = UINT64_MAX;
	blockmap_pack(&map, bytes);
	check(memcmp(bytes, "\1\2\3\4\5\6\7\10", 8) == 0);
	check_int(blockmap_unpack(bytes, sizeof(bytes), map.size, &back), 0);
	check(blockmap_equal(&map, &back));
	blockmap_fini(&back);
	blockmap_fini(&map);
}

TEST(a_packed_map_of_another_size_is_refused)
{
	struct blockmap map;
	uint8_t bytes[32] = { 0 };

	check_int(blockmap_unpack(bytes, 16, 2ull * BLOCK_BYTES + 1, &map), -EUCLEAN);
	check_int(blockmap_unpack(bytes, 32, 2ull * BLOCK_BYTES + 1, &map), -EUCLEAN);
	check_int(blockmap_unpack(bytes, 23, 2ull * BLOCK_BYTES + 1, &map), -EUCLEAN);
	check_int(blockmap_unpack(bytes, 8, 0, &map), -EUCLEAN);
	check_int(blockmap_unpack(bytes, 8, UINT64_MAX, &map), -EUCLEAN);
	check_int(blockmap_unpack(NULL, 0, 0, &map), 0);
	check(!map.hash);
	blockmap_fini(&map);
}

TEST(maps_differ_where_a_hash_differs)
{
	struct blockmap a, b, shorter;

	check_int(blockmap_init(&a, 4ull * BLOCK_BYTES), 0);
	for (uint64_t i = 0; i < 4; i++)
		a.hash[i] = i * 77;
	check_int(blockmap_copy(&a, &b), 0);
	check(blockmap_equal(&a, &b));
	b.hash[1] ^= 1;
	b.hash[3] ^= 1;
	check(!blockmap_equal(&a, &b));
	check_int(blockmap_mismatch(&a, &b, 0), 1);
	check_int(blockmap_mismatch(&a, &b, 2), 3);
	check(blockmap_mismatch(&a, &b, 4) == UINT64_MAX);
	check_int(blockmap_init(&shorter, 4ull * BLOCK_BYTES - 1), 0);
	check(!blockmap_equal(&a, &shorter));
	blockmap_fini(&a);
	blockmap_fini(&b);
	blockmap_fini(&shorter);
}

TEST(a_block_is_checked_with_its_length_and_place)
{
	static uint8_t bytes[BLOCK_BYTES];
	struct blockmap map;

	check_int(blockmap_init(&map, BLOCK_BYTES + 3ull), 0);
	map.hash[0] = block_hash(bytes, BLOCK_BYTES);
	map.hash[1] = block_hash(bytes, 3);
	check(blockmap_check(&map, 0, bytes, BLOCK_BYTES));
	check(blockmap_check(&map, 1, bytes, 3));
	check(!blockmap_check(&map, 0, bytes, 3));
	check(!blockmap_check(&map, 1, bytes, 2));
	check(!blockmap_check(&map, 2, bytes, 3));
	bytes[1] = 1;
	check(!blockmap_check(&map, 0, bytes, BLOCK_BYTES));
	check(!blockmap_check(&map, 1, bytes, 3));
	bytes[1] = 0;
	blockmap_fini(&map);
}
