/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"

/* The daemon answers these at once, or something is wrong with it. */
#define ANSWER_MS 30000

static int print_all(struct cli *cli, json_t *final)
{
	json_t *settings = json_object_get(final, "settings"), *setting;
	size_t i;

	if (cli->json)
		return cli_print_json(cli, json_pack("{s:O}", "settings", settings), 0);
	json_array_foreach(settings, i, setting)
	{
		cleanup_free char *value = json_path_value(json_object_get(setting, "value"));
		const char *fallback = json_string_or(setting, "default", "");

		(void)printf("%-26s %-10s  %s%s%s%s\n", json_string_or(setting, "key", ""),
			     value && *value ? value : "-", paint(PAINT_DIM),
			     json_string_or(setting, "help", ""),
			     value && strcmp(value, fallback) != 0 ? " (changed)" : "",
			     paint(PAINT_NONE));
	}
	return MEDIAFS_EXIT_OK;
}

static int get(struct cli *cli, struct client *client)
{
	const char *key = cli->options.arg_count > 1 ? cli->options.args[1] : NULL;
	json_t *request =
		key ? json_pack("{s:s,s:o}", "request", "config-get", "key", json_path(key))
		    : json_pack("{s:s}", "request", "config-get");
	cleanup_json json_t *final = NULL;
	cleanup_free char *value = NULL;
	int code = target_call(cli, client, request, ANSWER_MS, NULL, NULL, &final);

	if (code)
		return code;
	if (!key)
		return print_all(cli, final);
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:s,s:O}", "key", key, "value",
						json_object_get(final, "value")),
				      MEDIAFS_EXIT_OK);
	value = json_path_value(json_object_get(final, "value"));
	(void)puts(value ? value : "");
	return MEDIAFS_EXIT_OK;
}

static int set(struct cli *cli, struct client *client)
{
	const char *const *args = cli->options.args;
	cleanup_json json_t *final = NULL;
	bool later;
	int code;

	if (cli->options.arg_count != 3)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"KEY and VALUE are wanted: mediafs config set KEY VALUE");
	code = target_call(cli, client,
			   json_pack("{s:s,s:o,s:o}", "request", "config-set", "key",
				     json_path(args[1]), "value", json_path(args[2])),
			   ANSWER_MS, NULL, NULL, &final);
	if (code)
		return code;
	later = json_is_true(json_object_get(final, "next_mount"));
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o,s:o,s:b,s:b}", "key", json_path(args[1]),
						"value", json_path(args[2]), "mounted",
						client_is_live(client), "next_mount", later),
				      MEDIAFS_EXIT_OK);
	if (later)
		cli_note(cli, "it takes effect at the next mount");
	return MEDIAFS_EXIT_OK;
}

static int run(struct cli *cli)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	const char *verb = cli->options.args[0];
	bool is_get = strcmp(verb, "get") == 0;
	int code;

	if (!is_get && strcmp(verb, "set") != 0)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "\"%s\" is neither get nor set", verb);
	if (is_get && cli->options.arg_count > 2)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "one argument too many: \"%s\"",
				cli->options.args[2]);
	code = target_find(cli, NULL, &target);
	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code)
		return code;
	if (!client_is_live(client) && client_silent_daemon(client))
		return cli_fail(
			cli, MEDIAFS_EXIT_OFFLINE,
			"process %d has the store but does not answer: the setting would be "
			"lost",
			(int)client_silent_daemon(client));
	return is_get ? get(cli, client) : set(cli, client);
}

static const struct option_spec options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_config = {
	.name = "config",
	.args = "get [KEY] | set KEY VALUE",
	.help = "show or change settings; a change takes effect at once",
	.text = "Without KEY all settings are listed. See mediafs.conf(5) for what they mean.\n",
	.min_args = 1,
	.max_args = 3,
	.options = options,
	.run = run,
};
