/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Residency: which blocks of a file are here (DESIGN D9). Kept in the xattr
 * RESIDENCY_XATTR on the backing file, so that nobody takes a hole for zeros.
 *
 * Field table of the xattr (big-endian):
 *   0   4  magic "MFR1"
 *   4   1  shift: one bit covers 2^shift blocks
 *   5   3  zero
 *   8   8  size of the content
 *  16   8  ctime (ns) to show, 0 = the backing inode's
 *  24   8  clock (ns) when this was last written: the backing inode's ctime, nearly
 *  32  16  XXH3-128 of the content
 *  48   n  bitmap, least significant bit first; 1 = resident
 * A fully resident file has no such xattr, or one with all bits set.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash/blockmap.h"
#include "hash/digest.h"

#define RESIDENCY_XATTR "user.mediafs.residency"
#define RESIDENCY_BITMAP_MAX 3072 /* bytes: the xattr fits one block of any file system */

struct residency {
	uint64_t size;
	struct digest digest;
	int64_t shown_ctime_ns;
	int64_t written_ns; /* set by residency_write() and residency_punch() in the xattr */
	unsigned shift;
	uint32_t bit_count;
	uint8_t bits[RESIDENCY_BITMAP_MAX];
};

/* Nothing resident. -EFBIG never: the shift grows with the size. */
void residency_init(struct residency *residency, uint64_t size, const struct digest *digest);

bool residency_has(const struct residency *residency, uint64_t block);
bool residency_has_range(const struct residency *residency, uint64_t offset, uint64_t length);
bool residency_full(const struct residency *residency);
uint64_t residency_bytes(const struct residency *residency); /* resident ones */

/* The byte range that the bit of @block covers (block-aligned, cut at the size). */
void residency_granule(const struct residency *residency, uint64_t block, uint64_t *ret_offset,
		       uint64_t *ret_length);
void residency_set(struct residency *residency, uint64_t block);
void residency_clear(struct residency *residency, uint64_t block);

/*
 * The ctime to show for a backing inode whose own is @backing_ctime_ns: the kept one while nobody
 * but us changed the inode (its ctime is within a second of when we wrote), else its own.
 */
int64_t residency_ctime(const struct residency *residency, int64_t backing_ctime_ns);

/* The xattr's bytes. residency_unpack(): -EUCLEAN not ours or damaged. */
#define RESIDENCY_PACKED_MAX (48 + RESIDENCY_BITMAP_MAX)
size_t residency_pack(const struct residency *residency, uint8_t bytes[RESIDENCY_PACKED_MAX]);
int residency_unpack(const uint8_t *bytes, size_t length, struct residency *ret_residency);

/* 1 read, 0 the file has none (fully resident), -EUCLEAN not ours or damaged. O_PATH will do. */
int residency_read(int fd, struct residency *ret_residency);

/*
 * Durable when it returns (fsync of @fd, which may be read-only but not O_PATH). The owner's
 * write permission is not needed: where the mode denies it, it is given for the moment.
 */
int residency_write(int fd, const struct residency *residency);

/* As residency_write() but durable only when the caller has synced: for many new files at once. */
int residency_mark(int fd, const struct residency *residency);
int residency_remove(int fd);

/*
 * Punch out what @residency says is absent, with times kept. Its xattr must be written before:
 * -EINVAL when the file's says otherwise, -ESTALE when the file's size is another, -EOPNOTSUPP
 * where the file system cannot punch.
 */
int residency_punch(int fd, const struct residency *residency);

/* Clear all but the first 4 MiB and the last 1 MiB (their granules); those stay as they are. */
void residency_keep_ends(struct residency *residency);
