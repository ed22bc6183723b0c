/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_sign.h"

#include "test.h"
#include "util/cleanup.h"

/* Vectors: Amazon S3 API Reference, "Examples: Signature Calculations" (Authorization header). */
#define ACCESS "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define WELCOME "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
#define TIME_S 1369353600 /* 2013-05-24T00:00:00Z */

struct vector {
	const char *method, *path, *payload;
	struct s3_pair query[2];
	size_t query_count;
	struct s3_pair headers[5];
	size_t header_count;
	const char *names, *signature;
};

#define COMMON                                                                                     \
	{ "host", "examplebucket.s3.amazonaws.com" },                                              \
	{                                                                                          \
		"x-amz-date", "20130524T000000Z"                                                   \
	}

static const struct vector vectors[] = {
	{ .method = "GET",
	  .path = "/test.txt",
	  .payload = EMPTY,
	  .headers = { COMMON, { "x-amz-content-sha256", EMPTY }, { "range", "bytes=0-9" } },
	  .header_count = 4,
	  .names = "host;range;x-amz-content-sha256;x-amz-date",
	  .signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ .method = "PUT",
	  .path = "/test$file.text",
	  .payload = WELCOME,
	  .headers = { COMMON,
		       { "x-amz-content-sha256", WELCOME },
		       { "date", "Fri, 24 May 2013 00:00:00 GMT" },
		       { "x-amz-storage-class", "REDUCED_REDUNDANCY" } },
	  .header_count = 5,
	  .names = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	  .signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ .method = "GET",
	  .path = "/",
	  .payload = EMPTY,
	  .query = { { "lifecycle", "" } },
	  .query_count = 1,
	  .headers = { COMMON, { "x-amz-content-sha256", EMPTY } },
	  .header_count = 3,
	  .names = "host;x-amz-content-sha256;x-amz-date",
	  .signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ .method = "GET",
	  .path = "/",
	  .payload = EMPTY,
	  .query = { { "prefix", "J" }, { "max-keys", "2" } },
	  .query_count = 2,
	  .headers = { COMMON, { "x-amz-content-sha256", EMPTY } },
	  .header_count = 3,
	  .names = "host;x-amz-content-sha256;x-amz-date",
	  .signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};

TEST(published_vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *vector = &vectors[i];
		const struct s3_signing signing = {
			.method = vector->method,
			.path = vector->path,
			.query = vector->query,
			.query_count = vector->query_count,
			.headers = vector->headers,
			.header_count = vector->header_count,
			.payload_hash = vector->payload,
			.region = "us-east-1",
			.time_s = TIME_S,
			.access_key = ACCESS,
			.secret_key = SECRET,
		};
		cleanup_free char *authorization = NULL;
		char expected[512];

		(void)snprintf(expected, sizeof(expected),
			       "AWS4-HMAC-SHA256 Credential=" ACCESS
			       "/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s",
			       vector->names, vector->signature);
		check_int(s3_sign(&signing, &authorization), 0);
		check_str(authorization, expected);
	}
}

TEST(all_but_unreserved_characters_are_encoded_once)
{
	static const char *const paths[][2] = {
		{ "/a b", "/a%20b" },
		{ "/+&%=*~()'", "/%2B%26%25%3D%2A~%28%29%27" },
		{ "/%41", "/%2541" },
		{ "/b/\xc3\xa9\xe2\x82\xac", "/b/%C3%A9%E2%82%AC" },
		{ "/-._~09azAZ", "/-._~09azAZ" },
		{ "/a/../b/./c", "/a/../b/./c" },
		{ "/?#[]@!$,;:\"<>\\^`{|}",
		  "/%3F%23%5B%5D%40%21%24%2C%3B%3A%22%3C%3E%5C%5E%60%7B%7C%7D" },
	};
	char key[1025], expected[3 * 1025];

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		cleanup_free char *encoded = s3_encode_path(paths[i][0]);

		check_str(encoded, paths[i][1]);
	}
	memset(key, '*', 1000);
	key[1000] = 0;
	expected[0] = 0;
	for (size_t i = 0; i < 1000; i++)
		memcpy(expected + 3 * i, "%2A", 4);
	cleanup_free char *encoded = s3_encode_path(key);

	check_str(encoded, expected);
}

TEST(queries_are_sorted_and_a_slash_in_them_is_encoded)
{
	static const struct s3_pair query[] = { { "uploads", "" },
						{ "prefix", "a/b +c" },
						{ "continuation-token", "x==" } };
	cleanup_free char *encoded = s3_encode_query(query, 3);
	cleanup_free char *none = s3_encode_query(NULL, 0);

	check_str(encoded, "continuation-token=x%3D%3D&prefix=a%2Fb%20%2Bc&uploads=");
	check_str(none, "");
}

/* The one that libcurl sorted wrongly: a name that begins as another one. */
TEST(headers_are_sorted_by_whole_names_and_white_space_is_collapsed)
{
	static const struct s3_pair headers[] = { { "x-amz-meta-a-b", "1" },
						  { "x-amz-meta-a", "  2   3 " },
						  { "host", "h" } };
	static const struct s3_pair same[] = { { "host", "h" },
					       { "x-amz-meta-a", "2 3" },
					       { "x-amz-meta-a-b", "1" } };
	struct s3_signing signing = { .method = "GET",
				      .path = "/",
				      .headers = headers,
				      .header_count = 3,
				      .payload_hash = EMPTY,
				      .region = "r",
				      .access_key = "a",
				      .secret_key = "s" };
	cleanup_free char *first = NULL, *second = NULL;

	check_int(s3_sign(&signing, &first), 0);
	signing.headers = same;
	check_int(s3_sign(&signing, &second), 0);
	check_str(first, second);
	check(strstr(first, "SignedHeaders=host;x-amz-meta-a;x-amz-meta-a-b,") != NULL);
}

TEST(hashes)
{
	char hash[S3_HASH_SIZE], md5[33];

	check_int(s3_payload_hash("", 0, hash), 0);
	check_str(hash, EMPTY);
	check_int(s3_payload_hash("Welcome to Amazon S3.", 21, hash), 0);
	check_str(hash, WELCOME);
	check_int(s3_md5("abc", 3, md5), 0);
	check_str(md5, "900150983cd24fb0d6963f7d28e17f72"); /* RFC 1321 */
}
