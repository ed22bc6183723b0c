/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Catalog: the index of a store's tree, in SQLite (WAL), written by one thread.
 *
 * Writing calls copy their arguments into a bounded queue and return; the writer thread
 * applies them in order, many in one transaction (group commit, at most 200 ms or
 * 4096 steps late). A full queue makes the caller wait. catalog_barrier() makes all that
 * was queued before it readable, catalog_flush() durable too. Reads use a pool of
 * read-only connections and may run in any thread, but never in a FUSE worker's hot path.
 * Reads never see steps that are still queued: call catalog_barrier() first.
 *
 * While the database cannot be written (no room, the disk fails) catalog_error() tells why, calls
 * that wait return that, and those that do not wait are kept and applied in their order when it
 * can be written again, which is tried every few seconds. When that is hopeless (the database is
 * damaged) or more came than can be kept, it has failed for good: all calls return the error, and
 * the next catalog_open() finds it unclean.
 * The catalog is never the only place where a name or a byte lives (DESIGN D4).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash/digest.h"

#define CATALOG_SCHEMA_VERSION 7

struct catalog;

enum catalog_flags {
	CATALOG_CREATE = 1 << 0,    /* make it when it is missing */
	CATALOG_READ_ONLY = 1 << 1, /* no writer thread; writing calls give -EROFS */
};

/*
 * Open the database at @path. @site (a UUID as text) is written into every event.
 * -ENOENT missing, -EUCLEAN not a catalog or corrupt, -EPROTONOSUPPORT made by a newer
 * mediafs. Migrates older schemas forward. Starts the writer thread. Read-only works beside a
 * daemon that writes, and on read-only media.
 */
int catalog_open(const char *path, const char *site, enum catalog_flags flags,
		 struct catalog **ret_catalog);

/* Apply everything queued, checkpoint, mark clean, close. */
void catalog_close(struct catalog *catalog);

/* True when the last user of the database did not reach catalog_close(). */
bool catalog_was_unclean(const struct catalog *catalog);

/*
 * @unclean: catalog_close() leaves it marked so, because it was not brought level with the tree.
 * It does so by itself for a catalog that was unclean, until it is told otherwise.
 */
void catalog_keep_unclean(struct catalog *catalog, bool unclean);

int catalog_barrier(struct catalog *catalog);
/* Until @deadline_ns (monotonic) at most: then -ETIMEDOUT, as the disk does not take it in time. */
int catalog_barrier_until(struct catalog *catalog, int64_t deadline_ns);
int catalog_flush(struct catalog *catalog); /* barrier, then durable (WAL synced) */
int catalog_error(struct catalog *catalog); /* why nothing can be written now, 0: it can */

/* The error for whoever could do without changing the tree now: not for those who make room, while
 * what they change can still be kept. */
int catalog_refuses(struct catalog *catalog);

/*
 * What the disk has done cannot be kept from the catalog: whoever is about to change names there,
 * or to cut a file, has the memory for it beforehand. This thread's next two of catalog_put_node(),
 * catalog_put_name(), catalog_remove_name(), catalog_drop_node(), catalog_move_name() and
 * catalog_begin_generation() do not fail for want of it. -ENOMEM.
 */
int catalog_reserve(void);
void catalog_unreserve(void);

struct catalog_health {
	int error;      /* as catalog_error() */
	bool lost;      /* it failed for good */
	size_t waiting; /* changes that are not readable yet, and may be so for as long as @error */
};
void catalog_get_health(struct catalog *catalog, struct catalog_health *ret_health);

/*
 * Small settings and counters. catalog_get_meta(): 1 found (caller frees), 0 not, or error.
 * "sync" = "on": from now on the writer notes the paths that change, for the syncer (private.h).
 */
int catalog_set_meta(struct catalog *catalog, const char *key, const char *value);
int catalog_drop_meta(struct catalog *catalog, const char *key); /* fine when there is none */
int catalog_get_meta(struct catalog *catalog, const char *key, char **ret_value);
