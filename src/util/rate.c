/* SPDX-License-Identifier: Apache-2.0 */
#include "util/rate.h"

#include <errno.h>

#include "util/clock.h"

/*
 * What an idle bucket saves up, as a share of a second, and how much of the rate it fills with: so
 * that over any 10 s no more passes than the rate allows, the last take (a twentieth of a second's
 * worth, at most) with it: 9.9 + 0.05 + 0.05.
 */
#define BURST_SECONDS 0.05
#define FILL_SHARE 0.99

/* A waiter looks at least this often: a wait is never computed far ahead. */
#define MAX_WAIT_NS NS_PER_SEC

static double fill_per_second(const struct bucket *bucket)
{
	return (double)bucket->bytes_per_second * FILL_SHARE;
}

static void fill_locked(struct bucket *bucket, int64_t now)
{
	double most = (double)bucket->bytes_per_second * BURST_SECONDS;

	bucket->tokens +=
		(double)(now - bucket->filled_ns) / (double)NS_PER_SEC * fill_per_second(bucket);
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
	fill_locked(bucket, monotonic_ns()); /* the time up to now counts at the old rate */
	bucket->bytes_per_second = bytes_per_second;
	if (!bytes_per_second)
		bucket->tokens = 0;
	cond_broadcast(&bucket->changed);
}

/*
 * Takes may be larger than the burst: one passes as soon as there is no debt and leaves
 * its own, which the next has to wait for.
 */
static int64_t take_locked(struct bucket *bucket, int64_t now, uint64_t bytes)
{
	if (!bucket->bytes_per_second)
		return 0;
	fill_locked(bucket, now);
	if (bucket->tokens < 0)
		return (int64_t)(-bucket->tokens / fill_per_second(bucket) * (double)NS_PER_SEC) +
		       1;
	bucket->tokens -= (double)bytes;
	return 0;
}

int64_t bucket_take_at(struct bucket *bucket, int64_t now_ns, uint64_t bytes)
{
	scoped_lock(&bucket->lock);
	return take_locked(bucket, now_ns, bytes);
}

int bucket_take(struct bucket *bucket, uint64_t bytes)
{
	scoped_lock(&bucket->lock);
	for (;;) {
		int64_t now = monotonic_ns();
		int64_t wait;

		if (bucket->stopped)
			return -ECANCELED;
		wait = take_locked(bucket, now, bytes);
		if (wait == 0)
			return 0;
		if (wait > MAX_WAIT_NS)
			wait = MAX_WAIT_NS;
		(void)cond_wait_until(&bucket->changed, &bucket->lock, now + wait);
	}
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
