/* SPDX-License-Identifier: Apache-2.0 */
#include "util/rate.h"

#include <errno.h>

#include "util/clock.h"

/* What an idle bucket saves up, as a share of a second. */
#define BURST_SECONDS 0.25

/* A waiter looks at least this often: a wait is never computed far ahead. */
#define MAX_WAIT_NS NS_PER_SEC

static void fill_locked(struct bucket *bucket)
{
	int64_t now = monotonic_ns();
	double most = (double)bucket->bytes_per_second * BURST_SECONDS;

	bucket->tokens += (double)(now - bucket->filled_ns) / (double)NS_PER_SEC *
			  (double)bucket->bytes_per_second;
	if (bucket->tokens > most)
		bucket->tokens = most;
	bucket->filled_ns = now;
}

void bucket_init(struct bucket *bucket, uint64_t bytes_per_second)
{
	mutex_init(&bucket->lock, 95);
	cond_init(&bucket->changed);
	bucket->bytes_per_second = bytes_per_second;
	bucket->tokens = 0;
	bucket->filled_ns = monotonic_ns();
	bucket->stopped = 0;
}

void bucket_fini(struct bucket *bucket)
{
	cond_fini(&bucket->changed);
	mutex_fini(&bucket->lock);
}

void bucket_set(struct bucket *bucket, uint64_t bytes_per_second)
{
	scoped_lock(&bucket->lock);
	fill_locked(bucket); /* the time up to now counts at the old rate */
	bucket->bytes_per_second = bytes_per_second;
	if (!bytes_per_second)
		bucket->tokens = 0;
	cond_broadcast(&bucket->changed);
}

/*
 * Takes may be larger than the burst: one passes as soon as there is no debt and leaves
 * its own, which the next has to wait for.
 */
int bucket_take(struct bucket *bucket, uint64_t bytes)
{
	scoped_lock(&bucket->lock);
	for (;;) {
		double wait;

		if (bucket->stopped)
			return -ECANCELED;
		if (!bucket->bytes_per_second)
			return 0;
		fill_locked(bucket);
		if (bucket->tokens >= 0)
			break;
		wait = -bucket->tokens / (double)bucket->bytes_per_second * (double)NS_PER_SEC + 1;
		if (wait > (double)MAX_WAIT_NS)
			wait = (double)MAX_WAIT_NS;
		(void)cond_wait_until(&bucket->changed, &bucket->lock,
				      monotonic_ns() + (int64_t)wait);
	}
	bucket->tokens -= (double)bytes;
	return 0;
}

void bucket_stop(struct bucket *bucket)
{
	scoped_lock(&bucket->lock);
	bucket->stopped = 1;
	cond_broadcast(&bucket->changed);
}

void meter_init(struct meter *meter)
{
	mutex_init(&meter->lock, 96);
	meter->start_ns = monotonic_ns();
	meter->window_bytes = meter->rate = meter->total = 0;
}

void meter_fini(struct meter *meter)
{
	mutex_fini(&meter->lock);
}

/* Close the window after a second. All its bytes came in its first second, so after
 * two nothing of it is recent. */
static int64_t roll_locked(struct meter *meter)
{
	int64_t now = monotonic_ns();
	int64_t age = now - meter->start_ns;

	if (age < NS_PER_SEC)
		return age;
	meter->rate = age >= 2 * NS_PER_SEC
			      ? 0
			      : (uint64_t)((double)meter->window_bytes * NS_PER_SEC / (double)age);
	meter->window_bytes = 0;
	meter->start_ns = now;
	return 0;
}

void meter_add(struct meter *meter, uint64_t bytes)
{
	scoped_lock(&meter->lock);
	(void)roll_locked(meter);
	meter->window_bytes += bytes;
	meter->total += bytes;
}

uint64_t meter_rate(struct meter *meter)
{
	int64_t age;

	scoped_lock(&meter->lock);
	age = roll_locked(meter);
	return (uint64_t)(((double)meter->rate + (double)meter->window_bytes) * NS_PER_SEC /
			  (double)(NS_PER_SEC + age));
}

uint64_t meter_total(struct meter *meter)
{
	scoped_lock(&meter->lock);
	return meter->total;
}
