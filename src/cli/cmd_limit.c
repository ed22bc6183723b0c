/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/units.h"

#define ANSWER_MS 30000

/* Ask the store meant (no path names it here). *ret_final and *ret_mounted when it is done. */
static int ask(struct cli *cli, json_t *request, json_t **ret_final, bool *ret_mounted)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	int code = target_find(cli, NULL, &target);

	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code) {
		json_decref(request);
		return code;
	}
	*ret_mounted = client_is_live(client);
	return target_call(cli, client, request, ANSWER_MS, NULL, NULL, ret_final);
}

/* Say @done, and what rules now where that is not plainly the limit that was asked for. */
static int tell(struct cli *cli, const char *done, const json_t *final, bool mounted)
{
	const char *rule = json_string_or(final, "limit_rule", "limit");
	int64_t until_ns = json_int_or(final, "limit_until_ns", 0);
	uint64_t limit = (uint64_t)json_int_or(final, "limit", 0);
	bool timetable = strcmp(rule, "timetable") == 0;
	char when[32], rate[32];

	if (strcmp(rule, "limit") == 0)
		until_ns = 0;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:s,s:s,s:I,s:b}", "done", done, "rule", rule,
						"until_ns", (json_int_t)until_ns, "mounted",
						mounted),
				      MEDIAFS_EXIT_OK);
	(void)printf("%s%s", done, timetable ? "; transfer.timetable rules" : "");
	if (until_ns)
		(void)printf(" until %s", format_time(until_ns, when, sizeof(when)));
	if (timetable)
		(void)printf(": %s%s", limit ? format_bytes(limit, rate, sizeof(rate)) : "no limit",
			     limit ? "/s" : "");
	(void)printf("%s\n", mounted ? "" : " (once it is mounted)");
	return MEDIAFS_EXIT_OK;
}

static int ask_and_tell(struct cli *cli, json_t *request, const char *done)
{
	cleanup_json json_t *final = NULL;
	bool mounted;
	int code = ask(cli, request, &final, &mounted);

	return code ? code : tell(cli, done, final, mounted);
}

static json_t *set_request(const char *key, const char *value)
{
	return json_pack("{s:s,s:s,s:s}", "request", "config-set", "key", key, "value", value);
}

static int run_limit(struct cli *cli)
{
	const char *metered = cli->options.value[OPT_METERED];
	const char *rate = cli->options.args[0];
	cleanup_json json_t *final = NULL;
	bool mounted;
	int64_t for_ns;
	int code;

	if (!cli_duration(cli, OPT_FOR, 0, &for_ns))
		return MEDIAFS_EXIT_USAGE;
	if (!rate && (!metered || for_ns))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "a RATE is wanted, such as 20M or none");
	if (metered && !rate)
		return ask_and_tell(cli, set_request("transfer.metered", metered),
				    strcmp(metered, "yes") == 0 ? "metered: originals wait"
								: "not metered");
	if (metered) {
		code = ask(cli, set_request("transfer.metered", metered), &final, &mounted);
		if (code)
			return code;
	}
	if (strcmp(rate, "none") == 0)
		rate = "0";
	return ask_and_tell(cli,
			    json_pack("{s:s,s:o,s:I}", "request", "limit", "rate", json_path(rate),
				      "for_ns", (json_int_t)for_ns),
			    strcmp(rate, "0") == 0 ? "no limit" : "limited");
}

static int run_pause(struct cli *cli)
{
	return ask_and_tell(cli, set_request("transfer.pause", "yes"), "paused");
}

static int run_resume(struct cli *cli)
{
	return ask_and_tell(cli, set_request("transfer.pause", "no"), "resumed");
}

static const struct option_spec limit_options[] = {
	{ OPT_FOR, 0, "for", "T", "only for T (90s, 5min, 2h), before the timetable too" },
	{ OPT_METERED, 0, "metered", "V", "yes: originals wait, all else is sent; no" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

static const struct option_spec no_options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_limit = {
	.name = "limit",
	.args = "[RATE]",
	.help = "use the network at most this fast, bytes a second: 20M, none",
	.text = NULL,
	.min_args = 0,
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
