/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SSE-C: the server encrypts with a key that comes with each request, and keeps none.
 * Source: Amazon S3 User Guide, "Using server-side encryption with customer-provided keys".
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tier/s3.h"
#include "util/cleanup.h"

#define KEY "x-amz-server-side-encryption-customer-key"
#define KEY_MD5 "x-amz-server-side-encryption-customer-key-md5"
#define ORIGIN "x-amz-copy-source-server-side-encryption-customer-"

/* 64 hexadecimal digits and nothing else but space. -EINVAL. */
static int parse(const char *text, uint8_t ret_key[S3_CUSTOMER_BYTES])
{
	unsigned value;
	int used = 0;

	for (unsigned i = 0; i < S3_CUSTOMER_BYTES; i++, text += 2) {
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]) ||
		    sscanf(text, "%2x%n", &value, &used) != 1 || used != 2)
			return -EINVAL;
		ret_key[i] = (uint8_t)value;
	}
	while (isspace((unsigned char)*text))
		text++;
	return *text ? -EINVAL : 0;
}

static int load(const char *path, struct s3_customer *ret_customer)
{
	cleanup_with(secret_text_fini) struct secret_text text = { 0 };
	uint8_t key[S3_CUSTOMER_BYTES];
	int r = read_secret(path, FILE_PRIVATE, &text);

	if (r == 0)
		r = parse(text.text, key);
	if (r == 0)
		r = s3_customer_of(key, ret_customer);
	explicit_bzero(key, sizeof(key));
	return r;
}

int s3_customer_ready(struct s3_tier *s3)
{
	struct s3_customer customer;
	bool known;
	int r;

	if (!s3->place.customer_file)
		return 0;
	mutex_lock(&s3->lock);
	known = s3->customer.key[0];
	mutex_unlock(&s3->lock);
	if (known)
		return 0;
	r = load(s3->place.customer_file, &customer);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		s3_set_why(s3, "%s: %s", s3->place.customer_file,
			   r == -EACCES   ? "the key may be read by others: chmod 600"
			   : r == -EINVAL ? "no key: 64 hexadecimal digits"
					  : "the key cannot be read");
		return -EHOSTDOWN;
	}
	mutex_lock(&s3->lock);
	if (!s3->customer.key[0])
		s3->customer = customer; /* and never changed again */
	mutex_unlock(&s3->lock);
	explicit_bzero(&customer, sizeof(customer));
	return 0;
}

static bool has_query(const struct s3_request *request, const char *name)
{
	for (size_t i = 0; i < request->query_count; i++)
		if (strcmp(request->query[i].name, name) == 0)
			return true;
	return false;
}

/*
 * It makes an object, of parts too, or looks at its bytes: others must not carry a key. Source:
 * Amazon S3 API Reference, "CompleteMultipartUpload" and "ListParts": required where the upload has
 * a checksum; Ceph 20 requires it in the first whenever there is a key.
 */
static bool wants_key(const struct s3_request *request)
{
	return request->key && strcmp(request->method, "DELETE") != 0 &&
	       !has_query(request, "restore");
}

bool s3_customer_used(const struct s3_exchange *exchange)
{
	return exchange->s3->place.customer_file && !exchange->plain &&
	       wants_key(exchange->request);
}

size_t s3_customer_headers(const struct s3_exchange *exchange, struct s3_pair *headers)
{
	const struct s3_request *request = exchange->request;
	const struct s3_customer *customer = &exchange->s3->customer;
	size_t count = 0;

	if (!s3_customer_used(exchange))
		return 0;
	headers[count++] = (struct s3_pair){ S3_CUSTOMER_ALGORITHM, "AES256" };
	headers[count++] = (struct s3_pair){ KEY, customer->key };
	headers[count++] = (struct s3_pair){ KEY_MD5, customer->md5 };
	for (size_t i = 0; i < request->header_count; i++) {
		if (strcmp(request->headers[i].name, "x-amz-copy-source") != 0)
			continue;
		headers[count++] = (struct s3_pair){ ORIGIN "algorithm", "AES256" };
		headers[count++] = (struct s3_pair){ ORIGIN "key", customer->key };
		headers[count++] = (struct s3_pair){ ORIGIN "key-md5", customer->md5 };
	}
	return count;
}

int s3_customer_try(struct s3_tier *s3)
{
	struct s3_request request = s3_probe_put();
	struct s3_reply reply;
	int r;

	if (!s3->place.customer_file)
		return 0;
	r = s3_call(s3, &request, &reply);
	s3_reply_fini(&reply);
	return r;
}

int s3_customer_refuses(struct s3_exchange *exchange)
{
	struct s3_tier *s3 = exchange->s3;
	const char *method = exchange->request->method;

	if (!atomic_load(&s3->key_ignored) || !s3_customer_used(exchange) ||
	    (strcmp(method, "PUT") != 0 && strcmp(method, "POST") != 0))
		return 0;
	s3_set_why(s3, "the server stores without the key (sse-c-key)");
	return -EHOSTDOWN;
}

/*
 * What makes an object of its own; the probe object comes before the first part. Source: Amazon S3
 * API Reference, "PutObject": the answer names the algorithm. Swift takes the headers for nothing.
 */
int s3_customer_judge(struct s3_exchange *exchange)
{
	const struct s3_request *request = exchange->request;

	if (strcmp(request->method, "PUT") == 0 && request->body && !request->query_count &&
	    s3_customer_used(exchange) && !exchange->reply.has_key)
		atomic_store(&exchange->s3->key_ignored, true);
	return s3_customer_refuses(exchange);
}
