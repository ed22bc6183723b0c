/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Offload: cards into a mounted volume, each file read once and compared by digest with what the
 * daemon read back (HACKING, Offload). Inside `mediafs offload` only.
 */
#include <stdatomic.h>

#include "card/card.h"
#include "cli/cli.h"
#include "cli/source.h"
#include "cli/target.h"
#include "control/client.h"
#include "hash/ahead.h"
#include "manifest/expected.h"
#include "util/thread.h"

/* Longest path of a card's file: so that it can be named below /proc/self/fd. */
#define OFFLOAD_PATH_MAX 4000

enum item_state {
	ITEM_WAITS,     /* not looked at */
	ITEM_COPIED,    /* written under the name of its part, not compared yet */
	ITEM_DONE,      /* read back, equal, and has its name */
	ITEM_THERE,     /* its name had equal, verified bytes */
	ITEM_ELSEWHERE, /* equal, verified bytes are at ->as */
	ITEM_OTHER,     /* its name has other bytes: left alone */
	ITEM_DIFFERS,   /* what was read back is not what the card has */
	ITEM_FAILED,    /* ->error, while ->doing */
};

/* What the card's own manifests say of a file. */
enum item_manifest { MANIFEST_SILENT, MANIFEST_EQUAL, MANIFEST_DIFFERENT };

/* A regular file of the card. */
struct item {
	const struct source_entry *entry; /* borrowed */
	enum item_state state;
	bool size_known; /* the volume has or had bytes of that size */
	bool replaces;   /* it may take the place of what has its name */
	int error;
	const char *doing;    /* static: "read it from the card" */
	char *as;             /* owned; a path in the volume */
	struct digest digest; /* of what the card gave; from ITEM_COPIED on */
	enum item_manifest manifest;
	char *manifest_why; /* owned; of a difference */
	bool cached;        /* read again from memory: that proves nothing */
	bool is_alone;      /* its folder was made by this run: nothing can have its name */
	bool is_looked_at;  /* guarded by the card's lock */
};

struct offload;
struct offload_card;

/* Small files cost round trips, not bytes: so many of a card are on their way at once. */
#define OFFLOAD_COPIERS 4

/* A thread that copies files of a card, one at a time. The first takes the large ones. */
struct copier {
	struct offload_card *card; /* borrowed */
	struct thread thread;
	struct ahead writer;
	int part_fd;
};

struct offload_card {
	/* Constant while it is copied. */
	struct offload *offload; /* borrowed */
	struct source source;
	struct source_identity identity;
	struct card *card; /* owned; NULL: none that is known */
	char *name;        /* owned; of the folder */
	char *to;          /* owned; the folder, absolute, in the mount */
	char *below;       /* owned; the same as a path in the volume, with a slash at its end */
	int to_fd;         /* owned; the same */
	struct client *client;     /* owned; of the first copier; NULL: this user may not ask */
	int marker_fd;             /* owned; holds the lock */
	bool resumed;              /* the marker was there already */
	struct expected *expected; /* owned; what the manifests on the card say */
	uint64_t manifest_faults; /* manifests that cannot be used, listed files that are missing */
	struct item *items;
	size_t count;
	uint64_t bytes;
	char device[48]; /* in /sys/dev/block, "" none: when it vanishes, so did the card */

	struct copier copiers[OFFLOAD_COPIERS];
	unsigned misses; /* of the first: files in a row, read to see that they are not elsewhere */
	_Atomic uint64_t attributes_lost; /* that the volume does not take */
	_Atomic uint64_t seen_bytes;      /* for progress only */

	struct mutex lock; /* rank 98; guards the rest */
	size_t next_small, next_large;
	size_t done;      /* items that were looked at */
	size_t looked;    /* of those, how many from the first on without a gap */
	unsigned running; /* copiers */
	bool gone;        /* the card vanished */

	/* Of the thread that follows. */
	size_t told;   /* items that it is through with */
	size_t window; /* so many files are asked for at once */
};

struct offload {
	struct cli *cli;
	struct card_rules *rules; /* owned; those of the volume's store too */
	bool replace, reread, whole;
	struct offload_card *cards; /* owned */
	size_t count;
	struct client *client; /* owned; of the thread that follows; NULL: this user may not ask */
	int64_t start_ns;
	atomic_bool stopped;     /* by a signal, or since the volume is gone */
	atomic_bool volume_gone; /* the daemon ended, or the volume was unmounted */
};

/* cli/offload_plan.c: what goes where, and whether it can; nothing is written until all is known.
 */

/* 0, or the exit code: complained already. offload_plan_fini() in any case. */
int offload_plan(struct offload *offload, const char *dest);
void offload_plan_fini(struct offload *offload);

/* All of @card is there: no marker, no parts of other runs, times and modes as on the card. */
int offload_close(struct offload_card *card);

/* Name of the part of the file @path beside it, relative to the card. -ENAMETOOLONG. */
int offload_part(const char *path, char *ret_part, size_t size);

/*
 * cli/offload_known.c: content that is in the volume already. Who may not ask the daemon (its
 * socket is its owner's) has all of the card copied.
 */
#define KNOWN_FROM_BYTES                                                                           \
	(1u << 20) /* smaller files are copied anyway: a folder needs its sidecars */

/* Sets ->size_known of the items of @card. -ENOMEM. */
int offload_known_sizes(struct offload_card *card);

/* Is there a verified file with the digest of @item, outside the card's own folder? 1 with ->as. */
int offload_known(const struct offload_card *card, struct item *item);

/*
 * cli/offload_history.c: is @path the chain of an ASC MHL history that was continued in the volume
 * since it came from the card? Then the card's is the older one, and goes nowhere.
 */
bool offload_history_goes_on(const struct offload_card *card, const char *path);

/*
 * What the daemon knows of the parts of @items, all ITEM_COPIED: result and digest of each, as of
 * offload_ask(). Fails where this user may not ask.
 */
#define KNOWN_ITEMS_MAX 256 /* as many as the daemon takes: control/request_known.c */
int offload_known_parts(struct offload_card *card, struct item *const *items, size_t count,
			int *ret_results, struct digest *ret_digests);

/* cli/offload_copy.c: a copier. */
void *offload_copy(void *arg);

/* True for an error after which nothing can be had from the volume. */
bool offload_volume_is_gone(int error);

/*
 * What the daemon knows of @path in the folder of @card: 1 verified, with its digest; 0 not (yet);
 * -EBADMSG damaged; -ENOENT and so on.
 */
int offload_ask(const struct offload_card *card, const char *path, struct digest *ret_digest);

/* cli/offload_tell.c */
void offload_tell_item(struct offload *offload, const struct offload_card *card,
		       const struct item *item);

/* A manifest of the card cannot be used, or tells of @path that is missing. */
void offload_tell_manifest(const struct offload_card *card, const char *path, const char *text);
void offload_tell_progress(struct offload *offload);

/* The summary; the exit code. */
int offload_tell_end(struct offload *offload);
