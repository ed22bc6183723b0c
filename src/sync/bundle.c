/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/bundle.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "MFB1"
#define MAGIC_BYTES 4
#define HEADER_BYTES (MAGIC_BYTES + BUNDLE_SEGMENTS * sizeof(uint32_t))

uint64_t bundle_of(uint64_t number)
{
	return (number - 1) / BUNDLE_SEGMENTS + 1;
}

uint64_t bundle_first(uint64_t bundle)
{
	return (bundle - 1) * BUNDLE_SEGMENTS + 1;
}

int bundle_pack(const struct bundle_part *parts, void **ret_bytes, size_t *ret_length)
{
	size_t length = HEADER_BYTES;
	uint8_t *bytes, *at;

	for (unsigned i = 0; i < BUNDLE_SEGMENTS; i++) {
		if (parts[i].length > BUNDLE_MAX_BYTES - length)
			return -EFBIG;
		length += parts[i].length;
	}
	bytes = malloc(length);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, MAGIC, MAGIC_BYTES);
	at = bytes + HEADER_BYTES;
	for (unsigned i = 0; i < BUNDLE_SEGMENTS; i++) {
		uint32_t part = htobe32((uint32_t)parts[i].length);

		memcpy(bytes + MAGIC_BYTES + i * sizeof(part), &part, sizeof(part));
		memcpy(at, parts[i].bytes, parts[i].length);
		at += parts[i].length;
	}
	*ret_bytes = bytes;
	*ret_length = length;
	return 0;
}

bool bundle_unpack(const void *bytes, size_t length, struct bundle_part ret_parts[BUNDLE_SEGMENTS])
{
	const uint8_t *at = bytes;
	size_t used = HEADER_BYTES;

	if (length < HEADER_BYTES || memcmp(at, MAGIC, MAGIC_BYTES) != 0)
		return false;
	for (unsigned i = 0; i < BUNDLE_SEGMENTS; i++) {
		uint32_t part;

		memcpy(&part, at + MAGIC_BYTES + i * sizeof(part), sizeof(part));
		part = be32toh(part);
		if (part == 0 || part > length - used)
			return false;
		ret_parts[i] = (struct bundle_part){ .bytes = at + used, .length = part };
		used += part;
	}
	return used == length;
}
