/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each container says of its length:
 *
 *   atoms   u32 big-endian size with its header, four letters; size 1: u64 follows, 0: to the end.
 *           Source: ISO/IEC 14496-12, 4.2; R3D has the same frame (FFmpeg's reader).
 *   KLV     16 bytes of key, a BER length, value. In the value of a partition pack the offset of
 *           the footer is a u64 at 24. Source: SMPTE 377-1, 5.2 and 7.1.
 *   RIFF    four letters, u32 little-endian size without these 8 bytes; RF64 and BW64 have a u64
 *           in their ds64, at 20. Source: EBU Tech 3306. W64: u64 at 16, all of it (Sony).
 *   DPX     u32 size of the file at 16, in the order of its magic. Source: SMPTE 268M.
 *
 * Sizes that a recorder fills in at the end (0, all ones) say nothing.
 */
#include "probe/extent.h"

#include <endian.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/clock.h"

#define STEPS_MAX 20000u
#define WALK_NS (2 * NS_PER_SEC) /* a disk may take 10 ms for each */
#define HEAD_BYTES 32

static uint32_t be32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return be32toh(value);
}

static uint64_t be64(const uint8_t *bytes)
{
	return (uint64_t)be32(bytes) << 32 | be32(bytes + 4);
}

static uint32_t le32(const uint8_t *bytes)
{
	return __builtin_bswap32(be32(bytes));
}

static uint64_t le64(const uint8_t *bytes)
{
	return __builtin_bswap64(be64(bytes));
}

/* Up to @length bytes at @offset; how many there are. */
static size_t read_at(struct source *source, uint64_t offset, uint8_t *buffer, size_t length)
{
	size_t used = 0;

	if (source_seek(source, (int64_t)offset, SEEK_SET) < 0)
		return 0;
	while (used < length) {
		ssize_t n = source_read(source, buffer + used, length - used);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return used;
}

/* Bytes of the element at @at whose first @length bytes are @head; 0: it has no length. */
typedef uint64_t (*element_fn)(const uint8_t *head, size_t length);

/* Only what is known is believed: some cameras leave bytes of their own behind the last atom. */
static bool is_atom(const uint8_t *head)
{
	static const char names[][5] = { "ftyp", "moov", "moof", "mdat", "wide", "free", "skip",
					 "uuid", "meta", "mfra", "RED1", "RED2", "REDV", "REDA" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (memcmp(head + 4, names[i], 4) == 0)
			return true;
	}
	return false;
}

static uint64_t atom_bytes(const uint8_t *head, size_t length)
{
	if (length < 8 || !is_atom(head))
		return 0;
	if (be32(head) == 1)
		return length >= 16 && be64(head + 8) >= 16 ? be64(head + 8) : 0;
	return be32(head) >= 8 ? be32(head) : 0;
}

static const uint8_t klv_key[] = { 0x06, 0x0e, 0x2b, 0x34 };

static uint64_t klv_bytes(const uint8_t *head, size_t length)
{
	uint64_t value = 0;
	size_t more;

	if (length < 17 || memcmp(head, klv_key, sizeof(klv_key)) != 0)
		return 0;
	if (!(head[16] & 0x80))
		return 17u + head[16];
	more = head[16] & 0x7f;
	if (more == 0 || more > 8 || length < 17 + more)
		return 0;
	for (size_t i = 0; i < more; i++)
		value = value << 8 | head[17 + i];
	return value <= INT64_MAX - 32 ? 17 + more + value : 0;
}

/* One element after the other, until one ends behind the file. */
static uint64_t walk(struct source *source, element_fn element)
{
	int64_t deadline_ns = monotonic_ns() + WALK_NS;
	uint64_t at = 0;

	for (unsigned i = 0; i < STEPS_MAX && at < source->size; i++) {
		uint8_t head[HEAD_BYTES];
		size_t length = read_at(source, at, head, sizeof(head));
		uint64_t bytes = element(head, length);

		if (!bytes || bytes > INT64_MAX - at || monotonic_ns() > deadline_ns)
			return 0;
		at += bytes;
	}
	return at > source->size ? at : 0;
}

/* By the partition at the front, when it knows where the footer is; else by all that follows. */
static uint64_t mxf_extent(struct source *source)
{
	uint8_t head[25 + 32];
	size_t length = read_at(source, 0, head, sizeof(head));
	uint64_t bytes = klv_bytes(head, length);
	size_t value = head[16] & 0x80 ? 17u + (head[16] & 0x7f) : 17u;
	uint64_t footer;

	if (bytes < value + 32 || length < value + 32)
		return 0;
	footer = be64(head + value + 24);
	if (footer && footer <= INT64_MAX)
		return footer >= source->size ? footer + 1 : 0;
	return walk(source, klv_bytes);
}

static uint64_t riff_extent(const uint8_t *head, size_t length)
{
	uint32_t size = le32(head + 4);

	/* Some leave out the byte that makes the last chunk even. */
	if (size && size != UINT32_MAX)
		return 7 + (uint64_t)size;
	if (length >= 28 && memcmp(head, "RIFF", 4) != 0 && memcmp(head + 12, "ds64", 4) == 0 &&
	    le64(head + 20) <= INT64_MAX - 8 && le64(head + 20))
		return 7 + le64(head + 20);
	return 0;
}

static uint64_t find_extent(struct source *source)
{
	uint8_t head[HEAD_BYTES];
	size_t length = read_at(source, 0, head, sizeof(head));
	uint32_t size;

	if (length < sizeof(head))
		return 0;
	if (is_atom(head))
		return walk(source, atom_bytes);
	if (memcmp(head, klv_key, sizeof(klv_key)) == 0)
		return mxf_extent(source);
	if (memcmp(head, "RIFF", 4) == 0 || memcmp(head, "RF64", 4) == 0 ||
	    memcmp(head, "BW64", 4) == 0)
		return riff_extent(head, length);
	if (memcmp(head, "riff", 4) == 0)
		return le64(head + 16) <= INT64_MAX ? le64(head + 16) : 0;
	if (memcmp(head, "SDPX", 4) != 0 && memcmp(head, "XPDS", 4) != 0)
		return 0;
	size = *head == 'S' ? be32(head + 16) : le32(head + 16);
	return size == UINT32_MAX ? 0 : size;
}

uint64_t extent_of(struct source *source)
{
	uint64_t extent = find_extent(source);

	(void)source_seek(source, 0, SEEK_SET);
	return extent > source->size ? extent : 0;
}
