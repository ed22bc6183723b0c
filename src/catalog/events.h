/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Event log: append-only, each row chained to the one before:
 * chain = SHA-256(previous chain, seq, time, site, actor, path, event, digest, detail),
 * integers as 8 big-endian bytes, strings with their NUL; row 1 starts from 32 zero bytes.
 */
#include "catalog/catalog.h"

struct event {
	uint64_t seq;       /* from 1, no gaps; set by the catalog */
	int64_t time_ns;    /* set by the catalog */
	const char *site;   /* set by the catalog */
	const char *actor;  /* "uid:1000", "daemon", "fsck" */
	const char *path;   /* "" when it is about no file */
	const char *event;  /* "verified", "damaged", "stored", "evicted", "mounted", ... */
	const char *digest; /* hex, or "" */
	const char *detail; /* free text, or "" */
};

/* Queued. @event's seq, time and site are ignored. NULL strings count as "". */
int catalog_add_event(struct catalog *catalog, const struct event *event);

enum event_order { EVENTS_OLDEST_FIRST, EVENTS_NEWEST_FIRST };

/* Events after @after_seq (oldest first), or the last @max ones (newest first). 0 max: all. */
int catalog_each_event(struct catalog *catalog, enum event_order order, uint64_t after_seq,
		       uint64_t max, int (*fn)(void *arg, const struct event *event), void *arg);

/* 0 when the chain holds; -EUCLEAN with *ret_seq at the first row that does not. */
int catalog_check_events(struct catalog *catalog, uint64_t *ret_seq);
