/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The text of an ini file: scanning and changing it with comments and order kept. One
 * grammar for both, so that what is written back is read back the same.
 *
 *   [section]
 *   # or ; at the start of a line: a comment
 *   key = value        ; a comment too: after white space
 *   key = "value"      quotes around the whole are taken off; no escapes
 *   key = value
 *       goes on        indented lines belong to the value, joined by one space
 *
 * (inih, as distributions build it, cuts lines at 200 bytes and section names at 49.)
 */
#include <stdbool.h>
#include <stddef.h>

#define CONF_MAX_BYTES (1u << 20)

struct conf_item {
	unsigned line;       /* from 1 */
	const char *section; /* "" before the first */
	const char *key;     /* NULL: the section begins here */
	const char *value;
	/* Where it lies in the text. */
	size_t value_start, value_end; /* without comment and white space around it */
	size_t start, end;             /* its lines, with the last newline */
};

/* A value other than 0 stops the scan and is returned. */
typedef int (*conf_fn)(void *arg, const struct conf_item *item);

/* -EINVAL with *ret_message (caller frees) when a line cannot be read; what @fn returns. */
int conf_scan(const char *text, size_t length, conf_fn fn, void *arg, char **ret_message);

/*
 * A copy of @text with @key in [@section] set to @value, or taken out when NULL. New keys go to
 * the end of their section, new sections to the end. Caller frees. -EINVAL: @value does
 * not fit the grammar, or the text cannot be scanned.
 */
int conf_set(const char *text, size_t length, const char *section, const char *key,
	     const char *value, char **ret_text);

/* True when @value can be written: no quotes or control characters, no spaces around it. */
bool conf_value_ok(const char *value);
