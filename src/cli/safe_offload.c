/* SPDX-License-Identifier: Apache-2.0 */
/* What `mediafs safe` asks first: the policy, and which folder is meant. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/safe.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"

json_t *safe_ask(struct safe *safe, struct client *client, json_t *request, client_line_fn fn,
		 void *arg)
{
	json_t *final = NULL;
	int r = client_call(client, request, 0, fn, arg, &final);

	if (r == 0 && !json_object_get(final, "error"))
		return final;
	safe_add(safe, SAFE_UNCHECKED, "", "the mount daemon: %s",
		 r < 0 ? error_text(r) : json_string_or(final, "error", ""));
	json_decref(final);
	return NULL;
}

static int64_t policy_value(struct safe *safe, const char *key)
{
	cleanup_json json_t *final =
		safe_ask(safe, safe->client,
			 json_pack("{s:s,s:s}", "request", "config-get", "key", key), NULL, NULL);
	const char *text = final ? json_string_or(final, "value", "") : "";

	if (isdigit((unsigned char)*text))
		return strtoll(text, NULL, 10);
	return strcmp(text, "yes") == 0 || strcmp(text, "true") == 0 || strcmp(text, "on") == 0;
}

void safe_ask_policy(struct safe *safe)
{
	safe->want_copies = policy_value(safe, "safe.copies");
	safe->want_offsite = policy_value(safe, "safe.offsite");
	safe->want_distinct = policy_value(safe, "safe.distinct_devices") != 0;
	if (safe->want_copies < 1)
		safe_add(safe, SAFE_UNCHECKED, "", "the policy for copies cannot be read");
}

/* Offloads by what a person calls one. */
struct wanted {
	const char *given; /* borrowed */
	char *numbered;    /* owned: the path of the one with that number, */
	char *reels[2];    /* owned: of the first two with that reel */
};

static void wanted_fini(struct wanted *wanted)
{
	free(wanted->numbered);
	free(wanted->reels[0]);
	free(wanted->reels[1]);
}

static int take_offload(void *arg, const json_t *line)
{
	struct wanted *wanted = arg;
	const json_t *offload = json_object_get(line, "offload");
	const json_t *path = json_object_get(offload, "path");
	char **reel = &wanted->reels[wanted->reels[0] != NULL];
	char number[24];

	(void)snprintf(number, sizeof(number), "%" PRId64, json_int_or(offload, "id", -1));
	if (strcmp(number, wanted->given) == 0 && !wanted->numbered)
		wanted->numbered = json_path_value(path);
	if (strcasecmp(json_string_or(offload, "reel", ""), wanted->given) == 0 && !*reel)
		*reel = json_path_value(path);
	return 0;
}

static bool is_in_volume(const struct target *target)
{
	cleanup_free char *path =
		target->mountpoint ? path_join(target->mountpoint, target->path) : NULL;

	return path && access(path, F_OK) == 0;
}

int safe_find_offload(struct safe *safe, const char *given)
{
	cleanup_with(wanted_fini) struct wanted wanted = { .given = given };
	cleanup_json json_t *final = NULL;

	safe->is_folder_given = true;
	if (strchr(given, '/') || is_in_volume(&safe->target)) {
		safe->folder = strdup(safe->target.path);
		return safe->folder ? 0 : cli_fail_errno(safe->cli, -ENOMEM, "cannot start");
	}
	final = safe_ask(safe, safe->client, target_request("offloads", ""), take_offload, &wanted);
	if (!final)
		return 0;
	if (!wanted.numbered && wanted.reels[1])
		return cli_fail(safe->cli, MEDIAFS_EXIT_USAGE,
				"%s is in %s and in %s: name the folder", given, wanted.reels[0],
				wanted.reels[1]);
	safe->folder = wanted.numbered ? take_ptr(wanted.numbered) : take_ptr(wanted.reels[0]);
	if (safe->folder)
		return 0;
	return cli_fail(safe->cli, MEDIAFS_EXIT_USAGE,
			"there is no %s in the volume, and no offload of that number or reel "
			"(mediafs offloads lists them)",
			given);
}
