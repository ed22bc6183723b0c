/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_checksum.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash/crc64.h"
#include "tier/s3.h"
#include "util/cleanup.h"

static const struct s3_sum_name names[S3_SUM_KINDS] = {
	[S3_SUM_CRC64] = { "CRC64NVME", "FULL_OBJECT", "x-amz-checksum-crc64nvme",
			   "ChecksumCRC64NVME" },
	[S3_SUM_SHA256] = { "SHA256", "COMPOSITE", "x-amz-checksum-sha256", "ChecksumSHA256" },
};

static const int lengths[S3_SUM_KINDS] = { [S3_SUM_CRC64] = 8, [S3_SUM_SHA256] = 32 };

const struct s3_sum_name *s3_sum_name(enum s3_sum_kind kind)
{
	return &names[kind];
}

static void take_crc(uint64_t crc, struct s3_sum *ret_sum)
{
	crc = htobe64(crc);
	memcpy(ret_sum->bytes, &crc, sizeof(crc));
}

static uint64_t crc_of(const struct s3_sum *sum)
{
	uint64_t crc;

	memcpy(&crc, sum->bytes, sizeof(crc));
	return be64toh(crc);
}

void s3_sum_of(enum s3_sum_kind kind, const void *bytes, size_t length,
	       const char hex[S3_HASH_SIZE], struct s3_sum *ret_sum)
{
	if (kind == S3_SUM_CRC64)
		take_crc(crc64_nvme(0, bytes, length), ret_sum);
	for (unsigned i = 0; kind == S3_SUM_SHA256 && i < S3_SUM_BYTES; i++)
		(void)sscanf(hex + 2 * i, "%2hhx", &ret_sum->bytes[i]); /* it is hex: we made it */
}

void s3_sum_text(enum s3_sum_kind kind, const struct s3_sum *sum, char ret_text[S3_SUM_TEXT])
{
	ret_text[0] = 0;
	(void)EVP_EncodeBlock((uint8_t *)ret_text, sum->bytes, lengths[kind]);
}

int s3_sum_parse(enum s3_sum_kind kind, const char *text, struct s3_sum *ret_sum)
{
	uint8_t bytes[S3_SUM_TEXT];
	char again[S3_SUM_TEXT];
	struct s3_sum sum;
	size_t length = strlen(text);

	/* EVP_DecodeBlock() counts the padding: what comes out must be written in the same way. */
	if (kind == S3_SUM_NONE || length != (size_t)(lengths[kind] + 2) / 3 * 4 ||
	    EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)length) < lengths[kind])
		return -EINVAL;
	memcpy(sum.bytes, bytes, (size_t)lengths[kind]);
	s3_sum_text(kind, &sum, again);
	if (strcmp(again, text) != 0)
		return -EINVAL;
	memcpy(ret_sum->bytes, bytes, (size_t)lengths[kind]);
	return 0;
}

void s3_sum_crc_text(uint64_t crc, char ret_text[S3_SUM_TEXT])
{
	struct s3_sum sum;

	take_crc(crc, &sum);
	s3_sum_text(S3_SUM_CRC64, &sum, ret_text);
}

static int sha256_of_parts(const struct s3_sum *sums, unsigned count, char ret_text[S3_SUM_TEXT])
{
	struct s3_sum sum;

	/* Without gaps: struct s3_sum is bytes. */
	if (EVP_Digest(sums, (size_t)count * S3_SUM_BYTES, sum.bytes, NULL, EVP_sha256(), NULL) !=
	    1)
		return -EIO;
	s3_sum_text(S3_SUM_SHA256, &sum, ret_text);
	(void)snprintf(ret_text + strlen(ret_text), S3_SUM_TEXT - strlen(ret_text), "-%u", count);
	return 0;
}

int s3_sum_whole(enum s3_sum_kind kind, const struct s3_sum *sums, unsigned count,
		 uint64_t part_bytes, uint64_t size, char ret_text[S3_SUM_TEXT])
{
	uint64_t crc = 0;

	ret_text[0] = 0;
	if (kind == S3_SUM_SHA256)
		return sha256_of_parts(sums, count, ret_text);
	if (kind == S3_SUM_NONE)
		return 0;
	for (unsigned i = 0; i < count; i++)
		crc = crc64_nvme_join(crc, crc_of(&sums[i]),
				      i + 1 < count ? part_bytes : size - i * part_bytes);
	s3_sum_crc_text(crc, ret_text);
	return 0;
}

/* What a server has --------------------------------------------------------------------------- */

void s3_add_sum(struct s3_request *request, enum s3_sum_kind kind, const char *text)
{
	if (kind == S3_SUM_NONE)
		return;
	/* Ceph looks at the value only when this says so. */
	s3_add_header(request, "x-amz-sdk-checksum-algorithm", names[kind].name);
	s3_add_header(request, names[kind].header, text);
}

/* PUT of the probe with the checksum of @text: 1 it is taken, 0 refused, -EHOSTDOWN it did not say.
 */
static int put_probe(struct s3_tier *s3, enum s3_sum_kind kind, const char *text)
{
	struct s3_request request = s3_probe_put();
	char hex[S3_HASH_SIZE], value[S3_SUM_TEXT];
	struct s3_reply reply;
	struct s3_sum sum;
	long status;
	int r = s3_payload_hash(text, strlen(text), hex);

	if (r < 0)
		return r;
	s3_sum_of(kind, text, strlen(text), hex, &sum);
	s3_sum_text(kind, &sum, value);
	s3_add_sum(&request, kind, value);
	request.tries = 1; /* a wrong one is not to be sent again */
	request.is_trial = true;
	(void)s3_call(s3, &request, &reply);
	status = reply.status;
	s3_reply_fini(&reply);
	if (status / 100 == 2)
		return 1;
	return status == 400 || status == 501 ? 0 : -EHOSTDOWN;
}

/* 1 it compares, keeps and shows it; 0 no; -EHOSTDOWN it did not say. */
static int try_kind(struct s3_tier *s3, enum s3_sum_kind kind)
{
	struct s3_request head = { .method = "HEAD", .key = S3_PROBE_KEY, .is_trial = true };
	struct s3_reply reply;
	bool is_shown;
	int r = put_probe(s3, kind, S3_PROBE_TEXT);

	if (r <= 0)
		return r;
	s3_add_header(&head, "x-amz-checksum-mode", "ENABLED");
	r = s3_call(s3, &head, &reply);
	is_shown = reply.sums[kind][0];
	s3_reply_fini(&reply);
	if (r < 0)
		return -EHOSTDOWN;
	if (!is_shown)
		return 0;
	r = put_probe(s3, kind, "other");
	return r < 0 ? r : !r;
}

int s3_sum_find(struct s3_tier *s3, enum s3_sum_kind *ret_kind)
{
	for (enum s3_sum_kind kind = S3_SUM_CRC64; kind < S3_SUM_KINDS; kind++) {
		int r = try_kind(s3, kind);

		if (r < 0)
			return r;
		*ret_kind = r ? kind : S3_SUM_NONE;
		if (r)
			break;
	}
	return 0;
}

enum s3_sum_kind s3_sum_kind(struct s3_tier *s3, enum s3_sum_use use)
{
	enum s3_sum_kind kind = S3_SUM_NONE;
	int r;

	/* Nothing is written where nobody has said that the place is ours. */
	if (!atomic_load(&s3->tier.expected))
		return S3_SUM_NONE;
	mutex_lock(&s3->lock);
	while (s3->sums == S3_SUMS_ASKED && !atomic_load(&s3->stopping))
		cond_wait(&s3->changed, &s3->lock);
	if (s3->sums != S3_SUMS_UNKNOWN) {
		kind = use == S3_SUM_OF_PARTS ? s3->parts_sum : s3->whole_sum;
		mutex_unlock(&s3->lock);
		return kind;
	}
	s3->sums = S3_SUMS_ASKED;
	mutex_unlock(&s3->lock);
	r = s3_sum_find(s3, &kind);
	scoped_lock(&s3->lock);
	s3->sums = r < 0 ? S3_SUMS_UNKNOWN : S3_SUMS_KNOWN;
	s3->whole_sum = s3->parts_sum = kind;
	cond_broadcast(&s3->changed);
	return kind;
}

void s3_sum_not_of_parts(struct s3_tier *s3)
{
	scoped_lock(&s3->lock);
	s3->parts_sum = S3_SUM_NONE;
}
