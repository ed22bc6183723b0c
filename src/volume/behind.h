/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Write-behind: bytes that were received and hashed are written by another thread, so that
 * the writer's copy, the hash and the write overlap; and what has been written starts for the
 * medium early, so that the read-back need not wait long for it.
 *
 * Only for a file with a single handle and with room on the disk: nobody else sees the delay, and a
 * full disk is told to the writer at once. A write that fails later damages the generation.
 */
#include "volume/file_internal.h"

struct behind *behind_new(struct volume *volume);
int behind_start(struct behind *behind);
void behind_free(struct behind *behind); /* writes what is queued, joins */

/*
 * A copy of the bytes, to be queued or dropped. NULL: write them at once (few, no room to spare,
 * or the buffers are all used by other files). Waits for a buffer while it is this file that has
 * them. Not with a lock held.
 */
struct behind_piece *behind_take(struct behind *behind, struct file *file, const void *bytes,
				 size_t length, off_t offset);
void behind_drop(struct behind *behind, struct behind_piece *piece);

/* Consumes @piece. With live->lock held, and the receipt told: the order is that of the file. */
void behind_queue_locked(struct behind *behind, struct behind_piece *piece);

/* [@offset, @offset + @length) is in the page cache: when enough follows on, it starts for the
 * medium. With live->lock held. */
void behind_written_locked(struct behind *behind, struct file *file, off_t offset, size_t length);
