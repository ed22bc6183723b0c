/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <strings.h>

#include "tier/internal.h"
#include "util/io.h"

#define OURS ".mediafs"

static bool has_control(const char *key)
{
	for (; *key; key++) {
		if ((unsigned char)*key < 0x20 || *key == 0x7f)
			return true;
	}
	return false;
}

/* Places that ignore case would take ".MediaFS" for ours. */
static bool is_ours(const char *key)
{
	return strncasecmp(key, OURS, strlen(OURS)) == 0 &&
	       (key[strlen(OURS)] == '/' || key[strlen(OURS)] == 0);
}

bool tier_key_ok(const char *key)
{
	return path_ok(key) && !has_control(key) && !is_ours(key);
}

bool small_key_ok(const char *key)
{
	return path_ok(key) && !has_control(key) && strncmp(key, OURS "/", strlen(OURS) + 1) == 0;
}
