/* SPDX-License-Identifier: Apache-2.0 */

/* An answer as it comes in: its header, and where its body goes. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "tier/s3.h"
#include "util/clock.h"

#define ERROR_BODY_MAX 65536u

void s3_reply_fini(struct s3_reply *reply)
{
	free(reply->body);
	reply->body = NULL;
}

void s3_reply_clear(struct s3_reply *reply)
{
	s3_reply_fini(reply);
	*reply = (struct s3_reply){
		.length = -1, .range_start = -1, .range_total = -1, .mtime_ns = INT64_MIN
	};
}

static int keep_body(struct s3_reply *reply, const char *bytes, size_t length, size_t max)
{
	char *body;

	if (length > max - reply->body_length)
		return -EFBIG;
	body = realloc(reply->body, reply->body_length + length + 1);
	if (!body)
		return -ENOMEM;
	memcpy(body + reply->body_length, bytes, length);
	reply->body = body;
	reply->body_length += length;
	body[reply->body_length] = 0;
	return 0;
}

int s3_take_body(struct s3_exchange *exchange, const char *bytes, size_t length)
{
	struct s3_request *request = exchange->request;
	struct s3_reply *reply = &exchange->reply;
	int r;

	if (reply->status / 100 != 2) {
		/* What is left of an endless one is not worth an error. */
		r = keep_body(reply, bytes, length, ERROR_BODY_MAX);
		return r == -EFBIG ? 0 : r;
	}
	if (!request->into && !request->sink)
		return keep_body(reply, bytes, length,
				 request->reply_max ? request->reply_max : S3_REPLY_MAX);
	if (request->into && length > request->into_size - reply->received)
		return -EREMOTEIO; /* more than was asked for */
	if (request->into)
		memcpy((char *)request->into + reply->received, bytes, length);
	r = request->sink ? request->sink(request->sink_arg, bytes, length) : 0;
	reply->received += length;
	return r;
}

/* The value of @name in a line of the header, copied; false: it is another one. */
static bool header_is(const char *line, size_t length, const char *name, char *value, size_t size)
{
	size_t name_length = strlen(name);

	if (length <= name_length || strncasecmp(line, name, name_length) != 0 ||
	    line[name_length] != ':')
		return false;
	line += name_length + 1;
	length -= name_length + 1;
	while (length && (*line == ' ' || *line == '\t')) {
		line++;
		length--;
	}
	while (length && strchr(" \t\r\n", line[length - 1]))
		length--;
	if (length >= size) /* nothing of ours is that long */
		length = 0;
	memcpy(value, line, length);
	value[length] = 0;
	return true;
}

static int64_t number(const char *text)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	return errno || end == text || value < 0 ? -1 : value;
}

/* Times are within what every file system holds; others are not believed. */
#define SECONDS_MAX (INT64_MAX / 2 / NS_PER_SEC)

int s3_read_number(const char *text, int64_t *ret_value)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value > INT64_MAX / 2 || value < -(INT64_MAX / 2))
		return -EINVAL;
	*ret_value = value;
	return 0;
}

int s3_read_seconds(const char *text, int64_t *ret_ns)
{
	int64_t fraction = 0, unit = NS_PER_SEC;
	bool negative = *text == '-';
	long long seconds;
	char *end;

	errno = 0;
	seconds = strtoll(text, &end, 10);
	if (errno || end == text || seconds > SECONDS_MAX || seconds < -SECONDS_MAX)
		return -EINVAL;
	if (*end == '.')
		for (end++; *end >= '0' && *end <= '9'; end++) {
			unit /= 10;
			fraction += unit * (*end - '0'); /* beyond ns nothing */
		}
	if (*end)
		return -EINVAL;
	*ret_ns = seconds * NS_PER_SEC + (negative ? -fraction : fraction);
	return 0;
}

static void take_range(struct s3_reply *reply, const char *value)
{
	const char *slash = strchr(value, '/');

	if (strncasecmp(value, "bytes ", 6) != 0 || !slash)
		return;
	reply->range_start = number(value + 6);
	reply->range_total = number(slash + 1);
}

/* Without quotes: some servers send them, some do not. */
static void take_etag(struct s3_reply *reply, const char *value)
{
	size_t length = strlen(value);

	if (length >= 2 && *value == '"' && value[length - 1] == '"') {
		value++;
		length -= 2;
	}
	memcpy(reply->etag, value, length);
	reply->etag[length] = 0;
}

/* False: it is none of a checksum. */
static bool take_sum(struct s3_reply *reply, const char *line, size_t length)
{
	for (enum s3_sum_kind kind = S3_SUM_CRC64; kind < S3_SUM_KINDS; kind++)
		if (header_is(line, length, s3_sum_name(kind)->header, reply->sums[kind],
			      sizeof(reply->sums[kind])))
			return true;
	return false;
}

/* "HTTP/1.1 200 OK", which ends with no NUL. 0: none. */
static long status_of(const char *line, size_t length)
{
	const char *space = memchr(line, ' ', length);
	char digits[4] = "";

	if (!space || line + length - space < 4)
		return 0;
	memcpy(digits, space + 1, 3);
	return strtol(digits, NULL, 10);
}

/*
 * Metadata of who put it there: ours, else what rclone (mtime: seconds, with a fraction) and s3fs
 * (mtime likewise, mode: st_mode in decimal; in six octal digits where it is
 * rclone's) keep. False: none of them.
 */
static bool take_metadata(struct s3_reply *reply, const char *line, size_t length)
{
	char value[64];

	if (header_is(line, length, S3_META_MTIME, value, sizeof(value))) {
		if (s3_read_number(value, &reply->mtime_ns) < 0)
			reply->mtime_ns = INT64_MIN;
	} else if (header_is(line, length, "x-amz-meta-mtime", value, sizeof(value))) {
		if (reply->mtime_ns == INT64_MIN && s3_read_seconds(value, &reply->mtime_ns) < 0)
			reply->mtime_ns = INT64_MIN;
	} else if (header_is(line, length, S3_META_MODE, value, sizeof(value))) {
		reply->mode = strtoul(value, NULL, 8) & 07777;
	} else if (header_is(line, length, "x-amz-meta-mode", value, sizeof(value))) {
		if (!reply->mode)
			reply->mode = (uint32_t)strtoul(value, NULL, strlen(value) < 6 ? 10 : 8) &
				      0177777;
	} else {
		return false;
	}
	return true;
}

size_t s3_on_header(char *line, size_t size, size_t count, void *arg)
{
	struct s3_reply *reply = &((struct s3_exchange *)arg)->reply;
	size_t length = size * count;
	char value[128];

	if (length > 5 && strncmp(line, "HTTP/", 5) == 0) {
		s3_reply_clear(reply); /* after an interim answer */
		reply->status = status_of(line, length);
	} else if (header_is(line, length, "etag", value, sizeof(value))) {
		take_etag(reply, value);
	} else if (header_is(line, length, S3_CUSTOMER_ALGORITHM, value, sizeof(value))) {
		reply->has_key = true;
	} else if (header_is(line, length, "content-length", value, sizeof(value))) {
		reply->length = number(value);
	} else if (header_is(line, length, "content-range", value, sizeof(value))) {
		take_range(reply, value);
	} else if (header_is(line, length, "date", value, sizeof(value))) {
		time_t date = curl_getdate(value, NULL);

		reply->date_s = date > 0 ? (int64_t)date : 0;
	} else if (header_is(line, length, "last-modified", value, sizeof(value))) {
		time_t date = curl_getdate(value, NULL);

		reply->modified_ns = date > 0 && date <= SECONDS_MAX ? date * NS_PER_SEC : 0;
	} else if (take_metadata(reply, line, length)) {
		return length;
	} else if (header_is(line, length, "retry-after", value, sizeof(value))) {
		reply->retry_after_s = number(value) > 0 ? number(value) : 0;
	} else if (header_is(line, length, "x-amz-bucket-region", value, sizeof(value))) {
		s3_take_region(reply, value);
	} else if (header_is(line, length, "x-amz-storage-class", value, sizeof(value))) {
		reply->cold |= strcmp(value, "GLACIER") == 0 || strcmp(value, "DEEP_ARCHIVE") == 0;
	} else if (header_is(line, length, "x-amz-archive-status", value, sizeof(value))) {
		reply->cold = reply->tiering = true;
	} else if (header_is(line, length, "x-amz-restore", value, sizeof(value))) {
		reply->restore =
			strstr(value, "ongoing-request=\"true\"") ? S3_RESTORING : S3_RESTORED;
	} else if (take_sum(reply, line, length)) {
		;
	} else if (header_is(line, length, S3_META_DIGEST, value, sizeof(value))) {
		struct digest digest;

		if (digest_parse(value, &digest) == 0)
			digest_hex(&digest, reply->digest);
	}
	return length;
}
