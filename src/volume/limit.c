/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/limit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/units.h"
#include "volume/internal.h"
#include "volume/manage.h"

#define META_KEY "limit.override" /* "NANOSECONDS BYTES", until when and what; "" none */

static bool parse_meta(const char *text, int64_t *ret_until_ns, uint64_t *ret_rate)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_until_ns = strtoll(text, &end, 10);
	if (errno || *end != ' ' || end[1] < '0' || end[1] > '9')
		return false;
	*ret_rate = strtoull(end + 1, &end, 10);
	return !errno && !*end;
}

static void set_override(struct volume *volume, uint64_t rate, int64_t until_ns)
{
	scoped_lock(&volume->settings_lock);
	volume->limit.override_rate = rate;
	volume->limit.override_until_ns = until_ns;
}

int limit_load(struct volume *volume)
{
	cleanup_free char *text = NULL;
	int64_t until_ns;
	uint64_t rate;
	int r = catalog_get_meta(volume->catalog, META_KEY, &text);

	if (r > 0 && parse_meta(text, &until_ns, &rate))
		set_override(volume, rate, until_ns);
	return r < 0 ? r : 0;
}

/* The override that holds at @realtime_ns: until when, 0 none. */
static int64_t override_locked(const struct volume *volume, int64_t realtime_ns)
{
	int64_t until_ns = volume->limit.override_until_ns;

	return realtime_ns < until_ns ? until_ns : 0;
}

struct limit_now volume_limit_at(struct volume *volume, int64_t realtime_ns)
{
	scoped_lock(&volume->settings_lock);
	if (override_locked(volume, realtime_ns))
		return (struct limit_now){ volume->limit.override_rate, LIMIT_BY_OVERRIDE };
	return settings_limit(volume->settings, realtime_ns);
}

int64_t volume_limit_until(struct volume *volume, int64_t realtime_ns)
{
	int64_t until_ns;

	scoped_lock(&volume->settings_lock);
	until_ns = override_locked(volume, realtime_ns);
	return until_ns ? until_ns : settings_limit_until(volume->settings, realtime_ns);
}

/* The catalog comes first: an override that is forgotten by a restart was never asked for. */
static int override_with(struct volume *volume, uint64_t rate, int64_t until_ns)
{
	char meta[64] = "";
	int r;

	if (until_ns)
		(void)snprintf(meta, sizeof(meta), "%" PRId64 " %" PRIu64, until_ns, rate);
	r = catalog_set_meta(volume->catalog, META_KEY, meta);
	if (r == 0)
		r = catalog_flush(volume->catalog);
	if (r == 0)
		set_override(volume, rate, until_ns);
	return r;
}

int volume_limit(struct volume *volume, const char *rate, int64_t for_ns, char **ret_message)
{
	uint64_t per_second = 0;
	int r;

	*ret_message = NULL;
	scoped_lock(&volume->limit.lock);
	if (for_ns <= 0) {
		r = volume_set_setting(volume, "transfer.limit", rate, ret_message);
		if (r == 0 && volume_limit_at(volume, realtime_ns()).rule == LIMIT_BY_OVERRIDE)
			r = override_with(volume, 0, 0);
	} else {
		r = parse_rate(rate, &per_second);
		if (r == -EINVAL &&
		    asprintf(ret_message, "%s: must be a rate such as 20M, or none", rate) < 0)
			*ret_message = NULL;
		if (r == 0)
			r = override_with(volume, per_second, realtime_ns() + for_ns);
	}
	if (r == 0)
		volume_limit_tick(volume);
	return r;
}

void volume_limit_tick(struct volume *volume)
{
	static const char *const names[] = { "transfer.limit", "transfer.timetable",
					     "mediafs limit" };
	struct limit_now now = volume_limit_at(volume, realtime_ns());
	char text[32];

	if (atomic_exchange(&volume->limit.shown, now.per_second) == now.per_second)
		return;
	transfer_set_rate(volume->transfer);
	log_info("the network is limited to %s a second now (by %s)",
		 now.per_second ? format_bytes(now.per_second, text, sizeof(text)) : "any bytes",
		 names[now.rule]);
}
