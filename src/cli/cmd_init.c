/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/catalog.h"
#include "cli/cli.h"
#include "cli/tier_change.h"
#include "control/protocol.h"
#include "store/store.h"
#include "tier/tier.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"

#define TIER_NAME "main"

struct init {
	const char *path;  /* as given */
	char *tier_url;    /* owned; NULL: no tier */
	struct tier *tier; /* owned; NULL likewise */
	char *settings;    /* owned; text of mediafs.conf */
	char site[HOST_NAME_MAX + 1];
	char volume_uuid[37];
	bool joined;
	bool made_folder; /* by us: removed again on failure */
};

static void init_fini(struct init *init)
{
	tier_close(init->tier);
	free(init->tier_url);
	free(init->settings);
}

/* A folder may be named as people do, relative; settings want a URL that holds everywhere. */
static int full_url(const char *given, char **ret_url)
{
	cleanup_free char *real = NULL;

	if (strstr(given, "://")) {
		*ret_url = strdup(given);
		return *ret_url ? 0 : -ENOMEM;
	}
	real = realpath(given, NULL);
	if (!real)
		return -errno;
	return asprintf(ret_url, "file://%s", real) < 0 ? -ENOMEM : 0;
}

static int open_tier(struct cli *cli, struct init *init, const char *given)
{
	int r = full_url(given, &init->tier_url);
	char why[TIER_WHY_SIZE];

	if (r < 0)
		return cli_fail_errno(cli, r, "the tier %s", given);
	for (const char *at = init->tier_url; *at; at++) {
		if ((unsigned char)*at < 0x20)
			return cli_fail(cli, MEDIAFS_EXIT_USAGE,
					"the tier's URL holds a control character");
	}
	r = tier_open(TIER_NAME, init->tier_url, &init->tier);
	if (r == -EINVAL || r == -EPROTONOSUPPORT)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"%s is not a tier's URL: write file:///FOLDER or a path, or "
				"s3://BUCKET/PREFIX (mediafs.conf(5))",
				given);
	if (r < 0)
		return cli_fail_errno(cli, r, "the tier %s", init->tier_url);
	r = init->tier->backend->probe(init->tier);
	if (r == -EHOSTDOWN && *tier_why(init->tier, why, sizeof(why)))
		return cli_fail(cli, MEDIAFS_EXIT_OFFLINE, "the tier %s cannot be used: %s",
				init->tier_url, why);
	if (r == -EHOSTDOWN || r == -ENOENT)
		return cli_fail(
			cli, MEDIAFS_EXIT_OFFLINE,
			"the tier %s cannot be reached: is the folder there, is it mounted?",
			init->tier_url);
	if (r < 0)
		return cli_fail_errno(cli, r, "the tier %s", init->tier_url);
	return 0;
}

/* A new volume needs a place that has none; who joins needs one that has. */
static int find_volume(struct cli *cli, struct init *init)
{
	char uuid[37];
	int r = init->tier ? tier_volume(init->tier, uuid) : -ENOENT;

	if (r < 0 && r != -ENOENT)
		return cli_fail_errno(cli, r, "cannot read which volume %s belongs to",
				      init->tier_url);
	if (init->joined && r == -ENOENT)
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY,
				"there is no volume at %s: make one first with mediafs init STORE "
				"--tier %s",
				init->tier_url, init->tier_url);
	if (!init->joined && r == 0)
		return cli_fail(cli, MEDIAFS_EXIT_BUSY,
				"%s holds a volume already (%s): join it with --join, or name "
				"another folder",
				init->tier_url, uuid);
	if (r == 0)
		memcpy(init->volume_uuid, uuid, sizeof(uuid));
	else if ((r = uuid_make(init->volume_uuid)) < 0)
		return cli_fail_errno(cli, r, "cannot make a volume's UUID");
	return 0;
}

static int make_settings(struct cli *cli, struct init *init)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_free char *message = NULL;
	int r;

	r = asprintf(&init->settings,
		     "# Settings of this store: mediafs.conf(5). `mediafs config set KEY VALUE`\n"
		     "# changes one, at once when the volume is mounted.\n%s%s%s",
		     init->tier_url ? "\n[tier " TIER_NAME "]\nurl = " : "",
		     init->tier_url ? init->tier_url : "", init->tier_url ? "\n" : "");
	if (r < 0) {
		init->settings = NULL;
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	}
	r = settings_parse(init->settings, strlen(init->settings), &settings, &message);
	/* What the file says must be what was meant: an URL may hold what an ini file cannot. */
	if (r == -EINVAL || (r == 0 && init->tier_url &&
			     (settings_tier_count(settings) != 1 ||
			      strcmp(settings_tier(settings, 0)->url, init->tier_url) != 0)))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"the tier's URL cannot be written into mediafs.conf: %s",
				message ? message : init->tier_url);
	return r < 0 ? cli_fail_errno(cli, r, "cannot start") : 0;
}

static int site_name(struct cli *cli, struct init *init)
{
	const char *given = cli->options.value[OPT_SITE];

	if (given) {
		if (strlen(given) >= sizeof(init->site))
			return cli_fail(cli, MEDIAFS_EXIT_USAGE, "the site's name is too long");
		(void)strcpy(init->site, given);
		return 0;
	}
	if (gethostname(init->site, sizeof(init->site)) < 0)
		return cli_fail_errno(cli, -errno, "cannot read the host's name: give --site");
	init->site[sizeof(init->site) - 1] = '\0';
	return 0;
}

/* Only what init has made: the folder was empty before. */
static void undo(const struct init *init)
{
	static const char *const files[] = { "store.json",     "mediafs.conf",   "catalog.db",
					     "catalog.db-wal", "catalog.db-shm", "run/lock" };
	cleanup_close int fd = open(init->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		(void)unlinkat(fd, files[i], 0); /* what is missing was not made yet */
	(void)unlinkat(fd, "run", AT_REMOVEDIR);
	(void)unlinkat(fd, "tree", AT_REMOVEDIR);
	if (init->made_folder)
		(void)rmdir(init->path);
}

static int create_store(struct cli *cli, struct init *init)
{
	const struct store_identity identity = { init->site, init->volume_uuid, init->joined };
	struct stat st;
	int r;

	init->made_folder = lstat(init->path, &st) < 0;
	r = store_create(init->path, &identity, init->settings);
	switch (r) {
	case 0:
		return 0;
	case -EEXIST:
		return cli_fail(cli, MEDIAFS_EXIT_BUSY, "%s is a store already", init->path);
	case -ENOTEMPTY:
		return cli_fail(cli, MEDIAFS_EXIT_BUSY,
				"%s is not empty: name an empty or a new folder", init->path);
	case -ENOENT:
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY,
				"%s: the folder it should lie in does not exist", init->path);
	case -EINVAL:
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"\"%s\" is no name for a site: 1 to 63 letters, digits, - _ .",
				init->site);
	default:
		return cli_fail_errno(cli, r, "cannot make a store in %s", init->path);
	}
}

static int create_catalog(struct cli *cli, const struct init *init, struct store *store)
{
	cleanup_free char *file = store_file(store, "catalog.db");
	struct catalog *catalog;
	int r;

	if (!file)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	r = catalog_open(file, store->site_uuid, CATALOG_CREATE, &catalog);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot make %s", file);
	r = catalog_flush(catalog);
	catalog_close(catalog);
	(void)init;
	return r < 0 ? cli_fail_errno(cli, r, "cannot write %s", file) : 0;
}

static int claim(struct cli *cli, const struct init *init)
{
	char tier_uuid[37];
	int r = init->tier ? tier_claim(init->tier, init->volume_uuid, tier_uuid) : 0;
	char why[TIER_WHY_SIZE] = "";

	if (r == -EMEDIUMTYPE)
		return cli_fail(cli, MEDIAFS_EXIT_BUSY,
				"%s was taken by another volume just now: join it with --join",
				init->tier_url);
	if (r == -EHOSTDOWN || r == -EROFS)
		(void)tier_why(init->tier, why, sizeof(why));
	return r < 0 ? cli_fail_errno(cli, r, "cannot use the tier %s%s%s", init->tier_url,
				      *why ? ": " : "", why)
		     : 0;
}

static int fill_store(struct cli *cli, const struct init *init)
{
	cleanup_with(store_close_slot) struct store *store = NULL;
	int r = store_open(init->path, 0, &store);
	int code;

	if (r < 0)
		return cli_fail_errno(cli, r, "cannot open the new store %s", init->path);
	code = init->tier_url ? cli_check_apart(cli, init->tier_url, store) : 0;
	if (code == 0)
		code = create_catalog(cli, init, store);
	if (code == 0)
		code = claim(cli, init);
	if (code)
		return code;
	if (cli->json)
		return cli_print_json(
			cli,
			json_pack("{s:o,s:s,s:s,s:s,s:o,s:b}", "store", json_path(store->path),
				  "site", init->site, "site_uuid", store->site_uuid, "volume",
				  store->volume_uuid, "tier",
				  init->tier_url ? json_path(init->tier_url) : json_null(),
				  "joined", init->joined),
			MEDIAFS_EXIT_OK);
	(void)printf("%s is a store now: site %s, volume %s%s%s\n", store->path, init->site,
		     store->volume_uuid, init->tier_url ? ", tier " : "",
		     init->tier_url ? init->tier_url : "");
	(void)printf("next: mediafs mount %s MOUNTPOINT\n", init->path);
	return MEDIAFS_EXIT_OK;
}

static int prepare(struct cli *cli, struct init *init)
{
	const char *tier = cli->options.value[OPT_TIER], *join = cli->options.value[OPT_JOIN];
	int code;

	if (tier && join)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--join names the tier already: leave out --tier");
	init->joined = join != NULL;
	code = site_name(cli, init);
	if (code == 0 && (tier || join))
		code = open_tier(cli, init, join ? join : tier);
	if (code == 0)
		code = find_volume(cli, init);
	return code ? code : make_settings(cli, init);
}

static int run(struct cli *cli)
{
	struct init init = { .path = cli->options.args[0] };
	int code = prepare(cli, &init);

	if (code == 0)
		code = create_store(cli, &init);
	if (code == 0) {
		code = fill_store(cli, &init);
		if (code)
			undo(&init);
	}
	init_fini(&init);
	return code;
}

static const struct option_spec options[] = {
	{ OPT_TIER, 0, "tier", "URL", "where copies go: file:///FOLDER, a path, s3://BUCKET" },
	{ OPT_SITE, 0, "site", "NAME", "what this place is called (default: the host's name)" },
	{ OPT_JOIN, 0, "join", "URL", "join the volume whose tier is at URL" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_init = {
	.name = "init",
	.args = "STORE",
	.help = "make a store",
	.text = "STORE is a new or empty folder on a local disk. The tier's folder or bucket must "
		"exist.\n"
		"A store that joins a volume shows its files; it is mounted read-only unless "
		"asked.\n",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.run = run,
};
