/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3.h"

#include <errno.h>

#include "test.h"

#define NOW 1795890031

struct sample {
	const char *method;
	long status;
	const char *code;
	int64_t date_s;
	enum s3_next next;
	int error;
};

TEST(answers_are_sorted_into_what_helps)
{
	static const struct sample samples[] = {
		{ "GET", 200, "", NOW, S3_DONE, 0 },
		{ "GET", 206, "", NOW, S3_DONE, 0 },
		{ "PUT", 204, "", NOW, S3_DONE, 0 },
		{ "POST", 200, "InternalError", NOW, S3_RETRY, -EREMOTEIO },
		{ "POST", 200, "SomethingNew", NOW, S3_RETRY, -EREMOTEIO },
		{ "GET", 404, "NoSuchKey", NOW, S3_FAIL, -ENOENT },
		{ "HEAD", 404, "", NOW, S3_FAIL, -ENOENT },
		{ "GET", 404, "NoSuchBucket", NOW, S3_FAIL, -EHOSTDOWN },
		{ "PUT", 403, "AccessDenied", NOW, S3_FAIL, -EROFS },
		{ "GET", 403, "AccessDenied", NOW, S3_FAIL, -EACCES },
		{ "HEAD", 403, "", NOW, S3_REFRESH, -EACCES },
		{ "PUT", 403, "SignatureDoesNotMatch", NOW, S3_REFRESH, -EHOSTDOWN },
		{ "PUT", 403, "SignatureDoesNotMatch", NOW - 3600, S3_CLOCK, -EHOSTDOWN },
		{ "PUT", 403, "AccessDenied", NOW + 3600, S3_CLOCK, -EHOSTDOWN },
		{ "GET", 404, "NoSuchKey", NOW + 3600, S3_FAIL, -ENOENT },
		{ "PUT", 403, "RequestTimeTooSkewed", NOW, S3_CLOCK, -EHOSTDOWN },
		{ "GET", 400, "ExpiredToken", NOW, S3_REFRESH, -EHOSTDOWN },
		{ "GET", 301, "PermanentRedirect", NOW, S3_REGION, -EHOSTDOWN },
		{ "HEAD", 301, "", NOW, S3_REGION, -EHOSTDOWN },
		{ "GET", 307, "", NOW, S3_REGION, -EHOSTDOWN },
		{ "GET", 400, "AuthorizationHeaderMalformed", NOW, S3_REGION, -EHOSTDOWN },
		{ "PUT", 403, "QuotaExceeded", NOW, S3_FAIL, -ENOSPC },
		{ "PUT", 507, "", NOW, S3_FAIL, -ENOSPC },
		{ "PUT", 412, "PreconditionFailed", NOW, S3_FAIL, -EEXIST },
		{ "PUT", 501, "NotImplemented", NOW, S3_FAIL, -ENOTSUP },
		{ "PUT", 400, "BadDigest", NOW, S3_RETRY, -EREMOTEIO },
		{ "PUT", 400, "XAmzContentSHA256Mismatch", NOW, S3_RETRY, -EREMOTEIO },
		{ "GET", 416, "InvalidRange", NOW, S3_FAIL, -EBADMSG },
		{ "GET", 403, "InvalidObjectState", NOW, S3_FAIL, -ENOMEDIUM },
		{ "POST", 409, "RestoreAlreadyInProgress", NOW, S3_FAIL, -EINPROGRESS },
		{ "POST", 403, "ObjectAlreadyInActiveTierError", NOW, S3_FAIL, -EALREADY },
		{ "POST", 503, "GlacierExpeditedRetrievalNotAvailable", NOW, S3_FAIL, -EBUSY },
		{ "PUT", 503, "SlowDown", NOW, S3_RETRY, -EHOSTDOWN },
		{ "PUT", 429, "", NOW, S3_RETRY, -EHOSTDOWN },
		{ "PUT", 500, "", NOW, S3_RETRY, -EREMOTEIO },
		{ "PUT", 502, "", NOW, S3_RETRY, -EREMOTEIO },
		{ "PUT", 400, "KeyTooLongError", NOW, S3_FAIL, -ENAMETOOLONG },
		{ "PUT", 400, "Whatever", NOW, S3_FAIL, -EREMOTEIO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct sample *sample = &samples[i];
		struct s3_reply reply = { .status = sample->status, .date_s = sample->date_s };
		struct s3_verdict verdict;

		(void)strcpy(reply.code, sample->code);
		verdict = s3_judge(CURLE_OK, sample->method, &reply, NOW);
		if (verdict.next != sample->next || verdict.error != sample->error)
			test_fail(__FILE__, __LINE__, "%s %ld %s: next %d error %d", sample->method,
				  sample->status, sample->code, verdict.next, verdict.error);
		/* What stops the tier says why. */
		if ((verdict.error == -EHOSTDOWN || verdict.error == -EROFS) && !verdict.why)
			test_fail(__FILE__, __LINE__, "%s says nothing", sample->code);
	}
}

TEST(no_answer_is_tried_again_but_a_false_certificate_is_not)
{
	struct s3_reply reply = { 0 };

	check_int(s3_judge(CURLE_COULDNT_CONNECT, "GET", &reply, NOW).next, S3_RETRY);
	check_int(s3_judge(CURLE_COULDNT_CONNECT, "GET", &reply, NOW).error, -EHOSTDOWN);
	check_int(s3_judge(CURLE_RECV_ERROR, "PUT", &reply, NOW).next, S3_RETRY);
	check_int(s3_judge(CURLE_PARTIAL_FILE, "GET", &reply, NOW).next, S3_RETRY);
	check_int(s3_judge(CURLE_PEER_FAILED_VERIFICATION, "GET", &reply, NOW).next, S3_FAIL);
	reply.local_error = -ECANCELED;
	check_int(s3_judge(CURLE_ABORTED_BY_CALLBACK, "GET", &reply, NOW).error, -ECANCELED);
	/* It was silent. */
	reply = (struct s3_reply){ 0 };
	check_int(s3_judge(CURLE_ABORTED_BY_CALLBACK, "GET", &reply, NOW).next, S3_RETRY);
	check(strstr(s3_judge(CURLE_ABORTED_BY_CALLBACK, "GET", &reply, NOW).why, "silent"));
	/* The header was good, the body broke off. */
	reply = (struct s3_reply){ .status = 200 };
	check_int(s3_judge(CURLE_PARTIAL_FILE, "GET", &reply, NOW).next, S3_RETRY);
}

TEST(codes_are_read_from_bodies_and_hold_nothing_that_hurts_a_log)
{
	char good[] = "<Error><Code>NoSuch\nKey</Code><Message>x</Message>"
		      "<Region>eu-west-1</Region></Error>";
	char other[] = "<html>503</html>";
	struct s3_reply reply = { .body = good, .body_length = strlen(good) };

	s3_read_error(&reply);
	check_str(reply.code, "NoSuchKey");
	check_str(reply.region, "eu-west-1");
	reply = (struct s3_reply){ .body = other, .body_length = strlen(other) };
	s3_read_error(&reply);
	check_str(reply.code, "");
}

static void header(struct s3_exchange *exchange, const char *line)
{
	char copy[512];

	/* libcurl's lines have no NUL. */
	memset(copy, 'x', sizeof(copy));
	memcpy(copy, line, strlen(line));
	check_int(s3_on_header(copy, 1, strlen(line), exchange), (int64_t)strlen(line));
}

TEST(headers_of_answers)
{
	struct s3_exchange exchange = { 0 };
	struct s3_reply *reply = &exchange.reply;

	header(&exchange, "HTTP/1.1 100 Continue\r\n");
	header(&exchange, "ETag: \"old\"\r\n");
	header(&exchange, "HTTP/1.1 206 Partial Content\r\n");
	check_int(reply->status, 206);
	check_str(reply->etag, "");
	check_int(reply->length, -1);
	check_int(reply->range_start, -1);
	header(&exchange, "etag:\"abc-2\"\r\n");
	header(&exchange, "Content-Length: 5 \r\n");
	header(&exchange, "CONTENT-RANGE: bytes 4194304-4194308/9000000000\r\n");
	header(&exchange, "Date: Sat, 28 Nov 2026 18:20:31 GMT\r\n");
	header(&exchange, "Retry-After: 7\r\n");
	header(&exchange, "x-amz-bucket-region: eu-west-1\r\n");
	header(&exchange, "X-Amz-Meta-Mediafs-Xxh3-128: 00112233445566778899AABBCCDDEEFF\r\n");
	check_str(reply->etag, "abc-2");
	check_int(reply->length, 5);
	check_int(reply->range_start, 4194304);
	check_int(reply->range_total, 9000000000);
	check_int(reply->date_s, NOW);
	check_int(reply->retry_after_s, 7);
	check_str(reply->region, "eu-west-1");
	check_str(reply->digest, "00112233445566778899aabbccddeeff");
}

TEST(hostile_headers_of_answers)
{
	struct s3_exchange exchange = { 0 };
	struct s3_reply *reply = &exchange.reply;
	char line[400];

	header(&exchange, "HTTP/1.1 200 OK\r\n");
	header(&exchange, "content-length: -5\r\n");
	check_int(reply->length, -1);
	header(&exchange, "content-length: 99999999999999999999\r\n");
	check_int(reply->length, -1);
	header(&exchange, "content-range: bytes x-y/z\r\n");
	check_int(reply->range_start, -1);
	header(&exchange, "content-range: 1-2/3\r\n");
	check_int(reply->range_total, -1);
	header(&exchange, "x-amz-bucket-region: evil.example/\r\n");
	check_str(reply->region, "");
	header(&exchange, "x-amz-meta-mediafs-xxh3-128: 0011\r\n");
	check_str(reply->digest, "");
	header(&exchange, "retry-after: Fri\r\n");
	check_int(reply->retry_after_s, 0);
	header(&exchange, "etag:\r\n");
	header(&exchange, "etag: \"\r\n");
	check_str(reply->etag, "\"");
	header(&exchange, "\r\n");
	header(&exchange, "etag");
	memset(line, 'e', sizeof(line));
	memcpy(line, "etag: ", 6);
	line[sizeof(line) - 1] = 0;
	header(&exchange, line); /* longer than any that there is */
	check_str(reply->etag, "");
}

TEST(parts_are_equal_and_not_too_many)
{
	static const uint64_t sizes[] = { 1,
					  16u << 20,
					  (16u << 20) + 1,
					  9500ull * (16u << 20),
					  9500ull * (16u << 20) + 1,
					  5ull << 40 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t part = s3_part_bytes(sizes[i]);

		check(part >= 16u << 20);
		check_int(part % BLOCK_BYTES, 0);
		check((sizes[i] + part - 1) / part <= 9500);
	}
	check_int(s3_part_bytes(9500ull * (16u << 20)), 16u << 20);
	check_int(s3_part_bytes(9500ull * (16u << 20) + 1), 20u << 20);
}
