/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The hashes that manifests carry, any set of them over one stream.
 *
 * Values are bytes in canonical (big-endian) order. Their text is lower-case hex, except C4
 * (SMPTE ST 2114): "c4" and 88 digits of base 58 over a SHA-512. In the order of the schema of
 * ASC MHL; XXH32 is for lists of legacy MHL only.
 */
#include <stddef.h>
#include <stdint.h>

#include "util/cleanup.h"

enum hash_format {
	HASH_C4,
	HASH_MD5,
	HASH_SHA1,
	HASH_XXH128,
	HASH_XXH3, /* 64 bits */
	HASH_XXH64,
	HASH_XXH32,
	HASH_FORMATS
};

#define HASH_BIT(format) (1u << (format))
#define HASH_MAX_BYTES 64
#define HASH_TEXT_SIZE 91 /* of the longest text, with the NUL */

/* What ASC MHL calls it. Static. */
const char *hash_name(enum hash_format format);

/* The length of a value. */
size_t hash_bytes(enum hash_format format);

/* By its name, as hash_name() gives it: @length bytes at @name. -EINVAL for any other. */
int hash_format_parse(const char *name, size_t length, enum hash_format *ret_format);

void hash_text(enum hash_format format, const uint8_t *bytes, char ret_text[HASH_TEXT_SIZE]);

/* Hex in either case, C4 as it is. @ret_bytes has hash_bytes(@format). -EINVAL otherwise. */
int hash_parse(enum hash_format format, const char *text, uint8_t *ret_bytes);

/* A stream; not shared between threads. */
struct hashes;

/* @formats: HASH_BIT()s. NULL without memory, or when libcrypto refuses one (MD5 under FIPS). */
struct hashes *hashes_new(unsigned formats);
void hashes_free(struct hashes *hashes);
DEFINE_CLEANUP(struct hashes *, hashes_free)

/* -EIO when libcrypto fails; then nothing can be had from this stream. */
int hashes_update(struct hashes *hashes, const void *bytes, size_t length);

/* The value of @format, which was asked for; once each. -EIO as above. */
int hashes_final(struct hashes *hashes, enum hash_format format, uint8_t *ret_bytes);
