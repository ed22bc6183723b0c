/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Residency: blocks come back (hydrate) and go (evict).
 */
#include "volume/live.h"

struct hydrator *hydrator_new(struct volume *volume);
int hydrator_start(struct hydrator *hydrator);
void hydrator_free(struct hydrator *hydrator); /* answers what is parked with -EINTR, joins */

/*
 * Make [@offset, @offset + @length) of @live resident; @done(arg, 0 or error) from a hydrator
 * thread, once. Waits at most hydrate_timeout while no tier answers (-ETIMEDOUT). Takes its own
 * reference.
 */
typedef void (*hydrate_done)(void *arg, int result);
int hydrate_async(struct live *live, uint64_t offset, uint64_t length, hydrate_done done,
		  void *arg);
void hydrate_cancel(struct hydrator *hydrator, void *arg);

/* The same, waiting. For fetch, pins, writers of partial blocks. */
int hydrate_wait(struct live *live, uint64_t offset, uint64_t length);

/*
 * Evict now: -EBUSY open, -EPERM pinned or not stored or damaged, -ENOTRECOVERABLE not enough good
 * copies at this moment (they are re-checked), else bytes freed.
 */
int64_t evict_file(struct volume *volume, uint64_t id);
