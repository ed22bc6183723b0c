/* SPDX-License-Identifier: Apache-2.0 */

/* The texts that keys stand in: awscli's files, what a credential_process prints. No I/O. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "tier/s3_credentials.h"
#include "util/json.h"

/* [start, end) of a text. */
struct span {
	const char *start, *end;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span span)
{
	while (span.start < span.end && blank(*span.start))
		span.start++;
	while (span.end > span.start && blank(span.end[-1]))
		span.end--;
	return span;
}

static bool is_text(struct span span, const char *text)
{
	size_t length = strlen(text);

	return (size_t)(span.end - span.start) == length && memcmp(span.start, text, length) == 0;
}

static int take_key(struct s3_profile *profile, struct span name, struct span value)
{
	const struct {
		const char *name;
		char **slot;
	} keys[] = {
		{ "aws_access_key_id", &profile->keys.access_key },
		{ "aws_secret_access_key", &profile->keys.secret_key },
		{ "aws_session_token", &profile->keys.token },
		{ "credential_process", &profile->process },
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!is_text(name, keys[i].name) || value.start == value.end)
			continue;
		free(*keys[i].slot);
		*keys[i].slot = strndup(value.start, (size_t)(value.end - value.start));
		return *keys[i].slot ? 1 : -ENOMEM;
	}
	return 0;
}

int s3_profile_parse(const char *text, size_t length, const char *name, struct s3_profile *profile)
{
	const char *end = text + length;
	bool ours = true; /* before the first section */
	int found = 0;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		struct span line = trim((struct span){ text, newline ? newline : end });
		const char *equals;
		int r;

		text = newline ? newline + 1 : end;
		if (line.start == line.end || *line.start == '#' || *line.start == ';')
			continue;
		if (*line.start == '[') {
			ours = line.end[-1] == ']' &&
			       is_text(trim((struct span){ line.start + 1, line.end - 1 }), name);
			continue;
		}
		equals = memchr(line.start, '=', (size_t)(line.end - line.start));
		if (!ours || !equals)
			continue;
		r = take_key(profile, trim((struct span){ line.start, equals }),
			     trim((struct span){ equals + 1, line.end }));
		if (r < 0)
			return r;
		found |= r;
	}
	return found;
}

int s3_split_words(const char *line, char ***ret_words)
{
	size_t length = strlen(line), count = 0;
	/* At most one word for each second byte, and NULL; then the words themselves. */
	size_t pointers = (length / 2 + 2) * sizeof(char *);
	char **words = malloc(pointers + length + 1);
	char *out = (char *)words + pointers, quote = 0;
	bool in_word = false;

	if (!words)
		return -ENOMEM;
	for (; *line; line++) {
		if (!quote && blank(*line)) {
			if (in_word)
				*out++ = 0;
			in_word = false;
			continue;
		}
		if (!in_word) {
			words[count++] = out;
			in_word = true;
		}
		if (quote ? *line == quote : *line == '"' || *line == '\'')
			quote = quote ? 0 : *line;
		else if (*line == '\\' && quote != '\'' && line[1])
			*out++ = *++line;
		else
			*out++ = *line;
	}
	*out = 0;
	words[count] = NULL;
	if (quote || !count) {
		free(words);
		return -EINVAL;
	}
	*ret_words = words;
	return 0;
}

/* "2026-11-28T18:20:31Z" or with an offset of 00:00; 0 when it is none. */
static int64_t parse_time(const char *text)
{
	struct tm tm = { 0 };

	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) : 0;
}

int s3_keys_parse_json(const char *text, size_t length, struct s3_keys *ret_keys)
{
	cleanup_json json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	cleanup_with(s3_keys_fini) struct s3_keys keys = { 0 };
	const char *access = json_string_or(root, "AccessKeyId", "");
	const char *secret = json_string_or(root, "SecretAccessKey", "");
	const char *token = json_string_or(root, "SessionToken", "");

	if (json_int_or(root, "Version", 0) != 1 || !*access || !*secret)
		return -EINVAL;
	keys.access_key = strdup(access);
	keys.secret_key = strdup(secret);
	keys.token = *token ? strdup(token) : NULL;
	keys.expires_s = parse_time(json_string_or(root, "Expiration", ""));
	if (!keys.access_key || !keys.secret_key || (*token && !keys.token))
		return -ENOMEM;
	*ret_keys = keys;
	memset(&keys, 0, sizeof(keys));
	return 0;
}
