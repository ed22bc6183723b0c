/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_width.h"

#include <stdlib.h>

#include "util/clock.h"

/* Several round trips of a long line; what the buffers of new connections took is past by then. */
#define WINDOW_NS (2 * NS_PER_SEC)

/* Windows between trials; longer and longer while they bring nothing. */
#define REST_LEAST 8u
#define REST_MOST 64u

/* More parts by one share are worth keeping when they bring a quarter of that share. */
#define GAIN 0.25

/* Fewer are kept when they cost no more than this: less than what noise is. */
#define LOSS 0.03

/* More of a window under a limit, and it is the limit that was measured. */
#define HELD_SHARE 0.1

void s3_width_init(struct s3_width *width, unsigned most)
{
	*width = (struct s3_width){
		.least = most < S3_WIDTH_LEAST ? most : S3_WIDTH_LEAST,
		.first = most < S3_WIDTH_FIRST ? most : S3_WIDTH_FIRST,
		.most = most,
		.pause = REST_LEAST,
		.rest = 1,
		.skip = 1,
	};
	width->now = width->kept = width->first;
}

/* Back to what was kept. */
static void end_trial(struct s3_width *width)
{
	if (width->step)
		width->skip = 1;
	width->now = width->kept;
	width->step = 0;
}

/* False: there is no room that way. */
static bool try(struct s3_width *width, int step)
{
	int to = (int)width->kept + step;

	if (to > (int)width->most)
		to = (int)width->most;
	if (to < (int)width->first)
		to = (int)width->first;
	width->step = to - (int)width->kept;
	width->now = (unsigned)to;
	width->skip = 1;
	return width->step != 0;
}

static bool is_worth_it(const struct s3_width *width, double rate)
{
	if (width->step < 0)
		return rate >= width->rate * (1 - LOSS);
	return rate >= width->rate * (1 + GAIN * width->step / width->kept);
}

/* A whole window with one width, in which nothing but the width (or the line) held parts up. */
static void judge(struct s3_width *width, double rate)
{
	int step = width->step;

	if (step == 0) {
		width->rate = width->rate > 0 ? (width->rate + rate) / 2 : rate;
		if (width->rest > 0)
			width->rest--;
		else if (!try(width, width->narrow_next ? -1 : 1))
			(void)try(width, width->narrow_next ? 1 : -1);
		return;
	}
	if (is_worth_it(width, rate)) {
		width->kept = width->now;
		width->pause = REST_LEAST;
		/* A narrower one may lose a little once, not a little with each step. */
		if (step > 0)
			width->rate = rate;
		if (try(width, 2 * step))
			return;
	} else {
		end_trial(width);
	}
	width->rest = width->pause;
	width->pause = width->pause * 2 < REST_MOST ? width->pause * 2 : REST_MOST;
	width->narrow_next = step > 0;
}

static void open_window(struct s3_width *width, int64_t now_ns)
{
	width->start_ns = now_ns;
	width->bytes = 0;
	width->held_ns = 0;
	width->looks = width->wanted = 0;
	width->troubled = false;
}

static void close_window(struct s3_width *width, int64_t length_ns)
{
	bool is_limited = (double)width->held_ns > HELD_SHARE * (double)length_ns;

	if (width->bytes == 0 || width->troubled)
		return;
	if (width->now < width->first) /* after trouble, to where everybody begins */
		width->kept = ++width->now;
	else if (is_limited || width->wanted * 2 < width->looks)
		end_trial(width);
	else if (width->skip > 0)
		width->skip--;
	else
		judge(width, (double)width->bytes * 1e9 / (double)length_ns);
}

void s3_width_look(struct s3_width *width, int64_t now_ns, const struct s3_moved *moved)
{
	int64_t length_ns = now_ns - width->start_ns;

	if (length_ns >= 2 * WINDOW_NS) {
		/* Nothing was on its way for a while: connections are new. */
		end_trial(width);
		width->skip = 1;
		open_window(width, now_ns);
		length_ns = 0;
	}
	width->bytes += moved->bytes;
	width->held_ns += moved->held_ns;
	width->looks++;
	width->wanted += moved->wanted;
	if (length_ns < WINDOW_NS)
		return;
	close_window(width, length_ns);
	open_window(width, now_ns);
}

void s3_width_trouble(struct s3_width *width)
{
	unsigned half = width->now / 2;

	if (width->troubled)
		return;
	width->troubled = true;
	width->kept = width->now = half > width->least ? half : width->least;
	width->step = 0;
	width->rate = 0;
	width->rest = width->pause = REST_LEAST;
	width->narrow_next = false;
}
