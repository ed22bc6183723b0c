/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"

#define COUNT 20
#define COUNT_MAX 100000
#define FOLLOW_NS (500 * NS_PER_MS)
#define PAGE 1000

static int print_event(void *arg, const json_t *line)
{
	const struct cli *cli = arg;
	const json_t *event = json_object_get(line, "event");
	cleanup_free char *path = json_path_value(json_object_get(event, "path"));
	cleanup_free char *detail = json_path_value(json_object_get(event, "detail"));
	cleanup_free char *path_shown = path ? printable(path) : NULL;
	cleanup_free char *detail_shown = detail ? printable(detail) : NULL;
	char when[32];

	if (!path_shown || !detail_shown)
		return -EPROTO;
	if (cli->json) {
		/* A line an event: nobody has to wait for the end of a log. */
		if (json_dumpf(event, stdout, JSON_COMPACT) < 0)
			return -EPIPE;
		(void)putchar('\n');
		return ferror(stdout) ? -EPIPE : 0;
	}
	(void)printf("%6lld  %s  %-10s %s%s%s%s%s%s\n", (long long)json_int_or(event, "seq", 0),
		     format_time(json_int_or(event, "time_ns", 0), when, sizeof(when)),
		     json_string_or(event, "actor", ""), json_string_or(event, "event", "?"),
		     *path_shown ? " " : "", path_shown, *detail_shown ? " (" : "", detail_shown,
		     *detail_shown ? ")" : "");
	return ferror(stdout) ? -EPIPE : 0;
}

static json_t *log_request(const char *path, int64_t count, int64_t after)
{
	json_t *request = target_request("log", path);

	if (request &&
	    (json_object_set_new(request, "count", json_integer(count)) < 0 ||
	     (after >= 0 && json_object_set_new(request, "after", json_integer(after)) < 0))) {
		json_decref(request);
		return NULL;
	}
	return request;
}

/* Everything after *@next, in pages, so that no answer gets too long. */
static int print_after(struct cli *cli, const struct target *target, struct client *client,
		       int64_t *next)
{
	int64_t count = PAGE;

	while (count == PAGE && !interrupted()) {
		cleanup_json json_t *final = NULL;
		int code = target_call(cli, client, log_request(target->path, PAGE, *next), 0,
				       print_event, cli, &final);

		if (code)
			return code;
		*next = json_int_or(final, "next", *next);
		count = json_int_or(final, "count", 0);
	}
	return fflush(stdout) == 0 ? MEDIAFS_EXIT_OK : MEDIAFS_EXIT_FAILED;
}

static int follow(struct cli *cli, const struct target *target, struct client *client, int64_t next)
{
	int code = MEDIAFS_EXIT_OK;

	while (code == MEDIAFS_EXIT_OK && !interrupted()) {
		code = print_after(cli, target, client, &next);
		cli_pause(FOLLOW_NS);
	}
	return interrupted() ? MEDIAFS_EXIT_OK : code;
}

static int verify(struct cli *cli, struct client *client)
{
	cleanup_json json_t *final = NULL;
	int code = target_call(cli, client, json_pack("{s:s}", "request", "log-verify"), 0, NULL,
			       NULL, &final);

	if (code)
		return code;
	if (cli->json)
		return cli_print_json(cli, json_pack("{s:b}", "chain_holds", 1), MEDIAFS_EXIT_OK);
	(void)puts("the chain of the event log holds");
	return MEDIAFS_EXIT_OK;
}

static bool line_count(struct cli *cli, int64_t *ret_count)
{
	const char *text = cli->options.value[OPT_LINES];
	char *end;

	*ret_count = COUNT;
	if (!text)
		return true;
	errno = 0;
	*ret_count = strtoll(text, &end, 10);
	if (!errno && *text && !*end && *ret_count >= 1 && *ret_count <= COUNT_MAX)
		return true;
	(void)cli_fail(cli, MEDIAFS_EXIT_USAGE, "-n wants a number from 1 to %d, not \"%s\"",
		       COUNT_MAX, text);
	return false;
}

static int run(struct cli *cli)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	cleanup_json json_t *final = NULL;
	int64_t count, next = 0;
	int code;

	if (!line_count(cli, &count))
		return MEDIAFS_EXIT_USAGE;
	code = target_find(cli, cli->options.arg_count ? cli->options.args[0] : NULL, &target);
	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code)
		return code;
	if (cli->options.given[OPT_VERIFY])
		return verify(cli, client);
	if (cli->options.given[OPT_FOLLOW])
		catch_interrupts();
	/* A program wants all, a person the last screen. */
	if (cli->json && !cli->options.given[OPT_LINES]) {
		code = print_after(cli, &target, client, &next);
	} else {
		code = target_call(cli, client, log_request(target.path, count, -1), 0, print_event,
				   cli, &final);
		next = json_int_or(final, "next", 0);
	}
	if (code || !cli->options.given[OPT_FOLLOW])
		return code;
	(void)fflush(stdout);
	return follow(cli, &target, client, next);
}

static const struct option_spec options[] = {
	{ OPT_LINES, 'n', "lines", "N", "the last N events (default: 20, with --json all)" },
	{ OPT_FOLLOW, 'f', "follow", NULL, "go on with what happens, until interrupted" },
	{ OPT_VERIFY, 0, "verify", NULL, "check that no event was changed or removed" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_log = {
	.name = "log",
	.args = "[PATH]",
	.help = "what happened, to which file, when, by whom",
	.text = "With --json one object a line.\n",
	.min_args = 0,
	.max_args = 1,
	.options = options,
	.run = run,
};
