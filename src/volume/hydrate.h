/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Residency: blocks come back (hydrate) and go (evict).
 */
#include "volume/live.h"

struct hydrator *hydrator_new(struct volume *volume);
int hydrator_start(struct hydrator *hydrator);
void hydrator_stop(struct hydrator *hydrator); /* answers what is parked with -EINTR, joins */
void hydrator_free(struct hydrator *hydrator); /* stops it first */

/*
 * Make [@offset, @offset + @length) of @live resident for @reader, a handle (only compared: who
 * reads in order is read ahead); @done(arg, 0 or error) from a hydrator thread, once. Waits at most
 * hydrate_timeout while no tier answers (-ETIMEDOUT). Takes its own reference. When it returns an
 * error @done is never called.
 */
typedef void (*hydrate_done)(void *arg, int result);
int hydrate_async(struct live *live, const void *reader, uint64_t offset, uint64_t length,
		  hydrate_done done, void *arg);
void hydrate_cancel(struct hydrator *hydrator, void *arg);

enum hydrate_flags {
	HYDRATE_URGENT = 1 << 0, /* a person waits: before all others */
	HYDRATE_RAW = 1 << 1,    /* errors as they are (-EBADMSG, -ENOENT), not as read(2) gives */
};

/* The same, waiting. For writers of partial blocks; urgent. */
int hydrate_wait(struct live *live, uint64_t offset, uint64_t length);

/* All of it, at leisure, with raw errors: fetch, pins. */
int hydrate_all(struct live *live);

/* What comes of @live ahead of its readers ends: a person wants it gone. Waits a moment for that.
 */
void hydrate_end_ahead(struct live *live);

/*
 * @reader read [@offset, @offset + @length) of @live, which was here: read ahead when it is
 * sequential and comes near the end of what is here. Cheap, never waits.
 */
void hydrate_hint(struct live *live, const void *reader, uint64_t offset, uint64_t length);

/*
 * Evict now: -EBUSY open, -EPERM pinned or not stored or damaged, -ENOTRECOVERABLE not enough good
 * copies at this moment (they are re-checked), -ENOTUNIQ some of them may still be written over,
 * else bytes freed.
 */
int64_t evict_file(struct volume *volume, uint64_t id);
