/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Timetable: rates by the hours of the week, in local time.
 *
 *   mon-fri 07:00-19:00 20M, sat 09:00-12:00 50M, 22:00-06:00 none
 *
 * Entries are separated by commas; the first that holds at a moment rules. Days are one (sat) or
 * from one to another (fri-mon); without any, every day. Hours are what clocks on the wall show:
 * where the clock is put forward or back, an entry lasts an hour less or more. One whose end is
 * not after its begin goes on past midnight and belongs to the day it begins on.
 */
#include <stdbool.h>
#include <stdint.h>

#define TIMETABLE_MAX 32

struct timetable_entry {
	uint8_t days; /* bit 0 is Sunday, as tm_wday */
	uint16_t from,
		to; /* minutes of the day; @to up to 1440, and at most @from: past midnight */
	uint64_t per_second; /* bytes, 0 no limit */
};

struct timetable {
	struct timetable_entry entries[TIMETABLE_MAX];
	unsigned count;
};

/* "" is an empty one. -EINVAL. */
int timetable_parse(const char *text, struct timetable *ret_table);

/* What rules at @realtime_ns: true and its rate, false when no entry holds. */
bool timetable_at(const struct timetable *table, int64_t realtime_ns, uint64_t *ret_per_second);

/* Until when (realtime) what rules at @realtime_ns, or that nothing does, stays so; 0: for a week
 * at least. Takes milliseconds. */
int64_t timetable_until(const struct timetable *table, int64_t realtime_ns);
