/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A second object with bytes that the bucket has: the server copies them. Small ones at once,
 * larger ones in the parts in which they were sent, so that the ETag of the new object must be
 * that of the old one: that is the proof, else it is read back.
 */
#include <errno.h>
#include <string.h>

#include "tier/s3.h"
#include "tier/s3_xml.h"
#include "util/cleanup.h"

void s3_add_origin(struct s3_request *request, const struct s3_origin *origin)
{
	s3_add_header(request, "x-amz-copy-source", origin->source);
	if (origin->match[0])
		s3_add_header(request, "x-amz-copy-source-if-match", origin->match);
}

static int on_copied(void *arg, const char *path, const char *text)
{
	struct s3_reply *reply = arg;
	size_t length = strcspn(text + (*text == '"'), "\"");

	if ((strcmp(path, "CopyObjectResult/ETag") == 0 ||
	     strcmp(path, "CopyPartResult/ETag") == 0) &&
	    length < sizeof(reply->etag)) {
		memcpy(reply->etag, text + (*text == '"'), length);
		reply->etag[length] = 0;
	}
	return 0;
}

int s3_take_copied(struct s3_reply *reply)
{
	int r;

	reply->etag[0] = 0;
	r = s3_xml_read(reply->body, reply->body_length, on_copied, reply);
	if (r == -EPROTO || (r == 0 && !reply->etag[0]))
		return -EREMOTEIO;
	return r;
}

static void origin_fini(struct s3_origin *origin)
{
	free(origin->source);
}

/* Is @from still what was put there? -ESTALE: no. */
static int look_at_origin(struct s3_tier *s3, const char *from, const struct tier_object *object,
			  struct s3_origin *origin)
{
	const char *prefix = s3->place.prefix;
	cleanup_free char *path = NULL;
	char hex[DIGEST_HEX_SIZE];
	struct s3_reply reply;
	int r;

	if (asprintf(&path, "/%s/%s%s%s", s3->place.bucket, prefix, *prefix ? "/" : "", from) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	free(origin->source);
	origin->source = s3_encode_path(path);
	if (!origin->source)
		return -ENOMEM;
	digest_hex(&object->digest, hex);
	r = s3_head(s3, from, &reply);
	if (r == -ENOENT ||
	    (r == 0 && (strcmp(reply.digest, hex) != 0 || (uint64_t)reply.length != object->size)))
		r = -ESTALE;
	else if (r == 0 && !*reply.etag)
		r = -ENOTSUP; /* nothing to prove a copy by */
	memcpy(origin->etag, reply.etag, sizeof(origin->etag));
	(void)snprintf(origin->match, sizeof(origin->match), "\"%s\"", reply.etag);
	s3_reply_fini(&reply);
	return r;
}

static int copy_whole(struct s3_tier *s3, const char *key, const struct tier_object *object,
		      const struct tier_source *source, const struct s3_origin *origin)
{
	struct s3_request request = { .method = "PUT", .key = key };
	struct s3_proof proof = { 0 };
	struct s3_reply reply;
	struct s3_meta text;
	int r, there;

	s3_add_meta(&request, s3, object, &text);
	s3_add_origin(&request, origin);
	s3_add_header(&request, "x-amz-metadata-directive", "REPLACE");
	/* A server that is not known to take it for PUT may refuse it here. */
	if (s3_keeps_condition(s3, false))
		s3_add_header(&request, "if-none-match", "*");
	r = s3_is_taken(s3, key, &request.until_ns);
	if (r < 0)
		return r;
	r = s3_call(s3, &request, &reply);
	s3_reply_fini(&reply);
	if (r == -ECANCELED)
		return r;
	memcpy(proof.etag, origin->etag, sizeof(proof.etag));
	there = s3_confirm_sent(s3, key, object, source, &proof);
	if (r == 0 || there != -ENOENT)
		return there;
	/* 412 and nothing there: it was the origin's condition. */
	return r == -ENOENT || r == -EEXIST ? -ESTALE : r == -ETIME ? -EHOSTDOWN : r;
}

static int copy_object(struct s3_tier *s3, const char *key, const struct tier_object *object,
		       const struct tier_source *source, const struct s3_origin *origin)
{
	if (object->size > s3_part_bytes(object->size))
		return s3_put_parts(s3, key, object, source, origin);
	return copy_whole(s3, key, object, source, origin);
}

int s3_copy(struct tier *tier, const char *from, const char *key, const struct tier_object *object,
	    const struct tier_source *source)
{
	cleanup_with(origin_fini) struct s3_origin origin = { 0 };
	struct s3_tier *s3 = s3_of(tier);
	int r = tier_key_ok(key) && tier_key_ok(from) ? s3_check_key(s3, key) : -EINVAL;

	if (r == 0)
		r = s3_enter(s3);
	if (r == 0)
		r = look_at_origin(s3, from, object, &origin);
	if (r < 0)
		return r;
	r = copy_object(s3, key, object, source, &origin);
	if (r == -ENOMEDIUM)
		return -ESTALE; /* archived: nobody can copy it */
	/* Swift compares with another ETag than it shows of what was sent in parts. */
	if (r != -ESTALE || look_at_origin(s3, from, object, &origin) < 0)
		return r;
	origin.match[0] = 0;
	return copy_object(s3, key, object, source, &origin);
}
