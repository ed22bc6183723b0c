/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Syncer: tells other sites what changed here (journal of records in the tier) and shows
 * here what they told (placeholders). Formats and merging: sync/. One thread.
 */
#include "volume/internal.h"

struct syncer *syncer_new(struct volume *volume);
int syncer_start(struct syncer *syncer);
/*
 * What is stored is told to other sites, which takes 10 s at most, and nothing more is. While tiers
 * still work; the thread may be at it still, and ends when they are stopped.
 */
void syncer_finish(struct syncer *syncer);
/* Its thread has ended. Others may still wake it: until they have ended it is not freed. */
void syncer_stop(struct syncer *syncer);
void syncer_free(struct syncer *syncer);

/* Something at a path changed (queued in the catalog already): it is told as soon as sync.flush
 * allows. Cheap; any thread. */
void syncer_wake(struct syncer *syncer);

/* Publish and poll once, in this thread, now. For tests and `wait`. */
int syncer_run(struct syncer *syncer);

/* 1: other sites were asked since the start, and the last time it went well. 0: not yet; or why it
 * did not. */
int syncer_heard(struct syncer *syncer);
