/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"

/* seal, unseal: they differ in one word. */
static int one(struct cli *cli, const char *path)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	cleanup_json json_t *final = NULL;
	cleanup_free char *shown = NULL;
	int code = target_find(cli, path, &target);

	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code == 0)
		code = target_call(cli, client, target_request(cli->command->name, target.path), 0,
				   NULL, NULL, &final);
	if (code)
		return code;
	shown = printable(path);
	if (!cli->json)
		(void)printf("%s: %sed\n", shown ? shown : "?", cli->command->name);
	return cli->json ? cli_print_json(cli,
					  json_pack("{s:o,s:b}", "path", json_path(target.path),
						    "sealed", *cli->command->name == 's'),
					  MEDIAFS_EXIT_OK)
			 : MEDIAFS_EXIT_OK;
}

static int run(struct cli *cli)
{
	int code = MEDIAFS_EXIT_OK;

	for (size_t i = 0; i < cli->options.arg_count; i++) {
		int r = one(cli, cli->options.args[i]);

		if (code == MEDIAFS_EXIT_OK)
			code = r;
	}
	return code;
}

static const struct option_spec options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_seal = {
	.name = "seal",
	.args = "FOLDER...",
	.help = "what is in it stays as it is: no changes, renames, removals",
	.text = "New files may be added. The folder of a card is sealed by itself when its "
		"manifest\n"
		"is written (setting manifest.seal); any folder with a manifest can be.\n",
	.min_args = 1,
	.max_args = SIZE_MAX,
	.options = options,
	.run = run,
};

const struct command cmd_unseal = {
	.name = "unseal",
	.args = "FOLDER...",
	.help = "it can be changed again (logged)",
	.text = "Until it is sealed again, or a file that comes later makes a new manifest. What "
		"is\n"
		"changed, its manifest will tell for ever.\n",
	.min_args = 1,
	.max_args = SIZE_MAX,
	.options = options,
	.run = run,
};
