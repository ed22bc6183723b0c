/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/aside.h"

#include "util/clock.h"

#define LOOK_NS (50 * NS_PER_MS)
#define MARK_NS (500 * NS_PER_MS) /* so the older mark is 0.5 to 1 s old */
/* Never too much: the catalog's own, and what others write now and then. */
#define SLACK_BYTES (32ull << 20)
#define SHARE 4 /* of what may gather */

bool aside_is_due(const struct aside *aside, int64_t now_ns)
{
	return now_ns - aside->looked_ns >= LOOK_NS;
}

/* What may be unwritten: what came of late. After a pause in looking that is all since then. */
static uint64_t allowed_bytes(const struct aside *aside, uint64_t received_bytes,
			      const struct writeback *writeback)
{
	uint64_t late = received_bytes - aside->marks[0] + SLACK_BYTES;
	uint64_t most = writeback->holds_up_bytes / SHARE;

	return late < most ? late : most;
}

void aside_judge(struct aside *aside, int64_t now_ns, uint64_t received_bytes,
		 const struct writeback *writeback)
{
	aside->looked_ns = now_ns;
	aside->steps = !writeback ||
		       writeback->unwritten_bytes > allowed_bytes(aside, received_bytes, writeback);
	if (now_ns - aside->mark_ns < MARK_NS)
		return;
	aside->mark_ns = now_ns;
	aside->marks[0] = aside->marks[1];
	aside->marks[1] = received_bytes;
}
