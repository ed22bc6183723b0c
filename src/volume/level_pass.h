/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One pass of the leveller: in which order what is found is put right. Inside volume/ only.
 *
 * New names first, then names that belong to another inode now, then those that are gone: an
 * inode that moved has its new name before it loses the old one, and keeps its row.
 */
#include "util/table.h"
#include "volume/level.h"
#include "volume/level_walk.h"

struct level_later;

struct level_pass {
	/* Set by the owner; the rest zero. */
	struct store *store;
	struct catalog *catalog;
	const _Atomic bool *stop;
	int (*fix)(void *arg, const struct level_find *find); /* NULL: only count */
	void (*told)(void *arg, const char *what, const char *path);
	void *arg; /* of both */

	struct level_report report;
	struct table moved;        /* ids that have a new name */
	struct level_later *later; /* owned */
	size_t later_count, later_room;
};

int level_pass_run(struct level_pass *pass);
void level_pass_fini(struct level_pass *pass);

/* For level_remove(). */
bool level_pass_moved(void *pass, uint64_t id);
