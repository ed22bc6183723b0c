/* SPDX-License-Identifier: Apache-2.0 */
#include "control/limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/catalog.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/manage.h"

#define META_KEY "limit.until" /* "NANOSECONDS RATE", or "" */
#define LIMIT_KEY "transfer.limit"

/* "123 20M" -> 123 and "20M"; false for anything else. */
static bool parse_meta(const char *text, int64_t *ret_until_ns, const char **ret_rate)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_until_ns = strtoll(text, &end, 10);
	if (errno || *end != ' ' || !end[1])
		return false;
	*ret_rate = end + 1;
	return true;
}

int limit_init(struct limit_timer *timer, struct volume *volume)
{
	cleanup_free char *text = NULL;
	const char *rate;
	int64_t until_ns;
	int r;

	*timer = (struct limit_timer){ .volume = volume };
	mutex_init(&timer->lock, 5);
	r = catalog_get_meta(volume_catalog(volume), META_KEY, &text);
	if (r < 0)
		return r;
	if (r > 0 && parse_meta(text, &until_ns, &rate))
		timer->until_ns = until_ns;
	return 0;
}

void limit_fini(struct limit_timer *timer)
{
	if (timer->volume)
		mutex_fini(&timer->lock);
}

/* What to go back to: of the limit that runs already, if one does. */
static int rate_before_locked(struct limit_timer *timer, char **ret_rate)
{
	cleanup_free char *text = NULL;
	const char *rate;
	int64_t until_ns;
	int r;

	if (timer->until_ns) {
		r = catalog_get_meta(volume_catalog(timer->volume), META_KEY, &text);
		if (r < 0)
			return r;
		if (r > 0 && parse_meta(text, &until_ns, &rate)) {
			*ret_rate = strdup(rate);
			return *ret_rate ? 0 : -ENOMEM;
		}
	}
	return volume_get_setting(timer->volume, LIMIT_KEY, ret_rate);
}

static int forget_locked(struct limit_timer *timer)
{
	if (timer->until_ns == 0)
		return 0;
	timer->until_ns = 0;
	return catalog_set_meta(volume_catalog(timer->volume), META_KEY, "");
}

int limit_forget(struct limit_timer *timer)
{
	scoped_lock(&timer->lock);
	return forget_locked(timer);
}

/* Durable before the setting changes: a limit that nobody ends would last for ever. */
static int remember_locked(struct limit_timer *timer, int64_t until_ns, const char *rate)
{
	struct catalog *catalog = volume_catalog(timer->volume);
	cleanup_free char *meta = NULL;
	int r;

	if (until_ns == 0)
		return forget_locked(timer);
	if (asprintf(&meta, "%" PRId64 " %s", until_ns, rate) < 0)
		return -ENOMEM;
	r = catalog_set_meta(catalog, META_KEY, meta);
	if (r == 0)
		r = catalog_flush(catalog);
	if (r == 0)
		timer->until_ns = until_ns;
	return r;
}

int limit_set(struct limit_timer *timer, const char *rate, int64_t for_ns, char **ret_message)
{
	cleanup_free char *before = NULL;
	int64_t until_before_ns;
	int r;

	scoped_lock(&timer->lock);
	if (for_ns <= 0) {
		r = volume_set_setting(timer->volume, LIMIT_KEY, rate, ret_message);
		return r < 0 ? r : forget_locked(timer);
	}
	until_before_ns = timer->until_ns;
	r = rate_before_locked(timer, &before);
	if (r == 0)
		r = remember_locked(timer, realtime_ns() + for_ns, before);
	if (r < 0)
		return r;
	r = volume_set_setting(timer->volume, LIMIT_KEY, rate, ret_message);
	if (r < 0)
		(void)remember_locked(timer, until_before_ns, before); /* the first error tells */
	return r;
}

void limit_tick(struct limit_timer *timer)
{
	cleanup_free char *before = NULL;
	cleanup_free char *message = NULL;
	int r;

	scoped_lock(&timer->lock);
	if (timer->until_ns == 0 || realtime_ns() < timer->until_ns)
		return;
	r = rate_before_locked(timer, &before);
	if (r == 0)
		r = volume_set_setting(timer->volume, LIMIT_KEY, before, &message);
	if (r < 0)
		log_error_errno(r, "cannot end the rate limit: set transfer.limit by hand");
	else
		log_info("the rate limit ended, transfer.limit is %s again", before);
	(void)forget_locked(timer);
}
