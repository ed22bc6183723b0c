/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/units.h"

struct listing {
	struct cli *cli;
	size_t strip; /* bytes of the paths that are PATH's own */
	uint64_t count;
};

/* Why a file is as it is: the queue's trouble, a rule, a pin, a seal, damage. */
static void print_why(const json_t *file)
{
	const json_t *queue = json_object_get(file, "queue"), *item;
	const char *text = json_string_or(file, "error", NULL);
	size_t i;

	if (text)
		(void)printf("  [%s]", text);
	json_array_foreach(queue, i, item)
	{
		text = json_string_or(item, "error", NULL);
		if (text)
			(void)printf("  [%s: %s]",
				     json_is_true(json_object_get(item, "poison")) ? "set aside"
										   : "tried again",
				     text);
	}
	text = json_string_or(file, "site", NULL);
	if (text)
		(void)printf("  [at %s, not stored yet]", text);
	text = json_string_or(file, "ignored_by", NULL);
	if (text)
		(void)printf("  [stays here: ignored by %s]", text);
	if (json_is_true(json_object_get(file, "pinned")))
		(void)printf("  [pinned]");
	if (json_is_true(json_object_get(file, "sealed")))
		(void)printf("  [sealed]");
}

static enum paint state_colour(const json_t *file)
{
	if (strcmp(json_string_or(file, "state", ""), "damaged") == 0)
		return PAINT_BAD;
	return json_is_true(json_object_get(file, "stored")) ? PAINT_GOOD : PAINT_BUSY;
}

static void print_long(const json_t *file)
{
	char when[32];

	(void)printf("%04o  %s  ", (unsigned)json_int_or(file, "mode", 0),
		     format_time(json_int_or(file, "mtime_ns", 0), when, sizeof(when)));
}

static int good_copies(const json_t *file)
{
	const json_t *list = json_object_get(file, "copies"), *copy;
	int good = 0;
	size_t i;

	json_array_foreach(list, i, copy)
	{
		good += !json_is_true(json_object_get(copy, "bad"));
	}
	return good;
}

static int print_file(void *arg, const json_t *line)
{
	struct listing *listing = arg;
	const json_t *file = json_object_get(line, "file");
	cleanup_free char *path = json_path_value(json_object_get(file, "path"));
	cleanup_free char *shown = NULL;
	const char *type = json_string_or(file, "type", "?"), *state;
	char size[32];

	if (!path)
		return -EPROTO;
	if (listing->cli->json) {
		(void)fputs(listing->count++ ? ",\n" : "", stdout);
		return json_dumpf(file, stdout, JSON_COMPACT) < 0 || ferror(stdout) ? -EPIPE : 0;
	}
	listing->count++;
	shown = printable(strlen(path) > listing->strip ? path + listing->strip : path);
	if (listing->cli->options.given[OPT_LONG])
		print_long(file);
	state = json_string_or(file, "state", NULL);
	if (!state) {
		(void)printf("%-10s %10s  %-32s  %s%s", "-", "-", "-", shown ? shown : "?",
			     strcmp(type, "folder") == 0 ? "/" : "");
	} else {
		(void)printf(
			"%s%-10s%s %10s  %-32s  %d  %s", paint(state_colour(file)), state,
			paint(PAINT_NONE),
			format_bytes((uint64_t)json_int_or(file, "size", 0), size, sizeof(size)),
			json_string_or(file, "digest", "-"), good_copies(file),
			shown ? shown : "?");
	}
	print_why(file);
	(void)putchar('\n');
	return ferror(stdout) ? -EPIPE : 0;
}

/* {"files":[...]}, closed with "error" when it went wrong in the middle. */
static int list_json(struct cli *cli, struct client *client, json_t *request)
{
	struct listing listing = { .cli = cli };
	cleanup_json json_t *final = NULL;
	cleanup_json json_t *tail = NULL;
	cleanup_free char *text = NULL;
	int code;
	int r;

	(void)fputs("{\"files\":[", stdout);
	r = client_call(client, request, 0, print_file, &listing, &final);
	code = r < 0 ? MEDIAFS_EXIT_FAILED : (int)json_int_or(final, "code", MEDIAFS_EXIT_FAILED);
	tail = r < 0 ? json_pack("{s:s}", "error", "the mount daemon went away")
	       : json_object_get(final, "error")
		       ? json_pack("{s:O,s:O}", "error", json_object_get(final, "error"), "errno",
				   json_object_get(final, "errno"))
		       : NULL;
	text = tail ? json_dumps(tail, JSON_COMPACT) : NULL;
	/* The object's members after the list: its text without the opening brace. */
	if (text)
		(void)printf("],\"code\":%d,%s\n", code, text + 1);
	else
		(void)puts("]}");
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}

static int run(struct cli *cli)
{
	const char *path = cli->options.arg_count ? cli->options.args[0] : NULL;
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	struct listing listing = { .cli = cli };
	cleanup_json json_t *final = NULL;
	const bool *given = cli->options.given;
	json_t *request;
	int code;

	if (given[OPT_CLIPS])
		return cli_list_offloads(cli, OFFLOADS_WITH_CLIPS);
	code = target_find(cli, path, &target);
	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code)
		return code;
	request = strcmp(cli->command->name, "conflicts") == 0
			  ? json_pack("{s:s}", "request", "conflicts")
			  : json_pack("{s:s,s:o,s:b,s:b}", "request", "ls", "path",
				      json_path(target.path), "recursive",
				      given[OPT_RECURSIVE] || given[OPT_PENDING], "pending",
				      given[OPT_PENDING]);
	if (cli->json)
		return list_json(cli, client, request);
	/* One file is named as it is; what a folder holds is named from there. */
	listing.strip = *target.path ? strlen(target.path) + 1 : 0;
	code = target_call(cli, client, request, 0, print_file, &listing, &final);
	if (code == 0 && listing.count == 0 && strcmp(cli->command->name, "conflicts") == 0)
		(void)puts("no conflicts");
	return code;
}

static const struct option_spec ls_options[] = {
	{ OPT_LONG, 'l', "long", NULL, "mode and time too" },
	{ OPT_RECURSIVE, 'R', "recursive", NULL, "all that is below" },
	{ OPT_PENDING, 0, "pending", NULL,
	  "only what is not stored yet, below PATH; announced files of other sites too" },
	{ OPT_CLIPS, 0, "clips", NULL,
	  "instead: the cards at and below PATH with their clips, as mediafs offloads" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_ls = {
	.name = "ls",
	.args = "[PATH]",
	.help = "files with state, size, digest and number of copies, and why",
	.text = "Columns: state, size, XXH3-128 digest (once verified), good copies, name.\n",
	.min_args = 0,
	.max_args = 1,
	.options = ls_options,
	.run = run,
};

static const struct option_spec conflict_options[] = {
	{ OPT_LONG, 'l', "long", NULL, "mode and time too" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_conflicts = {
	.name = "conflicts",
	.args = "",
	.help = "files that two sites changed: both are kept, a person decides",
	.text = "The later one has a name with (conflict SITE DIGEST). Keep what you want under "
		"the\n"
		"name you want, remove the other.\n",
	.min_args = 0,
	.max_args = 0,
	.options = conflict_options,
	.run = run,
};
