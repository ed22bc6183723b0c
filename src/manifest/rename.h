/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Renames: which file that is new is one that vanished, by its hash. In two steps, since new files
 * have to be hashed in the formats in which the vanished ones were.
 */
#include "manifest/tree.h"

/* Want the formats for that, of new files that have the size of a vanished one. -ENOMEM. */
int rename_want(struct tree *tree);

/*
 * Once they are hashed: give files (and folders, when what they hold moved with them) their
 * previous path, and mark what is known under it as moved. -ENOMEM.
 */
int rename_find(struct tree *tree);
