/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What others put into the bucket: all keys below a prefix, and whole objects with what their
 * metadata say. Everything here is somebody else's word.
 */
#include <errno.h>
#include <string.h>

#include "tier/s3.h"
#include "tier/s3_xml.h"
#include "util/cleanup.h"

/* Listing -------------------------------------------------------------------------------- */

struct entry {
	char *key; /* owned; as it is in the bucket */
	uint64_t size;
};

/* One page. */
struct page {
	struct entry *entries; /* owned */
	size_t count, room;
	struct entry next; /* being read */
	bool encoded, more;
	char *token; /* owned; where to go on */
};

static void page_clear(struct page *page)
{
	for (size_t i = 0; i < page->count; i++)
		free(page->entries[i].key);
	free(page->next.key);
	page->next = (struct entry){ 0 };
	page->count = 0;
	page->encoded = page->more = false;
}

static void page_fini(struct page *page)
{
	page_clear(page);
	free(page->entries);
	free(page->token);
}

static int keep_entry(struct page *page)
{
	if (!page->next.key)
		return 0;
	if (page->count == page->room) {
		size_t room = page->room ? page->room * 2 : 256;
		struct entry *entries = reallocarray(page->entries, room, sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		page->entries = entries;
		page->room = room;
	}
	page->entries[page->count++] = page->next;
	page->next = (struct entry){ 0 };
	return 0;
}

static int take_text(char **slot, const char *text)
{
	free(*slot);
	*slot = strdup(text);
	return *slot ? 0 : -ENOMEM;
}

static int on_part(void *arg, const char *path, const char *text)
{
	struct page *page = arg;

	if (strcmp(path, "ListBucketResult/Contents/Key") == 0)
		return take_text(&page->next.key, text);
	if (strcmp(path, "ListBucketResult/Contents/Size") == 0)
		page->next.size = strtoull(text, NULL, 10);
	else if (strcmp(path, "ListBucketResult/Contents") == 0)
		return keep_entry(page);
	else if (strcmp(path, "ListBucketResult/IsTruncated") == 0)
		page->more = strcmp(text, "true") == 0;
	else if (strcmp(path, "ListBucketResult/EncodingType") == 0)
		page->encoded = strcmp(text, "url") == 0;
	else if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0)
		return take_text(&page->token, text);
	return 0;
}

static int read_page(struct s3_tier *s3, const char *prefix, struct page *page)
{
	struct s3_request request = { .method = "GET" };
	cleanup_free char *token = take_ptr(page->token);
	struct s3_reply reply;
	int r;

	page_clear(page);
	s3_add_query(&request, "list-type", "2");
	s3_add_query(&request, "encoding-type", "url");
	if (*prefix)
		s3_add_query(&request, "prefix", prefix);
	if (token)
		s3_add_query(&request, "continuation-token", token);
	r = s3_call(s3, &request, &reply);
	if (r == 0)
		r = s3_xml_read(reply.body, reply.body_length, on_part, page);
	s3_reply_fini(&reply);
	if (r == 0 && page->more && (!page->token || (token && strcmp(token, page->token) == 0)))
		r = -EREMOTEIO; /* it would never end, or end early */
	return r == -EPROTO ? -EREMOTEIO : r;
}

static int tell_page(struct page *page, size_t skip, const char *prefix, tier_entry_fn fn,
		     void *arg)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < page->count; i++) {
		struct entry *entry = &page->entries[i];

		if (page->encoded)
			s3_decode_key(entry->key);
		/* Others than asked for are nonsense. */
		if (strncmp(entry->key, prefix, strlen(prefix)) == 0)
			r = fn(arg, entry->key + skip, entry->size);
	}
	return r;
}

int s3_each(struct tier *tier, const char *prefix, tier_entry_fn fn, void *arg)
{
	cleanup_with(page_fini) struct page page = { 0 };
	struct s3_tier *s3 = s3_of(tier);
	const char *above = s3->place.prefix;
	size_t skip = strlen(above) + (*above ? 1 : 0);
	cleanup_free char *whole = NULL;
	int r;

	if (*prefix && !tier_key_ok(prefix))
		return -EINVAL;
	if (asprintf(&whole, "%s%s%s%s", above, *above ? "/" : "", prefix, *prefix ? "/" : "") <
	    0) {
		whole = NULL;
		return -ENOMEM;
	}
	r = s3_enter(s3);
	do {
		if (r == 0)
			r = read_page(s3, whole, &page);
		if (r == 0)
			r = tell_page(&page, skip, whole, fn, arg);
	} while (r == 0 && page.more);
	return r;
}

/* Reading -------------------------------------------------------------------------------- */

static void take_info(const struct s3_reply *reply, struct tier_info *ret_info)
{
	*ret_info = (struct tier_info){
		.size = reply->length < 0 ? 0 : (uint64_t)reply->length,
		.mtime_ns = reply->mtime_ns != INT64_MIN ? reply->mtime_ns : reply->modified_ns,
		.mode = reply->mode,
		.has_digest = digest_parse(reply->digest, &ret_info->digest) == 0,
	};
	(void)digest_parse(reply->digest, &ret_info->digest);
}

int s3_look(struct tier *tier, const char *key, struct tier_info *ret_info)
{
	struct s3_tier *s3 = s3_of(tier);
	struct s3_reply reply;
	int r = tier_key_ok(key) ? s3_check_key(s3, key) : -EINVAL;

	if (r == 0)
		r = s3_enter(s3);
	if (r < 0)
		return r;
	r = s3_head(s3, key, &reply);
	if (r == 0)
		take_info(&reply, ret_info);
	s3_reply_fini(&reply);
	return r;
}

int s3_stream(struct tier *tier, const char *key, const struct tier_source *pace, tier_sink_fn sink,
	      void *arg, struct tier_info *ret_info)
{
	struct s3_tier *s3 = s3_of(tier);
	struct s3_reply first;
	int r = tier_key_ok(key) ? s3_check_key(s3, key) : -EINVAL;

	if (r == 0)
		r = s3_enter(s3);
	if (r < 0)
		return r;
	r = s3_read_whole(s3, key, pace, sink, arg, &first);
	if (r == 0)
		take_info(&first, ret_info);
	return r;
}
