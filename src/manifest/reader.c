/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/reader.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "manifest/apart.h"
#include "util/cleanup.h"
#include "util/sandbox.h"

/*
 * Frames:
 *
 *   FRAME_MEMBER  struct frame_member, path, target (without NULs)
 *   FRAME_BYTES   struct frame_bytes, then bytes of the last member
 *   FRAME_DONE    int: 0 at the end of the archive, or an error; then why
 */
enum frame_kind { FRAME_MEMBER = 1, FRAME_BYTES, FRAME_DONE };

struct frame_member {
	int64_t size, mtime_ns;
	uint32_t path_length, target_length; /* NO_TARGET: none */
	uint32_t kind, mode, uid, gid;
	uint32_t has_digest, encrypted; /* 0 or not */
	struct digest digest;
};

struct frame_bytes {
	uint64_t offset, raw;
};

#define NO_TARGET UINT32_MAX
#define PART_BYTES ((size_t)256 << 10)
#define NAME_BYTES ((size_t)64 << 10)
#define PAYLOAD_MAX (PART_BYTES + sizeof(struct frame_bytes))

/* The process --------------------------------------------------------------------------- */

static int send_member(int fd, const struct member *member)
{
	size_t path = strlen(member->path), target = member->target ? strlen(member->target) : 0;
	struct frame_member head = {
		.size = member->size,
		.mtime_ns = member->mtime_ns,
		.path_length = (uint32_t)path,
		.target_length = member->target ? (uint32_t)target : NO_TARGET,
		.kind = member->kind,
		.mode = member->mode,
		.uid = member->uid,
		.gid = member->gid,
		.has_digest = member->has_digest,
		.encrypted = member->encrypted,
		.digest = member->digest,
	};
	const struct apart_piece pieces[] = { { &head, sizeof(head) },
					      { member->path, path },
					      { member->target ? member->target : "", target } };

	if (path + target > NAME_BYTES)
		return -ENAMETOOLONG;
	return apart_send(fd, FRAME_MEMBER, pieces, 3);
}

static int send_bytes(int fd, struct unpacker *unpacker)
{
	struct frame_bytes head;
	const void *bytes;
	size_t length;
	int r;

	while ((r = unpacker_bytes(unpacker, &bytes, &length, &head.offset)) > 0) {
		const char *at = bytes;

		head.raw = unpacker_raw_position(unpacker);
		while (length > 0) {
			size_t part = length < PART_BYTES ? length : PART_BYTES;
			const struct apart_piece pieces[] = { { &head, sizeof(head) },
							      { at, part } };

			r = apart_send(fd, FRAME_BYTES, pieces, 2);
			if (r < 0)
				return r;
			head.offset += part;
			at += part;
			length -= part;
		}
	}
	return r;
}

static int send_archive(int fd, struct unpacker *unpacker, enum reader_flags flags)
{
	struct member member;
	int r;

	while ((r = unpacker_next(unpacker, &member)) > 0) {
		r = send_member(fd, &member);
		if (r == 0 && !(flags & READER_NAMES_ONLY) && member.kind == MEMBER_FILE)
			r = send_bytes(fd, unpacker);
		if (r < 0)
			return r;
	}
	return r == -EILSEQ ? -EBADMSG : r;
}

/* How the archive begins; of a pipe its first block, which must not be lost. */
struct first {
	int fd;
	bool sought, given;
	size_t length;
	char bytes[ARCHIVE_RECORD_BYTES];
};

static ssize_t read_block(int fd, char *bytes)
{
	size_t length = 0;

	while (length < ARCHIVE_RECORD_BYTES) {
		ssize_t n = read(fd, bytes + length, ARCHIVE_RECORD_BYTES - length);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		if (n > 0)
			length += (size_t)n;
	}
	return (ssize_t)length;
}

static ssize_t get(void *arg, const void **ret_bytes)
{
	struct first *first = arg;
	ssize_t n = first->given ? read_block(first->fd, first->bytes) : (ssize_t)first->length;

	first->given = true;
	*ret_bytes = first->bytes;
	return n;
}

/*
 * Names in a zip that say they are UTF-8 can only be had in such a locale; those of a pax tar would
 * be made NFC there (archive.c). Locales are files: before the sandbox.
 */
static int prepare(int fd, struct first *first)
{
	ssize_t n;

	first->fd = fd;
	first->sought = lseek(fd, 0, SEEK_CUR) >= 0;
	n = first->sought ? pread(fd, first->bytes, 4, 0) : read_block(fd, first->bytes);
	if (n < 0)
		return first->sought ? -errno : (int)n;
	first->length = (size_t)n;
	if (n >= 4 && memcmp(first->bytes, "PK", 2) == 0 && !setlocale(LC_CTYPE, "C.UTF-8"))
		return -ENOTSUP;
	return 0;
}

static int open_archive(struct first *first, struct unpacker **ret_unpacker)
{
	return first->sought ? unpacker_open(UNPACK_ANY, first->fd, ret_unpacker)
			     : unpacker_new(UNPACK_ANY, get, first, ret_unpacker);
}

struct serving {
	int archive_fd;
	enum reader_flags flags;
};

static void serve(void *arg, int fd)
{
	static struct first first;
	const struct serving *serving = arg;
	struct unpacker *unpacker = NULL;
	const char *why = "";
	struct apart_piece pieces[2];
	int r;

	r = prepare(serving->archive_fd, &first);
	if (r == 0)
		r = sandbox_enter(serving->archive_fd, fd, SANDBOX_ANY_TIME, APART_MEMORY_BYTES);
	if (r == 0)
		r = open_archive(&first, &unpacker);
	if (r == 0)
		r = send_archive(fd, unpacker, serving->flags);
	if (r == -ENAMETOOLONG)
		why = "a name longer than any file system takes";
	else if (r == -EBADMSG)
		why = unpacker_why(unpacker);
	pieces[0] = (struct apart_piece){ &r, sizeof(r) };
	pieces[1] = (struct apart_piece){ why, strnlen(why, NAME_BYTES) };
	(void)apart_send(fd, FRAME_DONE, pieces, 2); /* else the parent sees the pipe end */
	unpacker_free(unpacker);
}

/* The parent ---------------------------------------------------------------------------- */

struct reader {
	struct apart apart;
	struct apart_frame frame; /* that came last and was not taken; kind 0: none */
	char *payload;            /* owned, PAYLOAD_MAX bytes and a NUL */
	char *names;              /* owned: path, NUL, target, NUL */
	uint64_t raw;
	bool in_file;
	char why[256];
};

static int fail(struct reader *reader, const char *why)
{
	(void)snprintf(reader->why, sizeof(reader->why), "%s", why);
	return -EBADMSG;
}

/* The next frame, unless one waits. */
static int look(struct reader *reader)
{
	struct apart_frame frame;
	int r;

	if (reader->frame.kind)
		return 0;
	r = apart_receive(&reader->apart, &frame, reader->payload, PAYLOAD_MAX);
	if (r == 0)
		return fail(reader, "its reader died of it");
	if (r == -EPROTO || (r > 0 && (frame.kind < FRAME_MEMBER || frame.kind > FRAME_DONE)))
		return fail(reader, "its reader went wrong");
	if (r < 0)
		return r;
	reader->frame = frame;
	return 0;
}

static int take_done(struct reader *reader)
{
	int r;

	if (reader->frame.length < sizeof(r))
		return fail(reader, "its reader went wrong");
	memcpy(&r, reader->payload, sizeof(r));
	/* It stays: whoever asks again hears the same. */
	if (r == 0)
		return 0;
	(void)fail(reader, reader->payload + sizeof(r));
	return r == -ENAMETOOLONG ? -EBADMSG : r < 0 && r > -4096 ? r : -EBADMSG;
}

static int take_member(struct reader *reader, struct member *ret_member)
{
	struct frame_member head;
	const char *path = reader->payload + sizeof(head);
	size_t target_length;

	if (reader->frame.length < sizeof(head))
		return fail(reader, "its reader went wrong");
	memcpy(&head, reader->payload, sizeof(head));
	target_length = head.target_length == NO_TARGET ? 0 : head.target_length;
	if (head.path_length > NAME_BYTES || target_length > NAME_BYTES ||
	    head.kind > MEMBER_SPECIAL ||
	    sizeof(head) + head.path_length + target_length != reader->frame.length)
		return fail(reader, "its reader went wrong");
	reader->frame.kind = 0;
	memcpy(reader->names, path, head.path_length);
	reader->names[head.path_length] = '\0';
	memcpy(reader->names + head.path_length + 1, path + head.path_length, target_length);
	reader->names[head.path_length + 1 + target_length] = '\0';
	*ret_member = (struct member){
		.path = reader->names,
		.target = head.target_length == NO_TARGET ? NULL
							  : reader->names + head.path_length + 1,
		.kind = (enum member_kind)head.kind,
		.mode = head.mode & 07777,
		.uid = head.uid,
		.gid = head.gid,
		.size = head.size,
		.mtime_ns = head.mtime_ns,
		.has_digest = head.has_digest != 0,
		.digest = head.digest,
		.encrypted = head.encrypted != 0,
	};
	reader->in_file = true;
	return 1;
}

int reader_next(struct reader *reader, struct member *ret_member)
{
	const void *bytes;
	uint64_t offset;
	size_t length;
	int r;

	while (reader->in_file) {
		r = reader_bytes(reader, &bytes, &length, &offset);
		if (r < 0)
			return r;
	}
	r = look(reader);
	if (r < 0)
		return r;
	return reader->frame.kind == FRAME_DONE ? take_done(reader)
						: take_member(reader, ret_member);
}

int reader_bytes(struct reader *reader, const void **ret_bytes, size_t *ret_length,
		 uint64_t *ret_offset)
{
	struct frame_bytes head;
	int r = look(reader);

	if (r < 0)
		return r;
	if (reader->frame.kind == FRAME_DONE) {
		reader->in_file = false;
		return take_done(reader);
	}
	if (reader->frame.kind != FRAME_BYTES) {
		reader->in_file = false;
		return 0;
	}
	if (reader->frame.length < sizeof(head))
		return fail(reader, "its reader went wrong");
	memcpy(&head, reader->payload, sizeof(head));
	reader->raw = head.raw;
	*ret_bytes = reader->payload + sizeof(head);
	*ret_length = reader->frame.length - sizeof(head);
	*ret_offset = head.offset;
	reader->frame.kind = 0;
	return 1;
}

int reader_start(int fd, enum reader_flags flags, struct reader **ret_reader)
{
	cleanup_with(reader_free_slot) struct reader *reader = calloc(1, sizeof(*reader));
	struct serving serving = { fd, flags };
	int r;

	if (!reader)
		return -ENOMEM;
	reader->apart.fd = -1;
	reader->payload = malloc(PAYLOAD_MAX + 1);
	reader->names = malloc(2 * NAME_BYTES + 2);
	if (!reader->payload || !reader->names)
		return -ENOMEM;
	r = apart_start(serve, &serving, &reader->apart);
	if (r == 0)
		*ret_reader = take_ptr(reader);
	return r;
}

void reader_free(struct reader *reader)
{
	if (!reader)
		return;
	apart_end(&reader->apart);
	free(reader->payload);
	free(reader->names);
	free(reader);
}

uint64_t reader_raw_position(const struct reader *reader)
{
	return reader->raw;
}

const char *reader_why(const struct reader *reader)
{
	return *reader->why ? reader->why : "it cannot be read";
}
