/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "util/cleanup.h"

static const struct command *const commands[] = {
	&cmd_init,     &cmd_mount,  &cmd_umount,   &cmd_status, &cmd_ls,     &cmd_wait,
	&cmd_evict,    &cmd_fetch,  &cmd_pin,      &cmd_unpin,  &cmd_log,    &cmd_conflicts,
	&cmd_config,   &cmd_limit,  &cmd_pause,    &cmd_resume, &cmd_tier,   &cmd_metrics,
	&cmd_manifest, &cmd_card,   &cmd_offloads, &cmd_report, &cmd_export, &cmd_offload,
	&cmd_seal,     &cmd_unseal, &cmd_import,   &cmd_safe,
};

static const struct option_spec common_options[] = {
	{ OPT_STORE, 0, "store", "STORE",
	  "the store; not needed for a PATH in a mounted volume, or when one is mounted" },
	{ OPT_JSON, 0, "json", NULL, "print JSON, errors too" },
	{ OPT_HELP, 'h', "help", NULL, "print this help" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

static const char exit_help[] =
	"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 still pending, 4 offline, 5 damaged,\n"
	"6 in use, 7 bad setting, 8 not found, 9 not permitted, 10 made by a newer mediafs.\n";

static void print_overview(FILE *out)
{
	(void)fputs(
		"Usage: mediafs COMMAND [OPTION...] [ARGUMENT...]\n\n"
		"Media goes in, is verified, goes to the tiers, and can be proved to be there.\n\n"
		"Commands:\n",
		out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)fprintf(out, "  %-11s %s\n", commands[i]->name, commands[i]->help);
	(void)fputs("\nOptions:\n"
		    "  -h, --help               print this help; after a command: its own\n"
		    "  -V, --version            print the version\n\n",
		    out);
	(void)fputs(exit_help, out);
	(void)fputs("More: man mediafs\n", out);
}

static void print_help(const struct command *command, FILE *out)
{
	(void)fprintf(out, "Usage: mediafs %s [OPTION...]%s%s\n\n%s\n", command->name,
		      *command->args ? " " : "", command->args, command->help);
	if (command->text)
		(void)fprintf(out, "\n%s", command->text);
	(void)fputs("\nOptions:\n", out);
	options_print(command->options, out);
	options_print(common_options, out);
	if (command->more)
		command->more(out);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

/* --json counts even when the options before or after it are wrong. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--json") == 0)
			return true;
	}
	return false;
}

static int check_args(struct cli *cli)
{
	const struct command *command = cli->command;

	if (cli->options.arg_count < command->min_args)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"an argument is missing: mediafs %s %s (see mediafs %s --help)",
				command->name, command->args, command->name);
	if (cli->options.arg_count > command->max_args)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"one argument too many: \"%s\" (see mediafs %s --help)",
				cli->options.args[command->max_args], command->name);
	return 0;
}

static int run_command(const struct command *command, int argc, char **argv)
{
	const struct option_spec *const tables[] = { command->options, common_options, NULL };
	struct cli cli = { .command = command, .json = wants_json(argc, argv) };
	char message[256];
	int code;
	int r;

	r = options_parse(tables, argc - 1, argv + 1, &cli.options, message, sizeof(message));
	if (r == -EINVAL)
		code = cli_fail(&cli, MEDIAFS_EXIT_USAGE, "%s (see mediafs %s --help)", message,
				command->name);
	else if (r < 0)
		code = cli_fail_errno(&cli, r, "cannot start");
	else if (cli.options.given[OPT_HELP]) {
		print_help(command, stdout);
		code = MEDIAFS_EXIT_OK;
	} else {
		code = check_args(&cli);
		if (code == 0)
			code = command->run(&cli);
	}
	cli_progress_end(&cli);
	options_fini(&cli.options);
	if (fflush(stdout) != 0 && code == MEDIAFS_EXIT_OK)
		code = MEDIAFS_EXIT_FAILED;
	return code;
}

int cli_main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;
	const struct command *command;

	if (!word) {
		print_overview(stderr);
		return MEDIAFS_EXIT_USAGE;
	}
	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "help") == 0) {
		print_overview(stdout);
		return MEDIAFS_EXIT_OK;
	}
	if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0) {
		(void)puts("mediafs " MEDIAFS_VERSION);
		return MEDIAFS_EXIT_OK;
	}
	command = find_command(word);
	if (!command) {
		struct cli cli = { .json = wants_json(argc, argv) };

		return cli_fail(&cli, MEDIAFS_EXIT_USAGE,
				"there is no command \"%s\" (see mediafs --help)", word);
	}
	return run_command(command, argc - 1, argv + 1);
}
