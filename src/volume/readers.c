/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/readers.h"

#include "util/clock.h"

/* Reads of one reader may overtake each other, by what the kernel asks for at a time. */
#define DISORDER_BYTES (1ull << 20)

static struct reader *reader_of(struct readers *readers, uint64_t id, const void *who)
{
	struct reader *oldest = &readers->list[0];

	for (unsigned i = 0; i < READERS; i++) {
		struct reader *reader = &readers->list[i];

		if (reader->id == id && reader->who == who)
			return reader;
		if (reader->used_ns < oldest->used_ns)
			oldest = reader;
	}
	*oldest = (struct reader){ .id = id, .who = who };
	return oldest;
}

/* @who reads [@offset, @end) of the file @id. */
static struct reader *note_read(struct readers *readers, uint64_t id, const void *who,
				uint64_t offset, uint64_t end)
{
	struct reader *reader = reader_of(readers, id, who);

	if (offset > reader->next + DISORDER_BYTES || offset + DISORDER_BYTES < reader->next)
		reader->run = 0;
	reader->run += end - offset;
	reader->next = end;
	reader->used_ns = monotonic_ns();
	return reader;
}

/*
 * Who has come here through a granule that is here begins with half of @most: on a long line each
 * doubling costs the time of a request, and connections that begin later get little of it.
 */
bool readers_missed(struct readers *readers, uint64_t id, const void *who, uint64_t offset,
		    uint64_t end, uint64_t granule, uint64_t most, uint64_t *ret_edge)
{
	struct reader *reader = note_read(readers, id, who, offset, end);
	bool reads_on = reader->run >= granule;
	bool sequential = reader->edge ? offset <= reader->edge &&
						 reader->edge - offset <= granule + reader->window
				       : reads_on;

	if (!sequential)
		reader->window = 0;
	else if (!reader->window && reads_on)
		reader->window = most / 2;
	else if (reader->window * 2 < granule)
		reader->window = granule;
	else
		reader->window *= 2;
	if (reader->window > most)
		reader->window = most;
	if (!sequential || end + reader->window > reader->edge)
		reader->edge = end + reader->window;
	*ret_edge = reader->edge;
	return sequential;
}

bool readers_hit(struct readers *readers, uint64_t id, const void *who, uint64_t offset,
		 uint64_t end, uint64_t most, uint64_t *ret_start, uint64_t *ret_end)
{
	struct reader *reader = note_read(readers, id, who, offset, end);

	if (!reader->window || offset > reader->edge || end + reader->window / 2 < reader->edge ||
	    reader->edge - offset > 2 * reader->window)
		return false;
	reader->window = reader->window * 2 < most ? reader->window * 2 : most;
	*ret_start = reader->edge;
	reader->edge += reader->window;
	*ret_end = reader->edge;
	return true;
}
