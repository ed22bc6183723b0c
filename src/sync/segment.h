/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Segment: an immutable piece of a site's journal, ".mediafs/v1/w/<site>/j/<number>.zst".
 * Head: the small object that says how far the journal goes, ".mediafs/v1/w/<site>/head.json".
 * Pure; both are hostile until checked.
 *
 * A segment is zstd over lines of JSON. The first is the header, which starts exactly with
 * {"xxh128":"<32 hex digits>", the XXH3-128 of all the text with these digits as '0':
 *   format   1
 *   site     UUID
 *   name     of the site: letters, digits, '.', '_', '-', at most 63
 *   segment  number, from 1
 *   prev     SHA-256 of the packed segment before, zeros for the first
 *   first    number of the first record
 *   count    of records
 *   lamport  greater than that of every segment the site had read
 * The others are records (sync/record.h).
 *
 * A head is one JSON object: format, site, name, segment, chain (SHA-256 of that packed segment),
 * time (ns), software.
 */
#include "catalog/sync.h"

#define SEGMENT_FORMAT 1
#define SEGMENT_MAX_TEXT (64u << 20)   /* unpacked */
#define SEGMENT_MAX_PACKED (64u << 20) /* as it lies in the tier */
#define SEGMENT_MAX_RECORDS 100000u
#define SEGMENT_MAX_LAMPORT (1ull << 62)
#define HEAD_MAX_BYTES (64u << 10)

struct segment {
	char site[37];
	char name[64];
	uint64_t segment;
	uint8_t prev[CHAIN_BYTES];
	uint64_t first;
	uint64_t lamport;
	struct sync_record *records; /* owned */
	size_t count;
};
void segment_fini(struct segment *segment);

/* Packed bytes (caller frees) and their SHA-256. -EFBIG above the limits. */
int segment_pack(const struct segment *segment, void **ret_packed, size_t *ret_length,
		 uint8_t ret_chain[CHAIN_BYTES]);

/*
 * -EBADMSG when the bytes are not what was written, -EINVAL when they say what we do not accept,
 * -EFBIG above the limits; *ret_why is a sentence about it (caller frees; NULL without memory).
 */
int segment_unpack(const void *packed, size_t length, struct segment *ret_segment,
		   uint8_t ret_chain[CHAIN_BYTES], char **ret_why);

struct head {
	char site[37];
	char name[64];
	uint64_t segment;
	uint8_t chain[CHAIN_BYTES];
	int64_t time_ns;
};
int head_write(const struct head *head, char **ret_text);
int head_read(const void *text, size_t length, struct head *ret_head);

/* 1 to 63 of letters, digits, '.', '_', '-'. */
bool segment_name_ok(const char *name);

/* Any text as such a name. */
void site_name_from(const char *text, char ret_name[64]);
