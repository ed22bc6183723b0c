/* SPDX-License-Identifier: Apache-2.0 */
/* For which bytes the read-back steps aside: those that the disk does not keep up with. */
#include "volume/aside.h"

#include <errno.h>

#include "test.h"
#include "util/clock.h"

#define MB 1000000ull
#define TICK_NS (100 * NS_PER_MS)

/* @seconds of @arriving and @writing bytes a second. What is unwritten at the end. */
static uint64_t pass(struct aside *aside, int64_t seconds, uint64_t arriving, uint64_t writing,
		     uint64_t unwritten)
{
	static int64_t now_ns = 1000 * NS_PER_SEC;
	static uint64_t received;

	for (int64_t tick = 0; tick < seconds * NS_PER_SEC / TICK_NS; tick++) {
		struct writeback now;

		received += arriving / 10;
		unwritten += arriving / 10;
		unwritten -= unwritten < writing / 10 ? unwritten : writing / 10;
		now_ns += TICK_NS;
		now = (struct writeback){ .unwritten_bytes = unwritten,
					  .holds_up_bytes = 4000 * MB };
		check(aside_is_due(aside, now_ns));
		aside_judge(aside, now_ns, received, &now);
		check(!aside_is_due(aside, now_ns));
	}
	return unwritten;
}

TEST(it_steps_aside_while_the_disk_is_behind)
{
	struct aside aside = { 0 };
	uint64_t unwritten;

	/* As fast as the card. */
	unwritten = pass(&aside, 10, 400 * MB, 400 * MB, 100 * MB);
	check(!aside.steps);
	/* Slower: seen when more than a second of the card's is left to do. */
	unwritten = pass(&aside, 1, 400 * MB, 200 * MB, unwritten);
	check(!aside.steps);
	unwritten = pass(&aside, 2, 400 * MB, 200 * MB, unwritten);
	check(aside.steps);
	/* Nothing arrives for a second, and then little. */
	unwritten = pass(&aside, 1, 0, 300 * MB, unwritten);
	check(aside.steps);
	(void)pass(&aside, 2, 10 * MB, 300 * MB, unwritten);
	check(!aside.steps);
}

TEST(it_steps_aside_before_the_kernel_holds_up_who_writes)
{
	struct aside aside = { 0 };
	struct writeback now = { .unwritten_bytes = 240 * MB, .holds_up_bytes = 1000 * MB };

	/* All of it came just now. */
	aside_judge(&aside, NS_PER_SEC, 5000 * MB, &now);
	check(!aside.steps);
	now.unwritten_bytes = 260 * MB;
	aside_judge(&aside, NS_PER_SEC + TICK_NS, 5000 * MB, &now);
	check(aside.steps);
}

TEST(it_steps_aside_where_nobody_knows)
{
	struct aside aside = { 0 };

	aside_judge(&aside, NS_PER_SEC, 0, NULL);
	check(aside.steps);
}

TEST(the_kernels_count_is_read)
{
	static const char text[] = "nr_free_pages 1\nxnr_dirty 9\nnr_dirty 3\nnr_writeback 4\n"
				   "nr_writeback_temp 8\nnr_dirty_threshold 100\n"
				   "nr_dirty_background_threshold 50\n";
	struct writeback now;

	check_int(writeback_parse(text, 4096, &now), 0);
	check_int(now.unwritten_bytes, 7 * 4096);
	check_int(now.holds_up_bytes, 75 * 4096);
	check_int(writeback_parse("nr_dirty 3\nnr_writeback 4\n", 4096, &now), -EPROTO);
	check_int(writeback_parse("", 4096, &now), -EPROTO);
	check_int(writeback_get(&now), 0);
	check(now.holds_up_bytes > 0);
}
