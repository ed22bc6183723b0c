/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeper: what happens by itself at idle priority: eviction above evict_above, scrub of files
 * not checked for scrub_interval, fetching of pinned files, the reserve. Two threads.
 */
#include "volume/internal.h"

struct keeper *keeper_new(struct volume *volume);
int keeper_start(struct keeper *keeper);
void keeper_free(struct keeper *keeper);

/*
 * What is kept free of a disk of @total_bytes: the setting's share, and on small disks at least as
 * much as the catalog's log may grow to between checkpoints (but never above a quarter).
 */
uint64_t keeper_reserve(struct volume *volume, uint64_t total_bytes);

/* -ENOSPC when writing @bytes would eat the reserve. Cheap: looks at the disk a few times a second.
 */
int keeper_admit(struct keeper *keeper, uint64_t bytes);

/* A file is being scrubbed, and that waits for bytes that arrive. */
bool keeper_steps_aside(struct keeper *keeper);

/* Settings or pins changed: look now. */
void keeper_wake(struct keeper *keeper);

/*
 * Read what is here of @id from the medium and compare it with what was verified. @pace as in
 * readback, and -EAGAIN: ask again, unless the file was written meanwhile. 0 it matches, or there
 * is nothing to check now; -EBADMSG or -EIO: it is damaged now, which was logged and told; -ESTALE
 * it was written meanwhile; -EBUSY, -ECANCELED.
 */
int scrub_file(struct volume *volume, uint64_t id, int (*pace)(void *arg, uint64_t bytes),
	       void *arg);

/* Evict what was not used for longest until @bytes are free or nothing may go. Returns the bytes
 * freed, or -ECANCELED once @stopping says so. */
int64_t make_room(struct volume *volume, uint64_t bytes, bool (*stopping)(void *arg), void *arg);
