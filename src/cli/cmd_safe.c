/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/safe.h"
#include "util/error.h"
#include "util/io.h"

/* Litter is by the rules of the store too: mediafs-cards(5). */
static int load_rules(struct safe *safe)
{
	cleanup_free char *folder =
		safe->target.store ? path_join(safe->target.store, "cards.d") : NULL;
	int r = card_rules_load(folder, &safe->rules);

	return r < 0 ? cli_fail_errno(safe->cli, r, "cannot read the card rules") : 0;
}

/*
 * The volume, its daemon, and the folder that is meant. 0, or the exit code of wrong usage; a
 * volume that cannot be asked is a finding.
 */
static int find_volume(struct safe *safe)
{
	const char *given = safe->cli->options.value[OPT_OFFLOAD];
	struct mounts mounts = { 0 };
	bool is_mounted = mounts_read(&mounts) == 0 && mounts.count > 0;
	int code, r;

	mounts_fini(&mounts);
	if (!is_mounted && !safe->cli->options.given[OPT_STORE]) {
		safe_add(safe, SAFE_UNCHECKED, "", "no mediafs volume is mounted here");
		return 0;
	}
	code = target_find(safe->cli, given, &safe->target);
	if (code)
		return code;
	r = client_open(safe->target.store, &safe->client);
	if (r < 0) {
		safe->client = NULL;
		safe_add(safe, SAFE_UNCHECKED, "", "%s: %s", safe->target.store, error_text(r));
	} else if (!client_is_live(safe->client)) {
		safe_add(safe, SAFE_UNCHECKED, "",
			 client_silent_daemon(safe->client)
				 ? "the mount daemon does not answer"
				 : "the volume is not mounted: mount it first");
	}
	return safe->finding_count || !given ? 0 : safe_find_offload(safe, given);
}

/* Whatever is wrong before is told, but not each of its consequences. */
static bool goes_on(const struct safe *safe)
{
	return safe_was_checked(safe) || (!safe->finding_count && !safe->is_out_of_memory);
}

static void check(struct safe *safe)
{
	const char *card = safe->cli->options.arg_count ? safe->cli->options.args[0] : NULL;
	void (*const steps[])(struct safe *) = {
		safe->has_card ? safe_read_manifests : NULL,
		safe->has_card ? safe_read_card : safe_list_folder,
		safe->has_card ? safe_find_files : NULL,
		safe_check_copies,
		safe->has_card ? safe_look_again : NULL,
		safe_ask_again,
	};

	if (card && goes_on(safe))
		safe_list_card(safe, card);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && goes_on(safe); i++) {
		if (steps[i])
			steps[i](safe);
	}
	if (!safe->count && !safe->finding_count)
		safe_add(safe, SAFE_EMPTY, "", "%s", "");
}

static int run(struct cli *cli)
{
	const char *card = cli->options.arg_count ? cli->options.args[0] : NULL;
	cleanup_with(safe_fini) struct safe safe = { .cli = cli, .source = { .fd = -1 } };
	const char *subject = card ? card : cli->options.value[OPT_OFFLOAD];
	int code;

	mutex_init(&safe.lock, 12);
	if (!subject)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"name the card, or a folder of the volume with --offload");
	safe.has_card = card != NULL;
	safe.name = strdup(subject);
	catch_interrupts();
	code = find_volume(&safe);
	if (code == 0)
		code = load_rules(&safe);
	if (code)
		return code;
	if (goes_on(&safe))
		safe_ask_policy(&safe);
	check(&safe);
	return safe_say(&safe);
}

static const struct option_spec options[] = {
	{ OPT_OFFLOAD, 0, "offload", "OFFLOAD",
	  "the folder of the volume that the card was copied to, or its number in mediafs "
	  "offloads, or its reel; alone: that, without the card" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_safe = {
	.name = "safe",
	.args = "CARD",
	.help = "may this card be formatted? reads all of it and says SAFE TO FORMAT or NOT SAFE",
	.text = "Every file on the card is read now and must be in the volume with the same bytes, "
		"verified,\n"
		"undamaged, and on as many good copies as mediafs.conf wants (safe.copies, "
		"safe.offsite,\n"
		"safe.distinct_devices), which are checked now. Nothing is remembered: ask again "
		"each time.\n\n"
		"Exit codes: 0 safe, 1 NOT SAFE, 2 wrong usage, 4 NOT SAFE because it could not be "
		"checked\n"
		"to its end (no volume, no daemon, no card, interrupted).\n",
	.min_args = 0,
	.max_args = 1,
	.options = options,
	.run = run,
};
