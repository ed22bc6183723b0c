/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "cli/tier_change.h"
#include "control/protocol.h"
#include "store/store.h"
#include "tier/tier.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/thread.h"
#include "util/units.h"

/* A network file system that hangs blocks who looks at it, for ever. */
#define PROBE_NS (15 * NS_PER_SEC)

/* A tier whose abilities are tried ends by itself, sooner or later. */
#define SURVEY_NS (300 * NS_PER_SEC)

struct probe {
	/* Constant. */
	const char *name, *url; /* borrowed */
	const char *volume;     /* borrowed; UUID that the place must belong to */

	struct mutex lock; /* rank 10; guards the rest */
	struct cond changed;
	bool done;
	int result;
	const char *what;        /* that failed; static */
	char why[TIER_WHY_SIZE]; /* the tier's own words, "" none */
	int64_t took_ns;
	uint64_t free, total; /* 0: it cannot tell */
	json_t *abilities;    /* owned; array of {what, result, text}; empty: none are known */
	bool unfit;           /* one of them is missing that it must have */
};

/* What one look finds out; moved into the probe under its lock. */
struct findings {
	int result;
	const char *what;
	char why[TIER_WHY_SIZE];
	uint64_t free, total;
	json_t *abilities; /* owned */
	bool unfit;
};

static int note_ability(void *arg, const char *what, enum survey_result result, const char *text)
{
	static const char *const names[] = { "good", "less", "bad" };
	struct findings *findings = arg;

	findings->unfit |= result == SURVEY_BAD;
	return json_array_append_new(findings->abilities,
				     json_pack("{s:s,s:s,s:s}", "what", what, "result",
					       names[result], "text", text)) < 0
		       ? -ENOMEM
		       : 0;
}

static int look_inside(const struct probe *probe, struct tier *tier, struct findings *findings)
{
	char uuid[37];
	int r;

	findings->what = "does not answer as it should";
	r = tier->backend->probe(tier);
	if (r < 0)
		return r;
	findings->what = "belongs to no volume, or cannot be read";
	r = tier_volume(tier, uuid);
	if (r < 0)
		return r;
	findings->what = "belongs to another volume";
	if (strcmp(uuid, probe->volume) != 0)
		return -EMEDIUMTYPE;
	findings->what = "cannot be written";
	r = tier->backend->survey ? tier->backend->survey(tier, note_ability, findings) : 0;
	if (r == 0 && tier->backend->space(tier, &findings->free, &findings->total) < 0)
		findings->free = findings->total = 0;
	return r;
}

static void look(const struct probe *probe, struct findings *findings)
{
	struct tier *tier;

	findings->what = "cannot be opened";
	findings->result = tier_open(probe->name, probe->url, &tier);
	if (findings->result < 0)
		return;
	findings->result = look_inside(probe, tier, findings);
	if (findings->result == -EHOSTDOWN || findings->result == -EROFS ||
	    findings->result == -EREMOTEIO)
		(void)tier_why(tier, findings->why, sizeof(findings->why));
	tier_close(tier);
}

static void *probe_body(void *arg)
{
	struct probe *probe = arg;
	struct findings findings = { .abilities = json_array() };
	int64_t start = monotonic_ns();

	if (findings.abilities)
		look(probe, &findings);
	else
		findings = (struct findings){ .result = -ENOMEM, .what = "cannot be asked" };
	scoped_lock(&probe->lock);
	probe->result = findings.result;
	probe->what = findings.what;
	memcpy(probe->why, findings.why, sizeof(probe->why));
	probe->free = findings.free;
	probe->total = findings.total;
	probe->abilities = findings.abilities;
	probe->unfit = findings.unfit;
	probe->took_ns = monotonic_ns() - start;
	probe->done = true;
	cond_signal(&probe->changed);
	return NULL;
}

static json_t *probe_json(const struct probe *probe)
{
	json_t *object = json_pack("{s:o,s:o,s:b}", "name", json_path(probe->name), "url",
				   json_path(probe->url), "ok", probe->result == 0);

	if (!object)
		return NULL;
	if (probe->result < 0) {
		(void)json_object_set_new(object, "error", json_string(error_text(probe->result)));
		(void)json_object_set_new(object, "why", json_string(probe->why));
		(void)json_object_set_new(object, "errno", json_string(errno_name(probe->result)));
	} else {
		(void)json_object_set_new(object, "took_ns", json_integer(probe->took_ns));
		(void)json_object_set_new(object, "free", json_integer((json_int_t)probe->free));
		(void)json_object_set_new(object, "total", json_integer((json_int_t)probe->total));
		(void)json_object_set(object, "abilities", probe->abilities);
	}
	return object;
}

static void print_abilities(const json_t *abilities)
{
	const json_t *row;
	size_t i;

	json_array_foreach(abilities, i, row)
	{
		const char *result = json_string_or(row, "result", "");
		enum paint color = strcmp(result, "bad") == 0    ? PAINT_BAD
				   : strcmp(result, "less") == 0 ? PAINT_BUSY
								 : PAINT_GOOD;

		(void)printf("  %-26s %s%s%s\n", json_string_or(row, "what", ""), paint(color),
			     json_string_or(row, "text", ""), paint(PAINT_NONE));
	}
}

static void print_probe(const struct probe *probe)
{
	char took[32], free_text[32], total[32];

	if (probe->result < 0) {
		(void)printf("%s (%s): %sFAILED%s: %s: %s%s%s\n", probe->name, probe->url,
			     paint(PAINT_BAD), paint(PAINT_NONE), probe->what,
			     error_text(probe->result), *probe->why ? ": " : "", probe->why);
		return;
	}
	(void)printf("%s (%s): %sok%s, answered in %s", probe->name, probe->url, paint(PAINT_GOOD),
		     paint(PAINT_NONE), format_duration(probe->took_ns, took, sizeof(took)));
	if (probe->total)
		(void)printf(", %s free of %s",
			     format_bytes(probe->free, free_text, sizeof(free_text)),
			     format_bytes(probe->total, total, sizeof(total)));
	(void)putchar('\n');
	print_abilities(probe->abilities);
}

/* The result of one probe into @list. A probe that hangs is left behind: the process ends soon. */
static int test_one(struct cli *cli, const struct settings_tier *tier, const char *volume,
		    json_t *list, int *ret_result)
{
	bool is_s3 = strncmp(tier->url, "s3:", 3) == 0;
	struct probe *probe = calloc(1, sizeof(*probe));
	struct thread thread = { 0 };
	int64_t deadline = monotonic_ns() + (is_s3 ? SURVEY_NS : PROBE_NS);
	int r;

	if (!probe)
		return -ENOMEM;
	probe->name = tier->name;
	probe->url = tier->url;
	probe->volume = volume;
	mutex_init(&probe->lock, 10);
	cond_init(&probe->changed);
	r = thread_start(&thread, "probe", probe_body, probe);
	if (r < 0) {
		free(probe);
		return r;
	}
	mutex_lock(&probe->lock);
	while (!probe->done && cond_wait_until(&probe->changed, &probe->lock, deadline))
		;
	if (!probe->done) {
		probe->result = -ETIMEDOUT;
		probe->what = "hangs";
	}
	*ret_result = probe->result == 0 && probe->unfit ? -ENOTSUP : probe->result;
	if (cli->json)
		r = json_array_append_new(list, probe_json(probe)) < 0 ? -ENOMEM : 0;
	else
		print_probe(probe);
	mutex_unlock(&probe->lock);
	if (*ret_result == -ETIMEDOUT) {
		/* It may touch what it was given whenever it wakes up: end without tidying. */
		if (cli->json)
			(void)cli_print_json(cli, json_pack("{s:O}", "tiers", list), 0);
		(void)fflush(stdout);
		_exit(MEDIAFS_EXIT_OFFLINE);
	}
	thread_join(&thread);
	json_decref(probe->abilities);
	cond_fini(&probe->changed);
	mutex_fini(&probe->lock);
	free(probe);
	return r;
}

static int test_tiers(struct cli *cli, const struct settings *settings, const char *volume,
		      const char *only)
{
	cleanup_json json_t *list = json_array();
	int result, code = MEDIAFS_EXIT_OK;
	size_t tested = 0;

	if (!list)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	for (size_t i = 0; i < settings_tier_count(settings); i++) {
		const struct settings_tier *tier = settings_tier(settings, i);
		int r;

		if (only && strcmp(tier->name, only) != 0)
			continue;
		tested++;
		r = test_one(cli, tier, volume, list, &result);
		if (r < 0)
			return cli_fail_errno(cli, r, "cannot test the tier %s", tier->name);
		if (result < 0 && code == MEDIAFS_EXIT_OK)
			code = result == -EMEDIUMTYPE || result == -ENOTSUP ? MEDIAFS_EXIT_FAILED
									    : exit_code_of(result);
	}
	if (only && tested == 0)
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY,
				"there is no tier \"%s\": mediafs tier list shows all", only);
	if (cli->json)
		return cli_print_json(cli, json_pack("{s:O}", "tiers", list), code);
	if (tested == 0)
		(void)puts("no tier: nothing leaves this machine");
	return code;
}

static int list_tiers(struct cli *cli, const struct settings *settings)
{
	cleanup_json json_t *list = json_array();

	for (size_t i = 0; list && i < settings_tier_count(settings); i++) {
		const struct settings_tier *tier = settings_tier(settings, i);

		if (!cli->json)
			(void)printf("%s\t%s\n", tier->name, tier->url);
		else if (json_array_append_new(list,
					       json_pack("{s:o,s:o}", "name", json_path(tier->name),
							 "url", json_path(tier->url))) < 0)
			return cli_fail_errno(cli, -ENOMEM, "cannot print");
	}
	if (cli->json)
		return cli_print_json(cli, json_pack("{s:O}", "tiers", list), MEDIAFS_EXIT_OK);
	return MEDIAFS_EXIT_OK;
}

static const struct verb {
	const char *name;
	size_t least, most; /* words after it */
} verbs[] = { { "list", 0, 0 }, { "test", 0, 1 }, { "add", 2, 2 }, { "remove", 1, 1 } };

/* 0, or the exit code. */
static int check_words(struct cli *cli)
{
	const char *name = cli->options.args[0];
	size_t words = cli->options.arg_count - 1;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, name) != 0)
			continue;
		if (cli->options.given[OPT_FORCE] && strcmp(name, "remove") != 0)
			return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--force goes with remove");
		if (words < verbs[i].least)
			return cli_fail(cli, MEDIAFS_EXIT_USAGE,
					"too few words: mediafs tier --help shows them");
		if (words > verbs[i].most)
			return cli_fail(cli, MEDIAFS_EXIT_USAGE, "one argument too many: \"%s\"",
					cli->options.args[verbs[i].most + 1]);
		return 0;
	}
	return cli_fail(cli, MEDIAFS_EXIT_USAGE, "\"%s\" is none of list, test, add, remove", name);
}

static int run(struct cli *cli)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_with(store_close_slot) struct store *store = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	const char *verb = cli->options.args[0];
	const char *only = cli->options.arg_count > 1 ? cli->options.args[1] : NULL;
	cleanup_free char *message = NULL;
	int code = check_words(cli);
	int r;

	if (code == 0)
		code = target_find(cli, NULL, &target);
	if (code)
		return code;
	r = store_open(target.store, 0, &store);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot open the store %s", target.store);
	r = settings_load(store->path, &settings, &message);
	if (r < 0 && message)
		return cli_fail(cli, MEDIAFS_EXIT_CONFIG, "%s/mediafs.conf: %s", store->path,
				message);
	if (r < 0)
		return cli_fail_errno(cli, r, "%s/mediafs.conf", store->path);
	if (strcmp(verb, "add") == 0)
		return cli_tier_add(cli, &target, store, settings);
	if (strcmp(verb, "remove") == 0)
		return cli_tier_remove(cli, &target);
	return strcmp(verb, "list") == 0 ? list_tiers(cli, settings)
					 : test_tiers(cli, settings, store->volume_uuid, only);
}

static const struct option_spec options[] = {
	{ OPT_FORCE, 0, "force", NULL, "remove: also when evicted files are nowhere else" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_tier = {
	.name = "tier",
	.args = "list | test [NAME] | add NAME URL | remove NAME",
	.help = "the places that hold copies: which, do they answer, one more, one less",
	.text = "test asks each place now: is it there, can it be written, is it this volume's.\n"
		"Of an S3 server it finds out what it really does. Exit code 4 when one cannot be\n"
		"reached, 1 when it lacks what is needed.\n"
		"\n"
		"add makes the place at URL one of the volume's, at once: all that is verified\n"
		"goes there. remove uses it no more and deletes nothing there; what only it had\n"
		"is sent to the others. Exit code 6 when evicted files are nowhere else.\n",
	.min_args = 1,
	.max_args = 3,
	.options = options,
	.run = run,
};
