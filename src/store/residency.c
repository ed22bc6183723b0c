/* SPDX-License-Identifier: Apache-2.0 */
#include "store/residency.h"

#include <errno.h>
#include <string.h>

#include "util/clock.h"

#define TAIL_BYTES (1u << 20)

/* How far the backing ctime may be from our clock: the kernel's is a tick late. */
#define CTIME_SLACK_NS NS_PER_SEC

static uint32_t bits_for(uint64_t size, unsigned shift)
{
	uint64_t blocks = blockmap_count(size);

	return (uint32_t)((blocks >> shift) + ((blocks & ((1ull << shift) - 1)) != 0));
}

void residency_init(struct residency *residency, uint64_t size, const struct digest *digest)
{
	memset(residency, 0, sizeof(*residency));
	residency->size = size;
	residency->digest = *digest;
	while (blockmap_count(size) > (RESIDENCY_BITMAP_MAX * 8ull << residency->shift))
		residency->shift++;
	residency->bit_count = bits_for(size, residency->shift);
}

static bool has_bit(const struct residency *residency, uint64_t bit)
{
	return bit < residency->bit_count && (residency->bits[bit / 8] >> (bit % 8) & 1);
}

bool residency_has(const struct residency *residency, uint64_t block)
{
	return has_bit(residency, block >> residency->shift);
}

bool residency_has_range(const struct residency *residency, uint64_t offset, uint64_t length)
{
	uint64_t end;

	if (!length || offset >= residency->size)
		return true; /* nothing there to be absent */
	end = length < residency->size - offset ? offset + length : residency->size;
	for (uint64_t bit = offset / BLOCK_BYTES >> residency->shift;
	     bit <= (end - 1) / BLOCK_BYTES >> residency->shift; bit++) {
		if (!has_bit(residency, bit))
			return false;
	}
	return true;
}

bool residency_full(const struct residency *residency)
{
	return residency_has_range(residency, 0, residency->size);
}

uint64_t residency_bytes(const struct residency *residency)
{
	uint64_t total = 0, offset, length;

	for (uint64_t bit = 0; bit < residency->bit_count; bit++) {
		if (!has_bit(residency, bit))
			continue;
		residency_granule(residency, bit << residency->shift, &offset, &length);
		total += length;
	}
	return total;
}

void residency_granule(const struct residency *residency, uint64_t block, uint64_t *ret_offset,
		       uint64_t *ret_length)
{
	uint64_t bit = block >> residency->shift;
	uint64_t bytes = (uint64_t)BLOCK_BYTES << residency->shift;

	if (bit >= residency->bit_count) {
		*ret_offset = residency->size;
		*ret_length = 0;
		return;
	}
	*ret_offset = bit * bytes;
	*ret_length = residency->size - *ret_offset < bytes ? residency->size - *ret_offset : bytes;
}

void residency_set(struct residency *residency, uint64_t block)
{
	uint64_t bit = block >> residency->shift;

	if (bit < residency->bit_count)
		residency->bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
}

void residency_clear(struct residency *residency, uint64_t block)
{
	uint64_t bit = block >> residency->shift;

	if (bit < residency->bit_count)
		residency->bits[bit / 8] &= (uint8_t) ~(1u << (bit % 8));
}

void residency_keep_ends(struct residency *residency)
{
	uint64_t tail = residency->size > TAIL_BYTES ? residency->size - TAIL_BYTES : 0;
	uint64_t tail_bit = tail / BLOCK_BYTES >> residency->shift;

	for (uint64_t bit = 1; bit < tail_bit; bit++)
		residency_clear(residency, bit << residency->shift);
}

int64_t residency_ctime(const struct residency *residency, int64_t backing_ctime_ns)
{
	int64_t distance;

	if (!residency->shown_ctime_ns ||
	    __builtin_sub_overflow(backing_ctime_ns, residency->written_ns, &distance) ||
	    distance > CTIME_SLACK_NS || distance < -CTIME_SLACK_NS)
		return backing_ctime_ns;
	return residency->shown_ctime_ns;
}

/* The packed form -------------------------------------------------------------------- */

static void put_u64(uint8_t *to, uint64_t value)
{
	for (int i = 7; i >= 0; i--, value >>= 8)
		to[i] = (uint8_t)value;
}

static uint64_t get_u64(const uint8_t *from)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | from[i];
	return value;
}

size_t residency_pack(const struct residency *residency, uint8_t bytes[RESIDENCY_PACKED_MAX])
{
	size_t bitmap = (residency->bit_count + 7) / 8;

	memcpy(bytes, "MFR1", 4);
	bytes[4] = (uint8_t)residency->shift;
	memset(bytes + 5, 0, 3);
	put_u64(bytes + 8, residency->size);
	put_u64(bytes + 16, (uint64_t)residency->shown_ctime_ns);
	put_u64(bytes + 24, (uint64_t)residency->written_ns);
	memcpy(bytes + 32, residency->digest.bytes, 16);
	memcpy(bytes + 48, residency->bits, bitmap);
	return 48 + bitmap;
}

int residency_unpack(const uint8_t *bytes, size_t length, struct residency *ret_residency)
{
	static const uint8_t zero[3];
	struct residency found = { 0 };
	size_t bitmap;

	if (length < 48 || memcmp(bytes, "MFR1", 4) != 0 || memcmp(bytes + 5, zero, 3) != 0)
		return -EUCLEAN;
	found.shift = bytes[4];
	found.size = get_u64(bytes + 8);
	if (found.size > INT64_MAX || found.shift > 40 ||
	    blockmap_count(found.size) > (RESIDENCY_BITMAP_MAX * 8ull << found.shift))
		return -EUCLEAN;
	found.bit_count = bits_for(found.size, found.shift);
	bitmap = (found.bit_count + 7) / 8;
	if (length != 48 + bitmap)
		return -EUCLEAN;
	if (found.bit_count % 8 && bytes[length - 1] >> (found.bit_count % 8))
		return -EUCLEAN;
	found.shown_ctime_ns = (int64_t)get_u64(bytes + 16);
	found.written_ns = (int64_t)get_u64(bytes + 24);
	memcpy(found.digest.bytes, bytes + 32, 16);
	memcpy(found.bits, bytes + 48, bitmap);
	*ret_residency = found;
	return 0;
}
