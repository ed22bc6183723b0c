/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;

	name = name ? name + 1 : argc > 0 ? argv[0] : "";
	if (strcmp(name, "mount.mediafs") == 0)
		return mount_helper_main(argc, argv);
	if (strcmp(name, "mediafs-fsck") == 0)
		return fsck_main(argc, argv);
	return cli_main(argc, argv);
}
