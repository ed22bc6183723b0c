/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The machine's network changed (a cable, another Wi-Fi, LTE instead of Starlink): tiers that were
 * away are asked at once instead of at the end of a pause that may be minutes long, and what is on
 * its way over a connection that died silently is sent over another one.
 */
#include "transfer/internal.h"
#include "util/error.h"
#include "util/log.h"

static void tell_lanes(struct transfer *transfer)
{
	struct lane *lane;

	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;) {
		struct tier *tier = lane->tier.tier;

		if (tier->backend->network_changed)
			tier->backend->network_changed(tier);
	}
	scoped_lock(&transfer->lock);
	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;)
		if (lane->condition == -EHOSTDOWN)
			lane->is_another_network = true;
	transfer->wakes++;
	cond_broadcast(&transfer->changed);
}

static void *watch_network(void *arg)
{
	struct transfer *transfer = arg;
	int r;

	while ((r = netwatch_wait(&transfer->netwatch)) == 0)
		tell_lanes(transfer);
	if (r != -ECANCELED)
		log_warning_errno(r, "changes of the network are not noticed from now on");
	return NULL;
}

int network_start(struct transfer *transfer)
{
	int r = netwatch_open(&transfer->netwatch);

	if (r < 0) {
		log_info("changes of the network are not noticed: %s", error_text(r));
		return 0;
	}
	return thread_start(&transfer->network, "network", watch_network, transfer);
}

void network_fini(struct transfer *transfer)
{
	netwatch_stop(&transfer->netwatch);
	thread_join(&transfer->network);
	netwatch_close(&transfer->netwatch);
}
