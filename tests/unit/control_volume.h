/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The volume of test-control.c, in the place of src/volume. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/events.h"
#include "store/store.h"
#include "util/thread.h"
#include "volume/limit.h"
#include "volume/manage.h"
#include "volume/offloads.h"

/* A volume that has a store and a catalog, and does what the test says. */
struct volume {
	struct store *store;
	struct catalog *catalog;
	struct transfer_tier tiers[2];
	_Atomic int residency_calls;
	_Atomic bool residency_endless; /* until its asker or the server stops it */
	struct mutex lock;              /* guards limit */
	char limit[32];
	int64_t limit_for_ns;
};

void volume_tier_leaves(struct volume *volume, const char *name, bool leaves)
{
	(void)volume, (void)name, (void)leaves;
}

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
	return index < ARRAY_SIZE(volume->tiers) && volume->tiers[index].id ? &volume->tiers[index]
									    : NULL;
}

bool volume_tier_is_offsite(struct volume *volume, const struct tier *tier)
{
	(void)volume;
	return strcmp(tier->name, "cloud") == 0;
}

int volume_barrier(struct volume *volume)
{
	return catalog_barrier(volume->catalog);
}

int volume_sync(struct volume *volume, bool unless_heard)
{
	(void)volume, (void)unless_heard;
	return 0;
}

int volume_get_status(struct volume *volume, struct volume_status *ret_status)
{
	*ret_status = (struct volume_status){ .uploaded_eta_ns = -1 };
	return catalog_get_totals(volume->catalog, &ret_status->totals);
}

int volume_set_setting(struct volume *volume, const char *key, const char *value,
		       char **ret_message)
{
	if (strcmp(key, "transfer.limit") != 0)
		return -ENOENT;
	if (strcmp(value, "bad") == 0) {
		*ret_message = strdup("bad is bad");
		return -EINVAL;
	}
	scoped_lock(&volume->lock);
	(void)snprintf(volume->limit, sizeof(volume->limit), "%s", value);
	return 0;
}

int volume_get_setting(struct volume *volume, const char *key, char **ret_value)
{
	if (strcmp(key, "transfer.limit") != 0)
		return -ENOENT;
	scoped_lock(&volume->lock);
	*ret_value = strdup(volume->limit);
	return *ret_value ? 0 : -ENOMEM;
}

int volume_limit(struct volume *volume, const char *rate, int64_t for_ns, char **ret_message)
{
	volume->limit_for_ns = for_ns;
	return volume_set_setting(volume, "transfer.limit", rate, ret_message);
}

struct limit_now volume_limit_at(struct volume *volume, int64_t realtime_ns)
{
	(void)volume, (void)realtime_ns;
	return (struct limit_now){ 1234, LIMIT_BY_OVERRIDE };
}

int64_t volume_limit_until(struct volume *volume, int64_t realtime_ns)
{
	(void)volume, (void)realtime_ns;
	return 5678;
}

void volume_limit_tick(struct volume *volume)
{
	(void)volume;
}

int offload_broken_off(struct volume *volume, const struct offload *offload, const char **ret_path)
{
	(void)volume;
	(void)offload;
	(void)ret_path;
	return 0;
}

/* "busy" has a file that is open for writing, "bare" no manifest. */
int volume_seal(struct volume *volume, const char *path, const char *actor, char **ret_path)
{
	(void)volume, (void)actor;
	if (strcmp(path, "bare") == 0)
		return -ENODATA;
	if (strcmp(path, "busy") != 0)
		return 0;
	*ret_path = strdup("busy/clip.mov");
	return *ret_path ? -EBUSY : -ENOMEM;
}

int volume_unseal(struct volume *volume, const char *path, const char *actor)
{
	(void)volume, (void)actor;
	return *path ? 0 : -EINVAL;
}

int volume_residency(struct volume *volume, enum residency_verb verb, const char *path,
		     volume_progress_fn progress, void *arg)
{
	int r = progress(arg, path, verb == RESIDENCY_EVICT ? 7 : 0, 0);

	volume->residency_calls++;
	while (r == 0 && volume->residency_endless)
		r = progress(arg, "x", 1, 0);
	return r ? r : progress(arg, "busy", 0, -EBUSY);
}

void volume_event(struct volume *volume, const char *actor, const char *event, const char *path,
		  const char *digest, const char *detail)
{
	const struct event row = {
		.actor = actor, .event = event, .path = path, .digest = digest, .detail = detail
	};

	(void)catalog_add_event(volume->catalog, &row);
}
