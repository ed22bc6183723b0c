/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "sync/bundle.h"
#include "sync/record.h"
#include "sync/segment.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/pack.h"

#define SITE_A "11111111-1111-4111-8111-111111111111"
#define SITE_B "22222222-2222-4222-8222-222222222222"

static void digest_for(const char *text, struct digest *ret_digest)
{
	digest_of(text, strlen(text), ret_digest);
}

static struct sync_record file_record(const char *path, uint64_t size, const char *key)
{
	struct sync_record record = { .verb = RECORD_PUT, .path = strdup(path) };
	struct version_body *body = &record.body;

	body->kind = VERSION_FILE;
	body->mode = 0640;
	body->mtime_ns = 1764353911123456789;
	body->size = size;
	digest_for(path, &body->digest);
	check_int(blockmap_init(&body->map, size), 0);
	for (uint64_t i = 0; i < blockmap_count(size); i++)
		body->map.hash[i] = 0x0123456789abcdef + i;
	if (key) {
		strcpy(body->tier, SITE_B);
		body->key = strdup(key);
	}
	record.base = calloc(2, sizeof(*record.base));
	strcpy(record.base[0].site, SITE_A);
	record.base[0].seq = 7;
	strcpy(record.base[1].site, SITE_B);
	record.base[1].seq = UINT32_MAX + 1ull;
	record.base_count = 2;
	return record;
}

static bool same_record(const struct sync_record *a, const struct sync_record *b)
{
	if (a->verb != b->verb || strcmp(a->path, b->path) != 0 || a->base_count != b->base_count)
		return false;
	for (size_t i = 0; i < a->base_count; i++)
		if (strcmp(a->base[i].site, b->base[i].site) != 0 ||
		    a->base[i].seq != b->base[i].seq)
			return false;
	if (a->verb == RECORD_DEL)
		return true;
	return a->body.kind == b->body.kind && a->body.mode == b->body.mode &&
	       a->body.mtime_ns == b->body.mtime_ns && a->body.size == b->body.size &&
	       digest_equal(&a->body.digest, &b->body.digest) &&
	       blockmap_equal(&a->body.map, &b->body.map) &&
	       strcmp(a->body.tier, b->body.tier) == 0 &&
	       strcmp(a->body.key ? a->body.key : "", b->body.key ? b->body.key : "") == 0 &&
	       strcmp(a->body.target ? a->body.target : "", b->body.target ? b->body.target : "") ==
		       0;
}

static int round_trip(const struct sync_record *record)
{
	struct sync_record again = { 0 };
	cleanup_free char *line = NULL;
	const char *why = NULL;
	int r;

	r = record_write(record, &line);
	if (r < 0)
		return r;
	check_int(record_read(line, strlen(line), &again, &why), 0);
	check(same_record(record, &again));
	sync_record_fini(&again);
	return 0;
}

TEST(record_comes_back_as_it_was)
{
	static const uint64_t sizes[] = { 0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 40ull << 30 };
	static const char *const paths[] = { "a", "DAY1/A001/A001C001.mov", "b\xff\x01%\n/%:x",
					     "%:literal", "Umlaut \xc3\xa4" };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t j = 0; j < ARRAY_SIZE(paths); j++) {
			struct sync_record record =
				file_record(paths[j], sizes[i], j % 2 ? "k/e y" : NULL);

			check_int(round_trip(&record), 0);
			sync_record_fini(&record);
		}
}

TEST(record_of_folder_link_and_del_comes_back)
{
	struct sync_record dir = {
		.verb = RECORD_PUT,
		.path = strdup("d/e"),
		.body = { .kind = VERSION_DIR, .mode = 02775 | VERSION_SEALED, .mtime_ns = -5 }
	};
	struct sync_record link = {
		.verb = RECORD_PUT,
		.path = strdup("l"),
		.body = { .kind = VERSION_LINK, .mode = 0777, .target = strdup("../\xfe x") }
	};
	struct sync_record del = { .verb = RECORD_DEL, .path = strdup("gone") };

	check_int(round_trip(&dir), 0);
	check_int(round_trip(&link), 0);
	check_int(round_trip(&del), 0);
	sync_record_fini(&dir);
	sync_record_fini(&link);
	sync_record_fini(&del);
}

TEST(record_with_set_id_bits_is_not_written)
{
	struct sync_record record = file_record("x", 1, NULL);
	cleanup_free char *line = NULL;

	record.body.mode = 04755;
	check_int(record_write(&record, &line), -EINVAL);
	sync_record_fini(&record);
}

#define FILE_START                                                                                 \
	"{\"verb\":\"put\",\"base\":[],\"kind\":\"file\",\"mode\":420,\"mtime\":0,"                \
	"\"digest\":\"00000000000000000000000000000000\","

TEST(hostile_records_are_refused)
{
	static const char *const lines[] = {
		"",
		"[]",
		"null",
		"{}",
		"{\"verb\":\"del\",\"path\":\"x\"}",
		"{\"verb\":\"del\",\"path\":\"../x\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"/x\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"a//x\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"a/./x\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"a\\u0000b\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"%:a%00b\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"%:..%2fx\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"d/.mediafs-place-1\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\".mediafs/v1/x\",\"base\":[]}",
		"{\"verb\":\"del\",\"path\":\"x\",\"base\":[],\"path\":\"y\"}",
		"{\"verb\":\"del\",\"path\":\"x\",\"base\":[[\"nobody\",1]]}",
		"{\"verb\":\"del\",\"path\":\"x\",\"base\":[[\"" SITE_A "\",0]]}",
		"{\"verb\":\"del\",\"path\":\"x\",\"base\":[[\"" SITE_A "\",-1]]}",
		"{\"verb\":\"del\",\"path\":\"x\",\"base\":[[\"" SITE_A "\",1,2]]}",
		"{\"verb\":\"frob\",\"path\":\"x\",\"base\":[]}",
		FILE_START "\"path\":\"x\",\"size\":-1,\"map\":\"\"}",
		FILE_START "\"path\":\"x\",\"size\":1,\"map\":\"\"}",
		FILE_START "\"path\":\"x\",\"size\":0,\"map\":\"0000000000000000\"}",
		FILE_START "\"path\":\"x\",\"size\":1,\"map\":\"000000000000000g\"}",
		FILE_START "\"path\":\"x\",\"size\":1,\"map\":\"000000000000000\"}",
		FILE_START "\"path\":\"x\",\"size\":9223372036854775807,\"map\":\"\"}",
		FILE_START "\"path\":\"x\",\"size\":1e3,\"map\":\"0000000000000000\"}",
		FILE_START "\"path\":\"x\",\"size\":0,\"map\":\"\",\"key\":\"k\"}",
		FILE_START "\"path\":\"x\",\"size\":0,\"map\":\"\",\"tier\":\"" SITE_A "\"}",
		FILE_START "\"path\":\"x\",\"size\":0,\"map\":\"\",\"tier\":\"" SITE_A
			   "\",\"key\":\"../k\"}",
		FILE_START "\"path\":\"x\",\"size\":0,\"map\":\"\",\"tier\":\"" SITE_A
			   "\",\"key\":\".mediafs/v1/tier.json\"}",
		FILE_START "\"path\":\"x\",\"size\":0,\"map\":\"\",\"tier\":\"x\",\"key\":\"k\"}",
		"{\"verb\":\"put\",\"base\":[],\"kind\":\"file\",\"mode\":2541,\"mtime\":0,"
		"\"digest\":\"00000000000000000000000000000000\",\"path\":\"x\",\"size\":0,"
		"\"map\":\"\"}",
		"{\"verb\":\"put\",\"base\":[],\"path\":\"x\",\"kind\":\"fifo\",\"mode\":0,"
		"\"mtime\":0}",
		"{\"verb\":\"put\",\"base\":[],\"path\":\"x\",\"kind\":\"link\",\"mode\":511,"
		"\"mtime\":0}",
		"{\"verb\":\"put\",\"base\":[],\"path\":\"x\",\"kind\":\"link\",\"mode\":511,"
		"\"mtime\":0,\"target\":\"\"}",
		"{\"verb\":\"put\",\"base\":[],\"path\":\"x\",\"kind\":\"dir\",\"mode\":493,"
		"\"mtime\":9223372036854775807}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct sync_record record;
		const char *why = NULL;
		int r = record_read(lines[i], strlen(lines[i]), &record, &why);

		if (r != -EINVAL || !why)
			test_fail(__FILE__, __LINE__, "%s gives %d", lines[i], r);
	}
}

TEST(a_harmless_record_of_that_form_is_accepted)
{
	static const char line[] =
		FILE_START "\"path\":\"x\",\"size\":1,\"map\":\"00000000000000ff\",\"new\":[1]}";
	struct sync_record record;
	const char *why = NULL;

	check_int(record_read(line, strlen(line), &record, &why), 0);
	check_int(record.body.map.hash[0], 0xff);
	check(version_is_announced(&record.body));
	sync_record_fini(&record);
}

/* Segments --------------------------------------------------------------------------------- */

static struct segment small_segment(void)
{
	struct segment segment = { .site = SITE_A,
				   .name = "cart-a",
				   .segment = 3,
				   .first = 40,
				   .lamport = 9,
				   .count = 3 };

	memset(segment.prev, 0xab, sizeof(segment.prev));
	segment.records = calloc(3, sizeof(*segment.records));
	segment.records[0] = file_record("DAY1/clip.mov", 9u << 20, "DAY1/clip.mov");
	segment.records[1] = (struct sync_record){ .verb = RECORD_DEL, .path = strdup("old") };
	segment.records[2] = file_record("DAY1/b.wav", 0, NULL);
	return segment;
}

static bool same_segment(const struct segment *a, const struct segment *b)
{
	if (strcmp(a->site, b->site) != 0 || strcmp(a->name, b->name) != 0 ||
	    a->segment != b->segment || a->first != b->first || a->lamport != b->lamport ||
	    a->count != b->count || memcmp(a->prev, b->prev, sizeof(a->prev)) != 0)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!same_record(&a->records[i], &b->records[i]))
			return false;
	return true;
}

TEST(segment_comes_back_with_the_chain_it_was_given)
{
	struct segment segment = small_segment(), again;
	uint8_t chain[CHAIN_BYTES], chain_again[CHAIN_BYTES];
	cleanup_free void *packed = NULL;
	cleanup_free char *why = NULL;
	size_t length;

	check_int(segment_pack(&segment, &packed, &length, chain), 0);
	check_int(segment_unpack(packed, length, &again, chain_again, &why), 0);
	check(same_segment(&segment, &again));
	check(memcmp(chain, chain_again, sizeof(chain)) == 0);
	segment_fini(&segment);
	segment_fini(&again);
}

TEST(segment_without_records_is_possible)
{
	struct segment segment = {
		.site = SITE_A, .name = "a", .segment = 1, .first = 1, .lamport = 1
	};
	struct segment again;
	uint8_t chain[CHAIN_BYTES];
	cleanup_free void *packed = NULL;
	cleanup_free char *why = NULL;
	size_t length;

	check_int(segment_pack(&segment, &packed, &length, chain), 0);
	check_int(segment_unpack(packed, length, &again, chain, &why), 0);
	check_int(again.count, 0);
	segment_fini(&again);
}

/* Whatever happens to the packed bytes: refused, or the very same records. */
static void check_damaged(const void *bytes, size_t length, const struct segment *segment,
			  unsigned *refused)
{
	uint8_t chain[CHAIN_BYTES];
	struct segment again;
	cleanup_free char *why = NULL;

	if (segment_unpack(bytes, length, &again, chain, &why) < 0) {
		check(why);
		*refused += 1;
		return;
	}
	check(same_segment(segment, &again));
	segment_fini(&again);
}

TEST(segment_with_any_bit_flipped_is_refused_or_the_same)
{
	struct segment segment = small_segment();
	uint8_t chain[CHAIN_BYTES];
	cleanup_free void *packed = NULL;
	unsigned refused = 0;
	uint8_t *bytes;
	size_t length;

	check_int(segment_pack(&segment, &packed, &length, chain), 0);
	bytes = packed;
	for (size_t i = 0; i < length * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		check_damaged(bytes, length, &segment, &refused);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	check(refused > length * 7);
	segment_fini(&segment);
}

TEST(segment_cut_anywhere_is_refused)
{
	struct segment segment = small_segment();
	uint8_t chain[CHAIN_BYTES];
	cleanup_free void *packed = NULL;
	unsigned refused = 0;
	size_t length;

	check_int(segment_pack(&segment, &packed, &length, chain), 0);
	for (size_t i = 0; i < length; i++) {
		cleanup_free void *cut = malloc(i + 1); /* of its own: so that ASan sees */

		memcpy(cut, packed, i);
		check_damaged(cut, i, &segment, &refused);
	}
	check_int(refused, length);
	segment_fini(&segment);
}

/* A person (or program) that knows the format and seals what it likes. */
static int unpack_text(const char *start, const char *rest)
{
	static const char seal[] = "{\"xxh128\":\"00000000000000000000000000000000\",";
	cleanup_free char *text = NULL, *why = NULL;
	cleanup_free void *packed = NULL;
	char hex[DIGEST_HEX_SIZE];
	uint8_t chain[CHAIN_BYTES];
	struct segment segment;
	struct digest digest;
	size_t length;
	int r;

	check(asprintf(&text, "%s%s%s", seal, start, rest) > 0);
	digest_of(text, strlen(text), &digest);
	digest_hex(&digest, hex);
	memcpy(text + strlen("{\"xxh128\":\""), hex, DIGEST_HEX_SIZE - 1);
	check_int(zstd_pack(text, strlen(text), &packed, &length), 0);
	r = segment_unpack(packed, length, &segment, chain, &why);
	if (r == 0)
		segment_fini(&segment);
	else
		check(why);
	return r;
}

#define ZEROS32 "00000000000000000000000000000000"
#define HEADER(format, site, name, segment, prev, first, count, lamport)                           \
	"\"format\":" format ",\"site\":\"" site "\",\"name\":\"" name "\",\"segment\":" segment   \
	",\"prev\":\"" prev "\",\"first\":" first ",\"count\":" count ",\"lamport\":" lamport      \
	"}\n"
#define PREV ZEROS32 ZEROS32
#define DEL "{\"verb\":\"del\",\"path\":\"x\",\"base\":[]}\n"

TEST(segment_with_a_hostile_header_is_refused)
{
	static const struct {
		const char *header, *rest;
		int result;
	} cases[] = {
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "1", "1"), DEL, 0 },
		{ HEADER("2", SITE_A, "a", "1", PREV, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", "x", "a", "1", PREV, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a/b", "1", PREV, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "", "1", PREV, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a\\u001b[2J", "1", PREV, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "0", PREV, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "-1", PREV, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", ZEROS32, "1", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "0", "1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "9223372036854775807", "1", "1"), DEL,
		  -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "2", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "0", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "-1", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "4000000000", "1"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "1", "0"), DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "1", "9223372036854775807"), DEL,
		  -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "1", "1"), DEL DEL, -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "1", "1"), "", -EINVAL },
		{ HEADER("1", SITE_A, "a", "1", PREV, "1", "1", "1"), DEL "\n", -EINVAL },
		{ "\"format\":1}", "", -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = unpack_text(cases[i].header, cases[i].rest);

		if (r != cases[i].result)
			test_fail(__FILE__, __LINE__, "case %zu gives %d", i, r);
	}
}

TEST(segment_that_unpacks_to_too_much_is_refused)
{
	size_t size = SEGMENT_MAX_TEXT + 1, length;
	cleanup_free char *zeros = calloc(1, size);
	cleanup_free void *packed = NULL;
	uint8_t chain[CHAIN_BYTES];
	cleanup_free char *why = NULL;
	struct segment segment;

	check(zeros);
	check_int(zstd_pack(zeros, size, &packed, &length), 0);
	check_int(segment_unpack(packed, length, &segment, chain, &why), -EFBIG);
}

/* Heads ------------------------------------------------------------------------------------ */

TEST(head_comes_back_as_it_was)
{
	struct head head = { .site = SITE_A, .name = "cart-a", .segment = 12, .time_ns = 99 };
	struct head again;
	cleanup_free char *text = NULL;

	memset(head.chain, 0x5c, sizeof(head.chain));
	check_int(head_write(&head, &text), 0);
	check_int(head_read(text, strlen(text), &again), 0);
	check_str(again.site, SITE_A);
	check_str(again.name, "cart-a");
	check_int(again.segment, 12);
	check_int(again.time_ns, 99);
	check(memcmp(again.chain, head.chain, sizeof(head.chain)) == 0);
}

TEST(head_that_is_cut_or_hostile_is_refused)
{
	struct head head = { .site = SITE_A, .name = "cart-a", .segment = 12 }, again;
	cleanup_free char *text = NULL;

	check_int(head_write(&head, &text), 0);
	for (size_t i = 0; i < strlen(text); i++)
		check_int(head_read(text, i, &again), -EINVAL);
	check_int(head_read("{}", 2, &again), -EINVAL);
	check_int(head_read("[1]", 3, &again), -EINVAL);
}

TEST(any_text_becomes_a_site_name)
{
	char name[64], text[200];

	site_name_from("Wagen 1/\xc3\xa4", name);
	check_str(name, "Wagen-1---");
	site_name_from("", name);
	check_str(name, "-");
	memset(text, 'x', sizeof(text));
	text[199] = '\0';
	site_name_from(text, name);
	check_int(strlen(name), 63);
	check(segment_name_ok(name));
	check(!segment_name_ok(text));
}

TEST(a_bundle_gives_back_what_was_put_into_it)
{
	struct bundle_part parts[BUNDLE_SEGMENTS], found[BUNDLE_SEGMENTS];
	static uint8_t bytes[BUNDLE_MAX_BYTES];
	uint8_t *packed, *copy;
	void *made;
	size_t length;

	check_int(bundle_of(1), 1);
	check_int(bundle_of(BUNDLE_SEGMENTS), 1);
	check_int(bundle_of(BUNDLE_SEGMENTS + 1), 2);
	check_int(bundle_first(2), BUNDLE_SEGMENTS + 1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < BUNDLE_SEGMENTS; i++)
		parts[i] = (struct bundle_part){ bytes + i, i + 1 };
	check_int(bundle_pack(parts, &made, &length), 0);
	packed = made;
	check(bundle_unpack(packed, length, found));
	for (size_t i = 0; i < BUNDLE_SEGMENTS; i++) {
		check_int(found[i].length, i + 1);
		check_int(memcmp(found[i].bytes, bytes + i, i + 1), 0);
	}
	/* Exact copies, so that a byte read beyond the end is seen. */
	for (size_t less = 1; less <= length; less = less * 2 + 1) {
		copy = malloc(length - less + 1);
		memcpy(copy, packed, length - less);
		check(!bundle_unpack(copy, length - less, found));
		free(copy);
	}
	packed[4] = 0xff; /* the first one's length */
	check(!bundle_unpack(packed, length, found));
	free(made);
	parts[9].length = sizeof(bytes);
	parts[9].bytes = bytes;
	check_int(bundle_pack(parts, &made, &length), -EFBIG);
}
