/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading of other sites' journals. A segment is applied only when what follows it (the next
 * segment, or the head) says that these are the bytes that were written. What is damaged or
 * not allowed is refused, named, and stops the reading of that site only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"
#include "volume/segments.h"
#include "volume/sync_parts.h"

/* Listing costs; asking for a head by name costs little. In polls (2 s): 60 s, and 10 s while
 * we are alone. */
#define LIST_EVERY_POLLS 30
#define LIST_ALONE_EVERY_POLLS 5
#define RETRY_NS (15 * NS_PER_SEC)
/* More sites than that is an attack, or a mistake. */
#define PEERS_MAX 4096

/* Peers -------------------------------------------------------------------------------- */

static struct peer *find_peer(struct syncer *syncer, const char *site)
{
	for (size_t i = 0; i < syncer->peer_count; i++)
		if (strcmp(syncer->peers[i].site, site) == 0)
			return &syncer->peers[i];
	return NULL;
}

static int add_peer(void *arg, const char *site)
{
	struct syncer *syncer = arg;
	struct peer *more;

	if (strcmp(site, syncer->writer) == 0 || find_peer(syncer, site))
		return 0;
	if (syncer->peer_count == PEERS_MAX) {
		log_warning("the tier holds journals of more than %d sites: not all are read",
			    PEERS_MAX);
		return 1;
	}
	more = reallocarray(syncer->peers, syncer->peer_count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	syncer->peers = more;
	more[syncer->peer_count] = (struct peer){ 0 };
	(void)snprintf(more[syncer->peer_count].site, sizeof(more->site), "%s", site);
	syncer->peer_count++;
	return 0;
}

static int add_position(void *arg, const struct sync_position *position)
{
	return add_peer(arg, position->site);
}

void read_sites_free(struct syncer *syncer)
{
	for (size_t i = 0; i < syncer->peer_count; i++)
		free(syncer->peers[i].fault);
	free(syncer->peers);
	syncer->peers = NULL;
	syncer->peer_count = 0;
}

/* Sites are found by listing, now and then; their heads are asked for by name. */
static int find_sites(struct syncer *syncer)
{
	int64_t now = monotonic_ns(), every = volume_setting(syncer->volume, SETTING_SYNC_POLL);
	int r;

	every *= syncer->peer_count ? LIST_EVERY_POLLS : LIST_ALONE_EVERY_POLLS;
	if (syncer->listed_ns && now - syncer->listed_ns < every)
		return 0;
	r = catalog_each_position(syncer->volume->catalog, add_position, syncer);
	if (r >= 0)
		r = journal_each_site(syncer->tier, add_peer, syncer);
	if (r >= 0)
		syncer->listed_ns = now;
	return r < 0 ? r : 0;
}

/* Refusing ----------------------------------------------------------------------------- */

/* Told once for each reason; looked at again later. */
static int refuse(struct syncer *syncer, struct peer *peer, const char *key, const char *why)
{
	char detail[512];

	(void)snprintf(detail, sizeof(detail), "%s: %s", key, why);
	peer->retry_ns = monotonic_ns() + RETRY_NS;
	if (peer->fault && strcmp(peer->fault, detail) == 0)
		return 0;
	free(peer->fault);
	peer->fault = strdup(detail);
	log_error("%s; nothing more is read of site %s until that is mended", detail, peer->site);
	volume_event(syncer->volume, "daemon", "journal refused", "", NULL, detail);
	return 0;
}

static void accept_again(struct peer *peer)
{
	if (!peer->fault)
		return;
	log_info("the journal of site %s can be read again", peer->site);
	free(peer->fault);
	peer->fault = NULL;
	peer->retry_ns = 0;
}

/* What is wrong with that site's data, as opposed to the tier not answering. */
static bool is_its_fault(int error)
{
	return error == -EBADMSG || error == -EINVAL || error == -EFBIG || error == -ENOENT;
}

/* Reading one site --------------------------------------------------------------------- */

struct reading {
	struct syncer *syncer;
	struct peer *peer;
	struct sync_position position; /* as far as it was applied */
	struct head head;
	struct segment next;        /* read, and not yet confirmed; owned */
	uint8_t chain[CHAIN_BYTES]; /* of @next */
	bool has_next;
	size_t applied;
	struct segments segments;
};

static int refuse_segment(struct reading *reading, uint64_t number, const char *why)
{
	cleanup_free char *key = journal_segment_key(reading->peer->site, number);

	if (!key)
		return -ENOMEM;
	(void)refuse(reading->syncer, reading->peer, key, why);
	return 1;
}

/* Does it belong where it was found? NULL: yes. */
static const char *check_place(const struct reading *reading, const struct segment *segment,
			       uint64_t number)
{
	const struct segment *before = reading->has_next ? &reading->next : NULL;
	uint64_t records = reading->position.records, lamport = reading->position.lamport;
	const uint8_t *chain = reading->position.chain;

	if (before) {
		records = before->first + before->count - 1;
		lamport = before->lamport;
		chain = reading->chain;
	}
	if (strcmp(segment->site, reading->peer->site) != 0)
		return "it is of another site";
	if (segment->segment != number)
		return "it has another number";
	if (memcmp(segment->prev, chain, CHAIN_BYTES) != 0)
		return "it does not follow the segment before it";
	if (segment->first != records + 1)
		return "its records do not follow those before";
	if (segment->lamport <= lamport)
		return "its time does not rise";
	return NULL;
}

/* NULL with *ret_segment; else what is wrong with it (*ret_why is the same, when it is owned), or
 * *ret_error. */
static const char *try_segment(struct reading *reading, uint64_t number,
			       struct segment *ret_segment, uint8_t ret_chain[CHAIN_BYTES],
			       char **ret_why, int *ret_error)
{
	struct bundle_part packed = { 0 };
	const char *misplaced;
	int r = segments_take(&reading->segments, number, reading->head.segment, &packed);

	*ret_error = r < 0 && !is_its_fault(r) ? r : 0;
	if (r < 0)
		return error_text(r);
	(void)transfer_pace(reading->syncer->volume->transfer, packed.length);
	r = segment_unpack(packed.bytes, packed.length, ret_segment, ret_chain, ret_why);
	*ret_error = r == -ENOMEM ? r : 0;
	if (r < 0)
		return *ret_why ? *ret_why : error_text(r);
	misplaced = check_place(reading, ret_segment, number);
	if (misplaced)
		segment_fini(ret_segment);
	return misplaced;
}

/* 0 with *ret_segment; 1 refused; or the tier's error. */
static int read_segment(struct reading *reading, uint64_t number, struct segment *ret_segment,
			uint8_t ret_chain[CHAIN_BYTES])
{
	for (;;) {
		cleanup_free char *owned = NULL;
		int r;
		const char *why = try_segment(reading, number, ret_segment, ret_chain, &owned, &r);

		if (!why || r < 0)
			return r;
		if (!segments_leave_bundle(&reading->segments, number))
			return refuse_segment(reading, number, why);
	}
}

/* Which of our tiers the key of each record is in; @tiers are all 0. */
static int find_tiers(struct syncer *syncer, const struct segment *segment, uint32_t *tiers)
{
	const char *last = "";
	uint32_t tier = 0;

	for (size_t i = 0; i < segment->count; i++) {
		const struct version_body *body = &segment->records[i].body;
		int r;

		if (!body->key)
			continue;
		if (strcmp(body->tier, last) != 0) {
			tier = 0;
			r = syncer_find_tier(syncer, body->tier, &tier);
			if (r < 0)
				return r;
			last = body->tier;
		}
		tiers[i] = tier;
	}
	return 0;
}

/* What was read before is confirmed: it counts. */
static int apply_next(struct reading *reading)
{
	cleanup_free uint32_t *tiers = NULL;
	struct segment *segment = &reading->next;
	struct sync_segment applied = {
		.first = segment->first,
		.records = segment->records,
		.count = segment->count,
	};
	int r;

	if (!reading->has_next)
		return 0;
	tiers = calloc(segment->count + 1, sizeof(*tiers));
	r = tiers ? find_tiers(reading->syncer, segment, tiers) : -ENOMEM;
	if (r < 0)
		return r;
	applied.tiers = tiers;
	memcpy(applied.position.site, segment->site, sizeof(segment->site));
	memcpy(applied.position.name, segment->name, sizeof(segment->name));
	applied.position.segment = segment->segment;
	applied.position.records = segment->first + segment->count - 1;
	applied.position.lamport = segment->lamport;
	memcpy(applied.position.chain, reading->chain, CHAIN_BYTES);
	r = catalog_apply_segment(reading->syncer->volume->catalog, &applied);
	if (r < 0)
		return r;
	reading->position = applied.position;
	reading->applied += segment->count;
	segment_fini(segment);
	reading->has_next = false;
	return 0;
}

/* 0 all is read, 1 refused. */
static int read_on(struct reading *reading)
{
	int r;

	for (uint64_t n = reading->position.segment + 1; n <= reading->head.segment; n++) {
		struct segment segment;
		uint8_t chain[CHAIN_BYTES];

		if (syncer_stops(reading->syncer))
			return -ECANCELED;
		r = read_segment(reading, n, &segment, chain);
		if (r != 0)
			return r;
		r = apply_next(reading);
		if (r < 0) {
			segment_fini(&segment);
			return r;
		}
		reading->next = segment;
		memcpy(reading->chain, chain, sizeof(chain));
		reading->has_next = true;
	}
	if (!reading->has_next)
		return 0;
	if (memcmp(reading->chain, reading->head.chain, CHAIN_BYTES) != 0)
		return refuse_segment(reading, reading->head.segment, "its head names other bytes");
	return apply_next(reading);
}

/* 0 with the head; 1 there is nothing to read, or it was refused. */
static int read_head(struct reading *reading)
{
	struct syncer *syncer = reading->syncer;
	cleanup_free char *key = journal_head_key(reading->peer->site);
	int r;

	if (!key)
		return -ENOMEM;
	r = journal_get_head(syncer->tier, reading->peer->site, &reading->head);
	if (r == -ENOENT)
		return 1; /* it has told nothing yet */
	if (r < 0 && is_its_fault(r)) {
		(void)refuse(syncer, reading->peer, key, "it is no head of a journal");
		return 1;
	}
	if (r < 0)
		return r;
	if (reading->head.segment == reading->position.segment && reading->head.segment > 0 &&
	    memcmp(reading->head.chain, reading->position.chain, CHAIN_BYTES) != 0) {
		(void)refuse(syncer, reading->peer, key, "the journal is not the one read before");
		return 1;
	}
	return 0;
}

static int stop_fetching(void *syncer)
{
	return syncer_stops(syncer);
}

static int read_site(struct syncer *syncer, struct peer *peer, size_t *applied)
{
	struct reading reading = { .syncer = syncer,
				   .peer = peer,
				   .segments = { .tier = syncer->tier,
						 .site = peer->site,
						 /* Whatever was wrong may be a bundle. */
						 .alone = peer->fault ? UINT64_MAX : 0,
						 .stop = stop_fetching,
						 .arg = syncer } };
	int r;

	r = catalog_get_position(syncer->volume->catalog, peer->site, &reading.position);
	if (r < 0)
		return r;
	r = read_head(&reading);
	if (r == 0)
		r = read_on(&reading);
	if (r == 0)
		accept_again(peer);
	if (reading.has_next)
		segment_fini(&reading.next);
	segments_fini(&reading.segments);
	*applied += reading.applied;
	return r < 0 ? r : 0;
}

int read_sites_run(struct syncer *syncer)
{
	size_t applied = 0;
	int r = find_sites(syncer);

	for (size_t i = 0; r == 0 && i < syncer->peer_count; i++) {
		struct peer *peer = &syncer->peers[i];

		if (!peer->fault || monotonic_ns() >= peer->retry_ns)
			r = read_site(syncer, peer, &applied);
	}
	if (applied) {
		/* Before it is in the tree: what is there and unknown would be told as ours. */
		int flushed = catalog_flush(syncer->volume->catalog);

		log_debug("read %zu changes of other sites", applied);
		r = r < 0 ? r : flushed;
	}
	return r < 0 ? r : (int)(applied > INT32_MAX ? INT32_MAX : applied);
}
