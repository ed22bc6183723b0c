/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Transfer: gets verified files to the tiers and blocks back. Joins catalog, store, tier.
 *
 * One uploader thread and one fetcher pool per volume. Knows nothing of FUSE or open
 * handles: what it must ask, it asks its host.
 */
#include "catalog/contents.h"
#include "store/store.h"
#include "tier/tier.h"

struct transfer;

struct transfer_tier {
	uint32_t id;       /* tiers.id */
	struct tier *tier; /* owned by transfer */
};

struct transfer_host {
	void *arg;
	/* A file was stored (or damaged while being read for sending): state already in the
	 * catalog. */
	void (*stored)(void *arg, uint64_t id, uint64_t generation);
	void (*damaged)(void *arg, uint64_t id, uint64_t generation, uint64_t block);
	/* When it returns, a change of the file's bytes that had begun is in the catalog's queue.
	 */
	void (*settle)(void *arg, uint64_t id);
	/* Bytes are being received right now: background work steps aside. */
	bool (*is_busy)(void *arg);
	/* Current value of a setting. */
	int64_t (*setting)(void *arg, enum setting setting);
	/* settings_tier.uplink of the tier with this name. */
	int (*uplink)(void *arg, const char *tier);
	/* A rule's globs; caller frees; NULL = built-in. */
	char *(*rule)(void *arg, const char *name);
};

/* Opens every [tier] of @settings, claims them in the catalog. Threads start in transfer_start().
 */
int transfer_new(struct catalog *catalog, struct store *store, const struct settings *settings,
		 const struct transfer_host *host, struct transfer **ret_transfer);
int transfer_start(struct transfer *transfer);
void transfer_stop(struct transfer *transfer); /* all that waits leaves with -ECANCELED */
void transfer_free(struct transfer *transfer); /* stops and joins */

/*
 * The tiers of the settings in their order, then those that were added since; NULL behind the last.
 * While one is taken out a walk over them may miss another; what was given stays valid.
 */
const struct transfer_tier *transfer_tier(const struct transfer *transfer, size_t index);

/*
 * While files are sent. What is in the store goes to a tier that is added. What one that is dropped
 * has alone counts as stored no more and goes to the others; nothing of it is deleted. The first
 * tier cannot be dropped: other sites are met there. One change at a time, and the settings changed
 * before; transfer_wake() after it.
 * -ECANCELED stopping, -EMFILE too many changes since the volume was opened, and of tier_open();
 * then nothing is added.
 */
int transfer_add_tier(struct transfer *transfer, const char *name, const char *url);
int transfer_drop_tier(struct transfer *transfer, const char *name); /* -ENOENT */

/* NULL: there is no tier called @name. */
const struct transfer_tier *transfer_find_tier(const struct transfer *transfer, const char *name);

/* While @leaves transfer_recheck*() count its copies no more; blocks are still read from it. */
void transfer_tier_leaves(struct transfer *transfer, const char *name, bool leaves);

/*
 * A file became VERIFIED: queue it for every tier, unless a rule ignores it. To be sent after
 * SETTING_SETTLE, what a tier calls small after a fifth of it.
 */
int transfer_file_verified(struct transfer *transfer, uint64_t id, uint64_t generation,
			   const char *path, uint64_t size);

/* A name changed: a file that a rule kept here may have to be sent now. Cheap. */
void transfer_renamed(struct transfer *transfer);

/* Settings changed, a tier may be back: look at everything again now, and try what failed. */
void transfer_wake(struct transfer *transfer);

/* The same when a person says so: nothing counts as poison from now on. */
void transfer_retry(struct transfer *transfer);

/* The rate that the host gives for SETTING_LIMIT may be another. */
void transfer_set_rate(struct transfer *transfer);

/*
 * Read [@offset, @offset + @length) of @content from the best good copy into @buffer.
 * @offset is block-aligned; whole blocks (or the last one). Every block is checked against the
 * content's map; one retry from another copy, then -EBADMSG. -EHOSTDOWN when no tier answers,
 * -ENOMEDIUM when the copies are archived, -ENOENT when no copy is recorded. Takes the rate limit
 * as FETCH_URGENT (a reader waits) or not. @pace (may be NULL) is asked now and then whether to go
 * on: its error ends it.
 */
enum fetch_flags { FETCH_URGENT = 1 << 0 };
int transfer_fetch(struct transfer *transfer, const struct content_row *content, uint64_t offset,
		   void *buffer, size_t length, enum fetch_flags flags,
		   const struct tier_source *pace);

/*
 * Ask the tiers now for copies of @content: each must exist, have the size and digest (read
 * back from its medium, or vouched for: tier_verify()). Updates the catalog's rows.
 */
struct transfer_count {
	int good;
	int unsettled; /* good now, and may still be written over: they count later */
};
int transfer_recheck(struct transfer *transfer, const struct content_row *content,
		     struct transfer_count *ret_count);

/*
 * The same, told one by one. @result: 0 it is good; -ENOTUNIQ it is, and may still be written over
 * (SETTING_OVERWRITE_WAIT); -ENOENT, -EBADMSG; -EHOSTDOWN and others: it cannot be told; -ENODEV
 * with @tier NULL: mediafs.conf has that tier no more. Not 0 ends it.
 */
typedef int (*transfer_recheck_fn)(void *arg, struct tier *tier, int result);
int transfer_recheck_each(struct transfer *transfer, const struct content_row *content,
			  transfer_recheck_fn fn, void *arg);

/*
 * The same of its copy in the one tier @tier (tiers.id): 0 it is good, 1 it is and may still be
 * written over, the reason that transfer_recheck_fn gets, or why it could not be asked: -EHOSTDOWN
 * at once when it is known to be away.
 */
int transfer_recheck_copy(struct transfer *transfer, const struct content_row *content,
			  uint32_t tier);

/*
 * See to it that a copy of @content can be read. 0: one can; -EINPROGRESS: it was asked for, now or
 * before; without @how nobody is asked: -ENOMEDIUM. -ENOENT no good copy, and what
 * tier_backend.restore gives. -EHOSTDOWN with *ret_away: that tier is away (NULL: mediafs.conf has
 * it no more), and no other has it.
 */
int transfer_restore(struct transfer *transfer, const struct content_row *content,
		     const struct tier_restore *how, const struct tier **ret_away);

/* The same of copies that could be read at once: 0, or -EHOSTDOWN with *ret_away. */
int transfer_find_away(struct transfer *transfer, const struct content_row *content,
		       const struct tier **ret_away);

/* For status. */
struct transfer_status {
	char path[512]; /* being sent, "" when idle */
	uint64_t path_bytes, path_done;
	uint64_t rate; /* bytes/s, over the last seconds */
	uint64_t sent_total;
	bool paused;
	bool aside;                   /* slow: bytes arrive on the same disk, and go first */
	bool tier_down;               /* any */
	int tier_error;               /* of the tier that is down */
	char tier_why[TIER_WHY_SIZE]; /* what it says of that, "" nothing */
	int64_t next_try_ns;          /* realtime, 0 = none */
};
void transfer_get_status(struct transfer *transfer, struct transfer_status *ret_status);

/* Wait out the token bucket for @bytes to or from the first tier: for sync. */
int transfer_pace(struct transfer *transfer, uint64_t bytes);
