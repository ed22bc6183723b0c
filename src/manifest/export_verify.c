/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/xml.h"
#include "util/cleanup.h"
#include "util/text.h"

/*
 * The archive is read once, past libarchive's eyes: it is handed blocks, and each block is
 * digested when the one after the next is wanted. Until then it is known whether the index
 * begins in it, where that digest ends.
 */
struct block {
	char *bytes; /* owned */
	uint64_t start;
	size_t length;
};

struct stream {
	int fd;
	struct block blocks[2]; /* the older one is digested when its place is needed */
	unsigned newest;
	uint64_t total;              /* bytes read */
	struct digest_state *digest; /* owned: of what lies before index_start */
	uint64_t index_start;        /* UINT64_MAX: not come yet */
	uint64_t index_end;
	bool late;    /* the index was found behind what is digested: cannot be */
	bool unclean; /* something else than zeros behind the index */
};

struct check {
	struct stream stream;
	struct unpacker *unpacker; /* owned */
	struct verdict *verdict;   /* borrowed */
	export_tick tick;
	void *arg;
	struct export_progress progress;
	struct digest_state *digest; /* owned */
	struct list list;            /* the packing list, its records by path */
	bool *seen;                  /* owned: of its records */
	char *index;                 /* owned: what the index must be called */
	char *last;                  /* owned: the member before */
	FILE *rows;                  /* owned: what the index must say of what was read */
	char *row_bytes;
	size_t row_length;
	bool index_seen;
};

/* The stream ---------------------------------------------------------------------------- */

static bool is_zero(const char *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static void settle(struct stream *stream, struct block *block)
{
	uint64_t start = block->start, end = start + block->length;
	uint64_t stop = end < stream->index_start ? end : stream->index_start;

	if (stop > start)
		digest_update(stream->digest, block->bytes, (size_t)(stop - start));
	if (start < stream->index_end)
		start = stream->index_end;
	if (stream->index_start != UINT64_MAX && start < end &&
	    !is_zero(block->bytes + (start - block->start), (size_t)(end - start)))
		stream->unclean = true;
	block->length = 0;
}

static ssize_t get(void *arg, const void **ret_bytes)
{
	struct stream *stream = arg;
	struct block *block = &stream->blocks[!stream->newest];
	ssize_t n;

	settle(stream, block);
	block->start = stream->total;
	do {
		n = read(stream->fd, block->bytes, ARCHIVE_RECORD_BYTES);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	block->length = (size_t)n;
	stream->newest = !stream->newest;
	stream->total += (uint64_t)n;
	*ret_bytes = block->bytes;
	return n;
}

static void found_index(struct stream *stream, uint64_t start, uint64_t size)
{
	const struct block *older = &stream->blocks[!stream->newest];
	const struct block *oldest = older->length ? older : &stream->blocks[stream->newest];

	stream->late = oldest->start > start;
	stream->index_start = start;
	stream->index_end = start + size;
}

/* All that is left of it. */
static int drain(struct stream *stream)
{
	const void *bytes;
	ssize_t n;

	do {
		n = get(stream, &bytes);
	} while (n > 0);
	settle(stream, &stream->blocks[!stream->newest]);
	settle(stream, &stream->blocks[stream->newest]);
	return (int)n;
}

/* Findings ------------------------------------------------------------------------------ */

static int damaged(struct check *check, const char *path, const char *detail)
{
	return verdict_add(check->verdict, FINDING_DAMAGED, path, "%s", detail);
}

/* Where there is no member to name. */
static int damaged_after(struct check *check, const char *detail)
{
	return verdict_add(check->verdict, FINDING_DAMAGED, check->last ? check->last : "-",
			   "after it: %s", detail);
}

static int no_export(struct check *check, const char *detail)
{
	check->verdict->class = CLASS_UNREADABLE;
	return asprintf(&check->verdict->why,
			"it is no export of mediafs, or its beginning is damaged: %s", detail) < 0
		       ? -ENOMEM
		       : 0;
}

/* Members ------------------------------------------------------------------------------- */

/* Digests the member; with @ret_bytes keeps at most @max_bytes of it too. -EBADMSG: why. */
static int read_member(struct check *check, size_t max_bytes, char **ret_bytes, size_t *ret_length,
		       struct digest *ret_digest)
{
	cleanup_free char *bytes = NULL;
	uint64_t length = 0, offset;
	const void *part;
	size_t size;
	int r;

	digest_reset(check->digest);
	while ((r = unpacker_bytes(check->unpacker, &part, &size, &offset)) > 0) {
		if (offset != length)
			return -EBADMSG; /* we write no gaps */
		digest_update(check->digest, part, size);
		length += size;
		check->progress.bytes += size;
		if (ret_bytes) {
			char *grown =
				length > max_bytes ? NULL : realloc(bytes, (size_t)length + 1);

			if (!grown)
				return length > max_bytes ? -EFBIG : -ENOMEM;
			bytes = grown;
			memcpy(bytes + offset, part, size);
			bytes[length] = '\0';
		}
		if (check->tick && check->tick(check->arg, &check->progress))
			return -ECANCELED;
	}
	digest_final(check->digest, ret_digest);
	if (ret_bytes) {
		*ret_bytes = take_ptr(bytes);
		*ret_length = (size_t)length;
	}
	return r;
}

/* What the index has to say of it, and who came last. */
static int note(struct check *check, const struct member *member, uint64_t offset)
{
	int r = export_put_row(check->rows, member, offset);

	free(check->last);
	check->last = strdup(member->path);
	return r < 0 ? r : fputc('\n', check->rows) == EOF || !check->last ? -ENOMEM : 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct list_record *)a)->path, ((const struct list_record *)b)->path);
}

static int check_listed(struct check *check, const struct member *member)
{
	const struct list_record key = { .path = (char *)member->path }, *record;
	const struct list_hash *hash;
	size_t at;

	record = check->list.record_count ? bsearch(&key, check->list.records,
						    check->list.record_count, sizeof(key), by_path)
					  : NULL;
	if (!record)
		return check->seen
			       ? damaged(check, member->path, "the packing list has no such file")
			       : 0;
	at = (size_t)(record - check->list.records);
	if (check->seen[at])
		return damaged(check, member->path, "it is there twice");
	check->seen[at] = true;
	hash = list_good_hash(record, HASH_XXH128);
	if (record->size != member->size || !hash ||
	    memcmp(hash->bytes, member->digest.bytes, sizeof(member->digest.bytes)) != 0)
		return damaged(check, member->path, "its record is not as in the packing list");
	return 0;
}

static int check_file(struct check *check, const struct member *member)
{
	struct digest digest;
	int r;

	r = note(check, member, unpacker_position(check->unpacker));
	if (r == 0 && !member->has_digest)
		r = damaged(check, member->path, "it has no digest");
	if (r == 0)
		r = check_listed(check, member);
	if (r < 0)
		return r;
	r = read_member(check, 0, NULL, NULL, &digest);
	if (r == 0 && member->has_digest && !digest_equal(&digest, &member->digest))
		r = damaged(check, member->path, "its bytes are not as recorded");
	check->progress.files += r == 0;
	return r;
}

/* 0, or with verdict->why when this is no export. */
static int check_manifest(struct check *check, const struct member *member)
{
	size_t start = strlen(EXPORT_MANIFEST_START), end = strlen(EXPORT_MANIFEST_END);
	size_t length = strlen(member->path);
	cleanup_free char *bytes = NULL;
	struct digest digest;
	unsigned long line;
	const char *why;
	size_t size = 0;
	int r;

	if (member->kind != MEMBER_FILE || !member->has_digest || length < start + end ||
	    strncmp(member->path, EXPORT_MANIFEST_START, start) != 0 ||
	    strcmp(member->path + length - end, EXPORT_MANIFEST_END) != 0)
		return no_export(check, "the first member is no packing list with a digest");
	if (asprintf(&check->index, EXPORT_INDEX_START "%.*s" EXPORT_INDEX_END,
		     (int)(length - start - end), member->path + start) < 0) {
		check->index = NULL;
		return -ENOMEM;
	}
	r = note(check, member, unpacker_position(check->unpacker));
	if (r == 0)
		r = read_member(check, XML_DOCUMENT_MAX, &bytes, &size, &digest);
	if (r < 0)
		return r;
	if (!digest_equal(&digest, &member->digest))
		return damaged(check, member->path, "its bytes are not as recorded");
	r = bytes ? list_read(bytes, size, &check->list, &why, &line) : -EPROTO;
	if (r == -EPROTO)
		return no_export(check, "its packing list cannot be read");
	if (r < 0)
		return r;
	check->seen = calloc(check->list.record_count + 1, sizeof(bool));
	if (!check->seen)
		return -ENOMEM;
	if (check->list.record_count)
		qsort(check->list.records, check->list.record_count, sizeof(*check->list.records),
		      by_path);
	check->progress.of_files = check->list.record_count;
	for (size_t i = 0; i < check->list.record_count; i++)
		check->progress.of_bytes +=
			check->list.records[i].size > 0 ? (uint64_t)check->list.records[i].size : 0;
	return 0;
}

/* Index --------------------------------------------------------------------------------- */

/* The first line of the index that is not what was read. */
static int compare_rows(struct check *check, const char *rows, size_t length)
{
	const char *want = check->row_bytes, *end = want + check->row_length;

	if (length == check->row_length && memcmp(rows, want, length) == 0)
		return 0;
	for (size_t line = 2; want < end; line++) {
		size_t part = (size_t)((char *)memchr(want, '\n', (size_t)(end - want)) + 1 - want);

		if (part > length || memcmp(rows, want, part) != 0)
			return verdict_add(check->verdict, FINDING_DAMAGED, check->index,
					   "its line %zu is not what was read from the archive: "
					   "%.*s",
					   line, (int)part - 1, want);
		rows += part;
		length -= part;
		want += part;
	}
	return damaged(check, check->index, "it lists more than there is");
}

/* @bytes end with a NUL. The digest over the archive can only be compared when all was read. */
static int check_index(struct check *check, const char *bytes, size_t length)
{
	char last[EXPORT_LAST_SIZE];
	struct digest archive, index;
	const char *rows, *end;
	int r;

	digest_final(check->stream.digest, &archive);
	export_last_line(&archive, &archive, last);
	if (length < strlen(last) ||
	    strncmp(bytes, EXPORT_FIRST_LINE, strlen(EXPORT_FIRST_LINE)) != 0)
		return damaged(check, check->index, "it is not complete");
	end = bytes + length - strlen(last);
	digest_of(bytes, (size_t)(end - bytes), &index);
	rows = memchr(bytes, '\n', (size_t)(end - bytes));
	r = rows ? compare_rows(check, rows + 1, (size_t)(end - rows - 1))
		 : damaged(check, check->index, "it is not complete");
	export_last_line(&archive, &index, last);
	/* Both digests; which one it is is of no use to anybody. */
	if (r == 0 && check->verdict->count == 0 && strcmp(end, last) != 0)
		r = damaged(check, check->index,
			    "bytes between the members, or of the index, are not as written");
	return r;
}

static int read_index(struct check *check, const struct member *member, char **ret_bytes,
		      size_t *ret_length)
{
	struct digest digest;
	int r;

	found_index(&check->stream, unpacker_position(check->unpacker), (uint64_t)member->size);
	check->index_seen = true;
	if (fflush(check->rows) != 0 || ferror(check->rows))
		return -ENOMEM;
	/* Longer than what it must say, and two lines of ours, it has no business to be. */
	r = read_member(check, check->row_length + 1024, ret_bytes, ret_length, &digest);
	return r == -EFBIG ? damaged(check, check->index, "it lists more than there is") : r;
}

/* The whole ----------------------------------------------------------------------------- */

/* 1: another member may follow. */
static int check_member(struct check *check, const struct member *member, char **ret_index,
			size_t *ret_length)
{
	int r;

	if (check->index_seen)
		return damaged(check, member->path, "it stands behind the index");
	if (!check->index)
		r = check_manifest(check, member);
	else if (member->kind == MEMBER_FILE && strcmp(member->path, check->index) == 0)
		r = read_index(check, member, ret_index, ret_length);
	else if (member->kind == MEMBER_FILE)
		r = check_file(check, member);
	else
		r = note(check, member, unpacker_position(check->unpacker));
	return r < 0 || check->verdict->why ? r : 1;
}

static int check_members(struct check *check, char **ret_index, size_t *ret_length)
{
	struct member member;
	bool lost = false; /* damage is being passed over */
	int r = 1;

	while (r == 1) {
		r = unpacker_next(check->unpacker, &member);
		if (r == -EILSEQ) {
			r = lost ? 1 : damaged_after(check, unpacker_why(check->unpacker));
			r = r < 0 ? r : 1;
			lost = true;
			continue;
		}
		lost = false;
		if (r == 1)
			r = check_member(check, &member, ret_index, ret_length);
		if (r == -EBADMSG)
			return check->index ? damaged_after(check, unpacker_why(check->unpacker))
					    : no_export(check, unpacker_why(check->unpacker));
	}
	return r;
}

static int check_rest(struct check *check, const char *index, size_t length)
{
	int r = drain(&check->stream);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && check->seen && i < check->list.record_count; i++) {
		if (!check->seen[i])
			r = verdict_add(check->verdict, FINDING_MISSING,
					check->list.records[i].path, NULL);
	}
	if (r == 0 && !check->index_seen)
		r = verdict_add(check->verdict, FINDING_MISSING, check->index,
				"the index: the archive is not whole");
	else if (r == 0 && check->stream.late)
		r = damaged(check, check->index, "it begins where nothing can begin");
	else if (r == 0 && index)
		r = check_index(check, index, length);
	if (r == 0 && check->index_seen && check->stream.unclean)
		r = damaged_after(check, "something else than zeros at the end");
	if (r == 0 && check->stream.total % ARCHIVE_RECORD_BYTES != 0)
		r = damaged_after(check, "the last record is cut off");
	return r;
}

static void check_fini(struct check *check)
{
	unpacker_free(check->unpacker);
	digest_free(check->stream.digest);
	digest_free(check->digest);
	free(check->stream.blocks[0].bytes);
	free(check->stream.blocks[1].bytes);
	list_fini(&check->list);
	free(check->seen);
	free(check->index);
	free(check->last);
	if (check->rows)
		(void)fclose(check->rows);
	free(check->row_bytes);
}

int export_check(int fd, export_tick tick, void *arg, struct verdict *verdict)
{
	cleanup_with(check_fini) struct check check = {
		.stream = { .fd = fd, .index_start = UINT64_MAX, .index_end = UINT64_MAX },
		.verdict = verdict,
		.tick = tick,
		.arg = arg,
	};
	cleanup_free char *index = NULL;
	size_t length = 0;
	int r;

	*verdict = (struct verdict){ 0 };
	check.stream.digest = digest_new();
	check.digest = digest_new();
	check.rows = text_open(&check.row_bytes, &check.row_length);
	for (size_t i = 0; i < ARRAY_SIZE(check.stream.blocks); i++)
		check.stream.blocks[i].bytes = malloc(ARCHIVE_RECORD_BYTES);
	if (!check.stream.digest || !check.digest || !check.rows || !check.stream.blocks[0].bytes ||
	    !check.stream.blocks[1].bytes)
		return -ENOMEM;
	r = unpacker_new(UNPACK_PLAIN_TAR, get, &check.stream, &check.unpacker);
	if (r == -EBADMSG)
		return no_export(&check, unpacker_why(check.unpacker));
	if (r == 0)
		r = check_members(&check, &index, &length);
	if (r == 0 && !check.index && !verdict->why)
		r = no_export(&check, "it is empty");
	if (r == 0 && !verdict->why)
		r = check_rest(&check, index, length);
	if (verdict->count)
		verdict->class = CLASS_DAMAGED;
	verdict->files = check.progress.files;
	verdict->bytes = check.progress.bytes;
	return r;
}
