/* SPDX-License-Identifier: Apache-2.0 */

/* The names directly under a prefix, page by page. Names of others are checked. */
#include <errno.h>
#include <string.h>

#include "tier/s3.h"
#include "tier/s3_xml.h"
#include "util/cleanup.h"
#include "util/io.h"

struct listing {
	int (*fn)(void *arg, const char *name, bool is_folder);
	void *arg;
	const char *prefix; /* of all keys, with its '/', or "" */
	bool encoded;       /* keys are percent-encoded */
	bool more;
	int result;
	char *token; /* owned; where to go on */
	char **keys; /* owned; folders end in '/' */
	size_t count, room;
};

static void listing_clear(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->keys[i]);
	listing->count = 0;
}

static int keep_key(struct listing *listing, const char *text)
{
	if (listing->count == listing->room) {
		size_t room = listing->room ? listing->room * 2 : 256;
		char **keys = reallocarray(listing->keys, room, sizeof(*keys));

		if (!keys)
			return -ENOMEM;
		listing->keys = keys;
		listing->room = room;
	}
	listing->keys[listing->count] = strdup(text);
	return listing->keys[listing->count++] ? 0 : -ENOMEM;
}

static int on_list_part(void *arg, const char *path, const char *text)
{
	struct listing *listing = arg;

	if (strcmp(path, "ListBucketResult/Contents/Key") == 0 ||
	    strcmp(path, "ListBucketResult/CommonPrefixes/Prefix") == 0)
		return keep_key(listing, text);
	if (strcmp(path, "ListBucketResult/IsTruncated") == 0) {
		listing->more = strcmp(text, "true") == 0;
	} else if (strcmp(path, "ListBucketResult/EncodingType") == 0) {
		listing->encoded = strcmp(text, "url") == 0;
	} else if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0) {
		free(listing->token);
		listing->token = strdup(text);
		return listing->token ? 0 : -ENOMEM;
	}
	return 0;
}

void s3_decode_key(char *key)
{
	char *to = key;

	for (const char *from = key; *from; from++) {
		char hex[3] = { 0 };

		if (*from == '%' && from[1] && from[2]) {
			memcpy(hex, from + 1, 2);
			*to++ = (char)strtol(hex, NULL, 16);
			from += 2;
		} else {
			*to++ = *from == '+' ? ' ' : *from;
		}
	}
	*to = 0;
}

static int tell_keys(struct listing *listing)
{
	size_t skip = strlen(listing->prefix);
	int r = 0;

	for (size_t i = 0; r == 0 && i < listing->count; i++) {
		char *key = listing->keys[i];
		size_t length;
		bool is_folder;

		if (listing->encoded)
			s3_decode_key(key);
		length = strlen(key);
		if (length <= skip || strncmp(key, listing->prefix, skip) != 0)
			continue; /* a marker of the folder itself, or nonsense */
		is_folder = key[length - 1] == '/';
		if (is_folder)
			key[length - 1] = 0;
		if (name_ok(key + skip))
			r = listing->fn(listing->arg, key + skip, is_folder);
	}
	return r;
}

static int list_page(struct s3_tier *s3, struct listing *listing)
{
	struct s3_request request = { .method = "GET" };
	struct s3_reply reply;
	int r;

	s3_add_query(&request, "list-type", "2");
	s3_add_query(&request, "delimiter", "/");
	s3_add_query(&request, "encoding-type", "url");
	if (*listing->prefix)
		s3_add_query(&request, "prefix", listing->prefix);
	if (listing->token)
		s3_add_query(&request, "continuation-token", listing->token);
	r = s3_call(s3, &request, &reply);
	listing_clear(listing);
	listing->more = listing->encoded = false;
	if (r == 0)
		r = s3_xml_read(reply.body, reply.body_length, on_list_part, listing);
	s3_reply_fini(&reply);
	if (r == -EPROTO)
		return -EREMOTEIO;
	return r < 0 ? r : tell_keys(listing);
}

int s3_list(struct tier *tier, const char *prefix,
	    int (*fn)(void *arg, const char *name, bool is_folder), void *arg)
{
	struct s3_tier *s3 = s3_of(tier);
	const char *above = s3->place.prefix;
	struct listing listing = { .fn = fn, .arg = arg };
	cleanup_free char *whole = NULL;
	int r;

	if (*prefix && !tier_key_ok(prefix) && !small_key_ok(prefix))
		return -EINVAL;
	if (asprintf(&whole, "%s%s%s%s", above, *above ? "/" : "", prefix, *prefix ? "/" : "") <
	    0) {
		whole = NULL;
		return -ENOMEM;
	}
	listing.prefix = whole;
	r = s3_enter(s3);
	do {
		if (r == 0)
			r = list_page(s3, &listing);
	} while (r == 0 && listing.more && listing.token);
	listing_clear(&listing);
	free(listing.keys);
	free(listing.token);
	return r;
}
