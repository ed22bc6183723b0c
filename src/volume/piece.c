/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/piece.h"

#include <assert.h>
#include <stdlib.h>

#include "util/thread.h"

#define PAGE_BYTES 4096

struct pieces {
	unsigned limit; /* constant */

	struct mutex lock;   /* rank 49; guards the rest */
	struct piece *spare; /* owned; the last one given back first: it is in the cache */
	unsigned made, taken;
};

struct pieces *pieces_new(unsigned limit)
{
	struct pieces *pieces = calloc(1, sizeof(*pieces));

	if (!pieces)
		return NULL;
	pieces->limit = limit;
	mutex_init(&pieces->lock, 49);
	return pieces;
}

static void free_piece(struct piece *piece)
{
	free(piece->bytes);
	free(piece);
}

void pieces_free(struct pieces *pieces)
{
	if (!pieces)
		return;
	assert(pieces->taken == 0);
	while (pieces->spare) {
		struct piece *piece = pieces->spare;

		pieces->spare = piece->next;
		free_piece(piece);
	}
	mutex_fini(&pieces->lock);
	free(pieces);
}

static struct piece *make_piece(void)
{
	struct piece *piece = calloc(1, sizeof(*piece));

	if (!piece)
		return NULL;
	piece->bytes = aligned_alloc(PAGE_BYTES, WRITE_MAX_BYTES);
	if (!piece->bytes) {
		free(piece);
		return NULL;
	}
	return piece;
}

struct piece *piece_take(struct pieces *pieces)
{
	struct piece *piece;

	scoped_lock(&pieces->lock);
	piece = pieces->spare;
	if (piece) {
		pieces->spare = piece->next;
	} else if (pieces->made < pieces->limit) {
		piece = make_piece();
		if (piece)
			pieces->made++;
	}
	if (piece)
		pieces->taken++;
	return piece;
}

void piece_give(struct pieces *pieces, struct piece *piece)
{
	scoped_lock(&pieces->lock);
	piece->next = pieces->spare;
	pieces->spare = piece;
	pieces->taken--;
}
