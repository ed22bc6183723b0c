/* SPDX-License-Identifier: Apache-2.0 */
/* Showing: what goes from the tree, and what must not (volume/show_parts.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/error.h"
#include "volume/seals.h"
#include "volume/show_parts.h"

static struct volume *volume_of(const struct shower *shower)
{
	return shower->syncer->volume;
}

/* May it go? ---------------------------------------------------------------------------- */

/* 1 when @tier has the object of @copy, as far as it can tell without reading it; 0 not. */
static int has_object(struct tier *tier, const struct copy_row *copy, uint64_t size)
{
	const struct tier_object object = { .size = size, .digest = copy->digest };
	uint64_t found = 0;
	int r = -ENOTSUP;

	if (copy->bad || !tier_key_ok(copy->key))
		return 0;
	if (tier->backend->confirm)
		r = tier->backend->confirm(tier, copy->key, &object);
	if (r == -ENOTSUP) {
		r = tier->backend->stat(tier, copy->key, &found);
		if (r == 0 && found != size)
			return 0;
	}
	if (r == -EBADMSG || r == -ENOENT)
		return 0;
	return r < 0 ? r : 1;
}

/* 1 when a tier says that it has the bytes, 0 when none has, or why it cannot be asked. */
static int ask_tiers(struct shower *shower, uint64_t content, uint64_t size)
{
	struct transfer *transfer = volume_of(shower)->transfer;
	struct copy_row *rows = NULL;
	size_t count = 0;
	int result, r;

	result = catalog_get_copies(volume_of(shower)->catalog, content, &rows, &count);
	if (result < 0)
		return result;
	for (size_t i = 0; i < count; i++) {
		const struct transfer_tier *tier;

		for (size_t t = 0; result <= 0 && (tier = transfer_tier(transfer, t)); t++) {
			if (tier->id != rows[i].tier)
				continue;
			r = has_object(tier->tier, &rows[i], size);
			if (r != 0)
				result = r;
		}
		copy_row_fini(&rows[i]);
	}
	free(rows);
	return result;
}

enum may_drop show_may_drop(struct shower *shower, const struct local *local)
{
	int r;

	if (local->row.state == FILE_ANNOUNCED || (local->row.state == FILE_EVICTED) ||
	    (local->settled && local->row.size == 0))
		return DROP_ALLOWED;
	if (!local->settled)
		return DROP_NEVER;
	r = ask_tiers(shower, local->row.content, local->row.size);
	if (r < 0)
		return DROP_LATER;
	return r > 0 ? DROP_ALLOWED : DROP_NEVER;
}

int show_drop(struct shower *shower, const char *path, const struct local *local)
{
	struct volume *volume = volume_of(shower);
	struct live *live = NULL;
	int r = 0;

	if (S_ISREG(local->row.mode)) {
		r = place_claim(volume, local->row.id, &live);
		if (r < 0)
			return r;
		if (live->generation != local->row.generation)
			r = -EBUSY; /* written since it was looked at */
	}
	if (r == 0)
		r = show_touches(shower, path);
	if (r == 0)
		r = place_remove(volume, path, local->row.id);
	place_release(live);
	return r;
}

/* Removing ----------------------------------------------------------------------------- */

static int forget(struct shower *shower, const struct version_row *rows, size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		if (!rows[i].live)
			r = show_at(shower, &rows[i].id, NULL);
	return r < 0 ? r : 1;
}

/* It stays, as something that we have and tell others of. */
static int keep(struct shower *shower, const char *path, const struct version_row *rows,
		size_t count)
{
	int r = 0;

	/* At once: while they are known, it looks as if it were about to go. */
	for (size_t i = 0; r == 0 && i < count; i++)
		if (!rows[i].live)
			r = catalog_set_shown(volume_of(shower)->catalog, &rows[i].id, NULL);
	if (r == 0)
		r = catalog_add_unpublished(volume_of(shower)->catalog, path, false);
	return r < 0 ? r : 1;
}

static int stop_at_first(void *arg, const char *path)
{
	(void)arg;
	(void)path;
	return 1;
}

static int remove_folder(struct shower *shower, const char *path, const struct local *local,
			 const struct version_row *rows, size_t count)
{
	struct catalog *catalog = volume_of(shower)->catalog;
	int r = show_drop(shower, path, local);

	if (r == 0)
		return forget(shower, rows, count);
	if (r != -ENOTEMPTY && r != -EEXIST)
		return r == -ESTALE ? 0 : r;
	r = catalog_barrier(catalog);
	if (r == 0)
		r = catalog_has_versions_below(catalog, path);
	if (r == 0) {
		r = catalog_each_shown_below(catalog, path, stop_at_first, NULL);
		if (r == 1)
			return 0; /* what is in it is about to go */
	}
	return r < 0 ? r : keep(shower, path, rows, count);
}

static int remove_file(struct shower *shower, const char *path, const struct local *local,
		       const struct version_row *rows, size_t count)
{
	char hex[DIGEST_HEX_SIZE] = "";
	int r;

	if (S_ISREG(local->row.mode)) {
		enum may_drop may = show_may_drop(shower, local);

		if (may == DROP_NEVER)
			return keep(shower, path, rows, count);
		if (may == DROP_LATER)
			return 0;
		digest_hex(&local->body.digest, hex);
	}
	r = show_drop(shower, path, local);
	if (r == -EBUSY || r == -ESTALE)
		return 0;
	if (r < 0)
		return r;
	volume_event(volume_of(shower), "daemon", "removed", path, hex, "removed by another site");
	return forget(shower, rows, count);
}

static int remove_dead(struct shower *shower, const char *path, const struct local *local,
		       const struct version_row *rows, size_t count)
{
	bool live = false, same = false;
	int r;

	for (size_t i = 0; i < count; i++) {
		live |= rows[i].live;
		same |= !rows[i].live && local_same_content(local, &rows[i].body);
	}
	if (live)
		return forget(shower, rows, count);
	if (!local->found) {
		r = place_exists(volume_of(shower), path);
		if (r != 0)
			return r < 0 ? r : 0;
		return forget(shower, rows, count);
	}
	if (!same)
		return keep(shower, path, rows, count);
	r = seals_hold(volume_of(shower)->seals, local->row.id, SEAL_ALL);
	if (r != 0)
		return r < 0 ? r : keep(shower, path, rows, count);
	if (S_ISDIR(local->row.mode))
		return remove_folder(shower, path, local, rows, count);
	return remove_file(shower, path, local, rows, count);
}

/* Not now, or it failed: what is noted is the path that the versions named. */
static int note_again(struct shower *shower, const char *path, const struct version_row *rows,
		      size_t count, int result)
{
	struct catalog *catalog = volume_of(shower)->catalog;
	int r = count == 0 ? catalog_add_unshown(catalog, path) : 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = catalog_add_unshown(catalog, rows[i].path);
	return result < 0 ? result : r;
}

int show_remove(struct shower *shower, const char *path)
{
	struct version_row *rows = NULL;
	struct local local = { 0 };
	size_t count = 0;
	int r;

	r = catalog_get_shown(volume_of(shower)->catalog, path, &rows, &count);
	if (r == 0)
		r = local_get(shower->syncer, path, &local);
	if (r == 0 && count > 0)
		r = remove_dead(shower, path, &local, rows, count);
	else if (r == 0)
		r = 1;
	if (r <= 0)
		r = note_again(shower, path, rows, count, r);
	local_fini(&local);
	version_rows_free(rows, count);
	return r;
}
