/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Rules: which files never leave, and in which order the others go. Globs match the
 * file's name, or the whole path when they hold a '/' (with and without a '/' before it, so
 * that a glob that begins with "any folder/" matches at the top too). Case is ignored. Pure.
 */
#include <stdbool.h>

/* Lower goes first. Stored in the catalog: never renumber. */
enum priority_class {
	PRIORITY_READER = 0, /* somebody waits for it */
	PRIORITY_NOTES = 1,  /* notes, reports, sidecars, manifests */
	PRIORITY_SOUND = 2,
	PRIORITY_PROXIES = 3,
	PRIORITY_ORIGINALS = 4,
};
#define PRIORITY_COUNT 5

const char *priority_name(enum priority_class class);

struct rules;

/* @ignore, @classes[i]: space-separated globs, NULL = the built-in ones. NULL without memory. */
struct rules *rules_new(const char *ignore, const char *const classes[PRIORITY_COUNT]);
void rules_free(struct rules *rules);

/*
 * What an offload has not finished: NAME's bytes as .NAME.mediafs-part until they are known to be
 * right, .offload.mediafs-parts beside them until all of the card is there. Never sent, whatever
 * the globs say.
 */
#define UNFINISHED_GLOB ".*.mediafs-part*"
#define UNFINISHED_MARKER ".offload.mediafs-parts"
bool rules_is_unfinished(const char *path);

/* The glob that excludes @path (borrowed), or NULL. */
const char *rules_ignores(const struct rules *rules, const char *path);
enum priority_class rules_class(const struct rules *rules, const char *path);

/* Built-in globs, for `config get` and the manual. */
const char *rules_default_ignore(void);
const char *rules_default_class(enum priority_class class);
