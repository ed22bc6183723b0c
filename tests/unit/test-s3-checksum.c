/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_checksum.h"

#include <errno.h>

#include "test.h"
#include "tier/s3.h"

static struct s3_sum sum_of(enum s3_sum_kind kind, const char *bytes, size_t length)
{
	char hex[S3_HASH_SIZE];
	struct s3_sum sum;

	check_int(s3_payload_hash(bytes, length, hex), 0);
	s3_sum_of(kind, bytes, length, hex, &sum);
	return sum;
}

TEST(headers_have_base64_of_the_bytes_in_their_order)
{
	struct s3_sum crc = sum_of(S3_SUM_CRC64, "123456789", 9);
	struct s3_sum sha = sum_of(S3_SUM_SHA256, "", 0);
	char text[S3_SUM_TEXT];

	/* ae8b14860a799888, and e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.
	 */
	s3_sum_text(S3_SUM_CRC64, &crc, text);
	check_str(text, "rosUhgp5mIg=");
	s3_sum_text(S3_SUM_SHA256, &sha, text);
	check_str(text, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
	s3_sum_text(S3_SUM_NONE, &sha, text);
	check_str(text, "");
}

TEST(what_is_no_checksum_is_refused)
{
	static const char *const bad[] = { "",
					   "rosUhgp5mIg",
					   "rosUhgp5mIgA",
					   "rosUhgp5mI==",
					   "rosUhgp5mIh=",
					   "!osUhgp5mIg=",
					   "rosUhgp5mIg=AAAA" };
	struct s3_sum sum, expected = sum_of(S3_SUM_CRC64, "123456789", 9);

	check_int(s3_sum_parse(S3_SUM_CRC64, "rosUhgp5mIg=", &sum), 0);
	check(memcmp(sum.bytes, expected.bytes, 8) == 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		check_int(s3_sum_parse(S3_SUM_CRC64, bad[i], &sum), -EINVAL);
	check_int(s3_sum_parse(S3_SUM_SHA256, "rosUhgp5mIg=", &sum), -EINVAL);
	check_int(s3_sum_parse(S3_SUM_NONE, "", &sum), -EINVAL);
}

TEST(parts_give_the_checksum_of_the_whole)
{
	static const char bytes[] = "The quick brown fox jumps over the lazy dog";
	enum { PART = 10, SIZE = sizeof(bytes) - 1, COUNT = (SIZE + PART - 1) / PART };
	struct s3_sum crcs[COUNT], shas[COUNT], whole;
	char joined[32 * COUNT], text[S3_SUM_TEXT], expected[S3_SUM_TEXT];

	for (size_t i = 0; i < COUNT; i++) {
		size_t length = i + 1 < COUNT ? PART : SIZE - i * PART;

		crcs[i] = sum_of(S3_SUM_CRC64, bytes + i * PART, length);
		shas[i] = sum_of(S3_SUM_SHA256, bytes + i * PART, length);
		memcpy(joined + 32 * i, shas[i].bytes, 32);
	}
	check_int(s3_sum_whole(S3_SUM_CRC64, crcs, COUNT, PART, SIZE, text), 0);
	whole = sum_of(S3_SUM_CRC64, bytes, SIZE);
	s3_sum_text(S3_SUM_CRC64, &whole, expected);
	check_str(text, expected);

	/* Source: Amazon S3 User Guide, "Composite checksums": of the parts' checksums, with their
	 * number. */
	check_int(s3_sum_whole(S3_SUM_SHA256, shas, COUNT, PART, SIZE, text), 0);
	whole = sum_of(S3_SUM_SHA256, joined, sizeof(joined));
	s3_sum_text(S3_SUM_SHA256, &whole, expected);
	(void)strcat(expected, "-5");
	check_str(text, expected);

	check_int(s3_sum_whole(S3_SUM_NONE, crcs, COUNT, PART, SIZE, text), 0);
	check_str(text, "");
}

static struct s3_reply answer(const char *const *lines, size_t count)
{
	struct s3_exchange exchange = { 0 };
	char line[256];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(line, sizeof(line), "%s\r\n", lines[i]);
		check_int(s3_on_header(line, 1, strlen(line), &exchange), (int64_t)strlen(line));
	}
	return exchange.reply;
}

TEST(what_an_answer_proves)
{
	static const char whole[] = "x-amz-checksum-crc64nvme: rosUhgp5mIg=";
	static const struct {
		const char *lines[3];
		int crc, none; /* with that checksum expected; with none */
	} cases[] = {
		{ { "HTTP/1.1 200 OK", whole, "ETag: \"other\"" }, 1, 0 },
		{ { "HTTP/1.1 200 OK", "X-Amz-Checksum-CRC64NVME: rosUhgp5mIg=", "ETag: \"a-2\"" },
		  1,
		  1 },
		{ { "HTTP/1.1 200 OK", "x-amz-checksum-crc64nvme: AAAAAAAAAAA=", "ETag: \"a-2\"" },
		  -EBADMSG,
		  1 },
		/* What a proxy spoils is no checksum, and not the one. */
		{ { "HTTP/1.1 200 OK", "x-amz-checksum-crc64nvme: r", "ETag: \"a-2\"" },
		  -EBADMSG,
		  1 },
		/* Of the parts, and of other kinds: the ETag has to say it. */
		{ { "HTTP/1.1 200 OK", "x-amz-checksum-crc64nvme: rosUhgp5mIg=-2",
		    "ETag: \"A-2\"" },
		  1,
		  1 },
		{ { "HTTP/1.1 200 OK", "x-amz-checksum-crc64nvme: rosUhgp5mIg=-2", "ETag: \"b\"" },
		  0,
		  0 },
		{ { "HTTP/1.1 200 OK", "x-amz-checksum-crc32c: AAAAAA==", "ETag: \"a-2\"" }, 1, 1 },
		{ { "HTTP/1.1 200 OK", "x-amz-checksum-crc64nvme: ", "ETag: \"b\"" }, 0, 0 },
		/* Of the answer before. */
		{ { whole, "HTTP/1.1 200 OK", "ETag: \"b\"" }, 0, 0 },
	};
	const struct s3_proof crc = { .kind = S3_SUM_CRC64, .sum = "rosUhgp5mIg=", .etag = "a-2" };
	const struct s3_proof none = { .etag = "a-2" }, nothing = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct s3_reply reply = answer(cases[i].lines, 3);

		check_int(s3_proves(&reply, &crc), cases[i].crc);
		check_int(s3_proves(&reply, &none), cases[i].none);
		check_int(s3_proves(&reply, &nothing), 0);
	}
}
