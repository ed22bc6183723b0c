/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * AWS Signature Version 4, as S3 wants it: pure, no I/O, no clock.
 * Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header:
 * Transferring Payload in a Single Chunk (AWS Signature Version 4)".
 */
#include <stddef.h>
#include <stdint.h>

#define S3_HASH_SIZE 65 /* SHA-256 as hex, with the NUL */
#define S3_DATE_SIZE 17 /* "20130524T000000Z", with the NUL */

struct s3_pair {
	const char *name, *value; /* borrowed */
};

struct s3_signing {
	const char *method;
	const char *path;            /* from '/', not encoded */
	const struct s3_pair *query; /* not encoded, in any order */
	size_t query_count;
	const struct s3_pair *headers; /* all are signed; names in lower case, in any order */
	size_t header_count;
	const char *payload_hash; /* hex, or UNSIGNED-PAYLOAD */
	const char *region;
	int64_t time_s; /* since 1970; x-amz-date must say the same */
	const char *access_key, *secret_key;
};

/* The value of the Authorization header. Caller frees. -ENOMEM, -EIO when libcrypto fails. */
int s3_sign(const struct s3_signing *signing, char **ret_authorization);

/* As they are signed and must be sent. Caller frees; NULL without memory. */
char *s3_encode_path(const char *path);
char *s3_encode_query(const struct s3_pair *query, size_t count);

void s3_date(int64_t time_s, char ret_date[S3_DATE_SIZE]);

/* -EIO when libcrypto fails. */
int s3_payload_hash(const void *bytes, size_t length, char ret_hex[S3_HASH_SIZE]);

#define S3_CUSTOMER_BYTES 32u

/* Key and MD5 of the key as the headers of SSE-C have them: base64, with the NUL. -EIO. */
struct s3_customer {
	char key[45], md5[25];
};
int s3_customer_of(const uint8_t key[S3_CUSTOMER_BYTES], struct s3_customer *ret_customer);

/* MD5 as the ETags of parts are: 32 hex digits and the NUL. -EIO. */
int s3_md5(const void *bytes, size_t length, char ret_hex[33]);
