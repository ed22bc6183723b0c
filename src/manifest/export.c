/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest/generation.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/json.h"
#include "util/text.h"

#define CHUNK_BYTES ((size_t)1 << 20)

struct export
{
	const struct export_job *job;
	struct export_result *result;
	struct packer *packer;       /* owned */
	struct digest_state *stream; /* owned: of every byte of the archive so far */
	struct digest_state *file;   /* owned */
	char *record;                /* owned: what waits until a record is full */
	size_t used;
	char *chunk; /* owned */
	FILE *rows;  /* owned; onto row_bytes */
	char *row_bytes;
	size_t row_length;
	struct export_progress progress;
};

/* Records ------------------------------------------------------------------------------ */

/* A tape makes a record of each write(). */
static int flush_record(struct export *export)
{
	int r = write_all(export->job->fd, export->record, ARCHIVE_RECORD_BYTES);

	export->used = 0;
	if (r == 0)
		export->result->records++;
	return r;
}

static int put(void *arg, const void *bytes, size_t length)
{
	struct export *export = arg;
	const char *at = bytes;
	int r = 0;

	digest_update(export->stream, bytes, length);
	while (r == 0 && length > 0) {
		size_t part = ARCHIVE_RECORD_BYTES - export->used;

		if (part > length)
			part = length;
		memcpy(export->record + export->used, at, part);
		export->used += part;
		at += part;
		length -= part;
		if (export->used == ARCHIVE_RECORD_BYTES)
			r = flush_record(export);
	}
	return r;
}

/* Zeros to the end of the record, as tar has it. */
static int fill_record(struct export *export)
{
	if (export->used == 0)
		return 0;
	memset(export->record + export->used, 0, ARCHIVE_RECORD_BYTES - export->used);
	return flush_record(export);
}

/*
 * What was written may end between two members by chance, and tar takes the end of the file for
 * the end of the archive. This is neither a header nor the end of one.
 */
static void spoil(int fd)
{
	char block[512] = "mediafs export: it failed here, the archive is not whole\n";

	(void)write_all(fd, block, sizeof(block)); /* the error that led here is the one told */
}

/* Members ------------------------------------------------------------------------------ */

static int put_member(struct export *export, const struct member *member)
{
	uint64_t offset;
	int r = packer_member(export->packer, member, &offset);

	if (r == 0)
		r = export_put_row(export->rows, member, offset);
	return r < 0 ? r : fputc('\n', export->rows) == EOF ? -ENOMEM : 0;
}

static int tick(struct export *export)
{
	const struct export_job *job = export->job;

	return job->tick && job->tick(job->arg, &export->progress) ? -ECANCELED : 0;
}

/* Is the open file still what was listed? */
static int check_stat(int fd, const struct member *member)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != member->size ||
	    timespec_ns(st.st_mtim) != member->mtime_ns)
		return -ESTALE;
	return 0;
}

/* The whole of @length bytes; -ESTALE when the file ends before. */
static int read_chunk(int fd, char *chunk, size_t length, uint64_t offset)
{
	size_t got = 0;

	while (got < length) {
		ssize_t n = pread(fd, chunk + got, length - got, (off_t)(offset + got));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ESTALE;
		if (n > 0)
			got += (size_t)n;
	}
	return 0;
}

static int check_digest(struct export *export, int fd, const struct member *member)
{
	struct digest digest;
	int r = check_stat(fd, member);

	if (r < 0)
		return r;
	digest_final(export->file, &digest);
	return digest_equal(&digest, &member->digest) ? 0 : -EBADMSG;
}

/* Its last bytes go in when all of them were found right: until then tar sees it cut off. */
static int copy_file(struct export *export, int fd, const struct member *member)
{
	uint64_t offset = 0, size = (uint64_t)member->size;
	int r;

	digest_reset(export->file);
	do {
		size_t length = size - offset < CHUNK_BYTES ? (size_t)(size - offset) : CHUNK_BYTES;

		r = read_chunk(fd, export->chunk, length, offset);
		if (r < 0)
			return r;
		digest_update(export->file, export->chunk, length);
		offset += length;
		if (offset == size)
			r = check_digest(export, fd, member);
		if (r == 0)
			r = packer_bytes(export->packer, export->chunk, length);
		export->progress.bytes += length;
		if (r == 0)
			r = tick(export);
	} while (r == 0 && offset < size);
	return r;
}

static int add_file(struct export *export, const struct member *member)
{
	cleanup_close int fd = openat(export->job->root_fd, member->path,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = check_stat(fd, member);
	if (r < 0)
		return r;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint */
	r = put_member(export, member);
	if (r == 0)
		r = copy_file(export, fd, member);
	export->progress.files += r == 0;
	return r;
}

static int add_members(struct export *export)
{
	const struct export_job *job = export->job;
	int r = 0;

	for (size_t i = 0; r == 0 && i < job->count; i++) {
		export->result->failed = job->members[i].path;
		r = job->members[i].kind == MEMBER_FILE ? add_file(export, &job->members[i])
							: put_member(export, &job->members[i]);
		if (r == 0)
			r = tick(export);
	}
	if (r == 0)
		export->result->failed = NULL;
	return r;
}

/* Packing list and index ---------------------------------------------------------------- */

static int fill_list(const struct export_job *job, struct list *list)
{
	for (size_t i = 0; i < job->count; i++) {
		const struct member *member = &job->members[i];
		struct list_hash hash = { .format = HASH_XXH128,
					  .action = ACTION_VERIFIED,
					  .date_ns = job->now_ns };
		struct list_record *record;

		if (member->kind != MEMBER_FILE)
			continue;
		record = list_add(list);
		if (!record)
			return -ENOMEM;
		record->path = strdup(member->path);
		record->size = member->size;
		record->mtime_ns = member->mtime_ns;
		memcpy(hash.bytes, member->digest.bytes, sizeof(member->digest.bytes));
		if (!record->path || list_add_hash(&record->hashes, &record->hash_count, &hash) < 0)
			return -ENOMEM;
	}
	return 0;
}

static struct member own_member(const struct export *export, const char *path, size_t size)
{
	return (struct member){ .path = path,
				.kind = MEMBER_FILE,
				.mode = 0644,
				.uid = geteuid(),
				.gid = getegid(),
				.size = (int64_t)size,
				.mtime_ns = export->job->now_ns };
}

static int add_manifest(struct export *export)
{
	cleanup_with(list_fini) struct list list = { .kind = LIST_ASC,
						     .process = PROCESS_FLATTEN,
						     .created_ns = export->job->now_ns };
	cleanup_free char *bytes = NULL;
	struct member member;
	size_t length = 0;
	int r = fill_list(export->job, &list);

	if (r == 0)
		r = list_write(&list, &bytes, &length);
	if (r < 0)
		return r;
	member = own_member(export, export->result->manifest, length);
	member.has_digest = true;
	digest_of(bytes, length, &member.digest);
	r = put_member(export, &member);
	return r < 0 ? r : packer_bytes(export->packer, bytes, length);
}

static int begin_index(struct export *export)
{
	char date[DATE_SIZE];

	export->rows = text_open(&export->row_bytes, &export->row_length);
	if (!export->rows)
		return -ENOMEM;
	(void)fprintf(export->rows,
		      EXPORT_FIRST_LINE "\"tool\":\"mediafs " MEDIAFS_VERSION
					"\",\"created\":\"%s\",\"record_bytes\":%u,"
					"\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n",
		      date_format(export->job->now_ns, DATE_ZULU, date), ARCHIVE_RECORD_BYTES,
		      export->progress.of_files, export->progress.of_bytes);
	return 0;
}

static int add_index(struct export *export)
{
	char line[EXPORT_LAST_SIZE];
	struct digest archive = { 0 }, index = { 0 };
	struct member member;
	uint64_t offset;
	int r;

	/* In memory: it fails only without. */
	if (fflush(export->rows) != 0 || ferror(export->rows))
		return -ENOMEM;
	export_last_line(&archive, &index, line);
	member = own_member(export, export->result->index, export->row_length + strlen(line));
	r = packer_member(export->packer, &member, &offset);
	if (r < 0)
		return r;
	digest_final(export->stream, &archive);
	digest_of(export->row_bytes, export->row_length, &index);
	export_last_line(&archive, &index, line);
	r = packer_bytes(export->packer, export->row_bytes, export->row_length);
	if (r == 0)
		r = packer_bytes(export->packer, line, strlen(line));
	if (r == 0)
		r = packer_end(export->packer);
	return r < 0 ? r : fill_record(export);
}

static int name_parts(const struct export_job *job, struct export_result *result)
{
	int length = generation_name_length(job->name);
	char date[DATE_SIZE];

	(void)date_format(job->now_ns, DATE_NAME, date);
	if (asprintf(&result->manifest, EXPORT_MANIFEST_START "%.*s_%sZ" EXPORT_MANIFEST_END,
		     length, job->name, date) < 0)
		result->manifest = NULL;
	if (asprintf(&result->index, EXPORT_INDEX_START "%.*s_%sZ" EXPORT_INDEX_END, length,
		     job->name, date) < 0)
		result->index = NULL;
	return result->manifest && result->index ? 0 : -ENOMEM;
}

static void export_fini(struct export *export)
{
	packer_free(export->packer);
	if (export->rows)
		(void)fclose(export->rows);
	free(export->row_bytes);
	digest_free(export->stream);
	digest_free(export->file);
	free(export->record);
	free(export->chunk);
}

int export_write(const struct export_job *job, struct export_result *ret_result)
{
	cleanup_with(export_fini) struct export export = { .job = job, .result = ret_result };
	int r;

	*ret_result = (struct export_result){ 0 };
	for (size_t i = 0; i < job->count; i++) {
		export.progress.of_files += job->members[i].kind == MEMBER_FILE;
		export.progress.of_bytes +=
			job->members[i].kind == MEMBER_FILE ? (uint64_t)job->members[i].size : 0;
	}
	export.stream = digest_new();
	export.file = digest_new();
	export.record = malloc(ARCHIVE_RECORD_BYTES);
	export.chunk = malloc(CHUNK_BYTES);
	if (!export.stream || !export.file || !export.record || !export.chunk)
		return -ENOMEM;
	r = name_parts(job, ret_result);
	if (r == 0)
		r = begin_index(&export);
	if (r == 0)
		r = packer_new(put, &export, &export.packer);
	if (r < 0)
		return r;
	r = add_manifest(&export);
	if (r == 0)
		r = add_members(&export);
	if (r == 0)
		r = add_index(&export);
	if (r < 0)
		spoil(job->fd);
	ret_result->files = export.progress.files;
	ret_result->bytes = export.progress.bytes;
	return r;
}

void export_result_fini(struct export_result *result)
{
	free(result->manifest);
	free(result->index);
	*result = (struct export_result){ 0 };
}
