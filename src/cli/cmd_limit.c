/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/units.h"

#define ANSWER_MS 30000

/* Ask the store meant (no path names it here), and say @done. */
static int ask(struct cli *cli, json_t *request, const char *done)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	cleanup_json json_t *final = NULL;
	int64_t until_ns;
	char when[32];
	int code = target_find(cli, NULL, &target);

	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code) {
		json_decref(request);
		return code;
	}
	code = target_call(cli, client, request, ANSWER_MS, NULL, NULL, &final);
	if (code)
		return code;
	until_ns = json_int_or(final, "until_ns", 0);
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:s,s:I,s:b}", "done", done, "until_ns",
						(json_int_t)until_ns, "mounted",
						client_is_live(client)),
				      MEDIAFS_EXIT_OK);
	(void)printf("%s%s%s%s\n", done, until_ns ? " until " : "",
		     until_ns ? format_time(until_ns, when, sizeof(when)) : "",
		     client_is_live(client) ? "" : " (once it is mounted)");
	return MEDIAFS_EXIT_OK;
}

static int run_limit(struct cli *cli)
{
	const char *rate = cli->options.args[0];
	int64_t for_ns;

	if (strcmp(rate, "none") == 0)
		rate = "0";
	if (!cli_duration(cli, OPT_FOR, 0, &for_ns))
		return MEDIAFS_EXIT_USAGE;
	return ask(cli,
		   json_pack("{s:s,s:o,s:I}", "request", "limit", "rate", json_path(rate), "for_ns",
			     (json_int_t)for_ns),
		   strcmp(rate, "0") == 0 ? "no limit" : "limited");
}

static json_t *pause_request(const char *value)
{
	return json_pack("{s:s,s:s,s:s}", "request", "config-set", "key", "transfer.pause", "value",
			 value);
}

static int run_pause(struct cli *cli)
{
	return ask(cli, pause_request("yes"), "paused");
}

static int run_resume(struct cli *cli)
{
	return ask(cli, pause_request("no"), "resumed");
}

static const struct option_spec limit_options[] = {
	{ OPT_FOR, 0, "for", "T", "only for T (90s, 5min, 2h): then as before" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

static const struct option_spec no_options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_limit = {
	.name = "limit",
	.args = "RATE",
	.help = "use the network at most this fast, bytes a second: 20M, none",
	.text = NULL,
	.min_args = 1,
	.max_args = 1,
	.options = limit_options,
	.run = run_limit,
};

const struct command cmd_pause = {
	.name = "pause",
	.args = "",
	.help = "send nothing until resume; readers who wait are served",
	.text = NULL,
	.min_args = 0,
	.max_args = 0,
	.options = no_options,
	.run = run_pause,
};

const struct command cmd_resume = {
	.name = "resume",
	.args = "",
	.help = "send again, at once also what failed before",
	.text = NULL,
	.min_args = 0,
	.max_args = 0,
	.options = no_options,
	.run = run_resume,
};
