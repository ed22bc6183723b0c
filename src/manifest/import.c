/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/import.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest/list.h"
#include "manifest/inlet.h"
#include "manifest/reader.h"
#include "util/cleanup.h"

/* What can only be done at the end: nothing is written through a link, times of folders last. */
struct later {
	enum member_kind kind;
	char *path, *target; /* owned */
	mode_t mode;
	int64_t mtime_ns;
};

struct import {
	const struct import_job *job;
	struct import_result *result;
	struct import_rules rules;
	struct reader *reader; /* owned */
	struct inlet inlet;
	struct digest_state *digest; /* owned */
	struct later *later;         /* owned */
	size_t later_count;
	struct export_progress progress;
};

static int tick(struct import *import)
{
	const struct import_job *job = import->job;

	return job->tick && job->tick(job->arg, &import->progress) ? -ECANCELED : 0;
}

/* Sets who is to blame, once. @why: taken. */
static int blame(struct import *import, const char *path, char *why, int error)
{
	struct import_result *result = import->result;

	if (!result->refused && path)
		result->refused = strdup(path);
	if (!result->why)
		result->why = why;
	else
		free(why);
	return error;
}

static int finding(struct import *import, enum finding_kind kind, const char *path,
		   const char *detail)
{
	return verdict_add(&import->result->findings, kind, path, "%s", detail);
}

static int add_top(struct import_result *result, const char *path)
{
	size_t length = strcspn(path, "/");
	char **grown;

	for (size_t i = 0; i < result->top_count; i++) {
		if (strlen(result->tops[i]) == length &&
		    strncmp(result->tops[i], path, length) == 0)
			return 0;
	}
	grown = reallocarray(result->tops, result->top_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	result->tops = grown;
	grown[result->top_count] = strndup(path, length);
	return grown[result->top_count] ? (result->top_count++, 0) : -ENOMEM;
}

static int put_off(struct import *import, const struct member *member, const char *path,
		   const char *target)
{
	struct later *grown = import->later, *later;

	if ((import->later_count & (import->later_count - 1)) == 0)
		grown = reallocarray(grown, import->later_count ? import->later_count * 2 : 1,
				     sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	import->later = grown;
	later = &grown[import->later_count++];
	*later = (struct later){ .kind = member->kind,
				 .path = strdup(path),
				 .target = target ? strdup(target) : NULL,
				 .mode = member->mode,
				 .mtime_ns = member->mtime_ns };
	return later->path && (later->target || !target) ? 0 : -ENOMEM;
}

/* Bytes --------------------------------------------------------------------------------- */

/* A gap of @length bytes, as the digest has it. */
static int digest_gap(struct import *import, uint64_t length)
{
	static const char zeros[64 << 10];
	int r = 0;

	while (r == 0 && length > 0) {
		size_t part = length < sizeof(zeros) ? (size_t)length : sizeof(zeros);

		digest_update(import->digest, zeros, part);
		length -= part;
		r = tick(import);
	}
	return r;
}

static int grow(struct import *import, const char *path, uint64_t length)
{
	char *why = NULL;
	int r = import_rules_grow(&import->rules, length, reader_raw_position(import->reader),
				  &why);

	import->progress.bytes += length;
	return r == -EPERM ? blame(import, path, why, r) : r;
}

/*
 * All bytes of the member, digested, and written to @fd (-1: nowhere). -EBADMSG when it is not as
 * long as it says.
 */
static int take_bytes(struct import *import, const struct member *member, const char *path, int fd,
		      struct digest *ret_digest)
{
	uint64_t size = 0, offset;
	const void *bytes;
	size_t length;
	int r;

	digest_reset(import->digest);
	while ((r = reader_bytes(import->reader, &bytes, &length, &offset)) > 0) {
		if (offset < size || (member->size >= 0 && offset > (uint64_t)member->size) ||
		    offset > INT64_MAX - length)
			return -EBADMSG;
		r = grow(import, path, offset - size + length);
		if (r == 0)
			r = digest_gap(import, offset - size);
		digest_update(import->digest, bytes, length);
		if (r == 0 && fd >= 0)
			r = inlet_write(fd, bytes, length, offset);
		if (r == 0)
			r = tick(import);
		if (r < 0)
			return r;
		size = offset + length;
	}
	if (r < 0)
		return r;
	/* A gap at the end is not told. */
	if (member->size >= 0 && (uint64_t)member->size != size) {
		if ((uint64_t)member->size < size)
			return -EBADMSG;
		r = grow(import, path, (uint64_t)member->size - size);
		if (r == 0)
			r = digest_gap(import, (uint64_t)member->size - size);
		size = (uint64_t)member->size;
	}
	if (r == 0 && fd >= 0 && ftruncate(fd, (off_t)size) < 0)
		r = -errno;
	digest_final(import->digest, ret_digest);
	return r;
}

/* 1: the bytes are what their digest in the archive says, or there is none; 0: not, and told. */
static int check_digest(struct import *import, const struct member *member, const char *path,
			const struct digest *digest)
{
	if (!member->has_digest || digest_equal(digest, &member->digest))
		return 1;
	return finding(import, FINDING_DAMAGED, path,
		       "its bytes are not what its digest in the archive says: not taken");
}

/* Something is there under the file's name: the same? */
static int compare_file(struct import *import, const struct member *member, const char *path)
{
	struct digest there, here;
	int r, known = inlet_digest(&import->inlet, path, import->job->known, import->job->arg,
				    &there);

	if (known < 0 && known != -EISDIR)
		return known;
	r = take_bytes(import, member, path, -1, &here);
	if (r == 0)
		r = check_digest(import, member, path, &here);
	if (r <= 0)
		return r;
	r = 0;
	if (known == 0 && digest_equal(&there, &here))
		import->result->existing++;
	else if (import->job->skip_existing)
		import->result->skipped++;
	else
		r = finding(import, FINDING_NEW, path,
			    "something else is there under that name: not taken "
			    "(--skip-existing leaves it without a word)");
	return r;
}

static int take_file(struct import *import, const struct member *member, const char *path)
{
	struct digest digest;
	int r = inlet_begin(&import->inlet, path), fd = r;

	if (r == -EEXIST)
		return compare_file(import, member, path);
	if (r < 0)
		return r;
	r = take_bytes(import, member, path, fd, &digest);
	if (r == 0)
		r = check_digest(import, member, path, &digest);
	if (r <= 0) {
		inlet_drop(&import->inlet, path, fd);
		return r;
	}
	r = inlet_finish(&import->inlet, path, fd, member->mode, member->mtime_ns);
	import->result->files += r == 0;
	return r;
}

/* Members ------------------------------------------------------------------------------- */

static int take_member(struct import *import, const struct member *member, const char *path)
{
	const char *target = member->target;
	int r = add_top(import->result, path);

	import->progress.files++;
	if (r < 0)
		return r;
	switch (member->kind) {
	case MEMBER_FILE:
		return take_file(import, member, path);
	case MEMBER_FOLDER:
		r = inlet_folder(&import->inlet, path);
		/* One that was there keeps what it has. */
		if (r == 1) {
			import->result->folders++;
			r = put_off(import, member, path, NULL);
		}
		return r;
	case MEMBER_HARD_LINK:
		target = import_rules_target(&import->rules, target);
		return target ? put_off(import, member, path, target) : -ENOMEM;
	default:
		return put_off(import, member, path, target);
	}
}

/* In pass one: what it will need. */
static int count_member(struct import *import, const struct member *member, const char *path)
{
	char *why = NULL;
	int r = 0;

	import->progress.of_files++;
	if (member->kind == MEMBER_FILE && member->size > 0) {
		import->progress.of_bytes += (uint64_t)member->size;
		r = import_rules_grow(&import->rules, (uint64_t)member->size,
				      import->rules.raw_bytes, &why);
	}
	return r == -EPERM ? blame(import, path, why, r) : r < 0 ? r : tick(import);
}

static int one(struct import *import, const struct member *member, enum reader_flags flags)
{
	cleanup_free char *path = NULL;
	char *why = NULL;
	int r = import_rules_check(&import->rules, member, &path, &why);

	if (r == -EPERM)
		return blame(import, member->path, why, r);
	if (r <= 0)
		return r;
	r = flags & READER_NAMES_ONLY ? count_member(import, member, path)
				      : take_member(import, member, path);
	if (r < 0 && r != -ECANCELED)
		(void)blame(import, path, NULL, r);
	return r;
}

static int each_member(struct import *import, enum reader_flags flags)
{
	struct member member;
	char *why = NULL;
	int r;

	r = reader_start(import->job->archive_fd, flags, &import->reader);
	if (r < 0)
		return blame(import, NULL, strdup("no process can be had that reads it safely"), r);
	while ((r = reader_next(import->reader, &member)) > 0) {
		r = one(import, &member, flags);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = import_rules_end(&import->rules, &why);
	if (r == -EPERM)
		return blame(import, NULL, why, r);
	if (r == -EBADMSG)
		return blame(import, NULL, strdup(reader_why(import->reader)), r);
	return r;
}

/* The end ------------------------------------------------------------------------------- */

static int make_link(struct import *import, const struct later *later)
{
	int r = inlet_link(&import->inlet, later->path, later->target,
			   later->kind == MEMBER_HARD_LINK);

	import->result->links += r == 1;
	if (r != -EEXIST)
		return r < 0 ? r : 0;
	if (!import->job->skip_existing)
		return finding(import, FINDING_NEW, later->path,
			       "something else is there under that name: not taken "
			       "(--skip-existing leaves it without a word)");
	import->result->skipped++;
	return 0;
}

static int do_later(struct import *import)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < import->later_count; i++) {
		if (import->later[i].kind != MEMBER_FOLDER)
			r = make_link(import, &import->later[i]);
		if (r < 0)
			return blame(import, import->later[i].path, NULL, r);
	}
	/* Inner ones first: what is in a folder is made after it. */
	for (size_t i = import->later_count; r == 0 && i-- > 0;) {
		if (import->later[i].kind == MEMBER_FOLDER)
			r = inlet_attributes(&import->inlet, import->later[i].path,
					     import->later[i].mode, import->later[i].mtime_ns);
		if (r < 0)
			return blame(import, import->later[i].path, NULL, r);
	}
	return r;
}

static void import_fini(struct import *import)
{
	reader_free(import->reader);
	import_rules_fini(&import->rules);
	inlet_fini(&import->inlet);
	digest_free(import->digest);
	for (size_t i = 0; i < import->later_count; i++) {
		free(import->later[i].path);
		free(import->later[i].target);
	}
	free(import->later);
}

void import_result_fini(struct import_result *result)
{
	for (size_t i = 0; i < result->top_count; i++)
		free(result->tops[i]);
	free(result->tops);
	free(result->refused);
	free(result->why);
	verdict_fini(&result->findings);
	*result = (struct import_result){ 0 };
}

int import_archive(const struct import_job *job, struct import_result *ret_result)
{
	cleanup_with(import_fini) struct import import = { .job = job, .result = ret_result };
	uint64_t raw_bytes = 0;
	struct stat st;
	int r = 0;

	*ret_result = (struct import_result){ 0 };
	if (fstat(job->archive_fd, &st) < 0)
		return -errno;
	inlet_init(&import.inlet, job->folder_fd);
	import_rules_init(&import.rules, &job->limits);
	import.digest = digest_new();
	if (!import.digest)
		return -ENOMEM;
	if (S_ISREG(st.st_mode)) {
		raw_bytes = import.rules.raw_bytes = (uint64_t)st.st_size;
		r = each_member(&import, READER_NAMES_ONLY);
		reader_free(take_ptr(import.reader));
		import_rules_fini(&import.rules);
		import_rules_init(&import.rules, &job->limits);
		import.rules.raw_bytes = raw_bytes;
		if (r == 0 && lseek(job->archive_fd, 0, SEEK_SET) < 0)
			r = -errno;
	}
	if (r == 0)
		r = each_member(&import, 0);
	if (r == 0)
		r = do_later(&import);
	ret_result->bytes = import.progress.bytes;
	return r;
}
