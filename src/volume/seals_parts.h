/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What seals.c (what a seal forbids) and seals_set.c (how one comes and goes) share. */
#include "util/table.h"
#include "volume/seals.h"

struct seal {
	uint64_t folder;
	int64_t since_ns; /* realtime: what was there then is sealed */
	bool local;       /* sealed at this site */
	bool kept;        /* no trial any more: people are told */
	int64_t told_ns;  /* monotonic */
};

struct seals {
	/* Constant after seals_new(). */
	struct volume *volume; /* borrowed, outlives us */

	_Atomic size_t count;     /* of @by_folder: most volumes have none, and nothing to do */
	_Atomic pid_t exempt_tid; /* of the historian's thread */

	struct mutex lock; /* rank 36; guards the rest */
	struct table by_folder;
	struct table turns; /* folders that are being sealed */
	struct cond turn_over;
};

/* @since_ns 0: it is not sealed. A new one is a trial. -ENOMEM. */
int seals_set_locked(struct seals *seals, uint64_t folder, int64_t since_ns, bool local);

/*
 * The xattr of the folder: "SINCE local", "SINCE site" (another one's), "0 open" (unsealed on
 * purpose). 1 there is one, 0 not, -EUCLEAN it cannot be read.
 */
int seals_write_mark(struct seals *seals, uint64_t folder, int64_t since_ns, const char *how);
int seals_read_mark(struct seals *seals, uint64_t folder, int64_t *ret_since_ns, char ret_how[8]);
