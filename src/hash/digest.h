/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Digests: XXH3-128 identifies a content, XXH3-64 a block of it, SHA-256 chains
 * records. Canonical form is big-endian bytes, as xxhsum and ASC MHL print them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/cleanup.h"

/* XXH3-128 of a content's bytes. */
struct digest {
	uint8_t bytes[16];
};

#define DIGEST_HEX_SIZE 33 /* with the NUL */

void digest_of(const void *bytes, size_t length, struct digest *ret_digest);
bool digest_equal(const struct digest *a, const struct digest *b);
void digest_hex(const struct digest *digest, char ret_hex[DIGEST_HEX_SIZE]);

/* -EINVAL unless @hex is exactly 32 lower- or upper-case hex digits. */
int digest_parse(const char *hex, struct digest *ret_digest);

/* Streaming. */
struct digest_state; /* one stream; not shared between threads */

struct digest_state *digest_new(void); /* NULL without memory */
void digest_free(struct digest_state *state);
DEFINE_CLEANUP(struct digest_state *, digest_free)
void digest_reset(struct digest_state *state);
void digest_update(struct digest_state *state, const void *bytes, size_t length);
void digest_final(const struct digest_state *state, struct digest *ret_digest);

/* XXH3-64 of one block (or of any bytes, for checks in our formats). */
uint64_t block_hash(const void *bytes, size_t length);

/* SHA-256 over the concatenation of @count pieces. Negative errno when libcrypto fails. */
#define CHAIN_BYTES 32
struct chain_piece {
	const void *bytes;
	size_t length;
};
int chain_hash(const struct chain_piece *pieces, size_t count, uint8_t ret_hash[CHAIN_BYTES]);
