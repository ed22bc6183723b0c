/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A store that was copied (restored from a backup, moved to another disk): its inodes have other
 * numbers than the catalog knows, and what one of its files had may be another's now. Names are
 * what a copy keeps: by them the catalog is given the numbers of this tree. Before anything else is
 * done with the catalog; the store is not mounted. Inside volume/ only.
 */
#include "catalog/catalog.h"
#include "store/store.h"

/* 1: the catalog's numbers are another tree's, 0: they are this one's. */
int level_was_copied(struct store *store, struct catalog *catalog);

/*
 * Put that right, durably, and remember which tree this is. 1: it was copied; bytes, times and what
 * is missing are the leveller's business, who must come next. 0: nothing to do. -ECANCELED as
 * level_walk().
 */
int level_find_again(struct store *store, struct catalog *catalog, const _Atomic bool *stop);
