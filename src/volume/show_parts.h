/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What show.c (which paths, in which order) and show_path.c (one place in the tree) share. */
#include "sync/merge.h"
#include "volume/place.h"
#include "volume/sync_parts.h"

struct shown {
	struct version_id id;
	char *path; /* owned; NULL: no longer shown */
};

struct folder_time {
	char *path; /* owned */
	int64_t mtime_ns;
};

struct shower {
	struct syncer *syncer;
	bool changed; /* the disk, since it was synced */

	/* Told to the catalog when the disk has it. */
	struct shown *shown; /* owned */
	size_t shown_count, shown_room;
	struct folder_time *folders; /* owned */
	size_t folder_count, folder_room;

	char **removals; /* owned: paths where something dead is shown */
	size_t removal_count, removal_room;
	struct sync_note *done; /* owned */
	size_t done_count, done_room;
	size_t blocked;
};

/* Later: @id is shown at @path (NULL: nowhere). */
int show_at(struct shower *shower, const struct version_id *id, const char *path);

/* The tree is about to be changed at @path. */
int show_touches(struct shower *shower, const char *path);

/* Versions of equal content that are to be at one path. */
struct group {
	const struct version_row *rows;
	const struct plan *plan;
	size_t leader; /* row */
	const char *path;
	bool pending; /* its bytes cannot be had yet */
	bool hidden;  /* and are not to be in the tree unless they are ours */
};

/* 1 it is there, 0 not now. */
int show_fill(struct shower *shower, const struct group *group);

/* What is dead at @path goes, if it may: 1 done, 0 not now. */
int show_remove(struct shower *shower, const char *path);

enum may_drop {
	DROP_LATER,   /* in use, or the tier cannot be asked now */
	DROP_NEVER,   /* these bytes are nowhere else */
	DROP_ALLOWED, /* a tier has them */
};
enum may_drop show_may_drop(struct shower *shower, const struct local *local);

/* What is at @path goes. -EBUSY in use or written since, -ESTALE another is there, -ENOTEMPTY. */
int show_drop(struct shower *shower, const char *path, const struct local *local);
