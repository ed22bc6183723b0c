/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MARK "%:"
#define MARK_BYTES 2

/* Bytes of the well-formed UTF-8 sequence at @text, 0 when there is none.
 * Source: Unicode Standard, table 3-7. Stops at the NUL by itself. */
static size_t utf8_span(const uint8_t *text)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t more;

	if (text[0] < 0x80)
		return 1;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	more = text[0] < 0xe0 ? 1 : text[0] < 0xf0 ? 2 : 3;
	if (text[0] == 0xe0)
		low = 0xa0;
	else if (text[0] == 0xed)
		high = 0x9f;
	else if (text[0] == 0xf0)
		low = 0x90;
	else if (text[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i <= more; i++) {
		if (text[i] < low || text[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return more + 1;
}

static bool is_utf8(const char *text)
{
	const uint8_t *at = (const uint8_t *)text;

	while (*at) {
		size_t span = utf8_span(at);

		if (!span)
			return false;
		at += span;
	}
	return true;
}

json_t *json_path(const char *path)
{
	cleanup_free char *escaped = NULL;
	const uint8_t *from = (const uint8_t *)path;
	char *to;

	if (strncmp(path, MARK, MARK_BYTES) != 0 && is_utf8(path))
		return json_string(path);
	escaped = malloc(MARK_BYTES + strlen(path) * 3 + 1);
	if (!escaped)
		return NULL;
	to = stpcpy(escaped, MARK);
	while (*from) {
		size_t span = *from == '%' ? 0 : utf8_span(from);

		if (span) {
			to = mempcpy(to, from, span);
			from += span;
		} else {
			to += snprintf(to, 4, "%%%02x", *from++);
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
