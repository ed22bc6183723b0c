/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Writeback: what programs have written and no medium has yet, as the kernel counts it. */
#include <stdint.h>

struct writeback {
	uint64_t unwritten_bytes; /* in memory only, of all disks */
	/* From so many on the kernel holds up those who write. */
	uint64_t holds_up_bytes;
};

/* Of the text of /proc/vmstat. -EPROTO: it does not tell all of that. */
int writeback_parse(const char *text, uint64_t page_bytes, struct writeback *ret_writeback);

/* As it is now: some 20 us. -EPROTO as above, -ENOMEM, errors of reading. */
int writeback_get(struct writeback *ret_writeback);
