/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Leveller: brings the catalog level with the tree (DESIGN D4). Walks the tree, compares
 * inode, size, mtime and ctime; whatever differs is received again. Names the tree
 * lost are removed and told as an event ("missing" when it was verified media).
 */
#include "volume/internal.h"

struct leveller *leveller_new(struct volume *volume);

/*
 * When the catalog was left unclean: one pass, in the caller's thread. Before anybody uses the
 * volume, and before verifier and transfer start: they trust the catalog (bytes that it does not
 * know about would count as damaged), and a name that moves ahead of the pass would be missed.
 */
int leveller_start(struct leveller *leveller);
void leveller_free(struct leveller *leveller);

struct level_report {
	uint64_t nodes, added, changed, touched, marked, missing, renamed;
};

/*
 * One pass over an unmounted store. With LEVEL_FIX the catalog is changed (and flushed), else
 * differences are only counted. @fn hears of each: "added", "renamed" (the inode was known under
 * another name), "changed" (size, mtime or type), "touched" (mode or ctime only), "marked" (the
 * residency xattr says other than the catalog), "missing". NULL: nobody. Used by fsck too.
 * -ECANCELED soon after *@stop became true (NULL: never).
 */
enum level_flags { LEVEL_FIX = 1 << 0 };
int level_tree(struct store *store, struct catalog *catalog, enum level_flags flags,
	       const _Atomic bool *stop, void (*fn)(void *arg, const char *what, const char *path),
	       void *arg, struct level_report *ret_report);
