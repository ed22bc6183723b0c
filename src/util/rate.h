/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Rate: a token bucket to keep to a limit, and a meter to show a speed. Any thread. */
#include <stdint.h>

#include "util/thread.h"

struct bucket {
	struct mutex lock; /* rank 95 */
	struct cond changed;
	uint64_t bytes_per_second; /* 0 = no limit */
	double tokens;
	int64_t filled_ns;
	int stopped;
};

void bucket_init(struct bucket *bucket, uint64_t bytes_per_second);
void bucket_fini(struct bucket *bucket);
void bucket_set(struct bucket *bucket, uint64_t bytes_per_second); /* bites at once */
int bucket_take(struct bucket *bucket, uint64_t bytes); /* blocks; -ECANCELED once stopped */

/* The same at a time of the caller's (monotonic): 0 taken, else how long to wait before the next
 * try. */
int64_t bucket_take_at(struct bucket *bucket, int64_t now_ns, uint64_t bytes);
void bucket_stop(struct bucket *bucket); /* all waiters leave */

struct meter {
	struct mutex lock; /* rank 96 */
	int64_t start_ns;  /* of the current window */
	uint64_t window_bytes, rate, total;
};

void meter_init(struct meter *meter);
void meter_fini(struct meter *meter);
void meter_add(struct meter *meter, uint64_t bytes);
uint64_t meter_rate(
	struct meter *meter); /* bytes/s over the last one to two seconds; 0 when idle */
uint64_t meter_total(struct meter *meter);
