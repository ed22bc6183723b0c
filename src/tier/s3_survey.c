/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a server really does, found out with small objects below .mediafs/v1/probe/. They are
 * written over by the next survey, and never deleted.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "tier/s3_multipart.h"
#include "tier/s3_xml.h"
#include "util/cleanup.h"

#define PROBE_PARTS_KEY ".mediafs/v1/probe/parts"
#define PROBE_LENGTH (sizeof(S3_PROBE_TEXT) - 1)

struct survey {
	struct s3_tier *s3;
	survey_fn fn;
	void *arg;
	char md5[33];
};

static int tell(const struct survey *survey, const char *what, enum survey_result result,
		const char *format, ...) __attribute__((format(printf, 4, 5)));

static int tell(const struct survey *survey, const char *what, enum survey_result result,
		const char *format, ...)
{
	char text[TIER_WHY_SIZE];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return survey->fn(survey->arg, what, result, text);
}

struct s3_request s3_probe_put(void)
{
	return (struct s3_request){
		.method = "PUT",
		.key = S3_PROBE_KEY,
		.body = S3_PROBE_TEXT,
		.body_length = PROBE_LENGTH,
		.tries = 2,
	};
}

/* The status that @request gets, 0 none; *ret_reply is the caller's to end. */
static long ask(const struct survey *survey, struct s3_request *request, struct s3_reply *ret_reply)
{
	(void)s3_call(survey->s3, request, ret_reply);
	return ret_reply->status;
}

static long ask_status(const struct survey *survey, struct s3_request *request)
{
	struct s3_reply reply;
	long status = ask(survey, request, &reply);

	s3_reply_fini(&reply);
	return status;
}

/* 0 it can be written; everything else needs that. */
static int survey_writing(struct survey *survey)
{
	struct s3_request request = s3_probe_put();
	struct s3_reply reply;
	bool is_md5;
	int r = s3_call(survey->s3, &request, &reply);

	is_md5 = r == 0 && strcasecmp(reply.etag, survey->md5) == 0;
	s3_reply_fini(&reply);
	if (r < 0)
		return r;
	r = tell(survey, "writing", SURVEY_GOOD, "yes");
	return r ? r
		 : tell(survey, "ETag", is_md5 ? SURVEY_GOOD : SURVEY_LESS, "%s",
			is_md5 ? "MD5 of the bytes"
			       : "not an MD5: large files are read back, none goes on");
}

static int survey_signature(const struct survey *survey)
{
	struct s3_request request = s3_probe_put();
	long status;

	request.spoil_signature = true;
	status = ask_status(survey, &request);
	return tell(survey, "wrong signature", status == 403 ? SURVEY_GOOD : SURVEY_BAD,
		    status == 403 ? "refused" : "answered with %ld: anybody may write there",
		    status);
}

static int survey_checksum(const struct survey *survey)
{
	struct s3_request request = s3_probe_put();
	long status;
	int r = s3_payload_hash("other", 5, request.payload_hash);

	if (r < 0)
		return r;
	status = ask_status(survey, &request);
	return tell(survey, "wrong checksum",
		    status >= 400 && status < 500 ? SURVEY_GOOD : SURVEY_BAD,
		    status >= 400 && status < 500
			    ? "refused"
			    : "answered with %ld: what is damaged on its way is not noticed",
		    status);
}

static int survey_kept_checksum(const struct survey *survey)
{
	enum s3_sum_kind kind = S3_SUM_NONE;
	bool has_one = s3_sum_find(survey->s3, &kind) == 0 && kind != S3_SUM_NONE;

	return tell(survey, "checksum kept", has_one ? SURVEY_GOOD : SURVEY_LESS, "%s",
		    has_one ? s3_sum_name(kind)->name : "none: the ETag proves what is there");
}

static int survey_condition(const struct survey *survey)
{
	struct s3_request request = s3_probe_put();
	long status;

	s3_add_header(&request, "if-none-match", "*");
	status = ask_status(survey, &request);
	return tell(survey, "PUT If-None-Match", status == 412 ? SURVEY_GOOD : SURVEY_LESS,
		    status == 412 ? "kept"
				  : "not kept (%ld): it is asked first, and another may be faster",
		    status);
}

static int survey_reading(const struct survey *survey)
{
	struct s3_request range = { .method = "GET", .key = S3_PROBE_KEY };
	struct s3_request match = { .method = "GET", .key = S3_PROBE_KEY };
	struct s3_request beyond = { .method = "GET", .key = S3_PROBE_KEY };
	struct s3_reply reply;
	bool good;
	int r;

	s3_add_header(&range, "range", "bytes=2-4");
	good = ask(survey, &range, &reply) == 206 && reply.body_length == 3 &&
	       memcmp(reply.body, "234", 3) == 0;
	s3_reply_fini(&reply);
	r = tell(survey, "GET of a range", good ? SURVEY_GOOD : SURVEY_BAD, "%s",
		 good ? "yes" : "no: blocks cannot be fetched");
	s3_add_header(&beyond, "range", "bytes=100-200");
	good = ask_status(survey, &beyond) == 416;
	if (r == 0)
		r = tell(survey, "range beyond the end", good ? SURVEY_GOOD : SURVEY_LESS, "%s",
			 good ? "refused" : "not refused");
	s3_add_header(&match, "if-match", "\"00000000000000000000000000000000\"");
	good = ask_status(survey, &match) == 412;
	if (r == 0)
		r = tell(survey, "GET If-Match", good ? SURVEY_GOOD : SURVEY_LESS, "%s",
			 good ? "kept" : "not kept");
	return r;
}

struct names {
	bool found;
};

static int look_for_probe(void *arg, const char *name, bool is_folder)
{
	struct names *names = arg;

	names->found |= !is_folder && strcmp(name, "object") == 0;
	return 0;
}

static int survey_list(const struct survey *survey)
{
	struct names names = { 0 };
	int r = s3_list(&survey->s3->tier, ".mediafs/v1/probe", look_for_probe, &names);
	bool good = r == 0 && names.found;

	return tell(survey, "listing", good ? SURVEY_GOOD : SURVEY_BAD, "%s",
		    good ? "yes" : "no: sites do not find each other");
}

static int take_id(void *arg, const char *path, const char *text)
{
	if (strcmp(path, "InitiateMultipartUploadResult/UploadId") == 0)
		(void)snprintf(arg, 1024, "%s", text);
	return 0;
}

static int take_part_etag(void *arg, const char *path, const char *text)
{
	if (strcmp(path, "ListPartsResult/Part/ETag") == 0)
		(void)snprintf(arg, S3_ETAG_SIZE, "%s", text);
	return 0;
}

/* An upload of one part: begun, sent, listed; the id in @id. 0 it works, 1 it does not. */
static int begin_parts(const struct survey *survey, char id[1024], char etag[S3_ETAG_SIZE])
{
	struct s3_request create = { .method = "POST", .key = PROBE_PARTS_KEY };
	struct s3_request part = s3_probe_put();
	struct s3_request list = { .method = "GET", .key = PROBE_PARTS_KEY };
	struct s3_reply reply;
	int r;

	id[0] = etag[0] = 0;
	s3_add_query(&create, "uploads", "");
	if (ask(survey, &create, &reply) == 200 && reply.body)
		(void)s3_xml_read(reply.body, reply.body_length, take_id, id);
	s3_reply_fini(&reply);
	if (!*id)
		return 1;
	part.key = PROBE_PARTS_KEY;
	s3_add_query(&part, "partNumber", "1");
	s3_add_query(&part, "uploadId", id);
	r = ask_status(survey, &part) == 200 ? 0 : 1;
	s3_add_query(&list, "uploadId", id);
	if (r == 0 && ask(survey, &list, &reply) == 200 && reply.body)
		(void)s3_xml_read(reply.body, reply.body_length, take_part_etag, etag);
	if (r == 0)
		s3_reply_fini(&reply);
	return r == 0 && *etag ? 0 : 1;
}

static long end_parts(const struct survey *survey, const char *id, const char *etag,
		      bool conditional)
{
	struct s3_request request = { .method = "POST", .key = PROBE_PARTS_KEY, .tries = 2 };
	cleanup_free char *escaped = s3_xml_escape(etag);
	char body[2 * S3_ETAG_SIZE + 256];

	(void)snprintf(body, sizeof(body),
		       "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
		       "<ETag>%s</ETag></Part></CompleteMultipartUpload>",
		       escaped ? escaped : "");
	request.body = body;
	request.body_length = strlen(body);
	s3_add_query(&request, "uploadId", id);
	s3_add_header(&request, "content-type", "application/xml");
	if (conditional)
		s3_add_header(&request, "if-none-match", "*");
	return ask_status(survey, &request);
}

/* 0 the condition of a completion is kept, or none is understood at all; 1 not; -EHOSTDOWN. */
static int try_completion(struct s3_tier *s3)
{
	const struct survey survey = { .s3 = s3 };
	struct s3_request put = s3_probe_put();
	char id[1024], etag[S3_ETAG_SIZE];
	long status;

	put.key = PROBE_PARTS_KEY;
	if (ask_status(&survey, &put) != 200 || begin_parts(&survey, id, etag) != 0)
		return -EHOSTDOWN;
	status = end_parts(&survey, id, etag, true);
	if (status != 200)
		(void)s3_abort_upload(s3, PROBE_PARTS_KEY, id);
	return status == 412 ? 0 : status == 200 || status == 501 ? 1 : -EHOSTDOWN;
}

void s3_learn_completion(struct s3_tier *s3)
{
	int unknown = S3_UNKNOWN;
	int r;

	s3_learn_put(s3);
	if (!s3_keeps_condition(s3, false) || atomic_exchange(&s3->complete_tried, true))
		return;
	r = try_completion(s3);
	if (r == 0)
		(void)atomic_compare_exchange_strong(&s3->complete_condition, &unknown,
						     S3_HONOURED);
	else if (r < 0)
		atomic_store(&s3->complete_tried, false);
}

static int survey_parts(const struct survey *survey)
{
	char id[1024], etag[S3_ETAG_SIZE];
	bool good = begin_parts(survey, id, etag) == 0;
	int r = tell(survey, "multipart, parts listed", good ? SURVEY_GOOD : SURVEY_BAD, "%s",
		     good ? "yes" : "no: files above 16 MiB cannot be stored");
	long status = good ? end_parts(survey, id, etag, false) : 0;

	if (r == 0 && good)
		r = tell(survey, "multipart, completed", status == 200 ? SURVEY_GOOD : SURVEY_BAD,
			 status == 200 ? "yes" : "answered with %ld", status);
	/* The key is taken from here on. */
	if (r != 0 || status != 200 || begin_parts(survey, id, etag) != 0)
		return r;
	status = end_parts(survey, id, etag, true);
	if (status == 412)
		(void)s3_abort_upload(survey->s3, PROBE_PARTS_KEY, id);
	return tell(survey, "multipart If-None-Match", status == 412 ? SURVEY_GOOD : SURVEY_LESS,
		    status == 412 ? "kept"
				  : "not kept: it is asked first, and another may be faster");
}

int s3_survey(struct tier *tier, survey_fn fn, void *arg)
{
	struct survey survey = { .s3 = s3_of(tier), .fn = fn, .arg = arg };
	int r = s3_md5(S3_PROBE_TEXT, PROBE_LENGTH, survey.md5);

	if (r == 0)
		r = survey_writing(&survey);
	if (r == 0)
		r = survey_signature(&survey);
	if (r == 0)
		r = survey_checksum(&survey);
	if (r == 0)
		r = survey_kept_checksum(&survey);
	if (r == 0)
		r = survey_condition(&survey);
	if (r == 0)
		r = survey_reading(&survey);
	if (r == 0)
		r = survey_list(&survey);
	return r == 0 ? survey_parts(&survey) : r;
}
