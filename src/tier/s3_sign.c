/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_sign.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/cleanup.h"
#include "util/text.h"

#define SHA256_BYTES 32

static void to_hex(const uint8_t *bytes, size_t length, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++) {
		*hex++ = digits[bytes[i] >> 4];
		*hex++ = digits[bytes[i] & 15];
	}
	*hex = 0;
}

int s3_payload_hash(const void *bytes, size_t length, char ret_hex[S3_HASH_SIZE])
{
	uint8_t hash[SHA256_BYTES];

	if (EVP_Digest(length ? bytes : "", length, hash, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	to_hex(hash, sizeof(hash), ret_hex);
	return 0;
}

int s3_md5(const void *bytes, size_t length, char ret_hex[33])
{
	uint8_t hash[EVP_MAX_MD_SIZE];

	if (EVP_Digest(length ? bytes : "", length, hash, NULL, EVP_md5(), NULL) != 1)
		return -EIO;
	to_hex(hash, 16, ret_hex);
	return 0;
}

int s3_customer_of(const uint8_t key[S3_CUSTOMER_BYTES], struct s3_customer *ret_customer)
{
	uint8_t hash[EVP_MAX_MD_SIZE];

	if (EVP_Digest(key, S3_CUSTOMER_BYTES, hash, NULL, EVP_md5(), NULL) != 1)
		return -EIO;
	(void)EVP_EncodeBlock((uint8_t *)ret_customer->key, key, S3_CUSTOMER_BYTES);
	(void)EVP_EncodeBlock((uint8_t *)ret_customer->md5, hash, 16);
	return 0;
}

void s3_date(int64_t time_s, char ret_date[S3_DATE_SIZE])
{
	time_t time = (time_t)time_s;
	struct tm tm;

	if (!gmtime_r(&time, &tm) || !strftime(ret_date, S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm))
		ret_date[0] = 0;
}

/* RFC 3986: only unreserved characters stay. */
static void encode(FILE *out, const char *text, const char *also)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					 "0123456789-._~";

	for (; *text; text++) {
		if (strchr(unreserved, *text) || strchr(also, *text))
			(void)fputc(*text, out);
		else
			(void)fprintf(out, "%%%02X", (unsigned char)*text);
	}
}

/* The text of a memory stream, closed; NULL when memory ran out. */
static char *finish(FILE *out, char **text)
{
	bool bad = ferror(out);

	if (fclose(out) != 0 || bad) {
		free(*text);
		*text = NULL;
	}
	return *text;
}

char *s3_encode_path(const char *path)
{
	char *text = NULL;
	size_t length;
	FILE *out = text_open(&text, &length);

	if (!out)
		return NULL;
	encode(out, path, "/");
	return finish(out, &text);
}

static int by_name(const void *left, const void *right)
{
	const struct s3_pair *a = left, *b = right;
	int order = strcmp(a->name, b->name);

	return order ? order : strcmp(a->value, b->value);
}

/* Caller frees; NULL without memory. */
static struct s3_pair *sorted(const struct s3_pair *pairs, size_t count)
{
	struct s3_pair *copy = calloc(count + 1, sizeof(*copy));

	if (!copy)
		return NULL;
	if (count)
		memcpy(copy, pairs, count * sizeof(*copy));
	qsort(copy, count, sizeof(*copy), by_name);
	return copy;
}

/*
 * Names are sorted before they are encoded: all of ours are letters, digits and '-', for which
 * both orders are the same.
 */
char *s3_encode_query(const struct s3_pair *query, size_t count)
{
	cleanup_free struct s3_pair *pairs = sorted(query, count);
	char *text = NULL;
	size_t length;
	FILE *out = pairs ? text_open(&text, &length) : NULL;

	if (!out)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		if (i)
			(void)fputc('&', out);
		encode(out, pairs[i].name, "");
		(void)fputc('=', out);
		encode(out, pairs[i].value, "");
	}
	return finish(out, &text);
}

/* White space around it goes, inside it becomes one space. */
static void write_header_value(FILE *out, const char *value)
{
	bool space = false, any = false;

	for (; *value; value++) {
		if (*value == ' ' || *value == '\t') {
			space = any;
			continue;
		}
		if (space)
			(void)fputc(' ', out);
		(void)fputc(*value, out);
		any = true;
		space = false;
	}
}

static char *signed_names(const struct s3_pair *headers, size_t count)
{
	char *text = NULL;
	size_t length;
	FILE *out = text_open(&text, &length);

	if (!out)
		return NULL;
	for (size_t i = 0; i < count; i++)
		(void)fprintf(out, "%s%s", i ? ";" : "", headers[i].name);
	return finish(out, &text);
}

static char *canonical_request(const struct s3_signing *signing, const struct s3_pair *headers,
			       const char *names)
{
	cleanup_free char *path = s3_encode_path(signing->path);
	cleanup_free char *query = s3_encode_query(signing->query, signing->query_count);
	char *text = NULL;
	size_t length;
	FILE *out = path && query ? text_open(&text, &length) : NULL;

	if (!out)
		return NULL;
	(void)fprintf(out, "%s\n%s\n%s\n", signing->method, path, query);
	for (size_t i = 0; i < signing->header_count; i++) {
		(void)fprintf(out, "%s:", headers[i].name);
		write_header_value(out, headers[i].value);
		(void)fputc('\n', out);
	}
	(void)fprintf(out, "\n%s\n%s", names, signing->payload_hash);
	return finish(out, &text);
}

static int hmac(const void *key, size_t key_length, const char *text, uint8_t ret_mac[SHA256_BYTES])
{
	uint8_t mac[SHA256_BYTES];
	unsigned length = sizeof(mac);

	if (!HMAC(EVP_sha256(), key, (int)key_length, (const uint8_t *)text, strlen(text), mac,
		  &length))
		return -EIO;
	memcpy(ret_mac, mac, sizeof(mac));
	return 0;
}

/* The signature over @to_sign with the key of @day and region. */
static int signature(const struct s3_signing *signing, const char *day, const char *to_sign,
		     char ret_hex[S3_HASH_SIZE])
{
	const char *const steps[] = { day, signing->region, "s3", "aws4_request", to_sign };
	cleanup_free char *first = NULL;
	uint8_t mac[SHA256_BYTES];
	size_t length;
	int r = 0;

	if (asprintf(&first, "AWS4%s", signing->secret_key) < 0) {
		first = NULL;
		return -ENOMEM;
	}
	length = strlen(first);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(steps); i++)
		r = hmac(i ? (void *)mac : first, i ? sizeof(mac) : length, steps[i], mac);
	explicit_bzero(first, length);
	if (r == 0)
		to_hex(mac, sizeof(mac), ret_hex);
	explicit_bzero(mac, sizeof(mac));
	return r;
}

int s3_sign(const struct s3_signing *signing, char **ret_authorization)
{
	cleanup_free struct s3_pair *headers = sorted(signing->headers, signing->header_count);
	cleanup_free char *names = NULL, *request = NULL, *to_sign = NULL;
	char date[S3_DATE_SIZE], day[9] = "", hash[S3_HASH_SIZE];
	int r;

	names = headers ? signed_names(headers, signing->header_count) : NULL;
	request = names ? canonical_request(signing, headers, names) : NULL;
	if (!request)
		return -ENOMEM;
	s3_date(signing->time_s, date);
	memcpy(day, date, 8);
	r = s3_payload_hash(request, strlen(request), hash);
	if (r < 0)
		return r;
	if (asprintf(&to_sign, "AWS4-HMAC-SHA256\n%s\n%s/%s/s3/aws4_request\n%s", date, day,
		     signing->region, hash) < 0) {
		to_sign = NULL;
		return -ENOMEM;
	}
	r = signature(signing, day, to_sign, hash);
	if (r < 0)
		return r;
	if (asprintf(ret_authorization,
		     "AWS4-HMAC-SHA256 Credential=%s/%s/%s/s3/aws4_request,SignedHeaders=%s,"
		     "Signature=%s",
		     signing->access_key, day, signing->region, names, hash) < 0)
		return -ENOMEM;
	return 0;
}
