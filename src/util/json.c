/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "util/utf8.h"

#define MARK "%:"
#define MARK_BYTES 2

static bool is_utf8(const char *text)
{
	uint32_t code;

	while (*text) {
		size_t span = utf8_decode(text, &code);

		if (!span)
			return false;
		text += span;
	}
	return true;
}

json_t *json_path(const char *path)
{
	cleanup_free char *escaped = NULL;
	const char *from = path;
	uint32_t code;
	char *to;

	if (strncmp(path, MARK, MARK_BYTES) != 0 && is_utf8(path))
		return json_string(path);
	escaped = malloc(MARK_BYTES + strlen(path) * 3 + 1);
	if (!escaped)
		return NULL;
	to = stpcpy(escaped, MARK);
	while (*from) {
		size_t span = *from == '%' ? 0 : utf8_decode(from, &code);

		if (span) {
			to = mempcpy(to, from, span);
			from += span;
		} else {
			to += snprintf(to, 4, "%%%02x", (unsigned char)*from++);
		}
	}
	*to = '\0';
	return json_string(escaped);
}

static int hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

/* In place. False for an escape that is none, or of NUL. */
static bool unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		int high, low;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = hex_value(from[1]);
		low = high < 0 ? -1 : hex_value(from[2]);
		if (low < 0 || (high == 0 && low == 0))
			return false;
		*to++ = (char)(high << 4 | low);
		from += 2;
	}
	*to = '\0';
	return true;
}

char *json_path_value(const json_t *value)
{
	cleanup_free char *path = NULL;
	const char *text = json_string_value(value);

	errno = EINVAL;
	if (!text || strlen(text) != json_string_length(value))
		return NULL;
	if (strncmp(text, MARK, MARK_BYTES) != 0)
		return strdup(text);
	path = strdup(text + MARK_BYTES);
	if (!path || !unescape(path))
		return NULL;
	return take_ptr(path);
}

int64_t json_int_or(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? (int64_t)json_integer_value(value) : fallback;
}

const char *json_string_or(const json_t *object, const char *key, const char *fallback)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : fallback;
}
