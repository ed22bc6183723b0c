/* SPDX-License-Identifier: Apache-2.0 */

/* PUT of what fits into memory, and the proof that the server has what was sent. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "tier/s3.h"
#include "util/cleanup.h"
#include "util/clock.h"

void s3_add_meta(struct s3_request *request, const struct s3_tier *s3,
		 const struct tier_object *object, struct s3_meta *text)
{
	const struct s3_place *place = &s3->place;

	/* What is ours must be readable at any time: the class is that of media. */
	if (place->storage_class && object)
		s3_add_header(request, "x-amz-storage-class", place->storage_class);
	if (place->encryption)
		s3_add_header(request, "x-amz-server-side-encryption", place->encryption);
	if (place->kms_key)
		s3_add_header(request, "x-amz-server-side-encryption-aws-kms-key-id",
			      place->kms_key);
	if (!object)
		return;
	digest_hex(&object->digest, text->digest);
	(void)snprintf(text->size, sizeof(text->size), "%" PRIu64, object->size);
	(void)snprintf(text->mode, sizeof(text->mode), "%o", object->mode & 07777);
	s3_add_header(request, S3_META_DIGEST, text->digest);
	s3_add_header(request, S3_META_SIZE, text->size);
	s3_add_header(request, S3_META_MODE, text->mode);
	if (object->mtime_ns != INT64_MIN) {
		(void)snprintf(text->mtime, sizeof(text->mtime), "%" PRId64, object->mtime_ns);
		s3_add_header(request, S3_META_MTIME, text->mtime);
	}
	if (object->site)
		s3_add_header(request, S3_META_SITE, object->site);
}

bool s3_keeps_condition(struct s3_tier *s3, bool in_parts)
{
	return atomic_load(&s3->put_condition) == S3_HONOURED &&
	       (!in_parts || atomic_load(&s3->complete_condition) == S3_HONOURED);
}

int s3_is_taken(struct s3_tier *s3, const char *key, int64_t *ret_until_ns)
{
	struct s3_reply reply;
	int r;

	*ret_until_ns =
		boot_ns() + TIER_WRITE_WITHIN_NS; /* the answer may be old when it is here */
	r = s3_head(s3, key, &reply);

	s3_reply_fini(&reply);
	if (r == 0)
		return -EEXIST;
	return r == -ENOENT ? 0 : r;
}

static int put_once(struct s3_tier *s3, const struct s3_request *basis, enum put_flags flags,
		    struct s3_reply *ret_reply)
{
	bool condition = !(flags & PUT_REPLACE) && atomic_load(&s3->put_condition) != S3_REFUSED;
	struct s3_request request = *basis;
	int r;

	if (condition)
		s3_add_header(&request, "if-none-match", "*");
	r = s3_call(s3, &request, ret_reply);
	if (condition && r == -ENOTSUP)
		atomic_store(&s3->put_condition, S3_REFUSED);
	else if (condition && r == -EEXIST)
		atomic_store(&s3->put_condition, S3_HONOURED);
	return r;
}

/*
 * Is the condition kept? tier.json is there: a PUT of its own bytes must be refused. Where it is
 * not, nothing changed.
 */
void s3_learn_put(struct s3_tier *s3)
{
	struct s3_request get = { .method = "GET", .key = TIER_IDENTITY_KEY };
	struct s3_request put = { .method = "PUT", .key = TIER_IDENTITY_KEY };
	struct s3_reply reply, answer;

	if (!atomic_load(&s3->tier.expected) || atomic_exchange(&s3->put_tried, true))
		return;
	if (s3_call(s3, &get, &reply) == 0 && reply.body) {
		put.body = reply.body;
		put.body_length = reply.body_length;
		(void)put_once(s3, &put, 0, &answer); /* it notes what it learns */
		s3_reply_fini(&answer);
	}
	s3_reply_fini(&reply);
}

/* @ret_reply without a body: what the server says of the object. */
static int put(struct s3_tier *s3, struct s3_request *request, enum put_flags flags,
	       struct s3_reply *ret_reply)
{
	int r = 0;

	if (!(flags & PUT_REPLACE))
		s3_learn_put(s3);
	/* Only asking first is left where the server was never seen to keep the condition. */
	if (!(flags & PUT_REPLACE) && !s3_keeps_condition(s3, false))
		r = s3_is_taken(s3, request->key, &request->until_ns);
	if (r < 0)
		return r;
	r = put_once(s3, request, flags, ret_reply);
	s3_reply_fini(ret_reply);
	if (r == -ENOTSUP && !(flags & PUT_REPLACE)) {
		r = put_once(s3, request, flags, ret_reply); /* without the condition now */
		s3_reply_fini(ret_reply);
	}
	return r;
}

int s3_put_bytes(struct s3_tier *s3, const char *key, const void *bytes, size_t length,
		 enum put_flags flags)
{
	struct s3_request request = {
		.method = "PUT",
		.key = key,
		.body = bytes,
		.body_length = length,
	};
	struct s3_reply reply;
	int r;

	s3_add_meta(&request, s3, NULL, NULL);
	r = put(s3, &request, flags, &reply);
	return r == -ETIME ? -EHOSTDOWN : r;
}

int s3_put_whole(struct s3_tier *s3, const char *key, const void *bytes,
		 const struct tier_object *object, const struct tier_source *source)
{
	struct s3_proof proof = { .kind = s3_sum_kind(s3, S3_SUM_OF_WHOLES) };
	struct s3_request request = {
		.method = "PUT",
		.key = key,
		.body = bytes,
		.body_length = object->size,
		.pace = source,
		.lower_effort = source->lower_effort,
	};
	struct s3_reply reply;
	struct s3_meta text;
	struct s3_sum sum;
	int r = s3_payload_hash(bytes, object->size, request.payload_hash);

	if (r < 0)
		return r;
	s3_add_meta(&request, s3, object, &text);
	s3_sum_of(proof.kind, bytes, object->size, request.payload_hash, &sum);
	s3_sum_text(proof.kind, &sum, proof.sum);
	s3_add_sum(&request, proof.kind, proof.sum);
	r = put(s3, &request, 0, &reply);
	if (r < 0)
		return r;
	r = s3_proves(&reply, &proof);
	if (r == 0)
		r = s3_md5(bytes, object->size, proof.etag);
	if (r == 0)
		r = s3_proves(&reply, &proof);
	if (r != 0)
		return r < 0 ? r : 0;
	/* No MD5: but what it calls so is what it compared with the SHA-256. */
	memcpy(proof.etag, reply.etag, sizeof(proof.etag));
	return s3_confirm_sent(s3, key, object, source, &proof);
}

int s3_proves(const struct s3_reply *reply, const struct s3_proof *proof)
{
	const char *shown = reply->sums[proof->kind];

	/* One of the parts' checksums is another than one of the whole: Ceph 20 shows the first of
	 * some objects that were to have the second. */
	if (*proof->sum && *shown && !strchr(proof->sum, '-') == !strchr(shown, '-'))
		return strcmp(proof->sum, shown) == 0 ? 1 : -EBADMSG;
	return *proof->etag && strcasecmp(proof->etag, reply->etag) == 0;
}

int s3_confirm_sent(struct s3_tier *s3, const char *key, const struct tier_object *object,
		    const struct tier_source *source, const struct s3_proof *proof)
{
	/* What comes back counts for no progress of the sending. */
	const struct tier_source pace = { .pace = NULL, .arg = source->arg };
	struct s3_request request = { .method = "HEAD", .key = key };
	char hex[DIGEST_HEX_SIZE];
	struct s3_reply reply;
	struct digest digest;
	uint64_t size;
	int r;

	digest_hex(&object->digest, hex);
	if (*proof->sum)
		s3_add_header(&request, "x-amz-checksum-mode", "ENABLED");
	r = s3_call(s3, &request, &reply);
	if (r == 0 && reply.length < 0)
		r = -EREMOTEIO;
	if (r == 0 && strcmp(reply.digest, hex) != 0)
		r = -EEXIST;
	else if (r == 0 && (uint64_t)reply.length != object->size)
		r = -EBADMSG;
	if (r == 0)
		r = s3_proves(&reply, proof);
	s3_reply_fini(&reply);
	if (r != 0)
		return r < 0 ? r : 0;
	/* What it shows says nothing of how the parts were put together: read them. */
	r = s3_read_digest(s3, key, &pace, &digest, &size);
	if (r < 0)
		return r;
	return size == object->size && digest_equal(&digest, &object->digest) ? 0 : -EBADMSG;
}
