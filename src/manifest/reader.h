/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reader: an archive of unknown origin, read by a process of its own that can do nothing else
 * (util/sandbox.h). What it tells is checked again here: it may have been taken over.
 */
#include "manifest/archive.h"

struct reader;

enum reader_flags {
	READER_NAMES_ONLY = 1 << 0, /* members without their bytes */
};

/*
 * Start reading the archive at @fd (borrowed; from where it stands). Forks: no other thread may
 * run. Negative errno also when the kernel has no sandbox.
 */
int reader_start(int fd, enum reader_flags flags, struct reader **ret_reader);

/* Ends the process. */
void reader_free(struct reader *reader);
DEFINE_CLEANUP(struct reader *, reader_free)

/*
 * 1 and the next member (strings valid until the next call); 0 at the end; -EBADMSG: the archive
 * cannot be read further, reader_why() says why; other errno: of the reading itself. What was not
 * taken of the member before is passed over.
 */
int reader_next(struct reader *reader, struct member *ret_member);

/* As unpacker_bytes(): 1 and bytes, 0 at the member's end. */
int reader_bytes(struct reader *reader, const void **ret_bytes, size_t *ret_length,
		 uint64_t *ret_offset);

/* Bytes of the archive, as it lies there, that were read for what came so far. */
uint64_t reader_raw_position(const struct reader *reader);

/* For a person. Never NULL; valid until the next call. */
const char *reader_why(const struct reader *reader);
