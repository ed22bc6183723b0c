/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Write-behind: bytes that were received are hashed and written by another thread, so that the
 * writer is answered at once and receives the next ones meanwhile; and what has been written starts
 * for the medium early, so that the read-back need not wait long for it.
 *
 * Only for a file with a single handle and with room on the disk: nobody else sees the delay, and a
 * full disk is told to the writer at once. A write that fails later damages the generation.
 */
#include "volume/file_internal.h"
#include "volume/piece.h"

struct behind *behind_new(struct volume *volume);
int behind_start(struct behind *behind);
void behind_free(struct behind *behind); /* writes what is queued, joins */

/*
 * True: this write may be put off. False: it is to be written at once (short, no room to spare on
 * the disk, or others' writes fill the queue). Waits while it is this file's own that fill it.
 * Not with a lock held.
 */
bool behind_wants(struct behind *behind, struct file *file, size_t length, off_t offset);

/*
 * Consumes @piece, which holds @length bytes. With live->lock held: the order is that of the file,
 * and the one in which the receipt hears.
 */
void behind_queue_locked(struct behind *behind, struct file *file, struct piece *piece,
			 size_t length, off_t offset);

/* [@offset, @offset + @length) is in the page cache: when enough follows on, it starts for the
 * medium. With live->lock held. */
void behind_written_locked(struct behind *behind, struct file *file, off_t offset, size_t length);

struct pieces *behind_pieces(struct behind *behind);
