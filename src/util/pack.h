/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* zstd, with limits; this is its only home. */
#include <stddef.h>

/* Caller frees. -ENOMEM. */
int zstd_pack(const void *bytes, size_t length, void **ret_packed, size_t *ret_length);

/* -EBADMSG not zstd or damaged, -EFBIG would unpack to more than @max_bytes. Caller frees. */
int zstd_unpack(const void *packed, size_t length, size_t max_bytes, void **ret_bytes,
		size_t *ret_length);
