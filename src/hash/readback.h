/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Read-back: read a file from its medium, past the page cache, and digest it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "hash/blockmap.h"
#include "hash/digest.h"

enum readback_source {
	READBACK_DIRECT,  /* O_DIRECT */
	READBACK_DROPPED, /* no O_DIRECT here: pages synced, dropped and seen to be gone
			     (mincore/cachestat) */
	READBACK_MEMORY,  /* the file system has no medium behind its pages (tmpfs) */
	READBACK_CACHED,  /* the pages would not go: nothing is proven; never verifies */
};

struct readback {
	/* In: */
	const uint8_t *resident; /* bitmap of blocks to read, or NULL for all. Others keep hash 0 */
	/* Called before each block with its length: may sleep for a rate; non-zero aborts
	 * (-ECANCELED). */
	int (*pace)(void *arg, uint64_t bytes);
	/* Called with the bytes of each block, in order, by the calling thread, for digests of
	 * others. Not 0 ends the read with it. */
	int (*tap)(void *arg, const void *bytes, size_t length);
	/* Called at the end, also after a failure, before the memory of the blocks goes: who still
	 * uses that of the last one waits here. That of a block stays as it is until pace() was
	 * called twice after it. */
	void (*release)(void *arg);
	void *arg;
	/* Nothing need become durable by it: what is dirty is written where it would be read from
	 * memory otherwise, and the medium's own cache is not flushed for each file. */
	bool is_look;

	/* Out: */
	struct blockmap map;  /* blockmap_fini() by the caller */
	struct digest digest; /* of the whole; only when every block was read */
	enum readback_source source;
};

/*
 * @fd: any readable descriptor of a regular file; it is reopened. Syncs the file first, unless that
 * is only a look.
 * -ESTALE when the size changed meanwhile, -EIO as read() gives, -ECANCELED by @pace.
 */
int readback_file(int fd, struct readback *readback);
