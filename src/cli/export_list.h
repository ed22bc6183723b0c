/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is to be exported: all below some paths of one volume, each file verified. */
#include "cli/target.h"
#include "manifest/archive.h"

struct export_list {
	struct member *members; /* owned, and their strings */
	size_t count;
	int root_fd; /* owned: where their paths begin */
};

void export_list_fini(struct export_list *list);

/*
 * List the arguments of the command; @target: the volume they lie in. 0; or the exit code, every
 * file that cannot go into an archive named: then nothing shall be written.
 */
int export_list_make(struct cli *cli, const struct target *target, struct export_list *list);
