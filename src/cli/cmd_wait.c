/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"

#define ANSWER_MS 60000
/* Between two looks; longer where a look takes long. */
#define LOOK_NS (20 * NS_PER_MS)
#define LOOK_SHARE 4
/* A tier may be away for a moment. */
#define OFFLINE_NS (30 * NS_PER_SEC)
/* The rate shown is over the last seconds: at least and at most so many. */
#define RATE_MIN_NS (2 * NS_PER_SEC)
#define RATE_NS (6 * NS_PER_SEC)

struct wait {
	struct cli *cli;
	const char *goal;
	int64_t deadline_ns; /* monotonic; INT64_MAX: none */
	int64_t offline_ns;  /* give up after so long without tier; 0: never */
	int64_t down_since_ns;
	int64_t rate_since_ns;
	uint64_t rate_bytes; /* done at rate_since_ns */
	double rate;         /* bytes/s */
};

static uint64_t number(const json_t *answer, const char *key)
{
	return (uint64_t)json_int_or(answer, key, 0);
}

/* Rules may keep some of those files here: the last answer must not be like that. */
static bool is_estimated(const json_t *answer)
{
	return json_is_true(json_object_get(answer, "estimated"));
}

static void measure(struct wait *wait, uint64_t done_bytes)
{
	int64_t now = monotonic_ns();

	if (wait->rate_since_ns == 0 || done_bytes < wait->rate_bytes) {
		wait->rate_since_ns = now;
		wait->rate_bytes = done_bytes;
		return;
	}
	if (now - wait->rate_since_ns < RATE_MIN_NS)
		return; /* too short to tell: the rate of before still holds */
	wait->rate = (double)(done_bytes - wait->rate_bytes) * 1e9 /
		     (double)(now - wait->rate_since_ns + 1);
	if (now - wait->rate_since_ns > RATE_NS) {
		wait->rate_since_ns = now;
		wait->rate_bytes = done_bytes;
	}
}

static void show_progress(struct wait *wait, const json_t *answer)
{
	uint64_t bytes = number(answer, "bytes"), done = number(answer, "done_bytes");
	char done_text[32], bytes_text[32], rate[32], eta[32], end[80] = "";

	measure(wait, done);
	if (wait->rate > 1)
		(void)snprintf(end, sizeof(end), ", %s/s, %s left",
			       format_bytes((uint64_t)wait->rate, rate, sizeof(rate)),
			       format_duration((int64_t)((double)(bytes - done) / wait->rate * 1e9),
					       eta, sizeof(eta)));
	cli_progress(wait->cli, "%" PRIu64 " of %" PRIu64 " files %s, %s of %s%s%s%s",
		     number(answer, "done_files"), number(answer, "files"), wait->goal,
		     format_bytes(done, done_text, sizeof(done_text)),
		     format_bytes(bytes, bytes_text, sizeof(bytes_text)), end,
		     json_is_true(json_object_get(answer, "tier_down")) ? ", the tier is away" : "",
		     json_is_true(json_object_get(answer, "paused")) ? ", paused" : "");
}

static int finish(struct wait *wait, const json_t *answer, int code, const char *why)
{
	struct cli *cli = wait->cli;
	char bytes[32];
	json_t *object;

	cli_progress_end(cli);
	if (cli->json) {
		object = json_deep_copy(answer);
		(void)json_object_del(object, "done");
		if (!object || json_object_set_new(object, "goal", json_string(wait->goal)) < 0 ||
		    json_object_set_new(object, "code", json_integer(code)) < 0 ||
		    (code && json_object_set_new(object, "error", json_string(why)) < 0)) {
			json_decref(object);
			return cli_fail_errno(cli, -ENOMEM, "cannot print");
		}
		return cli_print_json(cli, object, code);
	}
	if (code)
		return cli_fail(cli, code, "%s: %" PRIu64 " of %" PRIu64 " files %s", why,
				number(answer, "done_files"), number(answer, "files"), wait->goal);
	(void)printf("%" PRIu64 " file%s (%s) %s\n", number(answer, "done_files"),
		     number(answer, "done_files") == 1 ? "" : "s",
		     format_bytes(number(answer, "done_bytes"), bytes, sizeof(bytes)), wait->goal);
	if (number(answer, "ignored_files") > 0)
		(void)printf("%" PRIu64
			     " more stay here, as the rules say (mediafs ls shows why)\n",
			     number(answer, "ignored_files"));
	return fflush(stdout) == 0 ? MEDIAFS_EXIT_OK : MEDIAFS_EXIT_FAILED;
}

static void name_bad(struct cli *cli, const json_t *answer, const char *key, const char *what)
{
	const json_t *list = json_object_get(answer, key), *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		cleanup_free char *path = json_path_value(json_object_get(item, "path"));
		cleanup_free char *shown = path ? printable(path) : NULL;

		cli_note(cli, "%s: %s (%s)", what, shown ? shown : "?",
			 json_string_or(item, "error", ""));
	}
}

/* The tier is away for longer than is waited for. */
static bool gave_up(struct wait *wait, const json_t *answer)
{
	int64_t now = monotonic_ns();

	if (!json_is_true(json_object_get(answer, "tier_down"))) {
		wait->down_since_ns = 0;
		return false;
	}
	if (wait->down_since_ns == 0)
		wait->down_since_ns = now;
	return now >= wait->deadline_ns ||
	       (wait->offline_ns && now - wait->down_since_ns >= wait->offline_ns);
}

/* True with the code and why when there is nothing more to wait for. */
static bool decide(struct wait *wait, const json_t *answer, bool live, int *ret_code,
		   const char **ret_why)
{
	uint64_t bad = number(answer, "damaged_files") + number(answer, "poison_files");
	uint64_t left = number(answer, "files") - number(answer, "done_files");
	bool stored = strcmp(wait->goal, "stored") == 0;

	*ret_why = "";
	*ret_code = MEDIAFS_EXIT_OFFLINE;
	if (left == 0 && bad == 0) {
		*ret_code = MEDIAFS_EXIT_OK;
	} else if (left <= bad) {
		/* Only now: what can be done shall be done, then a person is called. */
		if (!is_estimated(answer)) {
			name_bad(wait->cli, answer, "damaged", "damaged");
			name_bad(wait->cli, answer, "poison", "set aside");
		}
		*ret_code = MEDIAFS_EXIT_DAMAGED;
		*ret_why = "damaged or set aside: a person must look";
	} else if (!live) {
		*ret_why = "the volume is not mounted, so nothing moves";
	} else if (stored && json_array_size(json_object_get(answer, "tiers")) == 0) {
		*ret_why = "the store has no tier, so nothing will be stored";
	} else if (stored && gave_up(wait, answer)) {
		*ret_why = "the tier is away";
	} else if (monotonic_ns() >= wait->deadline_ns) {
		*ret_code = bad ? MEDIAFS_EXIT_DAMAGED : MEDIAFS_EXIT_PENDING;
		*ret_why = "still pending";
	} else {
		return false;
	}
	return true;
}

/* @estimate: what rules keep here may be counted too while others are on their way. */
static json_t *pending_request(const struct wait *wait, const char *path, bool estimate)
{
	json_t *request = target_request("pending", path);

	if (request)
		(void)json_object_set_new(request, "goal", json_string(wait->goal));
	if (request && estimate)
		(void)json_object_set_new(request, "estimate", json_true());
	return request;
}

static int wait_for(struct wait *wait, const struct target *target, struct client *client)
{
	bool estimate = true;

	for (;;) {
		int64_t before = monotonic_ns(), pause;
		cleanup_json json_t *answer = NULL;
		const char *why;
		int code;

		code = target_call(wait->cli, client, pending_request(wait, target->path, estimate),
				   ANSWER_MS, NULL, NULL, &answer);
		if (code)
			return code;
		if (decide(wait, answer, client_is_live(client), &code, &why)) {
			/* What is told at the end is counted exactly. */
			if (!is_estimated(answer))
				return finish(wait, answer, code, why);
			estimate = false;
			continue;
		}
		estimate = true;
		show_progress(wait, answer);
		pause = (monotonic_ns() - before) * LOOK_SHARE;
		if (pause < LOOK_NS)
			pause = LOOK_NS;
		if (pause > wait->deadline_ns - monotonic_ns())
			pause = wait->deadline_ns - monotonic_ns();
		if (pause > 0)
			cli_pause(pause);
		if (interrupted())
			return cli_fail(wait->cli, MEDIAFS_EXIT_PENDING, "interrupted");
	}
}

static int run(struct cli *cli)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	struct wait wait = { .cli = cli, .goal = cli->options.value[OPT_FOR] };
	int64_t timeout_ns;
	int code;

	if (!wait.goal)
		wait.goal = "verified";
	if (strcmp(wait.goal, "verified") != 0 && strcmp(wait.goal, "stored") != 0)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--for verified or --for stored is wanted, not \"%s\"", wait.goal);
	if (!cli_duration(cli, OPT_TIMEOUT, -1, &timeout_ns) ||
	    !cli_duration(cli, OPT_OFFLINE, OFFLINE_NS, &wait.offline_ns))
		return MEDIAFS_EXIT_USAGE;
	wait.deadline_ns = timeout_ns < 0 ? INT64_MAX : monotonic_ns() + timeout_ns;
	code = target_find(cli, cli->options.arg_count ? cli->options.args[0] : NULL, &target);
	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code)
		return code;
	catch_interrupts();
	return wait_for(&wait, &target, client);
}

static const struct option_spec options[] = {
	{ OPT_FOR, 0, "for", "GOAL", "verified (default) or stored" },
	{ OPT_TIMEOUT, 0, "timeout", "T", "give up after T: 90s, 5min, 2h" },
	{ OPT_OFFLINE, 0, "offline", "T",
	  "give up when the tier was away for T (default: 30s; 0: never)" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_wait = {
	.name = "wait",
	.args = "[PATH]",
	.help = "return when PATH and all below it is verified or stored",
	.text = "Files that appear meanwhile are waited for too. Files that a rule keeps here are\n"
		"not. Exit codes: 0 done, 3 still pending at --timeout, 4 offline, 5 damaged.\n",
	.min_args = 0,
	.max_args = 1,
	.options = options,
	.run = run,
};
