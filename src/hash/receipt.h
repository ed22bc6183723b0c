/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Receipt: what a file's bytes were when they arrived, in any order of writes.
 *
 * Bytes that arrive in order are hashed as they come: the whole (XXH3-128) and every
 * block (XXH3-64). A write out of order, a rewrite or a truncation marks the blocks it
 * touches dirty and gives up the whole digest; receipt_settle() hashes dirty blocks
 * from the file. Not thread-safe: the owner serialises.
 */
#include "hash/blockmap.h"
#include "hash/digest.h"

struct receipt;

/* For an empty file. NULL without memory. */
struct receipt *receipt_new(void);

/* For a file whose closed bytes are known: @map is copied. NULL without memory. */
struct receipt *receipt_resume(const struct blockmap *map);

/* For a file of @size bytes about which nothing is known: every block is dirty. */
struct receipt *receipt_unknown(uint64_t size);

void receipt_free(struct receipt *receipt);

uint64_t receipt_size(const struct receipt *receipt);

/* @length bytes were written at @offset; @bytes may be NULL when they were not seen (dirty). */
int receipt_write(struct receipt *receipt, uint64_t offset, const void *bytes, size_t length);

/* The file has now @size bytes: cut or grown with zeros. */
int receipt_truncate(struct receipt *receipt, uint64_t size);

/* [offset, offset + length) changed in a way not seen (fallocate, hole). Extends the size if
 * beyond. */
int receipt_touch(struct receipt *receipt, uint64_t offset, uint64_t length);

bool receipt_is_dirty(const struct receipt *receipt);

/*
 * Make the map whole: read the dirty blocks from @fd through the page cache, where what
 * was received still is. -ESTALE if the file's size is not the receipt's; read errors.
 */
int receipt_settle(struct receipt *receipt, int fd);

/*
 * The same in steps, so that nothing has to be locked while a block is read: 1 with the next dirty
 * block, 0 when the map is whole; its hash from the file of @size bytes; and that hash taken
 * over, unless the receipt heard of any change since (the caller sees to that).
 */
int receipt_next_dirty(struct receipt *receipt, int fd, uint64_t *ret_index);
int receipt_read_block(uint64_t size, int fd, uint64_t index, uint64_t *ret_hash);
void receipt_settle_block(struct receipt *receipt, uint64_t index, uint64_t hash);

/* After settle: the map (borrowed, until the receipt changes). */
const struct blockmap *receipt_map(const struct receipt *receipt);

/* True, with @ret_digest set, when every byte came in order exactly once. */
bool receipt_digest(const struct receipt *receipt, struct digest *ret_digest);
