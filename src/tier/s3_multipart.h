/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the two halves of a multipart upload share: s3_parts.c (the upload), s3_send.c (bytes). */
#include "tier/s3.h"

struct s3_parts {
	struct s3_tier *s3;
	const char *key;
	const struct tier_object *object;
	const struct tier_source *source;
	const struct s3_origin
		*origin; /* borrowed; the server copies from there, NULL: bytes are sent */

	uint64_t part_bytes;
	unsigned count;
	char *upload;              /* owned; the server's id */
	char **listed;             /* owned; ETags of parts that the server said it has, NULL not */
	char **etags;              /* owned; ETags of the parts that it has */
	enum s3_sum_kind sum_kind; /* that the upload was begun with */
	struct s3_sum *sums;       /* owned; of the parts that have an ETag */
	unsigned since_note;       /* parts that it got since they were noted */
	struct digest_state *digest; /* owned; of the bytes that were read, in order */
	uint64_t digested;
};

static inline uint64_t s3_part_length(const struct s3_parts *parts, unsigned index)
{
	uint64_t left = parts->object->size - index * parts->part_bytes;

	return left < parts->part_bytes ? left : parts->part_bytes;
}

/* The part @index has arrived with @etag. */
int s3_part_arrived(struct s3_parts *parts, unsigned index, const char *etag);

/* Send (or have copied) all parts that the server does not have: parts->etags is full afterwards.
 */
int s3_send_parts(struct s3_parts *parts);
