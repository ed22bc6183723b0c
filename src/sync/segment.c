/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/segment.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "sync/hex.h"
#include "sync/record.h"
#include "util/io.h"
#include "util/json.h"
#include "util/pack.h"
#include "util/text.h"

#define SEAL_START "{\"xxh128\":\""
#define SEAL_OFFSET (sizeof(SEAL_START) - 1)
#define SEAL_DIGITS (DIGEST_HEX_SIZE - 1)

void segment_fini(struct segment *segment)
{
	for (size_t i = 0; i < segment->count; i++)
		sync_record_fini(&segment->records[i]);
	free(segment->records);
	segment->records = NULL;
	segment->count = 0;
}

bool segment_name_ok(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return length >= 1 && length < sizeof(((struct segment *)0)->name);
}

void site_name_from(const char *text, char ret_name[64])
{
	size_t used = 0;

	for (; *text && used < 63; text++) {
		bool ok = isalnum((unsigned char)*text) || strchr("._-", *text);

		ret_name[used++] = ok ? *text : '-';
	}
	if (!used)
		ret_name[used++] = '-';
	ret_name[used] = '\0';
}

static int sha256_of(const void *bytes, size_t length, uint8_t ret_hash[CHAIN_BYTES])
{
	struct chain_piece piece = { bytes, length };

	return chain_hash(&piece, 1, ret_hash);
}

/* Writing ------------------------------------------------------------------------------ */

static int header_write(const struct segment *segment, FILE *out)
{
	char prev[2 * CHAIN_BYTES + 1], seal[SEAL_DIGITS + 1];
	cleanup_json json_t *header = NULL;

	memset(seal, '0', SEAL_DIGITS);
	seal[SEAL_DIGITS] = '\0';
	hex_write(segment->prev, CHAIN_BYTES, prev);
	header = json_pack("{s:s, s:i, s:s, s:s, s:I, s:s, s:I, s:I, s:I}", "xxh128", seal,
			   "format", SEGMENT_FORMAT, "site", segment->site, "name", segment->name,
			   "segment", (json_int_t)segment->segment, "prev", prev, "first",
			   (json_int_t)segment->first, "count", (json_int_t)segment->count,
			   "lamport", (json_int_t)segment->lamport);
	if (!header || json_dumpf(header, out, JSON_COMPACT | JSON_PRESERVE_ORDER) < 0 ||
	    fputc('\n', out) == EOF)
		return -ENOMEM;
	return 0;
}

static int text_write(const struct segment *segment, FILE *out)
{
	int r = header_write(segment, out);

	for (size_t i = 0; r == 0 && i < segment->count; i++) {
		cleanup_free char *line = NULL;

		r = record_write(&segment->records[i], &line);
		if (r == 0 && fprintf(out, "%s\n", line) < 0)
			r = -ENOMEM;
	}
	return r;
}

/* Put the digest of the text, in which its own place is still zeros, into that place. */
static void seal_write(char *text, size_t length)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;

	digest_of(text, length, &digest);
	digest_hex(&digest, hex);
	memcpy(text + SEAL_OFFSET, hex, SEAL_DIGITS);
}

static bool segment_ok(const struct segment *segment)
{
	return uuid_ok(segment->site) && segment_name_ok(segment->name) && segment->segment >= 1 &&
	       segment->segment <= INT64_MAX && segment->first >= 1 &&
	       segment->first <= INT64_MAX - SEGMENT_MAX_RECORDS && segment->lamport >= 1 &&
	       segment->lamport <= SEGMENT_MAX_LAMPORT && segment->count <= SEGMENT_MAX_RECORDS;
}

int segment_pack(const struct segment *segment, void **ret_packed, size_t *ret_length,
		 uint8_t ret_chain[CHAIN_BYTES])
{
	cleanup_free char *text = NULL;
	cleanup_free void *packed = NULL;
	size_t length = 0, packed_length;
	FILE *out;
	int r;

	if (!segment_ok(segment))
		return -EINVAL;
	out = text_open(&text, &length);
	if (!out)
		return -ENOMEM;
	r = text_write(segment, out);
	if (fclose(out) != 0 && r == 0)
		r = -ENOMEM;
	if (r < 0)
		return r;
	if (length > SEGMENT_MAX_TEXT)
		return -EFBIG;
	seal_write(text, length);
	r = zstd_pack(text, length, &packed, &packed_length);
	if (r < 0)
		return r;
	if (packed_length > SEGMENT_MAX_PACKED)
		return -EFBIG;
	r = sha256_of(packed, packed_length, ret_chain);
	if (r < 0)
		return r;
	*ret_packed = take_ptr(packed);
	*ret_length = packed_length;
	return 0;
}

/* Reading ------------------------------------------------------------------------------ */

static bool seal_holds(char *text, size_t length)
{
	char found[SEAL_DIGITS], expected[DIGEST_HEX_SIZE];
	struct digest digest;

	if (length < SEAL_OFFSET + SEAL_DIGITS || memcmp(text, SEAL_START, SEAL_OFFSET) != 0)
		return false;
	memcpy(found, text + SEAL_OFFSET, SEAL_DIGITS);
	memset(text + SEAL_OFFSET, '0', SEAL_DIGITS);
	digest_of(text, length, &digest);
	digest_hex(&digest, expected);
	return memcmp(found, expected, SEAL_DIGITS) == 0;
}

static bool copy_text(const json_t *object, const char *name, char *to, size_t size)
{
	const json_t *value = json_object_get(object, name);
	const char *text = json_string_value(value);

	if (!text || strlen(text) != json_string_length(value) || strlen(text) >= size)
		return false;
	memcpy(to, text, strlen(text) + 1);
	return true;
}

static bool copy_chain(const json_t *object, const char *name, uint8_t to[CHAIN_BYTES])
{
	const char *text = json_string_value(json_object_get(object, name));

	return text && hex_read(text, to, CHAIN_BYTES);
}

static const char *header_read(const char *line, size_t length, struct segment *segment,
			       size_t *ret_count)
{
	cleanup_json json_t *header = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	int64_t count;

	if (!json_is_object(header))
		return "its header is no JSON object";
	if (json_int_or(header, "format", 0) != SEGMENT_FORMAT)
		return "its format is unknown";
	if (!copy_text(header, "site", segment->site, sizeof(segment->site)) ||
	    !copy_text(header, "name", segment->name, sizeof(segment->name)) ||
	    !copy_chain(header, "prev", segment->prev))
		return "its header is not complete";
	/* Below 0 they become huge, which segment_ok() refuses. */
	segment->segment = (uint64_t)json_int_or(header, "segment", 0);
	segment->first = (uint64_t)json_int_or(header, "first", 0);
	segment->lamport = (uint64_t)json_int_or(header, "lamport", 0);
	count = json_int_or(header, "count", -1);
	if (!segment_ok(segment) || count < 0 || count > SEGMENT_MAX_RECORDS)
		return "its header is not allowed";
	segment->records = calloc((size_t)count + 1, sizeof(*segment->records));
	if (!segment->records)
		return "there is no memory for its records";
	*ret_count = (size_t)count;
	return NULL;
}

/* segment->count rises with what was read: segment_fini() frees just that. */
static int read_lines(const char *text, size_t length, struct segment *segment, size_t count,
		      const char **ret_why)
{
	const char *end = text + length;
	int r;

	for (; segment->count < count; segment->count++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));

		if (!newline) {
			*ret_why = "it ends before";
			return -EINVAL;
		}
		r = record_read(text, (size_t)(newline - text), &segment->records[segment->count],
				ret_why);
		if (r < 0)
			return r;
		text = newline + 1;
	}
	if (text != end) {
		*ret_why = "more follows than the header says";
		return -EINVAL;
	}
	return 0;
}

/* @text was sealed. */
static int read_text(const char *text, size_t length, struct segment *segment, char **ret_why)
{
	const char *newline = memchr(text, '\n', length);
	size_t header, count;
	const char *why;
	int r;

	if (!newline) {
		*ret_why = strdup("its header has no end");
		return -EINVAL;
	}
	header = (size_t)(newline - text);
	why = header_read(text, header, segment, &count);
	if (why) {
		*ret_why = strdup(why);
		return -EINVAL;
	}
	r = read_lines(newline + 1, length - header - 1, segment, count, &why);
	if (r < 0 && asprintf(ret_why, "record %zu: %s", segment->count + 1, why) < 0)
		*ret_why = NULL;
	return r;
}

int segment_unpack(const void *packed, size_t length, struct segment *ret_segment,
		   uint8_t ret_chain[CHAIN_BYTES], char **ret_why)
{
	struct segment segment = { 0 };
	cleanup_free void *text = NULL;
	size_t text_length;
	char *why = NULL;
	int r;

	r = zstd_unpack(packed, length, SEGMENT_MAX_TEXT, &text, &text_length);
	if (r == 0 && !seal_holds(text, text_length))
		r = -EBADMSG;
	if (r < 0) {
		*ret_why = strdup(r == -EBADMSG ? "its bytes are damaged"
				  : r == -EFBIG ? "it unpacks to more than is allowed"
						: "it cannot be unpacked");
		return r;
	}
	r = read_text(text, text_length, &segment, &why);
	if (r == 0)
		r = sha256_of(packed, length, ret_chain);
	if (r < 0) {
		segment_fini(&segment);
		*ret_why = why;
		return r;
	}
	*ret_segment = segment;
	return 0;
}

/* Heads -------------------------------------------------------------------------------- */

int head_write(const struct head *head, char **ret_text)
{
	char chain[2 * CHAIN_BYTES + 1];
	cleanup_json json_t *object = NULL;
	char *text;

	hex_write(head->chain, CHAIN_BYTES, chain);
	object = json_pack("{s:i, s:s, s:s, s:I, s:s, s:I, s:s}", "format", SEGMENT_FORMAT, "site",
			   head->site, "name", head->name, "segment", (json_int_t)head->segment,
			   "chain", chain, "time", (json_int_t)head->time_ns, "software",
			   "mediafs " MEDIAFS_VERSION);
	text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

int head_read(const void *text, size_t length, struct head *ret_head)
{
	cleanup_json json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	struct head head = { 0 };
	int64_t segment;

	if (!json_is_object(object) || json_int_or(object, "format", 0) != SEGMENT_FORMAT ||
	    !copy_text(object, "site", head.site, sizeof(head.site)) || !uuid_ok(head.site) ||
	    !copy_text(object, "name", head.name, sizeof(head.name)) ||
	    !segment_name_ok(head.name) || !copy_chain(object, "chain", head.chain))
		return -EINVAL;
	segment = json_int_or(object, "segment", -1);
	if (segment < 0)
		return -EINVAL;
	head.segment = (uint64_t)segment;
	head.time_ns = json_int_or(object, "time", 0);
	*ret_head = head;
	return 0;
}
