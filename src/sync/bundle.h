/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Bundle: segments of a site's journal that follow each other, as they lie in the tier, in one
 * object, ".mediafs/v1/w/<site>/b/<number>". Bundle 1 has the segments 1 to BUNDLE_SEGMENTS. For
 * who has many to read; nothing depends on it, and its segments are checked as others are. Pure.
 *
 * "MFB1", then for each segment its length (4 bytes, big-endian), then their bytes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUNDLE_SEGMENTS 256u
#define BUNDLE_MAX_BYTES (8u << 20)

struct bundle_part {
	const void *bytes; /* borrowed */
	size_t length;
};

/* Which bundle the segment @number is in, and the first segment of @bundle. Both count from 1. */
uint64_t bundle_of(uint64_t number);
uint64_t bundle_first(uint64_t bundle);

/* BUNDLE_SEGMENTS parts. Caller frees. -EFBIG above BUNDLE_MAX_BYTES, -ENOMEM. */
int bundle_pack(const struct bundle_part *parts, void **ret_bytes, size_t *ret_length);

/* The parts, which point into @bytes. False: it is no bundle. */
bool bundle_unpack(const void *bytes, size_t length, struct bundle_part ret_parts[BUNDLE_SEGMENTS]);
