/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/manage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "catalog/sync.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "volume/historian.h"
#include "volume/internal.h"
#include "volume/keeper.h"
#include "volume/live.h"
#include "volume/syncer.h"
#include "volume/tree.h"
#include "volume/verifier.h"

/* A rate needs two looks at least this far apart; looks further apart say nothing of now. */
#define SAMPLE_MIN_NS (500 * NS_PER_MS)
#define SAMPLE_MAX_NS (10 * NS_PER_SEC)

struct store *volume_store(struct volume *volume)
{
	return volume->store;
}

struct catalog *volume_catalog(struct volume *volume)
{
	return volume->catalog;
}

const struct transfer_tier *volume_tier(const struct volume *volume, size_t index)
{
	return transfer_tier(volume->transfer, index);
}

bool volume_tier_is_offsite(struct volume *volume, const struct tier *tier)
{
	scoped_lock(&volume->settings_lock);
	for (size_t i = 0; i < settings_tier_count(volume->settings); i++) {
		const struct settings_tier *said = settings_tier(volume->settings, i);

		if (strcmp(said->name, tier->name) == 0 && said->offsite >= 0)
			return said->offsite;
	}
	return !tier->backend->device;
}

int volume_recheck_copies(struct volume *volume, const struct content_row *content,
			  transfer_recheck_fn fn, void *arg)
{
	return transfer_recheck_each(volume->transfer, content, fn, arg);
}

int volume_check_file(struct volume *volume, uint64_t id, int (*pace)(void *arg, uint64_t bytes),
		      void *arg)
{
	cleanup_free char *path = volume_path_of(volume, id);
	struct stat st;

	if (!path)
		return -ENOMEM;
	/* A file is found by its handle also where somebody moved it out of the tree. */
	if (fstatat(volume->store->tree_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return st.st_ino == id ? scrub_file(volume, id, pace, arg) : -ENOENT;
}

void volume_hold_files(struct volume *volume, const uint64_t *ids, size_t count,
		       struct live **ret_held)
{
	struct live_look look = { 0 };

	for (size_t i = 0; i < count; i++) {
		ret_held[i] = NULL;
		(void)live_get_in_turn(volume, ids[i], -1, &look, &ret_held[i]);
	}
}

void volume_let_go(struct live **held, size_t count)
{
	for (size_t i = 0; i < count; i++)
		live_put(held[i]);
}

int volume_barrier(struct volume *volume)
{
	return catalog_barrier(volume->catalog);
}

int volume_sync(struct volume *volume, bool unless_heard)
{
	struct syncer *syncer = volume->syncer;
	int r = syncer && unless_heard ? syncer_heard(syncer) : 0;

	if (!syncer || r > 0)
		return 0;
	return r < 0 ? r : syncer_run(syncer);
}

void volume_event(struct volume *volume, const char *actor, const char *event, const char *path,
		  const char *digest, const char *detail)
{
	const struct event row = {
		.actor = actor,
		.event = event,
		.path = path,
		.digest = digest,
		.detail = detail,
	};

	/* A catalog that fails says so itself, once, and in status. */
	(void)catalog_add_event(volume->catalog, &row);
}

static uint64_t receiving_rate(struct volume *volume)
{
	uint64_t bytes = volume->received_bytes;
	int64_t now = monotonic_ns();
	int64_t passed;

	scoped_lock(&volume->status_lock);
	passed = now - volume->sample_ns;
	if (passed >= SAMPLE_MIN_NS) {
		volume->sample_rate = passed > SAMPLE_MAX_NS
					      ? 0
					      : (uint64_t)((double)(bytes - volume->sample_bytes) *
							   1e9 / (double)passed);
		volume->sample_ns = now;
		volume->sample_bytes = bytes;
	}
	return volume_is_receiving(volume) ? volume->sample_rate : 0;
}

int volume_get_status(struct volume *volume, struct volume_status *ret_status)
{
	struct volume_status status = { .uploaded_eta_ns = -1 };
	const struct transfer_tier *tier;
	struct sync_counts counts;
	struct statvfs disk;
	int r;

	r = catalog_get_totals(volume->catalog, &status.totals);
	if (r < 0)
		return r;
	for (size_t i = 0; (tier = transfer_tier(volume->transfer, i)) != NULL; i++) {
		struct queue_totals queue;

		r = catalog_queue_totals(volume->catalog, tier->id, &queue);
		if (r < 0)
			return r;
		status.queue.files += queue.files;
		status.queue.bytes += queue.bytes;
		status.queue.poison += queue.poison;
	}
	transfer_get_status(volume->transfer, &status.transfer);
	verifier_get(volume->verifier, &status.verify_backlog, &status.verify_rate);
	status.receiving_rate = receiving_rate(volume);
	if (fstatvfs(volume->store->root_fd, &disk) == 0) {
		status.disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
		status.disk_total = (uint64_t)disk.f_blocks * disk.f_frsize;
	}
	if (status.queue.bytes == 0)
		status.uploaded_eta_ns = 0;
	else if (status.transfer.rate > 0 && !status.transfer.paused)
		status.uploaded_eta_ns =
			(int64_t)((double)status.queue.bytes * 1e9 / (double)status.transfer.rate);
	r = catalog_get_sync_counts(volume->catalog, &counts);
	if (r < 0)
		return r;
	status.pending_publish = counts.unpublished + counts.outbox;
	status.conflicts = counts.conflicts;
	r = catalog_count_unread(volume->catalog, UNREAD_MAX, &status.unread);
	if (r < 0)
		return r;
	status.scrub_aside = keeper_steps_aside(volume->keeper);
	status.verify_aside = verifier_steps_aside(volume->verifier);
	catalog_get_health(volume->catalog, &status.catalog);
	status.read_only = volume->flags & VOLUME_READ_ONLY;
	*ret_status = status;
	return 0;
}

size_t volume_settled_offloads(struct volume *volume,
			       struct settled_offload ret_list[SETTLED_OFFLOADS_MAX])
{
	return historian_settled(volume->historian, ret_list);
}

/* A change that could not be made durable may be in the file all the same. */
static bool is_in_file(const struct volume *volume, const struct settings *changed, const char *key)
{
	cleanup_with(settings_free_slot) struct settings *saved = NULL;
	cleanup_free char *message = NULL, *want = NULL, *found = NULL;
	int r = settings_load(volume->store->path, &saved, &message), wanted;

	if (r < 0)
		return false;
	r = settings_get_text(saved, key, &found);
	wanted = settings_get_text(changed, key, &want);
	return r == wanted && (r == 0 ? strcmp(found, want) == 0 : r == -ENOENT);
}

/* In memory and in the file, or in neither: what failed must not be in force, nor be written with
 * the next change. */
static int change_setting(struct volume *volume, const char *key, const char *value,
			  char **ret_message)
{
	cleanup_with(settings_free_slot) struct settings *changed = NULL;
	int r;

	*ret_message = NULL;
	/* The file is small and changes at a person's pace: written under its lock, so that two
	 * changes cannot cross. */
	scoped_lock(&volume->settings_lock);
	r = settings_copy(volume->settings, &changed);
	if (r == 0)
		r = settings_set_text(changed, key, value, ret_message);
	if (r < 0)
		return r;
	r = settings_save(changed, volume->store->path);
	if (r == 0 || is_in_file(volume, changed, key))
		settings_become(volume->settings, take_ptr(changed));
	return r;
}

int volume_set_setting(struct volume *volume, const char *key, const char *value,
		       char **ret_message)
{
	cleanup_free char *name = NULL;
	int is_tier = settings_tier_name(key, &name);
	int taken = 0, r = is_tier < 0 ? is_tier : change_setting(volume, key, value, ret_message);

	/* Also after a failure: it may be in force. */
	if (is_tier > 0)
		taken = volume_take_tier(volume, key, name);
	/* "resume" is how a person says that a cause was done away with. */
	if (strcmp(key, "transfer.pause") == 0)
		transfer_retry(volume->transfer);
	else
		transfer_wake(volume->transfer);
	keeper_wake(volume->keeper);
	historian_wake(volume->historian);
	return r < 0 ? r : taken;
}

int volume_override(struct volume *volume, const char *key, const char *value, char **ret_message)
{
	scoped_lock(&volume->settings_lock);
	return settings_override(volume->settings, key, value, ret_message);
}

int volume_get_setting(struct volume *volume, const char *key, char **ret_value)
{
	scoped_lock(&volume->settings_lock);
	return settings_get_text(volume->settings, key, ret_value);
}
