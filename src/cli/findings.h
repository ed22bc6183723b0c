/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Findings about files, as commands show them. */
#include "manifest/verdict.h"
#include "util/json.h"

/* Array of {problem, path, detail, format, recorded, actual}; NULL without memory. */
json_t *findings_json(const struct verdict *verdict);

/* A line each on standard output, at most @max. */
void findings_print(const struct verdict *verdict, size_t max);
