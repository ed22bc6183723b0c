/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/transfer.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include "catalog/events.h"
#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/* How long ago a lane that steps aside again and again may have done so last. */
#define ASIDE_SHOWN_NS (2 * NS_PER_SEC)

/* After a rename, files that were left out are looked at this soon, however many renames follow. */
#define RENAMED_NS (2 * NS_PER_SEC)

static int load_rules(struct transfer *transfer, struct rules **ret_rules)
{
	const char *classes[PRIORITY_COUNT] = { 0 };
	char *texts[PRIORITY_COUNT] = { 0 };
	cleanup_free char *ignore = NULL;
	struct rules *rules;

	ignore = transfer->host.rule(transfer->host.arg, "ignore");
	for (unsigned i = 0; i < PRIORITY_COUNT; i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "priority.%s", priority_name(i));
		texts[i] = transfer->host.rule(transfer->host.arg, name);
		classes[i] = texts[i];
	}
	rules = rules_new(ignore, classes);
	for (unsigned i = 0; i < PRIORITY_COUNT; i++)
		free(texts[i]);
	if (!rules)
		return -ENOMEM;
	*ret_rules = rules;
	return 0;
}

int transfer_new(struct catalog *catalog, struct store *store, const struct settings *settings,
		 const struct transfer_host *host, struct transfer **ret_transfer)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));
	uint64_t limit;
	int r;

	if (!transfer)
		return -ENOMEM;
	transfer->catalog = catalog;
	transfer->store = store;
	transfer->host = *host;
	transfer->clock_ns = realtime_ns() - monotonic_ns();
	transfer->hasten = true;
	transfer->netwatch = NETWATCH_NONE;
	mutex_init(&transfer->lock, 50);
	cond_init(&transfer->changed);
	limit = (uint64_t)host->setting(host->arg, SETTING_LIMIT);
	bucket_init(&transfer->bucket, limit);
	bucket_init(&transfer->urgent, limit);
	meter_init(&transfer->meter);
	transfer->paused = host->setting(host->arg, SETTING_PAUSE) != 0;
	transfer->metered = host->setting(host->arg, SETTING_METERED) != 0;
	transfer->wakes = 1;
	r = load_rules(transfer, &transfer->rules);
	for (size_t i = 0; r == 0 && i < settings_tier_count(settings); i++) {
		const struct settings_tier *tier = settings_tier(settings, i);

		r = lane_open(transfer, tier->name, tier->url, &transfer->lanes[i]);
		transfer->lane_count += r == 0;
	}
	if (r == 0)
		r = transfer_note_tiers(transfer);
	if (r < 0) {
		transfer_free(transfer);
		return r;
	}
	*ret_transfer = transfer;
	return 0;
}

int transfer_start(struct transfer *transfer)
{
	int r = 0;

	/* With no tier left nobody else looks at what was queued for one, or stored there. */
	if (transfer->lane_count == 0) {
		bool left = transfer->one_left;

		transfer->one_left = false;
		r = transfer_resume(transfer);
		if (r == 0 && left)
			r = transfer_forget_gone(transfer);
	}
	for (size_t i = 0; r == 0 && i < transfer->lane_count; i++)
		r = lane_start(transfer->lanes[i]);
	return r == 0 ? network_start(transfer) : r;
}

void transfer_stop(struct transfer *transfer)
{
	mutex_lock(&transfer->lock);
	transfer->stopping = true;
	cond_broadcast(&transfer->changed);
	for (size_t i = 0; i < transfer->lane_count; i++)
		senders_stop_locked(transfer->lanes[i]);
	mutex_unlock(&transfer->lock);
	bucket_stop(&transfer->bucket);
	bucket_stop(&transfer->urgent);
	for (size_t i = 0; i < transfer->lane_count; i++)
		tier_stop(transfer->lanes[i]->tier.tier);
}

void transfer_free(struct transfer *transfer)
{
	if (!transfer)
		return;
	transfer_stop(transfer);
	network_fini(transfer);
	for (size_t i = 0; i < transfer->lane_count; i++)
		lane_free(transfer->lanes[i]);
	rules_free(transfer->rules);
	meter_fini(&transfer->meter);
	bucket_fini(&transfer->urgent);
	bucket_fini(&transfer->bucket);
	cond_fini(&transfer->changed);
	mutex_fini(&transfer->lock);
	free(transfer);
}

bool transfer_stopping(struct transfer *transfer)
{
	scoped_lock(&transfer->lock);
	return transfer->stopping;
}

void transfer_nudge(struct transfer *transfer)
{
	scoped_lock(&transfer->lock);
	transfer->wakes++;
	cond_broadcast(&transfer->changed);
}

void transfer_renamed(struct transfer *transfer)
{
	int64_t soon_ns = monotonic_ns() + RENAMED_NS;

	scoped_lock(&transfer->lock);
	if (transfer->requeue_ns <= soon_ns)
		return;
	transfer->requeue_ns = soon_ns;
	transfer->wakes++;
	cond_broadcast(&transfer->changed);
}

void transfer_set_rate(struct transfer *transfer)
{
	uint64_t limit = (uint64_t)transfer->host.setting(transfer->host.arg, SETTING_LIMIT);

	bucket_set(&transfer->bucket, limit);
	bucket_set(&transfer->urgent, limit);
}

void transfer_wake(struct transfer *transfer)
{
	const struct transfer_host *host = &transfer->host;
	bool paused = host->setting(host->arg, SETTING_PAUSE) != 0;
	bool metered = host->setting(host->arg, SETTING_METERED) != 0;
	struct rules *old, *rules = NULL;
	struct lane *lane;

	transfer_set_rate(transfer);
	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;)
		lane->uplink = host->uplink(host->arg, lane->tier.tier->name);
	if (load_rules(transfer, &rules) < 0)
		log_warning("no memory for new rules: the old ones stay");
	mutex_lock(&transfer->lock);
	old = rules ? transfer->rules : NULL;
	if (rules)
		transfer->rules = rules;
	transfer->paused = paused;
	transfer->metered = metered;
	transfer->requeue_ns = 0;
	transfer->hasten = true;
	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;)
		lane->next_try_ns = 0;
	transfer->wakes++;
	cond_broadcast(&transfer->changed);
	mutex_unlock(&transfer->lock);
	rules_free(old);
}

void transfer_retry(struct transfer *transfer)
{
	int r = transfer_hasten(transfer, HASTEN_AFRESH);

	/* Who looks right after this sees it. */
	if (r == 0)
		r = catalog_barrier(transfer->catalog);
	if (r < 0)
		log_warning_errno(r, "what was set aside stays so for now");
	transfer_wake(transfer);
}

bool transfer_excludes(struct transfer *transfer, const char *path)
{
	scoped_lock(&transfer->lock);
	return rules_ignores(transfer->rules, path) != NULL;
}

static bool holds_locked(const struct lane *lane, enum priority_class class)
{
	const struct transfer *transfer = lane->transfer;

	return transfer->paused ||
	       (transfer->metered && lane_is_on_uplink(lane) && class == PRIORITY_ORIGINALS);
}

int lane_take(struct lane *lane, enum priority_class class, uint64_t bytes)
{
	struct transfer *transfer = lane->transfer;

	mutex_lock(&transfer->lock);
	while (holds_locked(lane, class) && !transfer->stopping && !lane->is_gone)
		cond_wait(&transfer->changed, &transfer->lock);
	mutex_unlock(&transfer->lock);
	return lane->is_gone ? -ECANCELED : lane_pace(lane, bytes);
}

int lane_pace(struct lane *lane, uint64_t bytes)
{
	struct transfer *transfer = lane->transfer;
	uint64_t debt;

	if (!lane_is_on_uplink(lane))
		return transfer_stopping(transfer) ? -ECANCELED : 0;
	debt = atomic_exchange(&transfer->debt, 0);
	return bucket_take(&transfer->bucket, bytes + debt);
}

int transfer_pace(struct transfer *transfer, uint64_t bytes)
{
	return transfer->lane_count ? lane_pace(transfer->lanes[0], bytes) : 0;
}

void transfer_event(struct transfer *transfer, const char *event, const char *path,
		    const struct digest *digest, const char *format, ...)
{
	char hex[DIGEST_HEX_SIZE] = "", detail[1024];
	const struct event row = {
		.actor = "daemon",
		.event = event,
		.path = path,
		.digest = hex,
		.detail = detail,
	};
	va_list ap;

	if (digest)
		digest_hex(digest, hex);
	va_start(ap, format);
	(void)vsnprintf(detail, sizeof(detail), format, ap);
	va_end(ap);
	/* A catalog that fails says so itself, once, and in status. */
	(void)catalog_add_event(transfer->catalog, &row);
}

/* Of all that is on its way the largest is shown. True: something of @lane is. */
static bool show_largest(const struct lane *lane, struct transfer_status *status)
{
	bool any = false;

	for (unsigned i = 0; i < SENDERS; i++) {
		const struct sender *sender = &lane->senders[i];

		if (!sender->path[0])
			continue;
		any = true;
		if (status->path[0] && sender->path_bytes <= status->path_bytes)
			continue;
		memcpy(status->path, sender->path, sizeof(status->path));
		status->path_bytes = sender->path_bytes;
		status->path_done = sender->path_done;
	}
	return any;
}

void transfer_get_status(struct transfer *transfer, struct transfer_status *ret_status)
{
	struct transfer_status status = {
		.rate = meter_rate(&transfer->meter),
		.sent_total = meter_total(&transfer->meter),
	};

	int64_t now_ns = monotonic_ns();
	const struct lane *lane;

	scoped_lock(&transfer->lock);
	status.paused = transfer->paused;
	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;) {
		if (show_largest(lane, &status))
			status.aside |= now_ns - lane->aside_ns < ASIDE_SHOWN_NS;
		if (lane->condition && !status.tier_down) {
			status.tier_down = true;
			status.tier_error = lane->condition;
			memcpy(status.tier_why, lane->why, sizeof(status.tier_why));
			status.next_try_ns =
				lane->next_try_ns - transfer_now_ns(transfer) + realtime_ns();
		}
	}
	*ret_status = status;
}
