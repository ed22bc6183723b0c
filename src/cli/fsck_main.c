/* SPDX-License-Identifier: Apache-2.0 */

/* mediafs-fsck(8): arguments, what is printed, exit bits of fsck(8). The checks: volume/fsck.h. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/units.h"
#include "volume/fsck.h"

enum fsck_exit {
	EXIT_CORRECTED = 1,
	EXIT_LEFT = 4,
	EXIT_OPERATIONAL = 8,
	EXIT_USAGE = 16,
	EXIT_CANCELLED = 32,
};

static _Atomic bool arg_stop; /* set by a signal */

struct view {
	struct cli cli;   /* for progress and JSON */
	json_t *findings; /* owned; NULL without --json */
	json_t *errors;   /* owned; NULL without --json */
	bool out_of_memory;
};

static const char help[] =
	"Usage: mediafs-fsck [OPTION...] STORE\n\n"
	"Prove that what is in a store is what was shot. Without -p or -y nothing is repaired.\n\n"
	"Options:\n"
	"  -f, --full             read every resident byte past the page cache and compare it\n"
	"  -r, --remote           read every copy in the tiers and compare it\n"
	"  -n                     write nothing, not even that a file is damaged (--repair=no)\n"
	"  -p, -a                 repair what can be repaired without doubt (--repair=safe)\n"
	"  -y                     repair, and take decisions too (--repair=all)\n"
	"      --repair MODE      no, safe or all\n"
	"      --rebuild-catalog  keep catalog.db under another name, make a new one from the "
	"files\n"
	"      --json             print one JSON object\n"
	"  -v, --verbose          say more\n"
	"  -V, --version          print the version\n"
	"  -h, --help             print this help\n\n"
	"A mounted store can be checked, not repaired. Media is never deleted.\n\n"
	"Exit bits: 0 all is right, 1 corrected, 4 errors left, 8 could not check, 16 usage,\n"
	"32 cancelled.\nMore: man mediafs-fsck\n";

enum { OPTION_REPAIR = 256, OPTION_REBUILD, OPTION_JSON };

static const struct option long_options[] = {
	{ "full", no_argument, NULL, 'f' },
	{ "remote", no_argument, NULL, 'r' },
	{ "repair", required_argument, NULL, OPTION_REPAIR },
	{ "rebuild-catalog", no_argument, NULL, OPTION_REBUILD },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "verbose", no_argument, NULL, 'v' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char *outcome_name(enum fsck_outcome outcome)
{
	switch (outcome) {
	case FSCK_NOTE:
		return "note";
	case FSCK_CORRECTED:
		return "corrected";
	case FSCK_LEFT:
		break;
	}
	return "left";
}

/* Text ---------------------------------------------------------------------------------- */

static void print_finding(const struct fsck_finding *finding)
{
	cleanup_free char *path = printable(finding->path);
	cleanup_free char *detail = printable(finding->detail);

	printf("%s%s%s", path ? path : "?", finding->path[0] ? ": " : "", finding->what);
	if (finding->has_block && finding->unreadable)
		printf(" at %llu (%llu bytes): it cannot be read, it was %016llx",
		       (unsigned long long)finding->offset, (unsigned long long)finding->length,
		       (unsigned long long)finding->expected);
	else if (finding->has_block)
		printf(" at %llu (%llu bytes): it was %016llx, it is %016llx",
		       (unsigned long long)finding->offset, (unsigned long long)finding->length,
		       (unsigned long long)finding->expected, (unsigned long long)finding->actual);
	if (finding->detail[0])
		printf(": %s", detail ? detail : "?");
	if (finding->outcome != FSCK_NOTE)
		printf(" [%s]", outcome_name(finding->outcome));
	putchar('\n');
}

static void print_reading(const char *what, uint64_t count, uint64_t bytes, int64_t taken_ns)
{
	char size[16], rate[16], taken[32];

	printf("%llu %s read", (unsigned long long)count, what);
	if (taken_ns > 0)
		printf(" (%s in %s, %s/s)", format_bytes(bytes, size, sizeof(size)),
		       format_duration(taken_ns, taken, sizeof(taken)),
		       format_bytes((uint64_t)((double)bytes * NS_PER_SEC / (double)taken_ns), rate,
				    sizeof(rate)));
	else if (bytes)
		printf(" (%s)", format_bytes(bytes, size, sizeof(size)));
}

static void print_summary(const char *path, const struct fsck_report *report, int code)
{
	printf("%s: %llu names", path, (unsigned long long)report->names);
	if (report->files) {
		fputs(", ", stdout);
		print_reading("files", report->files, report->file_bytes, report->duration_ns);
	}
	if (report->copies) {
		fputs(", ", stdout);
		print_reading("copies", report->copies, report->copy_bytes, 0);
	}
	if (report->archived)
		printf(", %llu copies archived and not read", (unsigned long long)report->archived);
	if (report->unverified)
		printf(", %llu files not verified yet", (unsigned long long)report->unverified);
	fputs(": ", stdout);
	if (report->corrected)
		printf("%llu corrected, ", (unsigned long long)report->corrected);
	if (report->left)
		printf("%llu LEFT, ", (unsigned long long)report->left);
	puts(code & EXIT_CANCELLED     ? "cancelled"
	     : code & EXIT_OPERATIONAL ? "not everything could be checked"
	     : report->left            ? "not all is right"
				       : "all is right");
}

/* JSON ---------------------------------------------------------------------------------- */

static json_t *hash_json(uint64_t hash)
{
	char text[17];

	(void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
	return json_string(text);
}

static json_t *finding_json(const struct fsck_finding *finding)
{
	json_t *object = json_pack("{s:s, s:s, s:o, s:o}", "outcome",
				   outcome_name(finding->outcome), "what", finding->what, "path",
				   json_path(finding->path), "detail", json_path(finding->detail));

	if (object && finding->has_block) {
		(void)json_object_set_new(object, "offset",
					  json_integer((json_int_t)finding->offset));
		(void)json_object_set_new(object, "length",
					  json_integer((json_int_t)finding->length));
		(void)json_object_set_new(object, "expected", hash_json(finding->expected));
		(void)json_object_set_new(object, "actual",
					  finding->unreadable ? json_null()
							      : hash_json(finding->actual));
	}
	return object;
}

static int print_json(struct view *view, const char *path, const struct fsck_report *report,
		      int code)
{
	cleanup_json json_t *object = json_pack(
		"{s:o, s:b, s:O, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, "
		"s:i}",
		"store", json_path(path), "mounted", report->mounted, "findings", view->findings,
		"errors", view->errors, "names", (json_int_t)report->names, "files",
		(json_int_t)report->files, "bytes", (json_int_t)report->file_bytes, "copies",
		(json_int_t)report->copies, "copy_bytes", (json_int_t)report->copy_bytes,
		"archived_copies", (json_int_t)report->archived, "unverified",
		(json_int_t)report->unverified, "notes", (json_int_t)report->notes, "corrected",
		(json_int_t)report->corrected, "left", (json_int_t)report->left, "complete",
		!report->incomplete && !(code & (EXIT_OPERATIONAL | EXIT_CANCELLED)), "seconds",
		(double)report->duration_ns / NS_PER_SEC, "exit", code);

	if (!object || view->out_of_memory || json_dumpf(object, stdout, JSON_COMPACT) < 0)
		return code | EXIT_OPERATIONAL;
	putchar('\n');
	return code;
}

/* What the checks tell -------------------------------------------------------------------- */

static void on_found(void *arg, const struct fsck_finding *finding)
{
	struct view *view = arg;

	if (view->findings) {
		if (json_array_append_new(view->findings, finding_json(finding)) < 0)
			view->out_of_memory = true;
		return;
	}
	cli_progress_end(&view->cli);
	print_finding(finding);
}

static void on_progress(void *arg, const struct fsck_progress *progress)
{
	struct view *view = arg;
	char done[16], total[16], rate[16], eta[32];

	if (progress->total_bytes)
		cli_progress(&view->cli, "%llu of %llu %s, %s of %s, %s/s, %s left",
			     (unsigned long long)progress->done,
			     (unsigned long long)progress->total, progress->what,
			     format_bytes(progress->done_bytes, done, sizeof(done)),
			     format_bytes(progress->total_bytes, total, sizeof(total)),
			     format_bytes(progress->rate, rate, sizeof(rate)),
			     format_duration(progress->eta_ns, eta, sizeof(eta)));
	else
		cli_progress(&view->cli, "%llu of %llu %s, %s, %s/s, %s left",
			     (unsigned long long)progress->done,
			     (unsigned long long)progress->total, progress->what,
			     format_bytes(progress->done_bytes, done, sizeof(done)),
			     format_bytes(progress->rate, rate, sizeof(rate)),
			     format_duration(progress->eta_ns, eta, sizeof(eta)));
}

static void on_failed(void *arg, const char *text)
{
	struct view *view = arg;

	if (view->errors) {
		if (json_array_append_new(view->errors, json_path(text)) < 0)
			view->out_of_memory = true;
		return;
	}
	cli_progress_end(&view->cli);
	(void)fflush(stdout);
	(void)fprintf(stderr, "mediafs-fsck: %s\n", text);
}

/* Arguments ------------------------------------------------------------------------------- */

/* The three repair modes exclude each other: -1 for a second one, or one that is none. */
static int set_repair(unsigned *flags, const char *mode)
{
	if (*flags & (FSCK_READ_ONLY | FSCK_REPAIR))
		return -1;
	if (strcmp(mode, "no") == 0)
		*flags |= FSCK_READ_ONLY;
	else if (strcmp(mode, "safe") == 0)
		*flags |= FSCK_REPAIR;
	else if (strcmp(mode, "all") == 0)
		*flags |= FSCK_REPAIR | FSCK_REPAIR_ALL;
	else
		return -1;
	return 0;
}

/* 0 go on, 1 done, -1 usage. */
static int take_option(struct view *view, int option, unsigned *flags)
{
	switch (option) {
	case 'f':
		*flags |= FSCK_FULL;
		return 0;
	case 'r':
		*flags |= FSCK_REMOTE;
		return 0;
	case 'n':
		return set_repair(flags, "no");
	case 'p':
	case 'a':
		return set_repair(flags, "safe");
	case 'y':
		return set_repair(flags, "all");
	case OPTION_REPAIR:
		return set_repair(flags, optarg);
	case OPTION_REBUILD:
		*flags |= FSCK_REBUILD;
		return 0;
	case OPTION_JSON:
		view->cli.json = true;
		return 0;
	case 'v':
		log_set_level(LOG_DEBUG);
		return 0;
	case 'V':
		puts("mediafs-fsck " MEDIAFS_VERSION);
		return 1;
	case 'h':
		fputs(help, stdout);
		return 1;
	default:
		return -1;
	}
}

static int parse(struct view *view, int argc, char **argv, unsigned *ret_flags)
{
	unsigned flags = 0;
	int option, r = 0;

	optind = 0;
	while (r == 0 && (option = getopt_long(argc, argv, "frnpayvVh", long_options, NULL)) != -1)
		r = take_option(view, option, &flags);
	if (r == 0 && argc - optind != 1)
		r = -1;
	if (r == 0 && (flags & FSCK_REBUILD) && (flags & FSCK_READ_ONLY))
		r = -1;
	if (r < 0)
		(void)fputs("Usage: mediafs-fsck [-f] [-r] [-n|-p|-y] [--rebuild-catalog] [--json]"
			    " STORE\nTry mediafs-fsck --help.\n",
			    stderr);
	*ret_flags = flags;
	return r;
}

static void on_signal(int number)
{
	(void)number;
	arg_stop = true;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

static int exit_code(int result, const struct fsck_report *report)
{
	int code = 0;

	if (report->corrected)
		code |= EXIT_CORRECTED;
	if (report->left)
		code |= EXIT_LEFT;
	if (result == -ECANCELED)
		code |= EXIT_CANCELLED;
	else if (result < 0 || report->incomplete)
		code |= EXIT_OPERATIONAL;
	return code;
}

static int run(struct view *view, const char *path, unsigned flags)
{
	const struct fsck_host host = {
		.arg = view,
		.found = on_found,
		.progress = on_progress,
		.failed = on_failed,
		.stop = &arg_stop,
	};
	struct fsck_report report = { 0 };
	int r = fsck_run(path, flags, &host, &report);
	int code = exit_code(r, &report);

	if (r < 0 && r != -ECANCELED && !report.incomplete)
		on_failed(view, error_text(r));
	if (view->cli.json)
		return print_json(view, path, &report, code);
	cli_progress_end(&view->cli);
	if (r == 0 || report.names)
		print_summary(path, &report, code);
	return code;
}

int fsck_main(int argc, char **argv)
{
	struct view view = { 0 };
	unsigned flags;
	int code, r = parse(&view, argc, argv, &flags);

	if (r != 0)
		return r < 0 ? EXIT_USAGE : 0;
	if (view.cli.json) {
		view.findings = json_array();
		view.errors = json_array();
		if (!view.findings || !view.errors)
			return EXIT_OPERATIONAL;
	}
	catch_signals();
	code = run(&view, argv[optind], flags);
	json_decref(view.findings);
	json_decref(view.errors);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("mediafs-fsck: standard output");
		code |= EXIT_OPERATIONAL;
	}
	return code;
}
