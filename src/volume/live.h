/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Live files: the shared state of every regular file that is open, being verified,
 * evicted or hydrated. One object per inode, however many handles; counted.
 * It is the authority on state and generation while it exists; the catalog follows.
 */
#include "hash/receipt.h"
#include "store/residency.h"
#include "volume/internal.h"

struct live {
	/* Constant. */
	struct volume *volume; /* borrowed, outlives us */
	uint64_t id;

	/* Guarded by lives->lock, rank 20. */
	unsigned refs;
	bool loading; /* being made by live_get(); others wait */

	struct mutex lock;   /* rank 30; guards the rest */
	struct cond changed; /* state, verifying, moving, open counts */
	uint64_t generation;
	enum file_state state;
	int error;               /* sticks to the generation */
	uint64_t error_count;    /* errors so far: each handle tells each of them once */
	uint64_t changes;        /* rises with every change of bytes */
	unsigned writers;        /* handles open for writing */
	unsigned readers;        /* all other handles */
	bool verifying;          /* the verifier reads it now; `changes` tells it to give up */
	bool moving;             /* being evicted or placed: no new opens until done (they wait) */
	bool unlinked;           /* no name left: never verified, never sent */
	bool beginning;          /* the generation is not durable yet: no byte may change */
	bool is_level;           /* the catalog's row described the inode when it was read */
	_Atomic unsigned behind; /* acknowledged writes that are not in the file yet (behind.h) */
	uint64_t behind_size;    /* the file's size once they are, while there are any */
	uint64_t window_start;   /* written in one go and not started for the medium yet */
	uint64_t window_end;
	struct receipt *receipt; /* owned; NULL unless RECEIVING or RECEIVED. While @behind is not
				    0 its inside is the writer thread's, without the lock: drain
				    first, or find @changes as they were when it was drained */
	struct blockmap map; /* the content's, when @has_map: to resume a receipt, to check reads */
	bool has_map;
	bool no_map;        /* looked for in the catalog, there is none */
	bool has_residency; /* the file has the xattr: residency below is the truth; else all is
			       here */
	struct residency residency;
	unsigned putting_back; /* granules written whose xattr is not: the ctime to show is in
				  @residency */
};

/* True when no block is absent. Under the lock. */
static inline bool live_is_whole(const struct live *live)
{
	return !live->has_residency || residency_full(&live->residency);
}

struct lives *lives_new(struct volume *volume);
void lives_free(struct lives *lives);

/*
 * The live object of @id, made from the catalog and the residency xattr when it is not
 * there (blocks on SQL then). @fd: any descriptor of the file, for the xattr; -1: opened here.
 * -ENOENT, -ESTALE, -EUCLEAN (its residency cannot be told: nothing of it may be read).
 */
int live_get(struct volume *volume, uint64_t id, int fd, struct live **ret_live);

/*
 * As live_get(), for many in turn: the catalog's queue is waited for once, and again only when
 * another object went away meanwhile (its last steps may be queued) or the row does not
 * describe the inode. @look: zeroed before the first; one thread's.
 */
struct live_look {
	bool settled;
	uint64_t dropped;
};
int live_get_in_turn(struct volume *volume, uint64_t id, int fd, struct live_look *look,
		     struct live **ret_live);

/* As live_get(), for a file just created by us: no SQL, state RECEIVING, an empty receipt. The
 * catalog row (live->generation, live->state) is the caller's to queue. */
int live_create(struct volume *volume, uint64_t id, struct live **ret_live);

/* The object only if it exists already; NULL otherwise. Counted. */
struct live *live_peek(struct volume *volume, uint64_t id);
void live_put(struct live *live);
DEFINE_CLEANUP(struct live *, live_put)

/*
 * A number to start the generations of a new inode with: unlike any that an earlier file
 * with the same inode number had, so that a late step about that one is dropped.
 */
uint64_t live_new_generation(void);

/*
 * A change of the bytes is about to happen (write, truncate, fallocate): begins a new
 * generation unless one is being received. -EAGAIN means that something has to be fetched first
 * (absent blocks, the block map) or made durable (that what was verified ends): the caller unlocks,
 * calls live_prepare() and tries again.
 * -EIO for a damaged file: only cutting it to nothing makes it writable again.
 */
int live_begin_locked(struct live *live, int fd);

/*
 * Load live->map from the catalog, where it can tell about the bytes that are there: of
 * verified, received and damaged files. Blocks on SQL, once. Not with the lock held.
 */
int live_load_map(struct live *live);

/*
 * Waits until live_begin_locked() has what it needs: all blocks here, the map known, the end of a
 * verified generation durable. -EBUSY when many others wait for a tier already.
 */
int live_prepare(struct live *live);

enum change_order {
	CHANGE_AFTER_WRITES, /* every acknowledged write is in the file */
	CHANGE_QUEUED,       /* the change goes behind them by itself */
};

/*
 * Both: take the lock, wait while it is moved, begin. 0: live->lock is held, the change may be
 * made and the receipt told. Otherwise an error, and not held.
 */
int live_lock_for_change(struct live *live, int fd, enum change_order order);

/* Cut to nothing and begin a generation, whatever it was. Needs no block. */
int live_cut_locked(struct live *live, int fd);

/*
 * Bytes that were acknowledged are gone or did not match: the generation is DAMAGED, which is
 * logged, told as an event with @detail and kept in the catalog. Not with the lock held.
 * @generation: nothing happens when it is no longer the current one.
 */
void live_damage(struct live *live, uint64_t generation, int error, const char *detail);

/* The same for a failed write or fsync: people are to write it again. */
void live_lose(struct live *live, uint64_t generation, int error);

/* An error that a writer saw: each handle's flush tells it once. */
void live_note_error_locked(struct live *live, int error);

/* The same for a write that a full disk (or a limit) refused: nothing acknowledged was lost. Logged
 * and told as an event, once a generation. Not with the lock held. */
void live_refused(struct live *live, int error);

/* The catalog was moved to @state by others (queued, stored, repaired): follow. Any thread. */
void live_follow(struct volume *volume, uint64_t id, uint64_t generation, enum file_state state);

/*
 * Every acknowledged byte is in the backing file when it returns (before stat, utimens, ...).
 * Not with the lock held.
 */
void live_drain(struct live *live);
void live_drain_locked(struct live *live); /* gives up the lock while it waits */

/* The same by number. True when the file is live: what was seen of it before may be old. */
bool live_drain_id(struct volume *volume, uint64_t id);
