/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/report.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/text.h"

struct taking {
	struct cli *cli;
	struct report *report;
};

static int take_line(void *arg, const json_t *line)
{
	struct report *report = ((struct taking *)arg)->report;
	const json_t *progress = json_object_get(line, "progress");
	json_t *card = json_object_get(line, "card"), *clip = json_object_get(line, "clip");
	json_t *last = json_array_get(report->cards, json_array_size(report->cards) - 1);

	if (progress) {
		cli_progress(((struct taking *)arg)->cli,
			     "looked at %" PRId64 " of %" PRId64 " files",
			     json_int_or(progress, "done", 0), json_int_or(progress, "files", 0));
		return 0;
	}
	if (card)
		return json_object_set_new(card, "clips", json_array()) < 0 ||
				       json_array_append(report->cards, card) < 0
			       ? -ENOMEM
			       : 0;
	if (!clip || !last)
		return -EPROTO;
	return json_array_append(json_object_get(last, "clips"), clip) < 0 ? -ENOMEM : 0;
}

/* 0, or the exit code. */
static int ask(struct cli *cli, const struct target *target, struct report *report)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_json json_t *final = NULL;
	struct taking taking = { cli, report };
	const json_t *error;
	size_t i;
	int code = target_open(cli, target, &client);

	if (code == 0)
		code = target_call(cli, client, target_request("report", target->path), 0,
				   take_line, &taking, &final);
	cli_progress_end(cli);
	if (code)
		return code;
	json_array_foreach(json_object_get(final, "rule_errors"), i, error)
	{
		cleanup_free char *text = report_text(error);

		cli_note(cli, "mediafs report: rules left out: %s", text ? text : "?");
	}
	report->site = report_text(json_object_get(final, "site"));
	report->path = strdup(target->path);
	report->tiers = json_int_or(final, "tiers", 0);
	report->no_meta = report_text(json_object_get(final, "no_metadata"));
	report->policy = json_incref(json_object_get(final, "policy"));
	return report->site && report->path && report->no_meta
		       ? 0
		       : cli_fail_errno(cli, -ENOMEM, "cannot report");
}

/* Files --------------------------------------------------------------------------------------- */

/* What is written: by one of them, the rate for an ALE. */
struct output {
	void (*write)(const struct report *report, FILE *out);
	const char *rate;
};

static int write_output(struct cli *cli, const struct report *report, const char *path,
			const struct output *output)
{
	cleanup_free char *text = NULL;
	size_t length = 0;
	FILE *out = text_open(&text, &length);
	struct stat st;
	int r = out ? 0 : -ENOMEM;

	if (out && output->rate)
		report_write_ale(report, output->rate, out);
	else if (out)
		output->write(report, out);
	if (out && fclose(out) != 0)
		r = -ENOMEM;
	/* It is replaced, not written into. */
	if (r == 0 && lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return cli_fail(cli, MEDIAFS_EXIT_FAILED,
				"%s is there and no regular file: name another", path);
	if (r == 0)
		r = write_file(AT_FDCWD, path, text, length, 0666);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot write %s", path);
	cli_note(cli, "written: %s", path);
	return 0;
}

/* "day.ale" -> "day.23.976.ale": a file each where there are several rates. */
static char *ale_path(const char *path, const char *rate)
{
	const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
	char *made;

	if (!dot || (slash && dot < slash))
		dot = path + strlen(path);
	return asprintf(&made, "%.*s.%s%s", (int)(dot - path), path, rate, dot) < 0 ? NULL : made;
}

static int write_ales(struct cli *cli, const struct report *report, const char *path)
{
	cleanup_free const char **rates = NULL;
	size_t count = 0, left = 0;
	int r = report_rates(report, &rates, &count, &left);

	if (r < 0)
		return cli_fail_errno(cli, r, "cannot write %s", path);
	if (left)
		cli_note(cli, "%zu clip%s without timecode, rate or length: not in the ALE", left,
			 left == 1 ? "" : "s");
	if (!count)
		return cli_fail(cli, MEDIAFS_EXIT_FAILED,
				"%s is not written: of no clip timecode, rate and length are known",
				path);
	for (size_t i = 0; i < count; i++) {
		const struct output output = { .rate = rates[i] };
		cleanup_free char *own = count > 1 ? ale_path(path, rates[i]) : strdup(path);
		int code = own ? write_output(cli, report, own, &output)
			       : cli_fail_errno(cli, -ENOMEM, "cannot write %s", path);

		if (code)
			return code;
	}
	return 0;
}

static int write_files(struct cli *cli, const struct report *report)
{
	static const struct output html = { report_write_html, NULL };
	static const struct output csv = { report_write_csv, NULL };
	const char *const *value = cli->options.value;
	int code = 0;

	if (value[OPT_HTML])
		code = write_output(cli, report, value[OPT_HTML], &html);
	if (code == 0 && value[OPT_CSV])
		code = write_output(cli, report, value[OPT_CSV], &csv);
	if (code == 0 && value[OPT_ALE])
		code = write_ales(cli, report, value[OPT_ALE]);
	return code;
}

/* On the terminal ----------------------------------------------------------------------------- */

static void print_card(const struct report *report, const json_t *card)
{
	cleanup_free char *path = report_text(json_object_get(card, "path"));
	cleanup_free char *reel = report_text(json_object_get(card, "reel"));
	cleanup_free char *shown = printable(path && *path ? path : ".");
	cleanup_free char *reel_shown = printable(reel && *reel ? reel : "-");
	struct reasons reasons;
	enum report_verdict verdict = report_reasons(report, card, &reasons);
	int64_t clips = json_int_or(card, "clip_count", 0);
	char day[32];

	(void)printf("%s%s%s  %s  %s  %" PRId64 " clip%s  %s\n",
		     paint(verdict == REPORT_UNCHECKED ? PAINT_BUSY : PAINT_BAD),
		     report_verdicts[verdict], paint(PAINT_NONE), reel_shown ? reel_shown : "?",
		     report_day(card, day), clips, clips == 1 ? "" : "s", shown ? shown : "?");
	for (size_t i = 0; i < reasons.count; i++) {
		cleanup_free char *text = printable(reasons.list[i]);

		(void)printf("    %s\n", text ? text : "?");
	}
	reasons_fini(&reasons);
}

static int print(struct cli *cli, const struct report *report)
{
	cleanup_free char *missing = report_missing_reels(report->cards);
	const json_t *card;
	size_t i;

	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:O,s:O?,s:o,s:o,s:s?}", "cards", report->cards,
						"policy", report->policy, "site",
						json_path(report->site), "missing_reels",
						json_path(missing ? missing : ""), "no_metadata",
						report->no_meta),
				      MEDIAFS_EXIT_OK);
	json_array_foreach(report->cards, i, card)
	{
		print_card(report, card);
	}
	if (missing && *missing)
		(void)printf("missing reels: %s\n", missing);
	return fflush(stdout) == 0 ? MEDIAFS_EXIT_OK : MEDIAFS_EXIT_FAILED;
}

static int run(struct cli *cli)
{
	struct report report = { .cards = json_array(), .now_ns = realtime_ns() };
	cleanup_with(target_fini) struct target target = { 0 };
	int code = report.cards ? target_find(cli, cli->options.args[0], &target)
				: cli_fail_errno(cli, -ENOMEM, "cannot report");

	if (code == 0)
		code = ask(cli, &target, &report);
	if (code == 0 && json_array_size(report.cards) == 0)
		code = cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY,
				"%s: no folder there looks like a card (mediafs offloads)",
				cli->options.args[0]);
	if (code == 0 && report_conclude(&report) < 0)
		code = cli_fail_errno(cli, -ENOMEM, "cannot report");
	if (code == 0 && *report.no_meta)
		cli_note(cli, "mediafs report: without timecode, size and codec: %s",
			 report.no_meta);
	if (code == 0)
		code = write_files(cli, &report);
	if (code == 0)
		code = print(cli, &report);
	json_decref(report.cards);
	json_decref(report.policy);
	free(report.site);
	free(report.path);
	free(report.no_meta);
	return code;
}

static const struct option_spec options[] = {
	{ OPT_HTML, 0, "html", "FILE", "one page for people; prints well, needs nothing else" },
	{ OPT_CSV, 0, "csv", "FILE", "a line a clip, for spreadsheets and Resolve" },
	{ OPT_ALE, 0, "ale", "FILE", "Avid's log; a file each where there are several rates" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_report = {
	.name = "report",
	.args = "PATH",
	.help = "cards and clips with copies, hashes, timecode: HTML, CSV, ALE",
	.text = "What clips say of themselves is read by mediafs-probe while they are here, and "
		"kept;\n"
		"nothing is fetched for it. Existing files are replaced.\n",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.run = run,
};
