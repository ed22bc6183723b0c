/* SPDX-License-Identifier: Apache-2.0 */

/* import --bucket: what others put into a bucket is adopted by the daemon, object by object. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "store/settings.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"

struct importing {
	struct cli *cli;
	int64_t start_ns;
	json_t *objects; /* owned; with --json */
};

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_int_or(object, key, 0);
}

static void show_progress(struct importing *importing, const json_t *progress)
{
	uint64_t bytes = number(progress, "bytes"), done = number(progress, "done_bytes");
	double passed = (double)(monotonic_ns() - importing->start_ns + 1) / 1e9;
	double rate = (double)done / passed;
	char done_text[32], bytes_text[32], rate_text[32], left[32], end[80] = "";

	if (rate >= 1 && done <= bytes)
		(void)snprintf(end, sizeof(end), ", %s/s, %s left",
			       format_bytes((uint64_t)rate, rate_text, sizeof(rate_text)),
			       format_duration((int64_t)((double)(bytes - done) / rate * 1e9), left,
					       sizeof(left)));
	cli_progress(importing->cli, "%" PRIu64 " of %" PRIu64 " objects, %s of %s read%s",
		     number(progress, "done_files"), number(progress, "files"),
		     format_bytes(done, done_text, sizeof(done_text)),
		     format_bytes(bytes, bytes_text, sizeof(bytes_text)), end);
}

/* What a person has to know of, and with --dry-run all. */
static void show_object(struct importing *importing, const json_t *object)
{
	cleanup_free char *key = json_path_value(json_object_get(object, "key"));
	cleanup_free char *path = json_path_value(json_object_get(object, "path"));
	cleanup_free char *safe_key = key ? printable(key) : NULL;
	cleanup_free char *safe_path = path ? printable(path) : NULL;
	const char *result = json_string_or(object, "result", "");
	const char *error = json_string_or(object, "error", "");
	char size[32];

	if (!safe_key)
		return;
	if (strcmp(result, "would") == 0)
		(void)printf("%10s  %s\n", format_bytes(number(object, "size"), size, sizeof(size)),
			     safe_key);
	else if (strcmp(result, "conflict") == 0)
		cli_note(importing->cli, "%s: the volume has another file of that name; it is %s",
			 safe_key, safe_path ? safe_path : "?");
	else if (strcmp(result, "refused") == 0)
		cli_note(importing->cli, "%s: left alone: %s", safe_key, error);
	else if (strcmp(result, "failed") == 0)
		cli_note(importing->cli, "mediafs import: %s: %s", safe_key, error);
}

static int on_line(void *arg, const json_t *line)
{
	struct importing *importing = arg;
	json_t *object = json_object_get(line, "object");

	if (interrupted())
		return -EINTR;
	if (!object)
		show_progress(importing, json_object_get(line, "progress"));
	else if (importing->cli->json)
		return json_array_append(importing->objects, object) < 0 ? -ENOMEM : 0;
	else
		show_object(importing, object);
	return 0;
}

static int finish(struct importing *importing, json_t *final)
{
	int code = (int)json_int_or(final, "code", MEDIAFS_EXIT_FAILED);
	struct cli *cli = importing->cli;
	cleanup_free char *text = json_path_value(json_object_get(final, "error"));
	uint64_t adopted = number(final, "adopted") + number(final, "conflict");
	char bytes[32];

	cli_progress_end(cli);
	if (cli->json) {
		(void)json_object_del(final, "done");
		if (json_object_set(final, "objects", importing->objects) < 0)
			return cli_fail_errno(cli, -ENOMEM, "cannot print");
		return cli_print_json(cli, json_incref(final), code);
	}
	if (text)
		return cli_fail(cli, code, "%s", text);
	if (cli->options.given[OPT_DRY_RUN])
		(void)printf("%" PRIu64 " objects (%s) would be adopted; %" PRIu64 " are known",
			     number(final, "would"),
			     format_bytes(number(final, "bytes"), bytes, sizeof(bytes)),
			     number(final, "known"));
	else
		(void)printf("%" PRIu64 " objects adopted, %" PRIu64
			     " of them beside others; %" PRIu64 " were known",
			     adopted, number(final, "conflict"),
			     number(final, "known") + number(final, "same"));
	if (number(final, "ignored"))
		(void)printf(", %" PRIu64 " are left alone by a rule", number(final, "ignored"));
	if (number(final, "refused") + number(final, "failed"))
		(void)printf(", %" PRIu64 " NOT adopted",
			     number(final, "refused") + number(final, "failed"));
	(void)putchar('\n');
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}

/* [TIER] [PREFIX]: one word is a tier if one is called so. */
static int take_words(struct cli *cli, const struct target *target, const char **ret_tier,
		      const char **ret_prefix)
{
	const struct options *options = &cli->options;
	struct settings *settings = NULL;
	cleanup_free char *message = NULL;
	int r;

	if (options->arg_count == 0)
		return 0;
	*ret_tier = options->args[0];
	if (options->arg_count == 2) {
		*ret_prefix = options->args[1];
		return 0;
	}
	r = settings_load(target->store, &settings, &message);
	for (size_t i = 0; r == 0 && i < settings_tier_count(settings); i++)
		if (strcmp(settings_tier(settings, i)->name, *ret_tier) == 0) {
			settings_free(settings);
			return 0;
		}
	settings_free(settings);
	*ret_prefix = *ret_tier;
	*ret_tier = NULL;
	return 0;
}

static json_t *make_request(const struct cli *cli, const char *tier, const char *prefix)
{
	json_t *request = target_request("import-bucket", "");
	size_t length = prefix ? strlen(prefix) : 0;
	cleanup_free char *plain = length ? strdup(prefix) : NULL;

	/* As people write a folder. */
	if (plain && plain[length - 1] == '/')
		plain[length - 1] = 0;
	if (!request || (tier && json_object_set_new(request, "tier", json_string(tier)) < 0) ||
	    (plain && json_object_set_new(request, "prefix", json_path(plain)) < 0) ||
	    json_object_set_new(request, "dry_run", json_boolean(cli->options.given[OPT_DRY_RUN])) <
		    0) {
		json_decref(request);
		return NULL;
	}
	return request;
}

int cli_import_bucket(struct cli *cli)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_with(target_fini) struct target target = { 0 };
	struct importing importing = { .cli = cli, .start_ns = monotonic_ns() };
	cleanup_json json_t *objects = json_array(), *final = NULL;
	const char *tier = NULL, *prefix = NULL;
	int code, r;

	importing.objects = objects;
	if (!objects)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	code = target_find(cli, NULL, &target);
	if (code == 0)
		code = take_words(cli, &target, &tier, &prefix);
	if (code == 0)
		code = target_open(cli, &target, &client);
	if (code)
		return code;
	catch_interrupts();
	r = client_call(client, make_request(cli, tier, prefix), 0, on_line, &importing, &final);
	if (r == -EINTR)
		return cli_fail(
			cli, MEDIAFS_EXIT_FAILED,
			"interrupted: what was adopted stays, and the same command goes on");
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot talk to the mount daemon");
	return finish(&importing, final);
}
