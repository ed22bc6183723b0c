/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads that were begun and that nobody will end: their file was rewritten, removed or kept here.
 */
#include <inttypes.h>

#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/log.h"

#define LOOK_NS (10 * NS_PER_SEC)

/* 1 one is forgotten, 0 there is none to forget now. */
static int forget_one(struct lane *lane)
{
	struct tier *tier = lane->tier.tier;
	struct catalog *catalog = lane->transfer->catalog;
	cleanup_free char *note = NULL;
	uint64_t content;
	char key[64];
	int r;

	r = catalog_find_leftover(catalog, lane->tier.id, &content, &note);
	/* Who still sends it finds out by itself. */
	if (r <= 0 || senders_have_content(lane, content))
		return 0;
	r = tier->backend->forget(tier, note);
	if (r < 0)
		return r;
	log_info("tier %s: an upload that was begun and is not wanted any more is given up",
		 tier->name);
	(void)snprintf(key, sizeof(key), UPLOAD_NOTE_PREFIX "%" PRIu64, lane->tier.id, content);
	r = catalog_drop_meta(catalog, key);
	if (r == 0)
		r = catalog_barrier(catalog);
	return r < 0 ? r : 1;
}

void lane_forget_uploads(struct lane *lane)
{
	int64_t now_ns = monotonic_ns();

	if (!lane->tier.tier->backend->forget || now_ns < lane->forgot_ns + LOOK_NS)
		return;
	lane->forgot_ns = now_ns;
	while (!transfer_stopping(lane->transfer) && forget_one(lane) == 1)
		;
}
