/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Merge: which version of a path is shown under which name. Pure: depends on the set of live
 * versions only, so every site that has read the same records comes to the same names.
 *
 * Versions of equal content are one. A folder keeps the name against files and links, and so does
 * a folder that only its content implies. Otherwise what has the smallest (lamport, site)
 * keeps it, stored before announced; the others get a conflict name,
 * "stem (conflict SITE DIGEST).ext": made of the content, so it stays when the file is sent.
 */
#include "catalog/sync.h"

struct plan_entry {
	size_t row;    /* of the version, in the rows given */
	size_t leader; /* row of the version whose attributes are shown: the group's name */
	char *path;    /* where to show it; owned */
	bool pending;  /* the group's bytes are nowhere yet */
	bool conflict; /* under a conflict name */
};

struct plan {
	struct plan_entry *entries; /* of live rows, in their order; owned */
	size_t count;
};

/* @rows: all of one path; dead ones are skipped. @below: live versions lie below the path. */
int merge_plan(const struct version_row *rows, size_t count, bool below, struct plan *ret_plan);
void plan_fini(struct plan *plan);

/* Same kind and same bytes (of folders: same kind). Attributes and place do not matter. */
bool version_same_content(const struct version_body *a, const struct version_body *b);

/* "stem (conflict SITE DIGEST).ext" beside @path, cut to 255 bytes. Caller frees; NULL: no memory.
 */
char *conflict_path(const char *path, const struct version_row *version);
