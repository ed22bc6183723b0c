/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeper: what happens by itself at idle priority: eviction above evict_above, scrub of files
 * not checked for scrub_interval, fetching of pinned files, the reserve.
 */
#include "volume/internal.h"

struct keeper *keeper_new(struct volume *volume);
int keeper_start(struct keeper *keeper);
void keeper_free(struct keeper *keeper);

/* -ENOSPC when writing @bytes would eat the reserve. Cheap: looks at the disk a few times a second.
 */
int keeper_admit(struct keeper *keeper, uint64_t bytes);
