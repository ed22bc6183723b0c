/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static int run(struct cli *cli)
{
	const bool *given = cli->options.given;

	if (given[OPT_BUCKET] && (given[OPT_SKIP_EXISTING] || given[OPT_MAX_SIZE] ||
				  given[OPT_MAX_RATIO] || given[OPT_MAX_FILES]))
		return cli_fail(
			cli, MEDIAFS_EXIT_USAGE,
			"--skip-existing and --max-... are for archives, not with --bucket");
	if (given[OPT_BUCKET])
		return cli_import_bucket(cli);
	if (given[OPT_DRY_RUN])
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--dry-run goes with --bucket only");
	if (cli->options.arg_count != 2)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"an ARCHIVE and a FOLDER of a mounted volume are wanted, or "
				"--bucket");
	return cli_import_archive(cli);
}

static const struct option_spec options[] = {
	{ OPT_BUCKET, 0, "bucket", NULL, "adopt what others put into the bucket of TIER" },
	{ OPT_DRY_RUN, 0, "dry-run", NULL, "only tell what would be adopted" },
	{ OPT_SKIP_EXISTING, 0, "skip-existing", NULL,
	  "archive: a file that is there with other bytes is left, without an error" },
	{ OPT_MAX_SIZE, 0, "max-size", "SIZE",
	  "archive: refuse what unpacks to more (default: the free space)" },
	{ OPT_MAX_RATIO, 0, "max-ratio", "N",
	  "archive: refuse what unpacks to N times its size or more (default: 100)" },
	{ OPT_MAX_FILES, 0, "max-files", "N", "archive: refuse more members (default: 1000000)" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_import = {
	.name = "import",
	.args = "ARCHIVE FOLDER | --bucket [TIER] [PREFIX]",
	.help = "a tar or zip into the volume; or what others put into a bucket",
	.text = "ARCHIVE: tar (also gzip, bzip2, xz, zstd) or zip; - is standard input. It is read "
		"by a\n"
		"process that can do nothing else. A member that leads out of FOLDER, a device, a\n"
		"program with set-user-ID, two members of one name, more than the limits: it is\n"
		"refused, and of a file that can be sought in nothing is written then. Files of "
		"an\n"
		"export of mediafs are compared with their digests. Nothing is written over. "
		"Begun\n"
		"again after a kill it goes on.\n\n"
		"--bucket: each object is read through once, block by block, and is then an "
		"evicted file. "
		"Names\n"
		"that the volume has for other bytes are kept: the object comes beside, as a "
		"conflict.\n",
	.min_args = 0,
	.max_args = 2,
	.options = options,
	.run = run,
};
