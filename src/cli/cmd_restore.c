/* SPDX-License-Identifier: Apache-2.0 */

/*
 * fetch --restore: asks for what is archived and looks again until all of it is here. The daemon
 * makes one pass each time it is asked (request "restore") and keeps nothing that a person waits
 * for, so the same command goes on after an interruption.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"

/* Between two looks: a share of what was waited so far, since it takes minutes or many hours. */
#define LOOK_SHARE 20
#define LOOK_LEAST_NS NS_PER_SEC
#define LOOK_MOST_NS (60 * NS_PER_SEC)

/* A tier may be away for a moment. */
#define OFFLINE_NS (30 * NS_PER_SEC)

struct place {
	struct target target;
	struct client *client; /* owned */
};

struct restore {
	struct cli *cli;
	struct place *places; /* owned, one for each PATH */
	const struct target *at;
	int64_t days, start_ns, deadline_ns, offline_ns, down_since_ns;
	const char *speed;

	/* Of the last round. */
	uint64_t files, bytes, here_files, here_bytes, coming_files, away_files, failed;
	int code;         /* 0, or of the first file that failed */
	json_t *failures; /* owned; what waits for a tier that is away, too */

	uint64_t fetched_bytes; /* of all rounds */
	json_t *told;           /* owned; tiers that were named as away */
};

static void restore_fini(struct restore *restore)
{
	for (size_t i = 0; restore->places && i < restore->cli->options.arg_count; i++) {
		client_close(restore->places[i].client);
		target_fini(&restore->places[i].target);
	}
	free(restore->places);
	json_decref(restore->failures);
	json_decref(restore->told);
}

static void show_progress(struct restore *restore)
{
	int64_t passed = monotonic_ns() - restore->start_ns + 1;
	uint64_t rate = (uint64_t)((double)restore->fetched_bytes * 1e9 / (double)passed);
	char bytes[32], all[32], rate_text[32], waited[32];

	cli_progress(restore->cli,
		     "%" PRIu64 " of %" PRIu64 " files here (%s of %s, %s/s), %" PRIu64
		     " asked for, %s so far",
		     restore->here_files, restore->files,
		     format_bytes(restore->here_bytes, bytes, sizeof(bytes)),
		     format_bytes(restore->bytes, all, sizeof(all)),
		     format_bytes(rate, rate_text, sizeof(rate_text)), restore->coming_files,
		     format_duration(passed, waited, sizeof(waited)));
}

/* While others come, so that somebody can plug it in: the first file of each tier. */
static void tell_away(struct restore *restore, const json_t *progress, const char *shown)
{
	const char *tier = json_string_or(progress, "away", NULL);
	cleanup_free char *safe = tier ? printable(shown) : NULL;

	if (!tier || json_object_get(restore->told, tier))
		return;
	(void)json_object_set_new(restore->told, tier, json_true());
	cli_note(restore->cli, "mediafs fetch: %s: %s", safe ? safe : "?",
		 json_string_or(progress, "error", ""));
}

static int on_line(void *arg, const json_t *line)
{
	struct restore *restore = arg;
	json_t *progress = json_object_get(line, "progress");
	cleanup_free char *path = json_path_value(json_object_get(progress, "path"));

	if (!path)
		return -EPROTO;
	if (interrupted())
		return -EINTR;
	if (json_is_string(json_object_get(progress, "error"))) {
		cleanup_free char *shown = target_show(restore->at, path);

		(void)json_object_set_new(progress, "shown", json_path(shown ? shown : path));
		tell_away(restore, progress, shown ? shown : path);
		return json_array_append(restore->failures, progress) < 0 ? -ENOMEM : 0;
	}
	restore->fetched_bytes += (uint64_t)json_int_or(progress, "bytes", 0);
	show_progress(restore);
	return 0;
}

static json_t *request_of(const struct restore *restore, const struct target *target)
{
	json_t *request = target_request("restore", target->path);

	if (request && (json_object_set_new(request, "days", json_integer(restore->days)) < 0 ||
			json_object_set_new(request, "speed", json_string(restore->speed)) < 0)) {
		json_decref(request);
		return NULL;
	}
	return request;
}

/* 0, 1 a tier is away, or a negative exit code: complained already. */
static int one(struct restore *restore, const struct place *place)
{
	cleanup_json json_t *final = NULL;
	cleanup_free char *text = NULL;
	int code, r;

	restore->at = &place->target;
	r = client_call(place->client, request_of(restore, &place->target), 0, on_line, restore,
			&final);
	if (r == -EINTR)
		return 0; /* told by who called */
	if (r < 0)
		return -cli_fail_errno(restore->cli, r, "cannot talk to the mount daemon");
	restore->files += (uint64_t)json_int_or(final, "files", 0);
	restore->bytes += (uint64_t)json_int_or(final, "bytes", 0);
	restore->here_files += (uint64_t)json_int_or(final, "here_files", 0);
	restore->here_bytes += (uint64_t)json_int_or(final, "here_bytes", 0);
	restore->coming_files += (uint64_t)json_int_or(final, "coming_files", 0);
	restore->away_files += (uint64_t)json_int_or(final, "away_files", 0);
	restore->failed += (uint64_t)json_int_or(final, "failed", 0);
	code = (int)json_int_or(final, "code", MEDIAFS_EXIT_FAILED);
	if (!json_object_get(final, "error")) {
		restore->code = restore->code ? restore->code : code;
		return json_int_or(final, "away_files", 0) > 0;
	}
	if (code == MEDIAFS_EXIT_OFFLINE && client_is_live(place->client))
		return 1;
	text = json_path_value(json_object_get(final, "error"));
	return -cli_fail(restore->cli, code ? code : MEDIAFS_EXIT_FAILED, "%s", text ? text : "?");
}

/* As one(), over all that was named. */
static int one_round(struct restore *restore)
{
	int result = 0;

	restore->files = restore->bytes = restore->here_files = restore->here_bytes = 0;
	restore->coming_files = restore->away_files = restore->failed = 0;
	restore->code = 0;
	(void)json_array_clear(restore->failures);
	for (size_t i = 0; i < restore->cli->options.arg_count && !interrupted(); i++) {
		int r = one(restore, &restore->places[i]);

		if (r < 0)
			return r;
		result = r ? r : result;
	}
	return result;
}

static int finish(struct restore *restore, int code, const char *why)
{
	struct cli *cli = restore->cli;
	const json_t *item;
	char bytes[32];
	size_t i;

	cli_progress_end(cli);
	if (cli->json) {
		json_t *object = json_pack(
			"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:O,s:i}", "files",
			(json_int_t)restore->files, "bytes", (json_int_t)restore->bytes,
			"here_files", (json_int_t)restore->here_files, "here_bytes",
			(json_int_t)restore->here_bytes, "coming_files",
			(json_int_t)restore->coming_files, "away_files",
			(json_int_t)restore->away_files, "failed", (json_int_t)restore->failed,
			"failures", restore->failures, "code", code);

		if (object && *why)
			(void)json_object_set_new(object, "error", json_string(why));
		return cli_print_json(cli, object, code);
	}
	json_array_foreach(restore->failures, i, item)
	{
		cleanup_free char *path = json_path_value(json_object_get(item, "shown"));
		cleanup_free char *safe = path ? printable(path) : NULL;

		cli_note(cli, "mediafs fetch: %s: %s", safe ? safe : "?",
			 json_string_or(item, "error", ""));
	}
	if (*why)
		return cli_fail(cli, code, "%s: %" PRIu64 " of %" PRIu64 " files are here", why,
				restore->here_files, restore->files);
	(void)printf("%" PRIu64 " file%s (%s) here\n", restore->here_files,
		     restore->here_files == 1 ? "" : "s",
		     format_bytes(restore->here_bytes, bytes, sizeof(bytes)));
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}

static bool is_away_too_long(struct restore *restore, bool away)
{
	int64_t now = monotonic_ns();

	if (!away)
		restore->down_since_ns = 0;
	else if (!restore->down_since_ns)
		restore->down_since_ns = now;
	return away && restore->offline_ns && now - restore->down_since_ns >= restore->offline_ns;
}

static int wait_for_all(struct restore *restore)
{
	for (;;) {
		int r = one_round(restore);
		int64_t now = monotonic_ns(), pause = (now - restore->start_ns) / LOOK_SHARE;
		bool comes = restore->coming_files > 0;

		if (r < 0)
			return -r;
		if (interrupted())
			return finish(restore, MEDIAFS_EXIT_PENDING,
				      "interrupted; what was asked for goes on coming, and the "
				      "same command goes on waiting");
		/* Others are waited for as long as they come. */
		if (is_away_too_long(restore, r == 1) && !comes)
			return finish(restore, MEDIAFS_EXIT_OFFLINE, "a tier is away");
		if (r == 0 && !comes)
			return finish(restore, restore->code, "");
		if (now >= restore->deadline_ns)
			return finish(restore,
				      r == 1 && !comes ? MEDIAFS_EXIT_OFFLINE
						       : MEDIAFS_EXIT_PENDING,
				      r == 1 && !comes ? "a tier is away" : "still pending");
		show_progress(restore);
		if (pause < LOOK_LEAST_NS || (r == 1 && !comes))
			pause = LOOK_LEAST_NS;
		if (pause > LOOK_MOST_NS)
			pause = LOOK_MOST_NS;
		if (pause > restore->deadline_ns - now)
			pause = restore->deadline_ns - now;
		cli_pause(pause);
	}
}

/* --days and --restore-tier; the daemon checks them once more. */
static int take_options(struct restore *restore)
{
	static const char *const speeds[] = { "Bulk", "Standard", "Expedited" };
	struct cli *cli = restore->cli;
	const char *days = cli->options.value[OPT_DAYS], *speed = cli->options.value[OPT_SPEED];
	int64_t timeout_ns;
	char *end = NULL;

	restore->days = days ? strtol(days, &end, 10) : 7;
	if (days && (*end || end == days || restore->days < 1 || restore->days > 36500))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--days takes a number from 1 to 36500, not \"%s\"", days);
	for (size_t i = 0; i < ARRAY_SIZE(speeds); i++)
		if (strcasecmp(speed ? speed : "Standard", speeds[i]) == 0)
			restore->speed = speeds[i];
	if (!restore->speed)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--restore-tier is Bulk, Standard or Expedited, not \"%s\"", speed);
	if (!cli_duration(cli, OPT_TIMEOUT, -1, &timeout_ns) ||
	    !cli_duration(cli, OPT_OFFLINE, OFFLINE_NS, &restore->offline_ns))
		return MEDIAFS_EXIT_USAGE;
	restore->deadline_ns = timeout_ns < 0 ? INT64_MAX : monotonic_ns() + timeout_ns;
	return 0;
}

int cli_restore(struct cli *cli)
{
	cleanup_with(restore_fini) struct restore restore = {
		.cli = cli,
		.start_ns = monotonic_ns(),
		.failures = json_array(),
		.told = json_object(),
		.places = calloc(cli->options.arg_count, sizeof(struct place)),
	};
	int code = take_options(&restore);

	if (code == 0 && (!restore.failures || !restore.told || !restore.places))
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	for (size_t i = 0; code == 0 && i < cli->options.arg_count; i++) {
		struct place *place = &restore.places[i];

		code = target_find(cli, cli->options.args[i], &place->target);
		if (code == 0)
			code = target_open(cli, &place->target, &place->client);
	}
	if (code)
		return code;
	catch_interrupts();
	return wait_for_all(&restore);
}
