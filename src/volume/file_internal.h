/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What file_*.c share: an open handle.
 */
#include "volume/file.h"
#include "volume/live.h"

struct file {
	/* Constant. */
	struct volume *volume; /* borrowed, outlives us */
	struct live *live;     /* owned, one ref; counted in its writers or readers */
	int fd;                /* owned; readable too where the file lets us */
	bool can_write;        /* opened for writing */
	bool can_read;         /* @fd can be read from */
	bool passes;           /* @fd may be given to the kernel (passthrough) */

	bool watched;             /* may be mapped past us (file_mapped.c) */
	int64_t watched_mtime_ns; /* of the backing file when it was opened */

	_Atomic unsigned refs; /* the handle itself and each parked read */

	/* Guarded by live->lock. */
	uint64_t errors_told;  /* of live->error_count */
	struct parked *parked; /* reads that wait for a tier; owned by the hydrator's answer */
	uint64_t good_block;   /* of a damaged file: index + 1 of the last one found good */
};

/* pread(2), whole unless the file ends. */
ssize_t file_get_bytes(int fd, void *buffer, size_t length, off_t offset);

/*
 * Resident bytes. Of a damaged file only what lies in blocks that are still as they were
 * received (short before the first other one, -EIO at it); all that is left where no
 * block map tells.
 */
ssize_t file_read_resident(struct file *file, void *buffer, size_t length, off_t offset);

/* Before the last reference of a handle goes. */
void file_check_mapping(struct file *file);

/* Drop a reference; the last one leaves the live object and closes. */
void file_unref(struct file *file);
