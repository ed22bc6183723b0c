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
	r = catalog_get_meta(volume_catalog(volume), META_KEY, &text);
	if (r < 0)
		return r;
	if (r > 0 && parse_meta(text, &until_ns, &rate))
		timer->until_ns = until_ns;
	return 0;
}

/* What to go back to: of the limit that runs already, if one does. */
static int rate_before(struct limit_timer *timer, char **ret_rate)
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

int limit_set(struct limit_timer *timer, const char *rate, int64_t for_ns, char **ret_message)
{
	cleanup_free char *before = NULL;
	cleanup_free char *meta = NULL;
	int64_t until_ns = realtime_ns() + for_ns;
	int r;

	if (for_ns <= 0) {
		r = volume_set_setting(timer->volume, LIMIT_KEY, rate, ret_message);
		return r < 0 ? r : limit_forget(timer);
	}
	r = rate_before(timer, &before);
	if (r < 0)
		return r;
	if (asprintf(&meta, "%" PRId64 " %s", until_ns, before) < 0)
		return -ENOMEM;
	r = volume_set_setting(timer->volume, LIMIT_KEY, rate, ret_message);
	if (r < 0)
		return r;
	r = catalog_set_meta(volume_catalog(timer->volume), META_KEY, meta);
	if (r < 0)
		return r;
	timer->until_ns = until_ns;
	return catalog_flush(volume_catalog(timer->volume));
}

int limit_forget(struct limit_timer *timer)
{
	if (timer->until_ns == 0)
		return 0;
	timer->until_ns = 0;
	return catalog_set_meta(volume_catalog(timer->volume), META_KEY, "");
}

void limit_tick(struct limit_timer *timer)
{
	cleanup_free char *before = NULL;
	cleanup_free char *message = NULL;
	int r;

	if (timer->until_ns == 0 || realtime_ns() < timer->until_ns)
		return;
	r = catalog_barrier(volume_catalog(timer->volume));
	if (r == 0)
		r = rate_before(timer, &before);
	if (r == 0)
		r = volume_set_setting(timer->volume, LIMIT_KEY, before, &message);
	if (r < 0)
		log_error_errno(r, "cannot end the rate limit: set transfer.limit by hand");
	else
		log_info("the rate limit ended, transfer.limit is %s again", before);
	(void)limit_forget(timer); /* its failure is the catalog's, which tells it itself */
}
