/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "sync/segment.h"
#include "util/cleanup.h"
#include "util/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Its place in the text, after {"xxh128":". */
#define SEAL_OFFSET 11u
#define SEAL_DIGITS 32u

/* The text as somebody would seal and pack it who wants to hurt us. */
static int pack(char *text, size_t length, void **ret_packed, size_t *ret_length)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;

	if (length >= SEAL_OFFSET + SEAL_DIGITS) {
		memset(text + SEAL_OFFSET, '0', SEAL_DIGITS);
		digest_of(text, length, &digest);
		digest_hex(&digest, hex);
		memcpy(text + SEAL_OFFSET, hex, SEAL_DIGITS);
	}
	return zstd_pack(text, length, ret_packed, ret_length);
}

/* What is taken can be written again. */
static void unpack(const void *packed, size_t length)
{
	struct segment segment = { 0 };
	uint8_t chain[CHAIN_BYTES];
	cleanup_free char *why = NULL;
	void *again;
	size_t again_length;

	if (segment_unpack(packed, length, &segment, chain, &why) < 0)
		return;
	if (segment_pack(&segment, &again, &again_length, chain) < 0)
		abort();
	free(again);
	segment_fini(&segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	cleanup_free char *text = malloc(length + 1);
	cleanup_free void *packed = NULL;
	size_t packed_length;
	struct head head;

	if (!text)
		return 0;
	memcpy(text, bytes, length);
	unpack(bytes, length);
	if (pack(text, length, &packed, &packed_length) == 0)
		unpack(packed, packed_length);
	(void)head_read(bytes, length, &head);
	return 0;
}
