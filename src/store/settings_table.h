/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The one table of settings.c's keys, and the checks of their values. Inside store/ only. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/settings.h"

enum setting_type {
	TYPE_CHOICE, /* words separated by '|'; the value is the index */
	TYPE_SWITCH, /* yes, no */
	TYPE_COUNT,
	TYPE_BYTES,
	TYPE_RATE, /* bytes/s */
	TYPE_DURATION,
	TYPE_PERCENT,   /* per mille */
	TYPE_TIMETABLE, /* text; kept parsed by settings.c */
	TYPE_HASHES,    /* names of hash formats by commas; the value is HASH_BIT()s */
	TYPE_GLOBS,     /* text; the default is built into transfer/rules.c */
};

struct setting_row {
	int id; /* enum setting; -1 for texts */
	enum setting_type type;
	const char *key; /* SECTION.KEY */
	const char *fallback;
	int64_t min, max;
	const char *allowed; /* what a message says; for TYPE_CHOICE the words */
	const char *help;
};

extern const struct setting_row setting_rows[];
extern const size_t setting_row_count;

/* NULL when there is no such key. */
const struct setting_row *setting_find(const char *key);

/* The number that @text means for @row (0 for texts). -EINVAL: not what is allowed. */
int setting_value(const struct setting_row *row, const char *text, int64_t *ret_value);

/* Keys of tiers, which are in no table -------------------------------------------------- */

/* Begins with "tier.". */
bool key_is_tier(const char *key);

/* Letters, digits, '-' and '_'; 1 to 63 of them, the @length bytes at @name. */
bool tier_name_ok(const char *name, size_t length);

/* What of a tier @key is about: "url", "offsite" or "uplink", in @key; NULL when it is of no such
 * form. */
const char *key_tier_part(const char *key);
bool key_is_url(const char *key);

/* The key for @part of the tier that @key is about. Caller frees; NULL without memory. */
char *key_of_tier(const char *key, const char *part);
