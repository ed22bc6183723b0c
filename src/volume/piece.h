/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Pieces: memory for the bytes of one write each. Who receives a request has its bytes arrive in
 * one, so that they are handed on to write-behind (behind.h) as they are instead of being copied.
 */
#include <stddef.h>

#include "volume/file.h"

struct piece {
	struct piece *next; /* in the queue, or of those to spare */
	char *bytes;        /* owned; WRITE_MAX_BYTES, on a page's border */

	/* While queued. */
	struct file *file; /* one ref */
	uint64_t generation;
	off_t offset;
	size_t length;
};

struct pieces;

/* At most @limit of them exist. NULL without memory. */
struct pieces *pieces_new(unsigned limit);
void pieces_free(struct pieces *pieces); /* all of them were given back */

/* NULL: all are in use, or there is no memory. Never waits. */
struct piece *piece_take(struct pieces *pieces);
void piece_give(struct pieces *pieces, struct piece *piece);
