/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/behind.h"
#include "volume/historian.h"
#include "volume/hydrate.h"
#include "volume/internal.h"
#include "volume/keeper.h"
#include "volume/level.h"
#include "volume/live.h"
#include "volume/node.h"
#include "volume/seals.h"
#include "volume/syncer.h"
#include "volume/verifier.h"

/* Bytes count as "arriving now" for this long after the last one. */
#define RECEIVING_NS (300 * NS_PER_MS)

int64_t volume_setting(struct volume *volume, enum setting setting)
{
	scoped_lock(&volume->settings_lock);
	return settings_get(volume->settings, setting);
}

bool volume_is_receiving(const struct volume *volume)
{
	return monotonic_ns() - volume->last_write_ns < RECEIVING_NS;
}

void volume_set_notify(struct volume *volume, const struct volume_notify *notify)
{
	scoped_lock(&volume->notify_lock);
	volume->notify = notify ? *notify : (struct volume_notify){ 0 };
}

static struct volume_notify get_notify(struct volume *volume)
{
	scoped_lock(&volume->notify_lock);
	return volume->notify;
}

void volume_notify_entry(struct volume *volume, uint64_t parent, const char *name)
{
	struct volume_notify notify = get_notify(volume);

	nodes_names_changed(volume->nodes, parent);
	if (notify.entry)
		notify.entry(notify.arg, parent, name);
}

void volume_notify_inode(struct volume *volume, uint64_t id)
{
	struct volume_notify notify = get_notify(volume);

	if (notify.inode)
		notify.inode(notify.arg, id);
}

void volume_notify_attributes(struct volume *volume, uint64_t id)
{
	struct volume_notify notify = get_notify(volume);

	if (notify.attributes)
		notify.attributes(notify.arg, id);
}

/* What transfer asks of us. */

static void host_stored(void *arg, uint64_t id, uint64_t generation)
{
	struct volume *volume = arg;

	live_follow(volume, id, generation, FILE_STORED);
	if (volume->syncer)
		syncer_wake(volume->syncer);
}

static void host_damaged(void *arg, uint64_t id, uint64_t generation, uint64_t block)
{
	(void)block; /* logged where it was found */
	live_follow(arg, id, generation, FILE_DAMAGED);
	volume_notify_inode(arg, id);
}

static void host_settle(void *arg, uint64_t id)
{
	(void)live_drain_id(arg, id);
}

static bool host_is_busy(void *arg)
{
	return volume_is_receiving(arg);
}

static int64_t host_setting(void *arg, enum setting setting)
{
	/* The hour and the operator have a say in that one. */
	if (setting == SETTING_LIMIT)
		return (int64_t)volume_limit_at(arg, realtime_ns()).per_second;
	return volume_setting(arg, setting);
}

static int host_uplink(void *arg, const char *tier)
{
	struct volume *volume = arg;

	scoped_lock(&volume->settings_lock);
	for (size_t i = 0; i < settings_tier_count(volume->settings); i++) {
		const struct settings_tier *said = settings_tier(volume->settings, i);

		if (strcmp(said->name, tier) == 0)
			return said->uplink;
	}
	return -1;
}

static char *host_rule(void *arg, const char *name)
{
	struct volume *volume = arg;
	const char *globs;

	scoped_lock(&volume->settings_lock);
	globs = settings_rule(volume->settings, name);
	return globs ? strdup(globs) : NULL;
}

static int open_settings(struct volume *volume, const char *path)
{
	cleanup_free char *message = NULL;
	int r = settings_load(path, &volume->settings, &message);

	if (r < 0 && message)
		log_error("%s/mediafs.conf: %s", path, message);
	else if (r < 0)
		log_error_errno(r, "cannot read %s/mediafs.conf", path);
	return r;
}

static int open_catalog(struct volume *volume)
{
	cleanup_free char *file = store_file(volume->store, "catalog.db");
	int r;

	if (!file)
		return -ENOMEM;
	r = catalog_open(file, volume->store->site_uuid, 0, &volume->catalog);
	if (r == -ENOENT || r == -EUCLEAN)
		log_error("%s is %s: mediafs-fsck --rebuild-catalog %s makes a new one from the "
			  "files",
			  file, r == -ENOENT ? "missing" : "damaged", volume->store->path);
	else if (r == -EPROTONOSUPPORT)
		log_error("%s was made by a newer mediafs: use that one", file);
	else if (r < 0)
		log_error_errno(r, "cannot open %s", file);
	return r;
}

static int open_parts(struct volume *volume)
{
	const struct transfer_host host = {
		.arg = volume,
		.stored = host_stored,
		.damaged = host_damaged,
		.settle = host_settle,
		.is_busy = host_is_busy,
		.setting = host_setting,
		.uplink = host_uplink,
		.rule = host_rule,
	};
	int r;

	r = transfer_new(volume->catalog, volume->store, volume->settings, &host,
			 &volume->transfer);
	if (r < 0)
		return r;
	volume->nodes = nodes_new(volume->store);
	volume->lives = lives_new(volume);
	volume->behind = behind_new(volume);
	volume->verifier = verifier_new(volume);
	volume->hydrator = hydrator_new(volume);
	volume->keeper = keeper_new(volume);
	volume->leveller = leveller_new(volume);
	volume->historian = historian_new(volume);
	volume->seals = seals_new(volume);
	if (!volume->nodes || !volume->lives || !volume->behind || !volume->verifier ||
	    !volume->hydrator || !volume->keeper || !volume->leveller || !volume->historian ||
	    !volume->seals)
		return -ENOMEM;
	if (!transfer_tier(volume->transfer, 0))
		return 0;
	volume->syncer = syncer_new(volume);
	return volume->syncer ? 0 : -ENOMEM;
}

/* In this order: the catalog is level, then who works for others starts before them. */
static int start_parts(struct volume *volume)
{
	int r;

	r = leveller_start(volume->leveller);
	if (r == 0)
		r = seals_load(volume->seals);
	if (r == 0)
		r = hydrator_start(volume->hydrator);
	if (r == 0)
		r = transfer_start(volume->transfer);
	if (r == 0)
		r = behind_start(volume->behind);
	if (r == 0)
		r = verifier_start(volume->verifier);
	if (r == 0)
		r = keeper_start(volume->keeper);
	if (r == 0)
		r = historian_start(volume->historian);
	if (r == 0 && volume->syncer)
		r = syncer_start(volume->syncer);
	return r;
}

static int open_store(struct volume *volume, const char *path)
{
	int r = store_open(path, STORE_LOCK, &volume->store);

	switch (r) {
	case 0:
		break;
	case -EBUSY:
		log_error("%s is in use by process %d: one daemon or mediafs-fsck at a time", path,
			  (int)store_locked_by(path));
		break;
	case -ENOENT:
		log_error("%s is not a store: mediafs init %s makes one", path, path);
		break;
	case -EPROTONOSUPPORT:
		log_error("%s was made by a newer mediafs: use that one", path);
		break;
	default:
		log_error_errno(r, "cannot open the store %s", path);
	}
	return r;
}

int volume_open(const char *path, enum volume_flags flags, struct volume **ret_volume)
{
	struct volume *volume = calloc(1, sizeof(*volume));
	int r;

	if (!volume)
		return -ENOMEM;
	volume->flags = flags;
	mutex_init(&volume->tiers_lock, 4);
	mutex_init(&volume->settings_lock, 90);
	mutex_init(&volume->limit.lock, 5);
	mutex_init(&volume->notify_lock, 91);
	mutex_init(&volume->status_lock, 92);
	/* A number so far back that nothing counts as arriving. */
	volume->last_write_ns = monotonic_ns() - RECEIVING_NS;
	r = open_store(volume, path);
	if (r == 0)
		r = open_settings(volume, path);
	if (r == 0)
		r = open_catalog(volume);
	if (r == 0)
		r = limit_load(volume);
	if (r == 0)
		r = open_parts(volume);
	if (r == 0 && !(flags & VOLUME_NO_THREADS))
		r = start_parts(volume);
	if (r < 0) {
		volume_close(volume);
		return r;
	}
	*ret_volume = volume;
	return 0;
}

void volume_end_reads(struct volume *volume)
{
	if (volume->syncer)
		syncer_finish(volume->syncer);
	/* Nobody who is to end waits for a tier from here on. */
	transfer_stop(volume->transfer);
	hydrator_stop(volume->hydrator);
}

/* Those who call others end before them. */
void volume_close(struct volume *volume)
{
	if (!volume)
		return;
	volume_set_notify(volume, NULL);
	if (volume->syncer)
		syncer_finish(volume->syncer);
	if (volume->transfer)
		transfer_stop(volume->transfer);
	if (volume->syncer)
		syncer_stop(volume->syncer);
	if (volume->hydrator)
		hydrator_stop(volume->hydrator);
	if (volume->historian)
		historian_stop(volume->historian);
	keeper_free(volume->keeper);
	leveller_free(volume->leveller);
	behind_free(volume->behind);
	verifier_free(volume->verifier);
	historian_free(volume->historian); /* woken by the verifier to the last */
	hydrator_free(volume->hydrator);
	transfer_free(volume->transfer);
	syncer_free(volume->syncer); /* woken by uploads to the last */
	lives_free(volume->lives);
	seals_free(volume->seals);
	nodes_free(volume->nodes);
	catalog_close(volume->catalog);
	settings_free(volume->settings);
	store_close(volume->store);
	mutex_fini(&volume->status_lock);
	mutex_fini(&volume->notify_lock);
	mutex_fini(&volume->settings_lock);
	mutex_fini(&volume->tiers_lock);
	mutex_fini(&volume->limit.lock);
	free(volume);
}
