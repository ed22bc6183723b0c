/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Checksums that a server compares with what it gets, keeps with the object and shows again: which
 * it has is tried with a small object, once. Source: Amazon S3 User Guide, "Checking object
 * integrity in Amazon S3".
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tier/s3_sign.h"

/* Best first. Of an object in parts CRC-64 is that of its bytes, SHA-256 that of its parts'. */
enum s3_sum_kind { S3_SUM_NONE, S3_SUM_CRC64, S3_SUM_SHA256, S3_SUM_KINDS };

struct s3_sum_name {
	const char *name;    /* in x-amz-checksum-algorithm */
	const char *type;    /* in x-amz-checksum-type, of an object in parts */
	const char *header;  /* that has the value */
	const char *element; /* the same of a part, when the parts are put together */
};

/* @kind is not S3_SUM_NONE. */
const struct s3_sum_name *s3_sum_name(enum s3_sum_kind kind);

#define S3_SUM_BYTES 32
#define S3_SUM_TEXT 52 /* base64 of that, "-10000", NUL */

struct s3_sum {
	uint8_t bytes[S3_SUM_BYTES]; /* as many as the kind has */
};

/* Of bytes whose SHA-256 is known as @hex; nothing for S3_SUM_NONE. */
void s3_sum_of(enum s3_sum_kind kind, const void *bytes, size_t length,
	       const char hex[S3_HASH_SIZE], struct s3_sum *ret_sum);

/* As headers have it; "" for S3_SUM_NONE. */
void s3_sum_text(enum s3_sum_kind kind, const struct s3_sum *sum, char ret_text[S3_SUM_TEXT]);

/* The same of a CRC-64. */
void s3_sum_crc_text(uint64_t crc, char ret_text[S3_SUM_TEXT]);

/* The other way round. -EINVAL. */
int s3_sum_parse(enum s3_sum_kind kind, const char *text, struct s3_sum *ret_sum);

/*
 * What the whole must have: @count parts, all but the last of @part_bytes, @size bytes together.
 * -EIO when libcrypto fails, -ENOMEM.
 */
int s3_sum_whole(enum s3_sum_kind kind, const struct s3_sum *sums, unsigned count,
		 uint64_t part_bytes, uint64_t size, char ret_text[S3_SUM_TEXT]);
