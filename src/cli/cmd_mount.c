/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "control/control.h"
#include "fs/fs.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/error.h"

static void mounts_fini_slot(struct mounts *mounts)
{
	mounts_fini(mounts);
}

/* The store is one of ours, readable, with good settings. Later failures are the daemon's. */
static int check_store(struct cli *cli, const char *path)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_with(store_close_slot) struct store *store = NULL;
	cleanup_free char *message = NULL;
	int r = store_open(path, 0, &store);

	if (r == -ENOENT)
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY,
				"%s is not a store (mediafs init makes one)", path);
	if (r == -EPROTONOSUPPORT)
		return cli_fail(cli, MEDIAFS_EXIT_VERSION,
				"%s was made by a newer mediafs: use that one", path);
	if (r == -EUCLEAN)
		return cli_fail(cli, MEDIAFS_EXIT_DAMAGED,
				"%s/store.json is not what mediafs wrote: see mediafs-fsck(8)",
				path);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot open the store %s", path);
	r = settings_load(path, &settings, &message);
	if (r < 0 && message)
		return cli_fail(cli, MEDIAFS_EXIT_CONFIG, "%s/mediafs.conf: %s", path, message);
	return r < 0 ? cli_fail_errno(cli, r, "%s/mediafs.conf", path) : 0;
}

/*
 * Two daemons on one store, or a second mount on one place, are refused by name. What a dead
 * daemon left behind is cleared by fs_run().
 */
static int check_free(struct cli *cli, const struct fs_options *options)
{
	cleanup_with(mounts_fini_slot) struct mounts mounts = { 0 };
	pid_t pid = store_locked_by(options->store);
	const struct mount_entry *mount;
	int r = mounts_read(&mounts);

	if (r < 0)
		return cli_fail_errno(cli, r, "cannot look for mounts");
	for (size_t i = mounts.count; i-- > 0;) {
		mount = &mounts.list[i];
		if (pid > 0 && strcmp(mount->store, options->store) == 0)
			return cli_fail(cli, MEDIAFS_EXIT_BUSY, "%s is mounted already, on %s",
					options->store, mount->mountpoint);
		if (strcmp(mount->mountpoint, options->mountpoint) == 0 &&
		    store_locked_by(mount->store) > 0)
			return cli_fail(cli, MEDIAFS_EXIT_BUSY,
					"on %s the store %s is mounted already: unmount it, or "
					"name another mount point",
					options->mountpoint, mount->store);
	}
	/* Held, but not mounted: a daemon that is closing it. fs_run() waits for that. */
	return 0;
}

static bool is_below(const char *path, const char *top)
{
	size_t length = strlen(top);

	return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int check_mountpoint(struct cli *cli, const struct fs_options *options)
{
	const char *place = options->mountpoint;
	struct stat st;

	if (stat(place, &st) < 0 && errno == ENOTCONN)
		return 0; /* of a daemon that died */
	if (stat(place, &st) < 0)
		return cli_fail_errno(cli, -errno, "the mount point %s", place);
	if (!S_ISDIR(st.st_mode))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "the mount point %s is not a folder",
				place);
	if (is_below(place, options->store) || is_below(options->store, place))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"the mount point %s and the store %s must not lie in each other",
				place, options->store);
	if (access(place, W_OK) < 0 && errno != EROFS)
		return cli_fail_errno(cli, -errno, "the mount point %s", place);
	return 0;
}

/* What the daemon starts with the volume, and stops before it. */
static struct control *daemon_control;

static int start_control(void *arg, struct volume *volume)
{
	(void)arg;
	return control_start(volume, &daemon_control);
}

static void stop_control(void *arg)
{
	(void)arg;
	control_stop(daemon_control);
	daemon_control = NULL;
}

static const struct fs_hooks hooks = { .start = start_control, .stop = stop_control };

/* Fill @options from what was typed. 0, or the exit code: complained already. */
static int prepare(struct cli *cli, const char *store, const char *mountpoint,
		   struct fs_options *options)
{
	cleanup_free char *store_path = realpath(store, NULL);
	int store_error = -errno;
	cleanup_free char *place = target_real_path(mountpoint);
	const char *list = cli->options.value[OPT_MOUNT];
	cleanup_free char *message = NULL;
	int code;
	int r;

	if (!store_path)
		return cli_fail_errno(cli, store_error, "the store %s", store);
	r = place ? fs_options_init(options, store_path, place) : -ENOMEM;
	if (r == 0 && list)
		r = fs_options_parse(options, list, &message);
	if (r == -EINVAL && message)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "%s (see mediafs mount --help)", message);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot start");
	options->hooks = &hooks;
	options->foreground = cli->options.given[OPT_FOREGROUND];
	code = check_store(cli, options->store);
	if (code == 0 && !options->remount)
		code = check_free(cli, options);
	return code ? code : check_mountpoint(cli, options);
}

static int run(struct cli *cli)
{
	struct fs_options options = { 0 };
	pid_t self = getpid();
	int code = prepare(cli, cli->options.args[0], cli->options.args[1], &options);

	if (code == 0) {
		code = fs_run(&options);
		/* Why was logged where it happened; the daemon in the background comes here too. */
		if (getpid() != self)
			code = code ? MEDIAFS_EXIT_FAILED : MEDIAFS_EXIT_OK;
		else if (code)
			code = cli_fail(cli, MEDIAFS_EXIT_FAILED, "%s was not mounted on %s",
					options.store, options.mountpoint);
		else if (cli->json && !options.foreground)
			code = cli_print_json(cli,
					      json_pack("{s:o,s:o}", "store",
							json_path(options.store), "mountpoint",
							json_path(options.mountpoint)),
					      MEDIAFS_EXIT_OK);
	}
	fs_options_fini(&options);
	return code;
}

static void print_mount_options(FILE *out)
{
	const char *name, *help;

	(void)fputs("\nMount options (-o), with those of mount(8):\n", out);
	for (unsigned i = 0; fs_options_describe(i, &name, &help) == 0; i++)
		(void)fprintf(out, "  %-24s %s\n", name, help);
}

static const struct option_spec options[] = {
	{ OPT_FOREGROUND, 'f', "foreground", NULL, "do not go to the background" },
	{ OPT_MOUNT, 'o', NULL, "OPTIONS", "mount options, separated by commas" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_mount = {
	.name = "mount",
	.args = "STORE MOUNTPOINT",
	.help = "mount the volume of a store",
	.text = "Returns when the mount answers. Also: mount -t mediafs STORE MOUNTPOINT, "
		"fstab(5).\n",
	.min_args = 2,
	.max_args = 2,
	.options = options,
	.run = run,
	.more = print_mount_options,
};

/* mount.mediafs ----------------------------------------------------------------------- */

static const struct option_spec helper_options[] = {
	{ OPT_MOUNT, 'o', NULL, "OPTIONS", "mount options" },
	{ OPT_FAKE, 'f', NULL, NULL, "check everything, mount nothing" },
	{ OPT_NO_MTAB, 'n', NULL, NULL, "nothing: there is no mtab to write" },
	{ OPT_SLOPPY, 's', NULL, NULL, "leave out mount options that are not known" },
	{ OPT_VERBOSE, 'v', NULL, NULL, "say what is done" },
	{ OPT_TYPE, 't', NULL, "TYPE", "nothing: the type is mediafs" },
	{ OPT_HELP, 'h', "help", NULL, "print this help" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

static int print_helper_help(FILE *out)
{
	(void)fputs("Usage: mount.mediafs STORE MOUNTPOINT [-fnsv] [-o OPTIONS]\n\n"
		    "Called by mount(8); see mount.mediafs(8).\n\nOptions:\n",
		    out);
	options_print(helper_options, out);
	print_mount_options(out);
	return FS_EXIT_OK;
}

/* Without what fs_options_parse() does not know. In place. */
static void leave_out_unknown(char *list)
{
	char *from = list, *to = list;

	while (*from) {
		struct fs_options scratch = { 0 };
		cleanup_free char *message = NULL;
		size_t length = strcspn(from, ",");
		char end = from[length];
		bool known;

		from[length] = '\0';
		known = fs_options_parse(&scratch, from, &message) == 0;
		fs_options_fini(&scratch);
		if (known && length > 0) {
			if (to != list)
				*to++ = ',';
			memmove(to, from, length);
			to += length;
		}
		from += length + (end ? 1 : 0);
	}
	*to = '\0';
}

static int helper_exit(int code)
{
	switch (code) {
	case MEDIAFS_EXIT_OK:
		return FS_EXIT_OK;
	case MEDIAFS_EXIT_USAGE:
	case MEDIAFS_EXIT_DENIED:
		return FS_EXIT_USAGE;
	default:
		return FS_EXIT_FAILED;
	}
}

static int helper_run(struct cli *cli)
{
	struct fs_options mount = { 0 };
	int code;

	if (cli->options.given[OPT_HELP])
		return print_helper_help(stdout);
	if (cli->options.arg_count != 2) {
		(void)cli_fail(cli, 0, "STORE and MOUNTPOINT are wanted (see --help)");
		return FS_EXIT_USAGE;
	}
	if (cli->options.given[OPT_SLOPPY] && cli->options.joined[OPT_MOUNT])
		leave_out_unknown(cli->options.joined[OPT_MOUNT]);
	code = prepare(cli, cli->options.args[0], cli->options.args[1], &mount);
	if (code == 0 && cli->options.given[OPT_VERBOSE])
		(void)fprintf(stderr, "mount.mediafs: %s on %s\n", mount.store, mount.mountpoint);
	if (code)
		code = helper_exit(code);
	else if (!cli->options.given[OPT_FAKE])
		code = fs_run(&mount);
	fs_options_fini(&mount);
	return code;
}

int mount_helper_main(int argc, char **argv)
{
	const struct option_spec *const tables[] = { helper_options, NULL };
	struct command command = { .name = "mount" };
	struct cli cli = { .command = &command };
	char message[256];
	int code = FS_EXIT_USAGE;
	int r;

	r = options_parse(tables, argc - 1, argv + 1, &cli.options, message, sizeof(message));
	if (r < 0)
		(void)cli_fail(&cli, 0, "%s (see mount.mediafs --help)",
			       r == -EINVAL ? message : error_text(r));
	else
		code = helper_run(&cli);
	options_fini(&cli.options);
	return code;
}
