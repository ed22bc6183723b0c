/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_width.h"

#include "test.h"
#include "util/clock.h"

#define LOOK_NS (100 * NS_PER_MS)

/* A line, and who sends over it with as many parts as the width allows. */
struct line {
	struct s3_width width;
	int64_t now_ns;
	double each; /* bytes a second that one connection gets */
	double all;  /* that all of them get at most */
	double noise;
	double limit;   /* of ours, bytes a second; 0 none */
	bool is_short;  /* of parts: two times out of three none is ready */
	double running; /* connections that have got up speed, at most as many as there are */
	uint32_t chance;
	unsigned highest, lowest;
	uint64_t bytes;
};

static struct line line_of(double each, double all)
{
	struct line line = { .now_ns = NS_PER_SEC, .each = each, .all = all, .chance = 7 };

	s3_width_init(&line.width, 16);
	return line;
}

static double rate_of(struct line *line)
{
	double rate = line->each * line->running;

	line->chance = line->chance * 1664525 + 1013904223;
	rate *= 1 + line->noise * ((double)(line->chance >> 16) / 32768 - 1);
	return rate < line->all ? rate : line->all;
}

static void run(struct line *line, double seconds)
{
	int64_t end_ns = line->now_ns + (int64_t)(seconds * 1e9);

	line->highest = line->lowest = line->width.now;
	line->bytes = 0;
	for (unsigned i = 0; line->now_ns < end_ns; line->now_ns += LOOK_NS, i++) {
		struct s3_moved moved = { .wanted = !line->is_short || i % 3 == 0 };
		double rate;

		/* A connection needs about a second. */
		line->running += ((double)line->width.now - line->running) * 0.2;
		rate = rate_of(line);
		if (line->limit > 0 && rate > line->limit) {
			moved.held_ns = (int64_t)((1 - line->limit / rate) * (double)LOOK_NS);
			rate = line->limit;
		}
		moved.bytes = (uint64_t)(rate * (double)LOOK_NS / 1e9);
		line->bytes += moved.bytes;
		s3_width_look(&line->width, line->now_ns, &moved);
		if (line->width.now > line->highest)
			line->highest = line->width.now;
		if (line->width.now < line->lowest)
			line->lowest = line->width.now;
	}
}

TEST(it_widens_while_goodput_grows_with_it)
{
	struct line line = line_of(1e6, 1e9);

	run(&line, 30);
	check_int(line.width.now, 16);
	run(&line, 600);
	check_int(line.highest, 16);
	check(line.bytes > 0.97 * 16e6 * 600);
}

TEST(it_stays_where_more_brings_nothing)
{
	struct line line = line_of(1e6, 4e6);

	run(&line, 1200);
	check_int(line.lowest, 4);
	check_int(line.highest, 5);
	check(line.bytes > 0.99 * 4e6 * 1199);
}

TEST(it_finds_what_a_line_carries)
{
	struct line line = line_of(1e6, 9e6);

	run(&line, 60);
	run(&line, 600);
	check(line.lowest >= 7 && line.highest <= 16);
	check(line.bytes > 0.97 * 9e6 * 600);
	line.all = 3e6;
	run(&line, 600);
	check_int(line.width.now, 4);
}

TEST(noise_does_not_cost_goodput)
{
	struct line line = line_of(1e6, 6e6);

	line.noise = 0.3;
	run(&line, 60);
	run(&line, 1800);
	check(line.bytes > 0.93 * 6e6 * 1800);
}

TEST(it_narrows_when_the_line_carries_less)
{
	struct line line = line_of(1e6, 1e9);

	run(&line, 60);
	check_int(line.width.now, 16);
	line.all = 3e6;
	run(&line, 600);
	check_int(line.width.now, 4);
	check(line.bytes > 0.99 * 3e6 * 600);
}

TEST(trouble_halves_it_once_in_a_window)
{
	struct line line = line_of(1e6, 1e9);

	run(&line, 30);
	check_int(line.width.now, 16);
	for (unsigned i = 0; i < 16; i++)
		s3_width_trouble(&line.width);
	check_int(line.width.now, 8);
	for (unsigned i = 0; i < 8; i++) {
		run(&line, 2.1);
		s3_width_trouble(&line.width);
	}
	check_int(line.width.now, 2);
	/* To where it began at once, further only when that brings something. */
	run(&line, 7);
	check_int(line.width.now, 4);
	run(&line, 60);
	check_int(line.width.now, 16);
}

TEST(under_a_limit_it_does_not_climb)
{
	struct line line = line_of(1e6, 1e9);

	line.limit = 3e6;
	run(&line, 600);
	check_int(line.highest, 4);
	line.limit = 0;
	run(&line, 30);
	check_int(line.width.now, 16);
	/* One that comes in a trial ends it. */
	line = line_of(1e6, 1e9);
	run(&line, 9);
	check(line.width.now > 4);
	line.limit = 3e6;
	run(&line, 10);
	check_int(line.width.step, 0);
}

TEST(where_nothing_moves_nothing_is_learnt)
{
	struct line line = line_of(0, 1e9);

	run(&line, 600);
	check_int(line.highest, 4);
	s3_width_trouble(&line.width);
	run(&line, 600);
	check_int(line.width.now, 2);
}

TEST(who_has_no_more_parts_does_not_want_it_wider)
{
	struct line line = line_of(1e6, 1e9);

	line.is_short = true;
	run(&line, 600);
	check_int(line.highest, 4);
}

TEST(it_keeps_to_what_it_may_have)
{
	for (unsigned most = 1; most <= 5; most++) {
		struct line line = line_of(1e6, 1e9);

		s3_width_init(&line.width, most);
		run(&line, 100);
		check_int(line.width.now, most);
		check(line.highest <= most);
		for (unsigned i = 0; i < 8; i++) {
			s3_width_trouble(&line.width);
			run(&line, 2.1);
			check(line.lowest >= (most < 2 ? most : 2));
		}
	}
}
