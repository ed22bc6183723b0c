/* SPDX-License-Identifier: Apache-2.0 */
#include "util/units.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "test.h"
#include "util/cleanup.h"
#include "util/clock.h"

TEST(sizes_are_read_as_people_write_them)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "512", 512 },
		{ "512B", 512 },
		{ "20M", 20u << 20 },
		{ "20mb", 20u << 20 },
		{ "1.5GiB", 3u << 29 },
		{ "1.5 GiB", 3u << 29 },
		{ "0.5K", 512 },
		{ "2T", 2ull << 40 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = { "",     " 1",        "-1",
					   "1.5",  "1x",        "1Ki",
					   "K",    "1KiBx",     "1 2",
					   "0x10", "inf",       "1e3",
					   "1.",   "16777216T", "18446744073709551616" };
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		check_int(parse_bytes(good[i].text, &bytes), 0);
		check_int(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_int(parse_bytes(bad[i], &bytes), -EINVAL);
}

TEST(durations_are_read_as_people_write_them)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{ "0", 0 },
		{ "100ms", 100 * NS_PER_MS },
		{ "90s", 90 * NS_PER_SEC },
		{ "1.5s", 1500 * NS_PER_MS },
		{ "5min", 300 * NS_PER_SEC },
		{ "2h", 7200 * NS_PER_SEC },
		{ "30d", 30 * 86400 * NS_PER_SEC },
		{ "7", 7 * NS_PER_SEC },
	};
	static const char *const bad[] = { "", "s", "-1s", "5 years", "9999999999999d" };
	int64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		check_int(parse_duration(good[i].text, &ns), 0);
		check_int(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_int(parse_duration(bad[i], &ns), -EINVAL);
}

TEST(percents_lie_between_0_and_100)
{
	int64_t per_mille;

	check_int(parse_percent("80%", &per_mille), 0);
	check_int(per_mille, 800);
	check_int(parse_percent("80.5%", &per_mille), 0);
	check_int(per_mille, 805);
	check_int(parse_percent("100%", &per_mille), 0);
	check_int(per_mille, 1000);
	check_int(parse_percent("100.1%", &per_mille), -EINVAL);
	check_int(parse_percent("80", &per_mille), -EINVAL);
	check_int(parse_percent("-1%", &per_mille), -EINVAL);
	check_int(parse_percent("1.25%", &per_mille), -EINVAL);
}

TEST(sizes_and_durations_are_written_for_people)
{
	char text[32];

	check_str(format_bytes(512, text, sizeof(text)), "512 B");
	check_str(format_bytes(1023, text, sizeof(text)), "1023 B");
	check_str(format_bytes(1024, text, sizeof(text)), "1.0 KiB");
	check_str(format_bytes((1u << 20) - 1, text, sizeof(text)), "1.0 MiB");
	check_str(format_bytes(1503238554, text, sizeof(text)), "1.4 GiB");
	check_str(format_bytes(UINT64_MAX, text, 16), "16.0 EiB");

	check_str(format_duration(850 * NS_PER_MS, text, sizeof(text)), "850 ms");
	check_str(format_duration(43 * NS_PER_SEC, text, sizeof(text)), "43 s");
	check_str(format_duration(200 * NS_PER_SEC, text, sizeof(text)), "3 min 20 s");
	check_str(format_duration(7500 * NS_PER_SEC, text, sizeof(text)), "2 h 05 min");
	check_str(format_duration(-1, text, sizeof(text)), "unknown");
}

TEST(times_are_local)
{
	char text[32];

	check_int(setenv("TZ", "UTC-1", 1), 0);
	tzset();
	check_str(format_time(1795890031 * NS_PER_SEC + 5, text, sizeof(text)),
		  "2026-11-28 19:20:31");
}
