/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * List: what one manifest says, of either kind (ASC MHL v2.0, legacy MHL 1.x). Read tolerantly and
 * safely, written strictly. No I/O.
 *
 * Paths are relative to the scope (the folder that the list describes), without "." and "..":
 * a document with others is refused as a whole, since who wrote it meant no good.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash/formats.h"

enum list_kind { LIST_ASC, LIST_LEGACY };
enum list_process { PROCESS_IN_PLACE, PROCESS_TRANSFER, PROCESS_FLATTEN };

enum hash_action {
	ACTION_NONE, /* folders; legacy lists */
	ACTION_ORIGINAL,
	ACTION_VERIFIED,
	ACTION_FAILED,
};

#define NO_TIME INT64_MIN

struct list_hash {
	enum hash_format format;
	enum hash_action action;
	int64_t date_ns; /* when it was computed; NO_TIME: not said */
	uint8_t bytes[HASH_MAX_BYTES];
	bool swapped; /* legacy xxhash64: which byte order it has, its writers do not agree */
};

struct list_record {
	char *path;     /* owned */
	char *previous; /* owned; NULL: not renamed */
	bool folder;
	int64_t size;             /* -1: not said */
	int64_t mtime_ns;         /* NO_TIME: not said */
	struct list_hash *hashes; /* owned; of a folder: content */
	size_t hash_count;
	struct list_hash *structure; /* owned; folders only */
	size_t structure_count;
};

struct list_reference {
	char *path; /* owned; of another history's manifest */
	uint8_t c4[HASH_MAX_BYTES];
};

struct list_creator {
	const char *author, *email, *location, *comment; /* borrowed; NULL: not said */
};

struct list {
	enum list_kind kind;
	enum list_process process;
	int64_t created_ns;          /* NO_TIME: not said */
	struct list_creator creator; /* for writing only */
	char *comment;               /* owned; of the creator, as read; NULL */
	struct list_record *records; /* owned */
	size_t record_count;
	struct list_record root; /* the root's hashes, no path; without any: not said */
	char **ignore;           /* owned strings */
	size_t ignore_count;
	struct list_reference *references; /* owned */
	size_t reference_count;
};

void list_fini(struct list *list);
void list_record_fini(struct list_record *record);

/* The new last record, zeroed but for "not said". NULL without memory. */
struct list_record *list_add(struct list *list);

/* Append to @hashes. -ENOMEM. */
int list_add_hash(struct list_hash **hashes, size_t *count, const struct list_hash *hash);
int list_add_ignore(struct list *list, const char *pattern);
int list_add_reference(struct list *list, const char *path, const uint8_t *c4);

/* The first hash of @format with an action that is not failed; NULL. */
const struct list_hash *list_good_hash(const struct list_record *record, enum hash_format format);

/*
 * Is @bytes (of its format) the value @recorded? Old lists have XXH64 in either order of bytes:
 * then *ret_turned is set.
 */
bool list_hash_agrees(const struct list_hash *recorded, const uint8_t *bytes, bool *ret_turned);

/*
 * Read a document of either kind. -EPROTO: *ret_why says, for a person, what is wrong with it
 * (static); -ENOMEM. list_fini() by the caller in any case.
 */
int list_read(const void *bytes, size_t length, struct list *ret_list, const char **ret_why,
	      unsigned long *ret_line);

/* The document; caller frees. -ENOMEM. @list must be what the schema allows. */
int list_write(const struct list *list, char **ret_bytes, size_t *ret_length);

/* A chain: the table of contents of a history. */
struct chain_entry {
	char *path; /* owned; a bare file name */
	uint8_t c4[HASH_MAX_BYTES];
	bool has_c4; /* some programs wrote another hash there */
	int64_t sequence;
};

struct chain {
	struct chain_entry *entries; /* owned */
	size_t count;
};

void chain_fini(struct chain *chain);
int chain_add(struct chain *chain, const char *path, const uint8_t *c4);

/* As list_read(). Sequence numbers must rise by one from 1; `sequencer` of drafts is understood. */
int chain_read(const void *bytes, size_t length, struct chain *ret_chain, const char **ret_why,
	       unsigned long *ret_line);
int chain_write(const struct chain *chain, char **ret_bytes, size_t *ret_length);

/* xs:dateTime, with or without zone (then UTC is taken), and what drafts wrote. NO_TIME: none. */
int64_t date_parse(const char *text);

enum date_form {
	DATE_SECONDS, /* 2026-03-01T10:20:30+00:00 */
	DATE_MICROS,  /* with microseconds, unless they are 0 */
	DATE_ZULU,    /* 2026-03-01T10:20:30Z */
	DATE_NAME,    /* 2026-03-01_102030, for names of files */
};
#define DATE_SIZE 40
char *date_format(int64_t ns, enum date_form form, char buffer[DATE_SIZE]);
