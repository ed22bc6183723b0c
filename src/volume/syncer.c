/* SPDX-License-Identifier: Apache-2.0 */
/* The syncer's thread, and our own journal in the tier (volume/syncer.h). */
#include "volume/syncer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"
#include "volume/place.h"
#include "volume/sync_parts.h"

/* Meta: the UUID under which this site publishes, when it is no longer the store's own. */
#define META_WRITER "sync.writer"
#define BLOCKED_RETRY_NS (2 * NS_PER_SEC)
#define SHORTEST_PAUSE_NS (50 * NS_PER_MS)
#define FINISH_NS (10 * NS_PER_SEC)
#define AWAY_RETRY_NS (5 * NS_PER_SEC)
#define WARNINGS_MAX 5
#define WARN_EVERY_NS (60 * NS_PER_SEC)
/* After news of another site this many polls' time is polled twice as often: 10 s at first. */
#define BUSY_POLLS 5

struct syncer *syncer_new(struct volume *volume)
{
	struct syncer *syncer = calloc(1, sizeof(*syncer));

	if (!syncer)
		return NULL;
	syncer->volume = volume;
	syncer->tier = transfer_tier(volume->transfer, 0)->tier;
	site_name_from(volume->store->site_name, syncer->name);
	mutex_init(&syncer->lock, 44);
	cond_init(&syncer->changed);
	return syncer;
}

bool syncer_stops(struct syncer *syncer)
{
	scoped_lock(&syncer->lock);
	return syncer->stop && monotonic_ns() >= syncer->finish_ns;
}

bool syncer_is_fatal(const struct syncer *syncer, int error)
{
	return error == -ENOMEM || error == -ECANCELED || error == -ENOSPC ||
	       catalog_error(syncer->volume->catalog) < 0;
}

void syncer_warn(struct sync_warnings *warnings, int error, const char *what, const char *path)
{
	int64_t now = monotonic_ns();

	if (warnings->count == 0 && now < warnings->again_ns)
		return;
	warnings->again_ns = now + WARN_EVERY_NS;
	if (warnings->count++ < WARNINGS_MAX)
		log_warning_errno(error, "cannot %s %s yet", what, path);
}

void syncer_wake(struct syncer *syncer)
{
	scoped_lock(&syncer->lock);
	syncer->woken = true;
	cond_broadcast(&syncer->changed);
}

static bool publishes(const struct syncer *syncer)
{
	return !(syncer->volume->flags & VOLUME_READ_ONLY);
}

/* Our own journal ---------------------------------------------------------------------- */

static int load_writer(struct syncer *syncer)
{
	cleanup_free char *writer = NULL;
	int r = catalog_get_meta(syncer->volume->catalog, META_WRITER, &writer);

	if (r < 0)
		return r;
	if (r > 0 && !uuid_ok(writer))
		return -EUCLEAN;
	memcpy(syncer->writer, r > 0 ? writer : syncer->volume->store->site_uuid,
	       sizeof(syncer->writer));
	return 0;
}

/*
 * The tier has more (or other) of our journal than we know: this store is an older copy of
 * one that went on, or the tier is. Nothing may be written to that journal any more. We go on
 * under a new name, read everything again, our own past too, and publish what differs.
 */
static int begin_epoch(struct syncer *syncer, const char *why)
{
	struct catalog *catalog = syncer->volume->catalog;
	char writer[37];
	int r = uuid_make(writer);

	if (r < 0)
		return r;
	log_warning("%s: this store was restored from a copy, or the tier was; publishing under "
		    "the new name %s, everything is compared again",
		    why, writer);
	volume_event(syncer->volume, "daemon", "new epoch", "", NULL, why);
	r = catalog_reset_sync(catalog);
	if (r == 0)
		r = catalog_set_meta(catalog, META_WRITER, writer);
	if (r == 0)
		r = catalog_flush(catalog);
	if (r < 0)
		return r;
	memcpy(syncer->writer, writer, sizeof(writer));
	read_sites_free(syncer);
	bundler_clear(syncer);
	syncer->bundled_known = false;
	syncer->listed_ns = 0;
	syncer->caught_up = false;
	return 0;
}

/* Without a head (or with a damaged one): is our last segment there? Then only the head is lost. */
static int find_last(struct syncer *syncer, uint64_t sent)
{
	cleanup_free void *packed = NULL;
	size_t length;
	int r;

	if (sent == 0)
		return 1;
	r = journal_get_packed(syncer->tier, syncer->writer, sent, &packed, &length);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* Is the journal in the tier the one that we have written? */
static int check_own(struct syncer *syncer)
{
	struct catalog *catalog = syncer->volume->catalog;
	struct sync_position position;
	struct sync_counts counts;
	struct head head = { 0 };
	const char *why = NULL;
	uint64_t sent;
	int r;

	r = catalog_barrier(catalog);
	if (r == 0)
		r = catalog_get_position(catalog, syncer->writer, &position);
	if (r >= 0)
		r = catalog_get_sync_counts(catalog, &counts);
	if (r < 0)
		return r;
	sent = position.segment - counts.outbox;
	r = journal_get_head(syncer->tier, syncer->writer, &head);
	if (r == -ENOENT || r == -EINVAL) {
		r = find_last(syncer, sent);
		if (r == 0)
			why = "the tier has lost our journal";
	}
	if (r < 0)
		return r;
	else if (head.segment > position.segment)
		why = "the tier has more of our journal than we wrote";
	else if (head.segment > 0 && head.segment == position.segment &&
		 memcmp(head.chain, position.chain, CHAIN_BYTES) != 0)
		why = "the tier has another journal of ours";
	r = why ? begin_epoch(syncer, why) : 0;
	if (r == 0) {
		syncer->head_due = !why && head.segment < position.segment;
		syncer->pushed = false;
		syncer->own_checked = true;
	}
	return r;
}

static int put_head(struct syncer *syncer)
{
	struct sync_position position;
	struct head head = { .time_ns = realtime_ns() };
	int r;

	r = catalog_get_position(syncer->volume->catalog, syncer->writer, &position);
	if (r < 0)
		return r;
	memcpy(head.site, syncer->writer, sizeof(head.site));
	memcpy(head.name, syncer->name, sizeof(head.name));
	head.segment = position.segment;
	memcpy(head.chain, position.chain, sizeof(head.chain));
	r = journal_put_head(syncer->tier, &head);
	if (r == 0)
		syncer->head_due = false;
	return r;
}

/* Segments first, then the head that makes them known. */
static int push_outbox(struct syncer *syncer)
{
	struct catalog *catalog = syncer->volume->catalog;
	int r = 1;

	while (r > 0) {
		cleanup_free void *packed = NULL;
		uint64_t number = 0;
		size_t length = 0;

		r = catalog_barrier(catalog);
		if (r == 0)
			r = catalog_next_outbox(catalog, &number, &packed, &length);
		if (r <= 0)
			break;
		(void)transfer_pace(syncer->volume->transfer, length);
		r = journal_put_packed(syncer->tier, syncer->writer, number, packed, length);
		if (r == -EEXIST)
			return begin_epoch(syncer, "the tier has another segment of ours");
		if (r == 0)
			r = catalog_remove_outbox(catalog, number);
		if (r < 0)
			return r;
		bundler_keep(syncer, number, take_ptr(packed), length);
		syncer->head_due = true;
		r = 1;
	}
	if (r == 0 && syncer->head_due)
		r = put_head(syncer);
	syncer->pushed = r == 0;
	return r;
}

/* One round ---------------------------------------------------------------------------- */

static int add_to_unshown(void *arg, const struct version_row *row)
{
	return catalog_add_unshown(arg, row->path);
}

/* Once for each run of the program. */
static int prepare(struct syncer *syncer)
{
	struct catalog *catalog = syncer->volume->catalog;
	int r;

	if (syncer->prepared)
		return 0;
	r = place_clean(syncer->volume);
	if (r == 0)
		r = load_writer(syncer);
	/* Otherwise the leveller notes it, when it has seen what is missing. */
	if (r == 0 && !catalog_was_unclean(catalog))
		r = catalog_note_boot(catalog);
	if (r == 0)
		r = catalog_set_meta(catalog, "sync", publishes(syncer) ? "on" : "off");
	/* Whether announced files are in the tree is decided at each mount. */
	if (r == 0)
		r = catalog_each_pending(catalog, add_to_unshown, catalog);
	if (r == 0)
		r = catalog_barrier(catalog);
	syncer->prepared = r == 0;
	return r;
}

/* The tier answers and is the one that it was. */
static int reach_tier(struct syncer *syncer)
{
	const struct transfer_tier *tier = transfer_tier(syncer->volume->transfer, 0);
	cleanup_free char *uuid = NULL;
	char key[64];
	int r;

	/* Who it is was found out by transfer, the first time. */
	(void)snprintf(key, sizeof(key), "tier.%u.uuid", (unsigned)tier->id);
	r = catalog_get_meta(syncer->volume->catalog, key, &uuid);
	if (r <= 0)
		return r < 0 ? r : -EHOSTDOWN;
	return tier->tier->backend->probe(tier->tier);
}

enum round_flags {
	ROUND_POLL = 1 << 0,    /* ask for other sites' heads, whenever that was done last */
	ROUND_PUBLISH = 1 << 1, /* tell what is noted, the same */
};

/* When others may be told again. The machine may have been up for less than that. */
static int64_t flush_end_ns(const struct syncer *syncer)
{
	if (!syncer->published_ns)
		return 0;
	return syncer->published_ns + volume_setting(syncer->volume, SETTING_SYNC_FLUSH);
}

/* 1: something is noted, and enough time has gone by since others were told the last time. */
static int publish_is_due(struct syncer *syncer, enum round_flags flags)
{
	struct sync_note *notes = NULL;
	size_t count = 0;
	int r;

	if (!publishes(syncer) || !syncer->caught_up)
		return 0;
	if (!(flags & ROUND_PUBLISH) && monotonic_ns() < flush_end_ns(syncer))
		return 0;
	r = catalog_get_unpublished(syncer->volume->catalog, NULL, 1, &notes, &count);
	sync_notes_free(notes, count);
	return r < 0 ? r : count > 0;
}

/* Changes that come close to each other are told together. */
static int publish(struct syncer *syncer, enum round_flags flags)
{
	int r = publish_is_due(syncer, flags);

	if (r <= 0)
		return r;
	syncer->pushed = false;
	r = publish_run(syncer);
	syncer->published_ns = monotonic_ns();
	return r;
}

/* Who has just told something soon tells more. */
static bool poll_is_due(struct syncer *syncer, enum round_flags flags)
{
	int64_t poll_ns = volume_setting(syncer->volume, SETTING_SYNC_POLL);
	int64_t now_ns = monotonic_ns();

	if (syncer->news_ns && now_ns - syncer->news_ns < BUSY_POLLS * poll_ns)
		poll_ns /= 2;
	return (flags & ROUND_POLL) || !syncer->caught_up || now_ns - syncer->polled_ns >= poll_ns;
}

static int poll_sites(struct syncer *syncer)
{
	int r = read_sites_run(syncer);

	if (r < 0)
		return r;
	syncer->polled_ns = monotonic_ns();
	if (r > 0)
		syncer->news_ns = syncer->polled_ns;
	syncer->caught_up = true;
	return r;
}

static int show(struct syncer *syncer, bool news)
{
	int r;

	if (!news && (!syncer->blocked_ns || monotonic_ns() < syncer->blocked_ns))
		return 0;
	r = show_run(syncer);
	/* Blocked, or failed: again without news. */
	syncer->blocked_ns = r != 0 ? monotonic_ns() + BLOCKED_RETRY_NS : 0;
	return r;
}

/* 1: there is something to ask of the tier, or to tell. Each request to it may cost. */
static int tier_is_due(struct syncer *syncer, enum round_flags flags)
{
	int r;

	if (!syncer->own_checked || (publishes(syncer) && !syncer->pushed) ||
	    poll_is_due(syncer, flags))
		return 1;
	r = doubts_are_due(syncer);
	return r != 0 ? r : publish_is_due(syncer, flags);
}

/* What we have is told before what others have is shown: a person's change goes first. */
static int round_with_tier(struct syncer *syncer, enum round_flags flags, bool *news)
{
	int r = tier_is_due(syncer, flags);

	if (r <= 0)
		return r;
	r = reach_tier(syncer);
	if (r == 0 && !syncer->own_checked)
		r = check_own(syncer);
	if (r == 0 && publishes(syncer))
		r = push_outbox(syncer);
	if (r == 0 && poll_is_due(syncer, flags)) {
		r = poll_sites(syncer);
		*news |= r > 0;
	}
	/* What we have no more is not told. */
	if (r >= 0)
		r = doubts_run(syncer);
	if (r >= 0) {
		*news |= r > 0;
		r = publish(syncer, flags);
		*news |= r > 0;
	}
	if (r > 0)
		r = push_outbox(syncer);
	return r < 0 ? r : 0;
}

static int round_of(struct syncer *syncer, enum round_flags flags)
{
	bool begins = !syncer->prepared;
	bool news = begins;
	int r, shown;

	r = prepare(syncer);
	/*
	 * What was being shown when the last run ended is in the tree, but not known to be: first
	 * that, since a version that other sites have removed by now is forgotten with its record.
	 */
	if (r == 0 && begins)
		r = show(syncer, true);
	if (r < 0)
		return r;
	r = round_with_tier(syncer, flags, &news);
	if (r == -ECANCELED || catalog_error(syncer->volume->catalog) < 0)
		return r;
	/* What was read before it failed is there to be shown. */
	shown = show(syncer, news || r < 0);
	if (r == 0 && syncer->pushed && publishes(syncer))
		bundler_run(syncer);
	return r < 0 ? r : shown < 0 ? shown : 0;
}

/* One at a time: the thread, or who waits. */
static int run(struct syncer *syncer, enum round_flags flags)
{
	int64_t flush_ns, polled_ns;
	int r;

	mutex_lock(&syncer->lock);
	while (syncer->running && !syncer->stop)
		cond_wait(&syncer->changed, &syncer->lock);
	if (syncer->stop) {
		mutex_unlock(&syncer->lock);
		return -ECANCELED;
	}
	syncer->running = true;
	mutex_unlock(&syncer->lock);

	polled_ns = syncer->polled_ns;
	r = round_of(syncer, flags);
	flush_ns = flush_end_ns(syncer);

	mutex_lock(&syncer->lock);
	syncer->flush_ns = r < 0 ? INT64_MAX : flush_ns;
	syncer->heard = syncer->heard || r == 0;
	/* A round that had nothing to ask proves nothing. */
	if (r < 0 || syncer->polled_ns != polled_ns)
		syncer->unheard = r < 0 ? r : 0;
	syncer->running = false;
	cond_broadcast(&syncer->changed);
	mutex_unlock(&syncer->lock);
	return r;
}

int syncer_run(struct syncer *syncer)
{
	return run(syncer, ROUND_POLL | ROUND_PUBLISH);
}

int syncer_heard(struct syncer *syncer)
{
	scoped_lock(&syncer->lock);
	if (!syncer->heard)
		return 0;
	return syncer->unheard < 0 ? syncer->unheard : 1;
}

/* The thread --------------------------------------------------------------------------- */

/*
 * Until the next look is due, or, once woken, until others may be told again: what changes after a
 * quiet time is told at once. False when it is to end.
 */
static bool wait_for(struct syncer *syncer, int64_t pause_ns)
{
	int64_t now_ns = monotonic_ns(), soonest_ns = now_ns + SHORTEST_PAUSE_NS;

	scoped_lock(&syncer->lock);
	while (!syncer->stop) {
		int64_t until_ns = now_ns + pause_ns;

		if (syncer->woken && syncer->flush_ns < until_ns)
			until_ns = syncer->flush_ns > soonest_ns ? syncer->flush_ns : soonest_ns;
		if (!cond_wait_until(&syncer->changed, &syncer->lock, until_ns))
			break;
	}
	syncer->woken = false;
	return !syncer->stop;
}

static bool is_away(int error)
{
	return error == -EHOSTDOWN || error == -EREMOTEIO || error == -EROFS || error == -EIO;
}

/* What a person has just seen stored is told before the volume goes; later is at the next mount. */
static void finish(struct syncer *syncer)
{
	bool news = false;

	mutex_lock(&syncer->lock);
	syncer->finish_ns = monotonic_ns() + FINISH_NS;
	mutex_unlock(&syncer->lock);
	if (publishes(syncer) && syncer->own_checked && syncer->caught_up)
		(void)round_with_tier(syncer, ROUND_PUBLISH, &news);
}

/* Cheap enough to look at the next flush or poll, whichever is sooner. */
static int64_t pause_of(struct volume *volume)
{
	int64_t poll_ns = volume_setting(volume, SETTING_SYNC_POLL);
	int64_t flush_ns = volume_setting(volume, SETTING_SYNC_FLUSH);
	int64_t pause_ns = flush_ns < poll_ns ? flush_ns : poll_ns;

	return pause_ns < SHORTEST_PAUSE_NS ? SHORTEST_PAUSE_NS : pause_ns;
}

static void *body(void *arg)
{
	struct syncer *syncer = arg;
	struct volume *volume = syncer->volume;
	int64_t pause_ns = 0;
	int told = 0;

	while (wait_for(syncer, pause_ns)) {
		int r = run(syncer, 0);

		pause_ns = pause_of(volume);
		if (r < 0 && r != -EHOSTDOWN && pause_ns < AWAY_RETRY_NS)
			pause_ns = AWAY_RETRY_NS;
		/* A tier that is away is told of by transfer. */
		if (r < 0 && r != told && r != -ECANCELED && !is_away(r))
			log_warning_errno(r, "cannot exchange changes with other sites, will try "
					     "again");
		told = r;
	}
	finish(syncer);
	scoped_lock(&syncer->lock);
	syncer->finished = true;
	cond_broadcast(&syncer->changed);
	return NULL;
}

int syncer_start(struct syncer *syncer)
{
	return thread_start(&syncer->thread, "sync", body, syncer);
}

void syncer_finish(struct syncer *syncer)
{
	int64_t until_ns = monotonic_ns() + FINISH_NS;

	scoped_lock(&syncer->lock);
	syncer->stop = true;
	cond_broadcast(&syncer->changed);
	while (syncer->thread.running && !syncer->finished &&
	       cond_wait_until(&syncer->changed, &syncer->lock, until_ns))
		;
}

void syncer_stop(struct syncer *syncer)
{
	mutex_lock(&syncer->lock);
	syncer->stop = true;
	cond_broadcast(&syncer->changed);
	mutex_unlock(&syncer->lock);
	thread_join(&syncer->thread);
}

void syncer_free(struct syncer *syncer)
{
	if (!syncer)
		return;
	syncer_stop(syncer);
	read_sites_free(syncer);
	bundler_clear(syncer);
	cond_fini(&syncer->changed);
	mutex_fini(&syncer->lock);
	free(syncer);
}
