/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * History: the folder `ascmhl` of one scope, read through its chain, and what it says now of each
 * path. Nothing here changes it.
 */
#include <stdbool.h>
#include <stddef.h>

#include "manifest/list.h"
#include "util/table.h"

#define HISTORY_FOLDER "ascmhl"
#define CHAIN_NAME "ascmhl_chain.xml"
#define COLLECTION_NAME "ascmhl_collection.xml"

/* Begins the name of a folder in which a history of ours is made, until it is whole. */
#define HALF_MADE ".ascmhl-tmp-"

/*
 * What a check came to. The numbers are the exit codes of the reference implementation of ASC MHL
 * (ascmhl 1.1), which scripts know.
 */
enum verdict_class {
	CLASS_OK = 0,
	CLASS_UNREADABLE = 1, /* a file or a document cannot be read: nothing can be said */
	CLASS_MISSING = 10,
	CLASS_DAMAGED = 11,
	CLASS_FOLDER = 12, /* all files are right, but not the hash of a folder */
	CLASS_NEW = 21,
	CLASS_NO_HISTORY = 30,
	CLASS_ALTERED = 31, /* a manifest is not the one that its chain names */
	CLASS_NO_CHAIN = 32,
	CLASS_INCOMPLETE = 33, /* the chain names a manifest that is not there */
};

/* One path, followed through its renames. */
struct known {
	char *path;                         /* owned; relative to the scope, as it is called now */
	struct known *next;                 /* the same hash of the path */
	const struct list_record **records; /* owned array of the lists' records, oldest first */
	size_t count;
	bool folder;
	bool moved;           /* create found it under another name: not missing */
	const char *previous; /* of the latest rename, borrowed; NULL */
};

struct history {
	char *scope;            /* owned; relative to where the check began, "" there */
	struct history *parent; /* borrowed; NULL at the top */
	struct chain chain;
	struct list *lists; /* owned, one for each entry of the chain when it was read */
	size_t list_count;
	struct table known; /* of struct known, owned, by hash of the path */
	char **unlisted;    /* owned strings: manifests in the folder, not in the chain */
	size_t unlisted_count;
	char **patterns; /* owned strings: what is ignored */
	size_t pattern_count;
};

/*
 * Read the history in the folder @scope_fd; @scope is kept as its name. CLASS_OK, or what is wrong
 * with *ret_why for a person (owned by the caller; NULL without memory). CLASS_NO_HISTORY too
 * leaves an empty one with the patterns of a new one in *ret_history.
 */
enum verdict_class history_load(int scope_fd, const char *scope, struct history **ret_history,
				char **ret_why);
void history_free(struct history *history);

/* The key of @path in tables by path. */
uint64_t history_key(const char *path);

/* Is @name one of a manifest ("NAME.mhl"), and not of what Finder leaves beside it? */
bool history_is_manifest(const char *name);

/* The C4 of @bytes. -ENOMEM, -EIO. */
int history_c4(const void *bytes, size_t length, uint8_t *ret_c4);

/* An empty history, for a list that stands alone. NULL without memory. */
struct history *history_new(const char *scope);

/* Let @list (moved; the history owns it now) be its next generation. -ENOMEM. */
int history_append(struct history *history, struct list *list);

/* What is known of @path (relative to the scope); NULL. */
struct known *history_find(const struct history *history, const char *path);

/* The first good hash of @format, oldest generation first; NULL when there is none. */
const struct list_hash *known_hash(const struct known *known, enum hash_format format);

/* The formats of which known_hash() has one. */
unsigned known_formats(const struct known *known);

/* The format of the first good hash there is. False when there is none. */
bool known_first_format(const struct known *known, enum hash_format *ret_format);

/* Add @pattern unless it is there. -ENOMEM. */
int history_add_pattern(struct history *history, const char *pattern);

/* Is @path (from where the check began) ignored by @history or those above it? */
bool history_ignores(const struct history *history, const char *path, bool folder);

/* @path (from where the check began, in the scope of @history) as the history has it. */
const char *history_relative(const struct history *history, const char *path);
