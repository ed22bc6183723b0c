/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an answer of the server means. In this order: no answer at all, codes that are the same
 * everywhere, then the HTTP status for the rest.
 * Source: Amazon S3 API Reference, "Error responses"; servers that are not Amazon's differ.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tier/s3.h"
#include "tier/s3_xml.h"

#define REGION_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/* A clock further off than this is one reason for a refused signature (the limit is 15 min). */
#define SKEW_S 240

static const struct {
	const char *code;
	struct s3_verdict verdict;
} codes[] = {
	{ "NoSuchKey", { S3_FAIL, -ENOENT, NULL } },
	{ "NoSuchUpload", { S3_FAIL, -ENOENT, NULL } },
	{ "NoSuchBucket", { S3_FAIL, -EHOSTDOWN, "there is no such bucket" } },
	{ "InvalidBucketName", { S3_FAIL, -EHOSTDOWN, "there is no such bucket" } },
	{ "InvalidAccessKeyId", { S3_REFRESH, -EHOSTDOWN, "the access key is not known there" } },
	{ "SignatureDoesNotMatch",
	  { S3_REFRESH, -EHOSTDOWN, "the signature is refused: the secret key is wrong" } },
	{ "ExpiredToken", { S3_REFRESH, -EHOSTDOWN, "the session token has expired" } },
	{ "InvalidToken", { S3_REFRESH, -EHOSTDOWN, "the session token is refused" } },
	{ "TokenRefreshRequired", { S3_REFRESH, -EHOSTDOWN, "the session token has expired" } },
	{ "RequestTimeTooSkewed", { S3_CLOCK, -EHOSTDOWN, "the clock differs from the server's" } },
	{ "AuthorizationHeaderMalformed", { S3_REGION, -EHOSTDOWN, "the region is another one" } },
	{ "PermanentRedirect", { S3_REGION, -EHOSTDOWN, "the bucket is at another endpoint" } },
	{ "TemporaryRedirect", { S3_REGION, -EHOSTDOWN, "the bucket is at another endpoint" } },
	{ "AccountProblem", { S3_FAIL, -EHOSTDOWN, "there is a problem with the account" } },
	{ "UserSuspended", { S3_FAIL, -EHOSTDOWN, "the account is suspended" } },
	{ "AllAccessDisabled", { S3_FAIL, -EHOSTDOWN, "all access is disabled" } },
	{ "QuotaExceeded", { S3_FAIL, -ENOSPC, "the quota is used up" } },
	{ "InvalidObjectState", { S3_FAIL, -ENOMEDIUM, NULL } },
	{ "RestoreAlreadyInProgress", { S3_FAIL, -EINPROGRESS, NULL } },
	{ "ObjectAlreadyInActiveTierError", { S3_FAIL, -EALREADY, NULL } },
	{ "GlacierExpeditedRetrievalNotAvailable", { S3_FAIL, -EBUSY, NULL } },
	{ "KeyTooLongError", { S3_FAIL, -ENAMETOOLONG, NULL } },
	{ "EntityTooLarge", { S3_FAIL, -EFBIG, NULL } },
	{ "PreconditionFailed", { S3_FAIL, -EEXIST, NULL } },
	{ "InvalidRange", { S3_FAIL, -EBADMSG, NULL } },
	/* Damaged on its way; what is sent again was checked against the block map. */
	{ "BadDigest", { S3_RETRY, -EREMOTEIO, "what is sent arrives damaged" } },
	{ "InvalidDigest", { S3_RETRY, -EREMOTEIO, "what is sent arrives damaged" } },
	{ "XAmzContentSHA256Mismatch", { S3_RETRY, -EREMOTEIO, "what is sent arrives damaged" } },
	{ "IncompleteBody", { S3_RETRY, -EHOSTDOWN, "the connection breaks" } },
	{ "RequestTimeout", { S3_RETRY, -EHOSTDOWN, "the connection is too slow" } },
	{ "SlowDown", { S3_RETRY, -EHOSTDOWN, "the server asks for fewer requests" } },
	{ "ServiceUnavailable", { S3_RETRY, -EHOSTDOWN, "the server is not available" } },
	{ "InternalError", { S3_RETRY, -EREMOTEIO, "the server answers with failures" } },
	{ "OperationAborted", { S3_RETRY, -EREMOTEIO, NULL } },
	{ "ConditionalRequestConflict", { S3_RETRY, -EREMOTEIO, NULL } },
	{ "NotImplemented", { S3_FAIL, -ENOTSUP, NULL } },
};

static struct s3_verdict judge_status(const char *method, long status)
{
	bool writes = strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0;

	switch (status) {
	case 301:
	case 307:
	case 308:
		return (struct s3_verdict){ S3_REGION, -EHOSTDOWN,
					    "the bucket is at another endpoint" };
	case 401:
		return (struct s3_verdict){ S3_REFRESH, -EHOSTDOWN, "the keys are refused" };
	case 403:
		/* An answer to HEAD has no body that could name expired keys. */
		if (strcmp(method, "HEAD") == 0)
			return (struct s3_verdict){ S3_REFRESH, -EACCES, "access is denied" };
		/* A policy: for the whole tier when it refuses to write, else for one object. */
		return writes ? (struct s3_verdict){ S3_FAIL, -EROFS, "writing is not allowed" }
			      : (struct s3_verdict){ S3_FAIL, -EACCES, "access is denied" };
	case 404:
		return (struct s3_verdict){ S3_FAIL, -ENOENT, NULL };
	case 405:
	case 501:
		return (struct s3_verdict){ S3_FAIL, -ENOTSUP, NULL };
	case 408:
	case 429:
	case 503:
		return (struct s3_verdict){ S3_RETRY, -EHOSTDOWN, "the server is not available" };
	case 409:
		return (struct s3_verdict){ S3_RETRY, -EREMOTEIO, NULL };
	case 412:
		return (struct s3_verdict){ S3_FAIL, -EEXIST, NULL };
	case 416:
		return (struct s3_verdict){ S3_FAIL, -EBADMSG, NULL };
	case 507:
		return (struct s3_verdict){ S3_FAIL, -ENOSPC, "the server has no room left" };
	default:
		if (status >= 500)
			return (struct s3_verdict){ S3_RETRY, -EREMOTEIO,
						    "the server answers with failures" };
		return (struct s3_verdict){ S3_FAIL, -EREMOTEIO, "the request is refused" };
	}
}

static struct s3_verdict judge_curl(CURLcode curl, const struct s3_reply *reply)
{
	if (reply->local_error)
		return (struct s3_verdict){ S3_FAIL, reply->local_error, NULL };
	switch (curl) {
	case CURLE_OUT_OF_MEMORY:
		return (struct s3_verdict){ S3_FAIL, -ENOMEM, NULL };
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_USE_SSL_FAILED:
		return (struct s3_verdict){ S3_FAIL, -EHOSTDOWN,
					    "TLS: the server's certificate is not accepted" };
	case CURLE_ABORTED_BY_CALLBACK: /* the watch over silence */
		return (struct s3_verdict){ S3_RETRY, -EHOSTDOWN,
					    "the server has been silent for too long" };
	default:
		return (struct s3_verdict){ S3_RETRY, -EHOSTDOWN, "" }; /* curl says why */
	}
}

struct s3_verdict s3_judge(CURLcode curl, const char *method, const struct s3_reply *reply,
			   int64_t signed_s)
{
	bool skewed = reply->date_s && llabs(reply->date_s - signed_s) > SKEW_S;

	if (curl != CURLE_OK)
		return judge_curl(curl, reply);
	if (reply->status / 100 == 2 && !reply->code[0])
		return (struct s3_verdict){ S3_DONE, 0, NULL };
	/* Some servers only say that access is denied. */
	if (skewed && (reply->status == 403 || reply->status == 400))
		return (struct s3_verdict){ S3_CLOCK, -EHOSTDOWN,
					    "the clock differs from the server's" };
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (strcmp(reply->code, codes[i].code) == 0)
			return codes[i].verdict;
	/* A 200 that carries an error. */
	if (reply->status / 100 == 2)
		return (struct s3_verdict){ S3_RETRY, -EREMOTEIO,
					    "the server answers with failures" };
	return judge_status(method, reply->status);
}

/* Only what cannot hurt in a log. */
static void copy_word(char *to, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text && used + 1 < size; text++)
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.",
			   *text))
			to[used++] = *text;
	to[used] = 0;
}

void s3_take_region(struct s3_reply *reply, const char *text)
{
	size_t length = strlen(text);

	if (length < sizeof(reply->region) && strspn(text, REGION_CHARACTERS) == length)
		memcpy(reply->region, text, length + 1);
}

static int on_error_part(void *arg, const char *path, const char *text)
{
	struct s3_reply *reply = arg;

	if (strcmp(path, "Error/Code") == 0)
		copy_word(reply->code, sizeof(reply->code), *text ? text : "Unknown");
	else if (strcmp(path, "Error/Region") == 0)
		s3_take_region(reply, text);
	return 0;
}

void s3_read_error(struct s3_reply *reply)
{
	if (reply->body_length)
		/* What is no XML has no code: the status counts. */
		(void)s3_xml_read(reply->body, reply->body_length, on_error_part, reply);
}
