/* SPDX-License-Identifier: Apache-2.0 */
/* A tier comes or goes while the volume is mounted (volume/manage.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/settings.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/internal.h"
#include "volume/manage.h"
#include "volume/syncer.h"

/* The first tier of a volume that had none: other sites are met there from now on. */
static int meet_others(struct volume *volume)
{
	struct syncer *syncer;
	int r;

	if (volume->syncer)
		return 0;
	syncer = syncer_new(volume);
	if (!syncer)
		return -ENOMEM;
	r = syncer_start(syncer);
	if (r < 0) {
		syncer_free(syncer);
		return r;
	}
	volume->syncer = syncer;
	return 0;
}

void volume_tier_leaves(struct volume *volume, const char *name, bool leaves)
{
	transfer_tier_leaves(volume->transfer, name, leaves);
}

/* As volume_take_tier(), with the error that kept it from being done. */
static int take_tier(struct volume *volume, const char *key, const char *name)
{
	cleanup_free char *url = NULL;
	const struct transfer_tier *used;
	int r;

	scoped_lock(&volume->tiers_lock);
	r = volume_get_setting(volume, key, &url);
	if (r < 0 && r != -ENOENT)
		return r;
	used = transfer_find_tier(volume->transfer, name);
	if (used && url && strcmp(used->tier->url, url) == 0)
		return 0;
	if (used && used == transfer_tier(volume->transfer, 0))
		return 1;
	r = used ? transfer_drop_tier(volume->transfer, name) : 0;
	if (r == 0 && url)
		r = transfer_add_tier(volume->transfer, name, url);
	return r == 0 && url ? meet_others(volume) : r;
}

int volume_take_tier(struct volume *volume, const char *key, const char *name)
{
	int r = take_tier(volume, key, name);

	if (r >= 0 || r == -ECANCELED)
		return r;
	/* It stands in the settings, and there is no reason to take it out of them. */
	log_warning_errno(r, "tier %s: as the settings say from the next mount on only", name);
	return 1;
}
