/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/formats.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hash/xxh.h"

#define C4_DIGITS 88

static const char base58[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

static const struct {
	const char *name;
	size_t bytes;
	const EVP_MD *(*evp)(void); /* NULL: xxHash */
} formats[HASH_FORMATS] = {
	[HASH_C4] = { "c4", 64, EVP_sha512 },   [HASH_MD5] = { "md5", 16, EVP_md5 },
	[HASH_SHA1] = { "sha1", 20, EVP_sha1 }, [HASH_XXH128] = { "xxh128", 16, NULL },
	[HASH_XXH3] = { "xxh3", 8, NULL },      [HASH_XXH64] = { "xxh64", 8, NULL },
	[HASH_XXH32] = { "xxh32", 4, NULL },
};

struct hashes {
	XXH3_state_t xxh128, xxh3;
	XXH64_state_t xxh64;
	XXH32_state_t xxh32;
	EVP_MD_CTX *evp[HASH_FORMATS]; /* owned; NULL where not asked for */
	unsigned formats;
};

const char *hash_name(enum hash_format format)
{
	return formats[format].name;
}

size_t hash_bytes(enum hash_format format)
{
	return formats[format].bytes;
}

int hash_format_parse(const char *name, size_t length, enum hash_format *ret_format)
{
	for (size_t i = 0; i < HASH_FORMATS; i++) {
		if (strlen(formats[i].name) == length &&
		    memcmp(formats[i].name, name, length) == 0) {
			*ret_format = (enum hash_format)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* Divide the big-endian number by 58 as often as it has digits: school's long division. */
static void c4_text(const uint8_t *bytes, char *ret_text)
{
	uint8_t number[HASH_MAX_BYTES];

	memcpy(number, bytes, sizeof(number));
	memcpy(ret_text, "c4", 2);
	for (size_t digit = C4_DIGITS; digit-- > 0;) {
		unsigned rest = 0;

		for (size_t i = 0; i < sizeof(number); i++) {
			rest = rest << 8 | number[i];
			number[i] = (uint8_t)(rest / 58);
			rest %= 58;
		}
		ret_text[2 + digit] = base58[rest];
	}
	ret_text[2 + C4_DIGITS] = '\0';
}

static int c4_parse(const char *text, uint8_t *ret_bytes)
{
	uint8_t number[HASH_MAX_BYTES] = { 0 };

	if (strnlen(text, 3 + C4_DIGITS) != 2 + C4_DIGITS || memcmp(text, "c4", 2) != 0)
		return -EINVAL;
	for (text += 2; *text; text++) {
		const char *at = strchr(base58, *text);
		unsigned carry;

		if (!at)
			return -EINVAL;
		carry = (unsigned)(at - base58);
		for (size_t i = sizeof(number); i-- > 0;) {
			carry += number[i] * 58u;
			number[i] = (uint8_t)carry;
			carry >>= 8;
		}
		if (carry) /* above 512 bits */
			return -EINVAL;
	}
	memcpy(ret_bytes, number, sizeof(number));
	return 0;
}

void hash_text(enum hash_format format, const uint8_t *bytes, char ret_text[HASH_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	if (format == HASH_C4) {
		c4_text(bytes, ret_text);
		return;
	}
	for (size_t i = 0; i < formats[format].bytes; i++) {
		ret_text[i * 2] = digits[bytes[i] >> 4];
		ret_text[i * 2 + 1] = digits[bytes[i] & 15];
	}
	ret_text[formats[format].bytes * 2] = '\0';
}

static int digit_value(char digit)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	const char *at = digit ? strchr(digits, digit) : NULL;

	if (!at)
		return -1;
	return at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

int hash_parse(enum hash_format format, const char *text, uint8_t *ret_bytes)
{
	size_t count = formats[format].bytes;
	uint8_t bytes[HASH_MAX_BYTES];

	if (format == HASH_C4)
		return c4_parse(text, ret_bytes);
	if (strnlen(text, count * 2 + 1) != count * 2)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		int high = digit_value(text[i * 2]), low = digit_value(text[i * 2 + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(ret_bytes, bytes, count);
	return 0;
}

static bool begin_evp(struct hashes *hashes, size_t format)
{
	hashes->evp[format] = EVP_MD_CTX_new();
	return hashes->evp[format] &&
	       EVP_DigestInit_ex(hashes->evp[format], formats[format].evp(), NULL);
}

struct hashes *hashes_new(unsigned wanted)
{
	cleanup_with(hashes_free_slot) struct hashes *hashes =
		aligned_alloc(_Alignof(struct hashes), sizeof(*hashes));

	if (!hashes)
		return NULL;
	memset(hashes, 0, sizeof(*hashes));
	hashes->formats = wanted;
	for (size_t i = 0; i < HASH_FORMATS; i++) {
		if ((wanted & HASH_BIT(i)) && formats[i].evp && !begin_evp(hashes, i))
			return NULL;
	}
	XXH3_INITSTATE(&hashes->xxh128);
	XXH3_INITSTATE(&hashes->xxh3);
	xxh_best()->reset128(&hashes->xxh128);
	xxh_best()->reset64(&hashes->xxh3);
	(void)XXH64_reset(&hashes->xxh64, 0); /* fails for NULL only */
	(void)XXH32_reset(&hashes->xxh32, 0);
	return take_ptr(hashes);
}

void hashes_free(struct hashes *hashes)
{
	if (!hashes)
		return;
	for (size_t i = 0; i < HASH_FORMATS; i++)
		EVP_MD_CTX_free(hashes->evp[i]);
	free(hashes);
}

int hashes_update(struct hashes *hashes, const void *bytes, size_t length)
{
	for (size_t i = 0; i < HASH_FORMATS; i++) {
		if (hashes->evp[i] && !EVP_DigestUpdate(hashes->evp[i], bytes, length))
			return -EIO;
	}
	if (hashes->formats & HASH_BIT(HASH_XXH128))
		xxh_best()->update128(&hashes->xxh128, bytes, length);
	if (hashes->formats & HASH_BIT(HASH_XXH3))
		xxh_best()->update64(&hashes->xxh3, bytes, length);
	if (hashes->formats & HASH_BIT(HASH_XXH64))
		(void)XXH64_update(&hashes->xxh64, bytes, length);
	if (hashes->formats & HASH_BIT(HASH_XXH32))
		(void)XXH32_update(&hashes->xxh32, bytes, length);
	return 0;
}

int hashes_final(struct hashes *hashes, enum hash_format format, uint8_t *ret_bytes)
{
	uint64_t words[2];
	uint32_t word;
	struct xxh128 wide;

	switch (format) {
	case HASH_XXH128:
		wide = xxh_best()->final128(&hashes->xxh128);
		words[0] = htobe64(wide.high);
		words[1] = htobe64(wide.low);
		memcpy(ret_bytes, words, sizeof(words));
		return 0;
	case HASH_XXH3:
		words[0] = htobe64(xxh_best()->final64(&hashes->xxh3));
		memcpy(ret_bytes, words, sizeof(words[0]));
		return 0;
	case HASH_XXH64:
		words[0] = htobe64(XXH64_digest(&hashes->xxh64));
		memcpy(ret_bytes, words, sizeof(words[0]));
		return 0;
	case HASH_XXH32:
		word = htobe32(XXH32_digest(&hashes->xxh32));
		memcpy(ret_bytes, &word, sizeof(word));
		return 0;
	default:
		return EVP_DigestFinal_ex(hashes->evp[format], ret_bytes, NULL) ? 0 : -EIO;
	}
}
