/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Readers: who reads which file in order, and how far ahead of them is fetched. No I/O, no locks:
 * guarded by its owner's lock; all 0 at first.
 */
#include <stdbool.h>
#include <stdint.h>

/* Remembered; the one that has been quiet longest gives way. */
#define READERS 64

/* Where a reader of a file is expected next, and how far ahead of it is fetched. */
struct reader {
	uint64_t id;
	const void *who; /* its handle, say; only compared */
	uint64_t next;   /* end of what was read last */
	uint64_t run;    /* so much was read in order up to there */
	uint64_t edge;   /* end of what was asked for or fetched ahead */
	uint64_t window;
	int64_t used_ns; /* monotonic */
};

struct readers {
	struct reader list[READERS];
};

/*
 * @who waits for [@offset, @end) of the file @id, which comes by @granule bytes: up to
 * *ret_edge is fetched ahead, at most @most beyond @end. False: this is not where the reader was
 * expected, and what was fetched ahead before is of no use.
 */
bool readers_missed(struct readers *readers, uint64_t id, const void *who, uint64_t offset,
		    uint64_t end, uint64_t granule, uint64_t most, uint64_t *ret_edge);

/*
 * @who read [@offset, @end), which was here. True: [*ret_start, *ret_end) is fetched ahead now, as
 * the reader comes near the end of what was.
 */
bool readers_hit(struct readers *readers, uint64_t id, const void *who, uint64_t offset,
		 uint64_t end, uint64_t most, uint64_t *ret_start, uint64_t *ret_end);
