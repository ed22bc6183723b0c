/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A large object in equal parts, several on their way at a time. What was begun is noted with
 * the source; a later put of the same content asks the server for the parts it has, and
 * believes it where the MD5 of the bytes here is the part's ETag.
 *
 * The note, as JSON: v 1, key, content (its digest), part (bytes), upload (the server's id), etags
 * (of the parts that arrived, "" of the others); sum (the checksum that it was begun with, ""
 * none), sums (of the parts that arrived, in base64).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tier/s3_multipart.h"
#include "tier/s3_xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/json.h"
#include "util/text.h"

/* A server puts parts together for minutes, and may be silent meanwhile. */
#define COMPLETE_HANG_S 300u

/* Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits": 10 000 parts. */
#define PARTS_WANTED 9500u

/*
 * It holds the ETags of all parts, and is written so often: what a crash costs is reading a 64th of
 * the object.
 */
#define NOTES_OF_ONE 64u

uint64_t s3_part_bytes(uint64_t size)
{
	uint64_t bytes = (size + PARTS_WANTED - 1) / PARTS_WANTED;

	bytes = (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	return bytes > S3_PART_MIN_BYTES ? bytes : S3_PART_MIN_BYTES;
}

static void parts_fini(struct s3_parts *parts)
{
	for (unsigned i = 0; i < parts->count; i++) {
		free(parts->etags ? parts->etags[i] : NULL);
		free(parts->listed ? parts->listed[i] : NULL);
	}
	free(parts->etags);
	free(parts->listed);
	free(parts->sums);
	free(parts->upload);
	digest_free(parts->digest);
}

static int parts_init(struct s3_parts *parts)
{
	parts->part_bytes = s3_part_bytes(parts->object->size);
	parts->count =
		(unsigned)((parts->object->size + parts->part_bytes - 1) / parts->part_bytes);
	parts->etags = calloc(parts->count, sizeof(char *));
	parts->listed = calloc(parts->count, sizeof(char *));
	parts->sums = calloc(parts->count, sizeof(*parts->sums));
	parts->digest = digest_new();
	return parts->etags && parts->listed && parts->sums && parts->digest ? 0 : -ENOMEM;
}

/* The note ------------------------------------------------------------------------------- */

static json_t *etags_json(const struct s3_parts *parts)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < parts->count; i++)
		/* What is missing in it is read again. */
		(void)json_array_append_new(list,
					    json_string(parts->etags[i] ? parts->etags[i] : ""));
	return list;
}

static json_t *sums_json(const struct s3_parts *parts)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && parts->sum_kind && i < parts->count; i++) {
		char text[S3_SUM_TEXT] = "";

		if (parts->etags[i])
			s3_sum_text(parts->sum_kind, &parts->sums[i], text);
		(void)json_array_append_new(list, json_string(text));
	}
	return list;
}

static int write_note(const struct s3_parts *parts, enum note_flags flags)
{
	cleanup_json json_t *root = NULL;
	cleanup_free char *text = NULL;
	char hex[DIGEST_HEX_SIZE];

	if (!parts->source->note)
		return 0;
	digest_hex(&parts->object->digest, hex);
	root = json_pack("{s:i,s:o,s:s,s:I,s:s,s:o,s:s,s:o}", "v", 1, "key", json_path(parts->key),
			 "content", hex, "part", (json_int_t)parts->part_bytes, "upload",
			 parts->upload, "etags", etags_json(parts), "sum",
			 parts->sum_kind ? s3_sum_name(parts->sum_kind)->name : "", "sums",
			 sums_json(parts));
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	return text ? parts->source->note(parts->source->arg, text, flags) : -ENOMEM;
}

int s3_part_arrived(struct s3_parts *parts, unsigned index, const char *etag)
{
	parts->etags[index] = strdup(etag);
	if (!parts->etags[index])
		return -ENOMEM;
	if (++parts->since_note * NOTES_OF_ONE < parts->count)
		return 0;
	parts->since_note = 0;
	return write_note(parts, 0);
}

static void drop_note(const struct s3_parts *parts)
{
	if (parts->source->note)
		/* One that stays costs the next put a question. */
		(void)parts->source->note(parts->source->arg, NULL, 0);
}

int s3_abort_upload(struct s3_tier *s3, const char *key, const char *upload)
{
	struct s3_request request = { .method = "DELETE", .key = key, .tries = 1 };
	struct s3_reply reply;
	int r;

	s3_add_query(&request, "uploadId", upload);
	r = s3_call(s3, &request, &reply);
	s3_reply_fini(&reply);
	return r;
}

/* A note, read and checked. */
struct note {
	json_t *root; /* owned */
	char *key;    /* owned; NULL: it is of no use */
	const char *upload, *content;
	int64_t part_bytes;
	enum s3_sum_kind sum_kind;
};

static void note_fini(struct note *note)
{
	json_decref(note->root);
	free(note->key);
}

static void read_note(struct s3_tier *s3, const char *text, struct note *ret_note)
{
	json_t *root = json_loads(text, 0, NULL);
	cleanup_free char *key = json_path_value(json_object_get(root, "key"));

	*ret_note = (struct note){
		.root = root,
		.upload = json_string_or(root, "upload", ""),
		.content = json_string_or(root, "content", ""),
		.part_bytes = json_int_or(root, "part", 0),
	};
	for (enum s3_sum_kind kind = S3_SUM_CRC64; kind < S3_SUM_KINDS; kind++)
		if (strcmp(json_string_or(root, "sum", ""), s3_sum_name(kind)->name) == 0)
			ret_note->sum_kind = kind;
	if (key && json_int_or(root, "v", 0) == 1 && *ret_note->upload &&
	    s3_check_key(s3, key) == 0)
		ret_note->key = take_ptr(key);
}

int s3_forget(struct tier *tier, const char *text)
{
	cleanup_with(note_fini) struct note note = { 0 };
	struct s3_tier *s3 = s3_of(tier);
	int r;

	read_note(s3, text, &note);
	if (!note.key)
		return 0;
	r = s3_enter(s3);
	if (r == 0)
		r = s3_abort_upload(s3, note.key, note.upload);
	/* Where deleting is not allowed, the bucket's own rule has to do it. */
	return r == -EHOSTDOWN || r == -ECANCELED ? r : 0;
}

/* Take the ETags that the parts got when they were sent: what is listed with them needs no look. */
static int recall_etags(struct s3_parts *parts, const struct note *note)
{
	const json_t *list = json_object_get(note->root, "etags");
	const json_t *sums = json_object_get(note->root, "sums");

	parts->sum_kind = note->sum_kind;
	for (unsigned i = 0; i < parts->count; i++) {
		const char *etag = json_string_value(json_array_get(list, i));
		const char *sum = json_string_value(json_array_get(sums, i));

		if (!etag || !*etag)
			continue;
		if (parts->sum_kind &&
		    (!sum || s3_sum_parse(parts->sum_kind, sum, &parts->sums[i]) < 0))
			continue;
		parts->etags[i] = strdup(etag);
		if (!parts->etags[i])
			return -ENOMEM;
	}
	return 0;
}

/* What an earlier put left: parts->upload when it is of use. */
static int recall(struct s3_parts *parts)
{
	cleanup_with(note_fini) struct note note = { 0 };
	cleanup_free char *text = NULL;
	char hex[DIGEST_HEX_SIZE];
	int r = parts->source->recall ? parts->source->recall(parts->source->arg, &text) : 0;

	if (r <= 0)
		return r;
	read_note(parts->s3, text, &note);
	if (!note.key)
		return 0;
	digest_hex(&parts->object->digest, hex);
	if (strcmp(note.key, parts->key) != 0 || note.part_bytes != (int64_t)parts->part_bytes ||
	    strcmp(note.content, hex) != 0) {
		/* Ours, and nobody goes on with it. */
		(void)s3_abort_upload(parts->s3, note.key, note.upload);
		return 0;
	}
	parts->upload = strdup(note.upload);
	return parts->upload ? recall_etags(parts, &note) : -ENOMEM;
}

/* Of what was noted, only what the server lists alike is there. */
static void compare_listed(struct s3_parts *parts)
{
	for (unsigned i = 0; i < parts->count; i++) {
		const char *listed = parts->listed[i];

		if (parts->etags[i] && listed && strcasecmp(parts->etags[i], listed) == 0)
			continue;
		free(parts->etags[i]);
		parts->etags[i] = NULL;
	}
}

/* What the server has --------------------------------------------------------------------- */

/* A page of ListPartsResult. */
struct page {
	struct s3_parts *parts;
	unsigned number;
	int64_t size;
	char etag[S3_ETAG_SIZE];
	bool more;
	char marker[16];
};

static int take_listed(struct page *page)
{
	struct s3_parts *parts = page->parts;
	unsigned i = page->number - 1;

	if (page->number < 1 || page->number > parts->count ||
	    page->size != (int64_t)s3_part_length(parts, i))
		return 0;
	free(parts->listed[i]);
	parts->listed[i] = strdup(page->etag);
	return parts->listed[i] ? 0 : -ENOMEM;
}

static int on_part(void *arg, const char *path, const char *text)
{
	struct page *page = arg;
	size_t length = strlen(text);

	if (strcmp(path, "ListPartsResult/Part/PartNumber") == 0) {
		page->number = (unsigned)strtoul(text, NULL, 10);
	} else if (strcmp(path, "ListPartsResult/Part/Size") == 0) {
		page->size = strtoll(text, NULL, 10);
	} else if (strcmp(path, "ListPartsResult/Part/ETag") == 0 && length < S3_ETAG_SIZE) {
		(void)snprintf(page->etag, sizeof(page->etag), "%s", text + (*text == '"'));
		page->etag[strcspn(page->etag, "\"")] = 0;
	} else if (strcmp(path, "ListPartsResult/IsTruncated") == 0) {
		page->more = strcmp(text, "true") == 0;
	} else if (strcmp(path, "ListPartsResult/NextPartNumberMarker") == 0) {
		(void)snprintf(page->marker, sizeof(page->marker), "%.15s", text);
	} else if (strcmp(path, "ListPartsResult/Part") == 0) {
		int r = take_listed(page);

		page->number = 0;
		page->size = -1;
		page->etag[0] = 0;
		return r;
	}
	return 0;
}

/* -ENOENT: the server does not know the upload. */
static int list_parts(struct s3_parts *parts)
{
	struct page page = { .parts = parts };
	int r;

	do {
		struct s3_request request = { .method = "GET", .key = parts->key };
		char marker[sizeof(page.marker)];
		struct s3_reply reply;

		memcpy(marker, page.marker, sizeof(marker));
		s3_add_query(&request, "uploadId", parts->upload);
		if (*marker)
			s3_add_query(&request, "part-number-marker", marker);
		page.more = false;
		r = s3_call(parts->s3, &request, &reply);
		if (r == 0)
			r = s3_xml_read(reply.body, reply.body_length, on_part, &page);
		s3_reply_fini(&reply);
		if (page.more && strcmp(marker, page.marker) == 0)
			page.more = false; /* it would never end */
	} while (r == 0 && page.more);
	return r == -EPROTO ? -EREMOTEIO : r;
}

static int on_created(void *arg, const char *path, const char *text)
{
	struct s3_parts *parts = arg;

	if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0)
		return 0;
	free(parts->upload);
	parts->upload = strdup(text);
	return parts->upload ? 0 : -ENOMEM;
}

/* -ENOTSUP where that may be because of the checksum. */
static int post_creation(struct s3_parts *parts)
{
	struct s3_request request = { .method = "POST", .key = parts->key };
	struct s3_reply reply;
	struct s3_meta text;
	int r;

	s3_add_query(&request, "uploads", "");
	s3_add_meta(&request, parts->s3, parts->object, &text);
	if (parts->sum_kind) {
		const struct s3_sum_name *name = s3_sum_name(parts->sum_kind);

		s3_add_header(&request, "x-amz-checksum-algorithm", name->name);
		s3_add_header(&request, "x-amz-checksum-type", name->type);
	}
	r = s3_call(parts->s3, &request, &reply);
	if (r == -EREMOTEIO && reply.status == 400 && parts->sum_kind)
		r = -ENOTSUP;
	if (r == 0)
		r = s3_xml_read(reply.body, reply.body_length, on_created, parts);
	s3_reply_fini(&reply);
	if (r == -EPROTO || (r == 0 && (!parts->upload || !*parts->upload)))
		return -EREMOTEIO;
	return r;
}

static int create(struct s3_parts *parts)
{
	int r;

	/* Of a copy nobody here sees the bytes. */
	parts->sum_kind = parts->origin ? S3_SUM_NONE : s3_sum_kind(parts->s3, S3_SUM_OF_PARTS);
	r = post_creation(parts);
	if (r == -ENOTSUP && parts->sum_kind) {
		s3_sum_not_of_parts(parts->s3);
		parts->sum_kind = S3_SUM_NONE;
		r = post_creation(parts);
	}
	return r < 0 ? r : write_note(parts, NOTE_DURABLE);
}

/* Putting it together --------------------------------------------------------------------- */

/* The ETag that the whole must have where ETags are MD5s: "" when those of the parts are not. */
static int whole_etag(const struct s3_parts *parts, char ret_etag[S3_ETAG_SIZE])
{
	cleanup_free uint8_t *sums = malloc((size_t)parts->count * 16);
	char hex[33];

	ret_etag[0] = 0;
	if (!sums)
		return -ENOMEM;
	for (unsigned i = 0; i < parts->count; i++) {
		struct digest sum; /* as many bytes as an MD5 */

		if (digest_parse(parts->etags[i], &sum) < 0)
			return 0;
		memcpy(sums + (size_t)i * 16, sum.bytes, 16);
	}
	if (s3_md5(sums, (size_t)parts->count * 16, hex) < 0)
		return 0;
	(void)snprintf(ret_etag, S3_ETAG_SIZE, "%s-%u", hex, parts->count);
	return 0;
}

static void print_part(FILE *out, const struct s3_parts *parts, unsigned index)
{
	cleanup_free char *etag = s3_xml_escape(parts->etags[index]);
	char text[S3_SUM_TEXT];

	(void)fprintf(out, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag>",
		      index + 1, etag ? etag : "");
	if (parts->sum_kind) {
		const char *element = s3_sum_name(parts->sum_kind)->element;

		s3_sum_text(parts->sum_kind, &parts->sums[index], text);
		(void)fprintf(out, "<%s>%s</%s>", element, text, element);
	}
	(void)fputs("</Part>", out);
}

static char *completion(const struct s3_parts *parts)
{
	char *text = NULL;
	size_t length;
	FILE *out = text_open(&text, &length);

	if (!out)
		return NULL;
	(void)fputs("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
		    out);
	for (unsigned i = 0; i < parts->count; i++)
		print_part(out, parts, i);
	(void)fputs("</CompleteMultipartUpload>", out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int post_completion(struct s3_parts *parts, const char *text, const struct s3_proof *proof,
			   bool conditional, int64_t until_ns)
{
	struct s3_request request = { .method = "POST",
				      .key = parts->key,
				      .body = text,
				      .body_length = strlen(text),
				      .hang_s = COMPLETE_HANG_S,
				      .until_ns = until_ns };
	struct s3_reply reply;
	int r;

	s3_add_query(&request, "uploadId", parts->upload);
	s3_add_header(&request, "content-type", "application/xml");
	if (conditional)
		s3_add_header(&request, "if-none-match", "*");
	/* Of a checksum that is made of the parts' the server needs none of the whole. */
	if (proof->kind == S3_SUM_CRC64) {
		const struct s3_sum_name *name = s3_sum_name(proof->kind);

		s3_add_header(&request, name->header, proof->sum);
		s3_add_header(&request, "x-amz-checksum-type", name->type);
	}
	r = s3_call(parts->s3, &request, &reply);
	if (r == -EREMOTEIO && reply.status == 400 && proof->kind &&
	    strcmp(reply.code, "XAmzContentSHA256Mismatch") != 0) {
		/* The parts there are not those that were sent; or it took them with their
		 * checksums, and does not understand those here. Once more from the start. */
		if (strcmp(reply.code, "BadDigest") != 0)
			s3_sum_not_of_parts(parts->s3);
		r = -EBADMSG;
	}
	s3_reply_fini(&reply);
	return r;
}

/* What the whole must show. */
static int proof_of(const struct s3_parts *parts, struct s3_proof *ret_proof)
{
	int r;

	*ret_proof = (struct s3_proof){ .kind = parts->sum_kind };
	/* Nobody here has seen a copy's bytes: equal parts of equal bytes have the origin's ETag.
	 */
	if (parts->origin) {
		memcpy(ret_proof->etag, parts->origin->etag, sizeof(ret_proof->etag));
		return 0;
	}
	r = whole_etag(parts, ret_proof->etag);
	return r < 0 ? r
		     : s3_sum_whole(parts->sum_kind, parts->sums, parts->count, parts->part_bytes,
				    parts->object->size, ret_proof->sum);
}

/* The errors of the request; *ret_there: what the server has then, as s3_confirm_sent(). */
static int complete_once(struct s3_parts *parts, bool conditional, int64_t until_ns, int *ret_there)
{
	cleanup_free char *text = completion(parts);
	struct s3_proof proof;
	int r = text ? proof_of(parts, &proof) : -ENOMEM;

	*ret_there = r;
	if (r < 0)
		return r;
	r = post_completion(parts, text, &proof, conditional, until_ns);
	*ret_there = r == -ECANCELED ? r
				     : s3_confirm_sent(parts->s3, parts->key, parts->object,
						       parts->source, &proof);
	return r;
}

/* The parts become the object. However the answer reads, or if it was lost: what counts is what the
 * server has then. */
static int complete(struct s3_parts *parts)
{
	struct s3_tier *s3 = parts->s3;
	int64_t until_ns = 0;
	int there, r;

	s3_learn_completion(s3);
	r = s3_keeps_condition(s3, true) ? 0 : s3_is_taken(s3, parts->key, &until_ns);
	if (r < 0)
		return r;
	r = complete_once(parts, atomic_load(&s3->complete_condition) != S3_REFUSED, until_ns,
			  &there);
	/* Nobody has the key: the server does not understand the condition. */
	if ((r == -EEXIST || r == -ENOTSUP) && there == -ENOENT) {
		atomic_store(&s3->complete_condition, S3_REFUSED);
		r = s3_is_taken(s3, parts->key, &until_ns);
		r = r < 0 ? r : complete_once(parts, false, until_ns, &there);
	}
	if (r == 0 || there == 0 || there == -EEXIST || there == -EBADMSG)
		return there;
	/* The upload is gone, and so are its parts. */
	return r == -ENOENT ? -EREMOTEIO : r == -ETIME ? -EHOSTDOWN : r;
}

/* Go on with what was begun, or begin. 1: it is all there already. */
static int start(struct s3_parts *parts)
{
	struct s3_proof proof = { 0 };
	int r = recall(parts);

	if (r == 0 && parts->upload) {
		r = list_parts(parts);
		compare_listed(parts);
	} else if (r == 0) {
		return create(parts);
	}
	if (r != -ENOENT)
		return r;
	/* Put together, and the answer was lost? Or thrown away by the server. */
	if (parts->origin)
		memcpy(proof.etag, parts->origin->etag, sizeof(proof.etag));
	r = s3_confirm_sent(parts->s3, parts->key, parts->object, parts->source, &proof);
	if (r != -ENOENT)
		return r == 0 ? 1 : r;
	return create(parts);
}

/* Nothing of the upload helps a later attempt. */
static bool is_final(int error)
{
	return error == -EEXIST || error == -ESTALE || error == -EBADMSG || error == -EFBIG ||
	       error == -ENAMETOOLONG || error == -ENOTSUP;
}

int s3_put_parts(struct s3_tier *s3, const char *key, const struct tier_object *object,
		 const struct tier_source *source, const struct s3_origin *origin)
{
	cleanup_with(parts_fini) struct s3_parts parts = {
		.s3 = s3, .key = key, .object = object, .source = source, .origin = origin
	};
	struct digest digest;
	int r = parts_init(&parts);

	if (r == 0)
		r = start(&parts);
	if (r == 0) {
		r = s3_send_parts(&parts);
		if (origin && (r == -ENOENT || r == -EEXIST))
			r = -ESTALE; /* the origin is gone, or is another one by now */
		if (r == 0 && parts.digested == object->size) {
			digest_final(parts.digest, &digest);
			r = digest_equal(&digest, &object->digest) ? 0 : -ESTALE;
		}
		if (r == 0)
			r = complete(&parts);
	}
	r = r == 1 ? 0 : r;
	if (is_final(r) && parts.upload)
		(void)s3_abort_upload(s3, key, parts.upload);
	if (r == 0 || is_final(r))
		drop_note(&parts);
	return r;
}
