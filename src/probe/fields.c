/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/fields.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util/timecode.h"

/* NULL for nothing but blanks, or without memory. New reference. */
static json_t *clean(const char *text)
{
	char copy[FIELD_TEXT_MAX + 1];
	size_t length;
	json_t *value;

	while (isspace((unsigned char)*text))
		text++;
	length = strnlen(text, FIELD_TEXT_MAX);
	/* Not in the middle of a character. */
	if (text[length])
		while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		length--;
	if (length == 0)
		return NULL;
	memcpy(copy, text, length);
	copy[length] = '\0';
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)copy[i] < ' ' || copy[i] == 0x7f)
			copy[i] = ' ';
	}
	value = json_string(copy);
	if (value)
		return value;
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)copy[i] >= 0x80)
			copy[i] = '?';
	}
	return json_string(copy);
}

void field_text(json_t *fields, const char *key, const char *text)
{
	json_t *value;

	if (!text || json_object_get(fields, key))
		return;
	value = clean(text);
	if (value)
		(void)json_object_set_new(fields, key, value);
}

void field_number(json_t *fields, const char *key, int64_t value)
{
	if (value > 0 && !json_object_get(fields, key))
		(void)json_object_set_new(fields, key, json_integer(value));
}

void field_rate(json_t *fields, int64_t numerator, int64_t denominator)
{
	char text[48];

	if (!timecode_base(numerator, denominator))
		return;
	(void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
		       (json_int_t)numerator, (json_int_t)denominator);
	field_text(fields, "fps", text);
}

bool field_parse_rate(const char *text, int64_t *ret_numerator, int64_t *ret_denominator)
{
	long numerator, denominator = 1;
	char *end;
	double rate;

	while (isspace((unsigned char)*text))
		text++;
	numerator = strtol(text, &end, 10);
	if (*end == '/')
		denominator = strtol(end + 1, &end, 10);
	if (*end == '.') {
		long base;

		rate = strtod(text, &end);
		if (!(rate > 1 && rate < TIMECODE_BASE_MAX))
			return false;
		/* 23.976, 29.97, 59.94 are short for so much of a whole rate. */
		base = (long)(rate + 0.5);
		numerator = base * 1000;
		denominator = rate < (double)base ? 1001 : 1000;
		if (rate * (double)denominator < (double)numerator * 0.9995 ||
		    rate * (double)denominator > (double)numerator * 1.0005)
			return false;
	}
	if (end == text || numerator <= 0 || denominator <= 0)
		return false;
	*ret_numerator = numerator;
	*ret_denominator = denominator;
	return true;
}

void field_track(json_t *fields, const char *name)
{
	json_t *list = json_object_get(fields, "tracks"), *value;

	if (!list) {
		list = json_array();
		if (json_object_set_new(fields, "tracks", list) < 0)
			return;
	}
	value = json_array_size(list) < FIELD_TRACKS_MAX ? clean(name) : NULL;
	if (value)
		(void)json_array_append_new(list, value);
}
