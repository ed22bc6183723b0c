/* SPDX-License-Identifier: Apache-2.0 */
/* Showing, at one place of the tree (volume/show_parts.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/doubts.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/seals.h"
#include "volume/show_parts.h"

/* Everything about one place while it is being filled. */
struct fill {
	struct shower *shower;
	const struct group *group;
	const struct version_row *leader;
	struct local local;            /* what is there */
	struct version_row *occupants; /* what is thought to be there; owned */
	size_t occupant_count;
};

static struct volume *volume_of(const struct shower *shower)
{
	return shower->syncer->volume;
}

/* Copies ------------------------------------------------------------------------------- */

/* The catalog knows that @body's tier has @content, unless it has a good copy there already. */
static int keep_copy(struct shower *shower, const struct version_body *body, uint64_t content)
{
	struct catalog *catalog = volume_of(shower)->catalog;
	struct copy_row copy = { .content = content, .key = body->key, .digest = body->digest };
	struct copy_row *rows = NULL;
	size_t count = 0;
	bool known = false, same = false, seen = false;
	struct tier *tier;
	int r;

	if (body->kind != VERSION_FILE || !body->key || !content)
		return 0;
	r = syncer_find_tier(shower->syncer, body->tier, &copy.tier);
	if (r <= 0)
		return r;
	r = syncer_is_lost(shower->syncer, body, content);
	if (r != 0)
		return r < 0 ? r : 0;
	r = catalog_get_copies(catalog, content, &rows, &count);
	for (size_t i = 0; i < count; i++) {
		if (rows[i].tier == copy.tier && !rows[i].bad) {
			known = true;
			same = strcmp(rows[i].key, body->key) == 0;
			seen = rows[i].checked_ns > 0;
		}
		copy_row_fini(&rows[i]);
	}
	free(rows);
	copy.confirmed_ns = realtime_ns();
	if (r < 0 || same)
		return r;
	if (!known)
		return catalog_put_copy(catalog, &copy, 0);
	/* Of which only sites told: it may have got another key since it was written over. */
	tier = syncer_tier(shower->syncer, copy.tier);
	if (!seen && tier_may_overwrite(tier, body->size))
		r = catalog_doubt_copy(catalog, content, copy.tier);
	return r < 0 ? r : catalog_note_key(catalog, copy.tier, copy.key);
}

/* In place ----------------------------------------------------------------------------- */

/* All of the group is here now, and what is dead is not. */
static int note_here(struct fill *fill)
{
	const struct group *group = fill->group;
	int r = 0;

	for (size_t i = 0; r == 0 && i < group->plan->count; i++) {
		const struct plan_entry *entry = &group->plan->entries[i];
		const struct version_row *row = &group->rows[entry->row];

		if (entry->leader == group->leader &&
		    (!row->shown || strcmp(row->shown, group->path) != 0))
			r = show_at(fill->shower, &row->id, group->path);
	}
	for (size_t i = 0; r == 0 && i < fill->occupant_count; i++)
		if (!fill->occupants[i].live)
			r = show_at(fill->shower, &fill->occupants[i].id, NULL);
	return r < 0 ? r : 1;
}

/* An announced file was stored: it can be read from now on. */
static int promote(struct fill *fill)
{
	struct volume *volume = volume_of(fill->shower);
	const struct node_row *row = &fill->local.row;
	enum file_state state = row->size ? FILE_EVICTED : FILE_STORED;
	int r;

	r = catalog_set_placeholder(volume->catalog, row->id, row->generation, row->content, state);
	if (r < 0)
		return r;
	live_follow(volume, row->id, row->generation, state);
	volume_notify_inode(volume, row->id);
	return 0;
}

/* A folder is sealed where another site says so, and opened. */
static int follow_seal(struct fill *fill, uint64_t folder)
{
	const struct version_body *body = &fill->leader->body;

	if (body->kind != VERSION_DIR)
		return 0;
	return seals_follow(volume_of(fill->shower)->seals, folder, body->mode & VERSION_SEALED);
}

/* Attributes as the version has them, unless a person changed ours and they were not told yet. */
static int follow_attributes(struct fill *fill)
{
	bool told = fill->occupant_count == 0;
	int r;

	if (local_same_attributes(&fill->local, &fill->leader->body))
		return 0;
	for (size_t i = 0; i < fill->occupant_count; i++)
		told |= local_same_attributes(&fill->local, &fill->occupants[i].body);
	if (!told)
		return 0;
	fill->shower->changed = true;
	r = follow_seal(fill, fill->local.row.id);
	return r < 0 ? r
		     : place_attributes(volume_of(fill->shower), fill->group->path,
					fill->local.row.id, &fill->leader->body);
}

static bool live_at(const struct fill *fill, const char *path)
{
	const struct group *group = fill->group;

	for (size_t i = 0; i < group->plan->count; i++) {
		const struct plan_entry *entry = &group->plan->entries[i];
		const char *shown = group->rows[entry->row].shown;

		if (entry->leader == group->leader && shown && strcmp(shown, path) == 0)
			return true;
	}
	return false;
}

static int is_here(struct fill *fill)
{
	const struct node_row *row = &fill->local.row;
	bool attributes_told = live_at(fill, fill->group->path) && fill->occupant_count == 1;
	int r = 0;

	if (row->state == FILE_ANNOUNCED && fill->group->hidden) {
		r = show_drop(fill->shower, fill->group->path, &fill->local);
		for (size_t i = 0; r == 0 && i < fill->occupant_count; i++)
			r = show_at(fill->shower, &fill->occupants[i].id, NULL);
		return r == -EBUSY ? 0 : r < 0 ? r : 1;
	}
	if (!fill->group->pending && S_ISREG(row->mode) &&
	    (row->state == FILE_ANNOUNCED || file_state_is_stored(row->state)))
		r = keep_copy(fill->shower, &fill->leader->body, row->content);
	if (r == 0 && row->state == FILE_ANNOUNCED && !fill->group->pending)
		r = promote(fill);
	if (r == 0 && !attributes_told)
		r = follow_attributes(fill);
	return r < 0 ? r : note_here(fill);
}

/* Making ------------------------------------------------------------------------------- */

static int make_file(struct fill *fill, uint64_t replaces)
{
	struct volume *volume = volume_of(fill->shower);
	const struct version_body *body = &fill->leader->body;
	struct place_file file = {
		.body = body,
		.state = fill->group->pending ? FILE_ANNOUNCED : FILE_EVICTED,
		/* A pinned file stays pinned when another site writes it again. */
		.flags = replaces ? fill->local.row.flags & NODE_PINNED : 0,
	};
	int r;

	r = catalog_put_content(volume->catalog, body->size, &body->digest, &body->map,
				&file.content);
	if (r == -EUCLEAN)
		log_error("%s: site %s tells other block hashes for its digest than are known "
			  "here: not shown",
			  fill->group->path, fill->leader->id.site);
	if (r == 0)
		r = keep_copy(fill->shower, body, file.content);
	return r < 0 ? r : place_file(volume, fill->group->path, &file, replaces);
}

static void tell_conflict(const struct fill *fill)
{
	const struct version_row *leader = fill->leader;
	char hex[DIGEST_HEX_SIZE] = "";

	if (strcmp(fill->group->path, leader->path) == 0)
		return;
	if (leader->body.kind == VERSION_FILE)
		digest_hex(&leader->body.digest, hex);
	log_warning("%s is another version of %s, from site %s: both are kept", fill->group->path,
		    leader->path, leader->site_name);
	volume_event(volume_of(fill->shower), "daemon", "conflict", fill->group->path, hex,
		     leader->path);
}

static int make_folder(struct fill *fill)
{
	struct volume *volume = volume_of(fill->shower);
	struct local local = { 0 };
	int r = place_folder(volume, fill->group->path, &fill->leader->body);

	if (r < 0 || !(fill->leader->body.mode & VERSION_SEALED))
		return r;
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = local_get(fill->shower->syncer, fill->group->path, &local);
	if (r == 0 && local.found)
		r = follow_seal(fill, local.row.id);
	local_fini(&local);
	return r;
}

static int make(struct fill *fill, uint64_t replaces)
{
	struct volume *volume = volume_of(fill->shower);
	const struct version_body *body = &fill->leader->body;
	const char *path = fill->group->path;
	int r = show_touches(fill->shower, path);

	if (r < 0)
		return r;
	if (body->kind == VERSION_DIR)
		r = make_folder(fill);
	else if (body->kind == VERSION_LINK)
		r = place_link(volume, path, body);
	else
		r = make_file(fill, replaces);
	if (r == -EEXIST || r == -ESTALE)
		return 0; /* somebody was faster: look again */
	if (r < 0)
		return r;
	tell_conflict(fill);
	return note_here(fill);
}

/* Moving ------------------------------------------------------------------------------- */

static int move_claimed(struct fill *fill, const char *from, struct local *local)
{
	struct volume *volume = volume_of(fill->shower);
	const char *to = fill->group->path;
	int r = seals_hold(volume->seals, local->row.id, SEAL_ALL);

	if (r != 0)
		return r < 0 ? r : -EEXIST; /* it stays where it is */
	r = show_touches(fill->shower, from);
	if (r == 0)
		r = show_touches(fill->shower, to);
	if (r == 0)
		r = place_move(volume, from, to);
	if (r == 0)
		r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = keep_copy(fill->shower, &fill->leader->body, local->row.content);
	return r;
}

/* What is at @from, ours under its old name, goes to where the group is to be. */
static int move_here(struct fill *fill, const char *from)
{
	struct local local = { 0 };
	int r;

	r = local_get(fill->shower->syncer, from, &local);
	if (r < 0)
		return r;
	if (!local.found) {
		/* A person removed it: that is told to others first. */
		r = catalog_add_unpublished(volume_of(fill->shower)->catalog, from, false);
		local_fini(&local);
		return r < 0 ? r : 1;
	}
	r = move_claimed(fill, from, &local);
	local_fini(&local);
	if (r == -EEXIST || r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	tell_conflict(fill);
	return note_here(fill);
}

/* A stored file that an announced one will replace is not taken away from where it is. */
static int is_awaited(struct shower *shower, const char *path)
{
	struct version_row *rows = NULL;
	size_t count = 0;
	bool awaited = false;
	int r = catalog_get_versions(volume_of(shower)->catalog, path, &rows, &count);

	for (size_t i = 0; r == 0 && i < count; i++)
		awaited |= rows[i].live && version_is_announced(&rows[i].body);
	version_rows_free(rows, count);
	return r < 0 ? r : awaited;
}

/* 1 moved, 0 cannot be used. */
static int take_over(struct fill *fill, const struct version_row *donor)
{
	struct volume *volume = volume_of(fill->shower);
	struct live *live = NULL;
	struct local local = { 0 };
	int r = is_awaited(fill->shower, donor->path);

	if (r != 0)
		return r < 0 ? r : 0;
	r = local_get(fill->shower->syncer, donor->shown, &local);
	if (r == 0 && local.settled && local_same_content(&local, &fill->leader->body) &&
	    (local.stored || !fill->group->pending)) {
		r = place_claim(volume, local.row.id, &live);
		if (r == 0)
			r = move_claimed(fill, donor->shown, &local);
		if (r == 0)
			r = place_attributes(volume, fill->group->path, local.row.id,
					     &fill->leader->body);
		if (r == 0)
			r = show_at(fill->shower, &donor->id, NULL);
		r = r == -EBUSY || r == -EEXIST || r == -ENOENT || r == -ESTALE ? 0 : r < 0 ? r : 1;
		place_release(live);
	}
	local_fini(&local);
	return r;
}

/* Renamed elsewhere: the same bytes are about to go from another path. 1 taken, 0 none. */
static int find_donor(struct fill *fill)
{
	const struct version_body *body = &fill->leader->body;
	struct version_row *rows = NULL;
	size_t count = 0;
	int r;

	if (body->kind != VERSION_FILE || body->size == 0)
		return 0;
	r = catalog_get_dead_shown(volume_of(fill->shower)->catalog, &body->digest, &rows, &count);
	for (size_t i = 0; r == 0 && i < count; i++)
		if (rows[i].body.size == body->size)
			r = take_over(fill, &rows[i]);
	version_rows_free(rows, count);
	if (r <= 0)
		return r;
	tell_conflict(fill);
	return note_here(fill);
}

/* Filling ------------------------------------------------------------------------------ */

static const char *shown_elsewhere(const struct group *group)
{
	for (size_t i = 0; i < group->plan->count; i++) {
		const struct plan_entry *entry = &group->plan->entries[i];
		const char *shown = group->rows[entry->row].shown;

		if (entry->leader == group->leader && shown && strcmp(shown, group->path) != 0)
			return shown;
	}
	return NULL;
}

static int fill_free(struct fill *fill)
{
	struct volume *volume = volume_of(fill->shower);
	const struct group *group = fill->group;
	const char *elsewhere = shown_elsewhere(group);
	uint64_t leftover;
	int r;

	if (live_at(fill, group->path)) {
		/* It was here and a person removed or moved it: that is told to others. */
		r = catalog_add_unpublished(volume->catalog, group->path, false);
		return r < 0 ? r : 1;
	}
	r = place_leftover(volume, group->path, &leftover);
	if (r == 1)
		r = place_remove(volume, group->path, leftover);
	if (r == 0)
		r = place_exists(volume, group->path);
	if (r != 0)
		return r < 0 ? r : 0; /* the catalog does not know it yet */
	r = place_parents(volume, group->path);
	if (r == -ENOTDIR)
		return 0;
	if (r < 0)
		return r;
	if (elsewhere)
		return move_here(fill, elsewhere);
	r = find_donor(fill);
	return r != 0 ? r : make(fill, 0);
}

/* What is there is dead and just as it was told: does it make room? */
static int replace(struct fill *fill)
{
	struct volume *volume = volume_of(fill->shower);
	struct local *local = &fill->local;
	enum may_drop may = DROP_ALLOWED;
	struct live *live = NULL;
	int r;

	if (S_ISREG(local->row.mode))
		may = show_may_drop(fill->shower, local);
	r = may == DROP_NEVER ? 0 : seals_hold(volume->seals, local->row.id, SEAL_MEDIA);
	if (r < 0)
		return r;
	if (r > 0)
		may = DROP_NEVER;
	if (may == DROP_NEVER) {
		/* It becomes a version of its own, and gets a name of its own. */
		for (size_t i = 0; i < fill->occupant_count; i++) {
			r = show_at(fill->shower, &fill->occupants[i].id, NULL);
			if (r < 0)
				return r;
		}
		r = catalog_add_unpublished(volume->catalog, fill->group->path, false);
		return r < 0 ? r : 0;
	}
	if (may == DROP_LATER)
		return 0;
	if (fill->leader->body.kind == VERSION_FILE && S_ISREG(local->row.mode) &&
	    !shown_elsewhere(fill->group)) {
		r = place_claim(volume, local->row.id, &live);
		if (r == 0)
			r = live->generation == local->row.generation ? make(fill, local->row.id)
								      : 0;
		place_release(live);
		return r == -EBUSY ? 0 : r;
	}
	r = show_drop(fill->shower, fill->group->path, local);
	if (r == -EBUSY || r == -ENOTEMPTY || r == -ESTALE)
		return 0;
	if (r == 0)
		r = catalog_barrier(volume->catalog);
	return r < 0 ? r : fill_free(fill);
}

/* 1: what was there was no file of anybody's and is gone. */
static int clear_leftover(struct fill *fill)
{
	struct volume *volume = volume_of(fill->shower);
	uint64_t id;
	int r = place_leftover(volume, fill->group->path, &id);

	if (r <= 0 || id != fill->local.row.id)
		return r < 0 ? r : 0;
	r = show_drop(fill->shower, fill->group->path, &fill->local);
	if (r == -EBUSY || r == -ESTALE)
		return 0;
	if (r == 0)
		r = catalog_barrier(volume->catalog);
	return r < 0 ? r : 1;
}

static int fill_taken(struct fill *fill)
{
	bool dead = false, live = false;
	int r;

	if (live_at(fill, fill->group->path))
		return 1; /* changed here: that is told to others */
	for (size_t i = 0; i < fill->occupant_count; i++) {
		live |= fill->occupants[i].live;
		dead |= local_same_content(&fill->local, &fill->occupants[i].body);
	}
	if (live)
		return 0; /* it moves away first */
	if (dead)
		return replace(fill);
	if (S_ISREG(fill->local.row.mode) && !fill->local.row.content) {
		r = clear_leftover(fill);
		if (r != 0)
			return r < 0 ? r : fill_free(fill);
	}
	/* Unknown to other sites, or changed since: told to them first, then it gets its name. */
	r = catalog_add_unpublished(volume_of(fill->shower)->catalog, fill->group->path, false);
	return r < 0 ? r : 0;
}

int show_fill(struct shower *shower, const struct group *group)
{
	struct fill fill = {
		.shower = shower,
		.group = group,
		.leader = &group->rows[group->leader],
	};
	int r;

	r = catalog_get_shown(volume_of(shower)->catalog, group->path, &fill.occupants,
			      &fill.occupant_count);
	if (r == 0)
		r = local_get(shower->syncer, group->path, &fill.local);
	if (r == 0 && local_same_content(&fill.local, &fill.leader->body))
		r = is_here(&fill);
	else if (r == 0)
		r = fill.local.found ? fill_taken(&fill) : fill_free(&fill);
	local_fini(&fill.local);
	version_rows_free(fill.occupants, fill.occupant_count);
	return r;
}
