/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles of our own journal (sync/bundle.h). What is pushed is kept in memory until its bundle is
 * full; what was pushed before the start is fetched. That there is no bundle only costs who joins
 * time, so nothing here stops the syncer.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/segments.h"
#include "volume/sync_parts.h"

#define META_BUNDLED "sync.bundled" /* writer and number of the last bundle */
#define RETRY_NS (60 * NS_PER_SEC)

void bundler_clear(struct syncer *syncer)
{
	struct bundler *bundler = &syncer->bundler;

	for (size_t i = 0; i < BUNDLE_SEGMENTS; i++)
		free(bundler->kept[i].bytes);
	*bundler = (struct bundler){ 0 };
}

/* Room for the segments of @bundle; what is kept of another one goes. */
static void begin_bundle(struct syncer *syncer, uint64_t bundle)
{
	if (syncer->bundler.bundle == bundle)
		return;
	bundler_clear(syncer);
	syncer->bundler.bundle = bundle;
}

static void keep(struct bundler *bundler, uint64_t number, void *packed, size_t length)
{
	struct bundler_segment *kept = &bundler->kept[number - bundle_first(bundler->bundle)];

	if (kept->bytes || bundler->bytes + length > BUNDLE_MAX_BYTES) {
		if (!kept->bytes)
			bundler->bytes = BUNDLE_MAX_BYTES + 1; /* no bundle can hold them */
		free(packed);
		return;
	}
	bundler->bytes += length;
	*kept = (struct bundler_segment){ .bytes = packed, .length = length };
}

void bundler_keep(struct syncer *syncer, uint64_t number, void *packed, size_t length)
{
	begin_bundle(syncer, bundle_of(number));
	keep(&syncer->bundler, number, packed, length);
}

static int stop_fetching(void *syncer)
{
	return syncer_stops(syncer);
}

/* Those of [@first, @last] that were pushed before our time. -EFBIG: they are too large. */
static int fetch_missing(struct syncer *syncer, uint64_t first, uint64_t last)
{
	struct bundler *bundler = &syncer->bundler;
	cleanup_with(segments_fini) struct segments segments = {
		.tier = syncer->tier,
		.site = syncer->writer,
		.stop = stop_fetching,
		.arg = syncer,
		.alone = UINT64_MAX,
	};
	int r = bundler->bytes > BUNDLE_MAX_BYTES ? -EFBIG : 0;

	for (uint64_t n = first; r == 0 && n <= last; n++) {
		struct bundle_part part = { 0 };
		uint64_t until = n;
		void *copy;

		if (bundler->kept[n - first].bytes)
			continue;
		while (until < last && !bundler->kept[until + 1 - first].bytes)
			until++;
		r = syncer_stops(syncer) ? -ECANCELED : segments_take(&segments, n, until, &part);
		if (r == 0 && bundler->bytes + part.length > BUNDLE_MAX_BYTES)
			r = -EFBIG;
		if (r < 0)
			break;
		copy = malloc(part.length);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, part.bytes, part.length);
		keep(bundler, n, copy, part.length);
	}
	return r;
}

static int put_bundle(struct syncer *syncer, uint64_t bundle)
{
	struct bundle_part parts[BUNDLE_SEGMENTS];
	cleanup_free void *bytes = NULL;
	uint64_t first = bundle_first(bundle);
	size_t length = 0;
	int r;

	begin_bundle(syncer, bundle);
	r = fetch_missing(syncer, first, first + BUNDLE_SEGMENTS - 1);
	for (size_t i = 0; i < BUNDLE_SEGMENTS; i++)
		parts[i] = (struct bundle_part){ .bytes = syncer->bundler.kept[i].bytes,
						 .length = syncer->bundler.kept[i].length };
	if (r == 0)
		r = bundle_pack(parts, &bytes, &length);
	if (r == 0) {
		(void)transfer_pace(syncer->volume->transfer, length);
		r = journal_put_bundle(syncer->tier, syncer->writer, bundle, bytes, length);
	}
	/* Large segments are read well by themselves. */
	return r == -EFBIG ? 0 : r;
}

/* Of the journal that we write now. */
static int load_bundled(struct syncer *syncer)
{
	cleanup_free char *text = NULL;
	char writer[37] = "";
	uint64_t number = 0;
	int r = catalog_get_meta(syncer->volume->catalog, META_BUNDLED, &text);

	if (r < 0)
		return r;
	if (r > 0 && sscanf(text, "%36s %" SCNu64, writer, &number) == 2 &&
	    strcmp(writer, syncer->writer) == 0)
		syncer->bundled = number;
	else
		syncer->bundled = 0;
	syncer->bundled_known = true;
	return 0;
}

static int make_next(struct syncer *syncer)
{
	struct catalog *catalog = syncer->volume->catalog;
	struct sync_position position;
	char text[64];
	int r = syncer->bundled_known ? 0 : load_bundled(syncer);

	if (r == 0)
		r = catalog_get_position(catalog, syncer->writer, &position);
	if (r < 0 || syncer->bundled >= position.segment / BUNDLE_SEGMENTS)
		return r < 0 ? r : 0;
	r = put_bundle(syncer, syncer->bundled + 1);
	if (r < 0)
		return r;
	bundler_clear(syncer);
	syncer->bundled++;
	(void)snprintf(text, sizeof(text), "%s %" PRIu64, syncer->writer, syncer->bundled);
	return catalog_set_meta(catalog, META_BUNDLED, text);
}

void bundler_run(struct syncer *syncer)
{
	int64_t now_ns = monotonic_ns();
	int r;

	if (now_ns < syncer->bundle_ns || volume_setting(syncer->volume, SETTING_METERED))
		return;
	r = make_next(syncer);
	if (r == 0 || r == -ECANCELED)
		return;
	log_debug("cannot bundle the journal yet: %s", error_text(r));
	syncer->bundle_ns = now_ns + RETRY_NS;
}
