/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of fsck share. One thread owns it; fsck_read.c and fsck_quick.c have others. */
#include "catalog/contents.h"
#include "store/residency.h"
#include "store/store.h"
#include "tier/tier.h"
#include "util/table.h"
#include "volume/fsck.h"

struct fsck_tier {
	uint32_t id;       /* 0: not in the catalog, so nothing is in it */
	struct tier *tier; /* owned */
	int error;         /* of the probe */
};

/* Ids of files. */
struct fsck_ids {
	uint64_t *ids; /* owned */
	size_t count, room;
	uint64_t bytes; /* of the files, as far as they are here */
};

struct fsck {
	enum fsck_flags flags;
	const struct fsck_host *host;
	struct store *store;       /* owned */
	struct settings *settings; /* owned */
	struct catalog *catalog;   /* owned */
	bool mounted;              /* by a daemon: everything is only read */
	bool can_write;            /* findings are written into the catalog */
	bool can_repair;
	bool copied;             /* the store, since it was last levelled */
	struct fsck_tier *tiers; /* owned */
	size_t tier_count;
	bool tiers_open;
	struct fsck_manifests *manifests; /* borrowed: while the catalog is made anew; NULL */
	struct fsck_ids touched;          /* owned; files to read, because somebody touched them */
	struct fsck_report report;
};

/* fsck.c ------------------------------------------------------------------------------- */

bool fsck_stopped(const struct fsck *fsck);
void fsck_found(struct fsck *fsck, const struct fsck_finding *finding);
void fsck_tell(struct fsck *fsck, enum fsck_outcome outcome, const char *what, const char *path,
	       const char *format, ...) __attribute__((format(printf, 5, 6)));
/* host->failed(), with what @error means when it is not 0. Returns @error. */
int fsck_fail(struct fsck *fsck, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void fsck_event(struct fsck *fsck, const char *event, const char *path, const struct digest *digest,
		const char *detail);

/* A path of @id for people: "inode N" when it has none. Caller frees; NULL without memory. */
char *fsck_path(struct fsck *fsck, uint64_t id);

/* The regular file @row is about, open with @flags (access mode), by its path. -ESTALE: another. */
int fsck_open_file(struct fsck *fsck, const struct node_row *row, const char *path, int flags);

/* All files in these states, in addition to those in @ids. */
int fsck_collect(struct fsck *fsck, unsigned state_mask, struct fsck_ids *ids);
int fsck_add_id(struct fsck_ids *ids, const struct node_row *row);

/* fsck_quick.c ------------------------------------------------------------------------- */

/* The catalog against itself and against the tree; states. */
int fsck_quick(struct fsck *fsck);

/* A file whose bytes are all here is VERIFIED again: the daemon queues it. 1: done, 0: no such. */
int fsck_requeue(struct fsck *fsck, const struct node_row *row);

/* fsck_read.c -------------------------------------------------------------------------- */

/* What one file turned out to be. */
struct fsck_block {
	uint64_t index, expected, actual;
	bool unreadable;
	bool mended;
};

struct fsck_file {
	struct fsck_file *next;
	struct node_row row;
	char *path;                 /* owned */
	struct content_row content; /* owned; map and digest that it should have */
	bool has_content;           /* else only content.map and size are set */
	int error;                  /* could not be read at all */
	bool cached;                /* the page cache answered */
	bool wrong_map;             /* whole digest right, map wrong: the catalog's map is */
	bool wrong_digest;          /* map right, whole digest wrong */
	bool settled;               /* rebuild: received and read back, equal */
	struct digest read_digest;
	struct blockmap read_map;  /* owned; with wrong_map and settled */
	struct fsck_block *blocks; /* owned: those that differ */
	size_t block_count;
	uint64_t bytes; /* read */
};
void fsck_file_free(struct fsck_file *file);

/*
 * Read @ids with two threads; @done hears of every file in the calling thread. Compared with what
 * the catalog knows, or (FSCK_READ_RECEIVE) received and read back.
 */
enum fsck_read_flags { FSCK_READ_RECEIVE = 1 << 0 };
int fsck_read(struct fsck *fsck, const struct fsck_ids *ids, enum fsck_read_flags flags,
	      int (*done)(struct fsck *fsck, struct fsck_file *file));

/* fsck_check.c: called by the threads of fsck_read.c ------------------------------------- */

/* @pace as in hash/readback.h. 1: *ret_file says what it is, 0: nothing to check, or an error. */
int fsck_check_file(struct fsck *fsck, uint64_t id, enum fsck_read_flags flags,
		    int (*pace)(void *arg, uint64_t bytes), void *arg, struct fsck_file **ret_file);

/* Bits of the blocks that are here, or NULL for all (*ret_count: how many). -ENOMEM. */
int fsck_resident_blocks(int fd, uint64_t size, uint8_t **ret_bits, uint64_t *ret_count);

/* fsck_full.c -------------------------------------------------------------------------- */

/* Every resident byte; without FSCK_FULL only of files that are damaged or were touched. */
int fsck_full(struct fsck *fsck);

/* fsck_mend.c -------------------------------------------------------------------------- */

/* Fetch the blocks of @file that differ from a good copy; sets ->mended. 0 also when none was. */
int fsck_mend(struct fsck *fsck, struct fsck_file *file);

/* Everything of @file is right now: it is no longer damaged. */
int fsck_heal(struct fsck *fsck, const struct fsck_file *file);

/* fsck_tiers.c ------------------------------------------------------------------------- */

/* Open and probe the tiers, once. Those that do not answer have ->error. */
int fsck_open_tiers(struct fsck *fsck);
struct fsck_tier *fsck_tier(struct fsck *fsck, uint32_t id);
int fsck_remote(struct fsck *fsck);

/* fsck_rebuild.c ----------------------------------------------------------------------- */

/* Put catalog.db aside. *ret_name: what it is called now; caller frees. */
int fsck_put_aside(struct fsck *fsck, char **ret_name);
/* The rebuild failed: back to where it was, in place of what was half made. */
void fsck_put_back(struct fsck *fsck, const char *name);
/* Fill the new catalog from tree, tiers and journals. */
int fsck_rebuild(struct fsck *fsck, const char *old_name);

/* fsck_pins.c: pin what was pinned in the catalog put aside as @old_name, as far as it can be read.
 */
int fsck_take_pins(struct fsck *fsck, const char *old_name);
