/* SPDX-License-Identifier: Apache-2.0 */
/* `mediafs tier add` and `tier remove`. */
#include "cli/tier_change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "control/protocol.h"
#include "store/settings.h"
#include "store/store.h"
#include "tier/tier.h"
#include "util/cleanup.h"

/* For remove, the daemon looks at all evicted files. */
#define ANSWER_MS 120000

int cli_check_apart(struct cli *cli, const char *url, const struct store *store)
{
	const char *folder = strncmp(url, "file://", 7) == 0 ? url + 7 : url;
	cleanup_free char *real = realpath(folder, NULL);
	size_t length = strlen(store->path);

	if (real && strncmp(real, store->path, length) == 0 &&
	    (real[length] == '/' || real[length] == '\0'))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"the tier %s lies inside the store %s: name a place outside", url,
				store->path);
	return 0;
}

/* What mediafs.conf has already, and what it could not take. */
static int check_new(struct cli *cli, struct settings *settings, const char *name, const char *url)
{
	cleanup_free char *key = NULL, *message = NULL;
	int r;

	for (size_t i = 0; i < settings_tier_count(settings); i++) {
		const struct settings_tier *tier = settings_tier(settings, i);

		if (strcmp(tier->name, name) == 0 || strcmp(tier->url, url) == 0)
			return cli_fail(cli, MEDIAFS_EXIT_BUSY,
					"there is the tier %s at %s already", tier->name,
					tier->url);
	}
	if (asprintf(&key, "tier.%s.url", name) < 0)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	r = settings_set_text(settings, key, url, &message);
	if (r == -ENOENT)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"\"%s\" is no name for a tier: letters, digits, - and _", name);
	if (r < 0 && message)
		return cli_fail(cli, MEDIAFS_EXIT_CONFIG, "%s", message);
	return r < 0 ? cli_fail_errno(cli, r, "cannot start") : 0;
}

/* The place is there and ours, or becomes so. */
static int claim(struct cli *cli, const char *name, const char *url, const struct store *store,
		 char ret_uuid[37])
{
	cleanup_with(tier_close_slot) struct tier *tier = NULL;
	char why[TIER_WHY_SIZE] = "";
	int r = tier_open(name, url, &tier);

	if (r == 0)
		r = tier_claim(tier, store->volume_uuid, ret_uuid);
	if (r == 0)
		return 0;
	if (r == -EMEDIUMTYPE)
		return cli_fail(cli, MEDIAFS_EXIT_BUSY, "%s belongs to another volume", url);
	if (tier && (r == -EHOSTDOWN || r == -EROFS))
		(void)tier_why(tier, why, sizeof(why));
	return cli_fail_errno(cli, r, "cannot use %s%s%s", url, *why ? ": " : "", why);
}

/* Ask whoever keeps the settings. *ret_live: the volume is mounted and has heard it. */
static int ask(struct cli *cli, const struct target *target, json_t *request, bool *ret_live,
	       bool *ret_later)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_json json_t *own = request, *final = NULL;
	int code = target_open(cli, target, &client);

	if (code)
		return code;
	if (!client_is_live(client) && client_silent_daemon(client))
		return cli_fail(cli, MEDIAFS_EXIT_OFFLINE,
				"process %d has the store but does not answer: nothing is changed",
				(int)client_silent_daemon(client));
	code = target_call(cli, client, take_ptr(own), ANSWER_MS, NULL, NULL, &final);
	if (code)
		return code;
	*ret_live = client_is_live(client);
	*ret_later = !*ret_live || json_is_true(json_object_get(final, "next_mount"));
	return 0;
}

static int tell(struct cli *cli, const char *name, const char *url, const char *what, bool later)
{
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:s,s:o,s:b}", "name", name, "url",
						url ? json_path(url) : json_null(), "next_mount",
						later),
				      MEDIAFS_EXIT_OK);
	(void)printf("tier %s%s%s %s%s\n", name, url ? ": " : "", url ? url : "", what,
		     later ? " (from the next mount on)" : "");
	return MEDIAFS_EXIT_OK;
}

int cli_tier_add(struct cli *cli, const struct target *target, const struct store *store,
		 struct settings *settings)
{
	const char *name = cli->options.args[1], *url = cli->options.args[2];
	char uuid[37];
	bool live = false, later = false;
	int code = check_new(cli, settings, name, url);

	if (code == 0)
		code = cli_check_apart(cli, url, store);
	if (code == 0)
		code = claim(cli, name, url, store, uuid);
	if (code == 0)
		code = ask(cli, target,
			   json_pack("{s:s,s:s,s:o,s:s}", "request", "tier-add", "name", name,
				     "url", json_path(url), "uuid", uuid),
			   &live, &later);
	if (code)
		return code;
	if (live && strncmp(url, "s3:", 3) == 0)
		cli_note(cli, "the keys were found here; the mount looks where it was started, and "
			      "mediafs status says when it finds none");
	return tell(cli, name, url, "gets every verified file, those of before too", later);
}

int cli_tier_remove(struct cli *cli, const struct target *target)
{
	const char *name = cli->options.args[1];
	bool live, later;
	int code = ask(cli, target,
		       json_pack("{s:s,s:o,s:b}", "request", "tier-remove", "name", json_path(name),
				 "force", cli->options.given[OPT_FORCE]),
		       &live, &later);

	return code ? code
		    : tell(cli, name, NULL, "is used no more; what lies there stays there", later);
}
