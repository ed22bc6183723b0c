/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/target.h"
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
};

static int look(struct probe *probe, uint64_t *ret_free, uint64_t *ret_total, const char **ret_what,
		char why[TIER_WHY_SIZE])
{
	char uuid[37];
	struct tier *tier;
	int r;

	*ret_what = "cannot be opened";
	r = tier_open(probe->name, probe->url, &tier);
	if (r < 0)
		return r;
	*ret_what = "does not answer as it should";
	r = tier->backend->probe(tier);
	if (r == 0) {
		*ret_what = "belongs to no volume, or cannot be read";
		r = tier_volume(tier, uuid);
	}
	if (r == 0 && strcmp(uuid, probe->volume) != 0) {
		*ret_what = "belongs to another volume";
		r = -EMEDIUMTYPE;
	}
	if (r == 0 && tier->backend->space(tier, ret_free, ret_total) < 0)
		*ret_free = *ret_total = 0;
	if (r == -EHOSTDOWN || r == -EROFS)
		(void)tier_why(tier, why, TIER_WHY_SIZE);
	tier_close(tier);
	return r;
}

static void *probe_body(void *arg)
{
	struct probe *probe = arg;
	uint64_t free_bytes = 0, total = 0;
	int64_t start = monotonic_ns();
	char why[TIER_WHY_SIZE] = "";
	const char *what;
	int r = look(probe, &free_bytes, &total, &what, why);

	scoped_lock(&probe->lock);
	probe->result = r;
	probe->what = what;
	memcpy(probe->why, why, sizeof(probe->why));
	probe->free = free_bytes;
	probe->total = total;
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
	}
	return object;
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
}

/* The result of one probe into @list. A probe that hangs is left behind: the process ends soon. */
static int test_one(struct cli *cli, const struct settings_tier *tier, const char *volume,
		    json_t *list, int *ret_result)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	struct thread thread = { 0 };
	int64_t deadline = monotonic_ns() + PROBE_NS;
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
	*ret_result = probe->result;
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
			code = result == -EMEDIUMTYPE ? MEDIAFS_EXIT_FAILED : exit_code_of(result);
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

static int run(struct cli *cli)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_with(store_close_slot) struct store *store = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	const char *verb = cli->options.args[0];
	const char *only = cli->options.arg_count > 1 ? cli->options.args[1] : NULL;
	bool is_list = strcmp(verb, "list") == 0;
	cleanup_free char *message = NULL;
	int code;
	int r;

	if (!is_list && strcmp(verb, "test") != 0)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "\"%s\" is neither list nor test", verb);
	if (is_list && only)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "one argument too many: \"%s\"", only);
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
	return is_list ? list_tiers(cli, settings)
		       : test_tiers(cli, settings, store->volume_uuid, only);
}

static const struct option_spec options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_tier = {
	.name = "tier",
	.args = "list | test [NAME]",
	.help = "the places that hold copies; whether they answer",
	.text = "test asks each place now: is it there, can it be written, is it this volume's.\n"
		"Exit code 4 when one cannot be reached.\n",
	.min_args = 1,
	.max_args = 2,
	.options = options,
	.run = run,
};
