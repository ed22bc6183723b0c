/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "catalog/state.h"
#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"

/* A daemon that is stuck must not make status stick: then the catalog is asked. */
#define ANSWER_MS 5000
#define INTERVAL_NS (2 * NS_PER_SEC)

struct count {
	uint64_t files, bytes;
};

static struct count in_states(const json_t *status, unsigned mask)
{
	const json_t *states = json_object_get(status, "states");
	struct count sum = { 0 };

	for (int state = 1; state < FILE_STATE_COUNT; state++) {
		const json_t *one = json_object_get(states, file_state_name(state));

		if (!(mask & (1u << state)))
			continue;
		sum.files += (uint64_t)json_int_or(one, "files", 0);
		sum.bytes += (uint64_t)json_int_or(one, "bytes", 0);
	}
	return sum;
}

#define ARRIVING (1u << FILE_RECEIVING)
#define TO_VERIFY (1u << FILE_RECEIVED)
#define ONLY_HERE (1u << FILE_VERIFIED | 1u << FILE_QUEUED | 1u << FILE_UPLOADING)
#define STORED (1u << FILE_STORED)
#define AWAY (1u << FILE_EVICTED | 1u << FILE_HYDRATING)
#define DAMAGED (1u << FILE_DAMAGED)

static const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

/* Never says that a card may be formatted: that takes the card and the policy (mediafs safe). */
static void print_headline(const json_t *status)
{
	struct count damaged = in_states(status, DAMAGED);
	struct count open = in_states(status, ARRIVING | TO_VERIFY);
	struct count here = in_states(status, ONLY_HERE);
	struct count stored = in_states(status, STORED | AWAY);
	bool has_tier = json_array_size(json_object_get(status, "tiers")) > 0;
	enum paint colour = PAINT_GOOD;
	char size[32], text[256];

	if (json_is_string(json_object_get(status, "catalog_error"))) {
		colour = PAINT_BAD;
		(void)snprintf(text, sizeof(text),
			       "NOT KNOWN: the catalog cannot be written, this is what it has");
	} else if (damaged.files > 0) {
		colour = PAINT_BAD;
		(void)snprintf(text, sizeof(text), "DAMAGED: %" PRIu64 " file%s", damaged.files,
			       plural(damaged.files));
	} else if (json_is_true(json_object_get(status, "catalog_behind"))) {
		colour = PAINT_BUSY;
		(void)snprintf(text, sizeof(text),
			       "NOT KNOWN YET: the disk is behind, %" PRId64
			       " changes wait for the catalog, this is what it has",
			       json_int_or(status, "catalog_waiting", 0));
	} else if (open.files > 0) {
		colour = PAINT_BUSY;
		(void)snprintf(text, sizeof(text), "NOT VERIFIED YET: %" PRIu64 " file%s (%s)",
			       open.files, plural(open.files),
			       format_bytes(open.bytes, size, sizeof(size)));
	} else if (here.files > 0) {
		colour = PAINT_BUSY;
		(void)snprintf(text, sizeof(text),
			       "VERIFIED, %s: %" PRIu64 " file%s (%s) only here",
			       has_tier ? "not stored yet" : "no tier", here.files,
			       plural(here.files), format_bytes(here.bytes, size, sizeof(size)));
	} else if (stored.files > 0) {
		(void)snprintf(text, sizeof(text),
			       "STORED: %" PRIu64 " file%s (%s), each verified and in a tier",
			       stored.files, plural(stored.files),
			       format_bytes(stored.bytes, size, sizeof(size)));
	} else {
		(void)snprintf(text, sizeof(text), "no files");
	}
	(void)printf("%s%s%s\n\n", paint(colour), text, paint(PAINT_NONE));
}

static void print_row(const char *name, struct count count, int64_t rate, const char *remark)
{
	char size[32], speed[32];

	if (count.files == 0)
		return;
	(void)printf("  %-12s %9" PRIu64 " file%s %10s", name, count.files,
		     count.files == 1 ? " " : "s", format_bytes(count.bytes, size, sizeof(size)));
	if (rate > 0)
		(void)printf("   %s/s", format_bytes((uint64_t)rate, speed, sizeof(speed)));
	if (*remark)
		(void)printf("   %s", remark);
	(void)putchar('\n');
}

static struct count count_of(const json_t *status, const char *key)
{
	const json_t *count = json_object_get(status, key);

	return (struct count){ .files = (uint64_t)json_int_or(count, "files", 0),
			       .bytes = (uint64_t)json_int_or(count, "bytes", 0) };
}

static void print_table(const json_t *status)
{
	const json_t *moving = json_object_get(status, "moving");
	char remark[64] = "", size[32];
	struct count away = in_states(status, AWAY), announced = count_of(status, "announced"),
		     archived = count_of(status, "archived");

	print_row("arriving", in_states(status, ARRIVING), json_int_or(status, "receiving_rate", 0),
		  "");
	print_row("to verify", in_states(status, TO_VERIFY), json_int_or(status, "verify_rate", 0),
		  "");
	print_row("verified", in_states(status, 1u << FILE_VERIFIED), 0, "only here, not queued");
	print_row("queued", in_states(status, 1u << FILE_QUEUED), 0, "only here");
	print_row("sending", in_states(status, 1u << FILE_UPLOADING),
		  json_int_or(moving, "rate", 0), "only here until done");
	print_row("stored", in_states(status, STORED), 0, "");
	if (away.files > 0)
		(void)snprintf(remark, sizeof(remark), "%s of it here",
			       format_bytes((uint64_t)json_int_or(status, "resident_bytes", 0),
					    size, sizeof(size)));
	print_row("evicted", away, 0, remark);
	if (archived.files > 0)
		print_row("  archived", archived, 0,
			  "of those; mediafs fetch --restore asks for them");
	print_row("announced", announced, 0, "at another site, not stored yet");
	print_row("damaged", in_states(status, DAMAGED), 0, "");
}

/* "A001R2EC (DAY1/A001R2EC)": what a person calls it, and where it is. */
static void print_offload(const json_t *item)
{
	cleanup_free char *path = json_path_value(json_object_get(item, "path"));
	cleanup_free char *reel = json_path_value(json_object_get(item, "reel"));
	cleanup_free char *shown = path ? printable(path) : NULL;
	cleanup_free char *reel_shown = reel ? printable(reel) : NULL;
	const char *state = json_string_or(item, "state", "?");
	int64_t files = json_int_or(item, "files", 0), verified = json_int_or(item, "verified", 0);
	char when[32];

	if (strcmp(state, "settled") == 0)
		(void)printf(
			"  card %s: arrived %s; mediafs safe says whether it may be formatted\n",
			shown ? shown : "?",
			format_time(json_int_or(item, "settled_ns", 0), when, sizeof(when)));
	else if (strcmp(state, "many files") == 0)
		(void)printf("  cards arrive in %s: see mediafs offloads\n", shown ? shown : "?");
	else
		(void)printf(
			"  card %s%s%s%s: %s%s%s%s, %" PRId64 " of %" PRId64 " files verified\n",
			reel_shown ? reel_shown : "", reel_shown ? " (" : "", shown ? shown : "?",
			reel_shown ? ")" : "", paint(PAINT_BUSY), state,
			json_is_true(json_object_get(item, "running")) ? " (mediafs offload)" : "",
			paint(PAINT_NONE), verified, files);
}

static void print_path_line(const char *what, const json_t *item)
{
	cleanup_free char *path = json_path_value(json_object_get(item, "path"));
	cleanup_free char *shown = path ? printable(path) : NULL;

	int64_t next_ns = json_int_or(item, "next_try_ns", 0);
	char when[32];

	(void)printf("  %s%s%s: %s (%s)", paint(PAINT_BAD), what, paint(PAINT_NONE),
		     shown ? shown : "?", json_string_or(item, "error", ""));
	if (next_ns)
		(void)printf("; failed %" PRId64 " times, tried again %s, or by mediafs resume",
			     json_int_or(item, "attempts", 0),
			     next_ns > realtime_ns() ? format_time(next_ns, when, sizeof(when))
						     : "soon");
	(void)putchar('\n');
}

static void print_list(const json_t *status, const char *key, const char *what)
{
	const json_t *list = json_object_get(status, key), *item;
	size_t i;

	json_array_foreach(list, i, item) print_path_line(what, item);
}

static void print_sending(const json_t *status)
{
	const json_t *moving = json_object_get(status, "moving");
	cleanup_free char *path = json_path_value(json_object_get(moving, "path"));
	cleanup_free char *shown = path ? printable(path) : NULL;
	int64_t eta_ns = json_int_or(status, "eta_ns", -1);
	char done[32], whole[32], rate[32];

	if (!moving)
		return;
	if (shown && *shown)
		(void)printf(
			"  sending %s: %s of %s, %s/s\n", shown,
			format_bytes((uint64_t)json_int_or(moving, "done_bytes", 0), done,
				     sizeof(done)),
			format_bytes((uint64_t)json_int_or(moving, "bytes", 0), whole,
				     sizeof(whole)),
			format_bytes((uint64_t)json_int_or(moving, "rate", 0), rate, sizeof(rate)));
	if (eta_ns > 0)
		(void)printf("  all that waits is stored in about %s (%s)\n",
			     format_duration(eta_ns, done, sizeof(done)),
			     format_time(realtime_ns() + eta_ns, whole, sizeof(whole)));
	if (json_is_true(json_object_get(moving, "tier_down")))
		(void)printf("  %sa tier is away%s: %s; tried again by itself\n", paint(PAINT_BAD),
			     paint(PAINT_NONE), json_string_or(moving, "tier_error", ""));
	if (json_is_true(json_object_get(moving, "aside")))
		(void)printf("  %ssending slowly%s: cards are being written on the same disk\n",
			     paint(PAINT_BUSY), paint(PAINT_NONE));
	if (json_is_true(json_object_get(moving, "paused")))
		(void)printf("  %spaused%s: nothing is sent until mediafs resume\n",
			     paint(PAINT_BUSY), paint(PAINT_NONE));
}

static void print_catalog(const json_t *status)
{
	const char *error = json_string_or(status, "catalog_error", "");

	if (!*error)
		return;
	if (json_is_true(json_object_get(status, "catalog_lost")))
		(void)printf("  %sthe catalog failed%s: %s; unmount and mount again\n",
			     paint(PAINT_BAD), paint(PAINT_NONE), error);
	else
		(void)printf("  %sthe catalog cannot be written%s: %s; %" PRId64
			     " changes wait, tried again by itself: files can be removed, not "
			     "added\n",
			     paint(PAINT_BAD), paint(PAINT_NONE), error,
			     json_int_or(status, "catalog_waiting", 0));
}

static const char *limit_rule_text(const char *rule)
{
	if (strcmp(rule, "override") == 0)
		return "mediafs limit";
	return strcmp(rule, "timetable") == 0 ? "transfer.timetable" : "transfer.limit";
}

static void print_unread(const json_t *status)
{
	uint64_t unread = (uint64_t)json_int_or(status, "unread", 0);
	bool more = json_is_true(json_object_get(status, "unread_more"));

	if (unread)
		(void)printf("  %s%" PRIu64 "%s file%s to be read again%s: copied with the store, "
			     "or touched while it was not mounted\n",
			     paint(PAINT_BUSY), unread, more ? " or more" : "", plural(unread),
			     paint(PAINT_NONE));
}

static void print_rest(const json_t *status)
{
	const char *rule = json_string_or(status, "limit_rule", "limit");
	const json_t *tiers = json_object_get(status, "tiers"), *tier, *disk;
	int64_t limit = json_int_or(status, "limit", 0), conflicts, until;
	char first[32], second[32];
	size_t i;

	json_array_foreach(tiers, i, tier)(void)
		printf("  tier %s: %s\n", json_string_or(tier, "name", "?"),
		       json_string_or(tier, "url", "?"));
	until = json_int_or(status, "limit_until_ns", 0);
	if (limit > 0 || strcmp(rule, "limit") != 0)
		(void)printf("  %s%s%s%s%s (%s)\n", limit ? "limited to " : "no limit",
			     limit ? format_bytes((uint64_t)limit, first, sizeof(first)) : "",
			     limit ? "/s" : "", until ? " until " : "",
			     until ? format_time(until, second, sizeof(second)) : "",
			     limit_rule_text(rule));
	if (json_is_true(json_object_get(status, "metered")))
		(void)printf("  %smetered%s: originals wait until mediafs limit --metered no\n",
			     paint(PAINT_BUSY), paint(PAINT_NONE));
	if (json_is_true(json_object_get(status, "verify_aside")))
		(void)printf("  %sread-back waits%s: the disk is behind with what arrives\n",
			     paint(PAINT_BUSY), paint(PAINT_NONE));
	print_unread(status);
	if (json_is_true(json_object_get(status, "scrub_aside")))
		(void)printf("  %sthe scrub waits%s: cards are being written\n", paint(PAINT_BUSY),
			     paint(PAINT_NONE));
	disk = json_object_get(status, "disk");
	(void)printf("  disk: %s free of %s\n",
		     format_bytes((uint64_t)json_int_or(disk, "free", 0), first, sizeof(first)),
		     format_bytes((uint64_t)json_int_or(disk, "total", 0), second, sizeof(second)));
	conflicts = json_int_or(status, "conflicts", 0);
	if (conflicts > 0)
		(void)printf("  %s%" PRId64 " conflict%s%s: see mediafs conflicts\n",
			     paint(PAINT_BUSY), conflicts, plural((uint64_t)conflicts),
			     paint(PAINT_NONE));
	print_catalog(status);
	if (json_is_string(json_object_get(status, "settings_error")))
		(void)printf("  %smediafs.conf%s: %s\n", paint(PAINT_BAD), paint(PAINT_NONE),
			     json_string_or(status, "settings_error", ""));
}

static void print_screen(const struct target *target, const json_t *status, const char *note)
{
	const json_t *offload;
	size_t i;

	(void)printf("%s: %s", json_string_or(status, "site", "?"), target->store);
	if (target->mountpoint && json_is_true(json_object_get(status, "mounted")))
		(void)printf(", mounted on %s%s", target->mountpoint,
			     json_is_true(json_object_get(status, "read_only")) ? " (read-only)"
										: "");
	else
		(void)printf(", not mounted");
	if (*target->path)
		(void)printf("\n%s", target->path);
	(void)printf("\n%s", note);
	print_headline(status);
	print_table(status);
	(void)putchar('\n');
	json_array_foreach(json_object_get(status, "offloads"), i, offload) print_offload(offload);
	print_list(status, "damaged", "damaged");
	print_list(status, "poison", "set aside");
	print_sending(status);
	print_rest(status);
}

/* Without a terminal --watch gives a line a look. */
static void print_line(const json_t *status)
{
	struct count arriving = in_states(status, ARRIVING), open = in_states(status, TO_VERIFY);
	char size[32], verified[32], stored[32], rate[32], eta[32];
	int64_t eta_ns = json_int_or(status, "eta_ns", -1);

	(void)printf(
		"%" PRId64 " files (%s): %" PRIu64 " arriving, %" PRIu64
		" to verify, %s verified, %s stored, %s/s out, %s\n",
		json_int_or(status, "files", 0),
		format_bytes((uint64_t)json_int_or(status, "bytes", 0), size, sizeof(size)),
		arriving.files, open.files,
		format_bytes((uint64_t)json_int_or(status, "verified_bytes", 0), verified,
			     sizeof(verified)),
		format_bytes((uint64_t)json_int_or(status, "stored_bytes", 0), stored,
			     sizeof(stored)),
		format_bytes((uint64_t)json_int_or(json_object_get(status, "moving"), "rate", 0),
			     rate, sizeof(rate)),
		eta_ns < 0 ? "end unknown" : format_duration(eta_ns, eta, sizeof(eta)));
	(void)fflush(stdout);
}

static const char *why_offline(const struct target *target, const struct client *client)
{
	if (client_silent_daemon(client))
		return "the mount daemon is starting or ending: this is from the catalog\n";
	if (target->mountpoint)
		return "the mount daemon died: this is from the catalog; unmount it (mediafs "
		       "umount), then mount it again\n";
	return "not mounted: this is from the catalog, nothing moves\n";
}

static int ask(struct cli *cli, const struct target *target, struct client *client,
	       json_t **ret_status, const char **ret_note)
{
	cleanup_json json_t *final = NULL;
	bool live = client_is_live(client);
	int r = 0;

	*ret_note = "";
	if (live) {
		r = client_call(client, target_request("status", target->path), ANSWER_MS, NULL,
				NULL, &final);
		/* Stuck, or it ended at this moment. */
		if (r == -ETIMEDOUT || r == -ECONNRESET || r == -EPIPE) {
			*ret_note = "the mount daemon does not answer: this is from the catalog, "
				    "not from it\n";
			r = client_go_offline(client);
			if (r < 0)
				return cli_fail_errno(cli, r, "cannot open %s", target->store);
			live = false;
		} else if (r < 0) {
			return cli_fail_errno(cli, r, "cannot talk to the mount daemon");
		}
	} else {
		*ret_note = why_offline(target, client);
	}
	if (final && !json_object_get(final, "error")) {
		*ret_status = take_ptr(final);
		return 0;
	}
	if (final) {
		cleanup_free char *text = json_path_value(json_object_get(final, "error"));

		return cli_fail(cli, (int)json_int_or(final, "code", MEDIAFS_EXIT_FAILED), "%s",
				text ? text : "?");
	}
	return target_call(cli, client, target_request("status", target->path), 0, NULL, NULL,
			   ret_status);
}

static int show(struct cli *cli, const struct target *target, json_t *status, const char *note)
{
	/* Damage is told in the exit code too: scripts ask this way. */
	int code = in_states(status, DAMAGED).files > 0 ? MEDIAFS_EXIT_DAMAGED : MEDIAFS_EXIT_OK;

	if (cli->json) {
		if (target->mountpoint &&
		    json_object_set_new(status, "mountpoint", json_path(target->mountpoint)) < 0)
			return cli_fail_errno(cli, -ENOMEM, "cannot print");
		(void)json_object_set_new(status, "live", json_boolean(!*note));
		(void)json_object_del(status, "done");
		(void)json_object_del(status, "code");
		return cli_print_json(cli, json_incref(status), code);
	}
	if (cli->options.given[OPT_WATCH] && !isatty(STDOUT_FILENO)) {
		print_line(status);
		return code;
	}
	if (cli->options.given[OPT_WATCH])
		(void)fputs("\033[H\033[J", stdout);
	print_screen(target, status, note);
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}

static int once(struct cli *cli, const struct target *target)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_json json_t *status = NULL;
	const char *note;
	int code = target_open(cli, target, &client);

	if (code == 0)
		code = ask(cli, target, client, &status, &note);
	return code ? code : show(cli, target, status, note);
}

static int run(struct cli *cli)
{
	const char *path = cli->options.arg_count ? cli->options.args[0] : NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	int64_t interval_ns;
	int code;

	if (!cli_duration(cli, OPT_INTERVAL, INTERVAL_NS, &interval_ns))
		return MEDIAFS_EXIT_USAGE;
	code = target_find(cli, path, &target);
	if (code)
		return code;
	if (!cli->options.given[OPT_WATCH])
		return once(cli, &target);
	catch_interrupts();
	for (;;) {
		code = once(cli, &target);
		if (code != MEDIAFS_EXIT_OK && code != MEDIAFS_EXIT_DAMAGED)
			return code;
		if (interrupted())
			return MEDIAFS_EXIT_OK;
		cli_pause(interval_ns);
		target_fini(&target);
		code = target_find(cli, path, &target);
		if (code)
			return code;
	}
}

static const struct option_spec options[] = {
	{ OPT_WATCH, 'w', "watch", NULL, "again and again, until interrupted" },
	{ OPT_INTERVAL, 0, "interval", "T", "pause between two looks (default: 2s)" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_status = {
	.name = "status",
	.args = "[PATH]",
	.help = "what is stored, what is not, what is moving, when it will be done",
	.text = "Works without a mount too, from the catalog, and says so.\n"
		"Whether a card may be formatted only mediafs safe says.\n"
		"Exit code 5 when a file is damaged.\n",
	.min_args = 0,
	.max_args = 1,
	.options = options,
	.run = run,
};
