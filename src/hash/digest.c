/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/digest.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash/xxh.h"
#include "util/cleanup.h"

struct digest_state {
	XXH3_state_t xxh;
};

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

/* xxHash's canonical form of 128 bits is high half, low half, each big-endian. */
static void to_digest(struct xxh128 hash, struct digest *ret_digest)
{
	uint64_t words[2] = { htobe64(hash.high), htobe64(hash.low) };

	_Static_assert(sizeof(words) == sizeof(ret_digest->bytes), "128 bits");
	memcpy(ret_digest->bytes, words, sizeof(words));
}

void digest_of(const void *bytes, size_t length, struct digest *ret_digest)
{
	to_digest(xxh_best()->hash128(bytes, length), ret_digest);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void digest_hex(const struct digest *digest, char ret_hex[DIGEST_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < sizeof(digest->bytes); i++) {
		ret_hex[i * 2] = digits[digest->bytes[i] >> 4];
		ret_hex[i * 2 + 1] = digits[digest->bytes[i] & 15];
	}
	ret_hex[sizeof(digest->bytes) * 2] = '\0';
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

int digest_parse(const char *hex, struct digest *ret_digest)
{
	struct digest digest = { 0 };

	if (strnlen(hex, DIGEST_HEX_SIZE) != DIGEST_HEX_SIZE - 1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(digest.bytes); i++) {
		int high = digit_value(hex[i * 2]), low = digit_value(hex[i * 2 + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		digest.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret_digest = digest;
	return 0;
}

struct digest_state *digest_new(void)
{
	struct digest_state *state = aligned_alloc(_Alignof(XXH3_state_t), sizeof(*state));

	if (!state)
		return NULL;
	XXH3_INITSTATE(&state->xxh);
	digest_reset(state);
	return state;
}

void digest_free(struct digest_state *state)
{
	free(state);
}

void digest_reset(struct digest_state *state)
{
	xxh_best()->reset128(&state->xxh);
}

void digest_update(struct digest_state *state, const void *bytes, size_t length)
{
	xxh_best()->update128(&state->xxh, bytes, length);
}

void digest_final(const struct digest_state *state, struct digest *ret_digest)
{
	to_digest(xxh_best()->final128(&state->xxh), ret_digest);
}

uint64_t block_hash(const void *bytes, size_t length)
{
	return xxh_best()->hash64(bytes, length);
}

int chain_hash(const struct chain_piece *pieces, size_t count, uint8_t ret_hash[CHAIN_BYTES])
{
	cleanup_with(EVP_MD_CTX_free_slot) EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned length = 0;

	if (!context)
		return -ENOMEM;
	if (!EVP_DigestInit_ex(context, EVP_sha256(), NULL))
		return -EIO;
	for (size_t i = 0; i < count; i++) {
		if (pieces[i].length &&
		    !EVP_DigestUpdate(context, pieces[i].bytes, pieces[i].length))
			return -EIO;
	}
	if (!EVP_DigestFinal_ex(context, hash, &length) || length != CHAIN_BYTES)
		return -EIO;
	memcpy(ret_hash, hash, CHAIN_BYTES);
	return 0;
}
