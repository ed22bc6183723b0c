/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What people do with a running volume: control/ calls these. All may block on SQL.
 */
#include "catalog/contents.h"
#include "catalog/events.h"
#include "transfer/transfer.h"
#include "volume/volume.h"

#define UNREAD_MAX 100000 /* counting more would hold up the answer */

struct volume_status {
	struct catalog_totals totals;
	struct queue_totals queue;
	struct transfer_status transfer;
	uint64_t receiving_rate; /* bytes/s arriving */
	uint64_t verify_backlog; /* files waiting for read-back */
	uint64_t verify_rate;    /* bytes/s */
	uint64_t disk_free, disk_total;
	uint64_t pending_publish; /* records not yet told to other sites */
	uint64_t conflicts;
	uint64_t unread;         /* verified files that are to be read again, up to UNREAD_MAX */
	int64_t uploaded_eta_ns; /* duration, -1 unknown */
	struct catalog_health catalog;
	bool read_only;
	bool scrub_aside;  /* the scrub waits for bytes that arrive */
	bool verify_aside; /* the read-back too, as the disk is behind with them */
};
int volume_get_status(struct volume *volume, struct volume_status *ret_status);

/* Offloads whose history was written, or is as it should be, since the start: the last ones. */
#define SETTLED_OFFLOADS_MAX 16
struct settled_offload {
	uint64_t folder;
	int64_t settled_ns; /* realtime */
};
/* Newest first; returns how many. */
size_t volume_settled_offloads(struct volume *volume,
			       struct settled_offload ret_list[SETTLED_OFFLOADS_MAX]);

struct store *volume_store(struct volume *volume);
struct catalog *volume_catalog(struct volume *volume);

/* The tiers in use, one after the other; borrowed, valid until the end. NULL past the last. */
const struct transfer_tier *volume_tier(const struct volume *volume, size_t index);

/*
 * Does @tier count as another place? What mediafs.conf says (tier.NAME.offsite), else S3 does and
 * a directory does not.
 */
bool volume_tier_is_offsite(struct volume *volume, const struct tier *tier);

/*
 * Change a setting in the running volume and in mediafs.conf. *ret_message as settings_set_text().
 * 1: it takes effect at the next mount (the first tier, where other sites are met).
 */
int volume_set_setting(struct volume *volume, const char *key, const char *value,
		       char **ret_message);

/* While @leaves its copies count for no eviction, and for no `safe`. Nothing where there is none.
 */
void volume_tier_leaves(struct volume *volume, const char *name, bool leaves);

/* Use the tier @name of @key (tier.NAME.url), or no more, as the settings now say. 1 as above. */
int volume_take_tier(struct volume *volume, const char *key, const char *name);

/* As volume_set_setting() for this mount only: mediafs.conf is left alone. */
int volume_override(struct volume *volume, const char *key, const char *value, char **ret_message);
int volume_get_setting(struct volume *volume, const char *key, char **ret_value);

/* Called for each file worked on: 0 done, or the error why not. Non-zero return stops. */
typedef int (*volume_progress_fn)(void *arg, const char *path, uint64_t bytes, int error);

enum residency_verb { RESIDENCY_EVICT, RESIDENCY_FETCH, RESIDENCY_PIN, RESIDENCY_UNPIN };

/* On @path (relative to the root) and everything under it. -ENOENT. */
int volume_residency(struct volume *volume, enum residency_verb verb, const char *path,
		     volume_progress_fn progress, void *arg);

/* What volume_restore() found below a path. */
struct restore_counts {
	uint64_t files, bytes;               /* all */
	uint64_t here_files, here_bytes;     /* whole here now */
	uint64_t coming_files, coming_bytes; /* asked for, and not readable yet */
	uint64_t away_files;                 /* wait for a tier that is away */
};

/* Of a file that was fetched, or failed; -EHOSTDOWN: it waits for the tier @away (NULL: for one
 * that mediafs.conf has no more). Not 0 ends it. */
typedef int (*volume_restore_fn)(void *arg, const char *path, uint64_t bytes, int result,
				 const char *away);

/*
 * One pass over @path and everything under it: ask for what is archived, fetch what can be read.
 * Repeat it while something is coming, or a tier is away. -ENOENT.
 */
int volume_restore(struct volume *volume, const char *path, const struct tier_restore *how,
		   volume_restore_fn progress, void *arg, struct restore_counts *ret_counts);

/*
 * Seal the folder @path (volume/seals.h), or open it, as @actor. -ENOENT, -ENOTDIR, -EINVAL for the
 * root, -ENODATA when no manifest lies in it, -EBUSY with *ret_path (caller frees): a file that is
 * open for writing. 0 also when it is so already.
 */
int volume_seal(struct volume *volume, const char *path, const char *actor, char **ret_path);
int volume_unseal(struct volume *volume, const char *path, const char *actor);

/* Each copy of @content, asked for now: transfer_recheck_each(). */
int volume_recheck_copies(struct volume *volume, const struct content_row *content,
			  transfer_recheck_fn fn, void *arg);

/*
 * Is the file @id in the tree under its name, and is what is here of it on the medium as it was
 * verified: scrub_file(). 0 also when there is nothing to check (it is not verified). -ENOENT.
 * @pace is called before each block, not 0 ends it (-ECANCELED).
 */
int volume_check_file(struct volume *volume, uint64_t id, int (*pace)(void *arg, uint64_t bytes),
		      void *arg);

struct live;

/*
 * What is known of the @count files @ids, for who asks for one after the other: as long as it is
 * held no question about them waits for the catalog. @ret_held: room for @count; NULL: that one
 * cannot be held, who asks for it is told why.
 */
void volume_hold_files(struct volume *volume, const uint64_t *ids, size_t count,
		       struct live **ret_held);
void volume_let_go(struct live **held, size_t count);

/* Everything received so far is in the catalog's readable part. */
int volume_barrier(struct volume *volume);

/*
 * Tell other sites and hear of them once, now; @unless_heard: unless that has gone well since the
 * start (before it a folder may be here and its files not): then only whether the last look failed.
 * Blocks as long as the tier does. 0 without a tier.
 */
int volume_sync(struct volume *volume, bool unless_heard);

/* Write an event with the volume's site. */
void volume_event(struct volume *volume, const char *actor, const char *event, const char *path,
		  const char *digest, const char *detail);

/*
 * The kernel is told through this when another site changed the tree. Set by fs/.
 */
struct volume_notify {
	void *arg;
	void (*entry)(void *arg, uint64_t parent,
		      const char *name);       /* name appeared, moved or went */
	void (*inode)(void *arg, uint64_t id); /* attributes or bytes changed */
	/* Attributes changed by a request that nobody has answered yet: told before it is. */
	void (*attributes)(void *arg, uint64_t id);
};
void volume_set_notify(struct volume *volume, const struct volume_notify *notify);
