/* SPDX-License-Identifier: Apache-2.0 */
#include "card/pattern.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

static const char *const group_names[GROUP_COUNT] = {
	[GROUP_NONE] = "",       [GROUP_CLIP] = "clip",     [GROUP_IN] = "in",
	[GROUP_REEL] = "reel",   [GROUP_CAMERA] = "camera", [GROUP_SEGMENT] = "segment",
	[GROUP_FRAME] = "frame",
};

static int complain(char **ret_message, const char *what, const char *text, size_t length)
{
	if (asprintf(ret_message, "%s: %.*s", what, (int)length, text) < 0) {
		*ret_message = NULL;
		return -ENOMEM;
	}
	return -EINVAL;
}

/* The end of the bracket expression that begins at @at; NULL when it has none. */
static const char *bracket_end(const char *at)
{
	at += at[1] == '^' ? 2 : 1;
	if (*at == ']')
		at++;
	for (; *at && *at != ']'; at++) {
		if (*at == '[' && (at[1] == ':' || at[1] == '.' || at[1] == '=')) {
			const char close[] = { at[1], ']', '\0' };
			const char *end = strstr(at + 2, close);

			if (!end)
				return NULL;
			at = end + 1;
		}
	}
	return *at ? at : NULL;
}

/* "?<name>" at @at: its length and kind; 0 when there is none. */
static int group_name(const char *at, size_t *ret_length, enum group *ret_group, char **ret_message)
{
	const char *end;

	*ret_length = 0;
	*ret_group = GROUP_NONE;
	if (at[0] != '?')
		return 0;
	end = at[1] == '<' ? strchr(at, '>') : NULL;
	if (!end)
		return complain(ret_message, "a group must begin with (?<NAME>", at, strlen(at));
	for (enum group group = GROUP_CLIP; group < GROUP_COUNT; group++) {
		if (strlen(group_names[group]) == (size_t)(end - at - 2) &&
		    memcmp(group_names[group], at + 2, (size_t)(end - at - 2)) == 0)
			*ret_group = group;
	}
	if (*ret_group == GROUP_NONE)
		return complain(ret_message, "there is no such group", at + 2,
				(size_t)(end - at - 2));
	*ret_length = (size_t)(end - at) + 1;
	return 0;
}

/*
 * What is repeated by + or {} is copied by regcomp(), so the copies of copies take memory without
 * end.
 */
#define REPEATS_MAX 255

/* What of regex(7) is not to be had: what is wrong at @at, which follows @before; NULL: nothing. */
static const char *refused(const char *at, char before)
{
	char *end;

	if (*at == '\\' && at[1] >= '0' && at[1] <= '9')
		return "no pattern refers back to a group";
	if (strchr("*+?{", *at) && before && strchr("}*+?", before))
		return "it is repeated already";
	if (strchr("+{", *at) && before == ')')
		return "a group is not repeated by + or {";
	if (*at != '{')
		return NULL;
	for (end = (char *)at; *end == '{' || *end == ',';)
		if (strtoul(end + 1, &end, 10) > REPEATS_MAX)
			return "more than 255 times";
	return NULL;
}

/* @text without the names of its groups, which go into @pattern. */
static int strip_names(const char *text, struct pattern *pattern, char *plain, char **ret_message)
{
	enum group group;
	char before = '(';
	size_t length;
	int r;

	for (const char *at = text; *at; at++) {
		const char *what = refused(at, before);

		if (what)
			return complain(ret_message, what, at, strlen(at));
		if (*at == '[') {
			const char *end = bracket_end(at);

			if (!end)
				return complain(ret_message, "no ] after", at, strlen(at));
			plain = mempcpy(plain, at, (size_t)(end - at));
			at = end;
		}
		before = *at; /* a backslash: of what it hides */
		*plain++ = *at;
		if (*at == '\\' && at[1]) {
			*plain++ = *++at;
		} else if (*at == '(') {
			r = group_name(at + 1, &length, &group, ret_message);
			if (r < 0)
				return r;
			if (++pattern->groups > PATTERN_MAX_GROUPS + 1)
				return complain(ret_message, "more than 15 groups", text,
						strlen(text));
			pattern->kinds[pattern->groups] = (unsigned char)group;
			pattern->has |= 1u << group;
			at += length;
		}
	}
	*plain = '\0';
	return 0;
}

int pattern_compile(const char *text, struct pattern *ret_pattern, char **ret_message)
{
	char plain[PATTERN_MAX_BYTES + 8] = "^(";
	struct pattern pattern = { .groups = 1 }; /* the one around all of it */
	char why[128];
	int r;

	*ret_message = NULL;
	if (strlen(text) > PATTERN_MAX_BYTES)
		return complain(ret_message, "longer than 1000 bytes", text, 20);
	r = strip_names(text, &pattern, plain + 2, ret_message);
	if (r < 0)
		return r;
	strcat(plain, ")$");
	r = regcomp(&pattern.regex, plain, REG_EXTENDED | REG_ICASE);
	if (r != 0) {
		(void)regerror(r, &pattern.regex, why, sizeof(why));
		return r == REG_ESPACE ? -ENOMEM : complain(ret_message, why, text, strlen(text));
	}
	*ret_pattern = pattern;
	return 0;
}

void pattern_fini(struct pattern *pattern)
{
	regfree(&pattern->regex);
}

static _Thread_local bool no_memory;

static bool matches(const struct pattern *pattern, const char *path, regmatch_t *spans,
		    size_t count)
{
	int r = regexec(&pattern->regex, path, count, spans, 0);

	no_memory |= r == REG_ESPACE;
	return r == 0;
}

bool pattern_matches(const struct pattern *pattern, const char *path, struct found *ret_found)
{
	/* Without groups it is many times faster, and most paths do not match. */
	return matches(pattern, path, NULL, 0) &&
	       (!ret_found ||
		matches(pattern, path, ret_found->spans, ARRAY_SIZE(ret_found->spans)));
}

int pattern_error(void)
{
	int r = no_memory ? -ENOMEM : 0;

	no_memory = false;
	return r;
}

size_t pattern_group(const struct pattern *pattern, const struct found *found, enum group group,
		     const char *path, char *buffer, size_t size)
{
	size_t used = 0;

	for (size_t i = 1; i <= pattern->groups; i++) {
		const regmatch_t *span = &found->spans[i];
		size_t length;

		if (pattern->kinds[i] != group || span->rm_so < 0)
			continue;
		length = (size_t)(span->rm_eo - span->rm_so);
		if (length > size - 1 - used)
			length = size - 1 - used;
		memcpy(buffer + used, path + span->rm_so, length);
		used += length;
	}
	buffer[used] = '\0';
	return used;
}
