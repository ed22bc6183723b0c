/* SPDX-License-Identifier: Apache-2.0 */
#include "util/timetable.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"

#define DAY_MINUTES 1440
#define NOBODY TIMETABLE_MAX

static int parse_day(const char *text, size_t length, unsigned *ret_day)
{
	static const char names[] = "sunmontuewedthufrisat";

	for (unsigned day = 0; length == 3 && day < 7; day++) {
		if (strncasecmp(text, names + (size_t)3 * day, 3) == 0) {
			*ret_day = day;
			return 0;
		}
	}
	return -EINVAL;
}

/* "mon", "fri-mon". */
static int parse_days(const char *word, uint8_t *ret_days)
{
	size_t length = strcspn(word, "-");
	unsigned first, last;
	int r = parse_day(word, length, &first);

	last = first;
	if (r == 0 && word[length])
		r = parse_day(word + length + 1, strlen(word + length + 1), &last);
	if (r < 0)
		return r;
	*ret_days = (uint8_t)(1u << last);
	for (unsigned day = first; day != last; day = (day + 1) % 7)
		*ret_days |= (uint8_t)(1u << day);
	return 0;
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "07:30", exactly. */
static int parse_minute(const char *text, unsigned most, uint16_t *ret_minute)
{
	unsigned hour, minute;

	if (!digit(text[0]) || !digit(text[1]) || text[2] != ':' || !digit(text[3]) ||
	    !digit(text[4]))
		return -EINVAL;
	hour = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
	minute = (unsigned)(text[3] - '0') * 10 + (unsigned)(text[4] - '0');
	if (minute > 59 || hour * 60 + minute > most)
		return -EINVAL;
	*ret_minute = (uint16_t)(hour * 60 + minute);
	return 0;
}

/* "07:00-19:00". */
static int parse_hours(const char *word, struct timetable_entry *entry)
{
	int r;

	if (strlen(word) != 11 || word[5] != '-')
		return -EINVAL;
	r = parse_minute(word, DAY_MINUTES - 1, &entry->from);
	return r < 0 ? r : parse_minute(word + 6, DAY_MINUTES, &entry->to);
}

static int parse_entry(char *text, struct timetable_entry *ret_entry)
{
	struct timetable_entry entry = { .days = 0x7f };
	char *words[3], *word, *place = NULL;
	unsigned count = 0;
	int r = 0;

	for (word = strtok_r(text, " \t", &place); word; word = strtok_r(NULL, " \t", &place)) {
		if (count == ARRAY_SIZE(words))
			return -EINVAL;
		words[count++] = word;
	}
	if (count < 2)
		return -EINVAL;
	if (count == 3)
		r = parse_days(words[0], &entry.days);
	if (r == 0)
		r = parse_hours(words[count - 2], &entry);
	if (r == 0)
		r = parse_rate(words[count - 1], &entry.per_second);
	if (r == 0)
		*ret_entry = entry;
	return r;
}

int timetable_parse(const char *text, struct timetable *ret_table)
{
	cleanup_free char *copy = strdup(text);
	struct timetable table = { .count = 0 };
	char *rest = copy, *part;

	if (!copy)
		return -ENOMEM;
	while (*text && (part = strsep(&rest, ",")) != NULL) {
		int r;

		if (table.count == TIMETABLE_MAX)
			return -EINVAL;
		r = parse_entry(part, &table.entries[table.count++]);
		if (r < 0)
			return r;
	}
	*ret_table = table;
	return 0;
}

static bool holds(const struct timetable_entry *entry, unsigned day, unsigned minute)
{
	bool today = entry->days & 1u << day;
	bool yesterday = entry->days & 1u << (day + 6) % 7;

	if (entry->from < entry->to)
		return today && minute >= entry->from && minute < entry->to;
	return (today && minute >= entry->from) || (yesterday && minute < entry->to);
}

/* The index of what rules at @when, or NOBODY. */
static unsigned ruler(const struct timetable *table, time_t when)
{
	struct tm local;

	if (!localtime_r(&when, &local))
		return NOBODY;
	for (unsigned i = 0; i < table->count; i++)
		if (holds(&table->entries[i], (unsigned)local.tm_wday,
			  (unsigned)(local.tm_hour * 60 + local.tm_min)))
			return i;
	return NOBODY;
}

bool timetable_at(const struct timetable *table, int64_t realtime_ns, uint64_t *ret_per_second)
{
	unsigned now;

	tzset(); /* the cart may have been carried over a border since the start */
	now = ruler(table, (time_t)(realtime_ns / NS_PER_SEC));
	if (now == NOBODY)
		return false;
	*ret_per_second = table->entries[now].per_second;
	return true;
}

/* Minute by minute: the one way that is right where the clock is put forward or back. */
int64_t timetable_until(const struct timetable *table, int64_t realtime_ns)
{
	time_t when = (time_t)(realtime_ns / NS_PER_SEC);
	unsigned now;

	tzset();
	now = ruler(table, when);
	when -= when % 60;
	for (unsigned i = 0; i < 8 * DAY_MINUTES && table->count > 0; i++) {
		when += 60;
		if (ruler(table, when) != now)
			return (int64_t)when * NS_PER_SEC;
	}
	return 0;
}
