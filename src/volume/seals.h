/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Seals: folders in which what is there stays as it is (HACKING, "Seals"). An offload is sealed
 * when its history is written: its files are not written to, cut, renamed or removed any more, nor
 * its folders; new ones may be added, which are free until the next sealing. The folder `ascmhl` in
 * it is changed by the historian only. What computers leave (rules.ignore) is nobody's business.
 *
 * The truth is an xattr on the backing folder: the seal goes with it wherever it is renamed to.
 * All checks are -EPERM, logged with a hint, or 0. No SQL but for hard links and inodes that the
 * kernel does not know.
 */
#include "volume/internal.h"

#define SEAL_XATTR "user.mediafs.sealed"
/* Of what came from another site into a sealed folder. */
#define PLACED_XATTR "user.mediafs.placed"

struct seals *seals_new(struct volume *volume);
int seals_load(struct seals *seals); /* before anybody uses the volume */
void seals_free(struct seals *seals);

/* The calling thread writes histories: nothing is refused to it. */
void seals_exempt_me(struct seals *seals);

/* Something is to be made as (@parent, @name). */
int seals_check_new(struct seals *seals, uint64_t parent, const char *name);

/* What is called (@parent, @name) is to lose that name. @fd: it, O_PATH is fine. */
int seals_check_name(struct seals *seals, uint64_t parent, const char *name, int fd);

/* Bytes, size or times of the inode @id, @fd, are to change. */
int seals_check_change(struct seals *seals, uint64_t id, int fd);

/* Realtime: what was made in the folder @folder until then is sealed. 0: it is no sealed folder. */
int64_t seals_since(struct seals *seals, uint64_t folder);

/* 1: the folder @id is sealed, or one above it; 0. */
int seals_cover(struct seals *seals, uint64_t id);

/*
 * What another site did to the inode @id would change it here, although it was sealed at this
 * site: 1. 0: it was not, or nothing is told of it.
 */
enum seal_part { SEAL_ALL, SEAL_MEDIA /* not what lies in `ascmhl` */ };
int seals_hold(struct seals *seals, uint64_t id, enum seal_part part);

/*
 * Another site's file or folder @fd (O_PATH is fine) is about to be told as one in @parent: where
 * that is sealed it is so too, at once, and nothing else that comes meanwhile is.
 */
int seals_placed(struct seals *seals, uint64_t parent, int fd);

/*
 * Of those who seal a folder each waits for the one before: from seals_enter() to seals_leave() it
 * is nobody else's turn. -ENOMEM.
 */
int seals_enter(struct seals *seals, uint64_t folder);
void seals_leave(struct seals *seals, uint64_t folder);

/*
 * Sealing in two steps, in one's turn: from seals_try() on everything is refused, seals_keep()
 * makes it durable, seals_undo() leaves the folder as it was. -EBUSY: a file of the folder is open
 * for writing; *ret_path is its name, caller frees.
 */
struct seal_try {
	uint64_t folder;
	int64_t since_ns;  /* as it was tried: somebody else's seal is left alone */
	int64_t before_ns; /* sealed since, before that; 0: not */
	bool before_local;
};
int seals_try(struct seals *seals, uint64_t folder, struct seal_try *ret_try, char **ret_path);
/* -ESTALE: somebody unsealed it meanwhile, so it is open. */
int seals_keep(struct seals *seals, const struct seal_try *try, const char *actor);
void seals_undo(struct seals *seals, const struct seal_try *try);

/* 0 also when it was not sealed by itself. Logged with @actor, and remembered as meant. */
int seals_open(struct seals *seals, uint64_t folder, const char *actor);

/* 1: somebody unsealed it on purpose, and nobody sealed it since. */
int seals_was_opened(struct seals *seals, uint64_t folder);

/* The site that sealed or unsealed the folder was another one: so it is here. */
int seals_follow(struct seals *seals, uint64_t folder, bool sealed);
