/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What settings.c and settings_file.c share. Inside store/ only. */
#include "store/settings.h"
#include "util/timetable.h"

/* A key that the file or settings_set_text() gave. */
struct entry {
	char *key;    /* owned; SECTION.KEY */
	char *value;  /* owned; NULL: taken out */
	bool changed; /* to be written by settings_save() */
};

struct settings {
	_Atomic int64_t values[SETTING_COUNT];
	struct timetable timetable;
	struct entry *entries; /* owned */
	size_t entry_count;
	struct settings_tier *tiers; /* owned; in file order */
	size_t tier_count;
};

/* NULL when neither the file nor anybody since gave @key. */
struct entry *settings_find(const struct settings *settings, const char *key);
