/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "control/protocol.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/units.h"

/* Without a terminal, lines of progress come at most this often. */
#define PLAIN_PROGRESS_NS (5 * NS_PER_SEC)
/* Of files that are read: shown at all, and with a rate, once it has lasted so long. */
#define SHOW_AFTER_NS (500 * NS_PER_MS)
#define RATE_MIN_NS (2 * NS_PER_SEC)

static struct {
	bool shown;       /* a line without end stands on the terminal */
	int64_t shown_ns; /* when the last line was printed */
	char last[512];
} progress;

char *printable(const char *text)
{
	char *copy = strdup(text);

	for (char *at = copy; at && *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	}
	return copy;
}

static void say(struct cli *cli, int code, const char *name, const char *text)
{
	cleanup_free char *shown = NULL;
	json_t *object;

	cli_progress_end(cli);
	if (!cli->json) {
		shown = printable(text);
		(void)fprintf(stderr, "mediafs%s%s: %s\n", cli->command ? " " : "",
			      cli->command ? cli->command->name : "", shown ? shown : "?");
		return;
	}
	object = json_pack("{s:o,s:i}", "error", json_path(text), "code", code);
	if (object && name)
		(void)json_object_set_new(object, "errno", json_string(name));
	(void)cli_print_json(cli, object, code);
}

int cli_fail(struct cli *cli, int code, const char *format, ...)
{
	cleanup_free char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	say(cli, code, NULL, text ? text : "out of memory");
	return code;
}

int cli_fail_errno(struct cli *cli, int error, const char *format, ...)
{
	int code = exit_code_of(error);
	cleanup_free char *text = NULL;
	cleanup_free char *whole = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	if (!text || asprintf(&whole, "%s: %s", text, error_text(error)) < 0)
		whole = NULL;
	say(cli, code, errno_name(error), whole ? whole : "out of memory");
	return code;
}

void cli_note(struct cli *cli, const char *format, ...)
{
	va_list ap;

	if (cli->json)
		return;
	cli_progress_end(cli);
	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

int cli_print_json(struct cli *cli, json_t *object, int code)
{
	cleanup_json json_t *owned = object;

	(void)cli;
	if (!owned || json_dumpf(owned, stdout, JSON_COMPACT) < 0) {
		(void)fprintf(stderr, "mediafs: out of memory\n");
		return MEDIAFS_EXIT_FAILED;
	}
	(void)fputc('\n', stdout);
	/* A reader that went away must not look like success. */
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}

const char *paint(enum paint colour)
{
	static const char *const escapes[] = {
		[PAINT_NONE] = "\033[0m",   [PAINT_GOOD] = "\033[32m", [PAINT_BUSY] = "\033[33m",
		[PAINT_BAD] = "\033[1;31m", [PAINT_DIM] = "\033[2m",
	};

	if (!isatty(STDOUT_FILENO) || getenv("NO_COLOR"))
		return "";
	return escapes[colour];
}

static int terminal_columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

void cli_progress(struct cli *cli, const char *format, ...)
{
	bool terminal = isatty(STDERR_FILENO);
	char line[512];
	va_list ap;

	if (cli->json)
		return;
	va_start(ap, format);
	(void)vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (terminal) {
		(void)fprintf(stderr, "\r%.*s\033[K", terminal_columns() - 1, line);
		progress.shown = true;
		return;
	}
	if (strcmp(line, progress.last) == 0 ||
	    (progress.shown_ns && monotonic_ns() - progress.shown_ns < PLAIN_PROGRESS_NS))
		return;
	(void)fprintf(stderr, "%s\n", line);
	progress.shown_ns = monotonic_ns();
	memcpy(progress.last, line, sizeof(line));
}

void cli_progress_end(struct cli *cli)
{
	(void)cli;
	if (progress.shown)
		(void)fputs("\r\033[K", stderr);
	progress.shown = false;
}

/* By bytes or by files, whichever is further behind: small files cost time, not bytes. */
static int64_t time_left(int64_t spent_ns, double by_files, double by_bytes)
{
	double done = by_files > 0 && by_files < by_bytes ? by_files : by_bytes;

	return done > 0 && done < 1 ? (int64_t)((double)spent_ns * (1 - done) / done) : 0;
}

void cli_progress_bytes(struct cli *cli, const char *what, int64_t start_ns, uint64_t files,
			uint64_t of_files, uint64_t bytes, uint64_t of_bytes)
{
	int64_t spent_ns = monotonic_ns() - start_ns;
	char done[32], all[32], rate[32], eta[32], end[80] = "";

	if (spent_ns < SHOW_AFTER_NS)
		return;
	if (spent_ns > RATE_MIN_NS && bytes) {
		int64_t left_ns = time_left(spent_ns, (double)files / (double)(of_files + 1),
					    (double)bytes / (double)(of_bytes + 1));

		(void)snprintf(end, sizeof(end), ", %s/s, %s left",
			       format_bytes((uint64_t)((double)bytes * 1e9 / (double)spent_ns),
					    rate, sizeof(rate)),
			       format_duration(left_ns, eta, sizeof(eta)));
	}
	cli_progress(cli, "%" PRIu64 " of %" PRIu64 " files %s, %s of %s%s", files, of_files, what,
		     format_bytes(bytes, done, sizeof(done)),
		     format_bytes(of_bytes, all, sizeof(all)), end);
}

bool cli_duration(struct cli *cli, enum option_id id, int64_t fallback, int64_t *ret_ns)
{
	const char *text = cli->options.value[id];

	*ret_ns = fallback;
	if (!text || parse_duration(text, ret_ns) == 0)
		return true;
	(void)cli_fail(cli, MEDIAFS_EXIT_USAGE, "\"%s\" is not a time: write 90s, 5min, 2h or 1d",
		       text);
	return false;
}

void cli_pause(int64_t ns)
{
	struct timespec pause = ns_timespec(ns);

	if (!interrupted())
		(void)nanosleep(&pause, NULL);
}
