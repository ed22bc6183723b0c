/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "catalog/catalog.h"
#include "catalog/contents.h"
#include "catalog/nodes.h"
#include "catalog/sync.h"
#include "control/protocol.h"
#include "control/report.h"
#include "control/requests.h"
#include "util/clock.h"
#include "util/error.h"
#include "volume/limit.h"
#include "volume/manage.h"

/*
 * Answer to "status", members of the last line:
 *   store, site, site_uuid, volume, mounted, read_only, path
 *   states         {STATE: {files, bytes}}, of PATH
 *   files, bytes   of all regular files; verified_files, verified_bytes, stored_files,
 *                  stored_bytes, ignored... as far as they are so
 *   resident_bytes of evicted and hydrating files
 *   archived       {files, bytes} of those that a tier has in an archive, counted up to
 *                  ARCHIVED_MAX; only of the whole volume
 *   announced      {files, bytes} that other sites have and no tier yet
 *   queue          {files, bytes, poison}, of the volume
 *   offloads       [{path, state, reel, running, files, verified}] cards that arrive (see
 *                  status_offloads.c): running: by mediafs offload; state as in "offloads"; or
 *                  "many files" of a folder that was not looked into; or "settled", with settled_ns
 *   damaged, poison  lists of {path, error}, at most REPORT_LIST_MAX each; poison with attempts
 *                  and next_try_ns
 *   moving         {path, bytes, done_bytes, rate, sent_bytes, paused, aside, tier_down,
 *                  tier_error, next_try_ns}; unread (verified files that are to be read again,
 *                  counted up to UNREAD_MAX, and unread_more), scrub_aside, verify_aside,
 * receiving_rate, verify_backlog, verify_rate, eta_ns (-1 unknown); only when mounted tiers [{name,
 * url, parallel}]; parallel: parts of large files that may be on their way there at a time, only
 * when mounted and where it has parts; pause limit          bytes a second that the network may be
 * used with now, 0 none; limit_rule why (limit, timetable, override), limit_until_ns (0: not within
 * a week); metered disk           {free, total}; conflicts, unpublished, catalog_error,
 *                  catalog_waiting (changes that are not in it yet), catalog_lost,
 *                  catalog_behind (the disk did not take them in BEHIND_NS: the rest is of before)
 */
/* What is known without the daemon. */
static int status_offline(struct request *request, struct volume_status *ret_status)
{
	struct catalog *catalog = request->source->catalog;
	struct volume_status status = { .uploaded_eta_ns = -1 };
	int r = catalog_get_totals(catalog, &status.totals);

	if (r == 0)
		r = report_queue_totals(catalog, &status.queue);
	if (r < 0)
		return r;
	*ret_status = status;
	return 0;
}

/* What only the catalog knows. */
static int add_sync(struct request *request, struct volume_status *status)
{
	struct sync_counts counts;
	int r = catalog_get_sync_counts(request->source->catalog, &counts);

	if (r < 0)
		return r;
	status->conflicts = counts.conflicts;
	status->pending_publish = counts.unpublished + counts.outbox;
	return 0;
}

int report_volume(struct request *request, struct volume_status *ret_status)
{
	struct statvfs disk;
	int r;

	if (request->source->volume) {
		r = volume_get_status(request->source->volume, ret_status);
		return r < 0 ? r : add_sync(request, ret_status);
	}
	r = status_offline(request, ret_status);
	if (r == 0)
		r = add_sync(request, ret_status);
	if (r == 0 && fstatvfs(request->source->store->root_fd, &disk) == 0) {
		ret_status->disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
		ret_status->disk_total = (uint64_t)disk.f_blocks * disk.f_frsize;
	}
	return r;
}

static int add_identity(struct request *request, const char *path,
			const struct volume_status *status)
{
	const struct store *store = request->source->store;
	cleanup_json json_t *part = json_pack(
		"{s:o,s:o,s:s,s:s,s:b,s:b,s:b,s:o}", "store", json_path(store->path), "site",
		json_path(store->site_name), "site_uuid", store->site_uuid, "volume",
		store->volume_uuid, "mounted", request->source->volume != NULL, "read_only",
		status->read_only, "joined", store->joined, "path", json_path(path));

	return part && json_object_update(request->final, part) == 0 ? 0 : -ENOMEM;
}

static int add_totals(struct request *request, const struct catalog_totals *totals)
{
	cleanup_json json_t *states = json_object();
	uint64_t files = 0, bytes = 0, verified = 0, verified_bytes = 0, stored = 0,
		 stored_bytes = 0;
	json_t *part;

	for (int state = 1; states && state < FILE_STATE_COUNT; state++) {
		uint64_t count = totals->files[state], size = totals->bytes[state];

		if (json_object_set_new(states, file_state_name(state),
					json_pack("{s:I,s:I}", "files", (json_int_t)count, "bytes",
						  (json_int_t)size)) < 0)
			return -ENOMEM;
		files += count;
		bytes += size;
		if (file_state_is_verified(state)) {
			verified += count;
			verified_bytes += size;
		}
		if (file_state_is_stored(state)) {
			stored += count;
			stored_bytes += size;
		}
	}
	part = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "files", (json_int_t)files, "bytes",
			 (json_int_t)bytes, "verified_files", (json_int_t)verified,
			 "verified_bytes", (json_int_t)verified_bytes, "stored_files",
			 (json_int_t)stored, "stored_bytes", (json_int_t)stored_bytes,
			 "resident_bytes", (json_int_t)totals->resident_bytes);
	if (!states || !part || json_object_update(request->final, part) < 0) {
		json_decref(part);
		return -ENOMEM;
	}
	json_decref(part);
	return request_add(request, "states", take_ptr(states));
}

static int add_moving(struct request *request, const struct volume_status *status)
{
	const struct transfer_status *transfer = &status->transfer;
	json_t *moving;
	int r;

	if (!request->source->volume)
		return 0;
	moving = json_pack("{s:o,s:I,s:I,s:I,s:I,s:b,s:b,s:b,s:o,s:I}", "path",
			   json_path(transfer->path), "bytes", (json_int_t)transfer->path_bytes,
			   "done_bytes", (json_int_t)transfer->path_done, "rate",
			   (json_int_t)transfer->rate, "sent_bytes",
			   (json_int_t)transfer->sent_total, "paused", transfer->paused, "aside",
			   transfer->aside, "tier_down", transfer->tier_down, "tier_error",
			   transfer->tier_down ? request_tier_error(transfer) : json_null(),
			   "next_try_ns", (json_int_t)transfer->next_try_ns);
	r = request_add(request, "moving", moving);
	if (r == 0)
		r = request_add(request, "unread", json_integer((json_int_t)status->unread));
	if (r == 0)
		r = request_add(request, "unread_more", json_boolean(status->unread == UNREAD_MAX));
	if (r == 0)
		r = request_add(request, "scrub_aside", json_boolean(status->scrub_aside));
	if (r == 0)
		r = request_add(request, "verify_aside", json_boolean(status->verify_aside));
	if (r == 0)
		r = request_add(request, "receiving_rate",
				json_integer((json_int_t)status->receiving_rate));
	if (r == 0)
		r = request_add(request, "verify_backlog",
				json_integer((json_int_t)status->verify_backlog));
	if (r == 0)
		r = request_add(request, "verify_rate",
				json_integer((json_int_t)status->verify_rate));
	if (r == 0)
		r = request_add(request, "eta_ns", json_integer(status->uploaded_eta_ns));
	return r;
}

static int add_rest(struct request *request, const struct volume_status *status)
{
	cleanup_json json_t *part = json_pack(
		"{s:{s:I,s:I,s:I},s:{s:I,s:I},s:I,s:I,s:o,s:I,s:b}", "queue", "files",
		(json_int_t)status->queue.files, "bytes", (json_int_t)status->queue.bytes, "poison",
		(json_int_t)status->queue.poison, "disk", "free", (json_int_t)status->disk_free,
		"total", (json_int_t)status->disk_total, "conflicts", (json_int_t)status->conflicts,
		"unpublished", (json_int_t)status->pending_publish, "catalog_error",
		status->catalog.error ? json_string(error_text(status->catalog.error))
				      : json_null(),
		"catalog_waiting", (json_int_t)status->catalog.waiting, "catalog_lost",
		status->catalog.lost);

	return part && json_object_update(request->final, part) == 0 ? 0 : -ENOMEM;
}

int report_limit(struct request *request, const struct settings *settings)
{
	static const char *const names[] = {
		[LIMIT_BY_SETTING] = "limit",
		[LIMIT_BY_TIMETABLE] = "timetable",
		[LIMIT_BY_OVERRIDE] = "override",
	};
	struct volume *volume = request->source->volume;
	int64_t time_ns = realtime_ns();
	struct limit_now now =
		volume ? volume_limit_at(volume, time_ns) : settings_limit(settings, time_ns);
	int64_t until_ns = volume ? volume_limit_until(volume, time_ns)
				  : settings_limit_until(settings, time_ns);
	int r = request_add(request, "limit", json_integer((json_int_t)now.per_second));

	if (r == 0)
		r = request_add(request, "limit_rule", json_string(names[now.rule]));
	if (r == 0)
		r = request_add(request, "limit_until_ns", json_integer(until_ns));
	return r;
}

static json_t *tier_json(struct request *request, const struct settings_tier *tier)
{
	json_t *item =
		json_pack("{s:o,s:o}", "name", json_path(tier->name), "url", json_path(tier->url));
	const struct volume *volume = request->source->volume;
	const struct transfer_tier *used;

	for (size_t i = 0; item && volume && (used = volume_tier(volume, i)) != NULL; i++) {
		unsigned parallel = tier_parallel(used->tier);

		if (parallel && strcmp(used->tier->name, tier->name) == 0)
			(void)json_object_set_new(item, "parallel", json_integer(parallel));
	}
	return item;
}

/* A bad file is told, not fatal: status must answer, all the more when something is wrong. */
int report_settings(struct request *request)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_json json_t *tiers = json_array();
	cleanup_free char *message = NULL;
	int r = settings_load(request->source->store->path, &settings, &message);

	if (!tiers)
		return -ENOMEM;
	if (r < 0)
		return request_add(request, "settings_error",
				   json_path(message ? message : error_text(r)));
	for (size_t i = 0; i < settings_tier_count(settings); i++) {
		const struct settings_tier *tier = settings_tier(settings, i);

		if (json_array_append_new(tiers, tier_json(request, tier)) < 0)
			return -ENOMEM;
	}
	r = request_add(request, "tiers", take_ptr(tiers));
	if (r == 0)
		r = report_limit(request, settings);
	if (r == 0)
		r = request_add(request, "metered",
				json_boolean(settings_get(settings, SETTING_METERED)));
	if (r == 0)
		r = request_add(request, "pause",
				json_boolean(settings_get(settings, SETTING_PAUSE)));
	return r;
}

struct elsewhere {
	const char *top; /* borrowed */
	uint64_t files, bytes;
};

static int count_elsewhere(void *arg, const struct version_row *row)
{
	struct elsewhere *elsewhere = arg;

	if (!row->shown && path_under(row->path, elsewhere->top)) {
		elsewhere->files++;
		elsewhere->bytes += row->body.size;
	}
	return 0;
}

/* What other sites have and no tier yet: hidden here, so no state counts it. */
static int add_elsewhere(struct request *request, const char *path)
{
	struct elsewhere elsewhere = { .top = path };
	int r = catalog_each_pending(request->source->catalog, count_elsewhere, &elsewhere);

	if (r < 0)
		return r;
	return request_add(request, "announced",
			   json_pack("{s:I,s:I}", "files", (json_int_t)elsewhere.files, "bytes",
				     (json_int_t)elsewhere.bytes));
}

/* Counting them reads a row for each. */
#define ARCHIVED_MAX 10000
#define BEHIND_NS (3 * NS_PER_SEC) /* in which the command still waits for an answer */

static int add_archived(struct request *request, const char *path)
{
	uint64_t files, bytes;
	int r;

	if (*path)
		return 0;
	r = catalog_count_archived(request->source->catalog, ARCHIVED_MAX, &files, &bytes);
	if (r < 0)
		return r;
	return request_add(
		request, "archived",
		json_pack("{s:I,s:I}", "files", (json_int_t)files, "bytes", (json_int_t)bytes));
}

/* Who asks because the disk hangs must not hang with it. */
static int add_behind(struct request *request)
{
	int r = 0;

	if (request->source->volume)
		r = catalog_barrier_until(request->source->catalog, monotonic_ns() + BEHIND_NS);
	if (r < 0 && r != -ETIMEDOUT)
		return r;
	return request_add(request, "catalog_behind", json_boolean(r == -ETIMEDOUT));
}

int request_status(struct request *request)
{
	cleanup_free char *path = NULL;
	struct catalog_totals totals;
	struct volume_status status;
	struct node_row node;
	int r;

	/* While the catalog cannot be written, or not soon, what it has is told, and that. */
	r = add_behind(request);
	if (r == 0 || catalog_error(request->source->catalog) < 0)
		r = request_node_as_known(request, &path, &node);
	if (r == 0)
		r = report_volume(request, &status);
	if (r == 0)
		r = report_totals(request, path, &node, &totals);
	if (r == 0)
		r = add_identity(request, path, &status);
	if (r == 0)
		r = add_totals(request, &totals);
	if (r == 0)
		r = add_moving(request, &status);
	if (r == 0)
		r = add_rest(request, &status);
	if (r == 0)
		r = add_elsewhere(request, path);
	if (r == 0)
		r = add_archived(request, path);
	if (r == 0)
		r = report_arriving_offloads(request, path);
	if (r == 0)
		r = report_settings(request);
	if (r == 0)
		r = report_damaged(request, path, REPORT_LIST_MAX);
	if (r == 0)
		r = report_poison(request, path, REPORT_LIST_MAX, NULL);
	return r;
}
