/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/archive.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>

#include "manifest/list.h"
#include "util/cleanup.h"
#include "util/clock.h"

/*
 * The program never calls setlocale(), so libarchive works in the C locale: names that are not
 * ASCII are written as they are, with hdrcharset=BINARY, and read back by any libarchive as they
 * are. In a UTF-8 locale it would make NFC of them when reading, and two names into one.
 */

/* Writing ------------------------------------------------------------------------------- */

struct packer {
	struct archive *archive;
	struct archive_entry *entry;
	packer_fn fn;
	void *arg;
	int error; /* what fn returned; nothing is given to it any more */
};

/* After an error libarchive goes on into nothing: told of it, it would never free its buffer. */
static la_ssize_t put(struct archive *archive, void *arg, const void *bytes, size_t length)
{
	struct packer *packer = arg;

	(void)archive;
	if (packer->error == 0)
		packer->error = packer->fn(packer->arg, bytes, length);
	return (la_ssize_t)length;
}

/* What became of a call that gave @r. */
static int packed(const struct packer *packer, la_ssize_t r)
{
	int error = archive_errno(packer->archive);

	if (packer->error || r >= 0)
		return packer->error;
	return error > 0 ? -error : -EIO;
}

int packer_new(packer_fn fn, void *arg, struct packer **ret_packer)
{
	cleanup_with(packer_free_slot) struct packer *packer = calloc(1, sizeof(*packer));

	if (!packer)
		return -ENOMEM;
	packer->fn = fn;
	packer->arg = arg;
	packer->archive = archive_write_new();
	packer->entry = archive_entry_new();
	if (!packer->archive || !packer->entry)
		return -ENOMEM;
	/* Only SCHILY: for LIBARCHIVE.xattr GNU tar warns once a file. Blocks of 0: put() gets
	 * each byte at once and makes the records itself. */
	if (archive_write_set_format_pax(packer->archive) != ARCHIVE_OK ||
	    archive_write_set_options(packer->archive, "pax:xattrheader=SCHILY") != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(packer->archive, 0) != ARCHIVE_OK ||
	    archive_write_open(packer->archive, packer, NULL, put, NULL) != ARCHIVE_OK)
		return packed(packer, ARCHIVE_FATAL);
	*ret_packer = take_ptr(packer);
	return 0;
}

void packer_free(struct packer *packer)
{
	if (!packer)
		return;
	if (packer->archive) {
		/* Freeing would finish the archive. */
		if (packer->error == 0)
			packer->error = -ECANCELED;
		(void)archive_write_free(packer->archive);
	}
	archive_entry_free(packer->entry);
	free(packer);
}

static unsigned type_of(enum member_kind kind)
{
	if (kind == MEMBER_FOLDER)
		return AE_IFDIR;
	return kind == MEMBER_LINK ? AE_IFLNK : AE_IFREG;
}

int packer_member(struct packer *packer, const struct member *member, uint64_t *ret_offset)
{
	struct timespec mtime = ns_timespec(member->mtime_ns);
	struct archive_entry *entry = archive_entry_clear(packer->entry);
	char hex[DIGEST_HEX_SIZE];
	int r;

	archive_entry_set_pathname(entry, member->path);
	archive_entry_set_mode(entry, type_of(member->kind) | member->mode);
	archive_entry_set_uid(entry, member->uid);
	archive_entry_set_gid(entry, member->gid);
	archive_entry_set_mtime(entry, mtime.tv_sec, mtime.tv_nsec);
	archive_entry_set_size(entry, member->kind == MEMBER_FILE ? member->size : 0);
	if (member->target)
		archive_entry_set_symlink(entry, member->target);
	if (member->has_digest) {
		digest_hex(&member->digest, hex);
		archive_entry_xattr_add_entry(entry, ARCHIVE_DIGEST_XATTR, hex, strlen(hex));
	}
	r = archive_write_header(packer->archive, entry);
	/* It warns of names that are not ASCII, see above. */
	r = packed(packer, r == ARCHIVE_WARN ? ARCHIVE_OK : r);
	if (r < 0)
		return r;
	*ret_offset = (uint64_t)archive_filter_bytes(packer->archive, 0);
	return 0;
}

int packer_bytes(struct packer *packer, const void *bytes, size_t length)
{
	la_ssize_t done = archive_write_data(packer->archive, bytes, length);
	int r = packed(packer, done);

	/* Less only when it is more than the member's size. */
	return r < 0 ? r : (size_t)done == length ? 0 : -EMSGSIZE;
}

int packer_end(struct packer *packer)
{
	return packed(packer, archive_write_close(packer->archive));
}

/* Reading ------------------------------------------------------------------------------- */

struct unpacker {
	struct archive *archive;
	struct archive_entry *entry; /* borrowed from archive */
	unpacker_fn fn;
	void *arg;
	int error;  /* what fn returned */
	char *path; /* owned: the member's, without the slash of a folder */
};

static la_ssize_t get(struct archive *archive, void *arg, const void **ret_bytes)
{
	struct unpacker *unpacker = arg;
	ssize_t length = unpacker->fn(unpacker->arg, ret_bytes);

	if (length >= 0)
		return length;
	unpacker->error = (int)length;
	archive_set_error(archive, (int)-length, "cannot read");
	return ARCHIVE_FATAL;
}

static int unpack_error(const struct unpacker *unpacker)
{
	if (unpacker->error)
		return unpacker->error;
	return archive_errno(unpacker->archive) == ENOMEM ? -ENOMEM : -EBADMSG;
}

static int prepare(enum unpacker_formats formats, struct unpacker **ret_unpacker)
{
	cleanup_with(unpacker_free_slot) struct unpacker *unpacker = calloc(1, sizeof(*unpacker));
	struct archive *archive;
	int r;

	if (!unpacker)
		return -ENOMEM;
	archive = unpacker->archive = archive_read_new();
	if (!archive)
		return -ENOMEM;
	r = archive_read_support_format_tar(archive);
	if (r == ARCHIVE_OK && formats == UNPACK_ANY) {
		r = archive_read_support_format_zip(archive);
		/* Never _all(): some filters run programs, some formats have a bad record. */
		if (r == ARCHIVE_OK)
			r = archive_read_support_filter_gzip(archive);
		if (r == ARCHIVE_OK)
			r = archive_read_support_filter_bzip2(archive);
		if (r == ARCHIVE_OK)
			r = archive_read_support_filter_xz(archive);
		if (r == ARCHIVE_OK)
			r = archive_read_support_filter_zstd(archive);
	}
	if (r != ARCHIVE_OK)
		return -EOPNOTSUPP;
	*ret_unpacker = take_ptr(unpacker);
	return 0;
}

int unpacker_new(enum unpacker_formats formats, unpacker_fn fn, void *arg,
		 struct unpacker **ret_unpacker)
{
	struct unpacker *unpacker;
	int r = prepare(formats, &unpacker);

	if (r < 0)
		return r;
	unpacker->fn = fn;
	unpacker->arg = arg;
	*ret_unpacker = unpacker;
	if (archive_read_open(unpacker->archive, unpacker, NULL, get, NULL) != ARCHIVE_OK)
		return unpack_error(unpacker);
	return 0;
}

int unpacker_open(enum unpacker_formats formats, int fd, struct unpacker **ret_unpacker)
{
	struct unpacker *unpacker;
	int r = prepare(formats, &unpacker);

	if (r < 0)
		return r;
	*ret_unpacker = unpacker;
	if (archive_read_open_fd(unpacker->archive, fd, ARCHIVE_RECORD_BYTES) != ARCHIVE_OK)
		return unpack_error(unpacker);
	return 0;
}

void unpacker_free(struct unpacker *unpacker)
{
	if (!unpacker)
		return;
	(void)archive_read_free(unpacker->archive);
	free(unpacker->path);
	free(unpacker);
}

static void take_digest(struct archive_entry *entry, struct member *member)
{
	char hex[DIGEST_HEX_SIZE] = "";
	const void *value;
	const char *name;
	size_t size;

	(void)archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
		if (!name || strcmp(name, ARCHIVE_DIGEST_XATTR) != 0 || size != sizeof(hex) - 1)
			continue;
		memcpy(hex, value, size);
		member->has_digest = digest_parse(hex, &member->digest) == 0;
	}
}

static enum member_kind kind_of(struct archive_entry *entry)
{
	if (archive_entry_hardlink(entry))
		return MEMBER_HARD_LINK;
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return MEMBER_FILE;
	case AE_IFDIR:
		return MEMBER_FOLDER;
	case AE_IFLNK:
		return MEMBER_LINK;
	default:
		return MEMBER_SPECIAL;
	}
}

static int64_t mtime_of(struct archive_entry *entry)
{
	int64_t seconds = archive_entry_mtime(entry);

	if (!archive_entry_mtime_is_set(entry) || seconds >= INT64_MAX / NS_PER_SEC ||
	    seconds <= INT64_MIN / NS_PER_SEC)
		return NO_TIME;
	return seconds * NS_PER_SEC + archive_entry_mtime_nsec(entry);
}

/* -EBADMSG without a name: libarchive could not make one out of what stands there. */
static int take_entry(struct unpacker *unpacker, struct member *member)
{
	struct archive_entry *entry = unpacker->entry;
	const char *path = archive_entry_pathname(entry);
	size_t length;

	if (!path) {
		archive_set_error(unpacker->archive, EINVAL,
				  "a member has no name that can be read");
		return -EBADMSG;
	}
	free(unpacker->path);
	unpacker->path = strdup(path);
	if (!unpacker->path)
		return -ENOMEM;
	*member = (struct member){
		.path = unpacker->path,
		.kind = kind_of(entry),
		.mode = archive_entry_perm(entry),
		.uid = (uid_t)archive_entry_uid(entry),
		.gid = (gid_t)archive_entry_gid(entry),
		.size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1,
		.mtime_ns = mtime_of(entry),
		.encrypted = archive_entry_is_encrypted(entry) != 0,
	};
	member->target = member->kind == MEMBER_HARD_LINK ? archive_entry_hardlink(entry)
			 : member->kind == MEMBER_LINK    ? archive_entry_symlink(entry)
							  : NULL;
	length = strlen(unpacker->path);
	while (member->kind == MEMBER_FOLDER && length > 1 && unpacker->path[length - 1] == '/')
		unpacker->path[--length] = '\0';
	take_digest(entry, member);
	return 1;
}

int unpacker_next(struct unpacker *unpacker, struct member *ret_member)
{
	switch (archive_read_next_header(unpacker->archive, &unpacker->entry)) {
	case ARCHIVE_OK:
	case ARCHIVE_WARN: /* of names that are not ASCII */
		return take_entry(unpacker, ret_member);
	case ARCHIVE_EOF:
		return 0;
	case ARCHIVE_RETRY:
		return -EILSEQ;
	default:
		return unpack_error(unpacker);
	}
}

int unpacker_bytes(struct unpacker *unpacker, const void **ret_bytes, size_t *ret_length,
		   uint64_t *ret_offset)
{
	la_int64_t offset = 0;

	switch (archive_read_data_block(unpacker->archive, ret_bytes, ret_length, &offset)) {
	case ARCHIVE_OK:
		*ret_offset = (uint64_t)offset;
		return 1;
	case ARCHIVE_EOF:
		return 0;
	default:
		return unpack_error(unpacker);
	}
}

uint64_t unpacker_position(const struct unpacker *unpacker)
{
	return (uint64_t)archive_filter_bytes(unpacker->archive, 0);
}

uint64_t unpacker_raw_position(const struct unpacker *unpacker)
{
	return (uint64_t)archive_filter_bytes(unpacker->archive, -1);
}

const char *unpacker_why(const struct unpacker *unpacker)
{
	const char *text = archive_error_string(unpacker->archive);

	return text ? text : "it cannot be read";
}
