/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/digest.h"

#include <errno.h>
#include <stdlib.h>

#include "hash/xxh.h"
#include "test.h"
#include "util/cleanup.h"

/* Values: `xxhsum -H2` (XXH3-128) and `xxhsum -H3` (XXH3-64) 0.8.1 over the same bytes. */
static const struct {
	const char *text;
	const char *xxh128;
	uint64_t xxh3;
} vectors[] = {
	{ "", "99aa06d3014798d86001c324468d497f", 0x2d06800538d394c2 },
	{ "abc", "06b05ab6733a618578af5f94892f3950", 0x78af5f94892f3950 },
	{ "mediafs", "e26c13956cd385df31441d146c4a253d", 0xa8930b0149ff49e6 },
};

TEST(digests_are_those_that_xxhsum_prints)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct digest digest, parsed;
		char hex[DIGEST_HEX_SIZE];

		digest_of(vectors[i].text, strlen(vectors[i].text), &digest);
		digest_hex(&digest, hex);
		check_str(hex, vectors[i].xxh128);
		check_int(digest_parse(hex, &parsed), 0);
		check(digest_equal(&digest, &parsed));
		check(block_hash(vectors[i].text, strlen(vectors[i].text)) == vectors[i].xxh3);
	}
}

TEST(a_stream_cut_anywhere_gives_the_same_digest)
{
	static uint8_t bytes[5000];
	struct digest_state *state = digest_new();
	struct digest whole, streamed;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 >> 2);
	digest_of(bytes, sizeof(bytes), &whole);
	for (size_t cut = 0; cut <= sizeof(bytes); cut += 7) {
		digest_reset(state);
		digest_update(state, bytes, cut);
		digest_update(state, bytes + cut, sizeof(bytes) - cut);
		digest_final(state, &streamed);
		check(digest_equal(&whole, &streamed));
	}
	digest_update(state, "x", 1);
	digest_final(state, &streamed);
	check(!digest_equal(&whole, &streamed));
	digest_free(state);
	digest_free(NULL);
}

/* Every length has its own path in XXH3 up to 240 bytes; then stripes and blocks of 1 KiB. */
TEST(this_machines_fastest_code_computes_the_same)
{
	const struct xxh *plain = xxh_plain(), *best = xxh_best();
	static uint8_t bytes[70000];
	XXH3_state_t a, b;

	XXH3_INITSTATE(&a);
	XXH3_INITSTATE(&b);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	for (size_t length = 0; length < sizeof(bytes); length += length < 3000 ? 1 : 997) {
		const uint8_t *at = bytes + (length < 3000 ? length % 64 : 0);
		struct xxh128 one = plain->hash128(at, length), two = best->hash128(at, length);

		check(one.low == two.low && one.high == two.high);
		check(plain->hash64(at, length) == best->hash64(at, length));
		plain->reset64(&a);
		best->reset64(&b);
		plain->update64(&a, at, length);
		best->update64(&b, at, length / 3);
		best->update64(&b, at + length / 3, length - length / 3);
		check(plain->final64(&a) == best->final64(&b));
		check(best->final64(&b) == plain->hash64(at, length));
	}
}

TEST(only_32_hex_digits_are_a_digest)
{
	static const char *const bad[] = { "", "99aa06d3014798d86001c324468d497",
					   "99aa06d3014798d86001c324468d497f0",
					   "99aa06d3014798d86001c324468d497g",
					   " 9aa06d3014798d86001c324468d497f" };
	struct digest lower, upper;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_int(digest_parse(bad[i], &lower), -EINVAL);
	check_int(digest_parse("99aa06d3014798d86001c324468d497f", &lower), 0);
	check_int(digest_parse("99AA06D3014798D86001C324468D497F", &upper), 0);
	check(digest_equal(&lower, &upper));
}

TEST(the_chain_hash_is_sha_256_of_the_pieces_joined)
{
	/* FIPS 180-2, appendix B.1: SHA-256("abc"). */
	static const uint8_t of_abc[CHAIN_BYTES] = {
		0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
		0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
		0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
	};
	struct chain_piece pieces[] = { { "a", 1 }, { NULL, 0 }, { "bc", 2 } };
	uint8_t hash[CHAIN_BYTES];

	check_int(chain_hash(pieces, ARRAY_SIZE(pieces), hash), 0);
	check(memcmp(hash, of_abc, sizeof(hash)) == 0);
	check_int(chain_hash(pieces, 2, hash), 0);
	check(memcmp(hash, of_abc, sizeof(hash)) != 0);
}
