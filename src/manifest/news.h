/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * News: is there anything that the manifests in a tree do not tell yet? For who writes them
 * unasked, and must not write another one each time that somebody looks.
 */
#include "manifest/tree.h"

/*
 * 1 unless every history of @tree ends in a manifest with the comment @unasked and has, for every
 * file, the hash that it has now as its latest one of that format. The files are hashed.
 */
bool news_for_history(const struct tree *tree, const char *unasked);

/*
 * 1 unless a legacy list in the root tells of every file (but for such lists) with the hash that it
 * has now. -ENOMEM; a list that cannot be read tells nothing.
 */
int news_for_list(const struct tree *tree);
