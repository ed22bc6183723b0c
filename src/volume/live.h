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

	unsigned refs; /* guarded by lives->lock, rank 20 */

	struct mutex lock;   /* rank 30; guards the rest */
	struct cond changed; /* state, verifying, open counts */
	uint64_t generation;
	enum file_state state;
	uint64_t content;
	int error;               /* sticks to the generation */
	unsigned writers;        /* handles open for writing */
	unsigned readers;        /* all other handles */
	bool verifying;          /* the verifier reads it now; a write makes it give up */
	bool moving;             /* being evicted or placed: no new opens until done (they wait) */
	bool unlinked;           /* no name left: never verified, never sent */
	struct receipt *receipt; /* owned; NULL unless RECEIVING or RECEIVED */
	bool has_residency;      /* residency below is the truth; otherwise all is here */
	struct residency residency;
};

struct lives *lives_new(struct volume *volume);
void lives_free(struct lives *lives);

/*
 * The live object of @id, made from the catalog and the residency xattr when it is not
 * there (blocks on SQL then). @fd: any descriptor of the file, for the xattr; -1: opened here.
 * -ENOENT, -EUCLEAN.
 */
int live_get(struct volume *volume, uint64_t id, int fd, struct live **ret_live);

/* As live_get(), for a file just created by us: no SQL. The catalog row is the caller's to queue.
 */
int live_create(struct volume *volume, uint64_t id, struct live **ret_live);

/* The object only if it exists already; NULL otherwise. Counted. */
struct live *live_peek(struct volume *volume, uint64_t id);
void live_put(struct live *live);

/*
 * A change of the bytes is about to happen (write, truncate, fallocate): begins a new
 * generation unless one is being received. Fully hydrated first, or cut: -EAGAIN means
 * absent blocks must be fetched before (the caller hydrates and tries again).
 */
int live_begin_locked(struct live *live, int fd);
