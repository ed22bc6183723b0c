/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"

/* evict, fetch, pin, unpin: they differ in one word. */
struct work {
	struct cli *cli;
	const struct target *target;
	uint64_t files, bytes, failed;
	bool answered; /* PATH, if only with files that failed */
	int64_t start_ns;
	json_t *failures; /* owned; with --json */
	char *unheard;    /* owned: why other sites could not be asked */
};

static int tell_failure(struct work *work, const char *path, const json_t *progress)
{
	cleanup_free char *shown = target_show(work->target, path);
	cleanup_free char *safe = shown ? printable(shown) : NULL;

	work->failed++;
	if (!work->cli->json) {
		cli_note(work->cli, "mediafs %s: %s: %s", work->cli->command->name,
			 safe ? safe : "?", json_string_or(progress, "error", ""));
		return 0;
	}
	return json_array_append(work->failures, (json_t *)progress) < 0 ? -ENOMEM : 0;
}

static int on_line(void *arg, const json_t *line)
{
	struct work *work = arg;
	const json_t *progress = json_object_get(line, "progress");
	cleanup_free char *path = json_path_value(json_object_get(progress, "path"));
	int64_t passed = monotonic_ns() - work->start_ns + 1;
	char bytes[32], rate[32];

	if (!path)
		return -EPROTO;
	if (interrupted())
		return -EINTR;
	if (json_is_string(json_object_get(progress, "error")))
		return tell_failure(work, path, progress);
	work->files++;
	work->bytes += (uint64_t)json_int_or(progress, "bytes", 0);
	cli_progress(work->cli, "%s: %" PRIu64 " files, %s, %s/s", work->cli->command->name,
		     work->files, format_bytes(work->bytes, bytes, sizeof(bytes)),
		     format_bytes((uint64_t)((double)work->bytes * 1e9 / (double)passed), rate,
				  sizeof(rate)));
	return 0;
}

/* Of a folder there may be more than is known here. */
static void tell_unheard(struct work *work, const char *path, const json_t *final)
{
	const char *why = json_string_or(final, "unheard", NULL);
	cleanup_free char *safe = why ? printable(path) : NULL;

	if (!why)
		return;
	cli_note(work->cli, "mediafs %s: %s: other sites cannot be asked now (%s): %s",
		 work->cli->command->name, safe ? safe : "?", why,
		 strcmp(work->cli->command->name, "pin") == 0
			 ? "what they have in it is kept as it comes"
			 : "this may not be all; say it again when the tier is back");
	if (!work->unheard)
		work->unheard = strdup(why);
}

static int one(struct work *work, const char *path)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	cleanup_json json_t *final = NULL;
	json_t *request;
	int code = target_find(work->cli, path, &target);

	if (code == 0)
		code = target_open(work->cli, &target, &client);
	if (code)
		return code;
	work->target = &target;
	request = target_request("residency", target.path);
	if (request)
		(void)json_object_set_new(request, "verb", json_string(work->cli->command->name));
	code = client_call(client, request, 0, on_line, work, &final);
	if (code < 0)
		return code == -EINTR
			       ? cli_fail(work->cli, MEDIAFS_EXIT_FAILED,
					  "interrupted: what was "
					  "done stays done")
			       : cli_fail_errno(work->cli, code, "cannot talk to the mount daemon");
	tell_unheard(work, path, final);
	code = (int)json_int_or(final, "code", MEDIAFS_EXIT_FAILED);
	/* The files that failed were named one by one. */
	if (code && !(json_int_or(final, "failed", 0) > 0) && json_object_get(final, "error")) {
		cleanup_free char *text = json_path_value(json_object_get(final, "error"));

		return cli_fail(work->cli, code, "%s: %s", path, text ? text : "?");
	}
	work->answered = true;
	return code;
}

static int run(struct cli *cli)
{
	struct work work = { .cli = cli, .start_ns = monotonic_ns() };
	const char *done = strcmp(cli->command->name, "evict") == 0 ? "freed" : "";
	int code = MEDIAFS_EXIT_OK, first = MEDIAFS_EXIT_OK;
	char bytes[32];

	for (const struct option_spec *spec = cli->command->options; spec->id != OPT_END; spec++)
		if (cli->options.given[spec->id] && !cli->options.given[OPT_RESTORE])
			return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--%s goes with --restore",
					spec->name);
	if (cli->options.given[OPT_RESTORE])
		return cli_restore(cli);
	catch_interrupts();
	work.failures = json_array();
	if (!work.failures)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	for (size_t i = 0; i < cli->options.arg_count && !interrupted(); i++) {
		work.answered = false;
		code = one(&work, cli->options.args[i]);
		if (code && cli->json && !work.answered) {
			json_decref(work.failures);
			free(work.unheard);
			return code; /* told as JSON already: one document, not two */
		}
		if (code && !first)
			first = code;
	}
	cli_progress_end(cli);
	if (cli->json) {
		json_t *unheard = work.unheard ? json_string(work.unheard) : json_null();

		free(work.unheard);
		return cli_print_json(cli,
				      json_pack("{s:I,s:I,s:I,s:o,s:o,s:i}", "files",
						(json_int_t)work.files, "bytes",
						(json_int_t)work.bytes, "failed",
						(json_int_t)work.failed, "failures", work.failures,
						"unheard", unheard, "code", first),
				      first);
	}
	free(work.unheard);
	json_decref(work.failures);
	if (first == MEDIAFS_EXIT_OK || work.files > 0)
		(void)printf("%s: %" PRIu64 " file%s%s%s%s%s\n", cli->command->name, work.files,
			     work.files == 1 ? "" : "s", work.bytes ? ", " : "",
			     work.bytes ? format_bytes(work.bytes, bytes, sizeof(bytes)) : "",
			     work.bytes && *done ? " " : "", work.bytes ? done : "");
	return first;
}

static const struct option_spec options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

static const struct option_spec fetch_options[] = {
	{ OPT_RESTORE, 0, "restore", NULL, "ask the tier for what is archived, and wait for it" },
	{ OPT_DAYS, 0, "days", "N", "for so long it can be read there (default: 7)" },
	{ OPT_SPEED, 0, "restore-tier", "SPEED", "Bulk, Standard (default) or Expedited" },
	{ OPT_TIMEOUT, 0, "timeout", "T", "stop waiting after T: 90s, 5min, 2h" },
	{ OPT_OFFLINE, 0, "offline", "T",
	  "stop waiting when a tier was away for T (default: 30s; 0: never)" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_evict = {
	.name = "evict",
	.args = "PATH...",
	.help = "free local space; reading brings the bytes back",
	.text = "Only files whose copies are found good at that moment; never open, pinned or\n"
		"damaged ones. The first 4 MiB and the last 1 MiB stay.\n",
	.min_args = 1,
	.max_args = SIZE_MAX,
	.options = options,
	.run = run,
};

const struct command cmd_fetch = {
	.name = "fetch",
	.args = "PATH...",
	.help = "bring the bytes here, each block checked",
	.text = "With --restore also those that the tier has in an archive: it is asked for them, "
		"and\n"
		"what has come is fetched until all is here. Exit codes as those of wait.\n",
	.min_args = 1,
	.max_args = SIZE_MAX,
	.options = fetch_options,
	.run = run,
};

const struct command cmd_pin = {
	.name = "pin",
	.args = "PATH...",
	.help = "keep here: never evicted, fetched when absent",
	.text = NULL,
	.min_args = 1,
	.max_args = SIZE_MAX,
	.options = options,
	.run = run,
};

const struct command cmd_unpin = {
	.name = "unpin",
	.args = "PATH...",
	.help = "may be evicted again",
	.text = NULL,
	.min_args = 1,
	.max_args = SIZE_MAX,
	.options = options,
	.run = run,
};
