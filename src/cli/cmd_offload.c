/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli/offload.h"
#include "control/protocol.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* Between two looks at what the daemon has read back. */
#define LOOK_NS (20 * NS_PER_MS)

/* Give the part of @item its name. */
static int publish(const struct offload_card *card, struct item *item, const char *part)
{
	unsigned flags = item->replaces ? 0 : RENAME_NOREPLACE;

	if (renameat2(card->to_fd, part, card->to_fd, item->entry->path, flags) == 0) {
		item->state = ITEM_DONE;
		return 0;
	}
	if (errno != EEXIST)
		return -errno;
	item->state = ITEM_OTHER; /* somebody put it there meanwhile */
	(void)unlinkat(card->to_fd, part, 0);
	return 0;
}

/* What became of @item, which was read back: @known and @digest are what offload_ask() says. */
static void settle(struct offload *offload, const struct offload_card *card, struct item *item,
		   int known, const struct digest *digest)
{
	char part[OFFLOAD_PATH_MAX + 64];
	int r = known;

	(void)offload_part(item->entry->path, part, sizeof(part)); /* it was long enough before */
	item->doing = "have it verified";
	if (r == 1 && !digest_equal(digest, &item->digest)) {
		item->state = ITEM_DIFFERS;
	} else if (r == 1) {
		item->doing = "give it its name";
		r = publish(card, item, part);
	}
	if (r < 0) {
		item->state = ITEM_FAILED;
		item->error = r;
	}
	if (item->state == ITEM_DIFFERS || r == -EBADMSG)
		(void)unlinkat(card->to_fd, part, 0); /* nothing is to take it for a copy */
	if (offload_volume_is_gone(r)) {
		atomic_store(&offload->volume_gone, true);
		atomic_store(&offload->stopped, true);
	}
}

/* Copied files, some that follow each other. */
struct batch {
	struct item *items[KNOWN_ITEMS_MAX];
	int known[KNOWN_ITEMS_MAX]; /* as of offload_ask() */
	struct digest digests[KNOWN_ITEMS_MAX];
	size_t count;
};

static void ask_batch(const struct offload *offload, struct offload_card *card, struct batch *batch)
{
	if (offload->client && offload_known_parts(card, batch->items, batch->count, batch->known,
						   batch->digests) == 0)
		return;
	for (size_t i = 0; i < batch->count; i++) {
		char part[OFFLOAD_PATH_MAX + 64];

		(void)offload_part(batch->items[i]->entry->path, part, sizeof(part));
		batch->known[i] = offload_ask(card, part, &batch->digests[i]);
	}
}

/*
 * Settle what was read back of some files from the first that is not told on, below @end: of as
 * many as were read back the last time, for each question costs. The index behind those.
 */
static size_t settle_some(struct offload *offload, struct offload_card *card, size_t end)
{
	struct batch batch = { .count = 0 };
	size_t at = card->told, bytes = 0, settled = 0;

	for (; at < end && batch.count < card->window && bytes < REQUEST_MAX_BYTES / 4; at++) {
		struct item *item = &card->items[at];

		if (item->state != ITEM_COPIED)
			continue;
		bytes += strlen(card->below) + strlen(item->entry->path);
		batch.items[batch.count++] = item;
	}
	ask_batch(offload, card, &batch);
	for (size_t i = 0; i < batch.count && !atomic_load(&offload->volume_gone); i++) {
		if (batch.known[i] == 0)
			continue;
		settle(offload, card, batch.items[i], batch.known[i], &batch.digests[i]);
		settled++;
	}
	card->window = settled == batch.count ? settled * 2 : settled;
	if (card->window > KNOWN_ITEMS_MAX)
		card->window = KNOWN_ITEMS_MAX;
	if (card->window == 0)
		card->window = 1;
	return at;
}

/* Settle and tell what there is of @card. True when nothing more will come. */
static bool follow(struct offload *offload, struct offload_card *card)
{
	size_t looked, asked = card->told;
	bool ended;

	mutex_lock(&card->lock);
	ended = card->running == 0;
	looked = ended ? card->count : card->looked;
	mutex_unlock(&card->lock);
	while (card->told < looked && !atomic_load(&offload->volume_gone)) {
		struct item *item = &card->items[card->told];

		if (item->state == ITEM_COPIED && card->told >= asked)
			asked = settle_some(offload, card, looked);
		/* When all is to stop, what was not read back yet is left as it is for the next
		 * run. */
		if (item->state == ITEM_COPIED && !atomic_load(&offload->stopped))
			break;
		if (item->state != ITEM_COPIED && item->state != ITEM_WAITS)
			offload_tell_item(offload, card, item);
		card->told++;
	}
	return ended && (card->told == looked || atomic_load(&offload->volume_gone));
}

static void follow_all(struct offload *offload)
{
	for (;;) {
		bool done = true;

		for (size_t i = 0; i < offload->count; i++)
			done = follow(offload, &offload->cards[i]) && done;
		if (done)
			return;
		offload_tell_progress(offload);
		cli_pause(LOOK_NS);
		if (interrupted())
			atomic_store(&offload->stopped, true);
	}
}

/* As many copiers as can be had; one is enough. */
static int start_card(struct offload_card *card)
{
	int r = 0;

	for (size_t i = 0; i < OFFLOAD_COPIERS; i++) {
		struct copier *copier = &card->copiers[i];

		*copier = (struct copier){ .card = card, .part_fd = -1 };
		mutex_lock(&card->lock);
		card->running++;
		mutex_unlock(&card->lock);
		r = thread_start(&copier->thread, "card", offload_copy, copier);
		if (r == 0)
			continue;
		scoped_lock(&card->lock);
		card->running--;
		break;
	}
	return card->copiers[0].thread.running ? 0 : r;
}

static int copy_cards(struct offload *offload)
{
	int r = 0;

	offload->start_ns = monotonic_ns();
	for (size_t i = 0; r == 0 && i < offload->count; i++)
		r = start_card(&offload->cards[i]);
	if (r < 0)
		atomic_store(&offload->stopped, true);
	else
		follow_all(offload);
	for (size_t i = 0; i < offload->count; i++) {
		for (size_t j = 0; j < OFFLOAD_COPIERS; j++)
			thread_join(&offload->cards[i].copiers[j].thread);
	}
	if (r < 0)
		return cli_fail_errno(offload->cli, r, "cannot start");
	return offload_tell_end(offload);
}

static int run(struct cli *cli)
{
	struct offload offload = {
		.cli = cli,
		.replace = cli->options.given[OPT_REPLACE],
		.reread = cli->options.given[OPT_REREAD],
		.whole = cli->options.given[OPT_WHOLE],
		.count = cli->options.arg_count - 1,
	};
	int code;

	offload.cards = calloc(offload.count, sizeof(*offload.cards));
	if (!offload.cards)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	catch_interrupts();
	code = offload_plan(&offload, cli->options.args[offload.count]);
	if (code == 0)
		code = copy_cards(&offload);
	offload_plan_fini(&offload);
	free(offload.cards);
	return code;
}

static const struct option_spec options[] = {
	{ OPT_NAME, 0, "name", "NAME", "of the card's folder in DEST (one card only)" },
	{ OPT_REPLACE, 0, "replace", NULL,
	  "where other bytes have the name, put the card's there" },
	{ OPT_REREAD, 0, "reread", NULL, "read each file of the card twice, and compare" },
	{ OPT_WHOLE, 0, "whole", NULL, "copy also what is elsewhere in the volume already" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_offload = {
	.name = "offload",
	.args = "CARD... DEST",
	.help = "copy cards in, compare what was read back with the card",
	.text = "Each CARD (a mounted card, or a folder that holds one) becomes a folder in DEST, "
		"a\nfolder of a mounted volume: called like the card's label, its own folder, or "
		"its "
		"reel.\nA file has its name there when it was read back and is equal to the "
		"card's, not\nbefore. Run it again after whatever went wrong: what is there is "
		"compared with the\ncard, the rest is copied.\n"
		"Exit codes: 0 all of each card is there, 1 files failed or the card is gone, 3\n"
		"interrupted, 4 the volume is gone, 5 a file differs, its name has other bytes, or "
		"the\ncard is not as its manifests say, 6 another offload fills that folder, or "
		"another card\ndid.\n",
	.min_args = 2,
	.max_args = 64,
	.options = options,
	.run = run,
};
