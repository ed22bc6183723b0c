/* SPDX-License-Identifier: Apache-2.0 */
#include "util/timetable.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "test.h"
#include "util/clock.h"

/* Germany's, without a file of zones: summer time from 29 March to 25 October 2026. */
#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define RATE (20u << 20)

/* A moment of 2026, in UTC. */
static int64_t utc(int month, int day, int hour, int minute)
{
	struct tm tm = { .tm_year = 126,
			 .tm_mon = month - 1,
			 .tm_mday = day,
			 .tm_hour = hour,
			 .tm_min = minute };

	return (int64_t)timegm(&tm) * NS_PER_SEC;
}

static void look(const char *text, int64_t when, bool rules, uint64_t rate, int64_t until)
{
	struct timetable table;
	uint64_t per_second = 0;

	check_int(timetable_parse(text, &table), 0);
	check_int(timetable_at(&table, when, &per_second), rules);
	check_int(per_second, rate);
	check_int(timetable_until(&table, when), until);
}

TEST(what_is_no_timetable_is_refused)
{
	static const char *const bad[] = {
		",",
		"mon-fri 07:00-19:00 20M,",
		"20M",
		"07:00-19:00",
		"7:00-19:00 20M",
		"07:00-24:01 20M",
		"24:00-07:00 20M",
		"07:60-19:00 20M",
		"07:00 - 19:00 20M",
		"mo-fr 07:00-19:00 20M",
		"mon- 07:00-19:00 20M",
		"mon-fri-sun 07:00-19:00 20M",
		"mon 07:00-19:00 20M 30M",
		"mon 07:00-19:00 fast",
		"mon 07:00-19:00 -1",
	};
	struct timetable table;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		check_int(timetable_parse(bad[i], &table), -EINVAL);
	check_int(timetable_parse("", &table), 0);
	check_int(table.count, 0);
}

TEST(the_first_entry_that_holds_rules)
{
	const char *text = "mon-fri 07:00-19:00 20M, sat 09:00-12:00 50M/s, 11:00-12:00 none";

	check_int(setenv("TZ", "UTC0", 1), 0);
	/* 1 June 2026 is a Monday. */
	look(text, utc(6, 1, 6, 59), false, 0, utc(6, 1, 7, 0));
	look(text, utc(6, 1, 7, 0), true, RATE, utc(6, 1, 19, 0));
	look(text, utc(6, 1, 11, 30), true, RATE, utc(6, 1, 19, 0));
	look(text, utc(6, 1, 18, 59) + 59 * NS_PER_SEC, true, RATE, utc(6, 1, 19, 0));
	look(text, utc(6, 5, 19, 0), false, 0, utc(6, 6, 9, 0));
	look(text, utc(6, 6, 9, 0), true, 50u << 20, utc(6, 6, 12, 0));
	look(text, utc(6, 7, 11, 1), true, 0, utc(6, 7, 12, 0)); /* "none" is a rule too */
	look("00:00-24:00 20M", utc(6, 1, 0, 0), true, RATE, 0);
	look("", utc(6, 1, 0, 0), false, 0, 0);
}

TEST(past_midnight_an_entry_belongs_to_the_day_it_begins_on)
{
	check_int(setenv("TZ", "UTC0", 1), 0);
	look("fri 22:00-06:00 20M", utc(6, 5, 22, 0), true, RATE, utc(6, 6, 6, 0));
	look("fri 22:00-06:00 20M", utc(6, 6, 5, 59), true, RATE, utc(6, 6, 6, 0));
	look("fri 22:00-06:00 20M", utc(6, 5, 5, 59), false, 0, utc(6, 5, 22, 0));
	/* From Saturday over Sunday, where the numbers of the days begin anew. */
	look("sat-sun 22:00-06:00 20M", utc(6, 7, 1, 0), true, RATE, utc(6, 7, 6, 0));
	look("fri-mon 12:00-13:00 20M", utc(6, 8, 12, 0), true, RATE, utc(6, 8, 13, 0));
	look("fri-mon 12:00-13:00 20M", utc(6, 9, 12, 0), false, 0, utc(6, 12, 12, 0));
}

TEST(hours_are_those_on_the_wall_when_the_clock_is_put_forward_or_back)
{
	check_int(setenv("TZ", BERLIN, 1), 0);
	look("07:00-19:00 20M", utc(1, 7, 6, 0), true, RATE, utc(1, 7, 18, 0));
	look("07:00-19:00 20M", utc(7, 7, 5, 0), true, RATE, utc(7, 7, 17, 0));
	/* 29 March: two o'clock is three; what would begin at half past begins then. */
	look("02:30-05:00 20M", utc(3, 29, 0, 59), false, 0, utc(3, 29, 1, 0));
	look("02:30-05:00 20M", utc(3, 29, 1, 0), true, RATE, utc(3, 29, 3, 0));
	look("01:00-04:00 20M", utc(3, 29, 0, 0), true, RATE, utc(3, 29, 2, 0)); /* two hours */
	/* 25 October: three o'clock is two again, and what lies between comes twice. */
	look("01:00-04:00 20M", utc(10, 24, 23, 0), true, RATE, utc(10, 25, 3, 0));
	look("02:00-02:30 20M", utc(10, 25, 0, 0), true, RATE, utc(10, 25, 0, 30));
	look("02:00-02:30 20M", utc(10, 25, 0, 30), false, 0, utc(10, 25, 1, 0));
	look("02:00-02:30 20M", utc(10, 25, 1, 0), true, RATE, utc(10, 25, 1, 30));
}
