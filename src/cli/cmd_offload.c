/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli/offload.h"
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

/* True when it is settled what became of @item; false: it has not been read back yet. */
static bool settle(struct offload *offload, const struct offload_card *card, struct item *item)
{
	char part[OFFLOAD_PATH_MAX + 64];
	struct digest digest;
	int r;

	if (item->state != ITEM_COPIED)
		return true;
	(void)offload_part(item->entry->path, part, sizeof(part)); /* it was long enough before */
	r = offload_ask(card, part, &digest);
	if (r == 0)
		return false;
	item->doing = "have it verified";
	if (r == 1 && !digest_equal(&digest, &item->digest)) {
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
	return true;
}

/* Settle and tell what there is of @card. True when nothing more will come. */
static bool follow(struct offload *offload, struct offload_card *card, size_t *told)
{
	size_t looked;
	bool ended;

	mutex_lock(&card->lock);
	looked = card->looked;
	ended = card->ended;
	mutex_unlock(&card->lock);
	/* When all is to stop, what was not read back yet is left as it is for the next run. */
	while (*told < looked && !atomic_load(&offload->volume_gone)) {
		struct item *item = &card->items[*told];

		if (!settle(offload, card, item)) {
			if (!atomic_load(&offload->stopped))
				break;
		} else {
			offload_tell_item(offload, card, item);
		}
		++*told;
	}
	return ended && (*told == looked || atomic_load(&offload->volume_gone));
}

static void follow_all(struct offload *offload, size_t *told)
{
	for (;;) {
		bool done = true;

		for (size_t i = 0; i < offload->count; i++)
			done = follow(offload, &offload->cards[i], &told[i]) && done;
		if (done)
			return;
		offload_tell_progress(offload);
		cli_pause(LOOK_NS);
		if (cli_interrupted())
			atomic_store(&offload->stopped, true);
	}
}

static int copy_cards(struct offload *offload)
{
	cleanup_free size_t *told = calloc(offload->count, sizeof(*told));
	int r = told ? 0 : -ENOMEM;

	offload->start_ns = monotonic_ns();
	for (size_t i = 0; r == 0 && i < offload->count; i++) {
		struct offload_card *card = &offload->cards[i];

		r = thread_start(&card->thread, "card", offload_copy, card);
	}
	if (r < 0)
		atomic_store(&offload->stopped, true);
	else
		follow_all(offload, told);
	for (size_t i = 0; i < offload->count; i++)
		thread_join(&offload->cards[i].thread);
	if (r < 0)
		return cli_fail_errno(offload->cli, r, "cannot start");
	return offload_tell_end(offload);
}

static int run(struct cli *cli)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = NULL;
	struct offload offload = {
		.cli = cli,
		.replace = cli->options.given[OPT_REPLACE],
		.reread = cli->options.given[OPT_REREAD],
		.whole = cli->options.given[OPT_WHOLE],
		.count = cli->options.arg_count - 1,
	};
	int code;
	int r = card_rules_load(NULL, &rules);

	offload.rules = rules;
	offload.cards = calloc(offload.count, sizeof(*offload.cards));
	if (r < 0 || !offload.cards)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	cli_catch_signals();
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
