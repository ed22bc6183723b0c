/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Showing: for every path whose versions changed, make our tree equal to them. First what is to
 * be there is put in place (moved within the tree where the bytes are here already), then what
 * is to go goes, deepest first. Never goes what exists nowhere else: it is published instead.
 * A path that cannot be done now (open for writing, in the way) stays noted.
 *
 * Where a version is shown is written only when the disk has it (place_sync()): after a power
 * failure a file that never got there must not look like one that a person deleted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge.h"
#include "util/error.h"
#include "util/io.h"
#include "volume/show_parts.h"

#define NOTES_AT_ONCE 2048

/* What is done waits for the disk ------------------------------------------------------ */

/* One more of @size bytes at the end of *list. */
static int grow(void *list, size_t *room, size_t count, size_t size)
{
	void **items = list;
	size_t wanted = *room ? *room * 2 : 64;
	void *more;

	if (count < *room)
		return 0;
	more = reallocarray(*items, wanted, size);
	if (!more)
		return -ENOMEM;
	*items = more;
	*room = wanted;
	return 0;
}

int show_at(struct shower *shower, const struct version_id *id, const char *path)
{
	char *copy = path ? strdup(path) : NULL;
	int r = grow(&shower->shown, &shower->shown_room, shower->shown_count,
		     sizeof(*shower->shown));

	if (r < 0 || (path && !copy)) {
		free(copy);
		return -ENOMEM;
	}
	shower->shown[shower->shown_count++] = (struct shown){ *id, copy };
	return 0;
}

/* The folder that @path lies in is about to change: its mtime is that of its version afterwards. */
int show_touches(struct shower *shower, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	int64_t mtime_ns;
	int r;

	shower->changed = true;
	if (!slash)
		return 0;
	if (!folder)
		return -ENOMEM;
	if (shower->folder_count &&
	    strcmp(shower->folders[shower->folder_count - 1].path, folder) == 0) {
		free(folder);
		return 0;
	}
	r = place_folder_mtime(shower->syncer->volume, folder, &mtime_ns);
	if (r == 0)
		r = grow(&shower->folders, &shower->folder_room, shower->folder_count,
			 sizeof(*shower->folders));
	if (r < 0) {
		free(folder);
		return r == -ENOMEM ? r : 0; /* it is not there yet, or gone */
	}
	shower->folders[shower->folder_count++] = (struct folder_time){ folder, mtime_ns };
	return 0;
}

/* Only a folder that had just the time that sites know of it: others are a person's. */
static void restore_time(struct shower *shower, const struct folder_time *folder)
{
	struct volume *volume = shower->syncer->volume;
	struct version_row *rows = NULL;
	size_t count = 0;
	bool known = false;

	if (catalog_get_shown(volume->catalog, folder->path, &rows, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		known |= rows[i].live && rows[i].body.kind == VERSION_DIR &&
			 rows[i].body.mtime_ns == folder->mtime_ns;
	version_rows_free(rows, count);
	/* Not being able to is nothing that anybody must know. */
	if (known)
		(void)place_restore_mtime(volume, folder->path, folder->mtime_ns);
}

static int restore_times(struct shower *shower)
{
	int r = 0;

	if (shower->folder_count)
		r = catalog_barrier(shower->syncer->volume->catalog);
	for (size_t i = 0; i < shower->folder_count; i++) {
		if (r == 0)
			restore_time(shower, &shower->folders[i]);
		free(shower->folders[i].path);
	}
	shower->folder_count = 0;
	return r;
}

/* 1 when no site knows of a folder at @path, nor of anything in it. */
static int is_unknown(struct shower *shower, const char *path)
{
	struct catalog *catalog = shower->syncer->volume->catalog;
	struct version_row *rows = NULL;
	size_t count = 0;
	bool known;
	int r;

	r = catalog_get_shown(catalog, path, &rows, &count);
	version_rows_free(rows, count);
	if (r < 0 || count > 0)
		return r;
	r = catalog_get_versions(catalog, path, &rows, &count);
	if (r < 0)
		return r;
	known = count > 0;
	version_rows_free(rows, count);
	if (known)
		return 0;
	r = catalog_has_versions_below(catalog, path);
	return r < 0 ? r : !r;
}

/*
 * A folder that was there only because of what was in it goes with that. Only where nobody
 * may write: elsewhere it is one that a person may have made, and is told to others.
 */
static int drop_implied(struct shower *shower, const char *path)
{
	struct volume *volume = shower->syncer->volume;
	cleanup_free char *folder = strdup(path);
	int r = folder ? 1 : -ENOMEM;

	while (r == 1 && *folder) {
		struct local local = { 0 };
		char *slash = strrchr(folder, '/');

		r = is_unknown(shower, folder);
		if (r == 1)
			r = local_get(shower->syncer, folder, &local);
		if (r == 0 && local.found && S_ISDIR(local.row.mode)) {
			r = place_remove(volume, folder, local.row.id);
			if (r == 0)
				r = catalog_barrier(volume->catalog);
			r = r == 0 ? 1 : r == -ENOTEMPTY || r == -ESTALE ? 0 : r;
		}
		local_fini(&local);
		*(slash ? slash : folder) = '\0';
	}
	return r < 0 ? r : 0;
}

static int drop_all_implied(struct shower *shower)
{
	struct volume *volume = shower->syncer->volume;
	int r;

	if (!(volume->flags & VOLUME_READ_ONLY) || !shower->folder_count)
		return 0;
	r = catalog_barrier(volume->catalog);
	for (size_t i = shower->folder_count; r == 0 && i-- > 0;)
		r = drop_implied(shower, shower->folders[i].path);
	return r;
}

/* Where versions are shown now: on disk, then in the catalog. */
static int settle(struct shower *shower)
{
	struct catalog *catalog = shower->syncer->volume->catalog;
	int r = shower->changed ? place_sync(shower->syncer->volume) : 0;

	shower->changed = false;
	for (size_t i = 0; i < shower->shown_count; i++) {
		if (r == 0)
			r = catalog_set_shown(catalog, &shower->shown[i].id, shower->shown[i].path);
		free(shower->shown[i].path);
	}
	shower->shown_count = 0;
	if (r == 0)
		r = drop_all_implied(shower);
	if (r == 0)
		r = restore_times(shower);
	return r < 0 ? r : catalog_barrier(catalog);
}

static int add_removal(struct shower *shower, const char *path)
{
	int r = grow(&shower->removals, &shower->removal_room, shower->removal_count,
		     sizeof(*shower->removals));

	if (r < 0)
		return r;
	shower->removals[shower->removal_count] = strdup(path);
	if (!shower->removals[shower->removal_count])
		return -ENOMEM;
	shower->removal_count++;
	return 0;
}

/* One path ----------------------------------------------------------------------------- */

/* Its bytes can be read from here: stored, in a tier of ours. */
static int is_readable(struct shower *shower, const struct version_body *body)
{
	uint32_t tier;

	if (body->kind != VERSION_FILE)
		return 1;
	return body->key ? syncer_find_tier(shower->syncer, body->tier, &tier) : 0;
}

/* Members of the group that @leader leads, as the plan has it. */
static bool is_member(const struct plan *plan, size_t entry, size_t leader)
{
	return plan->entries[entry].leader == leader;
}

static bool any_shown(const struct plan *plan, const struct version_row *rows, size_t leader)
{
	for (size_t i = 0; i < plan->count; i++)
		if (is_member(plan, i, leader) && rows[plan->entries[i].row].shown)
			return true;
	return false;
}

/* One whose name moves must leave before another takes it. */
static bool moves(const struct plan *plan, const struct version_row *rows, size_t leader)
{
	for (size_t i = 0; i < plan->count; i++) {
		const struct plan_entry *entry = &plan->entries[i];

		if (is_member(plan, i, leader) && rows[entry->row].shown &&
		    strcmp(rows[entry->row].shown, entry->path) != 0)
			return true;
	}
	return false;
}

/*
 * 1 done, 0 not now. Announced files of others are not in the tree unless that is wanted; our
 * own are (that is where their bytes are).
 */
static int show_group(struct shower *shower, const struct version_row *rows,
		      const struct plan *plan, const struct plan_entry *entry)
{
	struct group group = { .rows = rows, .plan = plan, .leader = entry->leader };
	int readable = is_readable(shower, &rows[entry->leader].body);

	if (readable < 0)
		return readable;
	group.path = entry->path;
	group.pending = !readable;
	group.hidden = group.pending && !(shower->syncer->volume->flags & VOLUME_SHOW_PENDING);
	if (group.hidden && !any_shown(plan, rows, entry->leader))
		return 1;
	return show_fill(shower, &group);
}

static int show_groups(struct shower *shower, const struct version_row *rows,
		       const struct plan *plan, bool moving)
{
	int done = 1;

	for (size_t i = 0; i < plan->count; i++) {
		const struct plan_entry *entry = &plan->entries[i];
		int r;

		if (entry->row != entry->leader || moves(plan, rows, entry->leader) != moving)
			continue;
		r = show_group(shower, rows, plan, entry);
		if (r < 0)
			return r;
		done &= r;
	}
	return done;
}

/* A stored file that an announced one replaces stays until that one is stored. */
static bool is_held(const struct shower *shower, const struct version_row *rows,
		    const struct plan *plan, const struct version_row *dead)
{
	if (shower->syncer->volume->flags & VOLUME_SHOW_PENDING)
		return false;
	for (size_t i = 0; i < plan->count; i++) {
		const struct plan_entry *entry = &plan->entries[i];

		if (entry->pending && strcmp(entry->path, dead->shown) == 0 &&
		    !any_shown(plan, rows, entry->leader))
			return true;
	}
	return false;
}

static int note_removals(struct shower *shower, const struct version_row *rows, size_t count,
			 const struct plan *plan)
{
	for (size_t i = 0; i < count; i++) {
		int r = 0;

		if (!rows[i].live && rows[i].shown && !is_held(shower, rows, plan, &rows[i]))
			r = add_removal(shower, rows[i].shown);
		if (r < 0)
			return r;
	}
	return 0;
}

/* 1 done (but for removals, which are noted), 0 not now. */
static int show_path(struct shower *shower, const char *path)
{
	struct catalog *catalog = shower->syncer->volume->catalog;
	struct version_row *rows = NULL;
	struct plan plan = { 0 };
	size_t count = 0;
	int below, r, more = 1;

	r = catalog_get_versions(catalog, path, &rows, &count);
	if (r < 0)
		return r;
	below = catalog_has_versions_below(catalog, path);
	r = below < 0 ? below : merge_plan(rows, count, below > 0, &plan);
	if (r == 0)
		r = show_groups(shower, rows, &plan, true);
	if (r >= 0)
		more = show_groups(shower, rows, &plan, false);
	if (r >= 0 && more >= 0)
		r &= more;
	else if (more < 0)
		r = more;
	if (r >= 0 && (more = note_removals(shower, rows, count, &plan)) < 0)
		r = more;
	plan_fini(&plan);
	version_rows_free(rows, count);
	return r;
}

/* All ---------------------------------------------------------------------------------- */

static int keep_note(struct shower *shower, struct sync_note *note)
{
	int r = grow(&shower->done, &shower->done_room, shower->done_count, sizeof(*shower->done));

	if (r < 0)
		return r;
	shower->done[shower->done_count++] = *note;
	note->path = NULL;
	return 0;
}

static int show_notes(struct shower *shower, struct sync_note *notes, size_t count)
{
	int r = 0, settled;

	for (size_t i = 0; r >= 0 && i < count; i++) {
		r = syncer_stops(shower->syncer) ? -ECANCELED : show_path(shower, notes[i].path);
		if (r < 0 && !syncer_is_fatal(shower->syncer, r)) {
			syncer_warn(&shower->syncer->show_warnings, r,
				    "show what other sites have at", notes[i].path);
			r = 0;
		}
		if (r == 0)
			shower->blocked++;
		else if (r > 0)
			r = keep_note(shower, &notes[i]);
	}
	settled = settle(shower);
	return r < 0 ? r : settled;
}

static int fill_all(struct shower *shower)
{
	struct catalog *catalog = shower->syncer->volume->catalog;
	cleanup_free char *after = NULL;
	size_t count = NOTES_AT_ONCE;
	int r = 0;

	while (r >= 0 && count == NOTES_AT_ONCE) {
		struct sync_note *notes = NULL;

		r = catalog_get_unshown(catalog, after, NOTES_AT_ONCE, &notes, &count);
		if (r < 0)
			return r;
		free(after);
		after = count ? strdup(notes[count - 1].path) : NULL;
		if (count && !after)
			r = -ENOMEM;
		if (r >= 0)
			r = show_notes(shower, notes, count);
		sync_notes_free(notes, count);
	}
	return r < 0 ? r : 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Deepest first, so that folders are empty when their turn comes. */
static int remove_all(struct shower *shower)
{
	int r = 0;

	if (shower->removal_count)
		qsort(shower->removals, shower->removal_count, sizeof(*shower->removals), by_text);
	for (size_t i = shower->removal_count; r >= 0 && i-- > 0;) {
		if (i + 1 < shower->removal_count &&
		    strcmp(shower->removals[i], shower->removals[i + 1]) == 0)
			continue;
		r = syncer_stops(shower->syncer) ? -ECANCELED
						 : show_remove(shower, shower->removals[i]);
		if (r < 0 && !syncer_is_fatal(shower->syncer, r)) {
			syncer_warn(&shower->syncer->show_warnings, r,
				    "remove, as another site did,", shower->removals[i]);
			r = 0;
		}
		if (r == 0)
			shower->blocked++;
	}
	return r < 0 ? r : settle(shower);
}

static int clear_notes(struct shower *shower)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < shower->done_count; i++)
		r = catalog_clear_unshown(shower->syncer->volume->catalog, &shower->done[i]);
	return r < 0 ? r : catalog_barrier(shower->syncer->volume->catalog);
}

static void shower_fini(struct shower *shower)
{
	for (size_t i = 0; i < shower->shown_count; i++)
		free(shower->shown[i].path);
	for (size_t i = 0; i < shower->folder_count; i++)
		free(shower->folders[i].path);
	for (size_t i = 0; i < shower->removal_count; i++)
		free(shower->removals[i]);
	for (size_t i = 0; i < shower->done_count; i++)
		free(shower->done[i].path);
	free(shower->shown);
	free(shower->folders);
	free(shower->removals);
	free(shower->done);
}

static int run_once(struct syncer *syncer, size_t *ret_done, size_t *ret_blocked)
{
	struct shower shower = { .syncer = syncer };
	int r;

	syncer->show_warnings.count = 0;
	r = catalog_barrier(syncer->volume->catalog);
	if (r == 0)
		r = fill_all(&shower);
	if (r == 0)
		r = remove_all(&shower);
	if (r == 0)
		r = clear_notes(&shower);
	*ret_done = shower.done_count;
	*ret_blocked = shower.blocked;
	shower_fini(&shower);
	return r;
}

int show_run(struct syncer *syncer)
{
	size_t done = 0, blocked = 0;
	int r;

	/* What was in the way of something may be gone after the first time. */
	r = run_once(syncer, &done, &blocked);
	if (r == 0 && blocked && done)
		r = run_once(syncer, &done, &blocked);
	return r < 0 ? r : (int)blocked;
}
