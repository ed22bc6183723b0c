/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Ignore patterns of a history: lines as in .gitignore, matched relative to the scope. `*` and `?`
 * stop at '/', `**` does not, `[...]` is a set, a slash at the start or in the middle anchors, one
 * at the end means folders only, `!` takes back, `\` quotes; the last line that matches decides.
 * No I/O; time is bounded by the product of the lengths, whatever the pattern.
 */
#include <stdbool.h>
#include <stddef.h>

enum ignore_result { IGNORE_UNDECIDED, IGNORE_YES, IGNORE_NO };

/* @path alone, not the folders above it: who ignores a folder does not look into it. */
enum ignore_result ignore_match(char *const *patterns, size_t count, const char *path, bool folder);

/* May be used in a scope further down too: it is not anchored. */
bool ignore_is_floating(const char *pattern);
