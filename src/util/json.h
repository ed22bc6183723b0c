/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * JSON is jansson's; this is its only home. Paths may hold bytes that are no UTF-8: they are
 * written percent-escaped ("%ff", and '%' as "%25") in a string that starts with "%:",
 * as they are otherwise (a path that really starts with "%:" is escaped too).
 */
#include <jansson.h>

#include "util/cleanup.h"

static inline void json_decref_slot(json_t **slot)
{
	json_decref(*slot);
}
#define cleanup_json cleanup_with(json_decref_slot)

/* New reference; NULL without memory. */
json_t *json_path(const char *path);

/* The bytes of what json_path() made; caller frees. NULL with errno: EINVAL (no such string),
 * ENOMEM. */
char *json_path_value(const json_t *value);

/* Member as number or string with a fallback; strings are borrowed. */
int64_t json_int_or(const json_t *object, const char *key, int64_t fallback);
const char *json_string_or(const json_t *object, const char *key, const char *fallback);
