/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static int run(struct cli *cli)
{
	if (!cli->options.given[OPT_BUCKET])
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--bucket is wanted");
	return cli_import_bucket(cli);
}

static const struct option_spec options[] = {
	{ OPT_BUCKET, 0, "bucket", NULL, "adopt what others put into the bucket of TIER" },
	{ OPT_DRY_RUN, 0, "dry-run", NULL, "only tell what would be adopted" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_import = {
	.name = "import",
	.args = "--bucket [TIER] [PREFIX]",
	.help = "adopt what others put into a bucket",
	.text = "Each object is read through once, block by block, and is then an evicted file. "
		"Names\n"
		"that the volume has for other bytes are kept: the object comes beside, as a "
		"conflict.\n",
	.min_args = 0,
	.max_args = 2,
	.options = options,
	.run = run,
};
