/* SPDX-License-Identifier: Apache-2.0 */
#include "util/timecode.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

unsigned timecode_base(int64_t numerator, int64_t denominator)
{
	if (numerator <= 0 || denominator <= 0 || numerator > INT32_MAX ||
	    denominator > INT32_MAX || numerator / denominator >= TIMECODE_BASE_MAX)
		return 0;
	return (unsigned)((numerator + denominator / 2) / denominator);
}

/* Numbers that a minute leaves out: only a base of 30 or 60 does. */
static unsigned dropped(const struct timecode *timecode)
{
	return timecode->drop && timecode->base % 30 == 0 ? timecode->base / 15 : 0;
}

static uint64_t frames_of_day(const struct timecode *timecode)
{
	return 86400ull * timecode->base - 24ull * 6 * 9 * dropped(timecode);
}

/* Two digits, at most 99. */
static bool two(const char *text, unsigned *ret_value)
{
	if (!isdigit((unsigned char)text[0]) || !isdigit((unsigned char)text[1]))
		return false;
	*ret_value = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
	return true;
}

int timecode_parse(const char *text, unsigned base, struct timecode *ret_timecode)
{
	struct timecode timecode = { .base = base };
	unsigned hours, minutes, seconds, frames, minute;

	if (strlen(text) != 11 || !two(text, &hours) || text[2] != ':' ||
	    !two(text + 3, &minutes) || text[5] != ':' || !two(text + 6, &seconds) ||
	    !strchr(":;.", text[8]) || !two(text + 9, &frames))
		return -EINVAL;
	if (hours > 23 || minutes > 59 || seconds > 59 || frames >= base)
		return -EINVAL;
	timecode.drop = text[8] != ':';
	minute = hours * 60 + minutes;
	if (minutes % 10 && seconds == 0 && frames < dropped(&timecode))
		return -EINVAL;
	timecode.frame = ((uint64_t)minute * 60 + seconds) * base + frames -
			 (uint64_t)dropped(&timecode) * (minute - minute / 10);
	*ret_timecode = timecode;
	return 0;
}

struct timecode timecode_add(const struct timecode *timecode, uint64_t count)
{
	struct timecode later = *timecode;
	uint64_t day = frames_of_day(timecode);

	if (day)
		later.frame = (timecode->frame % day + count % day) % day;
	return later;
}

char *timecode_format(const struct timecode *timecode, char buffer[TIMECODE_SIZE])
{
	unsigned base = timecode->base ? timecode->base : 1, gone = dropped(timecode);
	uint64_t number = timecode->frame;
	uint64_t in_minute = 60ull * base - gone, in_ten = 10 * in_minute + gone;

	if (gone) {
		uint64_t tens = number / in_ten, rest = number % in_ten;

		/* The first of ten minutes drops none. */
		number += tens * 9 * gone;
		if (rest >= 60ull * base)
			number += gone * ((rest - 60ull * base) / in_minute + 1);
	}
	(void)snprintf(buffer, TIMECODE_SIZE, "%02u:%02u:%02u%c%02u",
		       (unsigned)(number / base / 3600 % 24), (unsigned)(number / base / 60 % 60),
		       (unsigned)(number / base % 60), timecode->drop ? ';' : ':',
		       (unsigned)(number % base) % 1000);
	return buffer;
}
