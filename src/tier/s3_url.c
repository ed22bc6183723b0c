/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_url.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tier/tier.h"
#include "util/cleanup.h"
#include "util/io.h"

#define SCHEME "s3://"

void s3_place_fini(struct s3_place *place)
{
	free(place->bucket);
	free(place->prefix);
	free(place->scheme);
	free(place->endpoint);
	free(place->region);
	free(place->ca_file);
	free(place->profile);
	free(place->credentials_file);
	free(place->storage_class);
	free(place->encryption);
	free(place->kms_key);
	free(place->customer_file);
	memset(place, 0, sizeof(*place));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The @length bytes at @text without percent signs. -EINVAL for control characters. */
static int decode(const char *text, size_t length, char **ret_text)
{
	cleanup_free char *out = malloc(length + 1);
	size_t used = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < length; i++) {
		char c = text[i];

		if (c == '%') {
			int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
			int low = i + 2 < length ? hex_digit(text[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EINVAL;
			c = (char)(high * 16 + low);
			i += 2;
		}
		if ((unsigned char)c < 0x20 || c == 0x7f)
			return -EINVAL;
		out[used++] = c;
	}
	out[used] = 0;
	*ret_text = take_ptr(out);
	return 0;
}

static bool only(const char *text, const char *others)
{
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr(others, *text))
			return false;
	return true;
}

static bool bucket_ok(const char *bucket)
{
	size_t length = strlen(bucket);

	return length >= 3 && length <= 63 && only(bucket, ".-_") &&
	       isalnum((unsigned char)*bucket) && !strstr(bucket, "..");
}

/* HOST, HOST:PORT or [ADDRESS]:PORT. */
static bool host_ok(const char *host)
{
	const char *port = strrchr(host, ':');
	size_t length = strlen(host);

	if (!length || length > 255)
		return false;
	if (*host == '[')
		return strchr(host, ']') != NULL && only(host, "[]:.");
	if (port &&
	    (strspn(port + 1, "0123456789") != strlen(port + 1) || !port[1] || port == host))
		return false;
	return only(host, ".-_:") && strchr(host, ':') == port;
}

/* "http://HOST:PORT", "https://HOST" or "HOST". */
static int take_endpoint(struct s3_place *place, const char *value)
{
	const char *host = value;
	size_t length;

	if (strncmp(value, "http://", 7) == 0) {
		free(place->scheme);
		place->scheme = strdup("http");
		host += 7;
	} else if (strncmp(value, "https://", 8) == 0) {
		host += 8;
	}
	length = strlen(host);
	if (length && host[length - 1] == '/')
		length--;
	place->endpoint = strndup(host, length);
	if (!place->scheme || !place->endpoint)
		return -ENOMEM;
	return host_ok(place->endpoint) ? 0 : -EINVAL;
}

static int take_style(struct s3_place *place, const char *value, bool *ret_given)
{
	*ret_given = true;
	place->virtual_host = strcmp(value, "virtual") == 0;
	return place->virtual_host || strcmp(value, "path") == 0 ? 0 : -EINVAL;
}

static int take_parallel(struct s3_place *place, const char *value)
{
	char *end;
	unsigned long number = strtoul(value, &end, 10);

	if (!isdigit((unsigned char)*value) || *end || number < 1 || number > S3_PARALLEL_MAX)
		return -EINVAL;
	place->parallel = (unsigned)number;
	return 0;
}

/* Options that are words: where they go and what they may hold besides letters and digits. */
static const struct {
	const char *name;
	size_t offset;
	const char *others; /* NULL: an absolute path */
} words[] = {
	{ "region", offsetof(struct s3_place, region), "-_" },
	{ "ca", offsetof(struct s3_place, ca_file), NULL },
	{ "profile", offsetof(struct s3_place, profile), "-_. @+" },
	{ "credentials", offsetof(struct s3_place, credentials_file), NULL },
	{ "storage-class", offsetof(struct s3_place, storage_class), "_-" },
	{ "sse", offsetof(struct s3_place, encryption), ":" },
	{ "sse-kms-key", offsetof(struct s3_place, kms_key), ":/-_" },
	{ "sse-c-key", offsetof(struct s3_place, customer_file), NULL },
};

static int take_word(struct s3_place *place, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char **slot = (char **)((char *)place + words[i].offset);

		if (strcmp(words[i].name, name) != 0)
			continue;
		if (words[i].others ? !*value || !only(value, words[i].others) : *value != '/')
			return -EINVAL;
		free(*slot);
		*slot = strdup(value);
		return *slot ? 0 : -ENOMEM;
	}
	return -EINVAL;
}

static int take_option(struct s3_place *place, const char *text, size_t length, bool *style_given)
{
	const char *equals = memchr(text, '=', length);
	cleanup_free char *name = NULL, *value = NULL;
	int r;

	if (!equals)
		return -EINVAL;
	r = decode(text, (size_t)(equals - text), &name);
	if (r == 0)
		r = decode(equals + 1, length - (size_t)(equals + 1 - text), &value);
	if (r < 0)
		return r;
	if (strcmp(name, "endpoint") == 0)
		return place->endpoint ? -EINVAL : take_endpoint(place, value);
	if (strcmp(name, "style") == 0)
		return take_style(place, value, style_given);
	if (strcmp(name, "parallel") == 0)
		return take_parallel(place, value);
	return take_word(place, name, value);
}

static int take_options(struct s3_place *place, const char *text)
{
	bool style_given = false;

	while (*text) {
		size_t length = strcspn(text, "&");
		int r = take_option(place, text, length, &style_given);

		if (r < 0)
			return r;
		text += length + (text[length] == '&');
	}
	/* A name with dots is in no certificate of Amazon's. */
	if (!style_given)
		place->virtual_host = !place->endpoint && !strchr(place->bucket, '.');
	/* The key of SSE-C goes over the wire. */
	if (place->customer_file && (place->encryption || strcmp(place->scheme, "https") != 0))
		return -EINVAL;
	return place->kms_key && !place->encryption ? -EINVAL : 0;
}

/* BUCKET[/PREFIX], @length bytes. */
static int take_place(struct s3_place *place, const char *text, size_t length)
{
	const char *slash = memchr(text, '/', length);
	size_t bucket_length = slash ? (size_t)(slash - text) : length;
	const char *prefix = slash ? slash + 1 : text + length;
	size_t prefix_length = length - (size_t)(prefix - text);
	int r;

	place->bucket = strndup(text, bucket_length);
	if (!place->bucket)
		return -ENOMEM;
	if (prefix_length && prefix[prefix_length - 1] == '/')
		prefix_length--;
	r = decode(prefix, prefix_length, &place->prefix);
	if (r < 0)
		return r;
	if (!bucket_ok(place->bucket) || (*place->prefix && !tier_key_ok(place->prefix)))
		return -EINVAL;
	return 0;
}

int s3_url_parse(const char *url, struct s3_place *ret_place)
{
	cleanup_with(s3_place_fini) struct s3_place place = { .parallel = S3_PARALLEL_MAX };
	size_t length;
	int r;

	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
		return -EINVAL;
	url += strlen(SCHEME);
	length = strcspn(url, "?");
	place.scheme = strdup("https");
	place.region = strdup("us-east-1");
	if (!place.scheme || !place.region)
		return -ENOMEM;
	r = take_place(&place, url, length);
	if (r == 0)
		r = take_options(&place, url[length] ? url + length + 1 : "");
	if (r < 0)
		return r;
	*ret_place = place;
	memset(&place, 0, sizeof(place));
	return 0;
}

char *s3_place_host(const struct s3_place *place, const char *region)
{
	const char *bucket = place->virtual_host ? place->bucket : "";
	const char *dot = place->virtual_host ? "." : "";
	char *host;
	int n;

	if (place->endpoint)
		n = asprintf(&host, "%s%s%s", bucket, dot, place->endpoint);
	else
		n = asprintf(&host, "%s%ss3.%s.amazonaws.com", bucket, dot, region);
	return n < 0 ? NULL : host;
}

char *s3_place_path(const struct s3_place *place, const char *key)
{
	const char *bucket_slash = place->virtual_host ? "" : "/";
	const char *bucket = place->virtual_host ? "" : place->bucket;
	char *path;
	int n;

	if (!key)
		n = asprintf(&path, "%s%s%s", bucket_slash, bucket, place->virtual_host ? "/" : "");
	else
		n = asprintf(&path, "%s%s/%s%s%s", bucket_slash, bucket, place->prefix,
			     *place->prefix ? "/" : "", key);
	return n < 0 ? NULL : path;
}
