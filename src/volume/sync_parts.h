/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the parts of the syncer share: sync_local.c (what our tree has), publish.c (tell others),
 * show.c (what others told), read_sites.c (their journals), bundler.c (bundles of ours), doubts.c
 * (who wrote over whom), syncer.c (the thread, our journal).
 */
#include "catalog/sync.h"
#include "sync/journal.h"
#include "transfer/rules.h"
#include "volume/syncer.h"

/* Another site whose journal cannot be read on: looked at again later. */
struct peer {
	char site[37];
	int64_t retry_ns; /* monotonic; 0 = nothing is wrong */
	char *fault;      /* told last; owned */
};

/* About single paths: what stops one often stops many, and again at each look. */
struct sync_warnings {
	int64_t again_ns; /* monotonic: not before */
	unsigned count;   /* in this pass */
};

/* Segments of ours that were pushed, for the bundle @bundle (0: none). */
struct bundler_segment {
	void *bytes; /* owned; NULL: not kept */
	size_t length;
};
struct bundler {
	uint64_t bundle;
	size_t bytes;
	struct bundler_segment kept[BUNDLE_SEGMENTS];
};

struct syncer {
	/* Constant after syncer_new(). */
	struct volume *volume; /* borrowed, outlives us */
	struct tier *tier;     /* where sites meet: the first one; borrowed */

	struct thread thread;
	struct mutex lock; /* rank 44; guards the next ones */
	struct cond changed;
	bool woken, stop, running;
	bool heard;        /* a round has gone well since the start: all is here that others told */
	int unheard;       /* why the last one that asked them did not; 0: it did */
	bool finished;     /* the thread has told what was to be told, or given up */
	int64_t finish_ns; /* monotonic: at the end, until when the last changes may be told */
	int64_t flush_ns;  /* monotonic: from when on others may be told again; INT64_MAX: the
			      last round failed, a wake does not hasten the next one */

	/* Only whoever is running. */
	char writer[37]; /* the UUID under which we publish */
	char name[64];   /* of our site */
	bool prepared;   /* this run of the program has begun: leftovers are gone */
	bool own_checked, caught_up, head_due;
	bool pushed; /* the tier has all of our journal, and the head that says so */
	int64_t listed_ns, polled_ns, news_ns, published_ns, blocked_ns; /* monotonic */
	int64_t doubts_ns; /* monotonic: a tier could not be asked, not again before */
	struct bundler bundler;
	uint64_t bundled; /* the last bundle that was made */
	bool bundled_known;
	int64_t bundle_ns; /* monotonic: not before */
	struct sync_warnings publish_warnings, show_warnings;
	struct peer *peers; /* owned */
	size_t peer_count;
};

bool syncer_stops(struct syncer *syncer);

/* Whether @error stops the whole pass: what one path does to us must not stop the others. */
bool syncer_is_fatal(const struct syncer *syncer, int error);

/* "cannot WHAT PATH yet: ERROR", for the first few paths of a pass, once in a minute. */
void syncer_warn(struct sync_warnings *warnings, int error, const char *what, const char *path);

/* What our tree has at a path, as a version would say it. */
struct local {
	bool found;
	struct node_row row;
	struct version_body body; /* kind 0: nothing that is told to sites; without tier and key */
	bool settled;             /* its bytes are known: it can be told */
	bool stored;
};
int local_get(struct syncer *syncer, const char *path, struct local *ret_local);
void local_fini(struct local *local);

/* Of what a version says: permissions that are told, for this kind. */
uint32_t local_mode(const struct version_body *body, uint32_t mode);
bool local_same_attributes(const struct local *local, const struct version_body *body);
bool local_same_content(const struct local *local, const struct version_body *body);

/* The tier whose UUID is @uuid; 1 found, 0 not one of ours. */
int syncer_find_tier(struct syncer *syncer, const char *uuid, uint32_t *ret_tier);

/* The tier that the catalog calls @id; NULL: not one of ours. */
struct tier *syncer_tier(struct syncer *syncer, uint32_t id);

/* A good copy of @content: 1 and @body gets tier and key, 0 there is none that sites could use. */
int syncer_find_copy(struct syncer *syncer, uint64_t content, struct version_body *body);

/* 1: the object that @body names was found not to be @content any more, whoever told of it. */
int syncer_is_lost(struct syncer *syncer, const struct version_body *body, uint64_t content);

/*
 * Look at the copies that are in doubt (catalog/doubts.h), in their tiers. What is lost is sent
 * again by who has it. 1: some were looked at; 0: none. A tier that is away is asked later.
 */
int doubts_run(struct syncer *syncer);
int doubts_are_due(struct syncer *syncer); /* 1: there are some */

/* Write records about all that is unpublished. Number of records, or a negative errno. */
int publish_run(struct syncer *syncer);

/* Make the tree equal to the versions. Number of paths still to do, or a negative errno. */
int show_run(struct syncer *syncer);

/* Read the journals of all sites. 0, or why the tier could not be asked. */
int read_sites_run(struct syncer *syncer);
void read_sites_free(struct syncer *syncer);

/* The segment @number is in the tier; takes @packed. */
void bundler_keep(struct syncer *syncer, uint64_t number, void *packed, size_t length);
/* When the tier has all of our journal: make a bundle that is due. Tried again later if it fails.
 */
void bundler_run(struct syncer *syncer);
void bundler_clear(struct syncer *syncer);
