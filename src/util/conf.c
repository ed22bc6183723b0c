/* SPDX-License-Identifier: Apache-2.0 */
#include "util/conf.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

struct scanner {
	const char *text;
	size_t length, position;
	unsigned line;
	conf_fn fn;
	void *arg;
	char **ret_message;
	char *section; /* owned */

	/* The value that further lines may still belong to. */
	char *key;   /* owned; NULL when none */
	char *value; /* owned */
	struct conf_item item;
};

/* A part of the text: [start, end). */
struct span {
	size_t start, end;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(const char *text, struct span span)
{
	while (span.start < span.end && blank(text[span.start]))
		span.start++;
	while (span.end > span.start && blank(text[span.end - 1]))
		span.end--;
	return span;
}

static int fail(const struct scanner *scanner, unsigned line, const char *what)
{
	if (asprintf(scanner->ret_message, "line %u: %s", line, what) < 0) {
		*scanner->ret_message = NULL;
		return -ENOMEM;
	}
	return -EINVAL;
}

static char *copy_span(const char *text, struct span span)
{
	return strndup(text + span.start, span.end - span.start);
}

/* Cut a comment off: ';' at the start or after white space, not inside quotes. */
static struct span without_comment(const char *text, struct span span)
{
	bool quoted = span.start < span.end && text[span.start] == '"';
	size_t i = span.start;

	if (quoted) {
		const char *close = memchr(text + span.start + 1, '"', span.end - span.start - 1);

		if (close)
			i = (size_t)(close - text) + 1;
	}
	for (; i < span.end; i++) {
		if (text[i] == ';' && (i == span.start || blank(text[i - 1]))) {
			span.end = i;
			break;
		}
	}
	return trim(text, span);
}

/* "tier  nas" is "tier nas". */
static void collapse_blanks(char *name)
{
	char *to = name;

	for (const char *from = name; *from; from++) {
		if (!blank(*from))
			*to++ = *from;
		else if (!blank(from[1]))
			*to++ = ' ';
	}
	*to = 0;
}

static int flush_value(struct scanner *scanner)
{
	int r;

	if (!scanner->key)
		return 0;
	scanner->item.section = scanner->section;
	scanner->item.key = scanner->key;
	scanner->item.value = scanner->value;
	r = scanner->fn(scanner->arg, &scanner->item);
	free(scanner->key);
	free(scanner->value);
	scanner->key = scanner->value = NULL;
	return r;
}

static int take_section(struct scanner *scanner, struct span line, struct span whole)
{
	const char *text = scanner->text;
	const char *close = memchr(text + line.start, ']', line.end - line.start);
	struct conf_item item = { .line = scanner->line };
	struct span name, rest;

	if (!close)
		return fail(scanner, scanner->line, "a section has no ]");
	name = trim(text, (struct span){ line.start + 1, (size_t)(close - text) });
	rest = without_comment(text,
			       trim(text, (struct span){ (size_t)(close - text) + 1, line.end }));
	if (name.start == name.end)
		return fail(scanner, scanner->line, "a section has no name");
	if (rest.start != rest.end)
		return fail(scanner, scanner->line, "text after the ] of a section");

	free(scanner->section);
	scanner->section = copy_span(text, name);
	if (!scanner->section)
		return -ENOMEM;
	collapse_blanks(scanner->section);
	item.section = scanner->section;
	item.start = whole.start;
	item.end = whole.end;
	return scanner->fn(scanner->arg, &item);
}

/* The value in @span, quotes taken off. -EINVAL for a quote that does not close at the end. */
static int take_value(const struct scanner *scanner, struct span span, char **ret_value)
{
	const char *text = scanner->text;

	if (span.start < span.end && text[span.start] == '"') {
		const char *close = memchr(text + span.start + 1, '"', span.end - span.start - 1);

		if (!close || (size_t)(close - text) + 1 != span.end)
			return fail(scanner, scanner->line,
				    "quotes must stand around the whole value");
		span.start++;
		span.end--;
	}
	*ret_value = copy_span(text, span);
	return *ret_value ? 0 : -ENOMEM;
}

static int take_key(struct scanner *scanner, struct span line, struct span whole)
{
	const char *text = scanner->text;
	const char *equals = memchr(text + line.start, '=', line.end - line.start);
	struct span key, value;
	int r;

	if (!equals)
		return fail(scanner, scanner->line, "neither [section] nor key = value");
	key = trim(text, (struct span){ line.start, (size_t)(equals - text) });
	value = trim(text, (struct span){ (size_t)(equals - text) + 1, line.end });
	value = without_comment(text, value);
	if (key.start == key.end)
		return fail(scanner, scanner->line, "no key before the =");

	r = take_value(scanner, value, &scanner->value);
	if (r < 0)
		return r;
	scanner->key = copy_span(text, key);
	if (!scanner->key) {
		free(take_ptr(scanner->value));
		return -ENOMEM;
	}
	scanner->item = (struct conf_item){ .line = scanner->line,
					    .value_start = value.start,
					    .value_end = value.end,
					    .start = whole.start,
					    .end = whole.end };
	return 0;
}

static int take_more(struct scanner *scanner, struct span line, struct span whole)
{
	cleanup_free char *more = NULL;
	char *joined;
	int r;

	line = without_comment(scanner->text, line);
	r = take_value(scanner, line, &more);
	if (r < 0)
		return r;
	if (asprintf(&joined, "%s%s%s", scanner->value, *scanner->value && *more ? " " : "", more) <
	    0)
		return -ENOMEM;
	free(scanner->value);
	scanner->value = joined;
	scanner->item.value_end = line.end;
	scanner->item.end = whole.end;
	return 0;
}

static int take_line(struct scanner *scanner)
{
	const char *text = scanner->text;
	const char *newline =
		memchr(text + scanner->position, '\n', scanner->length - scanner->position);
	struct span whole = { scanner->position,
			      newline ? (size_t)(newline - text) + 1 : scanner->length };
	struct span line = trim(text, (struct span){ whole.start, whole.end - (newline != NULL) });
	bool indented = line.start > whole.start;
	int r;

	scanner->line++;
	scanner->position = whole.end;
	if (line.start < line.end && (text[line.start] == '#' || text[line.start] == ';'))
		return 0;
	if (scanner->key && indented && line.start < line.end)
		return take_more(scanner, line, whole);

	r = flush_value(scanner);
	if (r != 0 || line.start == line.end)
		return r;
	if (text[line.start] == '[')
		return take_section(scanner, line, whole);
	return take_key(scanner, line, whole);
}

int conf_scan(const char *text, size_t length, conf_fn fn, void *arg, char **ret_message)
{
	struct scanner scanner = {
		.text = text, .length = length, .fn = fn, .arg = arg, .ret_message = ret_message
	};
	int r = 0;

	*ret_message = NULL;
	if (length > CONF_MAX_BYTES)
		return fail(&scanner, 1, "the file is larger than 1 MiB");
	if (memchr(text, 0, length))
		return fail(&scanner, 1, "the file holds NUL bytes");
	if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		scanner.position = 3; /* a byte order mark, as some editors write */

	scanner.section = strdup("");
	if (!scanner.section)
		return -ENOMEM;
	while (r == 0 && scanner.position < length)
		r = take_line(&scanner);
	if (r == 0)
		r = flush_value(&scanner);
	free(scanner.key);
	free(scanner.value);
	free(scanner.section);
	return r;
}

struct place {
	const char *section, *key;
	bool found, in_section;
	struct conf_item item; /* only its positions */
	size_t section_end;
};

static int find_place(void *arg, const struct conf_item *item)
{
	struct place *place = arg;

	if (strcmp(item->section, place->section) != 0)
		return 0;
	place->in_section = true;
	place->section_end = item->end;
	if (item->key && strcmp(item->key, place->key) == 0) {
		place->found = true;
		place->item = *item;
	}
	return 0;
}

bool conf_value_ok(const char *value)
{
	size_t length = strlen(value);

	for (const char *p = value; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f || *p == '"')
			return false;
	}
	return length == 0 || (value[0] != ' ' && value[length - 1] != ' ');
}

static bool needs_quotes(const char *value)
{
	return value[0] == ';' || strstr(value, " ;");
}

/* Text before @cut_start, @middle, text from @cut_end on. */
static int splice(const char *text, size_t length, size_t cut_start, size_t cut_end,
		  const char *middle, char **ret_text)
{
	size_t middle_length = strlen(middle);
	size_t total = cut_start + middle_length + (length - cut_end);
	char *result = malloc(total + 1);

	if (!result)
		return -ENOMEM;
	memcpy(result, text, cut_start);
	memcpy(result + cut_start, middle, middle_length);
	memcpy(result + cut_start + middle_length, text + cut_end, length - cut_end);
	result[total] = 0;
	*ret_text = result;
	return 0;
}

int conf_set(const char *text, size_t length, const char *section, const char *key,
	     const char *value, char **ret_text)
{
	struct place place = { .section = section, .key = key };
	cleanup_free char *message = NULL;
	cleanup_free char *middle = NULL;
	const char *quote, *newline;
	size_t where;
	int r;

	if (value && !conf_value_ok(value))
		return -EINVAL;
	r = conf_scan(text, length, find_place, &place, &message);
	if (r < 0)
		return r;
	if (!value)
		return splice(text, length, place.item.start, place.item.end, "", ret_text);

	quote = needs_quotes(value) ? "\"" : "";
	if (place.found) {
		size_t start = place.item.value_start, end = place.item.value_end;
		/* "key =" and "key = ; why" leave no room for the space that is needed. */
		const char *before = start > 0 && text[start - 1] == '=' ? " " : "";
		const char *after = end < length && text[end] == ';' ? " " : "";

		if (asprintf(&middle, "%s%s%s%s%s", before, quote, value, quote, after) < 0)
			return -ENOMEM;
		return splice(text, length, start, end, middle, ret_text);
	}

	where = place.in_section ? place.section_end : length;
	newline = where > 0 && text[where - 1] != '\n' ? "\n" : "";
	if (place.in_section)
		r = asprintf(&middle, "%s%s = %s%s%s\n", newline, key, quote, value, quote);
	else
		r = asprintf(&middle, "%s%s[%s]\n%s = %s%s%s\n", newline, length ? "\n" : "",
			     section, key, quote, value, quote);
	return r < 0 ? -ENOMEM : splice(text, length, where, where, middle, ret_text);
}
