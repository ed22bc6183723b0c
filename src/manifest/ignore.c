/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/ignore.h"

#include <stdlib.h>
#include <string.h>

/* Longer ones match nothing. */
#define SEGMENTS_MAX 64

struct span {
	const char *text;
	size_t length;
};

/*
 * The set at @at (behind its '[') against @c: *ret_next behind its ']', or NULL when it has no
 * end (then '[' stands for itself).
 */
static bool match_set(const char *at, const char *end, char c, const char **ret_next)
{
	bool negated = at < end && (*at == '!' || *at == '^'), found = false;
	const char *first;

	at += negated;
	first = at;
	*ret_next = NULL;
	while (at < end && (*at != ']' || at == first)) {
		unsigned char low, high;

		if (*at == '\\' && at + 1 < end)
			at++;
		low = high = (unsigned char)*at++;
		if (at + 1 < end && *at == '-' && at[1] != ']') {
			at++;
			if (*at == '\\' && at + 1 < end)
				at++;
			high = (unsigned char)*at++;
		}
		found = found || ((unsigned char)c >= low && (unsigned char)c <= high);
	}
	if (at < end)
		*ret_next = at + 1;
	return found != negated;
}

/* One character of the glob at *@glob against @c: moves behind it when it matches. */
static bool match_one(const char **glob, const char *end, char c)
{
	const char *at = *glob, *next;
	bool good;

	if (*at == '[') {
		good = match_set(at + 1, end, c, &next);
		if (next) {
			*glob = next;
			return good;
		}
	}
	if (*at == '?') {
		*glob = at + 1;
		return true;
	}
	if (*at == '\\' && at + 1 < end)
		at++;
	*glob = at + 1;
	return *at == c;
}

/* A glob without '/' against a name: only the last star is ever tried again. */
static bool match_name(struct span glob, struct span name)
{
	const char *at = glob.text, *end = glob.text + glob.length;
	const char *text = name.text, *text_end = name.text + name.length;
	const char *star = NULL, *star_text = NULL;

	while (text < text_end) {
		const char *tried = at;

		if (at < end && *at == '*') {
			star = ++at;
			star_text = text;
		} else if (at < end && match_one(&tried, end, *text)) {
			at = tried;
			text++;
		} else if (star) {
			at = star;
			text = ++star_text;
		} else {
			return false;
		}
	}
	while (at < end && *at == '*')
		at++;
	return at == end;
}

static bool is_double_star(struct span segment)
{
	return segment.length == 2 && memcmp(segment.text, "**", 2) == 0;
}

/* Cut at '/': the number of segments, or -1 when there are too many. */
static int split(const char *text, size_t length, struct span *ret_segments)
{
	int count = 0;

	for (;;) {
		const char *slash = memchr(text, '/', length);
		size_t part = slash ? (size_t)(slash - text) : length;

		if (count == SEGMENTS_MAX)
			return -1;
		ret_segments[count++] = (struct span){ text, part };
		if (!slash)
			return count;
		text += part + 1;
		length -= part + 1;
	}
}

/* matched[j]: the globs so far match the first j names. */
static bool match_path(const struct span *globs, int glob_count, const struct span *names,
		       int name_count)
{
	bool matched[SEGMENTS_MAX + 1] = { true };

	for (int i = 0; i < glob_count; i++) {
		bool next[SEGMENTS_MAX + 1] = { false };

		for (int j = 0; j <= name_count; j++) {
			if (!is_double_star(globs[i]))
				next[j] = j > 0 && matched[j - 1] &&
					  match_name(globs[i], names[j - 1]);
			else if (i + 1 == glob_count) /* at the end: something inside */
				next[j] = j > 0 && (matched[j - 1] || next[j - 1]);
			else
				next[j] = matched[j] || (j > 0 && next[j - 1]);
		}
		memcpy(matched, next, sizeof(matched));
	}
	return matched[name_count];
}

/* Spaces at the end do not count, unless quoted. */
static size_t useful_length(const char *pattern)
{
	size_t length = strcspn(pattern, "\r\n");

	while (length && pattern[length - 1] == ' ' && (length < 2 || pattern[length - 2] != '\\'))
		length--;
	return length;
}

static bool pattern_matches(const char *pattern, size_t length, const char *path, bool folder)
{
	struct span globs[SEGMENTS_MAX], names[SEGMENTS_MAX];
	int glob_count, name_count;
	const char *name = strrchr(path, '/');

	if (length && pattern[length - 1] == '/') {
		if (!folder)
			return false;
		length--;
	}
	if (!length)
		return false;
	if (!memchr(pattern, '/', length)) {
		name = name ? name + 1 : path;
		return match_name((struct span){ pattern, length },
				  (struct span){ name, strlen(name) });
	}
	if (*pattern == '/') {
		pattern++;
		length--;
	}
	glob_count = split(pattern, length, globs);
	name_count = split(path, strlen(path), names);
	return glob_count > 0 && name_count > 0 && match_path(globs, glob_count, names, name_count);
}

enum ignore_result ignore_match(char *const *patterns, size_t count, const char *path, bool folder)
{
	for (size_t i = count; i-- > 0;) {
		const char *pattern = patterns[i];
		bool take_back = *pattern == '!';
		size_t length;

		if (*pattern == '#')
			continue;
		pattern += take_back;
		length = useful_length(pattern);
		if (length && pattern_matches(pattern, length, path, folder))
			return take_back ? IGNORE_NO : IGNORE_YES;
	}
	return IGNORE_UNDECIDED;
}

bool ignore_is_floating(const char *pattern)
{
	const char *slash = strchr(pattern, '/');

	return !slash || slash[1 + strspn(slash + 1, " ")] == '\0';
}
