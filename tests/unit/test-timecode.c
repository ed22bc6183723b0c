/* SPDX-License-Identifier: Apache-2.0 */
#include "util/timecode.h"

#include <errno.h>

#include "test.h"

static void same(const char *text, unsigned base, uint64_t frame)
{
	struct timecode timecode;
	char back[TIMECODE_SIZE];

	check_int(timecode_parse(text, base, &timecode), 0);
	check_int(timecode.frame, frame);
	check_str(timecode_format(&timecode, back), text);
}

TEST(frames_and_texts_are_the_same)
{
	same("00:00:00:00", 24, 0);
	same("14:22:10:05", 24, 1241525);
	same("23:59:59:24", 25, 2159999);
	/* Source: SMPTE ST 12-1: 00:00:59;29 is followed by 00:01:00;02; ten minutes are 17 982. */
	same("00:00:59;29", 30, 1799);
	same("00:01:00;02", 30, 1800);
	same("00:09:59;29", 30, 17981);
	same("00:10:00;00", 30, 17982);
	same("01:00:00;00", 30, 107892);
	same("00:01:00;04", 60, 3600);
	same("01:00:00;00", 60, 215784);
	same("00:01:00:00", 30, 1800);
}

TEST(every_frame_of_a_dropping_day_has_its_own_text)
{
	struct timecode timecode = { .base = 30, .drop = true }, back;
	char text[TIMECODE_SIZE];

	for (timecode.frame = 0; timecode.frame < 2589408; timecode.frame++) {
		check_int(timecode_parse(timecode_format(&timecode, text), 30, &back), 0);
		check_int(back.frame, timecode.frame);
	}
}

TEST(what_is_no_timecode_is_refused)
{
	static const struct {
		const char *text;
		unsigned base;
	} bad[] = { { "", 25 },
		    { "10:00:00:25", 25 },
		    { "24:00:00:00", 25 },
		    { "10:60:00:00", 25 },
		    { "10:00:60:00", 25 },
		    { "00:01:00;00", 30 },
		    { "00:01:00;01", 30 },
		    { "1:00:00:00", 25 },
		    { "10:00:00:00 ", 25 },
		    { "10:00:00/00", 25 },
		    { "-1:00:00:00", 25 },
		    { "00:00:00:00", 0 } };
	struct timecode timecode;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_int(timecode_parse(bad[i].text, bad[i].base, &timecode), -EINVAL);
}

TEST(adding_goes_past_midnight)
{
	struct timecode timecode;
	char text[TIMECODE_SIZE];

	check_int(timecode_parse("23:59:59:24", 25, &timecode), 0);
	timecode = timecode_add(&timecode, 1);
	check_str(timecode_format(&timecode, text), "00:00:00:00");
	check_int(timecode_parse("00:00:59;29", 30, &timecode), 0);
	timecode = timecode_add(&timecode, 1);
	check_str(timecode_format(&timecode, text), "00:01:00;02");
	timecode = timecode_add(&timecode, UINT64_MAX / 2);
	check(timecode.frame < 2589408);
}

TEST(a_rate_has_the_base_that_people_call_it)
{
	check_int(timecode_base(24000, 1001), 24);
	check_int(timecode_base(30000, 1001), 30);
	check_int(timecode_base(60000, 1001), 60);
	check_int(timecode_base(25, 1), 25);
	check_int(timecode_base(0, 1), 0);
	check_int(timecode_base(1, 0), 0);
	check_int(timecode_base(-25, -1), 0);
	check_int(timecode_base(90000, 1), 0);
	check_int(timecode_base(INT64_MAX, INT64_MAX), 0);
}
