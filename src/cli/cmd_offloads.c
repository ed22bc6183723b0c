/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/units.h"

struct listing {
	struct cli *cli;
	bool clips;
	uint64_t count;
};

static void print_warnings(const json_t *offload)
{
	cleanup_free char *other = json_path_value(json_object_get(offload, "same_reel"));
	const json_t *list = json_object_get(offload, "warnings"), *warning;
	int64_t more = json_int_or(offload, "warnings_more", 0);
	int64_t differ = json_int_or(offload, "other_bytes", 0);
	cleanup_free char *path = json_path_value(json_object_get(offload, "broken_off"));
	cleanup_free char *broken = path ? printable(path) : NULL;
	cleanup_free char *cut_path = json_path_value(json_object_get(offload, "cut_off"));
	cleanup_free char *cut = cut_path ? printable(cut_path) : NULL;
	cleanup_free char *first_path =
		json_path_value(json_object_get(offload, "other_bytes_path"));
	cleanup_free char *first = first_path ? printable(first_path) : NULL;
	cleanup_free char *shown = NULL;
	size_t i;

	json_array_foreach(list, i, warning)
	{
		cleanup_free char *text = json_path_value(json_object_get(warning, "text"));
		cleanup_free char *clean = text ? printable(text) : NULL;

		(void)printf("    %swarning:%s %s\n", paint(PAINT_BAD), paint(PAINT_NONE),
			     clean ? clean : "?");
	}
	if (more)
		(void)printf("    %swarning:%s %" PRId64 " more\n", paint(PAINT_BAD),
			     paint(PAINT_NONE), more);
	if (broken)
		(void)printf("    %swarning:%s the copy of %s looks broken off: copy it again\n",
			     paint(PAINT_BAD), paint(PAINT_NONE), broken);
	if (cut)
		(void)printf("    %swarning:%s %s is shorter than its header says, as if its copy, "
			     "or its recording, was broken off%s\n",
			     paint(PAINT_BAD), paint(PAINT_NONE), cut,
			     json_int_or(offload, "cut_off_files", 0) > 1 ? " (and others)" : "");
	shown = other ? printable(other) : NULL;
	if (shown)
		(void)printf("    %swarning:%s the same reel is at %s", paint(PAINT_BAD),
			     paint(PAINT_NONE), *shown ? shown : "the top of the volume");
	if (shown && differ)
		(void)printf(", with other bytes in %" PRId64 " file%s of the same path (%s)",
			     differ, differ == 1 ? "" : "s", first ? first : "?");
	if (shown)
		(void)putchar('\n');
}

static enum paint state_colour(const char *state)
{
	if (strcmp(state, "damaged") == 0)
		return PAINT_BAD;
	return strcmp(state, "stored") == 0 ? PAINT_GOOD : PAINT_BUSY;
}

static void print_clips(const json_t *offload)
{
	const json_t *list = json_object_get(offload, "clips"), *clip;
	char size[32];
	size_t i;

	json_array_foreach(list, i, clip)
	{
		cleanup_free char *name = json_path_value(json_object_get(clip, "name"));
		cleanup_free char *shown = name ? printable(name) : NULL;
		int64_t files = json_int_or(clip, "files", 0);
		int64_t segments = json_int_or(clip, "segments", 0);
		int64_t frames = json_int_or(clip, "frames", 0);

		(void)printf(
			"    %-36s %10s  %" PRId64 " file%s", shown ? shown : "?",
			format_bytes((uint64_t)json_int_or(clip, "bytes", 0), size, sizeof(size)),
			files, files == 1 ? "" : "s");
		if (segments > 1)
			(void)printf(", %" PRId64 " segments", segments);
		if (frames)
			(void)printf(", %" PRId64 " frames", frames);
		(void)putchar('\n');
	}
}

static int print_offload(void *arg, const json_t *line)
{
	struct listing *listing = arg;
	const json_t *offload = json_object_get(line, "offload");
	cleanup_free char *path = json_path_value(json_object_get(offload, "path"));
	cleanup_free char *reel = json_path_value(json_object_get(offload, "reel"));
	cleanup_free char *shown = path ? printable(path) : NULL;
	cleanup_free char *reel_shown = printable(reel ? reel : "-");
	const char *state = json_string_or(offload, "state", "?");
	int64_t total = json_int_or(offload, "total_files", 0);
	int64_t clips = json_int_or(offload, "clip_count", 0);
	char size[32];

	if (!path)
		return -EPROTO;
	listing->count++;
	if (listing->cli->json) {
		if (json_dumpf(offload, stdout, JSON_COMPACT) < 0)
			return -EPIPE;
		(void)putchar('\n');
		return ferror(stdout) ? -EPIPE : 0;
	}
	(void)printf("%" PRId64 "  %-12s  %-14s  %s%-8s%s  %" PRId64
		     " clip%-2s %10s  verified %" PRId64 "/%" PRId64 "  stored %" PRId64 "/%" PRId64
		     "%s  %s\n",
		     json_int_or(offload, "id", 0), reel_shown ? reel_shown : "?",
		     json_string_or(offload, "family", "?"), paint(state_colour(state)), state,
		     paint(PAINT_NONE), clips, clips == 1 ? "" : "s",
		     format_bytes((uint64_t)json_int_or(offload, "bytes", 0), size, sizeof(size)),
		     json_int_or(offload, "verified", 0), total, json_int_or(offload, "stored", 0),
		     total, json_is_true(json_object_get(offload, "sealed")) ? "  sealed" : "",
		     shown && *shown ? shown : ".");
	if (listing->clips)
		print_clips(offload);
	print_warnings(offload);
	return ferror(stdout) ? -EPIPE : 0;
}

int cli_list_offloads(struct cli *cli, enum offload_listing how)
{
	const char *path = cli->options.arg_count ? cli->options.args[0] : NULL;
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	struct listing listing = { .cli = cli, .clips = how == OFFLOADS_WITH_CLIPS };
	cleanup_json json_t *final = NULL;
	const json_t *error;
	size_t i;
	int code = target_find(cli, path, &target);

	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code)
		return code;
	code = target_call(cli, client,
			   json_pack("{s:s,s:o,s:b}", "request", "offloads", "path",
				     json_path(target.path), "clips", listing.clips),
			   0, print_offload, &listing, &final);
	if (code)
		return code;
	json_array_foreach(json_object_get(final, "rule_errors"), i, error)
	{
		cleanup_free char *text = json_path_value(error);

		cli_note(cli, "mediafs %s: rules left out: %s", cli->command->name,
			 text ? text : "?");
	}
	if (!listing.count && !cli->json)
		(void)puts("no folder here looks like a card");
	return fflush(stdout) == 0 ? MEDIAFS_EXIT_OK : MEDIAFS_EXIT_FAILED;
}

static int run(struct cli *cli)
{
	return cli_list_offloads(cli, OFFLOADS_ALONE);
}

static const struct option_spec options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_offloads = {
	.name = "offloads",
	.args = "[PATH]",
	.help = "the cards in the volume: reel, family, clips, and how far they are",
	.text = "With --json one object a line. Columns: id, reel, family, state, clips, size, "
		"files\n"
		"verified and stored of all, whether it is sealed, folder; below it what is "
		"missing or odd.\n",
	.min_args = 0,
	.max_args = 1,
	.options = options,
	.run = run,
};
