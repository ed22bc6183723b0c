/* SPDX-License-Identifier: Apache-2.0 */
#include "util/pack.h"

#include <errno.h>

#include "test.h"
#include "util/cleanup.h"

static char zeros[3000000];

TEST(what_was_packed_comes_back)
{
	static const size_t lengths[] = { 0, 1, 65535, 65536, 65537, sizeof(zeros) };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		cleanup_free void *packed = NULL;
		cleanup_free void *bytes = NULL;
		size_t packed_length, length;

		check_int(zstd_pack(zeros, lengths[i], &packed, &packed_length), 0);
		check_int(zstd_unpack(packed, packed_length, lengths[i], &bytes, &length), 0);
		check_int(length, lengths[i]);
		check(memcmp(bytes, zeros, length) == 0);
	}
}

TEST(more_than_allowed_is_refused)
{
	cleanup_free void *packed = NULL;
	void *bytes;
	size_t packed_length, length;

	check_int(zstd_pack(zeros, sizeof(zeros), &packed, &packed_length), 0);
	check_int(zstd_unpack(packed, packed_length, sizeof(zeros) - 1, &bytes, &length), -EFBIG);
	check_int(zstd_unpack(packed, packed_length, 0, &bytes, &length), -EFBIG);
}

TEST(what_is_cut_or_foreign_is_refused)
{
	cleanup_free char *packed = NULL;
	void *bytes;
	size_t packed_length, length;

	check_int(zstd_pack(zeros, sizeof(zeros), (void **)&packed, &packed_length), 0);
	for (size_t cut = 0; cut < packed_length; cut++)
		check_int(zstd_unpack(packed, cut, sizeof(zeros), &bytes, &length), -EBADMSG);
	check_int(zstd_unpack("hello", 5, 100, &bytes, &length), -EBADMSG);
	packed[0] ^= 1;
	check_int(zstd_unpack(packed, packed_length, sizeof(zeros), &bytes, &length), -EBADMSG);
}
