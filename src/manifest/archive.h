/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Archive: members of an archive in and out, through libarchive; archive.c is its only home.
 * Names are bytes, as on disk: nothing is converted or normalised. Not shared between threads.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hash/digest.h"

/* A record of LTO as tar users write it, and LTFS' default block. */
#define ARCHIVE_RECORD_BYTES (512u << 10)

/* The extended attribute that carries a member's XXH3-128 as 32 hex digits. */
#define ARCHIVE_DIGEST_XATTR "user.mediafs.xxh128"

enum member_kind {
	MEMBER_FILE,
	MEMBER_FOLDER,
	MEMBER_LINK,      /* symbolic */
	MEMBER_HARD_LINK, /* to a file before it */
	MEMBER_SPECIAL,   /* device, fifo, socket, or what no Linux knows */
};

struct member {
	const char *path;   /* as it stands there, folders without a slash at their end */
	const char *target; /* of links; else NULL */
	enum member_kind kind;
	mode_t mode; /* the bits of 07777 */
	uid_t uid;
	gid_t gid;
	int64_t size;     /* bytes of a file; -1: not said beforehand */
	int64_t mtime_ns; /* NO_TIME (manifest/list.h): not said */
	bool has_digest;
	struct digest digest; /* of a file */
	bool encrypted;
};

/* Writing: pax, as a stream of bytes -------------------------------------------------- */

/* Takes bytes as they come out. Negative errno ends the archive. */
typedef int (*packer_fn)(void *arg, const void *bytes, size_t length);

struct packer;

/* -ENOMEM. Digests become pax records SCHILY.xattr.NAME, which tar, bsdtar and star restore. */
int packer_new(packer_fn fn, void *arg, struct packer **ret_packer);

/* Without packer_end() before, nothing more is written: the archive has no end then. */
void packer_free(struct packer *packer);
DEFINE_CLEANUP(struct packer *, packer_free)

/* Begin @member; exactly its size must follow. *ret_offset: of its first byte, in the archive. */
int packer_member(struct packer *packer, const struct member *member, uint64_t *ret_offset);
int packer_bytes(struct packer *packer, const void *bytes, size_t length);

/* The end-of-archive mark. */
int packer_end(struct packer *packer);

/* Reading ------------------------------------------------------------------------------- */

enum unpacker_formats {
	UNPACK_PLAIN_TAR, /* any tar, not compressed */
	UNPACK_ANY,       /* tar and zip; gzip, bzip2, xz, zstd around them */
};

/* More bytes at *ret_bytes, valid until the call after the next; 0 at the end; negative errno. */
typedef ssize_t (*unpacker_fn)(void *arg, const void **ret_bytes);

struct unpacker;

/* Errors of the archive itself are -EBADMSG, with unpacker_why(); -ENOMEM. */
int unpacker_new(enum unpacker_formats formats, unpacker_fn fn, void *arg,
		 struct unpacker **ret_unpacker);

/* Of the descriptor @fd (borrowed), which is sought in where it can be. */
int unpacker_open(enum unpacker_formats formats, int fd, struct unpacker **ret_unpacker);
void unpacker_free(struct unpacker *unpacker);
DEFINE_CLEANUP(struct unpacker *, unpacker_free)

/*
 * 1 and the next member (its strings are valid until the next call); 0 at the end. -EILSEQ: damage
 * was passed over, call again. What was not read of the member before is skipped.
 */
int unpacker_next(struct unpacker *unpacker, struct member *ret_member);

/* 1 and the next bytes of the member, with where they lie in it (gaps are zeros); 0 at its end. */
int unpacker_bytes(struct unpacker *unpacker, const void **ret_bytes, size_t *ret_length,
		   uint64_t *ret_offset);

/* How far the archive was read: without what is around it, and as it lies on disk. */
uint64_t unpacker_position(const struct unpacker *unpacker);
uint64_t unpacker_raw_position(const struct unpacker *unpacker);

/* Why the last call failed, for a person. Never NULL; valid until the next call. */
const char *unpacker_why(const struct unpacker *unpacker);
