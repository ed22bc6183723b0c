/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"

#define ANSWER_MS 10000

static int run(struct cli *cli)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	cleanup_json json_t *final = NULL;
	int code = target_find(cli, NULL, &target);

	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code == 0)
		code = target_call(cli, client, json_pack("{s:s}", "request", "metrics"), ANSWER_MS,
				   NULL, NULL, &final);
	if (code)
		return code;
	if (cli->json)
		return cli_print_json(
			cli, json_pack("{s:O}", "text", json_object_get(final, "text")), 0);
	(void)fputs(json_string_or(final, "text", ""), stdout);
	return MEDIAFS_EXIT_OK;
}

static const struct option_spec options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_metrics = {
	.name = "metrics",
	.args = "",
	.help = "figures for monitoring, in the text format of Prometheus",
	.text = "For node_exporter: mediafs metrics --store STORE > DIR/mediafs.prom\n",
	.min_args = 0,
	.max_args = 0,
	.options = options,
	.run = run,
};
