/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tiers come and go: the bodies of `tier add NAME URL` and `tier remove NAME`. All return the exit
 * code; they have complained already.
 */
struct cli;
struct settings;
struct store;
struct target;

int cli_tier_add(struct cli *cli, const struct target *target, const struct store *store,
		 struct settings *settings); /* changes @settings, not the file */
int cli_tier_remove(struct cli *cli, const struct target *target);

/* A tier inside the tree would be copied into itself; in the store it dies with it. */
int cli_check_apart(struct cli *cli, const char *url, const struct store *store);
