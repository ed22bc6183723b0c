/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the parts of volume/ share. Included only inside volume/.
 */
#include "catalog/contents.h"
#include "catalog/events.h"
#include "store/store.h"
#include "transfer/transfer.h"
#include "util/thread.h"
#include "volume/limit.h"
#include "volume/manage.h"

struct nodes;     /* volume/node.h: what the kernel knows */
struct lives;     /* volume/live.h: files open or being worked on */
struct verifier;  /* volume/verifier.h */
struct behind;    /* volume/behind.h: writes put off */
struct hydrator;  /* volume/hydrate.h */
struct keeper;    /* volume/keeper.h: watermarks, scrub, pins, in the background */
struct leveller;  /* volume/level.h: catalog brought level with the tree */
struct seals;     /* volume/seals.h: folders that stay as they are */
struct historian; /* volume/historian.h: histories of offloads */
struct syncer;    /* volume/syncer.h: other sites */

struct volume {
	/* Constant after volume_open(). */
	enum volume_flags flags;
	struct store *store;         /* owned */
	struct catalog *catalog;     /* owned */
	struct transfer *transfer;   /* owned */
	struct nodes *nodes;         /* owned */
	struct lives *lives;         /* owned */
	struct behind *behind;       /* owned */
	struct verifier *verifier;   /* owned */
	struct hydrator *hydrator;   /* owned */
	struct keeper *keeper;       /* owned */
	struct leveller *leveller;   /* owned */
	struct seals *seals;         /* owned */
	struct historian *historian; /* owned */

	struct mutex tiers_lock;       /* rank 4: one change of the tiers at a time */
	struct syncer *_Atomic syncer; /* owned; NULL until there is a tier */

	struct mutex settings_lock; /* rank 90 */
	struct settings *settings;  /* owned */

	struct limit limit; /* volume/limit.h */

	struct mutex notify_lock; /* rank 91 */
	struct volume_notify notify;

	_Atomic uint64_t received_bytes; /* since open */
	_Atomic int64_t last_write_ns;   /* monotonic, of the last received byte */

	struct mutex status_lock; /* rank 92; the last two looks, for a rate */
	int64_t sample_ns;
	uint64_t sample_bytes, sample_rate;
};

/* One value of the live settings. */
int64_t volume_setting(struct volume *volume, enum setting setting);

struct rules; /* transfer/rules.h */
/* Which files stay here, as set now; what goes first is not in it. NULL without memory. */
struct rules *volume_rules(struct volume *volume);

/* Tell the kernel, when a mount listens. Never with a lock held that a FUSE worker takes. */
void volume_notify_entry(struct volume *volume, uint64_t parent, const char *name);
void volume_notify_inode(struct volume *volume, uint64_t id);
void volume_notify_attributes(struct volume *volume, uint64_t id);

/* Bytes arrived within the last 300 ms. */
bool volume_is_receiving(const struct volume *volume);
